"""`make gallery`: run the Python blocks of gallery.md and write the pictures that it shows.

The page is the list of entries. A section is a heading, a block that names its picture ``figure``,
and links into gallery/, which say under which names (and so in which formats) it is saved. Each
block runs by itself, after the first block of the page, which holds the imports.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("gallery.md")
_SECTION = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((gallery/[\w.-]+)\)")


@dataclass(frozen=True)
class Entry:
    """One section of the page: its code, and the files that its picture is saved as."""

    title: str
    code: str
    files: tuple[str, ...]
    line: int


def entries(text: str) -> tuple[str, list[Entry]]:
    """The imports, and the entries of the page's text. Raises ValueError: a malformed section."""
    first = _BLOCK.search(text)
    if first is None:
        raise ValueError("gallery.md begins with a block that imports what the others need")
    found = []
    for section in _SECTION.finditer(text):
        title, body = section[1], section[2]
        blocks, files = list(_BLOCK.finditer(body)), tuple(_LINK.findall(body))
        if len(blocks) != 1 or not files:
            raise ValueError(
                f"gallery.md, {title!r}: a section has one Python block and a link into gallery/"
            )
        line = text.count("\n", 0, section.start(2) + blocks[0].start(1)) + 1
        found.append(Entry(title, blocks[0][1], files, line))
    return first[1], found


def draw(entry: Entry, imports: str) -> Any:
    """The picture of ``entry``, which its block calls ``figure``."""
    space: dict[str, Any] = {"__name__": "gallery"}
    exec(compile(imports, str(PAGE), "exec"), space)
    # The page's own lines, for errors and for pictures that show where a node was written.
    source = "\n" * (entry.line - 1) + entry.code
    exec(compile(source, PAGE.name, "exec"), space)
    if "figure" not in space:
        raise ValueError(f"gallery.md, {entry.title!r}: the block names no `figure`")
    return space["figure"]


def save(picture: Any, path: Path) -> Path:
    """Write a picture: ours, Matplotlib's, or what writes a page when it is called."""
    for name in ("save", "savefig"):
        if hasattr(picture, name):
            getattr(picture, name)(path)
            return path
    picture(path)
    return path


def main(only: list[str]) -> None:
    """Write the pictures of the sections whose title holds a word of ``only`` (none: of all)."""
    imports, found = entries(PAGE.read_text(encoding="utf-8"))
    for entry in found:
        if only and not any(word.lower() in entry.title.lower() for word in only):
            continue
        picture = draw(entry, imports)
        for file in entry.files:
            path = PAGE.parent / file
            path.parent.mkdir(exist_ok=True)
            save(picture, path)
            sys.stdout.write(f"docs/{file}  {path.stat().st_size / 1024:.0f} KiB\n")


if __name__ == "__main__":
    main(sys.argv[1:])
