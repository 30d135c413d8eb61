"""Data parallelism as a graph: the batch cut into pieces that share every parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace as with_attributes
from functools import reduce
from typing import Any, NamedTuple

from graphc.ir import Graph, GraphError, Node, dims, facts
from graphc.ir.dims import Dim, Size
from graphc.ir.leaves import Input
from graphc.ir.node import make
from graphc.ops.core import constant
from graphc.ops.pointwise import Pointwise
from graphc.ops.reduce import Reduction
from graphc.ops.shape import Slice, broadcast_to, concat, reshape
from graphc.passes.define import define
from graphc.passes.select import only_before_backward


@define
def shard(k: int, *, batch: str | None = None) -> Callable[[Graph], Graph]:
    """f(x) -> concat(f(x₁), …, f(x_k)), loss -> (loss₁ + … + loss_k)/k: the same numbers.

    The axis ``batch`` of the inputs (the name of their leading dimension, where all that have one
    agree) is cut into k equal pieces, and whatever works example by example does so piece by piece,
    each a further use of its parameters: ``backward`` after it joins their gradients in the one
    ``grad_sum`` of each parameter. Sums and means over the batch, a loss or a batch's statistics,
    are those of the whole batch; where another op mixes examples, the pieces are joined first.
    Dropout's mask is drawn for the whole batch, and each piece takes its part: the same bits as
    without the pass. Outputs keep their shapes.

    That k divides the batch is a guard. It is the specification of data parallelism, and with
    ``backward`` and ``accumulate`` behind it, of micro-batches. Running it twice with one k changes
    nothing. Put ``insert_dropout`` and ``inference`` in front of it.

    Raises GraphError: k below 1, no symbolic batch axis or several, nothing that works example by
    example, a graph cut by another k already, or after ``backward``.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> x, w = gx.input("x", ("N", 3)), gx.parameter("w", (2, 3))
    >>> graph = gx.Graph({"loss": gx.mean(gx.linear(x, w))}).apply(passes.shard(2))
    >>> [user.op.name for user in graph.users(w)]
    ['linear', 'linear']
    >>> graph.apply(passes.backward()).outputs["grad/w"].op.name
    'grad_sum'
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise GraphError(f"shard(k={k!r}): how many pieces, an int of 1 or more")

    def run(graph: Graph) -> Graph:
        only_before_backward(graph, "shard")
        whole = batch_size(graph, batch)
        done = pieces_of(graph)
        if done and len(done) != k:
            raise GraphError(
                f"shard({k}): this graph is cut into {len(done)} pieces already. Apply shard once, "
                "to the graph as it was declared"
            )
        if done or k == 1:
            return graph
        sharding = _Sharding(k, whole)
        result = graph.rewrite(sharding.replace)
        if not sharding.cut_something:
            raise GraphError(
                f"shard({k}) found nothing that works example by example along {whole}: no op on "
                "the way from the inputs keeps its batch axis"
            )
        return result

    return run


def batch_size(graph: Graph, batch: str | None) -> Dim:
    """The dimension to cut: the one called ``batch``, else the one that leads the inputs."""
    inputs = graph.inputs.values()
    if batch is not None:
        named = Dim.named(batch)
        if not any(named in node.shape for node in inputs):
            found = sorted(dims.names(size for node in inputs for size in node.shape))
            raise GraphError(
                f"shard(batch={batch!r}): no input has an axis of that size; the inputs' named "
                f"sizes are {', '.join(found) or 'none'}"
            )
        return named
    leading = {n.shape[0] for n in inputs if n.shape and isinstance(n.shape[0], Dim)}
    if len(leading) == 1 and (size := leading.pop()).name is not None:
        return size
    if leading:
        names = ", ".join(sorted(map(str, leading)))
        raise GraphError(
            f"shard: the inputs are led by the sizes {names}: say which is the batch, batch='…'"
        )
    raise GraphError(
        "shard cuts a symbolic batch axis, and no input has one: declare it by a name, e.g. "
        "gx.input('image', ('N', 1, 28, 28))"
    )


def pieces_of(graph: Graph) -> list[list[Node]]:
    """The pieces of the inputs in a graph that ``shard`` cut, by their number; else empty."""
    found: dict[int, list[Node]] = {}
    count = 0
    for node in graph.nodes:
        if not isinstance(node.op, Slice) or node.inputs[0].op.name != "reshape":
            continue
        joined = node.inputs[0]
        if not isinstance(joined.inputs[0].op, Input):
            continue
        for start, size, whole in zip(node.op.starts, node.op.sizes, joined.shape, strict=True):
            parts, number = dims.quotient(whole, size), dims.quotient(start, size)
            cut = isinstance(size, Dim) and "//" in str(size)
            if cut and isinstance(number, int) and isinstance(parts, int) and parts > 1:
                count = max(count, parts)
                found.setdefault(number, []).append(node)
    return [found.get(number, []) for number in range(count)]


class _Cut(NamedTuple):
    """How an op works piece by piece: the axis of its result, and of each input (None: whole)."""

    axis: int
    inputs: tuple[int | None, ...]
    # Instead of pieces side by side the results are parts of a sum, or of a mean.
    total: str = ""


class _Sharding:
    """The pieces of every value that has some, and the whole ones, by the old node."""

    def __init__(self, k: int, batch: Dim) -> None:
        self.k = k
        self.batch = batch
        self.piece = batch // k
        self.axis: dict[Node, int] = {}  # of values in pieces
        self.pieces: dict[tuple[Node, int], tuple[Node, ...]] = {}
        self.cut_something = False

    def replace(self, old: Node, inputs: tuple[Node, ...]) -> Node | None:
        """The whole value; what only the pieces need of it is never part of the graph."""
        if isinstance(old.op, Input):
            axis = self._batch_axis(old)
            if axis is not None:
                self.axis[old] = axis
            return None
        how = self._how(old)
        op = None if how is None else self._of_piece(old.op)
        if how is None or op is None:
            return None
        columns = [
            (value,) * self.k if axis is None else self._take(source, value, axis)
            for source, value, axis in zip(old.inputs, inputs, how.inputs, strict=True)
        ]
        if old.op.name == "dropout":
            # The bits are numbered over the whole batch: one mask, of which each piece has a part.
            ones = broadcast_to(constant(1.0, old.dtype), old.shape)
            mask = self._slices(make(old.op, ones, *inputs[1:]), how.axis)
            parts = [x * part for x, part in zip(columns[0], mask, strict=True)]
        else:
            parts = [make(op, *row) for row in zip(*columns, strict=True)]
        if how.total:
            self.cut_something = True
            total = reduce(lambda a, b: a + b, parts)
            return total / self.k if how.total == "mean" else total
        wanted = tuple(self._size(size) for size in old.shape)
        if any(part.shape != wanted for part in parts):
            return None
        self.cut_something = True
        self.axis[old] = how.axis
        self.pieces[old, how.axis] = tuple(parts)
        return reshape(concat(parts, how.axis), old.shape)

    # -- sizes --------------------------------------------------------------------------------

    def _batch_axis(self, node: Node) -> int | None:
        """The one axis along which ``node`` can be cut: c·N long, with N in no other."""
        having = [i for i, n in enumerate(node.shape) if self._has_batch(n)]
        if len(having) != 1 or self._size(node.shape[having[0]]) is None:
            return None
        return having[0]

    def _has_batch(self, size: object) -> bool:
        return isinstance(size, Dim) and self.batch.names() <= size.names()

    def _size(self, size: Size) -> Size | None:
        """What a size is in a piece; None where it is no multiple of the batch."""
        if not self._has_batch(size):
            return size
        rest = dims.quotient(size, self.batch)
        return None if rest is None or self._has_batch(rest) else rest * self.piece

    def _of_piece(self, op: Any) -> Any:
        """The op with its attributes as they are in a piece; None where one cannot be."""
        changed: dict[str, Any] = {}
        for name, value in op.attributes().items():
            entries = value if isinstance(value, tuple) else (value,)
            if any(map(self._has_batch, entries)):
                sizes = [self._size(n) if self._has_batch(n) else n for n in entries]
                if None in sizes:
                    return None
                changed[name] = tuple(sizes) if isinstance(value, tuple) else sizes[0]
        return with_attributes(op, **changed) if changed else op

    # -- pieces -------------------------------------------------------------------------------

    def _take(self, old: Node, whole: Node, axis: int) -> tuple[Node, ...]:
        """The pieces of a value along ``axis``."""
        found = self.pieces.get((old, axis))
        if found is None:
            with facts.derive(old):
                found = self.pieces[old, axis] = self._slices(whole, axis)
        return found

    def _slices(self, whole: Node, axis: int) -> tuple[Node, ...]:
        # The reshape says, as a guard, that nothing is left over.
        size = self._size(whole.shape[axis])
        assert size is not None
        shape = list(whole.shape)
        shape[axis] = size * self.k
        joined = reshape(whole, tuple(shape))
        sizes = tuple(size if i == axis else n for i, n in enumerate(shape))

        def starts(number: int) -> tuple[Size, ...]:
            return tuple(size * number if i == axis else 0 for i in range(len(shape)))

        return tuple(make(Slice(starts(number), sizes), joined) for number in range(self.k))

    # -- which ops ----------------------------------------------------------------------------

    def _how(self, old: Node) -> _Cut | None:
        """How ``old`` works piece by piece, where one of its inputs is in pieces; else None."""
        cut = [self.axis.get(source) for source in old.inputs]
        lead = next((i for i, axis in enumerate(cut) if axis is not None), None)
        if lead is None:
            return None
        axis = cut[lead]
        assert axis is not None
        if old.op.name == "dropout":
            how: _Cut | None = _Cut(axis, (axis, None, None, None)) if lead == 0 else None
        elif isinstance(old.op, Pointwise) or old.op.name == "broadcast_to":
            how = _aligned(old, axis - old.inputs[lead].ndim)
        elif isinstance(old.op, Reduction):
            how = _reduction(old, axis)
        else:
            rule = _RULES.get(old.op.name)
            how = None if rule is None else rule(old, lead, axis)
        if how is None:
            return None
        for source, wanted in zip(old.inputs, how.inputs, strict=True):
            if wanted is not None and self._batch_axis(source) != wanted:
                return None
        return how if how.total or self._batch_axis(old) == how.axis else None


