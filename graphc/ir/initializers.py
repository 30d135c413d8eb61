"""Initial values: what a fresh parameter or state holds before the first step.

Each is a frozen description in the graph; arrays are drawn by ``Program.init`` from
``Philox(key=[seed, path])``, so a parameter's initial value depends on the seed and its own name
alone, never on the order of layers.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from graphc.ir import attrs
from graphc.ir.errors import GraphError

if TYPE_CHECKING:
    from numpy.random import Generator  # NumPy loads it when asked for, and so does graphc

INITIALIZERS: dict[str, type[Initializer]] = {}
Array = np.ndarray[Any, np.dtype[Any]]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight laid out (out, in, *kernel): PyTorch's count."""
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


@dataclass(frozen=True)
class Initializer:
    """Base of the initializers; ``name`` is what ``init=`` and the printed IR call it."""

    name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        INITIALIZERS[cls.name] = cls

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        """float64 values of ``shape``; the caller casts."""
        raise NotImplementedError(f"{self.name} cannot sample")

    def __graphc_text__(self) -> str:
        shown = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.default is MISSING or attrs.key(getattr(self, f.name)) != attrs.key(f.default)
        }
        if isinstance(self, Constant):
            return attrs.render(self.value)
        inside = ",".join(f"{k}={attrs.render_float(v)}" for k, v in shown.items())
        return f'"{self.name}({inside})"' if inside else f'"{self.name}"'


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros."""

    name: ClassVar[str] = "zeros"

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape)


@dataclass(frozen=True)
class Ones(Initializer):
    """All ones."""

    name: ClassVar[str] = "ones"

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        return np.ones(shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """One number everywhere; ``init=0.5`` is short for it."""

    name: ClassVar[str] = "constant"
    value: float

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        return np.full(shape, self.value)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform in [low, high)."""

    name: ClassVar[str] = "uniform"
    low: float = 0.0
    high: float = 1.0

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        return random.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal with this mean and standard deviation."""

    name: ClassVar[str] = "normal"
    mean: float = 0.0
    std: float = 1.0

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        return random.normal(self.mean, self.std, shape)


@dataclass(frozen=True)
class KaimingUniform(Initializer):
    """U(±√(6 / ((1+a²)·fan_in))): He et al. 2015, for layers followed by ReLU (a=0)."""

    name: ClassVar[str] = "kaiming_uniform"
    a: float = 0.0

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        bound = math.sqrt(6.0 / ((1 + self.a**2) * fans(shape)[0]))
        return random.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class KaimingNormal(Initializer):
    """N(0, 2 / ((1+a²)·fan_in)): He et al. 2015."""

    name: ClassVar[str] = "kaiming_normal"
    a: float = 0.0

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        return random.normal(0.0, math.sqrt(2.0 / ((1 + self.a**2) * fans(shape)[0])), shape)


@dataclass(frozen=True)
class XavierUniform(Initializer):
    """U(±gain·√(6 / (fan_in + fan_out))): Glorot and Bengio 2010."""

    name: ClassVar[str] = "xavier_uniform"
    gain: float = 1.0

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        bound = self.gain * math.sqrt(6.0 / sum(fans(shape)))
        return random.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class XavierNormal(Initializer):
    """N(0, gain²·2 / (fan_in + fan_out)): Glorot and Bengio 2010."""

    name: ClassVar[str] = "xavier_normal"
    gain: float = 1.0

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        return random.normal(0.0, self.gain * math.sqrt(2.0 / sum(fans(shape))), shape)


@dataclass(frozen=True)
class LecunNormal(Initializer):
    """N(0, 1 / fan_in): LeCun et al. 1998."""

    name: ClassVar[str] = "lecun_normal"

    def sample(self, random: Generator, shape: tuple[int, ...]) -> Array:
        return random.normal(0.0, math.sqrt(1.0 / fans(shape)[0]), shape)


_CALL = re.compile(r"([a-z_]+)(?:\((.*)\))?\Z")


def initializer_of(init: Any) -> Initializer:
    """An initializer from its name, a number, or itself. Raises GraphError for anything else.

    >>> initializer_of("kaiming_uniform")
    KaimingUniform(a=0.0)
    """
    if isinstance(init, Initializer):
        return init
    if isinstance(init, (int, float)) and not isinstance(init, bool):
        return Constant(float(init))
    known = ", ".join(sorted(INITIALIZERS))
    match = _CALL.match(init) if isinstance(init, str) else None
    if match is None or match[1] not in INITIALIZERS:
        raise GraphError(f"init={init!r} is not an initializer: use a number or one of {known}")
    cls = INITIALIZERS[match[1]]
    values: dict[str, float] = {}
    for part in filter(None, (match[2] or "").split(",")):
        name, _, text = part.partition("=")
        try:
            value = (
                float(text) if text.strip() in ("inf", "-inf", "nan") else ast.literal_eval(text)
            )
        except (ValueError, SyntaxError):
            value = None
        if name not in {f.name for f in fields(cls)} or not isinstance(value, (int, float)):
            raise GraphError(f"init={init!r}: {part!r} is not an argument of {cls.name}")
        values[name] = float(value)
    try:
        return cls(**values)
    except TypeError:
        raise GraphError(f"init={init!r}: {cls.name} lacks an argument") from None
