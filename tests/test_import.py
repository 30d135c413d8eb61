"""`import graphc` is quick and quiet, and loads nothing that a graph does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("cupy", "graphviz", "graphviz_pure", "networkx", "matplotlib", "PIL", "rich", "typer")
SECONDS = 0.25

CHILD = """
import sys, time
start = time.process_time()
import graphc
print(time.process_time() - start, *sorted(sys.modules))
"""


def fresh_import(folder: Path) -> tuple[float, set[str]]:
    """Import graphc in a process of its own; return its CPU seconds and the modules loaded."""
    words = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return float(words[0]), set(words[1:])


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    _, modules = fresh_import(tmp_path)
    assert {name for name in HEAVY if name in modules} == set()
    late = ("graphc.viz", "graphc.backends.", "numpy.random")
    assert {name for name in modules if name.startswith(late)} == set()


def test_import_is_quick(tmp_path: Path) -> None:
    # CPU seconds, the best of five: a busy machine does not make this red.
    assert min(fresh_import(tmp_path)[0] for _ in range(5)) < SECONDS
