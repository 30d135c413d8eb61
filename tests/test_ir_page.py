"""docs/ir.md says what the registry says."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_op_table_is_the_registry_s() -> None:
    made = runpy.run_path(str(DOCS / "op_table.py"))
    text = (DOCS / "ir.md").read_text(encoding="utf-8")
    assert made["page"](text) == text, "run: python docs/op_table.py"
