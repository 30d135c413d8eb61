"""Checks that write their own message: both operands, their shapes, the lines that made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from graphc.ir import dims
from graphc.ir.dims import Guard, Size
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.facts import user_line
from graphc.ir.node import Node, describe
from graphc.ir.op import Op
from graphc.ir.types import LARGEST_SIZE, Shape, is_float, short


class Check:
    """What an op's ``infer`` asks its questions through; it collects the guards on the way."""

    def __init__(self, op: Op, inputs: tuple[Node, ...]) -> None:
        self.op = op
        self.inputs = inputs
        self.guards: dict[Guard, None] = {}

    # -- failing ------------------------------------------------------------------------------

    def fail(self, what: str, *, fix: str = "", error: type[GraphError] = ShapeError) -> NoReturn:
        """Raise ``error`` with every operand's name, type and line, the call's line and the fix."""
        raise error(self.message(what, fix), nodes=self.inputs, lines=self._lines())

    def message(self, what: str, fix: str = "") -> str:
        """The full text of an error about this op."""
        rows = [f"{self.op.name}: {what}"]
        # Where random bits come from is hidden, as in print.
        inputs = self.inputs[: self.op.shown]
        names = [self.op.operand(i) for i in range(len(inputs))]
        width = max(map(len, names), default=0)
        for name, node in zip(names, inputs, strict=True):
            rows.append(f"  {name:<{width}}  {describe(node)}")
        rows.append(f"  called at {user_line()}")
        if fix:
            rows.append(f"  to fix: {fix}")
        return "\n".join(rows)

    def _lines(self) -> list[str]:
        return [*(line for node in self.inputs for line in node.lines), user_line()]

    def require(
        self, truth: bool, what: str, *, fix: str = "", error: type[GraphError] = ShapeError
    ) -> None:
        """Fail with ``what`` unless ``truth``."""
        if not truth:
            self.fail(what, fix=fix, error=error)

    def arity(self, least: int, most: int | None = None) -> None:
        """The op takes ``least`` operands, or up to ``most`` (a file can write another count)."""
        most = least if most is None else most
        if not least <= len(self.inputs) <= most:
            wanted = str(least) if most == least else f"{least} to {most}"
            self.fail(f"takes {wanted} operands, not {len(self.inputs)}", error=GraphError)

    # -- sizes --------------------------------------------------------------------------------

    def equal(self, left: Size, right: Size, what: str, *, fix: str = "") -> Size:
        """The one size that two must be: a literal wins, else the left; undecided is a guard."""
        same = dims.always_equal(left, right)
        if same is False:
            self.fail(f"{what}: {left} != {right}", fix=fix)
        if same is None:
            self.guards.setdefault(Guard(left, "==", right))
        return right if isinstance(right, int) and not isinstance(left, int) else left

    def at_least(self, size: Size, bound: int, what: str, *, fix: str = "") -> Size:
        """``size``, which must be ``bound`` or more; undecided is a guard."""
        enough = dims.always_at_least(size, bound)
        if enough is False:
            self.fail(f"{what}: {size} is less than {bound}", fix=fix)
        if enough is None:
            self.guards.setdefault(Guard(size, ">=", bound))
        if isinstance(size, int) and size >= LARGEST_SIZE:
            self.fail(f"{what}: {size} is more than graphc counts")
        return size

    def same_shape(self, left: Node, right: Node, what: str) -> Shape:
        """The shape that two operands must share."""
        if left.ndim != right.ndim:
            self.fail(f"{what}: {left.ndim} axes and {right.ndim}")
        return tuple(
            self.equal(a, b, f"{what}, axis {axis}")
            for axis, (a, b) in enumerate(zip(left.shape, right.shape, strict=True))
        )

    def broadcast(self, shapes: Sequence[Shape]) -> Shape:
        """NumPy's rule, where only a literal 1 stretches: a named dimension never does."""
        result: list[Size] = []
        for back in range(max(map(len, shapes), default=0), 0, -1):
            size: Size = 1
            for shape in shapes:
                if len(shape) < back or shape[-back] == 1:
                    continue
                here = shape[-back]
                if size == 1:
                    size = here
                    continue
                size = self.equal(
                    size, here, f"the shapes do not broadcast (axis {-back})",
                    fix="make the sizes equal, or reshape one operand so that the axis is 1",
                )  # fmt: skip
            result.append(size)
        return tuple(result)

    # -- axes and types -----------------------------------------------------------------------

    def ndim(self, node: Node, count: int, layout: str) -> None:
        """``node`` must have ``count`` axes, laid out as ``layout`` says."""
        if node.ndim != count:
            name = self.op.operand(self.inputs.index(node))
            self.fail(f"{name} has {node.ndim} axes, not {count} ({layout})")

    def dtype(self, *nodes: Node) -> np.dtype[Any]:
        """The one dtype that these operands must have: graphc never promotes."""
        first = nodes[0]
        for node in nodes[1:]:
            if node.dtype != first.dtype:
                wanted = first.dtype if is_float(first.dtype) else node.dtype
                self.fail(
                    f"the operands are {short(first.dtype)} and {short(node.dtype)}, "
                    "and dtypes never promote",
                    fix=f"cast one of them, e.g. gx.cast(x, '{wanted.name}')",
                    error=DTypeError,
                )
        return first.dtype

    def floating(self, *nodes: Node) -> np.dtype[Any]:
        """As ``dtype``, and it must be a floating one."""
        dtype = self.dtype(*nodes)
        if not is_float(dtype):
            self.fail(
                f"needs floating-point operands, not {short(dtype)}",
                fix="gx.cast(x, 'float32') first",
                error=DTypeError,
            )
        return dtype
