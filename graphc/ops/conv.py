"""Convolution and its two gradients: a closed family, so that gradients differentiate again.

``conv2d`` is what libraries call convolution (correlation: the filter as drawn); ``convolve2d`` is
the convolution of the formula, made of a flip and a ``conv2d``. Each of ``conv2d``,
``conv2d_input_grad`` and ``conv2d_weight_grad`` is linear in each of its two operands, and its
gradients are the other two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.ir.check import Check
from graphc.ir.dims import Size, evaluate
from graphc.ir.kernel import Axis, Index, Lowering, Ref, apply, index
from graphc.ir.node import Node, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType
from graphc.ir.window import AxisWindow, Everything, Followed, Receptive
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
    refuse,
    sweeps,
    two,
    windowed,
)  # fmt: skip
from graphc.ops.reduce import sum as sum_
from graphc.ops.reduce import wide
from graphc.ops.shape import flip

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "convolve2d"]

IMAGE = "batch, channels, height, width"
FILTERS = "filters out, channels in per group, height, width"


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Op):
    """What the three ops of the family share: the settings of the forward convolution."""

    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    groups: int = 1

    def __post_init__(self) -> None:
        # One spelling a convolution, whoever makes the op: a function, a pass, or a file.
        object.__setattr__(self, "stride", pair(self.stride, f"{self.name}: stride"))
        object.__setattr__(self, "dilation", pair(self.dilation, f"{self.name}: dilation"))
        object.__setattr__(self, "padding", padding_form(self.padding, f"{self.name}: padding"))
        if isinstance(self.groups, bool) or not isinstance(self.groups, (int, np.integer)):
            refuse(f"{self.name}: groups", self.groups, "an int")
        object.__setattr__(self, "groups", int(self.groups))

    def settings(self) -> dict[str, Any]:
        """The attributes that the whole family shares: what a gradient hands on."""
        return {
            "stride": self.stride, "padding": self.padding,
            "dilation": self.dilation, "groups": self.groups,
        }  # fmt: skip

    def sweeps(self, plane: Sequence[Size], kernel: Pair) -> tuple[Sweep, Sweep]:
        """How the filter sweeps over an image of this height and width."""
        return sweeps(plane, kernel, self.stride, self.padding, self.dilation)

    def numbers(
        self, plane: Sequence[Size], kernel: Pair, sizes: Mapping[str, int]
    ) -> tuple[Sweep, Sweep]:
        """As ``sweeps``, in numbers."""
        rows, columns = self.sweeps(plane, kernel)
        return rows.at(sizes), columns.at(sizes)

    def check_filter(self, check: Check, weight: Node) -> tuple[int, int, int, int]:
        """The shape of the filters, in ints, that the groups divide."""
        check.ndim(weight, 4, FILTERS)
        shape = self.check_ints(check, weight.shape, "the weight")
        self.check_groups(check, shape[0], f"the {shape[0]} filters of the weight")
        return shape  # type: ignore[return-value]

    def check_ints(self, check: Check, shape: Sequence[Size], whose: str) -> tuple[int, ...]:
        for size in shape:
            if not isinstance(size, int):
                check.fail(
                    f"{whose} has the symbolic size {size}, but the filters have one shape "
                    "for every run",
                    fix="declare that axis as an int",
                )
        return tuple(map(int, shape))  # type: ignore[arg-type]

    def check_groups(self, check: Check, channels: int, what: str) -> None:
        if self.groups < 1 or channels % self.groups:
            check.fail(
                f"groups={self.groups} does not divide {what}",
                fix="groups is at least 1 and divides the channels in and the channels out",
            )

    def check_sweeps(
        self, check: Check, plane: Sequence[Size], kernel: Pair
    ) -> tuple[Sweep, Sweep]:
        """As ``sweeps``, with every number in range and the window inside the image."""
        return checked_sweeps(check, plane, kernel, self.stride, self.padding, self.dilation)

    def check_map(self, check: Check, gradient: Node, swept: Sequence[Sweep]) -> None:
        """``gradient`` must be as large as the map that the forward convolution makes."""
        for sweep, size, axis in zip(swept, gradient.shape[2:], ("height", "width"), strict=True):
            what = f"the gradient's {axis} is not that of the convolution"
            check.equal(size, sweep.out, what)

    # -- kernels ------------------------------------------------------------------------------

    def split(self, filters: Node) -> tuple[tuple[Axis, ...], _Channels, _Channels, Axis, Axis]:
        """The axes that all three share, from the weight (or its gradient): groups (none where
        there is one), the channels in and out, and the taps."""
        out, each, height, width = filters.type.concrete({})
        group = () if self.groups == 1 else (Axis("g", self.groups),)
        channels_in = _Channels(group, Axis("ic", each), each)
        channels_out = _Channels(group, Axis("oc", out // self.groups), out // self.groups)
        return group, channels_in, channels_out, Axis("kh", height), Axis("kw", width)


@dataclass(frozen=True, slots=True)
class _Channels:
    """The channels of one side of a convolution: an axis over those of one group."""

    group: tuple[Axis, ...]
    axis: Axis
    count: int

    @property
    def index(self) -> Index:
        """Which channel, among those of all groups."""
        return self.group[0] * self.count + self.axis if self.group else index(self.axis)


def _fill(rows: Sweep, columns: Sweep) -> float | None:
    """Taps on the padding read zeros; without padding none does."""
    return 0.0 if rows.padded or columns.padded else None


def _grouped(array: Array, groups: int, axis: int) -> Array:
    """Split one axis into (groups, rest)."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


