"""For tests of programs that use graphc: one body, run on every backend.

In a ``conftest.py``::

    from graphc.testing import backend

    __all__ = ["backend"]

A test that takes ``backend`` then runs once for each of ``BACKENDS`` and is skipped, with the
reason, where one cannot run. Where ``GRAPHC_BACKEND`` names a backend, the test runs on that one
alone and fails if it cannot: so a job for one backend never passes by skipping everything.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

import pytest

from graphc.backends import emulated
from graphc.compiler.registry import available_backends
from graphc.ir.errors import GraphError

BACKENDS = ("numpy", "cupy", "emulated")

__all__ = ["BACKENDS", "backend", "missing"]


def missing(name: str) -> str | None:
    """Why the backend ``name`` cannot run in this process, in one line; None where it can.

    Asks without importing CuPy, which would decide whether this process has a device or an emulated
    one. Raises GraphError where there is no such backend.

    >>> from graphc.testing import missing
    >>> print(missing("numpy"))
    None
    """
    if name not in available_backends():
        raise GraphError(f"there is no backend {name!r} (known: {', '.join(available_backends())})")
    if name == "cupy":
        return _no_device()
    if name == "emulated":
        lines = emulated.requirements()
        if lines:
            return "; ".join(lines)
        if "cupy" in sys.modules and not emulated.installed():
            return "this process has a real device: run with GRAPHC_BACKEND=emulated"
    return None


def _no_device() -> str | None:
    if emulated.installed():
        return "this process has the emulated device: run with GRAPHC_BACKEND=cupy"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA device: libcuda.so.1 is not there"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "no CUDA device: the driver finds none"
    return None


def _names() -> Sequence[str]:
    wanted = os.environ.get("GRAPHC_BACKEND")
    return (wanted,) if wanted else BACKENDS


@pytest.fixture(params=_names())
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a backend, for ``gx.compile(graph, backend=backend)``."""
    name: str = request.param
    reason = missing(name)
    if reason is None:
        return name
    if os.environ.get("GRAPHC_BACKEND") == name:
        pytest.fail(f"GRAPHC_BACKEND={name}, which cannot run here: {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")
