"""Elementwise kernels with the values that NumPy gives for them, for the CUDA printer's tests."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

import graphc as gx
from graphc.ir import dims
from graphc.ir.dims import Dim
from graphc.ir.kernel import (
    BOOL,
    POINTWISE,
    Apply,
    Axis,
    Const,
    Count,
    Expr,
    Index,
    Kernel,
    Load,
    Lowering,
    Phase,
    Position,
    Ref,
    Store,
    apply,
    index,
)
from graphc.ir.node import Node
from tests.backends.shim import Array, Memory

F32, F64, I64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
N, H, W = Dim.named("N"), Dim.named("H"), Dim.named("W")
BATCHES = ({"N": 1}, {"N": 7})

Oracle = Callable[[Mapping[Ref, Array], Mapping[str, int]], Mapping[Ref, Array]]


@dataclass(frozen=True, eq=False)
class Case:
    """Kernels that run one after the other, the sizes to try, and what they must leave."""

    name: str
    kernels: tuple[Kernel, ...]
    sizes: tuple[Mapping[str, int], ...]
    oracle: Oracle
    given: tuple[Ref, ...]  # what must be there before

    def memory(self, sizes: Mapping[str, int]) -> Memory:
        """Random inputs, the same on every machine."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return {r: values(rng, r.dtype, concrete(r, sizes)) for r in self.given}


def concrete(ref: Ref, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dims.evaluate(size, sizes) for size in ref.shape)