_Rule = Callable[[Node, int, int], "_Cut | None"]


def _aligned(node: Node, back: int) -> _Cut:
    """Broadcasting counts axes from the right; a 1 there, or no such axis, is whole."""
    inputs = (
        source.ndim + back if source.ndim + back >= 0 and source.shape[back] != 1 else None
        for source in node.inputs
    )
    return _Cut(node.ndim + back, tuple(inputs))


def _reduction(node: Node, axis: int) -> _Cut | None:
    op = node.op
    assert isinstance(op, Reduction)
    if axis in op.axes:
        # A maximum shared by pieces would split its gradient otherwise than the whole one.
        return _Cut(0, (axis,), op.name) if op.name in ("sum", "mean") else None
    return _Cut(axis if op.keepdims else axis - sum(a < axis for a in op.axes), (axis,))


def _by_example(together: int) -> _Rule:
    """Axis 0 counts examples in the result and the first ``together`` inputs; others are whole."""

    def rule(node: Node, lead: int, axis: int) -> _Cut | None:
        if axis != 0 or lead >= together:
            return None
        return _Cut(0, tuple(0 if i < together else None for i in range(len(node.inputs))))

    return rule


def _total(how: str) -> _Rule:
    """Both inputs are led by examples, over which the result is a sum or a mean."""

    def rule(node: Node, lead: int, axis: int) -> _Cut | None:
        return _Cut(0, (0,) * len(node.inputs), how) if axis == 0 else None

    return rule


def _linear(node: Node, lead: int, axis: int) -> _Cut | None:
    if lead != 0 or axis == node.inputs[0].ndim - 1:
        return None
    return _Cut(axis, (axis, *[None] * (len(node.inputs) - 1)))


