"""The printed step: what it looks like, that it runs alone, that nothing of a user's enters it."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from tests.compiler.nets import everything, feed, lenet

# -- a text that a person reads -------------------------------------------------------------------


def beside_the_table(source: str) -> list[str]:
    rows = source.splitlines()
    first = next(i for i, row in enumerate(rows) if "# The buffer table:" in row)
    last = next(i for i, row in enumerate(rows) if "globals().update" in row)
    return rows[: first + 1] + rows[last:]


@pytest.mark.parametrize("n", [1, 64])
def test_lenets_training_step_fits_on_three_pages(n: int) -> None:
    source = gx.compile(lenet(), sizes={"N": n}).source
    assert len(beside_the_table(source)) <= 150
    assert max(map(len, source.splitlines())) <= 140


def test_every_line_carries_its_node_and_the_users_line() -> None:
    graph = lenet()
    program = gx.compile(graph)
    rows = program.source.splitlines()
    step = rows.index("def step():")
    body = rows[step + 1 : next(i for i, r in enumerate(rows) if r.startswith("    return ("))]
    names = {graph.name(node) for node in graph.nodes}
    noted = 0
    for above, row in zip([rows[step], *body], body, strict=False):
        if row.strip().startswith("#"):
            continue
        note = row.split("  # ")[1] if "  # " in row else above.strip().removeprefix("# ")
        name, line = note.split("  ")
        assert name in names, row
        assert ".py:" in line, row
        noted += 1
    assert noted == len(program.plan.instructions)


def test_the_source_is_the_same_each_time() -> None:
    assert gx.compile(lenet()).source == gx.compile(lenet()).source


# -- alone ----------------------------------------------------------------------------------------

ALONE = """
import sys

class NothingElse:  # what a machine with NumPy alone has
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"graphc", "jax", "scipy", "torch", "threadpoolctl", "networkx"}:
            raise ImportError(name)

sys.meta_path.insert(0, NothingElse())
import numpy as np
import runpy

step = runpy.run_path(sys.argv[1])
given = np.load(sys.argv[2])
count = lambda what: sum(key.startswith(what) for key in given)
variables = [given[f"variable{i}"].copy() for i in range(count("variable"))]
results = {}
for turn in range(3):
    inputs = [given[f"input{turn}-{i}"] for i in range(count(f"input{turn}-"))]
    for i, array in enumerate(step["run"](variables, inputs)):
        results[f"output{turn}-{i}"] = array
results.update({f"variable{i}": array for i, array in enumerate(variables)})
np.savez(sys.argv[3], **results)
assert "graphc" not in sys.modules
"""


def alone(tmp_path: Path, source: str, given: dict[str, Any]) -> Any:
    """Three runs of the printed file in a process that has NumPy alone."""
    names = ("step.py", "given.npz", "found.npz", "alone.py")
    step, data, found, script = (tmp_path / name for name in names)
    step.write_text(source, encoding="utf-8")
    script.write_text(ALONE, encoding="utf-8")
    np.savez(data, **given)
    command = [sys.executable, "-I", str(script), str(step), str(data), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(found)


@pytest.mark.parametrize(("net", "batch"), [(lenet, 64), (lenet, 7), (everything, 5)])
def test_the_file_alone_gives_the_programs_bits(net: Any, batch: int, tmp_path: Path) -> None:
    graph = net()
    program = gx.compile(graph)
    variables = program.init(seed=4)
    held = [variables[name] for name in {**graph.parameters, **graph.states}]
    given: dict[str, Any] = {f"variable{i}": array.copy() for i, array in enumerate(held)}
    expected: dict[str, Any] = {}
    for turn in range(3):
        fed = feed(graph, batch, seed=turn)
        for i, (name, node) in enumerate(graph.inputs.items()):
            given[f"input{turn}-{i}"] = np.asarray(fed[name], node.dtype)
        for i, array in enumerate(program(variables, fed).values()):
            expected[f"output{turn}-{i}"] = array
    expected.update({f"variable{i}": array for i, array in enumerate(held)})
    found = alone(tmp_path, program.source, given)
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name


def test_the_file_refuses_sizes_that_its_offsets_do_not_serve() -> None:
    graph = lenet()
    program = gx.compile(graph, sizes={"N": 4})
    space: dict[str, Any] = {"__name__": "step"}
    exec(compile(program.source, "step.py", "exec"), space)
    variables = program.init()
    held = [variables[name] for name in {**graph.parameters, **graph.states}]
    for n in (4, 1):
        inputs = [np.asarray(a, graph.inputs[k].dtype) for k, a in feed(graph, n).items()]
        assert space["run"](held, inputs)[0].shape == (n, 10)
    inputs = [np.asarray(a, graph.inputs[k].dtype) for k, a in feed(graph, 5).items()]
    with pytest.raises(ValueError, match="printed for sizes up to 4"):
        space["run"](held, inputs)


# -- nothing of a user's enters it ----------------------------------------------------------------

NAMES = [
    "import", "lambda", "None", "True", "print", "__import__", "os.system", "b0", "v0", "t1", "n0",
    "np", "arena", "inputs", "variables", "step", "run", "fit", "self", "x-y", "a@b", "0/weight",
]  # fmt: skip
DIMS = [
    "lambda", "def", "np", "n0", "n1", "b0", "arena", "inputs", "range", "slice", "_", "__class__",
]  # fmt: skip
FILES = [
    "a.py\nimport os\nos.system('hostile')", "'''", '"""', "\\", "a\\\nb", "#", "\x00", "\r",
    "\u2028", "ä/ß.py", "{0}{out}{nothing}", "%s%d", "# -*- coding: utf-7 -*-", "\x0c\x1b[31m",
    "q" * 500,
]  # fmt: skip


