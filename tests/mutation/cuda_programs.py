"""The small graphs that every fault of the CUDA backend is tried on, and what they should compute.

They are chosen to meet every guard that the printer writes: odd sizes, windows over the edge,
strides, groups, dilation, sums in parts, teams of every size, indices of 64 bits, each type of
number, elements chosen by the data, random numbers, products by our tiles and by the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

import graphc as gx
from graphc import nn, passes
from graphc.backends.cuda import segments
from graphc.backends.cupy import printer
from tests.backends.cupy.nets import classifier, trained

Array = np.ndarray[Any, np.dtype[Any]]
Inputs = dict[str, Array]
# An index of 32 bits, or a part of one: a point, a coordinate, the number of a block.
NARROW = re.compile(
    r"(?:\bint [pqr] = |const (?:int|short) (?:[ijot]\w*\d|[mnk][012]?|pick|row|at) = "
    r"|\(int\)\(?(?:blockIdx|gridDim|p\b)).*"
)
LIMITS = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}


@dataclass(frozen=True)
class Trial:
    """A graph, with the inputs of each step that it makes (the largest first), what its
    compilation is given, the outputs that must agree to the last bit, whether its indices have 64
    bits, and how many blocks a kernel may have at most. One without steps is printed for the sizes
    of ``large``, where every kernel needs indices of 64 bits, and not run."""

    name: str
    graph: gx.Graph
    steps: list[Inputs]
    options: Mapping[str, Any] = field(default_factory=dict)
    exact: frozenset[str] = frozenset()
    wide: bool = False
    most_blocks: int | None = None
    large: Mapping[str, int] = field(default_factory=dict)

    def variables(self) -> Inputs:
        """Where the first step starts from: away from 0 and from 1 everywhere."""
        start = gx.compile(self.graph, backend="numpy").init(seed=3)
        rng = np.random.default_rng(4)
        for array in start.values():
            if array.dtype.kind == "f":
                array += rng.uniform(0.05, 0.3, array.shape).astype(array.dtype)
        if "random/seed" in start:  # what a key and a counter have in their upper halves counts too
            start["random/seed"] = np.array(2**63 + 1234567890123, np.uint64)
            start["step"] = np.array(2**40 + 5, np.int64)
        return start

    def program(self) -> gx.Program:
        """Compiled for the emulated device, at the sizes of its first step."""
        sizes = dict(self.large)
        for name, node in self.graph.inputs.items() if self.steps else ():
            for said, actual in zip(node.shape, self.steps[0][name].shape, strict=True):
                if isinstance(said, gx.Dim) and said.name is not None:
                    sizes[said.name] = actual
        with self._printed():
            program = gx.compile(
                self.graph, backend="emulated", capture=False, poison=True,
                verify=bool(self.steps), sizes=sizes, **self.options,
            )  # fmt: skip
            _ = program.source  # printed here, while indices have these bits
        return program

    @contextmanager
    def _printed(self) -> Iterator[None]:
        """Printed as it would be where a buffer has more than 2^30 elements (``wide``), and where a
        kernel has more points than ``most_blocks`` blocks have threads."""
        wide, most = segments.Launch.wide, printer.MOST_BLOCKS
        if self.wide:
            segments.Launch.wide = lambda self, largest: True  # type: ignore[method-assign]
        if self.most_blocks is not None:
            printer.MOST_BLOCKS = self.most_blocks  # type: ignore[attr-defined]
        try:
            yield
        finally:
            segments.Launch.wide = wide  # type: ignore[method-assign]
            printer.MOST_BLOCKS = most  # type: ignore[attr-defined]

    def wrong(self, program: gx.Program, expected: list[Inputs]) -> str:
        """What the device computes differently, or nothing."""
        if not self.steps:
            narrow = NARROW.findall(program.source)
            return f"{self.name}: an index of 32 bits: {narrow[0]}" if narrow else ""
        held = {name: program.backend.from_host(array) for name, array in self.variables().items()}
        for step, (inputs, answers) in enumerate(zip(self.steps, expected, strict=True)):
            found = {**program(held, inputs), **held}
            for name, right in answers.items():
                told = _difference(right, gx.to_numpy(found[name]), exact=name in self.exact)
                if told:
                    return f"{self.name}: {name} in step {step}: {told}"
        return ""


def _difference(right: Array, found: Array, *, exact: bool) -> str:
    if right.dtype.name == "bfloat16" and found.dtype == np.uint16:  # CuPy has no such type
        found = found.view(right.dtype)
    if right.shape != found.shape or right.dtype != found.dtype:
        return f"{found.dtype}{found.shape}, not {right.dtype}{right.shape}"
    if exact or right.dtype.name not in LIMITS:
        with np.errstate(invalid="ignore"):
            same = (right == found) | ((right != right) & (found != found))
        return "" if same.all() else f"{found[~same][:4]}, not {right[~same][:4]}"
    a, b = right.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return "another NaN or infinity"
    scale = max(float(np.abs(a[finite]).max(initial=0)), 1e-2)
    error = float(np.abs(a[finite] - b[finite]).max(initial=0)) / scale
    return "" if error <= LIMITS[right.dtype.name] else f"off by {error:.1e}"


@cache
def trials() -> tuple[Trial, ...]:
    """All of them, the cheapest first."""
    return tuple(make() for make in TRIALS)


def answers(trial: Trial) -> list[Inputs]:
    """Outputs and variables after each step, by the plain definition of every op."""
    held = trial.variables()
    found: list[Inputs] = []
    for inputs in trial.steps:
        outputs, held = gx.interpret(trial.graph, held, True, inputs)
        found.append({**outputs, **held})
    return found


def normal(seed: int, *shape: int, dtype: str = "float32") -> Array:
    """Numbers of either sign; those of 16 bits are numbers of their type."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return values.astype(gx.input("x", (), dtype=dtype).dtype)


