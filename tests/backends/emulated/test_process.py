"""A process with the emulator: what it needs, how it begins, how it ends, what it leaves behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import graphc as gx
from graphc.backends import emulated
from graphc.backends.emulated import needs
from graphc.backends.emulated.driver import replace, trampolines
from tests.house import ROOT

WORK = """
import numpy as np
from graphc.backends import emulated
emulated.install()
import cupy as cp
with emulated.counting() as counts:
    x = cp.arange(6, dtype=np.float32).reshape(2, 3)
    print(float((x @ x.T + 1).sum()), counts.compilations > 0)
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CUPY_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True,
        env={**kept, **environment}, check=False, timeout=120,
    )  # fmt: skip


def test_a_process_ends_cleanly_and_the_next_compiles_nothing(tmp_path: Path) -> None:
    for compiles in (True, False):
        done = python(WORK, GRAPHC_CACHE=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"87.0 {compiles}\n"


def test_ends_cleanly_when_something_failed() -> None:
    code = WORK + "cp.empty(3)  # alive at the end\nraise SystemExit(3)"
    assert python(code).returncode == 3
    code = (
        "from graphc.backends import emulated\nemulated.install()\nimport cupy as c\nx = c.ones(3)"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_environment_is_left_as_it_was() -> None:
    code = """
import os
before = dict(os.environ)
from graphc.backends import emulated
emulated.install()
assert dict(os.environ) == before
"""
    assert python(code, CUPY_CACHE_DIR="/nowhere").returncode == 0


@pytest.mark.slow  # zig builds its own library first
def test_zig_compiles_where_there_is_no_gcc(tmp_path: Path) -> None:
    done = python(WORK, GRAPHC_CACHE=str(tmp_path), PATH="")
    assert done.stderr == ""
    assert done.stdout == "87.0 True\n"


def test_a_cache_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    code = """
from graphc.backends import emulated
try:
    emulated.install()
except RuntimeError as error:
    print(error.message)
"""
    done = python(code, GRAPHC_CACHE=str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr
    assert "set GRAPHC_CACHE to a folder that can be written" in done.stdout
    assert done.stdout.count("\n") == 1


def test_the_size_of_the_device() -> None:
    code = """
from graphc.backends import emulated
emulated.install()
import cupy
print(cupy.cuda.runtime.memGetInfo()[1])
"""
    assert python(code, GRAPHC_EMULATED_MEMORY="1048576").stdout == "1048576\n"
    done = python(code, GRAPHC_EMULATED_MEMORY="1 GiB")
    assert "GRAPHC_EMULATED_MEMORY='1 GiB' is no number of bytes" in done.stderr


def test_cupy_that_came_first_is_told_in_one_line() -> None:
    code = """
import cupy
from graphc.backends import emulated
try:
    emulated.install()
except RuntimeError as error:
    print(error.message)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("CuPy was imported before the emulated device was put under it")
    assert done.stdout.count("\n") == 1


def test_importing_it_loads_no_cupy() -> None:
    code = "import sys, graphc.backends.emulated\nassert 'cupy' not in sys.modules"
    assert python(code).returncode == 0


# -- requirements ---------------------------------------------------------------------------------


def test_all_is_there() -> None:
    assert emulated.requirements() == []


@pytest.mark.parametrize("package", ["cupy-cuda13x", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime"])
@pytest.mark.parametrize("found", [None, "13.5.1", "140.2"])
def test_a_package_that_is_missing_or_another(
    package: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name != package:
            return real(name)
        if found is None:
            raise metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(metadata, "version", version)
    (line,) = emulated.requirements()
    assert package in line
    assert "pip install" in line
    assert "\n" not in line
    monkeypatch.setattr(replace, "_device", None)
    with pytest.raises(gx.BackendError, match=re.escape(line)) as caught:
        emulated.install()
    assert "\n" not in caught.value.message


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs.shutil, "which", lambda name: None)
    monkeypatch.setattr(needs.util, "find_spec", lambda name: None)
    assert emulated.requirements() == [
        "a C compiler is missing: install gcc, or pip install ziglang"
    ]


@pytest.mark.parametrize(("system", "machine"), [("win32", "AMD64"), ("linux", "ppc64le")])
def test_another_system(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs.sys, "platform", system)
    monkeypatch.setattr(needs.platform, "machine", lambda: machine)
    (line,) = emulated.requirements()
    assert f"this is {system} on {machine}" in line


def test_the_pins_are_those_of_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name, version in (needs.CUPY, needs.NVRTC, needs.HEADERS):
        assert f'"{name}=={version}.*;' in text


# -- the tables -----------------------------------------------------------------------------------


def hooks() -> list[trampolines.Hook]:
    emulated.install()
    return [hook for kept in replace._kept if isinstance(kept, list) for hook in kept[2]]


def described() -> list[str]:
    return sorted(
        f"{h.module.__name__.rsplit('.', 1)[-1]}.{h.name}: {h.signature}" for h in hooks()
    )


def test_signatures_are_those_that_are_expected() -> None:
    # As CuPy 14.2 declares them. Another CuPy may pass other arguments: this says which.
    found = sorted(
        f"{h.module.__name__.rsplit('.', 1)[-1]}.{h.name}: {h.signature}" for h in hooks()
    )
    expected = (Path(__file__).parent / "signatures.txt").read_text(encoding="utf-8")
    assert found == expected.splitlines()


def test_no_function_reaches_a_real_library() -> None:
    replaced = {(h.module.__name__, h.name) for h in hooks()}
    modules: list[ModuleType] = [
        sys.modules[f"cupy_backends.cuda.{n}"] for n in ("api.runtime", "api.driver", "libs.cublas")
    ]
    left = {
        f"{module.__name__}.{name}"
        for module in modules
        for name in vars(module)["__pyx_capi__"]
        if (module.__name__, name) not in replaced and "(" in trampolines.signature(module, name)
    }
    harmless = {name.rsplit(".", 1)[-1] for name in left} - set(replace.HARMLESS)
    # Of textures, which cannot be made: their makers are refused.
    assert harmless == {
        "getChannelDesc", "getTextureObjectResourceDesc", "getTextureObjectTextureDesc",
    }  # fmt: skip


def test_a_signature_of_another_shape_is_not_taken() -> None:
    assert trampolines.supported("int (intptr_t, int __pyx_skip_dispatch)")
    assert not trampolines.supported("cudaPos (size_t, size_t, size_t)")
    assert not trampolines.supported("int (double)")
    assert not trampolines.supported("int")
    unknown: Any = trampolines.Hook(ModuleType("m"), "f", "cudaPos (size_t)", print)
    with pytest.raises(gx.BackendError, match="signature that is not known"):
        trampolines.source([unknown])
