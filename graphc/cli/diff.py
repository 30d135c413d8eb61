"""``graphc diff``: what makes two networks different."""

from __future__ import annotations

from pathlib import Path

import typer

from graphc import viz
from graphc.cli.recipe import check_writable
from graphc.ir.graph import Graph


def run(a: Graph, b: Graph, names: tuple[str, str], out: Path | None) -> bool:
    """Print the difference, write its picture where one is asked for; whether there is none."""
    found = viz.diff(a, b, names=names)
    typer.echo(found.text or "no difference\n", nl=False)
    if out is not None:
        check_writable(out)
        found.save(out)
        typer.echo(f"{out}: {found.caption}", err=True)
    return bool(found.same)
