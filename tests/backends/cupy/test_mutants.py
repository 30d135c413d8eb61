"""Seeded faults in the CUDA that is printed: each of them is caught by running it.

A fault is an edit of the printed source. ``caught`` runs one small graph on the emulated device and
compares with NumPy: a wrong number, a refusal of the device, or a source that does not compile.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from graphc.backends.cupy import printer
from tests.backends.cupy.nets import batch, classifier, trained


def convolution() -> gx.Graph:
    """Padding, strides, pooling and a sum in parts: every guard is met."""
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(5, 20, 3, padding=1),
        nn.MaxPool2d(3, 2, padding=1), nn.Dropout(retain=0.6), nn.Flatten(), nn.Linear(180, 10),
    )  # fmt: skip
    return trained(classifier(net, (3, 11, 11)))


def normalized() -> gx.Graph:
    """Statistics over more elements than a warp has, by a block for each channel."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(),
        nn.Linear(4, 10),
    )  # fmt: skip
    return trained(classifier(net, (3, 17, 17)))


def indexed() -> gx.Graph:
    """Elements chosen by the data, their gradient, running sums, the largest of many."""
    table, index = gx.input("table", (6, 5)), gx.input("index", ("N",), dtype="int64")
    rows = gx.embedding(index, table)
    weight = gx.input("weight", ("N", 5))
    loss = gx.sum(gx.square(rows)) + gx.sum(gx.cumsum(rows, 0) * 0.5)
    first = gx.argmax(gx.reshape(table, (30,)), 0)
    added = gx.gather_grad(weight, index, 6)
    graph = gx.Graph({"loss": loss, "first": first, "added": added})
    return graph.apply(passes.backward("loss", wrt="table"))


def rows_of() -> gx.Graph:
    """Softmax of rows that a warp shares."""
    x = gx.input("x", ("N", 100))
    return gx.Graph({"y": gx.softmax(x, 1), "m": gx.max(x, 1), "i": gx.argmax(x, 1)})


def given(graph: gx.Graph) -> dict[str, Any]:
    """Inputs with ties and repeats."""
    if "image" in graph.inputs:
        return batch(graph, 3)
    rng = np.random.default_rng(0)
    if "table" in graph.inputs:
        table = np.round(rng.standard_normal((6, 5)), 1).astype(np.float32)
        table.reshape(-1)[[3, 17]] = 9
        weight = rng.standard_normal((7, 5)).astype(np.float32)
        weight[[0, 2, 4]] = [[1e8], [-1e8], [1]]  # in this order their sum is 1, else 0
        return {"table": table, "index": np.array([4, 0, 4, 2, 4, 0, 5]), "weight": weight}
    x = np.round(rng.standard_normal((9, 100)), 1).astype(np.float32)
    x[:, [40, 72, 90]] = 5  # two of one lane, one of another
    return {"x": x}


GRAPHS: dict[str, Callable[[], gx.Graph]] = {
    "convolution": convolution, "normalized": normalized, "indexed": indexed, "rows": rows_of,
}  # fmt: skip


def caught(graph: gx.Graph) -> bool:
    """Whether the device's numbers, over two steps, are not NumPy's."""
    numpy = gx.compile(graph, backend="numpy")
    # Poison: memory that an earlier run left there has the right numbers in it.
    device = gx.compile(graph, backend="emulated", capture=False, poison=True)
    left, right = numpy.init(seed=3), device.init(seed=3)
    inputs = given(graph)
    try:
        for _ in range(2):
            found = device(right, inputs)
            # The interpreter adds in order, which NumPy's reduceat does not.
            expected = numpy(left, inputs) if graph.updates else gx.interpret(graph, {}, **inputs)
    except gx.BackendError:
        return True
    pairs = [(expected[name], found[name]) for name in expected]
    pairs += [(left[name], right[name]) for name in left]
    for one, other in pairs:
        there = gx.to_numpy(other).astype(np.float64)
        here = one.astype(np.float64)
        scale = max(float(np.abs(here).max(initial=0)), 1e-2)
        if not np.abs(here - there).max(initial=0) <= 1e-5 * scale:
            return True
    return False


