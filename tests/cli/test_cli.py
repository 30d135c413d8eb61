"""The command line: what it prints and writes, and what it says about mistakes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import graphc as gx
from graphc import data, models
from graphc.cli import main
from graphc.cli.recipe import Recipe
from graphc.train import evaluate

NETS = """
import graphc as gx
from graphc import nn

def small():
    image = gx.input("image", ("N", 1, 28, 28))
    label = gx.input("label", ("N",), dtype="int64")
    logits = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))(image)
    return gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})

def unfit():
    image = gx.input("image", ("N", 1, 28, 28))
    return gx.Graph({"y": gx.matmul(image, gx.parameter("w", (5, 5)))})

def broken():
    return 1 / 0

def wrong():
    return 3

def lossless():
    return gx.Graph({"y": gx.relu(gx.input("x", ("N", 3)))})
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, with a file of networks."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS, encoding="utf-8")
    return tmp_path


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def good(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def graphc(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as a user calls it."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "graphc", *words],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# show, draw, source.


def test_show_prints_a_graph_that_parses_and_its_table() -> None:
    text = good("show", "lenet-5")
    assert gx.parse(text) == models.build("lenet-5")
    assert "# total: 61,706 parameters in 10 arrays" in text
    Path("net.txt").write_text(text, encoding="utf-8")
    assert gx.parse(good("show", "net.txt")) == models.build("lenet-5")


@pytest.mark.parametrize("stage", ["forward", "train", "predict"])
def test_the_stages_of_a_network(stage: str) -> None:
    graph = gx.parse(good("show", "nets.py:small", "--stage", stage))
    assert ("1.weight" in graph.updates) is (stage == "train")
    assert ("label" in graph.inputs) is (stage != "predict")
    if stage == "train":  # a training step is shown as it is, whatever is asked for
        Path("step.txt").write_text(str(graph), encoding="utf-8")
        assert gx.parse(good("show", "step.txt", "--stage", "train")) == graph


def test_a_model_may_be_a_drawing_or_saved_weights() -> None:
    good("draw", "lenet-5")
    assert gx.parse(good("show", "lenet-5.svg")) == models.build("lenet-5")
    graph = models.build("lenet-5")
    gx.save("weights.safetensors", gx.compile(graph).init(0), graph)
    assert gx.parse(good("show", "weights.safetensors")) == graph


@pytest.mark.parametrize("ending", ["svg", "png", "dot", "json"])
def test_draw_writes_what_the_name_says(ending: str) -> None:
    said = good("draw", "nets.py:small", "-o", f"picture.{ending}", "--fold", "1")
    assert said.startswith(f"picture.{ending}: ")
    head = Path(f"picture.{ending}").read_bytes()[:200]
    begins = {"svg": b"<?xml", "png": b"\x89PNG", "dot": b"// graphc-ir:", "json": b"{"}
    assert head.startswith(begins[ending])


def test_source_runs_alone_with_numpy_to_the_same_bits() -> None:
    Path("step.py").write_text(good("source", "lenet-5", "--batch-size", 8), encoding="utf-8")
    step = gx.compile(Recipe().training(models.build("lenet-5")), sizes={"N": 8})
    variables = step.init(seed=3)
    x, y = data.load("mnist-mini", "train")[:8].arrays()
    names = [*step.graph.parameters, *step.graph.states]
    np.savez("given.npz", *(variables[name] for name in names))
    np.savez("inputs.npz", image=x, label=y, lr=np.float32(0.05))
    child = f"""
import sys, numpy as np, step
given = np.load("given.npz")
arrays = [given[f"arr_{{k}}"] for k in range({len(names)})]
held = np.load("inputs.npz")
step.run(arrays, [held[name] for name in {list(step.graph.inputs)!r}])
assert not any(name.startswith("graphc") for name in sys.modules)
np.savez("after.npz", *arrays)
"""
    subprocess.run([sys.executable, "-c", child], check=True)
    step(variables, image=x, label=y, lr=0.05)
    after = np.load("after.npz")
    for number, name in enumerate(names):
        assert np.array_equal(after[f"arr_{number}"], variables[name]), name


# train.


def test_train_saves_weights_that_predict() -> None:
    said = good("train", "nets.py:small", "--epochs", 1, "--shift", 1, "--seed", 4)
    variables, graph = gx.load("small.safetensors")
    assert graph is not None
    assert variables.keys() == graph.parameters.keys()
    found = evaluate(graph, variables, data.load("mnist-mini", "test"))
    assert found["accuracy"] > 0.75
    assert f"test loss {found['loss']:.4f}, accuracy {found['accuracy']:.2%}" in said
    assert "weights: small.safetensors" in said
    again = good(
        "train", "nets.py:small", "--epochs", 1, "--shift", 1, "--seed", 4, "-o", "b.safetensors"
    )
    assert said.replace("small.safe", "b.safe") == again
    assert Path("b.safetensors").read_bytes() == Path("small.safetensors").read_bytes()


def test_train_resumes() -> None:
    words = ["train", "nets.py:small", "--checkpoint", "runs", "--epochs"]
    good(*words, 1)
    steps = -(-6000 // Recipe.batch_size)
    assert [path.name for path in Path("runs").iterdir()] == [f"step-{steps}.safetensors"]
    refused = call(*words, 2)
    assert refused.exit_code == 2
    assert "already holds a run" in refused.stderr
    good(*words, 2, "--resume")
    assert len(list(Path("runs").iterdir())) == 2


# doctor.


def test_doctor_finds_nothing_missing() -> None:
    said = good("doctor")
    assert f"numpy {np.__version__}" in said
    assert "numpy: ready" in said
    assert "mnist-mini: ships with graphc" in said
    assert "nothing that graphc needs is missing" in said


def test_doctor_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphc.cli import doctor

    versions = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "rich" else versions(name))
    monkeypatch.setenv("GRAPHC_BACKEND", "abacus")
    result = call("doctor")
    assert result.exit_code == 1
    assert "rich is missing (needs >=" in result.stdout
    assert "-m pip install 'rich>=" in result.stdout
    assert "unset GRAPHC_BACKEND, or set it to one of the above, not 'abacus'" in result.stdout


# Mistakes: one message, exit code 2, no traceback.

MISTAKES = [
    (["show", "lenet5"], "neither a file nor a network of the zoo: did you mean 'lenet-5'"),
    (["show", "nets.py"], "nets.py: say which function returns the graph, e.g. nets.py:small"),
    (["show", "nets.py:smal"], "nets.py defines no function 'smal': did you mean 'small'?"),
    (["show", "nothere.py:small"], "there is no file nothere.py"),
    (["show", "nets.py:wrong"], "nets.py:wrong returned a int, not a graph"),
    (["show", "nets.py:broken"], "nets.py:16: ZeroDivisionError: division by zero"),
    (["show", "nets.py:unfit"], "nets.py:13"),
    (["show", "bad.py:f"], "bad.py:1: SyntaxError: "),
    (["show", "notes.txt"], "notes.txt: this is not a printed graph"),
    (["show", "bytes.txt"], "bytes.txt is not text, so not a printed graph"),
    (["show", "."], "Is a directory"),
    (["show", "plain.safetensors"], "plain.safetensors holds weights without their graph"),
    (["draw", "lenet-5", "-o", "a.gif"], "a drawing is saved as .svg, .png, .pdf, .html, .dot"),
    (["draw", "lenet-5", "-o", "no/such/a.svg"], "no/such/a.svg: no such file or directory"),
    (["draw", "lenet-5", "--fold", "encoder*"], "encoder*"),
    (["source", "nets.py:lossless"], "adds a penalty to the output 'loss', and there is none"),
    (["source", "lenet-5", "--batch-size", 0], "must be an int of at least 1"),
    (["train", "nets.py:lossless"], "the graph has no output 'loss'"),
    (["train", "lenet-5", "--data", "mnits"], "no data set is called 'mnits'"),
    (["train", "lenet-5", "--epochs", 0], "epochs=0 is not a whole number of at least 1"),
    (["train", "lenet-5", "--lr", -1], "lr at epoch 0 is -1"),
    (["train", "lenet-5", "--shift", 40], "pixels=40 is not between 0 and 27"),
    (["train", "lenet-5", "--resume"], "resume=True needs the folder to resume from"),
    (["train", "lenet-5", "-o", "no/w.safetensors"], "there is no folder no"),
    (["train", "lenet-5", "-o", "."], ". is a folder; name a file in it"),
    (["train", "mlp-1x512"], "gives images 1x28x28, but the graph takes 3x28x28"),
    (["demo", "--out", "nets.py"], "--out nets.py is a file; name a folder"),
    (["demo", "--epochs", 0], "--epochs 0 is not at least 1"),
    (["demo", "--seed", -1, "--epochs", 1], "seed=-1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"), MISTAKES, ids=[" ".join(map(str, w)) for w, _ in MISTAKES]
)
def test_a_mistake_is_one_message(words: list[object], message: str) -> None:
    Path("bad.py").write_text("def f(:\n", encoding="utf-8")
    Path("notes.txt").write_text("milk, eggs", encoding="utf-8")
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00graph")
    gx.save("plain.safetensors", {"w": np.zeros(2)})
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("graphc: ")
    assert message.lower() in result.stderr.lower()
    assert "Traceback" not in result.output
    assert "Errno" not in result.output
    # A line is one of the user's own file, never of what read the command line.
    assert not re.search(r"called at (?!nets\.py:)", result.stderr)


def test_a_mistake_in_a_process() -> None:
    child = graphc("show", "nets.py:broken")
    assert child.returncode == 2
    assert child.stdout == ""
    assert child.stderr == "graphc: nets.py:16: ZeroDivisionError: division by zero\n"
    option = graphc("train", "lenet-5", "--epochs", "many")
    assert option.returncode == 2
    assert "Traceback" not in option.stderr


# The program itself.


def test_show_loads_no_more_than_it_needs() -> None:
    code = (
        "import sys; from graphc.cli import main; main(['show', 'lenet-5'], standalone_mode=False);"
        "print([m for m in ('graphc.train', 'graphc.viz', 'rich', 'safetensors', 'PIL', 'networkx')"
        " if m in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.splitlines()[-1] == "[]"


def test_help_and_version() -> None:
    assert good("--version") == f"graphc {gx.__version__}\n"
    said = good("--help")
    for command in ("demo", "show", "draw", "train", "source", "doctor"):
        assert command in said
        assert good(command, "--help")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
def test_a_reader_that_goes_away_is_no_error() -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "graphc", "show", "lenet-5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    assert b"Traceback" not in child.stderr.read()
    child.stderr.close()
    child.wait()


def test_score_tells_what_evaluate_does() -> None:
    graph = models.build("mlp-1x512", classes=10, image=(1, 28, 28))
    variables = gx.compile(graph).init(seed=3)
    gx.save("net.safetensors", variables, graph)
    found = evaluate(graph, variables, data.load("mnist-mini", "test"))
    line = f"mnist-mini/test loss {found['loss']:.4f}, accuracy {found['accuracy']:.2%}"
    assert good("score", "net.safetensors").strip() == line
    Path("net.gx").write_text(str(graph), encoding="utf-8")
    assert good("score", "net.gx", "--weights", "net.safetensors").strip() == line
    assert "graphc train" in call("score", "net.gx").output
    assert "train, test" in call("score", "net.safetensors", "--split", "tset").output


def test_data_lists_and_loads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_DATA", str(folder / "sets"))
    listed = good("data")
    assert str(folder / "sets") in listed
    assert "mnist-mini: train, test (ships with graphc)" in listed
    assert "cifar-10: train, test (to fetch)" in listed
    assert "2000 images" in good("data", "mnist-mini")
    assert "cifar-10" in call("data", "cifar").output
