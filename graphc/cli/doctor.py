"""``graphc doctor``: what is here, what is missing, what to do."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from graphc import data
from graphc.compiler.registry import available_backends, backend_of
from graphc.data.sources import SOURCES
from graphc.ir.errors import BackendError, GraphError

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)(?:;\s*(.*))?\Z")
_EXTRA = re.compile(r"extra == ['\"]([a-z0-9-]+)['\"]")
# Extras that a user has no need of: for work on graphc, and for backends that are still to come.
_OTHER = ("dev", "bench", "cupy", "emulated")


def report() -> tuple[list[str], bool]:
    """The lines to print, and whether all that ``graphc demo`` needs is there."""
    lines = [f"graphc {_version('graphc')}, Python {platform.python_version()} ({sys.executable})"]
    lines.append(f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors")
    problems: list[str] = []
    for title, part in (
        ("packages", _packages(problems)),
        ("backends", _backends(problems)),
        ("drawing", _drawing(problems)),
        (f"data in {data.folder()}", _data()),
    ):
        lines += ["", title, *(f"  {line}" for line in part)]
    lines.append("")
    if problems:
        lines += ["what to do:", *(f"  {problem}" for problem in problems)]
    else:
        lines.append("nothing that graphc needs is missing; try: graphc demo")
    return lines, not problems


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _packages(problems: list[str]) -> Iterator[str]:
    """What graphc declares that it needs; of an extra only what is missing."""
    lacking: dict[str, list[str]] = {}
    for text in requires("graphc") or ():
        match = _REQUIREMENT.match(text)
        if match is None or match[1] == "graphc":
            continue
        package, bounds, marker = match[1], match[2].strip(), match[3] or ""
        found, extra = _version(package), _EXTRA.search(marker)
        if extra is None:
            yield f"{package} {found or f'is missing (needs {bounds})'}"
            if not found:
                problems.append(
                    f"install {package}: {sys.executable} -m pip install '{package}{bounds}'"
                )
        elif not found and extra[1] not in _OTHER:
            lacking.setdefault(extra[1], []).append(package)
    for name, packages in lacking.items():
        yield f"extra [{name}]: {', '.join(packages)} not installed; pip install 'graphc[{name}]'"


def _backends(problems: list[str]) -> Iterator[str]:
    for name in available_backends():
        try:
            backend_of(name, None)
        except (BackendError, GraphError) as error:
            yield f"{name}: {error}"
        else:
            yield f"{name}: ready"
    if "numpy" not in available_backends():
        problems.append("install graphc itself, it has no entry points: pip install -e .")
    wanted = os.environ.get("GRAPHC_BACKEND")
    if wanted:
        yield f"GRAPHC_BACKEND={wanted} is the one that is used where none is named"
        if wanted not in available_backends():
            problems.append(f"unset GRAPHC_BACKEND, or set it to one of the above, not {wanted!r}")


def _drawing(problems: list[str]) -> Iterator[str]:
    """One picture is really made: the layout runs in a process of its own, and could fail there."""
    from graphc import models, viz

    try:
        size = len(viz.draw(models.build("lenet-5")).svg)
    except (BackendError, ImportError, OSError) as error:
        yield f"failed: {error}"
        problems.append(
            "reinstall the drawing packages: pip install graphviz graphviz-pure networkx"
        )
    else:
        yield f"ready (LeNet-5 is an SVG of {size:,} bytes)"


def _data() -> Iterator[str]:
    for name, source in SOURCES.items():
        if name == "mnist-mini":
            yield f"{name}: ships with graphc"
            continue
        home = data.folder() / name
        files = [file.name for split in source.splits.values() for file in split]
        missing = [file for file in files if not (home / file).exists()]
        if not missing:
            yield f"{name}: here"
        else:
            here = len(files) - len(missing)
            yield f"{name}: {here} of {len(files)} files; loading it fetches the rest"
    place = data.folder()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK):
        yield f"{Path(place)} is not writable: set GRAPHC_DATA to a folder that is"
