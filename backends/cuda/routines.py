"""What no description can say: random bits, elements chosen by the data, running sums.

Nothing here adds by atomics: what goes to one place is added by one thread, in the order of its
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...ir.kernel import BOOL, Ref, Routine
from ...ir.types import Shape
from .place import Place
from .spelling import HALVES, expression, from_memory, literal, to_memory
from .writer import Writer

# Philox 4x64-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011), as NumPy's
# Generator draws float32 of it: eight numbers a block, the upper 24 bits of each half word; the
# first block is that of counter + 1.
UNIFORM = {
    "uniform": """
__device__ float uniform(unsigned long long seed, long long step, unsigned long long stream,
                         unsigned long long i) {
    unsigned long long c0 = i / 8 + 1, c1 = 0, c2 = (unsigned long long)step, c3 = 0;
    unsigned long long k0 = seed, k1 = stream;
    #pragma unroll 1
    for (int round = 0; round < 10; ++round) {
        const unsigned long long h0 = __umul64hi(0xD2E7470EE14C6C93ULL, c0);
        const unsigned long long l0 = 0xD2E7470EE14C6C93ULL * c0;
        const unsigned long long h1 = __umul64hi(0xCA5A826395121157ULL, c2);
        const unsigned long long l1 = 0xCA5A826395121157ULL * c2;
        c0 = h1 ^ c1 ^ k0;
        c1 = l1;
        c2 = h0 ^ c3 ^ k1;
        c3 = l0;
        k0 += 0x9E3779B97F4A7C15ULL;
        k1 += 0xBB67AE8584CAA73BULL;
    }
    const unsigned word = (unsigned)i / 2 % 4;
    const unsigned long long both = word == 0 ? c0 : word == 1 ? c1 : word == 2 ? c2 : c3;
    const unsigned half = i % 2 ? (unsigned)(both >> 32) : (unsigned)both;
    return (float)(half >> 8) * (1.0f / 16777216.0f);
}
""",
}


def _parts(writer: Writer, shape: Shape, axis: int) -> tuple[str, str, str]:
    """The sizes before, at and after an axis, as texts."""
    before = math.prod(shape[:axis], start=1)
    after = math.prod(shape[axis + 1 :], start=1)
    return writer.size(before), writer.size(shape[axis]), writer.size(after)


def _gather(writer: Writer, step: Routine, place: Place) -> list[str]:
    """out[b, k, rest] = x[b, index[b, k], rest]: a thread an element."""
    x, index = step.inputs
    assert step.out is not None
    batch = dict(step.attributes)["batch"]
    _, rows, rest = _parts(writer, x.shape, batch)
    picks = writer.size(math.prod(index.shape[batch:], start=1))
    integer = writer.integer
    lines = [
        f"const {integer} pick = p / {rest}, b = pick / {picks};",
        f"const {integer} row = ({integer}){writer.buffers[index]}[pick];",
        f"{writer.buffers[step.out]}[p] = {writer.buffers[x]}"
        f"[(b * {rows} + row) * {rest} + p % {rest}];",
    ]
    return place.loop(writer, math.prod(step.out.shape, start=1), lines)


def _order(writer: Writer, step: Routine, place: Place) -> list[str]:
    """The picks of each batch by the row that they name, those of one row in their own order: each
    thread counts the picks that stand before its own."""
    (index,) = step.inputs
    assert step.out is not None
    batch = dict(step.attributes)["batch"]
    picks = writer.size(math.prod(index.shape[batch:], start=1))
    integer, source = writer.integer, writer.buffers[index]
    lines = [
        f"const {integer} first = p / {picks} * {picks};",
        f"const long long row = {source}[p];",
        f"{integer} before = 0;",
        f"for ({integer} k = first; k < first + {picks}; ++k) {{",
        f"    const long long other = {source}[k];",
        "    before += other < row || (other == row && k < p);",
        "}",
        f"{writer.buffers[step.out]}[first + before] = p - first;",
    ]
    return place.loop(writer, math.prod(index.shape, start=1), lines)


def _gather_grad(writer: Writer, step: Routine, place: Place) -> list[str]:
    """out[b, row, rest] = Σ g[b, k, rest] over the picks k of the row: a thread an element. The
    picks lie sorted, so those of a row are a run that two searches find."""
    g, index, order = step.inputs
    out = step.out
    assert out is not None
    batch = dict(step.attributes)["batch"]
    _, rows, rest = _parts(writer, out.shape, batch)
    picks = writer.size(math.prod(index.shape[batch:], start=1))
    integer = writer.integer
    at = f"{writer.buffers[index]}[b * {picks} + {writer.buffers[order]}[b * {picks} + %s]]"
    dtype = np.dtype(np.float32) if out.dtype.name in HALVES else out.dtype
    kind = writer_type(out)
    element = from_memory(
        f"{writer.buffers[g]}[(b * {picks} + {writer.buffers[order]}[b * {picks} + k]) * {rest}"
        f" + p % {rest}]",
        g.dtype,
    )
    lines = [
        f"const {integer} row = p / {rest} % {rows}, b = p / {rest} / {rows};",
        f"{integer} low = 0, high = {picks};",
        "while (low < high) {",
        f"    const {integer} middle = (low + high) / 2;",
        f"    if ({at % 'middle'} < row) low = middle + 1;",
        "    else high = middle;",
        "}",
        f"{kind} total = {literal(0, dtype)};",
        f"for ({integer} k = low; k < {picks} && {at % 'k'} == row; ++k) {{",
        f"    const {kind} one = {element};",
        f"    total = {expression('add', dtype, ('total', 'one'), (dtype, dtype))};",
        "}",
        f"{writer.buffers[out]}[p] = {to_memory('total', out.dtype)};",
    ]
    return place.loop(writer, math.prod(out.shape, start=1), lines)


def writer_type(ref: Ref) -> str:
    """The C++ type that elements of a buffer are summed in."""
    from .spelling import c_type

    return c_type(ref.dtype)


def _cumsum(writer: Writer, step: Routine, place: Place) -> list[str]:
    """A thread a line, from its first element (or, in reverse, its last) on."""
    (x,) = step.inputs
    out = step.out
    assert out is not None
    options = dict(step.attributes)
    before, size, after = _parts(writer, x.shape, options["axis"])
    integer, kind = writer.integer, writer_type(out)
    dtype = np.dtype(np.float32) if out.dtype.name in HALVES else out.dtype
    turn = f"{size} - 1 - k" if options["reverse"] else "k"
    where = f"(p / {after} * {size} + {turn}) * {after} + p % {after}"
    added = expression("add", dtype, ("total", "one"), (dtype, dtype)) if dtype != BOOL else "one"
    lines = [
        f"{kind} total = {literal(0, dtype)};",
        f"for ({integer} k = 0; k < {size}; ++k) {{",
        f"    const {integer} at = {where};",
        f"    const {kind} one = {from_memory(f'{writer.buffers[x]}[at]', x.dtype)};",
        f"    total = {added};",
        f"    {writer.buffers[out]}[at] = {to_memory('total', out.dtype)};",
        "}",
    ]
    points = math.prod(x.shape[: options["axis"]], start=1)
    points = points * math.prod(x.shape[options["axis"] + 1 :], start=1)
    del before
    return place.loop(writer, points, lines)


ROUTINES: dict[str, Callable[[Writer, Routine, Place], list[str]]] = {
    "gather": _gather,
    "order": _order,
    "gather_grad": _gather_grad,
    "cumsum": _cumsum,
}