# -- maps -----------------------------------------------------------------------------------------


def numbers() -> Trial:
    """NaN, infinities, zeros of both signs, and constants that few digits do not say."""
    x, y = gx.input("x", ("N",)), gx.input("y", ("N",))
    z = gx.cast(x, "float64")
    outputs = {
        "max": gx.maximum(x, y), "min": gx.minimum(x, y), "relu": gx.relu(x), "sign": gx.sign(x),
        "abs": gx.abs(x), "neg": 1.0 / -x, "clip": gx.clip(x, -0.7, 1e38),
        "third": x * (1 / 3) + 1e-40, "wide": z * (1 / 3), "tenth": gx.constant(0.1) + y,
        "far": z - gx.constant(-np.inf, "float64"),
        "where": gx.where(gx.logical_and(gx.less(x, y), gx.logical_not(gx.equal(x, 0.0))), x, y),
        "or": gx.logical_or(gx.greater_equal(x, y), gx.not_equal(x, x)),
        "le": gx.less_equal(x, y), "gt": gx.greater(x, y), "count": x + gx.size("N"),
        "div": x / y, "int": gx.cast(gx.where(gx.less(gx.abs(y), 9.0), y, 7.0), "int32"),
        "bool": gx.cast(x, "bool"), "sub": x - y,
    }  # fmt: skip
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.5, -1.5, 1e-41, 3e38], np.float32)
    a, b = (array.ravel() for array in np.meshgrid(special, special[::-1]))
    steps = [{"x": a, "y": b}, {"x": a[4:7], "y": b[3:6]}]
    return Trial("numbers", gx.Graph(outputs), steps, exact=frozenset(outputs))


def functions() -> Trial:
    """Each function of the C library, in both precisions."""
    outputs: dict[str, gx.Node] = {}
    steps: Inputs = {}
    for dtype in ("float32", "float64"):
        x = gx.input(f"x_{dtype}", ("N",), dtype=dtype)
        p = gx.abs(x) + 0.5
        made = [
            gx.exp(x), gx.expm1(x), gx.log(p), gx.log1p(p), gx.sqrt(p), gx.tanh(x), gx.erf(x),
            gx.sin(x), gx.cos(x), gx.pow(p, x), gx.sigmoid(x), gx.square(x), gx.gelu(x),
        ]  # fmt: skip
        outputs |= {f"{dtype}_{i}": y for i, y in enumerate(made)}
        steps[f"x_{dtype}"] = normal(1, 300, dtype=dtype)
    return Trial("functions", gx.Graph(outputs), [steps])


