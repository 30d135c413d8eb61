"""What the emulator needs, and one line for each thing that is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata, util
from pathlib import Path

CUPY = ("cupy-cuda13x", "14.2")
NVRTC = ("nvidia-cuda-nvrtc", "13.0")
HEADERS = ("nvidia-cuda-runtime", "13.0")
MACHINES = ("x86_64", "aarch64")


def requirements() -> list[str]:
    """One line for each thing that is missing, with what to do; an empty list when all is there.

    >>> from graphc.backends.emulated import requirements
    >>> all(isinstance(line, str) for line in requirements())
    True
    """
    found = []
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        found.append(
            "the emulator runs on Linux (x86-64, aarch64);"
            f" this is {sys.platform} on {platform.machine()}"
        )
    for name, version in (CUPY, NVRTC, HEADERS):
        have = _version(name)
        if have is None:
            found.append(f"{name} is not installed: pip install 'graphc[emulated]'")
        elif not f"{have}.".startswith(f"{version}."):
            found.append(
                f"{name} {have} is installed, the emulator is made for {version}:"
                f" pip install '{name}=={version}.*'"
            )
    if find_compiler() is None:
        found.append("a C compiler is missing: install gcc, or pip install ziglang")
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def find_compiler() -> list[str] | None:
    """The command of a C compiler: the system's, else the one in pip's ``ziglang``."""
    for name in ("gcc", "cc"):
        path = shutil.which(name)
        if path is not None:
            return [path]
    if util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    return None


def cache_folder() -> Path:
    """Where compiled kernels and hooks are kept: ``GRAPHC_CACHE``, else the user's cache."""
    given = os.environ.get("GRAPHC_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "graphc"
