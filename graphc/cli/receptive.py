"""``graphc rf``: the receptive fields of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.analysis import Counterexample, field_table
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph


def run(graph: Graph, wrt: str | None, sizes: Sequence[str], everything: bool) -> str:
    """The table, and below it the first two ways that are not centred alike."""
    found = field_table(graph, wrt, dict(map(_size, sizes)), everything=everything)
    lines = [str(found)]
    apart = next((row for row in found.rows if not row.aligned), None)
    if apart is not None:
        proof = apart.field.alignment
        if isinstance(proof, Counterexample):
            lines += ["", f"{apart.name} is not aligned:", str(proof)]
    return "\n".join(lines)


def _size(given: str) -> tuple[str, int]:
    """``H=224``."""
    name, equals, number = given.partition("=")
    if not equals or not name or not number.isdecimal():
        raise GraphError(f"--size {given}: write a name and a number, --size H=224")
    return name, int(number)