def integers() -> Trial:
    """Integers that wrap around, of every width and sign; their reductions; bools."""
    outputs: dict[str, gx.Node] = {}
    steps: Inputs = {}
    for dtype in ("int8", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        info = np.iinfo(dtype)
        x, y = (gx.input(f"{name}_{dtype}", (3, 40), dtype=dtype) for name in "xy")
        made = {
            "add": x + y, "sub": x - y, "mul": x * y, "max": gx.maximum(x, y),
            "min": gx.minimum(x, y), "abs": gx.abs(x), "neg": -x, "sign": gx.sign(x),
            "relu": gx.relu(x), "least": x + gx.constant(info.min + 3, dtype),
            "sum": gx.sum(x, 1), "most": gx.max(x, 1), "lowest": gx.min(y, 1),
            "where": gx.argmax(gx.cast(gx.greater(x, y), dtype), 1), "float": gx.cast(y, "float32"),
            "double": gx.cast(y, "float64"), "long": gx.cast(y, "int64"),
        }  # fmt: skip
        outputs |= {f"{name}_{dtype}": node for name, node in made.items()}
        rng = np.random.default_rng(info.bits)
        for name in "xy":
            drawn = rng.integers(info.min, info.max, (3, 40), dtype, endpoint=True)
            drawn[1] = info.min  # nothing is above what a search for the largest starts from
            drawn[2, :20] //= 2
            steps[f"{name}_{dtype}"] = drawn
    a = gx.input("a", (4, 70), dtype="bool")
    outputs |= {"count": gx.sum(gx.cast(a, "int64"), 1), "not": gx.logical_not(a)}
    flags = np.zeros((4, 70), np.bool_)
    flags[1], flags[2, 69], flags[3, 33:] = True, True, True
    steps["a"] = flags
    return Trial("integers", gx.Graph(outputs), [steps], exact=frozenset(outputs))


def halves() -> Trial:
    """Numbers of 16 bits: rounded after every operation; sums in 32 bits, rounded at their end."""
    outputs: dict[str, gx.Node] = {}
    steps: Inputs = {}
    bits: set[str] = set()
    for dtype in ("float16", "bfloat16"):
        x, y = (gx.input(f"{name}_{dtype}", ("N", 6), dtype=dtype) for name in "xy")
        w = gx.input(f"w_{dtype}", (6, 5), dtype=dtype)
        made = {
            "map": x * y + x - y / 3.0, "max": gx.maximum(x, -y), "step": gx.relu(x) * gx.sign(y),
            "most": gx.max(x, 1), "first": gx.argmax(gx.maximum(x, y), 1),
            "cast": gx.cast(gx.cast(x, "int32"), dtype), "where": gx.where(gx.less(x, y), x, y),
            "wide": gx.cast(x, "float32") * 1.0001,
            "narrow": gx.cast(gx.cast(x, "float32") / 3, dtype) * 3.0,
        }  # fmt: skip
        bits |= {f"{name}_{dtype}" for name in made}
        made |= {
            "exp": gx.exp(x), "sum": gx.sum(x * 8.0, 0), "product": gx.matmul(x, w),
            "run": gx.cumsum(x, 0),
        }  # fmt: skip
        outputs |= {f"{name}_{dtype}": node for name, node in made.items()}
        for name, shape in (("x", (41, 6)), ("y", (41, 6)), ("w", (6, 5))):
            steps[f"{name}_{dtype}"] = normal(ord(name), *shape, dtype=dtype)
    return Trial("halves", gx.Graph(outputs), [steps], exact=frozenset(bits))


# -- reductions -----------------------------------------------------------------------------------


def rows() -> Trial:
    """Softmax, statistics and the first largest of rows, by a thread, by a warp and by a block."""
    outputs: dict[str, gx.Node] = {}
    steps: list[Inputs] = [{}, {}]
    rng = np.random.default_rng(0)
    for width in (5, 100, 1300):
        x = gx.input(f"x{width}", ("N", width))
        outputs |= {
            f"softmax{width}": gx.softmax(x, 1), f"most{width}": gx.max(x, 1),
            f"first{width}": gx.argmax(x, 1), f"least{width}": gx.min(x * 2.0, 1),
            f"layer{width}": gx.layer_norm(x, width), f"column{width}": gx.sum(x, 0),
        }  # fmt: skip
        for step, n in enumerate((9, 2)):
            drawn = np.round(rng.standard_normal((n, width)), 1).astype(np.float32)
            drawn[:, [1, width // 2, width - 1]] = 5.0  # the largest, three times
            drawn[1] -= 20.0
            steps[step][f"x{width}"] = drawn
    z = gx.input("z", (4, 70))
    outputs |= {"nan": gx.max(z, 1), "nan_first": gx.argmax(z, 1), "nan_least": gx.min(z, 1)}
    special = rng.standard_normal((4, 70)).astype(np.float32)
    special[0, [40, 8]], special[1, 65], special[2] = np.nan, np.inf, -np.inf
    special[3, 31] = -np.inf
    for step in steps:
        step["z"] = special
    return Trial("rows", gx.Graph(outputs), steps)


def statistics() -> Trial:
    """Normalization by channels, in training: statistics by a block for each channel."""
    net = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(),
        nn.Linear(3, 4),
    )  # fmt: skip
    graph = trained(classifier(net, (2, 13, 11)))
    steps = [
        {"image": normal(7, 3, 2, 13, 11) + 1, "label": np.array([3, 0, 1]), "lr": np.float32(0.1)},
        {"image": normal(8, 2, 2, 13, 11) + 1, "label": np.array([2, 2]), "lr": np.float32(0.1)},
    ]
    return Trial("statistics", graph, [{k: np.asarray(v) for k, v in s.items()} for s in steps])


# -- products and windows -------------------------------------------------------------------------


def products() -> Trial:
    """A long sum in parts, transposed and batched operands, none of a multiple of a tile."""
    a, b = gx.input("a", ("N", 1100)), gx.input("b", (1100, 7))
    c, d = gx.input("c", (3, 18, 33)), gx.input("d", (3, 33, 70))
    e, f = gx.input("e", (33, 5), dtype="float64"), gx.input("f", (33, 17), dtype="float64")
    i, j = gx.input("i", (4, 19), dtype="int32"), gx.input("j", (19, 3), dtype="int32")
    label = gx.input("label", (4, 6), dtype="int64")
    placed = gx.einsum("ak,kbc->abc", e[:4, :3], gx.cast(gx.reshape(c[0], (3, 6, 33)), "float64"))
    outputs = {
        "placed": placed + gx.one_hot(label, 33, "float64"),
        "parts": gx.matmul(a, b), "batch": gx.relu(gx.matmul(c, d)) * 2.0,
        "transposed": gx.matmul(gx.transpose(e, (1, 0)), f),
        "back": gx.matmul(gx.transpose(f, (1, 0)), e), "integers": gx.matmul(i, j),
        "outer": gx.einsum("zik,zjk->zij", c, c), "mixed": gx.einsum("zik,kj->zij", c, b[:33]),
    }  # fmt: skip
    steps = {
        "a": normal(1, 5, 1100), "b": normal(2, 1100, 7), "c": normal(3, 3, 18, 33),
        "d": normal(4, 3, 33, 70), "e": normal(5, 33, 5, dtype="float64"),
        "f": normal(6, 33, 17, dtype="float64"),
        "label": np.arange(24).reshape(4, 6) * 7 % 33,
        "i": np.arange(76, dtype=np.int32).reshape(4, 19) - 30,
        "j": np.arange(57, dtype=np.int32).reshape(19, 3) - 20,
    }  # fmt: skip
    return Trial("products", gx.Graph(outputs), [steps, {**steps, "a": steps["a"][:2]}])


def library() -> Trial:
    """Products by the library, one on a transposed view, and a map of their result."""
    a, b = gx.input("a", ("N", 12)), gx.input("b", (9, 12))
    y = gx.linear(a, gx.parameter("w", (7, 12), init=0.1))
    outputs = {
        "y": gx.relu(y), "t": gx.matmul(a, gx.transpose(b, (1, 0))),
        "g": gx.matmul(gx.transpose(a, (1, 0)), a),
    }  # fmt: skip
    steps = [{"a": normal(1, n, 12), "b": normal(2, 9, 12)} for n in (6, 3)]
    return Trial("library", gx.Graph(outputs), steps, {"library": True})


def _convolution() -> tuple[gx.Graph, list[Inputs]]:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2), nn.MaxPool2d(3, 2, padding=1),
        nn.Dropout(retain=0.6), nn.Flatten(), nn.Linear(54, 10),
    )  # fmt: skip
    graph = trained(classifier(net, (3, 11, 9)))
    steps = [
        {
            "image": normal(n, n, 3, 11, 9), "label": np.arange(n) * 3 % 10,
            "lr": np.asarray(0.1, np.float32),
        }
        for n in (3, 2)
    ]  # fmt: skip
    return graph, steps