@dataclass(frozen=True)
class Fault:
    """An edit of the printed CUDA, at its first match (or all of them)."""

    name: str
    graph: str
    pattern: str
    replacement: str
    everywhere: bool


CONV = [
    ("no barrier after a tile is loaded",
     r"    __syncthreads\(\);\n(\s+#pragma unroll\n\s+for \(int k = 0)", r"\1", True),
    ("no barrier before the next tile",
     r"(c\[i\]\[j\] = fmaf[^\n]*\n\s+\}\n\s+\}\n)\s+__syncthreads\(\);", r"\1", True),
    ("a row too many is stored", r"if \(m < (\w+) && n", r"if (m <= \1 && n", True),
    ("a column too few is stored",
     r"&& n < (\w+)\) \{\n(\s+const float value)", r"&& n < \1 - 1) {\n\2", False),
    ("the tail of the sum is lost", r"&& k < (\w+)\)", r"&& k < \1 - 1)", True),
    ("the sum runs past its part",
     r"const int k2 = [^;]*;", "const int k2 = k1 + share + 1;", False),
    ("a part begins one too late", r"k1 = part \* share", "k1 = part * share + 1", False),
    ("the lower guard of a window is lost", r"(\w+) >= 0 && (?=\w+ [<>])", "", False),
    ("the upper guard of a window is one too high", r"(t\d+) < 11\b", r"\1 <= 11", False),
    ("a mask is lost", r"ok\d+ \? (b\d+\[[^\]]*\]) : 0\.0f", r"\1", False),
    ("the transposed tile", r"as\[k\]\[tm", "as[tm][k", False),
    ("columns of another thread", r"n0 \+ tn \+ j \* \d+", "n0 + tn + j * 3 + 1", True),
    ("the product of the wrong operands", r"fmaf\(a\[i\], b\[j\]", "fmaf(a[i], a[i]", False),
    ("nine rounds of Philox", r"round < 10", "round < 9", False),
    ("a wrong constant of Philox", r"9E3779B97F4A7C15", "9E3779B97F4A7C16", False),
    ("the key is not raised", r"k1 \+= 0xBB67AE8584CAA73BULL;", "", False),
    ("the counter's first block", r"i / 8 \+ 1", "i / 8", False),
    ("halves swapped", r"i % 2 \?", "i % 2 == 0 ?", False),
    ("words of 4 for 8", r"i / 2 % 4", "i % 4", False),
    ("a number of 23 bits", r"half >> 8", "half >> 9", False),
    ("momentum is forgotten", r"\* 0\.9f", "* 0.8f", False),
    ("the last point of a map is lost",
     r"p < (\w+); p \+= ([^\n]*256)", r"p < \1 - 1; p += \2", False),
    ("segments overlap", r"if \(blockIdx\.x < e0\)", "if (blockIdx.x <= e0)", False),
]  # fmt: skip
SUMS = [
    ("lanes begin at 1", r"int r = lane;", "int r = lane + 1;", True),
    ("half a warp adds up", r"int d = 16;", "int d = 8;", True),
    ("a warp's sum is lost", r"int w = 1;", "int w = 2;", True),
    ("no barrier after the warps' sums",
     r"(\};?\n\s+)__syncthreads\(\);(\n\s+a\d+ = wa)", r"\1\2", True),
    ("two warps, one place", r"threadIdx\.x / 32\] = a", "threadIdx.x / 64] = a", True),
    ("every lane's stride is one short", r"r \+= 256", "r += 255", False),
    ("no lane stores", r"if \(lane == 0\)", "if (lane == 256)", True),
    ("the sum starts at one", r"(float a\d+) = 0\.0f;", r"\1 = 1.0f;", False),
]  # fmt: skip
ROWS = [
    ("the largest starts above all",
     r"(float a\d+) = \(-__uint_as_float\(0x7f800000u\)\);", r"\1 = 5.5f;", True),
    ("the last of equal lanes is taken", r"oi < (a\d+)i", r"oi > \1i", True),
    ("the last of a lane's equal ones is taken", r"r < (a\d+)i\)", r"r > \1i)", True),
]  # fmt: skip
INDEXED = [
    ("a pick of another row", r"pick = p / 5", "pick = p / 6", False),
    ("an unstable order", r"k < p\)", "k > p)", False),
    ("the search ends early", r"low = middle \+ 1", "low = middle + 2", False),
    ("a gradient of the first pick alone",
     r"k < (\w+) && (.*) == row; \+\+k", r"k < low + 1 && \2 == row; ++k", False),
    ("running sums from one",
     r"for \(int k = 0; k < (\w+); \+\+k\) \{\n(\s+const int at)",
     r"for (int k = 1; k < \1; ++k) {\n\2", False),
]  # fmt: skip
FAULTS = [
    Fault(name, graph, *edit)
    for graph, edits in (
        ("convolution", CONV), ("normalized", SUMS), ("rows", ROWS), ("indexed", INDEXED),
    )
    for name, *edit in edits
]  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_is_caught_without_a_fault(name: str) -> None:
    assert not caught(GRAPHS[name]())


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_caught(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = printer.module_source

    def edited(functions: Any) -> str:
        text = whole(functions)
        found, count = re.subn(
            fault.pattern, fault.replacement, text, count=0 if fault.everywhere else 1
        )
        assert count, f"{fault.pattern} is not in the source"
        return found

    monkeypatch.setattr(printer, "module_source", edited)
    assert caught(GRAPHS[fault.graph]())


# -- drawn ----------------------------------------------------------------------------------------

SWAPS = {
    " < ": " <= ", " <= ": " < ", " >= ": " > ", " == ": " != ", " && ": " || ", " + ": " - ",
    " - ": " + ", " * ": " + ", " / ": " * ", " % ": " / ", "true": "false", "min": "max",
}  # fmt: skip
DRAWN = 24


def drawn(text: str, draw: random.Random) -> tuple[str, str]:
    """A source with one operator or one number changed, and in words what was."""
    code = re.compile(r"(?<![\w.])\d+(?![\w.])|" + "|".join(map(re.escape, SWAPS)))
    # Not in comments, parameter lists, or the sizes of arrays: more of those changes nothing.
    passive = re.compile(
        r"__global__|__restrict__|#pragma|__shared__|unsigned e\d|float \w\[|k0 < "
    )
    places = [
        m for m in code.finditer(text)
        if "//" not in (line := text[text.rfind("\n", 0, m.start()) + 1 : m.end() + 9])
        and not passive.search(line)
    ]  # fmt: skip
    found = draw.choice(places)
    new = SWAPS.get(found[0]) or str(int(found[0]) + draw.choice([-1, 1]))
    start = text.rfind("\n", 0, found.start()) + 1
    line = text[start : text.find("\n", found.end())].strip()
    return text[: found.start()] + new + text[found.end() :], f"{found[0]!r} -> {new!r} in {line}"


@pytest.mark.slow
def test_drawn_faults_are_caught(
    monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    draw, whole = random.Random(20), printer.module_source
    survivors: list[str] = []
    for number in range(DRAWN):
        name = list(GRAPHS)[number % len(GRAPHS)]
        told: list[str] = []

        def edited(functions: Any, told: list[str] = told) -> str:
            text, what = drawn(whole(functions), draw)
            told.append(what)
            return text

        monkeypatch.setattr(printer, "module_source", edited)
        if not caught(GRAPHS[name]()):
            survivors.append(f"{name}: {told[0]}")
    record_property("survivors", survivors)
    # Some changes change nothing: one turn more of a loop that finds nothing to do, lanes that
    # look twice for the largest, a tie of equal numbers.
    assert len(survivors) <= DRAWN // 2, "\n".join(survivors)
