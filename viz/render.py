"""The one place that runs a layout program: DOT text in, a picture out.

The program is ``graphviz-pure`` (a wheel: nothing to install by hand, the same bytes on every
platform), in a process of its own with no environment and with limits on time and memory, so that
no drawing can hang or fill the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Literal

from graphc.ir.errors import BackendError

PROGRAM = "graphviz-pure"
SECONDS = 60.0
MEMORY = 4 << 30
# An SVG has no size of its own. A PNG has two pixels a point, fewer where it would be wider or
# higher than 11,520 pixels.
_SIZE = {"svg": ("-Gdpi=72",), "png": ("-Gdpi=144", "-Gsize=80,80")}


class LayoutFailed(BackendError):
    """The layout program ran and gave no picture."""


def find(program: str = PROGRAM) -> str:
    """The path of ``program``: beside this Python first, then on PATH. Raises BackendError."""
    schemes = ("scripts", sysconfig.get_default_scheme()), ("scripts", f"{os.name}_user")
    folders = [sysconfig.get_path(*scheme) for scheme in schemes]
    if os.sep in program:
        folders = []
    for folder in (*folders, None):
        found = shutil.which(program, path=folder)
        if found:
            return found
    hint = (
        "pip install graphviz-pure"
        if program == PROGRAM
        else f"leave program= out to use {PROGRAM}, which pip installs"
    )
    raise BackendError(f"the layout program {program!r} is not installed: {hint}")


def render(
    dot: str, format: Literal["svg", "png"], *, program: str = PROGRAM, seconds: float = SECONDS,
    size: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """``dot`` laid out as ``format`` (``svg`` or ``png``); ``size``: the pixels of a PNG to fill.

    Raises BackendError: no such program, a layout that takes longer than ``seconds``, a failure of
    the program (with what it said).
    """
    given = _SIZE[format]
    if size is not None:
        given = ("-Gdpi=96", f"-Gsize={size[0] / 96:.4f},{size[1] / 96:.4f}!")
    command = [find(program), f"-T{format}", *given]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={}, cwd=Path(command[0]).parent,
    )  # fmt: skip
    with child:
        _limit(child.pid)
        try:
            picture, said = child.communicate(dot.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            raise BackendError(
                f"the layout of this drawing took longer than {seconds:g} s and was stopped: fold "
                "it (viz.draw(graph, fold=True), or fold='layer3*'), draw a part "
                "(graph.select(…)), or give it more time (seconds=)"
            ) from None
        except BaseException:
            child.kill()
            raise
    if child.returncode or not picture:
        words = said.decode(errors="replace").strip()[-500:] or f"exit code {child.returncode}"
        raise LayoutFailed(f"{program} could not lay the drawing out as {format}: {words}")
    return picture


def _limit(pid: int) -> None:
    """Bound the child's memory, where the system can bound another process's (Linux)."""
    try:
        import resource

        resource.prlimit(pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, AttributeError, OSError):
        return