# -- forward ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2d(Convolution):
    """y[n,o,h,w] = Σ x[n, c, h·stride + kh·dilation - top, …] · weight[o,c,kh,kw] + bias[o]."""

    name: ClassVar[str] = "conv2d"
    operands: ClassVar[tuple[str, ...]] = ("x", "weight", "bias")
    law: ClassVar[str] = "y[n,o,p] = Σ_c,t x[n,c,p·stride + t·dilation - padding] · w[o,c,t] + b[o]"

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2, 3)
        x, weight = inputs[:2]
        check.ndim(x, 4, IMAGE)
        dtype = check.floating(*inputs)
        filters, channels, *kernel = self.check_filter(check, weight)
        check.equal(
            x.shape[1],
            channels * self.groups,
            f"the input has {x.shape[1]} channels, the weight takes {channels * self.groups} "
            f"(weight.shape[1] {channels} x groups {self.groups})",
            fix="a weight has the shape (filters, channels / groups, height, width); images are "
            "(batch, channels, height, width)",
        )
        if len(inputs) == 3:
            check.ndim(inputs[2], 1, "one number per filter")
            what = f"the weight has {filters} filters, the bias {inputs[2].shape[0]} numbers"
            check.equal(inputs[2].shape[0], filters, what)
        rows, columns = self.check_sweeps(check, x.shape[2:], (kernel[0], kernel[1]))
        return TensorType((x.shape[0], filters, rows.out, columns.out), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        x, weight = inputs[:2]
        kernel = weight.shape[2:]
        rows, columns = self.numbers(x.shape[2:], kernel, sizes)
        image = _grouped(pad_image(wide(x), rows, columns, 0.0), self.groups, 1)
        filters = _grouped(wide(weight), self.groups, 0)
        maps = np.zeros((len(x), *filters.shape[:2], rows.count, columns.count), image.dtype)
        for h, w in np.ndindex(*kernel):
            seen = image[..., rows.reach(h), columns.reach(w)]
            maps += np.einsum("ngchw,goc->ngohw", seen, filters[..., h, w])
        result = maps.reshape(len(x), len(weight), rows.count, columns.count)
        if len(inputs) == 3:
            result += wide(inputs[2])[:, None, None]
        return result.astype(x.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        x, weight = node.inputs[:2]
        to_x = make(Conv2dInputGrad(size=_plane(x), **self.settings()), gradient, weight)
        to_weight = make(Conv2dWeightGrad(kernel=_kernel(weight), **self.settings()), x, gradient)
        bias = [sum_(gradient, (0, 2, 3))] if len(node.inputs) == 3 else []
        return [to_x, to_weight, *bias]

    def lower(self, low: Lowering, node: Node) -> None:
        x, weight = node.inputs[:2]
        rows, columns = self.sweeps(x.shape[2:], _kernel(weight))
        group, ic, oc, kh, kw = self.split(weight)
        n, oh, ow = Axis("n", x.shape[0]), Axis("oh", rows.out), Axis("ow", columns.out)
        bias = len(node.inputs) == 3
        out: Ref = low.scratch("product", node.shape, node.dtype) if bias else low.out
        pixel = [rows.pixel(oh, kh), columns.pixel(ow, kw)]
        low.gemm(
            batch=(n, *group), m=(oc.axis,), n=(oh, ow), k=(ic.axis, kh, kw),
            a=low.load(weight, [oc.index, ic.axis, kh, kw]),
            b=low.load(x, [n, ic.index, *pixel], _fill(rows, columns)),
            out=out, out_index=[n, oc.index, oh, ow],
        )  # fmt: skip
        if bias:
            axes = low.axes(node.shape)
            each = apply("add", low.load(out, axes), low.load(node.inputs[2], [axes[1]]))
            low.map(axes, low.out, axes, each)

    def receptive(self, node: Node) -> Sequence[Receptive]:
        x, weight = node.inputs[:2]
        rows, columns = self.sweeps(x.shape[2:], _kernel(weight))
        channels = _group_channels(weight, self.groups)
        window = windowed(rows.window(), columns.window(), (-3, channels))
        # A filter belongs to one channel of the result.
        reads: list[Receptive] = [window, Followed((1, None, None, None)), Followed((1,))]
        return reads[: len(node.inputs)]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        bias = elements(node, sizes) if len(node.inputs) == 3 else 0
        return Cost(_products(node, node.inputs[1], sizes) + bias, traffic(node, sizes))


def _plane(image: Node) -> Plane:
    return image.shape[2], image.shape[3]


def _kernel(weight: Node) -> tuple[int, int]:
    height, width = weight.shape[2:]
    return evaluate(height, {}), evaluate(width, {})


def _group_channels(weight: Node, groups: int) -> AxisWindow:
    """A channel of the result reads every channel of the image that is in its group."""
    filters, channels = (evaluate(size, {}) for size in weight.shape[:2])
    if groups == 1:
        return AxisWindow(channels, stride=0)
    return AxisWindow(channels, stride=channels, per=filters // groups)


def _products(map_: Node, weight: Node, sizes: Mapping[str, int]) -> int:
    """Flops of any of the three: each position of each map meets each number of its filter."""
    return 2 * elements(map_, sizes) * math.prod(weight.type.concrete(sizes)[1:])


# -- gradient to the image -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2dInputGrad(Convolution):
    """The transpose of ``conv2d`` in x: each position spreads its filter over its pixels."""

    name: ClassVar[str] = "conv2d_input_grad"
    operands: ClassVar[tuple[str, ...]] = ("gradient", "weight")
    law: ClassVar[str] = "<conv2d(x, w), g> = <x, conv2d_input_grad(g, w)>"
    size: Plane

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        gradient, weight = inputs
        check.ndim(gradient, 4, IMAGE)
        dtype = check.floating(gradient, weight)
        filters, channels, *kernel = self.check_filter(check, weight)
        what = f"the gradient has {gradient.shape[1]} channels, the weight has {filters} filters"
        check.equal(gradient.shape[1], filters, what)
        for size in self.size:
            check.at_least(size, 1, "size of the image")
        swept = self.check_sweeps(check, self.size, (kernel[0], kernel[1]))
        self.check_map(check, gradient, swept)
        return TensorType((gradient.shape[0], channels * self.groups, *self.size), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        gradient, weight = inputs
        kernel = weight.shape[2:]
        rows, columns = self.numbers(self.size, kernel, sizes)
        maps = _grouped(wide(gradient), self.groups, 1)
        filters = _grouped(wide(weight), self.groups, 0)
        channels = weight.shape[1]
        shape = (len(gradient), self.groups, channels, rows.length, columns.length)
        image = np.zeros(shape, maps.dtype)
        for h, w in np.ndindex(*kernel):
            spread = np.einsum("ngohw,goc->ngchw", maps, filters[..., h, w])
            image[..., rows.reach(h), columns.reach(w)] += spread
        image = image[..., rows.inner, columns.inner]
        merged = image.reshape(len(gradient), self.groups * channels, *image.shape[3:])
        return merged.astype(gradient.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        g, weight = node.inputs
        to_weight = make(Conv2dWeightGrad(kernel=_kernel(weight), **self.settings()), gradient, g)
        return [make(Conv2d(**self.settings()), gradient, weight), to_weight]

    def lower(self, low: Lowering, node: Node) -> None:
        g, weight = node.inputs
        rows, columns = self.sweeps(self.size, _kernel(weight))
        group, ic, oc, kh, kw = self.split(weight)
        n, ih, iw = Axis("n", g.shape[0]), Axis("ih", rows.size), Axis("iw", columns.size)
        position = [rows.position(ih, kh), columns.position(iw, kw)]
        low.gemm(
            batch=(n, *group), m=(ic.axis,), n=(ih, iw), k=(oc.axis, kh, kw),
            a=low.load(weight, [oc.index, ic.axis, kh, kw]),
            b=low.load(g, [n, oc.index, *position], 0.0),
            out_index=[n, ic.index, ih, iw],
        )  # fmt: skip

    def receptive(self, node: Node) -> Sequence[Receptive]:
        weight = node.inputs[1]
        rows, columns = self.sweeps(self.size, _kernel(weight))
        filters, each = weight.type.concrete({})[:2]
        if self.groups == 1:
            channels = AxisWindow(filters, stride=0)
        else:
            filters //= self.groups
            channels = AxisWindow(filters, stride=filters, per=each)
        return [windowed(rows.window_back(), columns.window_back(), (-3, channels)), Everything()]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(_products(node.inputs[0], node.inputs[1], sizes), traffic(node, sizes))


# -- gradient to the weight ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2dWeightGrad(Convolution):
    """The transpose of ``conv2d`` in the weight: summed over all uses, the batch's and the
    positions'."""

    name: ClassVar[str] = "conv2d_weight_grad"
    operands: ClassVar[tuple[str, ...]] = ("x", "gradient")
    law: ClassVar[str] = "<conv2d(x, w), g> = <w, conv2d_weight_grad(x, g)>"
    kernel: Pair

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kernel", pair(self.kernel, f"{self.name}: kernel"))

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(2)
        x, gradient = inputs
        check.ndim(x, 4, IMAGE)
        check.ndim(gradient, 4, IMAGE)
        dtype = check.floating(x, gradient)
        check.equal(x.shape[0], gradient.shape[0], "the batches differ")
        (channels,) = self.check_ints(check, x.shape[1:2], "the channels of x")
        (filters,) = self.check_ints(check, gradient.shape[1:2], "the channels of the gradient")
        self.check_groups(check, channels, f"the {channels} channels of x")
        self.check_groups(check, filters, f"the {filters} channels of the gradient")
        self.check_map(check, gradient, self.check_sweeps(check, x.shape[2:], self.kernel))
        return TensorType((filters, channels // self.groups, *two(self.kernel)), dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        x, gradient = inputs
        height, width = two(self.kernel)
        rows, columns = self.numbers(x.shape[2:], self.kernel, sizes)
        image = _grouped(pad_image(wide(x), rows, columns, 0.0), self.groups, 1)
        maps = _grouped(wide(gradient), self.groups, 1)
        result = np.zeros((*maps.shape[1:3], image.shape[2], height, width), maps.dtype)
        for h, w in np.ndindex(height, width):
            seen = image[..., rows.reach(h), columns.reach(w)]
            result[..., h, w] = np.einsum("ngohw,ngchw->goc", maps, seen)
        return result.reshape(-1, *result.shape[2:]).astype(x.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        x, g = node.inputs
        to_x = make(Conv2dInputGrad(size=_plane(x), **self.settings()), g, gradient)
        return [to_x, make(Conv2d(**self.settings()), x, gradient)]

    def lower(self, low: Lowering, node: Node) -> None:
        x, g = node.inputs
        rows, columns = self.sweeps(x.shape[2:], self.kernel)
        group, ic, oc, kh, kw = self.split(node)
        n, oh, ow = Axis("n", x.shape[0]), Axis("oh", rows.out), Axis("ow", columns.out)
        pixel = [rows.pixel(oh, kh), columns.pixel(ow, kw)]
        low.gemm(
            batch=group, m=(oc.axis,), n=(ic.axis, kh, kw), k=(n, oh, ow),
            a=low.load(g, [n, oc.index, oh, ow]),
            b=low.load(x, [n, ic.index, *pixel], _fill(rows, columns)),
            out_index=[oc.index, ic.axis, kh, kw],
        )  # fmt: skip

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [Everything(), Everything()]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(_products(node.inputs[1], node, sizes), traffic(node, sizes))


# -- functions -------------------------------------------------------------------------------------


def conv2d(
    x: Node,
    w: Node,
    b: Node | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Node:
    """What libraries call convolution: the filter laid over the image as drawn (correlation).

    x: (N, C, H, W); w: (O, C / groups, KH, KW); b: (O,) or None. Result (N, O, OH, OW) with
    OH = ⌊(H + top + bottom - dilation·(KH-1) - 1) / stride⌋ + 1. stride, dilation: an int or a pair
    (height, width). padding, in pixels of zeros: an int, a pair (height, width), ``"valid"`` (0),
    ``"same"`` (OH = ⌈H / stride⌉, the odd pixel at the bottom and right, as TensorFlow), or
    ``((top, bottom), (left, right))``. groups: channel groups that do not mix.

    Names, order and defaults are those of ``torch.nn.functional.conv2d``. ``convolve2d`` is the
    true convolution. Raises ShapeError where the channels do not match, the groups do not divide or
    the window does not fit; DTypeError where the operands are not of one floating dtype; GraphError
    for a stride, padding or dilation of another form.

    >>> import graphc as gx, numpy as np
    >>> x = gx.input("x", (1, 1, 3, 3))
    >>> w = gx.constant(np.float32([[[[1, 0], [0, -1]]]]))
    >>> graph = gx.Graph({"y": gx.conv2d(x, w)})
    >>> gx.interpret(graph, {}, x=np.arange(9.0).reshape(1, 1, 3, 3))["y"][0, 0]
    array([[-4., -4.],
           [-4., -4.]], dtype=float32)
    """
    op = Conv2d(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return make(op, x, w) if b is None else make(op, x, w, b)


def convolve2d(
    x: Node,
    w: Node,
    b: Node | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Node:
    """The convolution of the formula, x₁[n,m] = Σ f[k,l] · x₀[n-k, m-l]: the filter is flipped.

    Shapes, arguments and errors as in ``conv2d``, and two paddings by their meaning here:
    ``"same"`` puts the origin of the filter at (K-1)//2, for even sizes too, as
    ``scipy.signal.convolve2d(mode="same")`` (a stride then takes every stride-th pixel of it);
    ``"full"`` keeps every position where filter and image meet.

    It is ``conv2d`` of the flipped filter: two nodes.

    >>> import graphc as gx, numpy as np
    >>> x = gx.input("x", (1, 1, 1, 4))
    >>> f = gx.constant(np.float32([[[[1, 10, 100]]]]))
    >>> graph = gx.Graph({"y": gx.convolve2d(x, f, padding="full")})
    >>> gx.interpret(graph, {}, x=[[[[1, 2, 0, 0]]]])["y"].ravel()
    array([  1.,  12., 120., 200.,   0.,   0.], dtype=float32)
    """
    shape = getattr(w, "shape", ())
    if len(shape) == 4 and all(isinstance(size, int) for size in shape):
        if isinstance(padding, str) and padding in ("same", "full"):
            padding = _formula_padding(w, padding, two(pair(dilation, "convolve2d: dilation")))
        w = flip(w, (2, 3))
    # Anything else cannot be a filter, and conv2d says why.
    return conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _formula_padding(weight: Node, word: str, dilation: tuple[int, int]) -> Padding:
    sides = []
    for size, step in zip(_kernel(weight), dilation, strict=True):
        # Flipped, the origin (K-1)//2 has K-1 - (K-1)//2 taps before it.
        origin = (size - 1) // 2
        before, after = (size - 1 - origin, origin) if word == "same" else (size - 1, size - 1)
        sides.append((before * step, after * step))
    return sides[0], sides[1]


def conv2d_input_grad(
    g: Node,
    w: Node,
    size: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Node:
    """The gradient of ``conv2d`` to its image, also known as transposed convolution.

    g: (N, O, OH, OW), the gradient of the result; w: (O, C / groups, KH, KW); size: the (H, W) of
    the image; the rest as it was given to ``conv2d``. Result (N, C, H, W). Linear in both operands.
    Raises ShapeError where g is not what ``conv2d`` makes of an image of this size.

    >>> import graphc as gx, numpy as np
    >>> g = gx.input("g", (1, 1, 1, 2))
    >>> w = gx.constant(np.float32([[[[1, 2]]]]))
    >>> graph = gx.Graph({"x": gx.conv2d_input_grad(g, w, (1, 4), stride=2)})
    >>> gx.interpret(graph, {}, g=[[[[3, 4]]]])["x"].ravel()
    array([3., 6., 4., 8.], dtype=float32)
    """
    plane = plane_of(size, "conv2d_input_grad: size")
    op = Conv2dInputGrad(
        size=plane, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return make(op, g, w)


def conv2d_weight_grad(
    x: Node,
    g: Node,
    kernel: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Node:
    """The gradient of ``conv2d`` to its filters: the sum over all their uses.

    x: (N, C, H, W); g: (N, O, OH, OW), the gradient of the result; kernel: the size (KH, KW) of a
    filter, or one int; the rest as it was given to ``conv2d``. Result (O, C / groups, KH, KW).
    Linear in both operands. Raises ShapeError where g is not what ``conv2d`` makes of x.

    >>> import graphc as gx
    >>> x, g = gx.input("x", ("N", 1, 1, 3)), gx.input("g", ("N", 1, 1, 2))
    >>> graph = gx.Graph({"w": gx.conv2d_weight_grad(x, g, (1, 2))})
    >>> gx.interpret(graph, {}, x=[[[[1, 2, 3]]]], g=[[[[1, 10]]]])["w"].ravel()
    array([21., 32.], dtype=float32)
    """
    op = Conv2dWeightGrad(
        kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return make(op, x, g)
