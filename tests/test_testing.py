"""The fixture of ``graphc.testing``: which backends it gives, and what it says of the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import testing
from graphc.backends import emulated
from graphc.testing import BACKENDS, missing

BODY = """
import numpy as np
import graphc as gx

def test_double(backend):
    x = gx.input("x", ("N",))
    program = gx.compile(gx.Graph({"y": x + x}), backend=backend)
    assert gx.to_numpy(program({}, x=np.ones(3, np.float32))["y"]).tolist() == [2, 2, 2]
    unnamed = gx.compile(gx.Graph({"y": x + x}))
    assert gx.to_numpy(unnamed({}, x=np.ones(3, np.float32))["y"]).tolist() == [2, 2, 2]
"""


def suite(folder: Path, backend: str | None) -> tuple[int, str]:
    """Run the body as a user's suite of its own."""
    (folder / "conftest.py").write_text("from graphc.testing import backend\n", encoding="utf-8")
    (folder / "test_it.py").write_text(BODY, encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if k not in ("GRAPHC_BACKEND", "PYTEST_ADDOPTS")}
    chosen = {} if backend is None else {"GRAPHC_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-v", "-p", "no:cacheprovider", "-c", os.devnull,
         "--rootdir", str(folder), str(folder)],
        cwd=folder, env={**kept, **chosen}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_each_backend_runs_or_says_why_not(tmp_path: Path) -> None:
    code, text = suite(tmp_path, None)
    assert code == 0, text
    assert "test_double[numpy] PASSED" in text
    assert "test_double[emulated] PASSED" in text
    assert "cupy: no CUDA device" in text or "test_double[cupy] PASSED" in text


def test_the_environment_chooses_one(tmp_path: Path) -> None:
    code, text = suite(tmp_path, "emulated")
    assert code == 0, text
    assert "test_double[emulated] PASSED" in text
    assert "1 passed" in text


@pytest.mark.skipif(missing("cupy") is None, reason="there is a CUDA device here")
def test_a_backend_that_was_asked_for_is_never_skipped(tmp_path: Path) -> None:
    code, text = suite(tmp_path, "cupy")
    assert code == 1
    assert "GRAPHC_BACKEND=cupy, which cannot run here: no CUDA device" in text
    assert "skipped" not in text


def test_the_suites_own_fixture(backend: str) -> None:
    x = gx.input("x", ("N", 5))
    program = gx.compile(gx.Graph({"y": gx.softmax(x, axis=1)}), backend=backend)
    data = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    y = gx.to_numpy(program({}, x=data)["y"])
    e = np.exp(data.astype(np.float64))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-5)


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("numpy") is None
    lines = ["this is missing: pip install it", "so is that"]
    monkeypatch.setattr(emulated, "requirements", lambda: lines)
    assert missing("emulated") == "this is missing: pip install it; so is that"
    monkeypatch.setattr(emulated, "requirements", list)
    monkeypatch.setattr(emulated, "installed", lambda: True)
    assert missing("emulated") is None
    assert missing("cupy") == "this process has the emulated device: run with GRAPHC_BACKEND=cupy"
    monkeypatch.setattr(emulated, "installed", lambda: False)
    monkeypatch.setitem(sys.modules, "cupy", sys)
    assert missing("emulated") == "this process has a real device: run with GRAPHC_BACKEND=emulated"


def test_an_unknown_backend() -> None:
    with pytest.raises(gx.GraphError, match=r"there is no backend 'abacus' \(known: cupy, "):
        missing("abacus")


def test_graphc_does_not_import_pytest() -> None:
    code = "import sys, graphc\nassert not {'pytest', 'cupy', 'graphc.testing'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(BACKENDS) <= set(gx.available_backends())
    assert set(testing.__all__) == {"BACKENDS", "backend", "missing"}
