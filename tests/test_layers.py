"""The house keeps its shape: every folder is packaged, and imports point one way."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import FOLDERS, ROOT


def assemble(site: Path) -> None:
    """Lay the three folders out as an installation does, so that import-linter finds them all."""
    for folder, name in FOLDERS.items():
        shutil.copytree(
            ROOT / folder,
            site / name.replace(".", "/"),
            ignore=shutil.ignore_patterns("__pycache__"),
        )


def check_layers(site: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter, with the contract of pyproject.toml, on an assembled tree."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [lint_imports, ROOT / "pyproject.toml", "--no-logo", "--no-cache"],
        cwd=site,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Absolute imports of a file, at any depth, as (line, module)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module


def test_every_folder_is_packaged() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = config["tool"]["setuptools"]["packages"]
    found = {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for folder, name in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(listed) == found
    assert len(listed) == len(found)


def test_the_layers_are_told_as_they_are() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = config["tool"]["importlinter"]["contracts"]
    told = "\n".join(layer.replace(" : ", ", ") for layer in contract["layers"])
    assert f"```\n{told}\n```" in (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_imports_point_down(tmp_path: Path) -> None:
    assemble(tmp_path)
    result = check_layers(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "upward"),
    [
        ("ir", "graphc.ops"),
        ("ops", "graphc.compiler"),
        ("compiler", "graphc.backends.numpy"),
        ("passes", "graphc.viz"),
        ("backends", "graphc.train"),
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, module: str, upward: str) -> None:
    assemble(tmp_path)
    with (tmp_path / "graphc" / module / "__init__.py").open("a", encoding="utf-8") as init:
        init.write(f"\n\ndef _seeded() -> object:\n    import {upward}\n    return {upward}\n")
    result = check_layers(tmp_path)
    assert result.returncode == 1
    layer = upward.removesuffix(".numpy")
    assert f"graphc.{module} is not allowed to import {layer}" in result.stdout


@pytest.mark.parametrize("folder", ["backends", "viz"])
def test_mapped_folders_import_their_own_files_relatively(folder: str) -> None:
    # An absolute import would work too, but only through the map: the files would no longer say
    # where they stand. The core is imported by its name.
    absolute = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, module in imports(path)
        if f"{module}.".startswith((f"{FOLDERS[folder]}.", "backends.", "viz."))
    ]
    assert absolute == []


def test_the_core_names_no_backend_and_no_picture() -> None:
    # import-linter sees import statements; a name in a string would slip past it.
    hidden = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for path in sorted((ROOT / "graphc").rglob("*.py"))
        if path.parent.name != "cli"  # it stands above all
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(("graphc.backends.", "graphc.viz", "backends.", "viz."))
    ]
    assert hidden == []
