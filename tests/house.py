"""Where the parts of the house stand, for the tests that walk all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Folder of the tree -> name under which it is imported, as pyproject.toml's package-dir has it.
FOLDERS = {"graphc": "graphc", "backends": "graphc.backends", "viz": "graphc.viz"}


def modules() -> Iterator[tuple[str, Path]]:
    """All modules of the package, private ones too, each with its file."""
    for folder, name in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([name, *(part for part in parts if part != "__init__")]), path