def convolution() -> Trial:
    """A training step: windows over the edge, strides, dilation, groups, pooling, dropout."""
    graph, steps = _convolution()
    return Trial("convolution", graph, steps)


def looped() -> Trial:
    """The same by kernels of two blocks, that go through their points in many rounds."""
    graph, steps = _convolution()
    return Trial("looped", graph, steps[:1], most_blocks=2)


def rows_looped() -> Trial:
    """Rows by a block each, by kernels of two blocks."""
    x, y = gx.input("x", ("N", 1300)), gx.input("y", ("N", 1100))
    outputs = {"softmax": gx.softmax(x, 1), "first": gx.argmax(x, 1), "squares": gx.sum(y * y, 1)}
    steps = [{"x": normal(9, 5, 1300), "y": normal(8, 5, 1100)}]
    return Trial("rows_looped", gx.Graph(outputs), steps, most_blocks=2)


def wide() -> Trial:
    """The same with indices of 64 bits."""
    graph, steps = _convolution()
    return Trial("wide", graph, steps[1:], wide=True)


def windows() -> Trial:
    """Images whose size nobody knows before: windows that run over it in both directions."""
    x = gx.input("x", ("N", 2, "H", "W"))
    w = gx.parameter("w", (3, 2, 3, 2), init=0.3)
    y = gx.conv2d(x, w, stride=(2, 3), padding=(1, 2))
    up = gx.conv_transpose2d(y, gx.parameter("v", (3, 2, 2, 3), init=0.2), stride=2, padding=1)
    loss = gx.sum(gx.square(y)) + gx.sum(gx.max_pool2d(x, 2, 2) * 3.0) + gx.sum(up)
    loss = loss + gx.sum(gx.square(gx.avg_pool2d(x, 3, 2, 1)))
    graph = gx.Graph({"loss": loss, "y": y, "up": up, "pool": gx.max_pool2d(x, (2, 3), 1, 1)})
    graph = graph.apply(passes.backward("loss", wrt=["x", "w", "v"]))
    return Trial("windows", graph, [{"x": normal(1, 2, 2, 9, 10)}, {"x": normal(2, 1, 2, 6, 5)}])


