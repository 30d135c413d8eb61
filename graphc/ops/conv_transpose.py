"""Transposed convolution: the gradient of ``conv2d`` to its image, run forwards."""

from __future__ import annotations

from typing import Any

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.node import Node
from graphc.ops.conv import IMAGE, conv2d_input_grad
from graphc.ops.mistake import mistake
from graphc.ops.padding import padding_form, pair, refuse, sides, two
from graphc.ops.shape import reshape

__all__ = ["conv_transpose2d"]


def conv_transpose2d(
    x: Node,
    w: Node,
    b: Node | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Node:
    """Each pixel spreads its filter over the image: what ``conv2d`` does, transposed.

    x: (N, C, H, W); w: (C, O / groups, KH, KW); b: (O,) or None. Result (N, O, OH, OW) with
    OH = (H - 1)·stride - top - bottom + dilation·(KH - 1) + 1 + output_padding: of the sizes that
    a ``conv2d`` with this stride brings to H, ``output_padding`` (less than the stride) says which.
    padding: an int, a pair, or ((top, bottom), (left, right)): what is cut off the result.

    Names and defaults are those of ``torch.nn.functional.conv_transpose2d``. It is
    ``conv2d_input_grad`` with the same weight. Raises ShapeError where the operands do not fit,
    GraphError for a stride, padding, output_padding or dilation of another form.

    >>> import graphc as gx
    >>> x = gx.input("x", (1, 1, 1, 2))
    >>> graph = gx.Graph({"y": gx.conv_transpose2d(x, gx.constant([[[[1.0, 10.0]]]]), stride=2)})
    >>> gx.interpret(graph, {}, x=[[[[3, 4]]]])["y"].ravel()
    array([ 3., 30.,  4., 40.], dtype=float32)
    """
    name = "conv_transpose2d"
    steps = two(pair(stride, f"{name}: stride"))
    gaps = two(pair(dilation, f"{name}: dilation"))
    extra = two(pair(output_padding, f"{name}: output_padding"))
    form = padding_form(padding, f"{name}: padding")
    if not all(0 <= more < step for more, step in zip(extra, steps, strict=True)):
        refuse(f"{name}: output_padding", output_padding, f"from 0 to below the stride {stride}")
    if x.ndim != 4 or w.ndim != 4:
        mistake(name, f"x has {x.ndim} axes and w {w.ndim}, not 4 each ({IMAGE})", x=x, w=w)
    if dims.always_equal(x.shape[1], w.shape[0]) is False:
        what = f"x has {x.shape[1]} channels, the weight takes {w.shape[0]} (w.shape[0])"
        fix = "a weight has the shape (channels of x, channels out / groups, height, width)"
        mistake(name, what, fix=fix, x=x, w=w)
    size: list[Size] = []
    for axis, side in enumerate(sides(form)):
        if isinstance(side, str):
            refuse(f"{name}: padding", padding, "a number of pixels to cut off")
        span = gaps[axis] * (w.shape[2 + axis] - 1) + 1
        spread = (x.shape[2 + axis] - 1) * steps[axis] + span
        size.append(spread - side[0] - side[1] + extra[axis])
    y = conv2d_input_grad(
        x, w, tuple(size), stride=stride, padding=form, dilation=dilation, groups=groups
    )
    return y if b is None else y + reshape(b, (*b.shape, 1, 1))
