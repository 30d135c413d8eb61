"""Pooling: the maximum and the average of each window, and what their gradients need.

Max pooling and its gradient are a closed family: ``max_pool2d_scatter`` puts a value where its
window's maximum stands, ``max_pool2d_take`` reads there; each is the other's gradient. Where the
maximum stands is found once, as a plane of tap numbers that both read. Average pooling is linear,
so it and its transpose are each other's gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir.check import Check
from graphc.ir.dims import Size
from graphc.ir.kernel import (
    Acc,
    Axis,
    Const,
    Expr,
    Index,
    Lowering,
    Phase,
    Position,
    Ref,
    Store,
    apply,
    index,
    number,
)  # fmt: skip
from graphc.ir.node import Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType
from graphc.ir.window import AxisWindow, Receptive
from graphc.ops.counting import elements, traffic
from graphc.ops.padding import (
    Padding,
    Pair,
    Plane,
    Sweep,
    checked_sweeps,
    pad_image,
    padding_form,
    pair,
    plane_of,
    sweeps,
    two,
    windowed,
)  # fmt: skip
from graphc.ops.reduce import wide

__all__ = [
    "avg_pool2d",
    "avg_pool2d_input_grad",
    "max_pool2d",
    "max_pool2d_scatter",
    "max_pool2d_take",
]

IMAGE = "batch, channels, height, width"


@dataclass(frozen=True, eq=False, kw_only=True)
class Pooling(Op):
    """What all pooling ops share: the window of the forward op."""

    kernel: Pair
    stride: Pair | None = None  # None: the kernel, so that windows meet and do not overlap
    padding: Padding = 0

    def __post_init__(self) -> None:
        kernel = pair(self.kernel, f"{self.name}: kernel")
        object.__setattr__(self, "kernel", kernel)
        if self.stride is not None:
            stride = pair(self.stride, f"{self.name}: stride")
            object.__setattr__(self, "stride", None if stride == kernel else stride)
        object.__setattr__(self, "padding", padding_form(self.padding, f"{self.name}: padding"))

    def settings(self) -> dict[str, Any]:
        """The attributes that a gradient hands on."""
        return {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}

    def sweeps(self, plane: Sequence[Size]) -> tuple[Sweep, Sweep]:
        """How the window sweeps over an image of this height and width."""
        stride = self.kernel if self.stride is None else self.stride
        return sweeps(plane, self.kernel, stride, self.padding)

    def numbers(self, plane: Sequence[Size], sizes: Mapping[str, int]) -> tuple[Sweep, Sweep]:
        """As ``sweeps``, in numbers."""
        rows, columns = self.sweeps(plane)
        return rows.at(sizes), columns.at(sizes)

    def taps(self) -> list[tuple[int, int]]:
        """Every (row, column) of the window, row by row: their order settles ties."""
        return list(np.ndindex(*two(self.kernel)))

    def check_sweeps(self, check: Check, plane: Sequence[Size]) -> tuple[Sweep, Sweep]:
        """As ``sweeps``, with every number in range and no window outside the image."""
        stride = self.kernel if self.stride is None else self.stride
        return checked_sweeps(check, plane, self.kernel, stride, self.padding, inside=True)

    def check_pooled(self, check: Check, pooled: Node, image: Node) -> None:
        """``pooled`` must have the shape that pooling gives ``image``."""
        rows, columns = self.check_sweeps(check, image.shape[2:])
        wanted = (*image.shape[:2], rows.out, columns.out)
        for axis, (here, there) in enumerate(zip(pooled.shape, wanted, strict=True)):
            check.equal(here, there, f"axis {axis} is not that of the pooled image")

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        # One comparison or addition for each tap of each position: those of the smaller map.
        maps = min((*node.inputs, node), key=lambda map_: elements(map_, sizes))
        return Cost(elements(maps, sizes) * len(self.taps()), traffic(node, sizes))


def _map_axes(image: Node, rows: Sweep, columns: Sweep) -> tuple[Axis, Axis, Axis, Axis]:
    """The axes of the pooled map."""
    n, c = Axis("n", image.shape[0]), Axis("c", image.shape[1])
    return n, c, Axis("oh", rows.out), Axis("ow", columns.out)


def _image_axes(image: Node) -> tuple[Axis, Axis, Axis, Axis]:
    n, c, height, width = image.shape
    return Axis("n", n), Axis("c", c), Axis("ih", height), Axis("iw", width)


def _tap_axes(rows: Sweep, columns: Sweep) -> tuple[Axis, Axis]:
    return Axis("kh", rows.kernel), Axis("kw", columns.kernel)


def _store(low: Lowering, axes: Sequence[Axis], expr: Expr) -> Phase:
    return Phase(stores=(Store(low.out, tuple(map(index, axes)), expr),))


def _pixels(
    rows: Sweep, columns: Sweep, axes: Sequence[Axis], taps: tuple[Axis, Axis]
) -> list[Axis | Index]:
    """Where in the image the taps of a position of the map stand."""
    n, c, oh, ow = axes
    return [n, c, rows.pixel(oh, taps[0]), columns.pixel(ow, taps[1])]


def _positions(
    rows: Sweep, columns: Sweep, axes: Sequence[Axis], taps: tuple[Axis, Axis]
) -> list[Axis | Index]:
    """At which positions of the map the taps stand on a pixel of the image."""
    n, c, ih, iw = axes
    return [n, c, rows.position(ih, taps[0]), columns.position(iw, taps[1])]


# -- maximum ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPooling(Pooling):
    """What max pooling, scatter and take share: which tap of each window is the maximum."""

    def winners(self, x: Array, sizes: Mapping[str, int]) -> Array:
        """For each position the number of the first tap that is larger than all before it."""
        rows, columns = self.numbers(x.shape[2:], sizes)
        padded = pad_image(x, rows, columns, -np.inf)
        best = number_ = None
        for tap, (h, w) in enumerate(self.taps()):
            seen = padded[:, :, rows.reach(h), columns.reach(w)]
            if best is None or number_ is None:
                best, number_ = seen.copy(), np.zeros(seen.shape, np.int64)
                continue
            larger = seen > best
            best[larger], number_[larger] = seen[larger], tap
        return np.asarray(number_)

    def plane(self, low: Lowering, x: Node) -> tuple[Ref, Expr, tuple[Axis, Axis]]:
        """The plane of winners, kept for all that read it; the number of a tap; the tap axes."""
        rows, columns = self.sweeps(x.shape[2:])
        # A byte where it can hold every tap, and one number more for "no tap".
        dtype = np.dtype(np.uint8 if self.nobody <= 255 else np.int32)
        axes = _map_axes(x, rows, columns)

        def build() -> tuple[Ref, ...]:
            ref = low.scratch("argmax", [axis.extent for axis in axes], dtype)
            if self.nobody == 1:
                low.map(axes, ref, axes, Const(0, dtype))
                return (ref,)
            taps = _tap_axes(rows, columns)
            pixel = low.load(x, _pixels(rows, columns, axes, taps), -np.inf)
            first = Acc("argmax", pixel, dtype)
            store = Store(ref, tuple(map(index, axes)), first)
            low.kernel(axes, [Phase(over=taps, accs=(first,)), Phase(stores=(store,))])
            return (ref,)

        key = ("argmax", x, self.kernel, self.stride, self.padding)
        (ref,) = low.once(key, build)
        taps = _tap_axes(rows, columns)
        row = apply("mul", Position(taps[0], dtype), Const(columns.kernel, dtype))
        return ref, apply("add", row, Position(taps[1], dtype)), taps

    @property
    def nobody(self) -> int:
        """The number of no tap: where there is no position, nobody wins."""
        return len(self.taps())


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool2d(MaxPooling):
    """y[n,c,o] = the maximum of x over the window at o; the padding is -∞."""

    name: ClassVar[str] = "max_pool2d"
    operands: ClassVar[tuple[str, ...]] = ("x",)
    law: ClassVar[str] = "y[n,c,p] = max_t x[n,c,p·stride + t - padding]"

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        check.ndim(x, 4, IMAGE)
        dtype = check.floating(x)
        rows, columns = self.check_sweeps(check, x.shape[2:])
        return TensorType((*x.shape[:2], rows.out, columns.out), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (x,) = inputs
        rows, columns = self.numbers(x.shape[2:], sizes)
        padded = pad_image(x, rows, columns, -np.inf)
        result = np.full((*x.shape[:2], rows.count, columns.count), -np.inf, x.dtype)
        for h, w in self.taps():
            result = np.maximum(result, padded[:, :, rows.reach(h), columns.reach(w)])
        return result

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [make(MaxPool2dScatter(**self.settings()), gradient, *node.inputs)]

    def lower(self, low: Lowering, node: Node) -> None:
        (x,) = node.inputs
        rows, columns = self.sweeps(x.shape[2:])
        axes, taps = _map_axes(x, rows, columns), _tap_axes(rows, columns)
        fill = -np.inf if rows.padded or columns.padded else None
        largest = Acc("max", low.load(x, _pixels(rows, columns, axes, taps), fill), x.dtype)
        low.kernel(axes, [Phase(over=taps, accs=(largest,)), _store(low, axes, largest)])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        rows, columns = self.sweeps(node.inputs[0].shape[2:])
        return [windowed(rows.window(), columns.window())]


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool2dScatter(MaxPooling):
    """y[n,c,i] = Σ of the gradients of those windows whose first maximum of x stands at i."""

    name: ClassVar[str] = "max_pool2d_scatter"
    operands: ClassVar[tuple[str, ...]] = ("gradient", "x")
    law: ClassVar[str] = "<max_pool2d_take(t, x), g> = <t, max_pool2d_scatter(g, x)>"

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        gradient, x = inputs
        check.ndim(gradient, 4, IMAGE)
        check.ndim(x, 4, IMAGE)
        dtype = check.floating(gradient, x)
        self.check_pooled(check, gradient, x)
        return TensorType(x.shape, dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        gradient, x = inputs
        rows, columns = self.numbers(x.shape[2:], sizes)
        winners = self.winners(x, sizes)
        g = wide(gradient)
        padded = np.zeros((*x.shape[:2], rows.length, columns.length), g.dtype)
        for tap, (h, w) in enumerate(self.taps()):
            padded[:, :, rows.reach(h), columns.reach(w)] += np.where(winners == tap, g, 0)
        return padded[:, :, rows.inner, columns.inner].astype(x.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        # A small change of x moves no maximum: no gradient to x.
        return [make(MaxPool2dTake(**self.settings()), gradient, node.inputs[1]), None]

    def lower(self, low: Lowering, node: Node) -> None:
        g, x = node.inputs
        rows, columns = self.sweeps(x.shape[2:])
        winners, tap, taps = self.plane(low, x)
        axes = _image_axes(x)
        position = _positions(rows, columns, axes, taps)
        won = apply("eq", low.load(winners, position, self.nobody), tap)
        zero = Const(0.0, node.dtype)
        sum_ = Acc("sum", apply("select", won, low.load(g, position, 0.0), zero), node.dtype)
        low.kernel(axes, [Phase(over=taps, accs=(sum_,)), _store(low, axes, sum_)])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        rows, columns = self.sweeps(node.shape[2:])
        # A pixel's value depends on all windows that hold the pixel, whole.
        around = windowed(
            AxisWindow(2 * rows.kernel - 1, pad=rows.kernel - 1),
            AxisWindow(2 * columns.kernel - 1, pad=columns.kernel - 1),
        )
        return [windowed(rows.window_back(), columns.window_back()), around]


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool2dTake(MaxPooling):
    """y[n,c,o] = t where the first maximum of x in the window at o stands."""

    name: ClassVar[str] = "max_pool2d_take"
    operands: ClassVar[tuple[str, ...]] = ("t", "x")
    law: ClassVar[str] = "y[n,c,p] = t[n,c,argmax_i x[n,c,i] over the window at p]"

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        t, x = inputs
        check.ndim(t, 4, IMAGE)
        check.ndim(x, 4, IMAGE)
        dtype = check.floating(t, x)
        check.same_shape(t, x, "t and x are images of one size")
        rows, columns = self.check_sweeps(check, x.shape[2:])
        return TensorType((*x.shape[:2], rows.out, columns.out), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        t, x = inputs
        rows, columns = self.numbers(x.shape[2:], sizes)
        winners = self.winners(x, sizes)
        padded = pad_image(t, rows, columns, 0.0)
        result = np.zeros(winners.shape, t.dtype)
        for tap, (h, w) in enumerate(self.taps()):
            seen = padded[:, :, rows.reach(h), columns.reach(w)]
            result[winners == tap] = seen[winners == tap]
        return result

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [make(MaxPool2dScatter(**self.settings()), gradient, node.inputs[1]), None]

    def lower(self, low: Lowering, node: Node) -> None:
        t, x = node.inputs
        rows, columns = self.sweeps(x.shape[2:])
        winners, tap, taps = self.plane(low, x)
        axes = _map_axes(x, rows, columns)
        won = apply("eq", low.load(winners, axes), tap)
        zero = Const(0.0, node.dtype)
        seen = low.load(t, _pixels(rows, columns, axes, taps), 0.0)
        # One tap wins, so the sum is its value.
        sum_ = Acc("sum", apply("select", won, seen, zero), node.dtype)
        low.kernel(axes, [Phase(over=taps, accs=(sum_,)), _store(low, axes, sum_)])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        rows, columns = self.sweeps(node.inputs[0].shape[2:])
        return [windowed(rows.window(), columns.window())] * 2


# -- average ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class AvgPooling(Pooling):
    """What average pooling and its transpose share: by how much each window is divided."""

    def counts(self, rows: Sweep, columns: Sweep, dtype: np.dtype[Any]) -> Array:
        """The divisor at each position of the map, in NumPy."""
        if self.padding != "same":
            return np.asarray(rows.kernel * columns.kernel, dtype)
        inside = []
        for sweep in (rows, columns):
            pixels = np.zeros(sweep.length, np.int64)
            pixels[sweep.inner] = 1
            inside.append(sum(pixels[sweep.reach(tap)] for tap in range(sweep.kernel)))
        return np.multiply.outer(*inside).astype(dtype)

    def count(self, rows: Sweep, columns: Sweep, axes: Sequence[Axis], dtype: Any) -> Expr:
        """The divisor at a position of the map, in kernels."""
        if self.padding != "same":
            return Const(float(rows.kernel * columns.kernel), dtype)
        return apply("mul", _inside(rows, axes[2], dtype), _inside(columns, axes[3], dtype))


def _inside(sweep: Sweep, position: Axis, dtype: Any) -> Expr:
    """How many taps at a position stand inside: min(first + kernel, size) - max(first, 0)."""
    step = apply("mul", Position(position, dtype), number(sweep.stride, dtype))
    first = apply("sub", step, number(sweep.before, dtype))
    end = apply("add", first, number(sweep.kernel, dtype))
    last = apply("min", end, number(sweep.size, dtype))
    return apply("sub", last, apply("max", first, Const(0.0, dtype)))


@dataclass(frozen=True, eq=False, kw_only=True)
class AvgPool2d(AvgPooling):
    """y[n,c,o] = the mean of x over the window at o; counts the padding's zeros, unless "same"."""

    name: ClassVar[str] = "avg_pool2d"
    operands: ClassVar[tuple[str, ...]] = ("x",)
    law: ClassVar[str] = "y[n,c,p] = Σ_t x[n,c,p·stride + t - padding] / count(p)"

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (x,) = inputs
        check.ndim(x, 4, IMAGE)
        dtype = check.floating(x)
        rows, columns = self.check_sweeps(check, x.shape[2:])
        return TensorType((*x.shape[:2], rows.out, columns.out), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (x,) = inputs
        rows, columns = self.numbers(x.shape[2:], sizes)
        padded = pad_image(wide(x), rows, columns, 0.0)
        result = np.zeros((*x.shape[:2], rows.count, columns.count), padded.dtype)
        for h, w in self.taps():
            result += padded[:, :, rows.reach(h), columns.reach(w)]
        return (result / self.counts(rows, columns, padded.dtype)).astype(x.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        _, _, height, width = node.inputs[0].shape
        return [make(AvgPool2dInputGrad(size=(height, width), **self.settings()), gradient)]

    def lower(self, low: Lowering, node: Node) -> None:
        (x,) = node.inputs
        rows, columns = self.sweeps(x.shape[2:])
        axes, taps = _map_axes(x, rows, columns), _tap_axes(rows, columns)
        fill = 0.0 if rows.padded or columns.padded else None
        sum_ = Acc("sum", low.load(x, _pixels(rows, columns, axes, taps), fill), x.dtype)
        mean = apply("div", sum_, self.count(rows, columns, axes, x.dtype))
        low.kernel(axes, [Phase(over=taps, accs=(sum_,)), _store(low, axes, mean)])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        rows, columns = self.sweeps(node.inputs[0].shape[2:])
        return [windowed(rows.window(), columns.window())]


@dataclass(frozen=True, eq=False, kw_only=True)
class AvgPool2dInputGrad(AvgPooling):
    """The transpose of ``avg_pool2d``: each position spreads its share over its window."""

    name: ClassVar[str] = "avg_pool2d_input_grad"
    operands: ClassVar[tuple[str, ...]] = ("gradient",)
    law: ClassVar[str] = "<avg_pool2d(x), g> = <x, avg_pool2d_input_grad(g)>"
    size: Plane

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(1)
        (gradient,) = inputs
        check.ndim(gradient, 4, IMAGE)
        dtype = check.floating(gradient)
        for size in self.size:
            check.at_least(size, 1, "size of the image")
        swept = self.check_sweeps(check, self.size)
        for sweep, size, axis in zip(swept, gradient.shape[2:], ("height", "width"), strict=True):
            check.equal(size, sweep.out, f"the gradient's {axis} is not that of the pooled image")
        return TensorType((*gradient.shape[:2], *self.size), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        (gradient,) = inputs
        rows, columns = self.numbers(self.size, sizes)
        share = wide(gradient) / self.counts(rows, columns, wide(gradient).dtype)
        padded = np.zeros((*gradient.shape[:2], rows.length, columns.length), share.dtype)
        for h, w in self.taps():
            padded[:, :, rows.reach(h), columns.reach(w)] += share
        return padded[:, :, rows.inner, columns.inner].astype(gradient.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [make(AvgPool2d(**self.settings()), gradient)]

    def lower(self, low: Lowering, node: Node) -> None:
        (g,) = node.inputs
        rows, columns = self.sweeps(self.size)
        # Divide first, once a position: how many pixels were inside depends on the position.
        share = low.scratch("share", g.shape, g.dtype)
        positions = low.axes(g.shape)
        count = self.count(rows, columns, positions, g.dtype)
        low.map(positions, share, positions, apply("div", low.load(g, positions), count))
        axes, taps = _image_axes(node), _tap_axes(rows, columns)
        part = low.load(share, _positions(rows, columns, axes, taps), 0.0)
        sum_ = Acc("sum", part, node.dtype)
        low.kernel(axes, [Phase(over=taps, accs=(sum_,)), _store(low, axes, sum_)])

    def receptive(self, node: Node) -> Sequence[Receptive]:
        rows, columns = self.sweeps(self.size)
        return [windowed(rows.window_back(), columns.window_back())]


# -- functions -------------------------------------------------------------------------------------


def max_pool2d(x: Node, kernel: Any, stride: Any = None, padding: Any = 0) -> Node:
    """The maximum of each window of an image.

    x: (N, C, H, W); kernel, stride: an int or a pair (height, width), the stride is the kernel
    where it is left out; padding: any form that ``conv2d`` takes, filled with -∞. Result
    (N, C, OH, OW) with OH = ⌊(H + top + bottom - KH) / stride⌋ + 1, or ⌈H / stride⌉ for ``"same"``.
    The gradient goes to the first maximum of a window (row by row), as PyTorch's.

    Raises ShapeError where the window does not fit or could lie on padding alone, DTypeError for
    integers, GraphError for an argument of another form.

    >>> import graphc as gx
    >>> x = gx.input("x", (1, 1, 2, 4))
    >>> graph = gx.Graph({"y": gx.max_pool2d(x, 2)})
    >>> gx.interpret(graph, {}, x=[[[[3, 5, 8, 10], [7, 10, 2, 6]]]])["y"]
    array([[[[10., 10.]]]], dtype=float32)
    """
    return make(MaxPool2d(kernel=kernel, stride=stride, padding=padding), x)


def max_pool2d_scatter(g: Node, x: Node, kernel: Any, stride: Any = None, padding: Any = 0) -> Node:
    """The gradient of ``max_pool2d``: each value of g goes where its window's maximum of x stands.

    g: (N, C, OH, OW), the gradient of the result; x: (N, C, H, W); the rest as it was given to
    ``max_pool2d``. Result (N, C, H, W), linear in g; no gradient flows to x.
    Raises ShapeError where g is not of the pooled image's shape.

    >>> import graphc as gx
    >>> g, x = gx.input("g", (1, 1, 1, 1)), gx.input("x", (1, 1, 2, 2))
    >>> graph = gx.Graph({"y": gx.max_pool2d_scatter(g, x, 2)})
    >>> gx.interpret(graph, {}, g=[[[[5]]]], x=[[[[3, 4], [1, 4]]]])["y"]
    array([[[[0., 5.],
             [0., 0.]]]], dtype=float32)
    """
    return make(MaxPool2dScatter(kernel=kernel, stride=stride, padding=padding), g, x)


def max_pool2d_take(t: Node, x: Node, kernel: Any, stride: Any = None, padding: Any = 0) -> Node:
    """The values of t where the windows' maxima of x stand: the gradient of the scatter.

    t, x: (N, C, H, W); the rest as in ``max_pool2d``. Result (N, C, OH, OW), linear in t;
    ``max_pool2d_take(x, x, …)`` is ``max_pool2d(x, …)``. Raises ShapeError where t and x differ.

    >>> import graphc as gx
    >>> t, x = gx.input("t", (1, 1, 2, 2)), gx.input("x", (1, 1, 2, 2))
    >>> graph = gx.Graph({"y": gx.max_pool2d_take(t, x, 2)})
    >>> gx.interpret(graph, {}, t=[[[[5, 6], [7, 8]]]], x=[[[[3, 4], [1, 4]]]])["y"].item()
    6.0
    """
    return make(MaxPool2dTake(kernel=kernel, stride=stride, padding=padding), t, x)


def avg_pool2d(x: Node, kernel: Any, stride: Any = None, padding: Any = 0) -> Node:
    """The mean of each window of an image.

    Shapes, arguments and errors as in ``max_pool2d``; the padding is zeros. They count, as in
    PyTorch, except for ``"same"``, which divides by the pixels inside, as TensorFlow.

    >>> import graphc as gx
    >>> x = gx.input("x", (1, 1, 2, 4))
    >>> graph = gx.Graph({"y": gx.avg_pool2d(x, 2)})
    >>> gx.interpret(graph, {}, x=[[[[3, 5, 8, 10], [7, 10, 2, 6]]]])["y"]
    array([[[[6.25, 6.5 ]]]], dtype=float32)
    """
    return make(AvgPool2d(kernel=kernel, stride=stride, padding=padding), x)


def avg_pool2d_input_grad(
    g: Node, size: Any, kernel: Any, stride: Any = None, padding: Any = 0
) -> Node:
    """The gradient of ``avg_pool2d``: each value of g, spread evenly over its window.

    g: (N, C, OH, OW); size: the (H, W) of the image; the rest as it was given to ``avg_pool2d``.
    Result (N, C, H, W), linear in g. Raises ShapeError where g is not of the pooled shape.

    >>> import graphc as gx
    >>> g = gx.input("g", (1, 1, 1, 2))
    >>> graph = gx.Graph({"y": gx.avg_pool2d_input_grad(g, (1, 4), (1, 2))})
    >>> gx.interpret(graph, {}, g=[[[[1, 2]]]])["y"].ravel()
    array([0.5, 0.5, 1. , 1. ], dtype=float32)
    """
    plane = plane_of(size, "avg_pool2d_input_grad: size")
    op = AvgPool2dInputGrad(size=plane, kernel=kernel, stride=stride, padding=padding)
    return make(op, g)
