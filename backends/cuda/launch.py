"""A launch as CUDA C++: one function, with a part for each of its segments.

A pure function of (launch, name, index width, what shares memory). Reductions run on teams of
threads and end in a tree whose form depends on the team alone: no atomics, the same bits each run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ...ir.errors import BackendError
from ...ir.kernel import BOOL, Acc, Axis, DType, Expr, Kernel, Phase, Position, Ref, Routine
from ...ir.leaves import stream_number
from ...ir.node import Node, describe
from ...ir.types import short
from .place import Place
from .routines import ROUTINES, UNIFORM
from .schedule import collapse
from .segments import (
    BLOCK,
    WARP,
    Launch,
    Product,
    Segment,
    accesses,
    extent,
    segment_loads,
    segment_reads,
    segment_stores,
    walk,
)  # fmt: skip
from .spelling import HALVES, HELPERS, Unsupported, c_type, expression, literal, memory_type
from .tiles import product_lines
from .writer import Groups, Walk, Writer, comment

_HELPERS = {**HELPERS, **UNIFORM}


def print_launch(
    launch: Launch, *, name: str, wide: bool, shared: frozenset[Ref] = frozenset()
) -> str:
    """CUDA C++ of a launch, as an ``extern "C"`` function called ``name``.

    It takes a pointer for each buffer (read ones, then written ones), each named dimension, and,
    where there are several segments, the block where each but the last ends. wide: 64-bit indices.
    shared: buffers whose memory another argument may overlap. Raises BackendError, naming the node,
    for what no kernel is written of.
    """
    integer = "long long" if wide else "int"
    buffers = {ref: f"b{i}" for i, ref in enumerate(arguments(launch))}
    dims = {size: f"s{i}" for i, size in enumerate(launch.sizes())}
    parts: list[list[str]] = []
    for number, segment in enumerate(launch.segments):
        try:
            parts.append(_segment(launch, number, buffers, dims, integer))
        except Unsupported as reason:
            node = _node(segment)
            raise BackendError(
                f"CUDA: no kernel for {describe(node)}: {reason}", nodes=[node]
            ) from None
    lines = [f"// {comment(_node(segment))}" for segment in launch.segments]
    # One block a multiprocessor is enough: more of them are worth less than a spilled register.
    lines.append(f'extern "C" __global__ void __launch_bounds__({BLOCK}, 1) {name}(')
    lines += _parameters(launch, buffers, dims, integer, shared)
    lines.append("{")
    if len(parts) == 1:
        lines += [f"    {line}" for line in parts[0]]
    else:
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            lines.append("    {" if last else f"    if (blockIdx.x < e{number}) {{")
            lines += [f"        {line}" for line in part]
            lines += ["    }"] if last else ["        return;", "    }"]
    lines.append("}")
    return "\n".join(lines) + "\n"


def module_source(functions: Sequence[str]) -> str:
    """One source of several functions, with the helpers that they call above them."""
    text = "\n".join(functions)
    called = set(re.findall(r"\b(\w+)\(", text))
    helpers = [source for helper, source in _HELPERS.items() if helper in called]
    return "".join(source.lstrip("\n") + "\n" for source in helpers) + text


def arguments(launch: Launch) -> tuple[Ref, ...]:
    """The buffers whose addresses the function takes, in order."""
    return tuple(dict.fromkeys((*launch.reads(), *launch.writes())))


def _node(segment: Segment) -> Node:
    step = segment.step
    return step.gemm.node if isinstance(step, Product) else step.node


def _parameters(
    launch: Launch, buffers: Mapping[Ref, str], dims: Mapping[str, str], integer: str,
    shared: frozenset[Ref],
) -> list[str]:  # fmt: skip
    """The parameter list, one a line; buffers with their types."""
    read, written = set(launch.reads()), set(launch.writes())
    found: list[tuple[str, str]] = []
    for ref, name in buffers.items():
        const = "" if ref in written else "const "
        # Proved: what is written is not read, and the plan puts nothing else there.
        apart = ref not in shared and not (ref in read and ref in written)
        restrict = " __restrict__" if apart else ""
        shape = ",".join(re.sub(r"[A-Za-z_]\w*", lambda m: dims[m[0]], str(s)) for s in ref.shape)
        text = f"{const}{memory_type(ref.dtype)}*{restrict} {name}"
        found.append((text, f"  // {short(ref.dtype)}[{shape}]"))
    found += [(f"const {integer} {name}", "") for name in dims.values()]
    found += [(f"const unsigned e{i}", "") for i in range(len(launch.segments) - 1)]
    last = len(found) - 1
    return [f"    {text}{',' if i < last else ')'}{note}" for i, (text, note) in enumerate(found)]


def _segment(
    launch: Launch, number: int, buffers: Mapping[Ref, str], dims: Mapping[str, str], integer: str
) -> list[str]:
    """The lines of one segment."""
    segment = launch.segments[number]
    writer = Writer(buffers, dims, integer)
    for ref, routine in launch.uniform.items():
        if ref in segment_reads(segment.step):
            seed, step = (f"{buffers[source]}[0]" for source in routine.inputs)
            stream = stream_number(dict(routine.attributes)["path"])
            writer.uniform[ref] = f"uniform({seed}, {step}, {stream}ULL, "
    first = f"e{number - 1}" if number else ""
    if len(launch.segments) == 1:
        block, blocks = "blockIdx.x", "gridDim.x"
    else:
        block = f"(blockIdx.x - {first})" if first else "blockIdx.x"
        end = "gridDim.x" if number == len(launch.segments) - 1 else f"e{number}"
        blocks = f"({end} - {first})" if first else end
    place = Place(block, blocks, f"({integer})" if integer != "int" else "(int)")
    match segment.step:
        case Kernel():
            return _Kernel(writer, segment.step, segment.team, place).lines()
        case Product():
            return product_lines(writer, segment.step, place.block)
        case Routine():
            return ROUTINES[segment.step.name](writer, segment.step, place)


class _Kernel:
    """One kernel being written: maps, and reductions by teams."""

    def __init__(self, writer: Writer, kernel: Kernel, team: int, place: Place) -> None:
        self.writer, self.kernel, self.team, self.place = writer, kernel, team, place
        self.count = 0

    def lines(self) -> list[str]:
        """The loop over the points, and what stands before it."""
        self.check_overwrites()
        writer, kernel = self.writer, self.kernel
        points = extent(kernel.parallel)
        writer.enter(Walk("p", "i", self.groups(kernel.parallel, kernel.phases)))
        for phase in kernel.phases:
            self.phase(phase)
        inner = writer.leave()
        if self.team == 1:
            return self.place.loop(writer, points, inner)
        integer, teams = writer.integer, BLOCK // self.team
        mine = f" * {teams} + (int)threadIdx.x / {self.team}" if teams > 1 else ""
        start = f"{self.place.cast}{self.place.block}{mine}"
        step = f"{self.place.cast}{self.place.blocks}{f' * {teams}' if teams > 1 else ''}"
        lane = f"(int)threadIdx.x % {self.team}" if teams > 1 else "(int)threadIdx.x"
        bound = writer.size(points)
        return [
            *writer.prologue,
            f"const int lane = {lane};",
            f"for ({integer} p = {start}; p < {bound}; p += {step}) {{",
            *(f"    {line}" for line in inner),
            "}",
        ]

    def groups(self, axes: Sequence[Axis], phases: Sequence[Phase]) -> Groups:
        part = Kernel(self.kernel.node, self.kernel.parallel, tuple(phases))
        touched = accesses(part)
        positions = {e.axis for e in walk(_roots(phases)) if isinstance(e, Position)}
        return collapse(axes, touched, positions)

    def check_overwrites(self) -> None:
        """A thread may overwrite only what no other thread reads."""
        for store in segment_stores(self.kernel):
            for load in segment_loads(self.kernel):
                if load.ref == store.ref and load.index != store.index:
                    raise Unsupported("it overwrites elements that other points still read")

    # -- phases -------------------------------------------------------------------------------

    def phase(self, phase: Phase) -> None:
        """The lines of one phase, at every point."""
        writer = self.writer
        if not phase.over:
            for acc in phase.accs:  # of a single element
                value = "0" if acc.monoid == "argmax" else writer.value(acc.expr)
                writer.accs[acc] = value
            lines = [writer.store(store) for store in phase.stores]
            if self.team > 1 and lines:
                lines = ["if (lane == 0) {", *(f"    {line}" for line in lines), "}"]
            writer.body.extend(lines)
            return
        accs = [(acc, f"a{self.count + i}") for i, acc in enumerate(phase.accs)]
        self.count += len(accs)
        for acc, name in accs:
            writer.body.extend(_start(acc, name, writer.integer))
        writer.enter(Walk("r", "j", self.groups(phase.over, (phase,))))
        stores = [writer.store(store) for store in phase.stores]
        for acc, name in accs:
            value = writer.value(acc.expr)
            writer.body.extend(_add(acc, name, value, writer.integer))
        writer.body.extend(stores)
        inner = writer.leave()
        first, step = ("0", "1") if self.team == 1 else ("lane", str(self.team))
        bound = writer.size(extent(phase.over))
        writer.body.append(f"for ({writer.integer} r = {first}; r < {bound}; r += {step}) {{")
        writer.body.extend(f"    {line}" for line in inner)
        writer.body.append("}")
        for acc, name in accs:
            if self.team > 1:
                writer.body.extend(_tree(acc, name, self.team, writer.integer))
            writer.accs[acc] = self.finished(acc, name)

    def finished(self, acc: Acc, name: str) -> str:
        """The value of a reduction as an element of its dtype."""
        if acc.monoid == "argmax":
            return self.writer.name("v", c_type(acc.dtype), f"({c_type(acc.dtype)}){name}i", None)
        if acc.dtype.name in HALVES:
            zero = apply_rounding(name, acc.dtype)
            return self.writer.name("v", c_type(acc.dtype), zero, None)
        return name


def apply_rounding(text: str, dtype: DType) -> str:
    """A float32 as the nearest number of a 16-bit type."""
    return f"of_{HALVES[dtype.name]}(to_{HALVES[dtype.name]}({text}))"


def _roots(phases: Sequence[Phase]) -> list[Expr]:
    return [e for p in phases for e in (*p.accs, *(s.expr for s in p.stores))]


# -- accumulators ---------------------------------------------------------------------------------


def identity(acc: Acc) -> str:
    """What an accumulator starts from, as a literal of the type it is computed in."""
    dtype = acc.expr.dtype if acc.monoid == "argmax" else acc.dtype
    if acc.monoid == "sum":
        return literal(0, dtype)
    lowest = acc.monoid in ("max", "argmax")
    if dtype == BOOL:
        return "false" if lowest else "true"
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return literal(int(info.min if lowest else info.max), dtype)
    return literal(-np.inf if lowest else np.inf, dtype)


def _value_type(acc: Acc) -> DType:
    return acc.expr.dtype if acc.monoid == "argmax" else acc.dtype


def _start(acc: Acc, name: str, integer: str) -> list[str]:
    lines = [f"{c_type(_value_type(acc))} {name} = {identity(acc)};"]
    if acc.monoid == "argmax":
        lines.append(f"{integer} {name}i = {_far(integer)};")
    return lines


def _far(integer: str) -> str:
    """A position after every other: where a lane stands that has seen nothing."""
    return "2147483647" if integer == "int" else "9223372036854775807LL"


def combined(acc: Acc, left: str, right: str) -> str:
    """``left`` and ``right`` in one: not of an argmax."""
    dtype = acc.dtype
    if dtype == BOOL:
        return f"{left} {'&&' if acc.monoid == 'min' else '||'} {right}"
    if dtype.name in HALVES:  # summed in float32, rounded at the end
        dtype = np.dtype(np.float32)
    op = {"sum": "add", "max": "max", "min": "min"}[acc.monoid]
    return expression(op, dtype, (left, right), (dtype, dtype))


def _better(name: str, value: str, position: str, acc: Acc) -> str:
    """Whether (value, position) comes before what an argmax holds: larger, NaN being the largest;
    of equal ones the first."""
    larger = f"{value} > {name}"
    same = f"{value} == {name}"
    if acc.expr.dtype.kind == "f" or acc.expr.dtype.name in HALVES:
        larger += f" || (isnan({value}) && !isnan({name}))"
        same = f"({same} || (isnan({value}) && isnan({name})))"
    return f"{larger} || ({same} && {position} < {name}i)"


def _add(acc: Acc, name: str, value: str, integer: str) -> list[str]:
    if acc.monoid != "argmax":
        return [f"{name} = {combined(acc, name, value)};"]
    return [f"if ({_better(name, value, 'r', acc)}) {{", f"    {name} = {value};",
            f"    {name}i = r;", "}"]  # fmt: skip


def _tree(acc: Acc, name: str, team: int, integer: str) -> list[str]:
    """All lanes of a team end with the team's value: halves of a warp, then the warps in order."""
    kind = c_type(_value_type(acc))
    narrow = kind in ("bool", "signed char", "unsigned char", "short", "unsigned short")
    lines = ["#pragma unroll", f"for (int d = {WARP // 2}; d > 0; d /= 2) {{"]
    other = f"__shfl_xor_sync(0xffffffffu, {'(int)' if narrow else ''}{name}, d)"
    lines.append(f"    const {kind} o = {f'({kind})' if narrow else ''}{other};")
    if acc.monoid == "argmax":
        lines += [
            f"    const {integer} oi = __shfl_xor_sync(0xffffffffu, {name}i, d);",
            f"    if ({_better(name, 'o', 'oi', acc)}) {{",
            f"        {name} = o;",
            f"        {name}i = oi;",
            "    }",
        ]
    else:
        lines.append(f"    {name} = {combined(acc, name, 'o')};")
    lines.append("}")
    if team == WARP:
        return lines
    warps = team // WARP
    held = f"w{name}"
    lines.append(f"__shared__ {kind} {held}[{warps}];")
    put = [f"    {held}[threadIdx.x / {WARP}] = {name};"]
    take = [f"    const {kind} o = {held}[w];"]
    if acc.monoid == "argmax":
        lines.append(f"__shared__ {integer} {held}i[{warps}];")
        put.append(f"    {held}i[threadIdx.x / {WARP}] = {name}i;")
        take += [
            f"    const {integer} oi = {held}i[w];",
            f"    if ({_better(name, 'o', 'oi', acc)}) {{",
            f"        {name} = o;",
            f"        {name}i = oi;",
            "    }",
        ]
        first = [f"{name} = {held}[0];", f"{name}i = {held}i[0];"]
    else:
        take.append(f"    {name} = {combined(acc, name, 'o')};")
        first = [f"{name} = {held}[0];"]
    return [
        *lines, f"if (threadIdx.x % {WARP} == 0) {{", *put, "}", "__syncthreads();",
        *first, "#pragma unroll", f"for (int w = 1; w < {warps}; ++w) {{", *take, "}",
        "__syncthreads();",
    ]  # fmt: skip


__all__ = ["arguments", "module_source", "print_launch"]
