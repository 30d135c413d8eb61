"""By which angle a step turned the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np

from graphc.ir import GraphError, ShapeError


@overload
def angular_update(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]: ...


@overload
def angular_update(before: Any, after: Any) -> float: ...


def angular_update(before: Any, after: Any) -> float | dict[str, float]:
    """The angle in radians, 0 to π, between a weight before and after an update.

    before, after: arrays of one shape, taken as vectors; or two dicts of variables, for which the
    answer is a dict with the angle of every floating-point array that both have and that is not
    all zeros. Accurate for small angles too: 2·atan2(|u-v|, |u+v|) of the unit vectors (Kahan).

    A layer in front of a batch norm depends on its weight's direction alone, so this angle is its
    effective step; with learning rate η and decay λ it settles at √(2ηλ), with momentum μ at
    √(2ηλ/(1+μ)) (Wan, Zhu, Zhang and Sun 2021, Spherical Motion Dynamics). Copy the variables
    before the step: a program overwrites them.
    Raises ShapeError where shapes differ, GraphError for a weight of zeros only.

    >>> import numpy as np
    >>> import graphc as gx
    >>> round(gx.angular_update(np.array([1.0, 0.0]), np.array([1.0, 1.0])), 6)
    0.785398
    >>> gx.angular_update({"w": np.ones(3), "step": np.array(1)}, {"w": np.ones(3) * 2})
    {'w': 0.0}
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found: dict[str, float] = {}
        for name in before:
            if name not in after:
                continue
            pair = np.asarray(before[name]), np.asarray(after[name])
            if all(a.dtype.kind not in "iub" and a.size and np.any(a) for a in pair):
                found[name] = _angle(*pair, f"{name}: ")
        return found
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        raise GraphError("angular_update takes two arrays, or two dicts of arrays")
    return _angle(np.asarray(before), np.asarray(after), "")


def _angle(before: Any, after: Any, name: str) -> float:
    if before.shape != after.shape:
        raise ShapeError(f"angular_update: {name}{before.shape} before, {after.shape} after")
    u, v = (_direction(np.asarray(a, np.float64).ravel(), name) for a in (before, after))
    return float(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v)))


def _direction(weight: Any, name: str) -> Any:
    """The unit vector; its largest entry is made 1 first, so that no square overflows."""
    largest = np.max(np.abs(weight), initial=0.0)
    if not np.isfinite(largest):
        raise GraphError(f"angular_update: {name}a weight with NaN or inf has no direction")
    if largest == 0:
        raise GraphError(f"angular_update: {name}a weight of zeros has no direction")
    scaled = weight / largest
    return scaled / np.linalg.norm(scaled)
