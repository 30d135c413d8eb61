"""How a window sweeps over an image: kernel, stride, dilation, padding. Convolution and pooling.

Every form of padding has one spelling in the attributes of an op, the shortest, so that two
spellings of one convolution are one node: an int, a pair (height, width), the word ``"same"``, or
``((top, bottom), (left, right))``. ``"same"`` stays a word, because the padding it stands for
depends on the size, which may be symbolic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np

from graphc.ir.check import Check
from graphc.ir.dims import Dim, Size, evaluate
from graphc.ir.errors import GraphError
from graphc.ir.facts import user_line
from graphc.ir.kernel import Axis, Index, index
from graphc.ir.op import Array
from graphc.ir.types import shape_of
from graphc.ir.window import AxisWindow, Windowed

Pair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = int | str | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
# Height and width; a size may be symbolic.
Plane: TypeAlias = tuple[int | Dim, int | Dim]

AXES = ("height", "width")


# -- the forms that a user may write --------------------------------------------------------------


def pair(value: Any, what: str) -> Pair:
    """An int, or a pair (height, width) that becomes an int where its two are equal.

    Raises GraphError, with ``what`` ("conv2d: stride"), for anything else.
    """
    both = _ints((value, value) if _is_int(value) else value)
    if both is None:
        refuse(what, value, "an int or a pair of ints (height, width)")
    return both[0] if both[0] == both[1] else (both[0], both[1])


def padding_form(value: Any, what: str) -> Padding:
    """The shortest spelling of a padding: ``"valid"`` and ``((0, 0), (0, 0))`` are ``0``.

    Raises GraphError, with ``what`` ("conv2d: padding"), for anything that is not a padding.
    """
    wanted = (
        "an int, a pair of ints (height, width), 'valid', 'same', or ((top, bottom), (left, right))"
    )
    if isinstance(value, str):
        if value not in ("valid", "same"):
            refuse(what, value, wanted)
        return "same" if value == "same" else 0
    if _is_int(value) or _ints(value) is not None:
        return pair(value, what)
    sides = [_ints(side) for side in value] if isinstance(value, (tuple, list)) else []
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        refuse(what, value, wanted)
    (top, bottom), (left, right) = sides[0], sides[1]
    if top == bottom and left == right:
        return pair((top, left), what)
    return (top, bottom), (left, right)


def plane_of(size: Any, what: str) -> Plane:
    """A user's (height, width), ints or names. Raises GraphError for anything else."""
    shape = shape_of(size, what=what)
    if len(shape) != 2:
        refuse(what, size, "a pair (height, width)")
    return shape[0], shape[1]


def two(value: Pair) -> tuple[int, int]:
    """Height and width of a pair that may be written as one int."""
    return (value, value) if isinstance(value, int) else value


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _ints(value: Any) -> tuple[int, int] | None:
    whole = isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_int, value))
    return (int(value[0]), int(value[1])) if whole else None


def refuse(what: str, value: Any, wanted: str) -> NoReturn:
    """Raise a GraphError: ``what`` ("conv2d: stride") cannot be ``value``."""
    line = user_line()
    raise GraphError(f"{what}={value!r} is not {wanted}\n  called at {line}", lines=[line])


# -- one axis -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sweep:
    """A window of ``kernel`` taps that sweeps an axis of ``size`` pixels and stops ``out`` times.

    At position o, tap t stands on pixel ``o·stride + t·dilation - before``.
    """

    size: Size
    kernel: int
    stride: int
    dilation: int
    before: Size
    after: Size
    out: Size

    @staticmethod
    def of(
        size: Size, kernel: int, stride: int, dilation: int, padding: str | tuple[int, int]
    ) -> Sweep:
        """The sweep with this padding: (before, after), or ``"same"``."""
        span = dilation * (kernel - 1) + 1
        if not isinstance(padding, str):
            before, after = padding
            out = (size + before + after - span) // stride + 1
            return Sweep(size, kernel, stride, dilation, before, after, out)
        out = (size + stride - 1) // stride
        total = _same(size, span, stride)
        first = total // 2
        return Sweep(size, kernel, stride, dilation, first, total - first, out)

    def at(self, sizes: Mapping[str, int]) -> Sweep:
        """The same with every size a number."""
        numbers = (evaluate(s, sizes) for s in (self.before, self.after, self.out))
        size = evaluate(self.size, sizes)
        return Sweep(size, self.kernel, self.stride, self.dilation, *numbers)

    @property
    def span(self) -> int:
        """Pixels from the first tap to the last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> bool:
        """Whether a tap may stand outside the image."""
        return self.before != 0 or self.after != 0

    # -- in kernels ---------------------------------------------------------------------------

    def pixel(self, position: Axis, tap: Axis) -> Index:
        """The pixel that a tap stands on."""
        return position * self.stride + tap * self.dilation - self.before

    def position(self, pixel: Axis, tap: Axis) -> Index:
        """The position at which this tap stands on this pixel; not whole where there is none."""
        return (index(pixel) + self.before - tap * self.dilation) / self.stride

    # -- in NumPy: of a sweep in numbers ------------------------------------------------------

    @property
    def count(self) -> int:
        """How many positions there are."""
        return evaluate(self.out, {})

    @property
    def sides(self) -> tuple[int, int]:
        """The padding before and after."""
        return evaluate(self.before, {}), evaluate(self.after, {})

    @property
    def length(self) -> int:
        """Pixels with the padding."""
        return evaluate(self.size, {}) + sum(self.sides)

    @property
    def inner(self) -> slice:
        """Which of the padded pixels are the image's."""
        return slice(self.sides[0], self.sides[0] + evaluate(self.size, {}))

    def reach(self, tap: int) -> slice:
        """The padded pixels that a tap stands on, position after position."""
        first = tap * self.dilation
        return slice(first, first + (self.count - 1) * self.stride + 1, self.stride)

    # -- for receptive fields -----------------------------------------------------------------

    def window(self) -> AxisWindow:
        """What one position reads of the pixels."""
        return AxisWindow(self.kernel, self.stride, self.dilation, self.before)

    def window_back(self) -> AxisWindow:
        """What one pixel reads of the positions."""
        # The taps are counted from the last one, so that the dilation stays positive.
        return AxisWindow(self.kernel, 1, self.dilation, self.span - 1 - self.before, self.stride)


