"""A plan: buffers, the instructions that work on them, and where each buffer lies in memory.

A plan is data. Sizes in it are expressions of the named dimensions; ``regions`` turns an access
into numbers, which is all that ``verify_plan`` looks at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from graphc.ir.dims import Size, evaluate
from graphc.ir.node import Node
from graphc.ir.types import Shape

if TYPE_CHECKING:
    from graphc.compiler.predict import Prediction

# -- buffers --------------------------------------------------------------------------------------

Kind: TypeAlias = Literal["input", "variable", "constant", "range", "arena"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory for one array, row-major. ``root`` is the buffer whose memory it is (an alias)."""

    number: int
    shape: Shape
    dtype: np.dtype[Any]
    kind: Kind
    root: int
    label: str  # for the comment of the buffer table: names of the graph, never of code
    data: Any = None  # the array of a constant

    def bytes(self, sizes: Mapping[str, int]) -> int:
        """How much memory it takes at these sizes."""
        return math.prod(evaluate(s, sizes) for s in self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Place:
    """Where a buffer lies: byte ``offset`` of the arena, or the memory of another buffer."""

    space: int | Literal["arena"]
    offset: int = 0


# -- how an instruction looks at a buffer ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Linear:
    """``offset + Σ coefficient·(loop variable)``."""

    offset: Size = 0
    terms: tuple[tuple[str, int], ...] = ()

    def at(self, sizes: Mapping[str, int], loops: Mapping[str, int]) -> int:
        """Its value."""
        return evaluate(self.offset, sizes) + sum(c * loops[v] for v, c in self.terms)


@dataclass(frozen=True, slots=True)
class Fit:
    """The points a of ``range(extent)`` for which ``(coefficient·a + start)/divisor`` is whole and
    inside ``range(size)``: an evenly spaced run, and so is what they point at."""

    extent: Size
    coefficient: int
    start: Linear
    divisor: int
    size: Size

    def runs(
        self, sizes: Mapping[str, int], loops: Mapping[str, int]
    ) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """(first, count, step) of the points, and of the positions they point at."""
        n, size = evaluate(self.extent, sizes), evaluate(self.size, sizes)
        c, k, d = self.coefficient, self.start.at(sizes, loops), self.divisor
        common = math.gcd(c, d)
        if k % common:
            return (0, 0, 1), (0, 0, 1)
        step = d // common
        first = max(0, -(k // c))  # the first point that is not before the dimension
        while (c * first + k) % d:
            first += 1
        last = min(n - 1, ((size - 1) * d - k) // c)
        count = max(0, (last - first) // step + 1)
        return (first, count, step), ((c * first + k) // d, count, c // common)


@dataclass(frozen=True, slots=True)
class Whole:
    """All of a dimension."""


@dataclass(frozen=True, slots=True)
class At:
    """One position; the dimension disappears."""

    position: Linear


@dataclass(frozen=True, slots=True)
class Span:
    """``count`` positions from ``start``, every ``step``-th (which may be negative)."""

    start: Linear
    count: Size
    step: int = 1


@dataclass(frozen=True, slots=True)
class Inside:
    """The run of a ``Fit`` of the instruction: its points, or the positions they point at."""

    fit: int
    points: bool


Dimension: TypeAlias = Whole | At | Span | Inside


@dataclass(frozen=True, slots=True)
class View:
    """A buffer, cut dimension by dimension, then neighbouring dimensions ``merge``d into one each
    (or split: the new shape says), then put into ``order`` (None: a new axis of size 1)."""

    buffer: int
    dims: tuple[Dimension, ...]
    shape: Shape | None = None  # after merging and splitting; None: as cut
    order: tuple[int | None, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether it is the buffer as it stands."""
        return (
            self.shape is None
            and self.order is None
            and all(isinstance(dim, Whole) for dim in self.dims)
        )


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number in a call: a literal, a size, or a linear form of loop variables."""

    value: float | int | bool | Linear


@dataclass(frozen=True, slots=True)
class Over:
    """A result that may take the memory of an operand, with what makes that sound: every load of
    the operand is of the element that is stored."""

    read: int
    written: int
    loads: tuple[tuple[Any, ...], ...]  # the index of each load, in the description's own axes
    store: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an array function (``function`` names an entry of the printer's table)."""

    function: str
    args: tuple[View | Scalar, ...]
    out: View | None
    options: tuple[tuple[str, Any], ...] = ()
    # Whether it leaves some elements of ``out`` as they were (and so reads them).
    partial: bool = False
    # Whether element i of out depends on element i of each argument alone.
    pointwise: bool = True
    # A launch has several results at once, all of them stored after all that it reads is loaded.
    also: tuple[View, ...] = ()
    over: tuple[Over, ...] = ()

    @property
    def outs(self) -> tuple[View, ...]:
        """All results."""
        return self.also if self.out is None else (self.out, *self.also)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over ``range(extent)``."""

    variable: str
    extent: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of the program: calls, perhaps inside loops over taps."""

    calls: tuple[Call, ...]
    node: Node
    label: str  # the node's name in the graph, for comments
    loops: tuple[Loop, ...] = ()
    fits: tuple[Fit, ...] = ()

    def environments(self) -> Iterator[dict[str, int]]:
        """Every assignment of the loop variables, in order."""
        for values in product(*(range(loop.extent) for loop in self.loops)):
            yield {loop.variable: v for loop, v in zip(self.loops, values, strict=True)}

    def views(self) -> Iterator[tuple[View, bool]]:
        """(view, is it written) of every call."""
        for call in self.calls:
            for arg in call.args:
                if isinstance(arg, View):
                    yield arg, False
            if call.out is not None and call.partial:
                yield call.out, False
            for out in call.outs:
                yield out, True

    def buffers(self) -> dict[int, bool]:
        """The buffers it touches, and whether it writes them."""
        found: dict[int, bool] = {}
        for view, written in self.views():
            found[view.buffer] = found.get(view.buffer, False) or written
        return found


@dataclass(frozen=True, slots=True)
class Region:
    """An access in numbers, in elements of its buffer: offset, shape, strides."""

    buffer: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many elements it touches."""
        return math.prod(self.shape)


def region(
    view: View,
    buffer: Buffer,
    fits: tuple[Fit, ...],
    sizes: Mapping[str, int],
    loops: Mapping[str, int],
) -> Region:
    """What ``view`` touches at these sizes, in this turn of the loops."""
    extents = [evaluate(s, sizes) for s in buffer.shape]
    offset = 0
    shape: list[int] = []
    strides: list[int] = []
    stride = math.prod(extents)
    for dim, extent in zip(view.dims, extents, strict=True):
        stride //= max(extent, 1)
        match dim:
            case Whole():
                first, count, step = 0, extent, 1
            case At():
                offset += dim.position.at(sizes, loops) * stride
                continue
            case Span():
                first, count, step = (
                    dim.start.at(sizes, loops),
                    evaluate(dim.count, sizes),
                    dim.step,
                )
            case Inside():
                points, positions = fits[dim.fit].runs(sizes, loops)
                first, count, step = points if dim.points else positions
        offset += first * stride
        shape.append(count)
        strides.append(step * stride)
    if view.shape is not None:
        shape, strides = _reshape(shape, strides, [evaluate(s, sizes) for s in view.shape])
    if view.order is not None:
        strides = [0 if axis is None else strides[axis] for axis in view.order]
        shape = [1 if axis is None else shape[axis] for axis in view.order]
    return Region(view.buffer, offset, tuple(shape), tuple(strides))


def _reshape(
    shape: list[int], strides: list[int], wanted: list[int]
) -> tuple[list[int], list[int]]:
    """Strides after a reshape that needs no copy (NumPy's rule). ValueError where there is none."""
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    new = [n for n in wanted if n != 1]
    found: list[int] = []
    i = j = 0
    while i < len(old) and j < len(new):
        i_end, j_end, left, right = i + 1, j + 1, old[i][0], new[j]
        while left != right:  # the shortest runs of old and new dimensions of one product
            if left < right:
                left, i_end = left * old[i_end][0], i_end + 1
            else:
                right, j_end = right * new[j_end], j_end + 1
        for k in range(i, i_end - 1):
            if old[k][1] != old[k + 1][0] * old[k + 1][1]:
                raise ValueError("this reshape would copy")
        step = old[i_end - 1][1]
        run: list[int] = []
        for size in reversed(new[j:j_end]):
            run.append(step)
            step *= size
        found += reversed(run)
        i, j = i_end, j_end
    steps = iter(found)
    return wanted, [0 if n == 1 else next(steps) for n in wanted]


# -- the whole ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """What a target's scheduling stage returns: everything but addresses."""

    buffers: tuple[Buffer, ...]
    instructions: tuple[Instruction, ...]
    inputs: tuple[tuple[str, int], ...]  # name -> buffer number
    variables: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    # Buffers computed right in a variable's memory, and the plain copies that end the step.
    direct: tuple[tuple[int, int], ...] = ()  # (result, variable)
    copies: tuple[tuple[int, int], ...] = ()  # (variable, result)
    # For verify_plan: which buffers the descriptions of a node read.
    needs: tuple[tuple[Node, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class Plan:
    """A schedule with addresses for sizes up to ``capacity``.

    Attributes: ``buffers``, ``instructions``, ``places`` (buffer number to ``Place``),
    ``peak_bytes`` (the arena), ``launches`` (array calls a step).
    """

    schedule: Schedule
    places: dict[int, Place]
    peak_bytes: int
    capacity: dict[str, int]
    deaths: tuple[tuple[int, ...], ...] = field(default=())  # per instruction: buffers read last

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """Every buffer, by number."""
        return self.schedule.buffers

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The lines of the step, in order."""
        return self.schedule.instructions

    @property
    def launches(self) -> int:
        """How many array calls one step makes."""
        return sum(
            len(i.calls) * math.prod(loop.extent for loop in i.loops) for i in self.instructions
        )

    def predict(self, device: str, *, captured: bool = False, **sizes: int) -> Prediction:
        """Launches, bytes and flops of one step, and how long it may take on ``device``.

        device: a name of ``graphc.compiler.devices.DEVICES``, ``"h100"``. captured: as one CUDA
        graph. sizes: of the named dimensions; left out, the largest that is planned for. The time
        is predicted from the table's constants, some of them assumed, and never measured.
        Raises GraphError for a device or a dimension that is not known.
        """
        from graphc.compiler.predict import predict

        return predict(self, device, captured, sizes)

    def __str__(self) -> str:
        from graphc.ir.types import TensorType

        rows = [
            f"plan for up to {self.capacity or 'its one size'}: {self.peak_bytes:,} bytes, "
            f"{len(self.instructions)} lines, {self.launches} calls"
        ]
        for buffer in self.buffers:
            place = self.places[buffer.root]
            where = (
                f"arena + {place.offset}"
                if place.space == "arena"
                else f"of b{place.space}"
                if place.space != buffer.number
                else buffer.kind
            )
            type_ = TensorType(buffer.shape, buffer.dtype)
            rows.append(f"  b{buffer.number}: {type_} {where}  {buffer.label}")
        for number, line in enumerate(self.instructions):
            calls = "; ".join(call.function for call in line.calls)
            touched = ", ".join(f"{'>' if w else ''}b{b}" for b, w in line.buffers().items())
            rows.append(f"  {number}: {calls} ({touched})  {line.label}")
        return "\n".join(rows)
