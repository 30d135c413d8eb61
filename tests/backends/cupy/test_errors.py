"""What a user is told who has no device, an old driver, no CuPy, or arrays of another library."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import graphc as gx
from tests.backends.cupy.nets import batch, mlp

ALONE = """
import sys
sys.modules["cupy"] = None  # as if it were not installed
import graphc as gx
import graphc.backends.cuda, graphc.backends.cupy, graphc.backends.emulated
x = gx.input("x", ("N",))
graph = gx.Graph({"y": x * 2})
assert gx.compile(graph, backend="numpy")({}, x=[1.0])["y"].tolist() == [2.0]
assert not [name for name in sys.modules if name.startswith("cupy.")]
try:
    gx.compile(graph, backend="cupy")
except gx.BackendError as error:
    print(error)
"""
NO_DEVICE = """
import graphc as gx
try:
    gx.compile(gx.Graph({"y": gx.input("x", ("N",)) * 2}), backend="cupy")
except gx.BackendError as error:
    print(error)
"""


def said(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_all_work_with_numpy_needs_no_cupy() -> None:
    message = said(ALONE)
    assert "the backend 'cupy' needs CuPy, which does not load" in message
    assert "pip install 'graphc[cupy]', or use backend='numpy'" in message


def test_no_device() -> None:
    message = said(NO_DEVICE)
    assert "there is no CUDA device here" in message
    assert "use backend='numpy', or backend='emulated'" in message


def test_an_old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    monkeypatch.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: 12_040)
    with pytest.raises(gx.BackendError, match=r"for CUDA 12\.4, and CuPy needs 13\.0") as error:
        gx.compile(mlp(), backend="emulated")
    assert "install driver 580 or newer" in str(error.value)


def program() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    compiled = gx.compile(mlp(), backend="emulated")
    return compiled, compiled.init(seed=0), batch(compiled.graph, 3)


def test_variables_of_numpy_are_refused() -> None:
    compiled, variables, given = program()
    variables["1.weight"] = variables["1.weight"].get()
    with pytest.raises(
        gx.GraphError, match=r"is a numpy\.ndarray, not an array of the backend"
    ) as (error):
        compiled(variables, given)
    assert "init(seed=0), or cupy.asarray(array)" in str(error.value)


def test_variables_of_the_device_are_refused_by_numpy() -> None:
    _, variables, given = program()
    with pytest.raises(gx.GraphError, match=r"is a cupy\.ndarray") as error:
        gx.compile(mlp(), backend="numpy")(variables, given)
    assert "gx.to_numpy(array)" in str(error.value)


def test_variables_that_overlap_are_refused() -> None:
    compiled, variables, given = program()
    variables["1.bias"] = variables["1.weight"].reshape(-1)[:7]
    with pytest.raises(gx.GraphError, match="share memory"):
        compiled(variables, given)


@pytest.mark.parametrize("given_on_device", [False, True])
def test_a_label_outside_its_classes(given_on_device: bool) -> None:
    import cupy

    compiled, variables, given = program()
    before = {name: array.get() for name, array in variables.items()}
    given["label"] = np.array([1, 10, 3])
    if given_on_device:
        given = {name: cupy.asarray(value) for name, value in given.items()}
        given["image"] = given["image"].astype("float32")
        given["lr"] = given["lr"].astype("float32")
    with pytest.raises(gx.GraphError, match=r"a label is outside \[0, 10\): they run from 1 to 10"):
        compiled(variables, given)
    for name, array in variables.items():
        np.testing.assert_array_equal(array.get(), before[name])


def test_inputs_of_the_device_stay_there() -> None:
    import cupy

    compiled, variables, given = program()
    other = {name: array.copy() for name, array in variables.items()}
    out = compiled(variables, given)
    there = {name: cupy.asarray(value) for name, value in given.items()}
    there["lr"] = there["lr"].astype("float32")
    again = compiled(other, there)
    assert float(out["loss"]) == float(again["loss"])
    assert isinstance(out["loss"], cupy.ndarray)


def test_an_option_that_is_none() -> None:
    with pytest.raises(gx.GraphError, match=r"has no option 'captured' \(it has: .*capture"):
        gx.compile(mlp(), backend="emulated", captured=False)
    with pytest.raises(gx.GraphError, match="no device is called 'h300'"):
        gx.compile(mlp(), backend="emulated", device="h300")
