"""The emulated device, installed before anything imports CuPy."""

from __future__ import annotations

import pytest

from graphc.backends import emulated


@pytest.fixture(autouse=True, scope="session")
def _device(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = emulated.requirements()
    if missing:
        pytest.skip("the emulated device lacks: " + "; ".join(missing))
    emulated.install()


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory, _device: None) -> None:
    """Compiled kernels go to a folder of the run."""