def values(rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Numbers of every kind: for floats also NaN, infinities and both zeros, for ints extremes."""
    if dtype == BOOL:
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        found = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
        special: list[Any] = [0, 1, info.min, info.max]
    else:
        found = (rng.standard_normal(shape) * 3).astype(dtype)
        found = np.where(rng.random(shape) < 0.3, np.rint(found), found)  # some meet their equals
        special = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf]
    where = rng.random(shape) < 0.2
    return np.where(where, rng.choice(np.array(special, dtype), shape), found)


# -- the pointwise ops ----------------------------------------------------------------------------

NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power,
    "max": np.maximum, "min": np.minimum, "neg": np.negative, "exp": np.exp, "log": np.log,
    "sqrt": np.sqrt, "tanh": np.tanh, "abs": np.abs, "sign": np.sign, "floor": np.floor,
    "sin": np.sin, "cos": np.cos, "erf": scipy.special.erf, "sigmoid": scipy.special.expit,
    "expm1": np.expm1, "log1p": np.log1p,
    "relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "select": np.where,
}  # fmt: skip
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
OF_INTEGERS = ("add", "sub", "mul", "max", "min", "neg", "abs", "sign", "relu", "select")


def begin(node: Node | None = None) -> Lowering:
    low = Lowering(lambda stream: "stream")
    low.begin(gx.input("here", ()) if node is None else node)
    return low


def only(low: Lowering) -> Kernel:
    (step,) = low.steps
    assert isinstance(step, Kernel)
    return step


def pointwise(op: str, dtype: np.dtype[Any], shape: Sequence[Any] = (N, 5, 3)) -> Case:
    """One op on whole buffers."""
    low = begin()
    kinds = [dtype] * POINTWISE[op]
    if op in ("and", "or", "not"):
        kinds = [BOOL] * POINTWISE[op]
    if op == "select":
        kinds[0] = BOOL
    refs = [low.scratch("x", shape, kind) for kind in kinds]
    axes = low.axes(shape)
    expr = apply(op, *(low.load(ref, axes) for ref in refs))
    out = low.scratch("out", shape, expr.dtype)
    low.map(axes, out, axes, expr)

    def oracle(memory: Mapping[Ref, Array], sizes: Mapping[str, int]) -> Mapping[Ref, Array]:
        return {out: NUMPY[op](*(memory[ref] for ref in refs)).astype(expr.dtype)}

    return Case(f"{op} {dtype.name}", (only(low),), BATCHES, oracle, tuple(refs))


def cast(source: str, target: str) -> Case:
    low = begin()
    x = low.scratch("x", (N, 9), source)
    out = low.scratch("out", (N, 9), target)
    n, i = low.axes(x.shape)
    small = apply("select", apply("lt", low.load(x, [n, i]), Const(0, x.dtype)),
                  Const(3, x.dtype), low.load(x, [n, i]))  # fmt: skip
    # A float that the integer type does not hold is undefined everywhere: keep to small ones.
    inside = apply("min", small, Const(100, x.dtype)) if x.dtype != BOOL else low.load(x, [n, i])
    low.map((n, i), out, (n, i), apply("cast", inside, dtype=out.dtype))

    def oracle(memory: Mapping[Ref, Array], sizes: Mapping[str, int]) -> Mapping[Ref, Array]:
        v = memory[x]
        if x.dtype != BOOL:
            v = np.minimum(np.where(v < 0, x.dtype.type(3), v), x.dtype.type(100))
        return {out: v.astype(out.dtype)}

    return Case(f"cast {source} to {target}", (only(low),), BATCHES, oracle, (x,))


# -- graphs: one op on inputs ---------------------------------------------------------------------


def graph_case(name: str, node: Node, sizes: Sequence[Mapping[str, int]] = BATCHES) -> Case:
    """The kernels of one node whose inputs are leaves or numbers, against its own definition."""
    low = begin(node)
    node.op.lower(low, node)
    refs = tuple(Ref(x, "value", x.shape, x.dtype) for x in node.inputs)
    kernels = tuple(step for step in low.steps if isinstance(step, Kernel))
    assert len(kernels) == len(low.steps) > 0

    def oracle(memory: Mapping[Ref, Array], sizes: Mapping[str, int]) -> Mapping[Ref, Array]:
        found = node.op.evaluate(sizes, *(memory[ref] for ref in refs))
        return {low.out: np.asarray(found)}

    return Case(name, kernels, tuple(sizes), oracle, tuple(dict.fromkeys(refs)))


def graph_cases() -> list[Case]:
    """Ops as users write them, each on inputs."""
    x, y = gx.input("x", ("N", 3, 5, 4)), gx.input("y", ("N", 3, 5, 4))
    column, scalar = gx.input("column", (3, 1, 4), "float64"), gx.input("scalar", ())
    wide, flag = (
        gx.input("wide", ("N", 3, 5, 4), "float64"),
        gx.input("flag", ("N", 1, 5, 1), "bool"),
    )
    count, label = gx.input("count", ("N", "M"), "int64"), gx.input("label", ("N",), "uint8")
    big = gx.input("big", ("N", 2, "H", 7))
    sizes = ({"N": 1, "M": 7, "H": 5}, {"N": 7, "M": 1, "H": 8})
    nodes = {
        "add": x + y, "sub by a scalar": x - scalar, "mul by a column": wide * column,
        "div": wide / column, "pow": x**y, "square": gx.square(x), "neg": -count,
        "maximum": gx.maximum(x, y), "minimum": gx.minimum(wide, column), "exp": gx.exp(x),
        "log": gx.log(x), "sqrt": gx.sqrt(wide), "tanh": gx.tanh(x), "sigmoid": gx.sigmoid(x),
        "relu": gx.relu(wide), "abs": gx.abs(count), "sign": gx.sign(x), "less": x < y,
        "equal": gx.equal(x, y), "where": gx.where(flag, x, y), "not": gx.logical_not(flag),
        "cast": gx.cast(label, "float32"), "cast of bool": gx.cast(flag, "float64"),
        "grad_sum": gx.grad_sum(x, y, x), "transpose": gx.transpose(x, (2, 0, 3, 1)),
        "slice": big[:, :, 1:5:2, ::-3], "slice of the batch": x[-1:, 1:, ::-1],
        "pad": gx.pad(big, ((0, 0), (1, 0), (2, 3), (0, 2)), value=-1.5),
        "concat": gx.concat([x, y, x], 0), "concat of channels": gx.concat([x, y], axis=1),
        "broadcast_to": gx.broadcast_to(flag, ("N", 3, 5, 4)), "flip": gx.flip(x, (0, 2)),
        "size": gx.size("N"),
    }  # fmt: skip
    return [graph_case(f"graph: {name}", node, sizes) for name, node in nodes.items()]


# -- descriptions by hand -------------------------------------------------------------------------

HAND: list[Case] = []


def hand(
    *sizes: Mapping[str, int],
) -> Callable[[Callable[[Lowering], tuple[tuple[Ref, ...], Oracle]]], None]:
    """Register the case that a function describes: it fills the Lowering and gives the oracle."""

    def register(function: Callable[[Lowering], tuple[tuple[Ref, ...], Oracle]]) -> None:
        low = begin()
        given, oracle = function(low)
        name = function.__name__.replace("_", " ")
        HAND.append(Case(name, (only(low),), sizes or BATCHES, oracle, given))

    return register


@hand()
def padding(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x = low.scratch("x", (N, 3, 5, 7), F32)
    out = low.scratch("out", (N, 3, 8, 10), F32)
    n, c, h, w = axes = low.axes(out.shape)
    load = low.load(x, [n, c, h - 1, w - 2], fill=0.1)
    low.map(axes, out, axes, apply("mul", load, Const(0.7, F32)))

    def oracle(m: Mapping[Ref, Array], sizes: Mapping[str, int]) -> Mapping[Ref, Array]:
        pads = [(0, 0), (0, 0), (1, 2), (2, 1)]
        padded = np.pad(m[x], pads, constant_values=np.float32(0.1))
        return {out: padded * np.float32(0.7)}

    return (x,), oracle


@hand({"N": 1, "H": 3, "W": 5}, {"N": 7, "H": 4, "W": 2})
def symbolic_padding(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x = low.scratch("x", (N, H, W), F64)
    out = low.scratch("out", (N, H + 2, 2 * W), F64)
    n, h, w = axes = low.axes(out.shape)
    low.map(axes, out, axes, low.load(x, [n, h - 1, w - W], fill=float("-inf")))

    def oracle(m: Mapping[Ref, Array], s: Mapping[str, int]) -> Mapping[Ref, Array]:
        return {out: np.pad(m[x], [(0, 0), (1, 1), (s["W"], 0)], constant_values=-np.inf)}

    return (x,), oracle


@hand()
def strides_and_a_flip(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x = low.scratch("x", (N, 9, 7), F32)
    out = low.scratch("out", (N, 4, 7), F32)
    n, h, w = axes = low.axes(out.shape)
    low.map(axes, out, axes, low.load(x, [n, 2 * h + 1, w * -1 + 6]))
    return (x,), lambda m, s: {out: m[x][:, 1:8:2, ::-1]}


@hand()
def spread_with_gaps(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x = low.scratch("x", (N, 3, 2), F32)
    out = low.scratch("out", (N, 8, 7), F32)
    n, h, w = axes = low.axes(out.shape)
    load = low.load(x, [n, (h - 1) / 2, (w * 2 - 2) / 6], fill=-1.5)
    low.map(axes, out, axes, load)

    def oracle(m: Mapping[Ref, Array], sizes: Mapping[str, int]) -> Mapping[Ref, Array]:
        y = np.full((sizes["N"], 8, 7), -1.5, np.float32)
        y[:, 1:7:2, 1:7:3] = m[x]
        return {out: y}

    return (x,), oracle


@hand()
def windows(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x = low.scratch("x", (N, 6), F32)
    out = low.scratch("out", (N, 4, 3), F32)
    n, o, k = axes = low.axes(out.shape)
    low.map(axes, out, axes, low.load(x, [n, 2 * o + k - 2], fill=float("nan")))

    def oracle(m: Mapping[Ref, Array], sizes: Mapping[str, int]) -> Mapping[Ref, Array]:
        padded = np.pad(m[x], [(0, 0), (2, 1)], constant_values=np.nan)
        return {out: np.lib.stride_tricks.sliding_window_view(padded, 3, 1)[:, ::2]}

    return (x,), oracle


@hand()
def a_flip_with_padding(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, out = low.scratch("x", (N, 4, 3), F32), low.scratch("out", (N, 7, 5), F32)
    n, h, w = axes = low.axes(out.shape)
    low.map(axes, out, axes, low.load(x, [n, h * -1 + 5, w * -1 + 2], fill=7.0))

    def oracle(m: Mapping[Ref, Array], sizes: Mapping[str, int]) -> Mapping[Ref, Array]:
        pads = [(0, 0), (2, 1), (0, 2)]
        return {out: np.pad(m[x][:, ::-1, ::-1], pads, constant_values=np.float32(7))}

    return (x,), oracle


@hand({"N": 1}, {"N": 5}, {"N": 8})
def a_row_that_may_not_be_there(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, out = low.scratch("x", (4, N), F32), low.scratch("out", (N,), F32)
    (n,) = axes = low.axes(out.shape)
    low.map(axes, out, axes, low.load(x, [N - 4, n], fill=0.5))

    def oracle(m: Mapping[Ref, Array], sizes: Mapping[str, int]) -> Mapping[Ref, Array]:
        row = sizes["N"] - 4
        return {out: m[x][row] if 0 <= row < 4 else np.full(sizes["N"], 0.5, np.float32)}

    return (x,), oracle


@hand({})
def the_largest_and_the_least_numbers(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    expected: dict[Ref, Array] = {}
    for name in INTEGERS:
        info = np.iinfo(name)
        for number in (info.min, info.max):
            expected[low.scratch("out", (), name)] = np.array(number, name)
    for dtype in (F32, F64):
        limits = np.finfo(dtype)
        for real in (limits.max, limits.tiny, limits.smallest_subnormal, -np.inf, np.nan):
            expected[low.scratch("out", (), dtype)] = np.array(real, dtype)
    stores = (Store(ref, (), Const(array.item(), ref.dtype)) for ref, array in expected.items())
    low.kernel((), [Phase(stores=tuple(stores))])
    return (), lambda m, s: expected


@hand()
def permutation(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x = low.scratch("x", (N, 3, 5, 2), F32)
    out = low.scratch("out", (5, 2, N, 3), F32)
    n, c, h, w = low.axes(x.shape)
    low.map((h, w, n, c), out, (h, w, n, c), low.load(x, [n, c, h, w]))
    return (x,), lambda m, s: {out: m[x].transpose(2, 3, 0, 1)}


@hand()
def a_store_that_permutes(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x = low.scratch("x", (N, 3, 5), F32)
    out = low.scratch("out", (5, 3, N), F32)
    n, c, h = axes = low.axes(x.shape)
    low.map(axes, out, (h, c, n), low.load(x, axes))
    return (x,), lambda m, s: {out: m[x].transpose(2, 1, 0)}


@hand({"N": 1, "W": 3}, {"N": 7, "W": 2})
def broadcasting(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    shape = (N, 4, 5, W)
    a, b = low.scratch("a", (N, 1, 5, 1), F32), low.scratch("b", (4, 1, W), F32)
    c, out = low.scratch("c", (1, 1, 1, 1), F32), low.scratch("out", shape, F32)
    axes = low.axes(shape)
    total = apply("add", low.broadcast(a, axes), low.broadcast(b, axes))
    low.map(axes, out, axes, apply("mul", total, low.broadcast(c, axes)))
    return (a, b, c), lambda m, s: {out: (m[a] + m[b]) * m[c]}


@hand()
def a_bias_for_each_channel(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, b = low.scratch("x", (N, 3, 5, 4), F32), low.scratch("b", (3, 1, 1), F32)
    out = low.scratch("out", x.shape, F32)
    axes = low.axes(x.shape)
    low.map(axes, out, axes, apply("add", low.load(x, axes), low.broadcast(b, axes)))
    return (x, b), lambda m, s: {out: m[x] + m[b]}


@hand({})
def one_point(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, y = low.scratch("x", (), F64), low.scratch("y", (1, 1), F64)
    out = low.scratch("out", (1, 1, 1), F64)
    axes = low.axes(out.shape)
    low.map(axes, out, axes, apply("sub", low.broadcast(x, axes), low.broadcast(y, axes)))
    return (x, y), lambda m, s: {out: (m[x] - m[y])[None]}


@hand({"N": 1, "H": 6}, {"N": 7, "H": 9}, {"N": 2, "H": 11})
def sizes_and_positions(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    shape = (N, 1, H, 3)
    out, other = low.scratch("out", shape, F32), low.scratch("other", shape, I64)
    n, one, h, w = axes = low.axes(shape)
    # At N = 7 the second quotient, of -7, rounds down to -4, which C++ would round to -3.
    size = N * H + 3 * ((H - 5) // 2) + (-N) // 2
    real = apply("div", Count(size, F32), Const(7.0, F32))
    here = apply("add", Position(h, I64), apply("mul", Position(w, I64), Count(size, I64)))
    place = tuple(map(index, axes))
    low.kernel(axes, [
        Phase(stores=(
            Store(out, place, apply("add", real, Position(n, F32))),
            Store(other, place, apply("sub", here, Position(one, I64))),
        ))
    ])  # fmt: skip

    def oracle(m: Mapping[Ref, Array], s: Mapping[str, int]) -> Mapping[Ref, Array]:
        batch, high = s["N"], s["H"]
        count = batch * high + 3 * ((high - 5) // 2) + (-batch) // 2
        i, _, j, k = np.indices((batch, 1, high, 3))
        return {out: np.float32(count) / np.float32(7) + i.astype(np.float32), other: j + k * count}

    return (), oracle


@hand()
def several_stores(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x = low.scratch("x", (N, 5), F32)
    square, positive = low.scratch("square", (N, 5), F32), low.scratch("positive", (5, N), BOOL)
    n, i = axes = low.axes(x.shape)
    v = low.load(x, axes)
    low.kernel(axes, [
        Phase(stores=(
            Store(square, (index(n), index(i)), apply("mul", v, v)),
            Store(positive, (index(i), index(n)), apply("gt", v, Const(0.0, F32))),
        ))
    ])  # fmt: skip
    return (x,), lambda m, s: {square: m[x] * m[x], positive: (m[x] > 0).T}


@hand()
def half_of_a_concatenation(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, out = low.scratch("x", (N, 4), F32), low.scratch("out", (2 * N, 4), F32)
    n, i = axes = low.axes(x.shape)
    first, second = Store(out, (index(n), index(i)), low.load(x, axes)), low.load(x, axes)
    low.kernel(axes, [
        Phase(stores=(first,)),
        Phase(stores=(Store(out, (n + N, index(i)), apply("neg", second)),)),
    ])  # fmt: skip
    return (x,), lambda m, s: {out: np.concatenate([m[x], -m[x]])}


@hand()
def in_its_own_place(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, step = low.scratch("x", (N, 4), F32), low.scratch("step", (N, 4), F32)
    axes = low.axes(x.shape)
    change = apply("mul", low.load(step, axes), Const(0.01, F32))
    low.map(axes, x, axes, apply("sub", low.load(x, axes), change))
    return (x, step), lambda m, s: {x: m[x] - m[step] * np.float32(0.01)}


@hand()
def a_diagonal(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, out = low.scratch("x", (N, 4, 4), F32), low.scratch("out", (N, 4), F32)
    n, i = axes = low.axes(out.shape)
    low.map(axes, out, axes, low.load(x, [n, i, i]))
    return (x,), lambda m, s: {out: m[x].diagonal(axis1=1, axis2=2)}


@hand()
def a_choice_that_hides_a_nan(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, out = low.scratch("x", (N, 11), F32), low.scratch("out", (N, 11), F32)
    axes = low.axes(x.shape)
    v = low.load(x, axes)
    safe = apply("select", apply("gt", v, Const(0.0, F32)), apply("log", v), Const(-9.25, F32))
    low.map(axes, out, axes, safe)
    return (x,), lambda m, s: {out: np.where(m[x] > 0, np.log(m[x]), np.float32(-9.25))}


@hand()
def a_larger_one_of_two(low: Lowering) -> tuple[tuple[Ref, ...], Oracle]:
    x, y = low.scratch("x", (N, 40), F32), low.scratch("y", (N, 40), F32)
    out = low.scratch("out", (N, 40), F32)
    axes = low.axes(x.shape)
    low.map(axes, out, axes, apply("max", low.load(x, axes), low.load(y, axes)))
    return (x, y), lambda m, s: {out: np.maximum(m[x], m[y])}


# -- random descriptions, and the definition of a description ------------------------------------


def random_kernel(seed: int) -> Kernel:
    """A kernel with odd extents, masked and unmasked loads of every kind, and a tree of ops."""
    rng = np.random.default_rng(seed)
    low = begin()
    extents = [
        rng.choice(np.array([1, 2, 3, 5, N, 2 * N + 1], object)) for _ in range(rng.integers(1, 5))
    ]
    axes = low.axes(extents)

    def load() -> Load:
        shape: list[Any] = []
        where: list[Any] = []
        for _ in range(rng.integers(0, 4)):
            axis: Axis = axes[rng.integers(len(axes))]
            other: Axis = axes[rng.integers(len(axes))]
            kind = rng.integers(6)
            if kind == 0:
                dimension, at = axis.extent, index(axis)
            elif kind == 1:
                dimension, at = 4, index(int(rng.integers(4)))
            elif kind == 2:
                dimension, at = 2 * axis.extent + 1, axis * 2 + 1
            elif kind == 3:
                dimension, at = int(rng.integers(1, 6)), axis * int(rng.choice([-2, 1, 3])) - 1
            elif kind == 4:
                divisor = int(rng.integers(2, 4))
                dimension, at = (
                    3,
                    (axis * int(rng.integers(1, 4)) + int(rng.integers(-2, 3))) / divisor,
                )
            else:
                dimension, at = axis.extent + 1, axis + other * 2 - N
            shape.append(dimension)
            where.append(at)
        return low.load(low.scratch("x", shape, F32), where, float(rng.choice([0.0, -1.5, np.inf])))

    def tree(depth: int) -> Expr:
        if depth == 0:
            return load() if rng.random() < 0.8 else Const(float(rng.standard_normal()), F32)
        op = str(rng.choice(["add", "sub", "mul", "max", "min", "relu", "neg", "select"]))
        if op == "select":
            return apply("select", apply("lt", tree(0), tree(0)), tree(depth - 1), tree(depth - 1))
        return apply(op, *(tree(depth - 1) for _ in range(POINTWISE[op])))

    shared = tree(1)
    out, other = low.scratch("out", extents, F32), low.scratch("other", extents[::-1], F32)
    stores = (
        Store(out, tuple(map(index, axes)), apply("add", shared, tree(2))),
        Store(other, tuple(map(index, axes[::-1])), apply("mul", tree(1), shared)),
    )
    low.kernel(axes, [Phase(stores=stores)])
    return only(low)


def random_case(seed: int) -> Case:
    kernel = random_kernel(seed)
    given = dict.fromkeys(
        load.ref for store in kernel.phases[0].stores for load in loads(store.expr)
    )
    return Case(
        f"random {seed}", (kernel,), BATCHES, lambda m, s: define(kernel, m, s), tuple(given)
    )


def loads(expr: Expr) -> list[Load]:
    if isinstance(expr, Apply):
        return [load for arg in expr.args for load in loads(arg)]
    return [expr] if isinstance(expr, Load) else []


def define(
    kernel: Kernel, memory: Mapping[Ref, Array], sizes: Mapping[str, int]
) -> Mapping[Ref, Array]:
    """What a description means, word for word: one point after the other."""
    (phase,) = kernel.phases
    found = {s.ref: np.empty(concrete(s.ref, sizes), s.ref.dtype) for s in phase.stores}
    extents = [dims.evaluate(axis.extent, sizes) for axis in kernel.parallel]
    for numbers in np.ndindex(*extents):
        point = dict(zip(kernel.parallel, numbers, strict=True))
        for store in phase.stores:
            place = position(store.index, found[store.ref].shape, point, sizes)
            assert place is not None
            found[store.ref][place] = element(store.expr, memory, point, sizes)
    return found


def position(
    where: Sequence[Index],
    shape: tuple[int, ...],
    point: Mapping[Axis, int],
    sizes: Mapping[str, int],
) -> tuple[int, ...] | None:
    """``(Σ coefficient·axis + offset) / divisor``; None unless whole and inside the dimension."""
    found = []
    for at, size in zip(where, shape, strict=True):
        total = sum(c * point[axis] for axis, c in at.terms) + dims.evaluate(at.offset, sizes)
        if total % at.divisor or not 0 <= total // at.divisor < size:
            return None
        found.append(total // at.divisor)
    return tuple(found)


def element(
    expr: Expr, memory: Mapping[Ref, Array], point: Mapping[Axis, int], sizes: Mapping[str, int]
) -> Any:
    if isinstance(expr, Const):
        return expr.dtype.type(expr.value)
    if isinstance(expr, Load):
        place = position(expr.index, memory[expr.ref].shape, point, sizes)
        return expr.dtype.type(expr.fill) if place is None else memory[expr.ref][place]
    assert isinstance(expr, Apply)
    args = [element(arg, memory, point, sizes) for arg in expr.args]
    return NUMPY[expr.op](*args)


POINTWISE_CASES = [pointwise(op, dtype) for op in NUMPY for dtype in (F32, F64)]
INTEGER_CASES = [
    pointwise(op, np.dtype(name))
    for name in INTEGERS
    for op in (*OF_INTEGERS, "eq", "ne", "lt", "le", "gt", "ge")
    if (op, name[0]) != ("neg", "u")
]
CAST_CASES = [
    cast(source, target)
    for source in ("bool", "int8", "int64", "uint16", "float32", "float64")
    for target in ("bool", "int16", "int64", "uint8", "float32", "float64")
]
GRAPHS = graph_cases()
RANDOM = [random_case(seed) for seed in range(40)]
