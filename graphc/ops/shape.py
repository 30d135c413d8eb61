"""Ops that move elements: reshape, transpose, concat, slice, pad, broadcast_to, flip.

They form closed families: the gradient of each is another one of them, so gradients of any order
stay small. ``slice`` and ``pad`` are each other's transpose, steps included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir import dims
from graphc.ir.check import Check
from graphc.ir.dims import Dim, Size
from graphc.ir.errors import GraphError
from graphc.ir.kernel import Lowering
from graphc.ir.node import Node, make, not_a_node
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import Shape, TensorType, is_float, shape_of
from graphc.ir.window import POINTWISE, AxisWindow, Moved, Receptive, Reshaped, Windowed
from graphc.ops.axes import check_axes, one_axis, said_axis, several_axes
from graphc.ops.counting import per_element
from graphc.ops.pointwise import operands

LARGEST_STEP = 2**31


class Movement(Op):
    """Base: nothing is computed; each element of the result is one of an input, or a constant."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return per_element(node, sizes, 0)


def check_shape(check: Check, shape: Shape) -> Shape:
    """An attribute that is a shape: as a file may have written it."""
    try:
        return shape_of(shape)
    except GraphError as error:
        check.fail(str(error).partition("\n")[0])  # the line that called comes once


@dataclass(frozen=True, eq=False)
class Reshape(Movement):
    """The same elements, row-major, under another shape: free."""

    name: ClassVar[str] = "reshape"
    law: ClassVar[str] = "y = x's elements in row-major order, as `shape`"
    shape: tuple[int | Dim, ...]

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        shape = check_shape(check, self.shape)
        check.equal(
            math.prod(shape), math.prod(x.shape),
            f"[{','.join(map(str, shape))}] has another number of elements than x",
            fix="write -1 for the one size that follows from the others",
        )  # fmt: skip
        return TensorType(shape, x.dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        return inputs[0].reshape([dims.evaluate(size, sizes) for size in self.shape])

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return (reshape(gradient, node.inputs[0].shape),)

    def lower(self, low: Lowering, node: Node) -> None:
        low.alias(node.inputs[0])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return (Reshaped(),)

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(0, 0)


@dataclass(frozen=True, eq=False)
class Transpose(Movement):
    """Axis i of the result is axis ``axes[i]`` of x."""

    name: ClassVar[str] = "transpose"
    law: ClassVar[str] = "y[…, i_k, …] = x with axis axes[k] indexed by i_k"
    axes: tuple[int, ...]

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        check.require(
            sorted(self.axes) == list(range(x.ndim)),
            f"axes={list(self.axes)} is not a permutation of the {x.ndim} axes of x",
            fix=f"name every axis from 0 to {x.ndim - 1} once, e.g. {tuple(range(x.ndim))[::-1]}",
        )
        return TensorType(tuple(x.shape[axis] for axis in self.axes), x.dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        return inputs[0].transpose(self.axes)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return (transpose(gradient, self.inverse()),)

    def inverse(self) -> tuple[int, ...]:
        """The permutation that undoes this one."""
        return tuple(self.axes.index(axis) for axis in range(len(self.axes)))

    def lower(self, low: Lowering, node: Node) -> None:
        axes = low.axes(node.shape)
        source = low.load(node.inputs[0], [axes[position] for position in self.inverse()])
        low.map(axes, low.out, axes, source)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return (Moved(self.axes),)


@dataclass(frozen=True, eq=False)
class Concat(Movement):
    """The inputs one after the other along an axis."""

    name: ClassVar[str] = "concat"
    law: ClassVar[str] = "y = inputs one after the other along axis"
    operands: ClassVar[tuple[str, ...]] = ("input 1", "input")
    axis: int

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2, 2**20)
        first = inputs[0]
        check.require(0 <= self.axis < first.ndim, f"there is no axis {self.axis} in input 1")
        shape = list(first.shape)
        for position, other in enumerate(inputs[1:], 2):
            what = f"input {position} does not continue input 1"
            check.require(other.ndim == first.ndim, f"{what}: {other.ndim} axes, not {first.ndim}")
            for axis, size in enumerate(other.shape):
                if axis == self.axis:
                    shape[axis] = shape[axis] + size
                else:
                    shape[axis] = check.equal(
                        shape[axis], size, f"{what}, axis {axis}",
                        fix=f"only axis {self.axis} may differ: pad or slice, or name another axis",
                    )  # fmt: skip
        return TensorType(tuple(shape), check.dtype(*inputs))

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        return np.concatenate(inputs, axis=self.axis)

    def parts(self, node: Node) -> list[tuple[Node, Size]]:
        """Each input with the position where it begins."""
        found: list[tuple[Node, Size]] = []
        start: Size = 0
        for source in node.inputs:
            found.append((source, start))
            start = start + source.shape[self.axis]
        return found

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        zeros = (0,) * node.ndim
        return [
            make(
                Slice((*zeros[: self.axis], start, *zeros[self.axis + 1 :]), source.shape),
                gradient,
            )
            for source, start in self.parts(node)
        ]

    def lower(self, low: Lowering, node: Node) -> None:
        for source, start in self.parts(node):
            axes = low.axes(source.shape)
            to = [axis + start if i == self.axis else axis for i, axis in enumerate(axes)]
            low.map(axes, low.out, to, low.load(source, axes))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        # Where an input ends, the next one begins, not its padding.
        last = len(node.inputs) - 1
        return [
            Windowed(((self.axis - node.ndim, AxisWindow(pad=start, ends=(i > 0, i < last))),))
            for i, (_, start) in enumerate(self.parts(node))
        ]


@dataclass(frozen=True, eq=False)
class Slice(Movement):
    """Part of each axis: ``sizes`` elements from ``starts`` on, every ``steps``-th one."""

    name: ClassVar[str] = "slice"
    law: ClassVar[str] = "y[…, i, …] = x[…, start + i·step, …]"
    starts: tuple[int | Dim, ...]
    sizes: tuple[int | Dim, ...]
    steps: tuple[int, ...] = ()  # empty: all 1

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        check_lengths(check, x.ndim, starts=self.starts, sizes=self.sizes)
        steps = check_steps(check, x.ndim, self.steps, "steps")
        for axis, (start, size, step) in enumerate(
            zip(self.starts, self.sizes, steps, strict=True)
        ):
            check.at_least(start, 0, f"axis {axis}: the start")
            check.at_least(
                size, 1, f"axis {axis}: the number of elements taken",
                fix="take at least one element",
            )  # fmt: skip
            behind = x.shape[axis] - start - (size - 1) * step
            check.at_least(
                behind, 1, f"axis {axis} ({x.shape[axis]}) ends before the slice does",
                fix="a symbolic size is never clamped as NumPy would: stop within it",
            )  # fmt: skip
        return TensorType(check_shape(check, self.sizes), x.dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (x,) = inputs
        cut = []
        for start, size, step in self.along(x.ndim):
            begin, count = dims.evaluate(start, sizes), dims.evaluate(size, sizes)
            cut.append(slice(begin, begin + (count - 1) * step + 1, step))
        return x[tuple(cut)]

    def along(self, ndim: int) -> list[tuple[Size, Size, int]]:
        """Start, size and step of each axis."""
        return list(zip(self.starts, self.sizes, self.steps or (1,) * ndim, strict=True))

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        after = tuple(
            whole - start - (size - 1) * step - 1
            for whole, (start, size, step) in zip(x.shape, self.along(x.ndim), strict=True)
        )
        return (make(Pad(self.starts, after, 0.0, self.steps), gradient),)

    def lower(self, low: Lowering, node: Node) -> None:
        axes = low.axes(node.shape)
        source = [
            axis * step + start
            for axis, (start, _, step) in zip(axes, self.along(node.ndim), strict=True)
        ]
        low.map(axes, low.out, axes, low.load(node.inputs[0], source))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        windows = (
            (axis - node.ndim, AxisWindow(stride=step, pad=-start))
            for axis, (start, _, step) in enumerate(self.along(node.ndim))
        )
        return (Windowed(tuple(windows)),)


@dataclass(frozen=True, eq=False)
class Pad(Movement):
    """x with constants around it (and, with ``steps``, step - 1 of them between its elements)."""

    name: ClassVar[str] = "pad"
    law: ClassVar[str] = "y[…, before + i·step, …] = x[…, i, …], value elsewhere"
    before: tuple[int | Dim, ...]
    after: tuple[int | Dim, ...]
    value: float = 0.0
    steps: tuple[int, ...] = ()  # empty: all 1

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        check_lengths(check, x.ndim, before=self.before, after=self.after)
        steps = check_steps(check, x.ndim, self.steps, "steps")
        check.require(
            is_float(x.dtype) or fits(self.value, x.dtype),
            f"the value {self.value} is not one of {x.dtype.name}",
        )
        shape: list[Size] = []
        for axis, (before, after, step) in enumerate(
            zip(self.before, self.after, steps, strict=True)
        ):
            for side, count in (("before", before), ("after", after)):
                check.at_least(
                    count, 0, f"axis {axis}: the padding {side}", fix="x[...] cuts elements off"
                )
            shape.append(before + (x.shape[axis] - 1) * step + 1 + after)
        return TensorType(check_shape(check, tuple(shape)), x.dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (x,) = inputs
        before = [dims.evaluate(size, sizes) for size in self.before]
        after = [dims.evaluate(size, sizes) for size in self.after]
        steps = self.steps or (1,) * x.ndim
        ends = [b + (n - 1) * s + 1 for b, n, s in zip(before, x.shape, steps, strict=True)]
        shape = [end + a for end, a in zip(ends, after, strict=True)]
        result = np.full(shape, self.value, x.dtype)
        result[tuple(map(slice, before, ends, steps))] = x
        return result

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return (make(Slice(self.before, node.inputs[0].shape, self.steps), gradient),)

    def lower(self, low: Lowering, node: Node) -> None:
        axes = low.axes(node.shape)
        steps = self.steps or (1,) * node.ndim
        source = [
            (axis - before) / step
            for axis, before, step in zip(axes, self.before, steps, strict=True)
        ]
        fill = self.value if is_float(node.dtype) else node.dtype.type(self.value).item()
        low.map(axes, low.out, axes, low.load(node.inputs[0], source, fill=fill))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        steps = self.steps or (1,) * node.ndim
        windows = (
            (axis - node.ndim, AxisWindow(pad=before, up=step))
            for axis, (before, step) in enumerate(zip(self.before, steps, strict=True))
        )
        return (Windowed(tuple(windows)),)


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether an integer (or bool) type has this value."""
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return math.isfinite(value) and value == int(value) and low <= value <= high


def check_lengths(check: Check, ndim: int, **attributes: Sequence[Size]) -> None:
    """Attributes that say something for each axis of x."""
    for name, value in attributes.items():
        check.require(
            len(value) == ndim, f"{name} speaks of {len(value)} axes, and x has {ndim} axes"
        )


def check_steps(check: Check, ndim: int, steps: tuple[int, ...], name: str) -> tuple[int, ...]:
    """One step for each axis; all 1 is written as nothing, so that equal slices are one node."""
    if not steps:
        return (1,) * ndim
    check_lengths(check, ndim, **{name: steps})
    good = all(1 <= step < LARGEST_STEP for step in steps) and max(steps) > 1
    check.require(good, f"{name}={list(steps)} are not steps of 1 or more")
    return steps


@dataclass(frozen=True, eq=False)
class BroadcastTo(Movement):
    """x repeated along leading axes and along axes of size 1."""

    name: ClassVar[str] = "broadcast_to"
    law: ClassVar[str] = "y = x repeated to `shape`, as NumPy broadcasts"
    shape: tuple[int | Dim, ...]

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        shape = check_shape(check, self.shape)
        check.require(
            x.ndim <= len(shape), f"x has {x.ndim} axes, more than the {len(shape)} asked for"
        )
        for back in range(1, x.ndim + 1):
            if x.shape[-back] != 1:
                check.equal(
                    x.shape[-back], shape[-back], f"axis {-back} of x does not stretch",
                    fix="only an axis of size 1 is repeated",
                )  # fmt: skip
        return TensorType(shape, x.dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        shape = [dims.evaluate(size, sizes) for size in self.shape]
        return np.ascontiguousarray(np.broadcast_to(inputs[0], shape))

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return (gradient,)  # the driver sums over what was repeated

    def lower(self, low: Lowering, node: Node) -> None:
        low.pointwise(lambda element: element)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return (POINTWISE,)


@dataclass(frozen=True, eq=False)
class Flip(Movement):
    """The elements of some axes in reverse order."""

    name: ClassVar[str] = "flip"
    law: ClassVar[str] = "y[…, i, …] = x[…, n-1-i, …] on axes"
    axes: tuple[int, ...]

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        check_axes(check, self.axes, inputs[0].ndim)
        return inputs[0].type

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        return np.flip(inputs[0], self.axes)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return (flip(gradient, self.axes),)

    def lower(self, low: Lowering, node: Node) -> None:
        axes = low.axes(node.shape)
        source = [
            axis * -1 + (node.shape[i] - 1) if i in self.axes else axis + 0
            for i, axis in enumerate(axes)
        ]
        low.map(axes, low.out, axes, low.load(node.inputs[0], source))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        windows = (
            (axis - node.ndim, AxisWindow(stride=-1, pad=1 - node.shape[axis]))
            for axis in self.axes
        )
        return (Windowed(tuple(windows)),)


# -- public ---------------------------------------------------------------------------------------


def reshape(x: Node, shape: Any) -> Node:
    """``x``'s elements, in row-major order, under another shape; ``x`` itself if it has it already.

    shape: ints, names and sizes; one of them may be -1, the size that follows from the others.
    Raises ShapeError where the number of elements differs, or -1 cannot be decided.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 2, 3))
    >>> gx.reshape(x, ("N", -1)).shape
    (Dim('N'), 6)
    >>> gx.reshape(x, (-1, 2)).shape
    (Dim('3*N'), 2)
    """
    if not isinstance(x, Node):
        raise not_a_node("reshape", "x", x)
    entries = (shape,) if isinstance(shape, (int, str, Dim)) else tuple(shape)
    holes = [i for i, entry in enumerate(entries) if isinstance(entry, int) and entry == -1]
    if not holes:
        sizes = shape_of(entries, what="reshape: shape")
    else:
        sizes = _filled(x, entries, holes)
    return x if sizes == x.shape else make(Reshape(sizes), x)


def _filled(x: Node, entries: tuple[Any, ...], holes: list[int]) -> Shape:
    """The shape with the one -1 replaced."""
    check = Check(Reshape(()), (x,))
    check.require(len(holes) == 1, f"{entries} has {len(holes)} sizes of -1", fix="keep one -1")
    rest = shape_of([e for i, e in enumerate(entries) if i != holes[0]], what="reshape: shape")
    whole, known = math.prod(x.shape), math.prod(rest)
    missing = dims.quotient(whole, known)
    if missing is None and isinstance(whole, Dim) and isinstance(known, int):
        missing = whole // known  # that nothing is left over is a guard
    if missing is None:
        check.fail(
            f"no size in place of -1 makes {entries} hold {whole} elements: "
            f"{whole} is not a multiple of {known}",
            fix="write every size out",
        )
    return shape_of([*rest[: holes[0]], missing, *rest[holes[0] :]], what="reshape: shape")


def flatten(x: Node, start_dim: int = 1) -> Node:
    """``x`` with the axes from ``start_dim`` on joined into one; by default the batch axis stays.

    Raises ShapeError where there is no axis ``start_dim``.

    >>> import graphc as gx
    >>> gx.flatten(gx.input("x", ("N", 16, 5, 5))).shape
    (Dim('N'), 400)
    """
    start = one_axis("flatten", x, start_dim)
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start:])))


def squeeze(x: Node, axis: Any = None, *, dim: Any = None) -> Node:
    """``x`` without some axes of size 1: ``axis`` names them, None means all of them.

    Raises ShapeError for an axis of another size.

    >>> import graphc as gx
    >>> gx.squeeze(gx.input("x", ("N", 3, 1, 1))).shape
    (Dim('N'), 3)
    """
    if said_axis("squeeze", x, axis, dim) is None:
        axes = tuple(i for i, size in enumerate(x.shape) if size == 1)
    else:
        axes = several_axes("squeeze", x, axis, dim)
    for i in axes:
        Check(Reshape(()), (x,)).require(
            x.shape[i] == 1, f"squeeze: axis {i} has size {x.shape[i]}, not 1"
        )
    return reshape(x, tuple(size for i, size in enumerate(x.shape) if i not in axes))


def unsqueeze(x: Node, axis: Any = None, *, dim: Any = None) -> Node:
    """``x`` with a new axis of size 1, which is axis ``axis`` of the result.

    Raises ShapeError where the result has no such axis.

    >>> import graphc as gx
    >>> gx.unsqueeze(gx.input("x", ("N", 3)), 1).shape
    (Dim('N'), 1, 3)
    """
    at = one_axis("unsqueeze", x, said_axis("unsqueeze", x, axis, dim), x.ndim + 1)
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def transpose(x: Node, axes: Any) -> Node:
    """``x`` with its axes in another order: axis i of the result is axis ``axes[i]`` of ``x``.

    axes: a full permutation. Raises ShapeError for anything else.

    >>> import graphc as gx
    >>> gx.transpose(gx.input("x", ("N", 3, 8, 9)), (0, 2, 3, 1)).shape
    (Dim('N'), 8, 9, 3)
    """
    listed = axes if isinstance(axes, (tuple, list)) else (axes,)
    order = tuple(one_axis("transpose", x, axis) for axis in listed)
    return x if order == tuple(range(x.ndim)) else make(Transpose(order), x)


def concat(inputs: Sequence[Any], axis: Any = 0, *, dim: Any = None) -> Node:
    """The inputs one after the other along ``axis``; all other sizes agree. Also called ``cat``.

    Raises ShapeError or DTypeError where they do not, GraphError for no inputs at all.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> gx.concat([x, x * 2], axis=1).shape
    (Dim('N'), 6)
    """
    given: Any = inputs
    if not isinstance(given, (list, tuple)) or not given:
        raise GraphError(
            f"concat takes a list of one node or more, not {given!r}\n"
            "  to fix: gx.concat([a, b], axis=1)"
        )
    nodes = operands(*given)
    at = one_axis("concat", nodes[0], axis if dim is None else dim)
    return nodes[0] if len(nodes) == 1 else make(Concat(at), *nodes)


cat = concat


def pad(x: Node, padding: Any, *, value: float = 0.0) -> Node:
    """``x`` with ``value`` around it.

    padding: pairs (before, after), one for each axis (as ``numpy.pad``), or a flat tuple of ints
    that begins at the last axis (as ``torch.nn.functional.pad``). Counts are 0 or more.
    Raises ShapeError where padding does not fit ``x``.

    >>> import graphc as gx
    >>> x = gx.input("x", (2,))
    >>> gx.interpret(gx.Graph({"y": gx.pad(x, (1, 2), value=9.0)}), {}, x=[1, 2])["y"].tolist()
    [9.0, 1.0, 2.0, 9.0, 9.0]
    """
    pairs = _pairs(x, padding)
    if all(count == 0 for pair in pairs for count in pair):
        return x
    before, after = zip(*pairs, strict=True)
    return make(Pad(before, after, float(value)), x)


def _pairs(x: Node, padding: Any) -> list[tuple[Size, Size]]:
    """(before, after) for each axis, from either form."""
    entries = tuple(padding) if isinstance(padding, (tuple, list)) else ()
    if entries and all(isinstance(entry, (int, Dim)) for entry in entries):
        flat = [(entries[i], entries[i + 1]) for i in range(0, len(entries) - 1, 2)]
        good = len(entries) % 2 == 0 and len(flat) <= x.ndim
        pairs = [(0, 0)] * (x.ndim - len(flat)) + flat[::-1]
    else:
        pairs = [tuple(e) if isinstance(e, (tuple, list)) else () for e in entries]
        sizes = all(isinstance(size, (int, Dim)) for pair in pairs for size in pair)
        good = sizes and len(pairs) == x.ndim and all(len(pair) == 2 for pair in pairs)
    Check(Pad((), ()), (x,)).require(
        good, f"padding={padding!r} does not fit {x.ndim} axes",
        fix=f"write {x.ndim} pairs (before, after), or two ints an axis from the last one on",
    )  # fmt: skip
    return pairs


def broadcast_to(x: Any, shape: Any) -> Node:
    """``x`` repeated to ``shape``: along new leading axes and along axes of size 1.

    Raises ShapeError where an axis of another size would have to stretch.

    >>> import graphc as gx
    >>> gx.broadcast_to(gx.input("x", (3, 1)), ("N", 3, 4)).shape
    (Dim('N'), 3, 4)
    """
    (x,), sizes = operands(x), shape_of(shape, what="broadcast_to: shape")
    return x if sizes == x.shape else make(BroadcastTo(sizes), x)


def flip(x: Node, axis: Any = None, *, dim: Any = None) -> Node:
    """``x`` in reverse order along ``axis`` (an int, a tuple of ints, or None for all).

    Raises ShapeError for an axis that is not there.

    >>> import graphc as gx
    >>> x = gx.input("x", (3,))
    >>> gx.interpret(gx.Graph({"y": gx.flip(x, 0)}), {}, x=[1, 2, 3])["y"].tolist()
    [3.0, 2.0, 1.0]
    """
    axes = several_axes("flip", x, axis, dim)
    return make(Flip(axes), x) if axes else x


__all__ = [
    "broadcast_to",
    "cat",
    "concat",
    "flatten",
    "flip",
    "pad",
    "reshape",
    "squeeze",
    "transpose",
    "unsqueeze",
]