def words(source: str) -> set[str]:
    """Every name, attribute, keyword and string of the code, comments left out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name():
                found.add(node.id)
            case ast.Attribute():
                found.add(node.attr)
            case ast.arg():
                found.add(node.arg)
            case ast.Constant(value=str()):
                found.add(node.value)
    return found


def shape_of(source: str) -> list[str]:
    """The tokens of the code without its comments."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [t.string for t in tokens if t.type not in (tokenize.COMMENT, tokenize.NL)]


def net(names: list[str], dims: list[str], file: str) -> gx.Graph:
    """A graph with these names that is declared in a file of this name."""
    text = """
def declare(names, dims):
    x = [gx.input(name, (dim, 3)) for name, dim in zip(names, dims)]
    w = [gx.parameter(name + "w", (3,), init="ones") for name in names]
    s = gx.state(names[0] + "s", (3,))
    y = {name: gx.relu(a * b + gx.size(a.shape[0])) for name, a, b in zip(names, x, w)}
    y["sum"] = sum((gx.sum(v) for v in y.values()), gx.constant(0.0))
    return gx.Graph(y, updates={s: s + 1})
"""
    space: dict[str, Any] = {"gx": gx}
    # Python itself refuses a NUL in a file's name.
    exec(compile(text, file.replace("\x00", "?"), "exec"), space)
    graph = space["declare"](names, dims)
    assert isinstance(graph, gx.Graph)
    return graph


def test_names_stay_out_of_the_code() -> None:
    width = len(DIMS)
    plain_names = [f"name{i:02}" for i in range(width)]
    plain_dims = [f"D{i:02}" for i in range(width)]
    for names in (NAMES[:width], NAMES[-width:]):
        program = gx.compile(net(names, DIMS, "user.py"))
        hostile, plain = program.source, gx.compile(net(plain_names, plain_dims, "user.py")).source
        allowed = words(plain)
        assert words(hostile) == allowed
        given = {name: np.ones((2, 3), np.float32) for name in names}
        out = program(program.init(), given)
        assert out[names[0]].tolist() == [[3.0] * 3] * 2


@pytest.mark.parametrize("file", FILES, ids=ascii)
def test_file_names_stay_in_the_comments(file: str) -> None:
    source = gx.compile(net(["x"], ["N"], file)).source
    plain = gx.compile(net(["x"], ["N"], "user.py")).source
    compile(source, "step.py", "exec")
    assert source.isascii()
    assert max(map(len, source.splitlines())) <= 140
    assert shape_of(source) == shape_of(plain)


def test_constants_enter_as_data() -> None:
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64", "int64", "bool", "uint8", "float16"):
        array = rng.integers(0, 2, (3, 50)).astype(dtype)
        graph = gx.Graph({"y": gx.transpose(gx.constant(array), (1, 0)), "c": gx.constant(array)})
        program = gx.compile(graph)
        out = program({})
        assert out["y"].tobytes() == np.ascontiguousarray(array.T).tobytes()
        assert out["c"].dtype == array.dtype
        assert max(map(len, program.source.splitlines())) <= 140


def test_numbers_survive_printing() -> None:
    x = gx.input("x", (1,), dtype="float64")
    values = [1e-300, 0.1, -0.0, float("inf"), float("-inf"), float("nan"), 2.0**60 + 1, 1 / 3]
    graph = gx.Graph({f"y{i}": x * v for i, v in enumerate(values)})
    out = gx.compile(graph)({}, x=np.array([1.0]))
    for i, v in enumerate(values):
        assert out[f"y{i}"].tobytes() == np.array([v * 1.0]).tobytes()
