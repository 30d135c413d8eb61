"""Compiled kernels on disk: a second process compiles nothing.

A file is data with its checksum, named by what it was made from; one that is damaged, or was made
by something else, is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from ..cuda import nvrtc

_SUM = 64  # hexadecimal digits of a SHA-256


def folder() -> Path:
    """Where compiled kernels are kept: GRAPHC_CACHE, else the user's cache."""
    chosen = os.environ.get("GRAPHC_CACHE")
    if chosen:
        return Path(chosen) / "kernels"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "graphc" / "kernels"


def ptx(source: str, arch: str) -> bytes:
    """The PTX of ``source``, from the disk or from NVRTC. Raises BackendError where neither can."""
    parts = (source, arch, *nvrtc.OPTIONS, nvrtc.version())
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    path = folder() / f"{name}.ptx"
    kept = _read(path)
    if kept is not None:
        return kept
    made = nvrtc.compile_ptx(source, arch).encode()
    _write(path, made)
    return made


def _read(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    sum_, body = data[:_SUM], data[_SUM + 1 :]
    return body if hashlib.sha256(body).hexdigest().encode() == sum_ else None


def _write(path: Path, body: bytes) -> None:
    """All of it or nothing, whoever else writes it; a cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
                file.close()
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