def _moved(x: gx.Node) -> dict[str, gx.Node]:
    return {
        "pad": gx.pad(x, ((1, 0), (0, 2), (2, 1)), value=-3.0), "flip": gx.flip(x, 2),
        "slice": x[:, 1:, ::2], "cat": gx.concat([x, x * 2.0, gx.flip(x, 1)], 1),
        "turn": gx.transpose(x, (2, 0, 1)) + 1.0,
        "flat": gx.reshape(gx.transpose(x, (1, 0, 2)), (-1,)),
        "row": x + gx.sum(x, 0, keepdims=True), "column": x * gx.max(x, 2, keepdims=True),
        "up": gx.upsample(gx.unsqueeze(x, 0), 2),
        "one": gx.pad(x[:, :, 3:4], ((0, 0), (0, 0), (0, 1))),
    }  # fmt: skip


def movement() -> Trial:
    """Elements that change places: padding, reversal, strides, joins, transposes, broadcasts."""
    x = gx.input("x", ("N", 3, 7))
    return Trial("movement", gx.Graph(_moved(x)), [{"x": normal(1, n, 3, 7)} for n in (5, 1)])


def indexed() -> Trial:
    """Elements chosen by the data, their gradients in order, running sums in both directions."""
    table, index = gx.input("table", (6, 5)), gx.input("index", ("N",), dtype="int64")
    weight = gx.input("weight", ("N", 5))
    rows_ = gx.embedding(index, table)
    loss = gx.sum(rows_ * weight) + gx.sum(gx.square(gx.cumsum(rows_, 0)) * weight)
    x, pick = gx.input("x", (2, 4, 3)), gx.input("pick", (2, 9, 3), dtype="int64")
    loss = loss + gx.sum(gx.square(gx.gather(x, 1, pick)))
    graph = gx.Graph({
        "loss": loss, "rows": rows_, "gather": gx.gather(x, 1, pick), "sums": gx.cumsum(x, 1),
        "ordered": gx.gather_grad(weight, index, 6), "hot": gx.one_hot(index, 6),
        "part": gx.one_hot(index, 6)[:, 2:5] * 2.0, "even": gx.one_hot(index, 6)[:, ::2] * 2.0,
        "first": gx.argmax(gx.reshape(table, (30,)), 0),
    }).apply(passes.backward("loss", wrt=["table", "x"]))  # fmt: skip
    big = normal(5, 7, 5)
    big[[0, 2, 4]] = [[1e8], [-1e8], [1]]  # in this order their sum is 1, in another 0
    steps = [
        {
            "table": np.round(normal(3, 6, 5), 1), "index": np.array([4, 0, 4, 2, 4, 0, 5])[:n],
            "weight": big[:n], "x": normal(6, 2, 4, 3),
            "pick": np.arange(54).reshape(2, 9, 3) * 7 % 4,
        }
        for n in (7, 3)
    ]  # fmt: skip
    return Trial("indexed", graph, steps)


