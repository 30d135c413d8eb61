"""The tables of the page: parameters, operations and memory; and the program beside the nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from graphc.analysis import cost
from graphc.compiler.plan import Plan
from graphc.compiler.program import Program
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.leaves import Parameter
from graphc.ir.summary import uses
from graphc.ir.types import TensorType

from .shell import table, text

MOST_ROWS = 400
MOST_LINES = 3000


def parameters(graph: Graph) -> str:
    """Every parameter once, however often it is used."""
    counts = uses(graph)
    rows = [
        (
            name, str(node.type), node.op.role if isinstance(node.op, Parameter) else "",
            math.prod(node.type.concrete({})), counts.get(node, 0),
        )
        for name, node in graph.parameters.items()
    ]  # fmt: skip
    total = graph.parameter_count()
    shared = sum(row[4] > 1 for row in rows)
    caption = f"{total:,} parameters in {len(rows):,} arrays, {shared:,} of them shared"
    return table(
        ("parameter", "type", "role", "numbers", "uses"), rows[:MOST_ROWS],
        caption=caption + _cut(len(rows)), words=3,
    )  # fmt: skip


def operations(graph: Graph, sizes: Mapping[str, int]) -> str:
    """Flops and bytes by node, the most expensive first. Raises GraphError: a size is missing."""
    found = cost(graph, **sizes)
    rows = sorted(
        ((c.name, c.node.op.name, str(c.node.type), c.flops, c.bytes) for c in found),
        key=lambda row: -row[3],
    )
    at = ", ".join(f"{name}={size}" for name, size in found.sizes.items())
    caption = (
        f"{found.flops:,} flops and {found.bytes:,} bytes a run" + (f" at {at}" if at else "")
        + "; a multiply-add is two flops"
    )  # fmt: skip
    return table(
        ("node", "op", "type", "flops", "bytes"), rows[:MOST_ROWS],
        caption=caption + _cut(len(rows)), words=3,
    )  # fmt: skip


def memory(plan: Plan) -> str:
    """Where each buffer of the arena lies and how long it lives."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, instruction in enumerate(plan.instructions):
        for touched in instruction.buffers():
            root = plan.buffers[touched].root
            first.setdefault(root, number)
            last[root] = number
    rows = []
    for buffer in plan.buffers:
        place = plan.places[buffer.root]
        if buffer.root != buffer.number or place.space != "arena" or buffer.number not in first:
            continue
        kind = str(TensorType(buffer.shape, buffer.dtype))
        rows.append(
            (
                buffer.label, kind, buffer.bytes(plan.capacity), place.offset,
                first[buffer.number], last[buffer.number],
            )
        )  # fmt: skip
    at = ", ".join(f"{name}={size}" for name, size in plan.capacity.items())
    caption = (
        f"one arena of {plan.peak_bytes:,} bytes" + (f" at {at}" if at else "")
        + f" for {len(rows):,} buffers of {sum(row[2] for row in rows):,} bytes; instructions "
        f"0 to {len(plan.instructions) - 1}"
    )  # fmt: skip
    rows.sort(key=lambda row: -row[2])
    return table(
        ("buffer", "type", "bytes", "at byte", "from instruction", "to"), rows[:MOST_ROWS],
        caption=caption + _cut(len(rows)), words=2,
    )  # fmt: skip


def _cut(count: int) -> str:
    return f"; the first {MOST_ROWS} of {count:,} rows" if count > MOST_ROWS else ""


def source(program: Program, graph: Graph) -> str:
    """The generated program; each line that computes names its node, which can be chosen."""
    lines = program.source.splitlines()
    owner = program.source_nodes
    begin, note = 0, ""
    if len(lines) > MOST_LINES:
        begin = next((i for i, line in enumerate(lines) if line.startswith("def step")), 0)
        note = (
            f"<p>{len(lines):,} lines are too many for a page: here are {MOST_LINES:,} of them, "
            "from where the step begins.</p>"
        )
    rows = []
    for number, line in enumerate(lines[begin : begin + MOST_LINES], begin + 1):
        node = owner.get(number)
        name = graph.name(node) if node is not None else ""
        link = f'<a href="#graph" data-of="{escape(name)}">{text(name, 40)}</a>' if name else ""
        code = escape("".join(c if c.isprintable() else "\ufffd" for c in line[:400]))
        rows.append(
            f'<li><span class="at">{number}</span><span class="of">{link}</span>'
            f"<code>{code}</code></li>"
        )
    return (
        f'{note}<div class="source" id="source-lines" tabindex="0" role="region" '
        f'aria-label="generated program"><ol>\n{"".join(rows)}\n</ol></div>'
    )


def sizes_of(graph: Graph, batch: int, size: Mapping[str, int]) -> dict[str, int]:
    """The named dimensions that are known: ``N`` is the batch.

    Raises GraphError for a dimension that the graph does not have.
    """
    from graphc.ir.dims import names

    known = names(part for node in graph.inputs.values() for part in node.shape)
    if unknown := size.keys() - known:
        raise GraphError(
            f"the graph has no dimension {min(unknown)!r}; it has "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    return {**({"N": batch} if "N" in known else {}), **size}
