"""Mixed precision: products and activations in 16 bits, parameters and sums in 32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from graphc.ir import Graph, GraphError, Node
from graphc.ir.graph import post_order
from graphc.ir.leaves import Input, Parameter
from graphc.ir.node import make
from graphc.ir.types import dtype_of, is_float
from graphc.ops.compare import cast
from graphc.ops.core import Constant, constant
from graphc.passes.define import define
from graphc.passes.loss_scale import FINITE, Scaler
from graphc.passes.optimizer import number

FLOAT32 = np.dtype(np.float32)

# Where the time goes: always in the low type.
PRODUCTS = frozenset({"conv2d", "conv2d_input_grad", "conv2d_weight_grad", "linear", "matmul"})
# Linear in each operand, linear in the first one, additive in all: what carries a scale on.
BY_EACH = PRODUCTS | {"mul"}
BY_FIRST = frozenset(
    {"reshape", "transpose", "slice", "pad", "broadcast_to", "flip", "neg", "dropout", "div",
     "max_pool2d_scatter", "max_pool2d_take", "avg_pool2d", "avg_pool2d_input_grad", "again",
     "edge"}
)  # fmt: skip
BY_ALL = frozenset({"add", "sub", "concat", "where"})
# Computed in float32, and rounded for what follows: else a network of them would stay in float32.
ROUNDED = frozenset({"batch_norm", "local_response_norm"})
# In the low type where an operand is: they round once. All other ops, reductions, softmax,
# cross_entropy, statistics, roots, powers, work in float32.
FOLLOWERS = (BY_EACH | BY_FIRST | BY_ALL | frozenset(
    {"relu", "max_pool2d", "tanh", "sigmoid", "maximum", "minimum", "abs", "sign",
     "eq", "ne", "lt", "le", "gt", "ge"}
)) - {"div"}  # fmt: skip


@define(changes="*")
def mixed_precision(
    dtype: str = "float16",
    loss_scale: float | Literal["dynamic"] = 1024.0,
    growth_interval: int = 2000,
) -> Callable[[Graph], Graph]:
    """y = conv2d(x, w) -> y = conv2d(cast(x), cast(w)) in 16 bits, forwards and backwards.

    Convolutions and products work in ``dtype``, and so does what stands between them (relu,
    pooling, additions, dropout). Normalization, a batch's statistics, reductions, softmax,
    ``cross_entropy`` and every ``grad_sum`` work in float32. Parameters and states stay float32
    (the master weights), and outputs keep their types: ``loss`` and ``grad/…`` are float32, for the
    optimizer.

    loss_scale: a gradient is multiplied by it where it is cast to ``dtype`` and divided by it where
    it is cast back, so that small ones do not vanish in float16 (least 6e-8); a power of two is
    exact. A number is static: should a gradient overflow to inf, lower it. ``"bfloat16"`` has
    float32's range and needs none (1.0).

    loss_scale="dynamic": the scale is the state ``mixed_precision/loss_scale``, 65536 at first. An
    output ``finite`` says whether all gradients are finite. Where they are not, the optimizers
    behind this pass leave parameters and their own states as they are, and the scale is halved;
    after ``growth_interval`` finite steps in a row it is doubled (between 2⁻²⁴ and 2²⁴), PyTorch's
    rule (torch.amp.GradScaler).

    It stands behind ``backward`` and in front of the optimizer; on a graph without gradients it
    makes the network that predicts. Running it twice changes nothing. Raises GraphError: another
    dtype, a scale that is not above 0, an interval below 1, an output ``finite`` of the user's, or
    behind an optimizer. Micikevicius et al., Mixed Precision Training, 2018.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x, w = gx.input("x", ("N", 3)), gx.parameter("w", (2, 3))
    >>> graph = gx.Graph({"loss": gx.mean(gx.linear(x, w))})
    >>> step = graph.apply(passes.backward(), passes.mixed_precision())
    >>> step.parameters["w"].dtype.name, step.outputs["grad/w"].dtype.name
    ('float32', 'float32')
    >>> [n.dtype.name for n in step.nodes if n.op.name == "linear"]
    ['float16']
    """
    if dtype not in ("float16", "bfloat16"):
        raise GraphError(f"mixed_precision(dtype={dtype!r}): it is 'float16' or 'bfloat16'")
    dynamic = loss_scale == "dynamic"
    if isinstance(loss_scale, str) and not dynamic:
        raise GraphError(
            f"mixed_precision(loss_scale={loss_scale!r}): it is a number, or 'dynamic'"
        )
    fixed = 1.0 if dynamic else number(loss_scale, "mixed_precision(loss_scale=…)")
    if isinstance(growth_interval, bool) or not isinstance(growth_interval, int):
        raise GraphError(f"mixed_precision(growth_interval={growth_interval!r}) is no whole number")
    if growth_interval < 1:
        raise GraphError(f"mixed_precision(growth_interval={growth_interval}): at least 1 step")
    if fixed == 0:
        raise GraphError("mixed_precision(loss_scale=0) would lose every gradient: 1024, or 1")

    def run(graph: Graph) -> Graph:
        if any(isinstance(leaf.op, Parameter) for leaf in graph.leaf_updates):
            raise GraphError(
                "mixed_precision comes before the optimizer, whose updates are made in float32: "
                "passes.backward(), passes.mixed_precision(), passes.sgd(…)"
            )
        scaled = dynamic and any(name.startswith("grad/") for name in graph.outputs)
        scaler = Scaler(graph, growth_interval) if scaled else None
        lowering = _Lowered(graph, dtype_of(dtype), scaler.scale if scaler else fixed)
        result = graph.rewrite(lowering.replace)
        if scaler:
            result = scaler.follow(result)
        known = set(result.nodes)

        def shown(old: Node) -> Node:
            whole = lowering.whole.get(old, old)
            return whole if whole in known else lowering.value.get(old, old)

        gradients = {shown(node): shown(g) for node, g in graph.gradients.items()}
        return result.rebuild(gradients=gradients)

    return run


class _Lowered:
    """The values of a graph in the type that each is computed in, by the old node.

    A value in the low type that carries the scale is in ``scaled``: how it was computed tells, so
    that it is divided out exactly once.
    """

    def __init__(self, graph: Graph, low: np.dtype[Any], scale: float | Node) -> None:
        self.low = low
        self.scale = None if scale == 1 else scale
        self.value: dict[Node, Node] = {}
        self.whole: dict[Node, Node] = {}  # the same in the old type, unscaled
        self.flexible: set[Node] = set()  # float32, and computed from leaves and constants only
        self.scaled: set[Node] = set()
        self.gradients = _gradient_values(graph)

    def replace(self, old: Node, inputs: tuple[Node, ...]) -> Node | None:
        """The value in its old type; where nothing needs it so, it is not part of the graph."""
        node, scaled = self._computed(old, inputs)
        if scaled:
            self.scaled.add(old)
        self.value[old] = node
        if old.op.name in ROUNDED and old.dtype == FLOAT32:
            self.value[old] = cast(node, self.low)
        if node.dtype == old.dtype:
            self.whole[old] = node
        else:
            up = cast(node, old.dtype)
            self.whole[old] = up * (1 / self.scale) if scaled and self.scale is not None else up
        return self.whole[old]

    def _computed(self, old: Node, inputs: tuple[Node, ...]) -> tuple[Node, bool]:
        floats = [i for i, source in enumerate(old.inputs) if source.dtype == FLOAT32]
        if old.op.name == "again":
            floats = floats[:1] if 0 in floats else []
        if self._works_low(old, floats):
            operands = list(inputs)
            carrying: set[int] = set()
            for i in floats:
                operands[i], carries = self._lowered(old.inputs[i])
                carrying |= {i} if carries else set()
            if not carrying or self._carries_on(old, floats, carrying):
                return make(old.op, *operands), bool(carrying)
        if _is_free(old) or (
            floats
            and old.op.name in FOLLOWERS - PRODUCTS
            and all(old.inputs[i] in self.flexible for i in floats)
        ):
            self.flexible.add(old)
        return (make(old.op, *inputs) if inputs and inputs != old.inputs else old), False

    def _works_low(self, old: Node, floats: list[int]) -> bool:
        if not floats or old.op.name not in FOLLOWERS:
            return False
        if old.op.name in PRODUCTS:
            return True
        kinds = [self.value[old.inputs[i]].dtype == self.low for i in floats]
        free = [old.inputs[i] in self.flexible for i in floats]
        return any(kinds) and all(k or f for k, f in zip(kinds, free, strict=True))

    def _lowered(self, source: Node) -> tuple[Node, bool]:
        """A value in the low type, and whether it carries the scale."""
        value = self.value[source]
        if value.dtype == self.low:
            return value, source in self.scaled
        if source in self.gradients and self.scale is not None:
            return cast(value * self.scale, self.low), True
        if isinstance(value.op, Constant):
            return constant(value.op.value.astype(self.low)), False
        return cast(value, self.low), False

    def _carries_on(self, old: Node, floats: list[int], carrying: set[int]) -> bool:
        """Whether the result is scaled as the operands ``carrying`` are, and by it once."""
        name = old.op.name
        if name in BY_EACH:
            return len(carrying) == 1 and len(floats) == 2
        if name in BY_FIRST:
            return carrying == {0} and not old.op.attributes().get("value", 0.0)
        # 0 is scaled and unscaled at once.
        return name in BY_ALL and all(i in carrying or _is_zero(old.inputs[i]) for i in floats)


def _gradient_values(graph: Graph) -> set[Node]:
    """The nodes of the way back that are gradients: they are small, and linear in the loss."""
    made = [n for n in graph.outputs if n.startswith("grad/") or n == FINITE]
    forward = set(post_order([node for name, node in graph.outputs.items() if name not in made]))
    # A constant is one node wherever it stands: 1 is the gradient of the loss, and a plain 1.
    known = {g for g in graph.gradients.values() if not isinstance(g.op, Constant)} - forward
    found: set[Node] = set()
    for node in graph.nodes:
        read = node.inputs[:1] if node.op.name == "again" else node.inputs
        if node not in forward and (node in known or any(source in found for source in read)):
            found.add(node)
    return found


def _is_free(node: Node) -> bool:
    """A float32 value that is no less exact for being cast: a leaf, a constant, a 0 or 1."""
    if node.dtype != FLOAT32:
        return False
    if node.op.name == "cast":
        return not is_float(node.inputs[0].dtype)
    return isinstance(node.op, (Input, Parameter, Constant)) or node.op.name == "one_hot"


def _is_zero(node: Node) -> bool:
    return isinstance(node.op, Constant) and not np.any(node.op.value)


__all__ = ["mixed_precision"]
