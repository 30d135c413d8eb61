"""docs/gallery.md: every picture there is, made by the lines beside it, and up to date."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

from graphc import viz
from tests.house import ROOT

DOCS = ROOT / "docs"
MOST = 4 << 20  # bytes of all pictures


def _machine() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gallery"] = module  # its dataclass looks its own module up
    spec.loader.exec_module(module)
    return module


gallery = _machine()
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")
IMPORTS, ENTRIES = gallery.entries(PAGE)


def outline(svg: str) -> list[str]:
    """The kinds of elements in their order: what stays when a last digit differs."""
    return [element.tag for element in ET.fromstring(svg.encode()).iter()]


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.title for entry in ENTRIES])
def test_the_lines_make_the_picture(entry: object, tmp_path: Path) -> None:
    figure = gallery.draw(entry, IMPORTS)
    for file in entry.files:  # type: ignore[attr-defined]
        kept, new = DOCS / file, gallery.save(figure, tmp_path / Path(file).name)
        assert kept.exists(), f"`make gallery` has not written docs/{file}"
        if kept.suffix == ".svg":
            old = kept.read_text(encoding="utf-8")
            stale = f"docs/{file} is not what its lines make: run `make gallery`"
            assert outline(old) == outline(new.read_text(encoding="utf-8")), stale
        else:
            assert abs(kept.stat().st_size - new.stat().st_size) <= 0.2 * new.stat().st_size


def test_every_function_has_its_picture() -> None:
    drawn = {name for name in viz.__all__ if inspect.isfunction(getattr(viz, name))}
    shown = {name for entry in ENTRIES for name in re.findall(r"viz\.(\w+)\(", entry.code)}
    assert drawn - shown == set()


def test_pictures_are_few_bytes_and_each_is_shown() -> None:
    titles = [entry.title for entry in ENTRIES]
    assert len(titles) == len(set(titles))
    files = [file for entry in ENTRIES for file in entry.files]
    assert len(files) == len(set(files))
    kept = {str(path.relative_to(DOCS)) for path in (DOCS / "gallery").iterdir()}
    assert kept == set(files)
    assert sum((DOCS / file).stat().st_size for file in files) < MOST


def test_the_review_speaks_of_every_picture() -> None:
    review = (DOCS / "gallery-review.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^### (.+)$", review, re.MULTILINE))
    assert {entry.title for entry in ENTRIES} - headings == set()
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", review)


def test_a_malformed_section_is_told() -> None:
    good = "```python\nimport graphc\n```\n"
    with pytest.raises(ValueError, match="begins with a block"):
        gallery.entries("# Gallery\n")
    with pytest.raises(ValueError, match="'A': a section has one Python block"):
        gallery.entries(good + "### A\n\ntext\n")
    _, (entry,) = gallery.entries(good + "### A\n\n```python\nx = 1\n```\n\n![a](gallery/a.svg)\n")
    with pytest.raises(ValueError, match="names no `figure`"):
        gallery.draw(entry, "")
