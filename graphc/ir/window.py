"""How one output pixel of an op reads its inputs: what receptive fields are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graphc.ir.dims import Size


@dataclass(frozen=True, slots=True)
class AxisWindow:
    """Output position ``o`` along one axis reads ``(o // per · stride + tap·dilation - pad) / up``
    for ``tap`` in ``range(size)``, those that are whole and inside the input.

    ``up`` is 1 except for ops that go the other way (transposed convolution, gradients), ``per`` is
    1 except for groups of channels. ``stride`` 0 with all the axis for ``size`` reads all of it.
    ``ends``: whether the input really ends at its first and at its last position, because another
    one stands beside it (a concatenation): else what lies beyond is padding of it.

    Two kinds of reading are no windows and stand for themselves: ``through`` -1 reads all positions
    up to ``o``, 1 all from it on (running sums); ``listed`` has the positions that each ``o`` reads
    (a product with a constant matrix).
    """

    size: Size = 1
    stride: int = 1
    dilation: int = 1
    pad: Size = 0
    up: int = 1
    per: int = 1
    ends: tuple[bool, bool] = (False, False)
    through: int = 0
    listed: tuple[tuple[int, ...], ...] = ()

    @property
    def special(self) -> bool:
        """Whether it is no window that moves with the position."""
        return bool(self.through or self.listed)


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
class Followed:
    """Input axis i is read pointwise along output axis ``axes[i]``, or whole where that is None.

    Output axes are counted from the left. What a product or a sum over axes reads.
    """

    axes: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The same elements in the same row-major order."""


@dataclass(frozen=True, slots=True)
class Everything:
    """Every output element may read every element of the example (fully connected, global)."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """The output does not depend on the input's values (a shape, a mask's random stream)."""


# For each input of an op one of these.
Receptive: TypeAlias = Windowed | Moved | Followed | Reshaped | Everything | Nothing

POINTWISE = Windowed()