def drawn() -> Trial:
    """Random numbers to the bit: every word of a block, several streams, two steps."""
    u, v = gx.random_uniform((5, 11)), gx.random_uniform((300,), dtype="float64")
    x = gx.input("x", ("N", 9))
    outputs = {"u": u + 0.0, "v": v, "kept": gx.dropout(x, retain=0.7), "again": gx.sum(u * 1.0, 1)}
    graph = gx.Graph(outputs)
    steps = [{"x": normal(1, n, 9)} for n in (30, 7)]
    return Trial("drawn", graph, steps, exact=frozenset({"u", "v", "kept"}))


def large() -> Trial:
    """Each kernel alone, for sizes where 32 bits do not hold an index: of points, of what is summed
    over, of an element that is far from the first, of a product, of a line, of a table."""
    x, i = gx.input("x", ("N", 3)), gx.input("i", (5,), dtype="int64")
    a, b = gx.input("a", (4, "N")), gx.input("b", ("N", 6))
    far = gx.input("far", ("N",))
    outputs = {
        "map": gx.exp(x), "sum": gx.sum(far, 0), "last": gx.flip(x, 0)[:2] + 0.0,
        "window": gx.pad(x, ((1, 2), (0, 1))),
        "square": gx.exp(gx.input("square", ("M", "M"))),
        "product": gx.matmul(a, b), "running": gx.cumsum(far, 0), "rows": gx.embedding(i, x),
        "turned": gx.transpose(x, (1, 0)) + 0.0, "most": gx.argmax(a, 1),
        "count": i + gx.size("N", "int64"),
    }  # fmt: skip
    return Trial("large", gx.Graph(outputs), [], {"fused": False}, large={"N": 2**31, "M": 2**16})


TRIALS: tuple[Callable[[], Trial], ...] = (
    large, numbers, movement, library, drawn, indexed, functions, halves, products, windows,
    integers, rows, rows_looped, statistics, convolution, wide, looped,
)  # fmt: skip
