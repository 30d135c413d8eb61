"""How one output pixel of an op reads its inputs: what receptive fields are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graphc.ir.dims import Size


@dataclass(frozen=True, slots=True)
class AxisWindow:
    """Output position ``o`` along one axis reads ``(o·stride + tap·dilation - pad) / up``
    for ``tap`` in ``range(size)``, those that are whole and inside the input.

    ``up`` is 1 except for ops that go the other way (transposed convolution, gradients).
    """

    size: Size = 1
    stride: int = 1
    dilation: int = 1
    pad: Size = 0
    up: int = 1


@dataclass(frozen=True, slots=True)
class Windowed:
    """Each output axis reads a window of the input axis of the same place, counted from the right
    (as broadcasting counts). Axes that are not listed in ``axes`` are read pointwise.
    """

    axes: tuple[tuple[int, AxisWindow], ...] = ()  # (negative axis, window)


@dataclass(frozen=True, slots=True)
class Moved:
    """Output axis i is input axis ``axes[i]`` (a transpose)."""

    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Everything:
    """Every output element may read every element of the example (fully connected, global)."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """The output does not depend on the input's values (a shape, a mask's random stream)."""


# For each input of an op one of these.
Receptive: TypeAlias = Windowed | Moved | Everything | Nothing

POINTWISE = Windowed()
