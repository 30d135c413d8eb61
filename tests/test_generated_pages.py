"""Pages of the documents that are generated say what the package says."""

from __future__ import annotations

import runpy
from pathlib import Path

from graphc import passes

DOCS = Path(__file__).parent.parent / "docs"


def test_the_op_table_is_the_registry_s() -> None:
    made = runpy.run_path(str(DOCS / "op_table.py"))
    text = (DOCS / "ir.md").read_text(encoding="utf-8")
    assert made["page"](text) == text, "run: python docs/op_table.py"


def test_every_pass_is_shown_before_and_after() -> None:
    made = runpy.run_path(str(DOCS / "pass_table.py"))
    text = (DOCS / "passes_shown.md").read_text(encoding="utf-8")
    assert made["page"]() == text, "run: python docs/pass_table.py"
    shown = {each.name for _, _, each in made["EXAMPLES"]}
    assert shown == {n for n in passes.__all__ if isinstance(getattr(passes, n), passes.Pass)} - {
        "define"
    }
