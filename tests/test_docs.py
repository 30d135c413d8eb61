"""What the documents say is run: doctests, code blocks, commands, links."""

from __future__ import annotations

import doctest
import hashlib
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT, modules

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

# The first example of the README is a promise to programs written elsewhere: names and meanings
# stay. Whoever changes it on purpose changes this sum too, and says so in CHANGELOG.md.
PROMISE = "730d3d8fa15bb90406c0c7be2acc359b344a3ab662cc0ec1572e00e621159582"


def blocks(path: Path, language: str) -> list[tuple[int, str]]:
    """Fenced blocks of one language as (line of the first statement, text)."""
    text = path.read_text(encoding="utf-8")
    fences = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, fence.start(1)) + 1, fence[1]) for fence in fences]


def commands(path: Path) -> list[str]:
    """Lines of the shell blocks, without comments."""
    lines = (line for _, block in blocks(path, "sh") for line in block.splitlines())
    return [line for line in (line.split("#")[0].strip() for line in lines) if line]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", [name for name, _ in modules()])
def test_doctests(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=flags)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", ["", "nn", "passes", "data", "models", "viz"])
def test_public_functions_have_an_example(name: str) -> None:
    module = importlib.import_module(f"graphc.{name}".rstrip("."))
    public = {name: getattr(module, name) for name in module.__all__}
    functions = {name for name, value in public.items() if inspect.isfunction(value)}
    shown = (">>> ", "Example: ``")  # its own, or the one of the function that it names
    without = {n for n in functions if not any(s in (public[n].__doc__ or "") for s in shown)}
    assert without == set()


# tests/test_gallery.py runs the blocks of the gallery, one by one, and looks at what they make.
@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "gallery.md"], ids=name_of)
def test_code_blocks_run(path: Path, tmp_path: Path) -> None:
    """All blocks of a document, in their order, in one process of its own."""
    source: list[str] = []
    for line, text in blocks(path, "python"):
        source += [""] * (line - 1 - len(source))  # a traceback shows the document's own lines
        source += text.splitlines()
    script = tmp_path / path.name
    script.write_text("\n".join(source) + "\n", encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_the_first_example_is_the_promise() -> None:
    (_, text), *_ = blocks(ROOT / "README.md", "python")
    assert hashlib.sha256(text.encode()).hexdigest() == PROMISE


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_exist(path: Path) -> None:
    from typer.main import get_command

    from graphc.cli import main

    subcommands = set(getattr(get_command(main), "commands", {}))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for command in commands(path):
        program, *words = command.split()
        if program.endswith("graphc"):
            assert words[0] in subcommands, command
        elif program == "make":
            assert words[0] in targets, command


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []
