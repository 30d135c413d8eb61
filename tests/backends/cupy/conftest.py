"""The emulated device, installed before anything imports CuPy; compiled kernels stay in build/."""

from __future__ import annotations

import os

import pytest

from graphc.backends import emulated
from tests.house import ROOT


@pytest.fixture(autouse=True, scope="session")
def _device() -> None:
    missing = emulated.requirements()
    if missing:
        pytest.skip("the emulated device lacks: " + "; ".join(missing))
    os.environ.setdefault("GRAPHC_CACHE", str(ROOT / "build" / "cache"))
    emulated.install()