def _matmul(node: Node, lead: int, axis: int) -> _Cut | None:
    left, right = node.inputs
    back = axis - node.inputs[lead].ndim
    if left.ndim < 2 or right.ndim < 2:
        # A vector: only the rows of a matrix on the left are a batch.
        plain = lead == 0 and left.ndim == 2 and axis == 0 and not _flag(node, "transpose_a")
        return _Cut(0, (0, None)) if plain else None
    if back < -2:
        return _aligned(node, back)
    rows = -1 if _flag(node, "transpose_a") else -2
    columns = -2 if _flag(node, "transpose_b") else -1
    if lead == 0 and back == rows:
        return _Cut(node.ndim - 2, (axis, None))
    if lead == 1 and back == columns:
        return _Cut(node.ndim - 1, (None, axis))
    return None


def _flag(node: Node, name: str) -> bool:
    return bool(node.op.attributes()[name])


def _along(node: Node, lead: int, axis: int) -> _Cut | None:
    """Softmax and the like: whole along their axis, apart along every other."""
    own = node.op.attributes()["axis"]
    if axis == own:
        return None
    dropped = node.ndim < node.inputs[0].ndim and own < axis
    return _Cut(axis - dropped, (axis,))


def _reshape(node: Node, lead: int, axis: int) -> _Cut | None:
    """Row-major order: what stands in front of the batch must stay in front of it."""
    before = math.prod(node.inputs[0].shape[:axis])
    for out in range(node.ndim):
        if math.prod(node.shape[:out]) == before and node.shape[out] != 1:
            return _Cut(out, (axis,))
    return None


def _transpose(node: Node, lead: int, axis: int) -> _Cut | None:
    return _Cut(node.op.attributes()["axes"].index(axis), (axis,))


def _concat(node: Node, lead: int, axis: int) -> _Cut | None:
    if axis == node.op.attributes()["axis"]:
        return None
    return _Cut(axis, (axis,) * len(node.inputs))


def _slice(node: Node, lead: int, axis: int) -> _Cut | None:
    at = node.op.attributes()
    steps: Sequence[int] = at["steps"] or (1,) * node.ndim
    size = node.inputs[0].shape[axis]
    if at["starts"][axis] != 0 or at["sizes"][axis] != size or steps[axis] != 1:
        return None
    return _Cut(axis, (axis,))


def _pad(node: Node, lead: int, axis: int) -> _Cut | None:
    at = node.op.attributes()
    steps: Sequence[int] = at["steps"] or (1,) * node.ndim
    if at["before"][axis] != 0 or at["after"][axis] != 0 or steps[axis] != 1:
        return None
    return _Cut(axis, (axis,))


def _flip(node: Node, lead: int, axis: int) -> _Cut | None:
    return None if axis in node.op.attributes()["axes"] else _Cut(axis, (axis,))


def _one_hot(node: Node, lead: int, axis: int) -> _Cut | None:
    return _Cut(axis, (axis,))


def _gather(node: Node, lead: int, axis: int) -> _Cut | None:
    """x[b…, index[b…, k…], r…]: the axes b are led by both, those of the index by it alone."""
    batch = node.op.attributes()["batch"]
    if axis < batch:
        return _Cut(axis, (axis, axis))
    return _Cut(axis, (None, axis)) if lead == 1 else None


# What is neither pointwise nor a reduction. An op that is not here mixes examples, for all that is
# known: its inputs are joined.
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        ("conv2d", "conv2d_input_grad", "max_pool2d", "avg_pool2d", "avg_pool2d_input_grad",
         "batch_norm", "local_response_norm"), _by_example(1)
    ),
    **dict.fromkeys(("max_pool2d_scatter", "max_pool2d_take"), _by_example(2)),
    **dict.fromkeys(("softmax", "log_softmax", "argmax", "cumsum"), _along),
    "conv2d_weight_grad": _total("sum"),
    "cross_entropy": _total("mean"),
    "linear": _linear,
    "matmul": _matmul,
    "reshape": _reshape,
    "transpose": _transpose,
    "concat": _concat,
    "slice": _slice,
    "pad": _pad,
    "flip": _flip,
    "one_hot": _one_hot,
    "gather": _gather,
}  # fmt: skip

__all__ = ["shard"]
