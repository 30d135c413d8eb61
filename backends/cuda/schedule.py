"""How an elementwise kernel runs on the device: one thread a point, in a grid-stride loop."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.dims import Dim, Size, lower_bound
from ...ir.kernel import Axis, Count, Index, Kernel, Load, Position, Ref, Store
from .addresses import accesses, address, expressions, moving

# Indices are 32-bit up to here; a grid has at most as many threads, so a point plus a stride fits.
NARROW = 2**30
UNBOUNDED = 2**64  # stands for "no bound is known"


@dataclass(frozen=True, slots=True)
class KernelSchedule:
    """What the printer is told beside the description.

    Attributes: ``groups`` (runs of neighbouring axes that no address tells apart, each walked as
    one), ``wide`` (64-bit indices), ``shared`` (buffers whose memory another argument of the launch
    may overlap: the plan knows, and they get no ``__restrict__``), ``block`` (threads a block).
    """

    groups: tuple[tuple[Axis, ...], ...]
    wide: bool
    shared: frozenset[Ref] = frozenset()
    block: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.block <= 1024:
            raise ValueError(f"a block has 1 to 1024 threads, not {self.block}")

    def grid(self, points: int, most: int = 65_536) -> int:
        """How many blocks to launch for ``points``: one thread each, up to ``most`` blocks."""
        return max(1, min(-(-points // self.block), most, NARROW // self.block))


def schedule_kernel(
    kernel: Kernel,
    *,
    largest: Mapping[str, int] | None = None,
    shared: Iterable[Ref] = (),
    block: int = 256,
) -> KernelSchedule:
    """The schedule of an elementwise kernel.

    largest: the largest value of each named dimension that the kernel will be launched with; a
    kernel whose sizes it leaves open gets 64-bit indices.
    """
    wide = _reach(kernel, largest or {}) > NARROW
    return KernelSchedule(_groups(kernel), wide, frozenset(shared), block)


def _groups(kernel: Kernel) -> tuple[tuple[Axis, ...], ...]:
    positions = {e.axis for e in expressions(kernel) if isinstance(e, Position)}
    return collapse(kernel.parallel, accesses(kernel), positions)


def collapse(
    axes: Sequence[Axis], touched: Sequence[Load | Store], positions: Iterable[Axis]
) -> tuple[tuple[Axis, ...], ...]:
    """Runs of neighbouring ``axes`` that no address of ``touched`` tells apart. ``positions``: axes
    whose own coordinate is asked for; they walk alone."""
    found = [(access.index, address(access)) for access in touched]
    alone = set(positions)
    alone |= {axis for where, a in found for d in a.checked for axis, _ in where[d].terms}
    groups: list[tuple[Axis, ...]] = []
    for axis in axes:
        if axis.extent == 1:
            continue
        if groups and not alone & {groups[-1][-1], axis}:
            outer, extent = groups[-1][-1], axis.extent
            if all(a.terms.get(outer, 0) == a.terms.get(axis, 0) * extent for _, a in found):
                groups[-1] += (axis,)
                continue
        groups.append((axis,))
    return tuple(groups)


# -- how large an index can become ----------------------------------------------------------------


def _reach(kernel: Kernel, largest: Mapping[str, int]) -> int:
    """A number that no size, index, address or part of one exceeds in this kernel."""
    bounds = [most(math.prod((axis.extent for axis in kernel.parallel), start=1), largest)]
    bounds += [magnitude(e.size, largest) for e in expressions(kernel) if isinstance(e, Count)]
    for access in accesses(kernel):
        # A mask compares before the division, and its index is computed where it is not valid too.
        limits = zip(access.ref.shape, access.index, strict=True)
        bounds += [most(size * where.divisor, largest) for size, where in limits]
        reaches = [index_reach(where, largest) for where in access.index]
        strides = [most(stride, largest) for stride in address(access).strides]
        bounds.append(sum(map(operator.mul, reaches, strides)))
    return max(bounds)


def index_reach(where: Index, largest: Mapping[str, int]) -> int:
    """A number that no part of an index exceeds."""
    walked = sum(abs(c) * most(axis.extent, largest) for axis, c in moving(where))
    return magnitude(where.offset, largest) + walked


def magnitude(size: Size, largest: Mapping[str, int]) -> int:
    """A number that neither a size nor its negative exceeds."""
    return max(most(size, largest), most(-size, largest))


def most(size: Size, largest: Mapping[str, int]) -> int:
    """A number that ``size``, and its every part, never exceeds while no name is above its
    ``largest``: the sum of the positive terms."""
    if not isinstance(size, Dim):
        return size
    total = 0
    for monomial, product in size.terms.items():
        for atom, power in monomial:
            if isinstance(atom, str):
                product *= largest.get(atom, UNBOUNDED) ** power
                continue
            top, bottom = most(atom.numerator, largest), lower_bound(atom.numerator)
            if bottom is None or bottom < 0 or top > NARROW:
                return UNBOUNDED
            product *= (top // atom.denominator) ** power
        total += max(product, 0)
    return total