def _same(size: Size, span: int, stride: int) -> Size:
    """TensorFlow's total padding, max((⌈n/s⌉-1)·s + span - n, 0), exactly, for symbolic n too."""
    if span == 1:
        return 0
    # (⌈n/s⌉-1)·s - n is -1 - r with r = (n-1) mod s: between span-s and span-1.
    total = (size - 1) // stride * stride + span - size
    if span >= stride:
        return total
    # Sizes know no max: total·[total > 0], and the bracket is (total + s-1)//s, as |total| < s.
    return total * ((total + stride - 1) // stride)


# -- height and width -----------------------------------------------------------------------------


def sweeps(
    plane: Sequence[Size], kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = 1
) -> tuple[Sweep, Sweep]:
    """The sweeps over height and width."""
    taps, steps, gaps = two(kernel), two(stride), two(dilation)
    rows, columns = sides(padding)
    return (
        Sweep.of(plane[0], taps[0], steps[0], gaps[0], rows),
        Sweep.of(plane[1], taps[1], steps[1], gaps[1], columns),
    )


def sides(padding: Padding) -> tuple[str | tuple[int, int], str | tuple[int, int]]:
    """The padding of height and width, each (before, after) or ``"same"``."""
    match padding:
        case int() | str():
            side = padding if isinstance(padding, str) else (padding, padding)
            return side, side
        case (int(rows), int(columns)):
            return (rows, rows), (columns, columns)
        case ((top, bottom), (left, right)):
            return (top, bottom), (left, right)


def checked_sweeps(
    check: Check,
    plane: Sequence[Size],
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair = 1,
    *,
    inside: bool = False,
) -> tuple[Sweep, Sweep]:
    """As ``sweeps``, for ``infer``: every number in range and the window inside the padded image.

    ``inside``: no window may lie on padding alone (pooling), so no side reaches a kernel's length.
    """
    for name, value in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if min(two(value)) < 1:
            check.fail(f"{name}={value} is less than 1")
    swept = sweeps(plane, kernel, stride, padding, dilation)
    for sweep, axis in zip(swept, AXES, strict=True):
        if padding == "same":
            continue  # always fits
        for side in (sweep.before, sweep.after):
            if isinstance(side, int) and side < 0:
                check.fail(
                    f"padding={padding} is negative", fix="slice the input to crop it: x[:, :, 1:]"
                )
            if inside and isinstance(side, int) and side >= sweep.kernel:
                check.fail(
                    f"{axis}: with padding {side} a window of {sweep.kernel} may lie on padding "
                    "alone",
                    fix="pad by less than the kernel",
                )
        taps = f"kernel {sweep.kernel}" + (
            f" with dilation {sweep.dilation} spans" if sweep.dilation > 1 else " needs"
        )
        check.at_least(
            sweep.size + sweep.before + sweep.after,
            sweep.span,
            f"{axis}: the window does not fit: {taps} {sweep.span}, the input has {sweep.size} "
            f"and padding {sweep.before} + {sweep.after}",
            fix="use a smaller kernel, a larger input or more padding (padding='same' keeps sizes)",
        )
    return swept


def windowed(rows: AxisWindow, columns: AxisWindow, *more: tuple[int, AxisWindow]) -> Windowed:
    """Windows over the last two axes (and ``more``)."""
    return Windowed(((-2, rows), (-1, columns), *more))


def pad_image(image: Array, rows: Sweep, columns: Sweep, fill: float) -> Array:
    """The image with its padding, in NumPy."""
    return np.pad(image, ((0, 0), (0, 0), rows.sides, columns.sides), constant_values=fill)
