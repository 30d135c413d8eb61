"""``gx.fit``: against the loop written out, against evaluation by hand, killed and resumed."""

from __future__ import annotations

import functools
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import data, nn, passes
from graphc.train import evaluate
from graphc.train.feed import order
from graphc.train.history import better

N, BATCH = 50, 16  # so the last batch of an epoch has two examples
SGD = [passes.backward(), passes.sgd(lr="lr", momentum=0.9)]


def dataset(count: int = N, seed: int = 0, size: int = 8) -> data.Dataset:
    """Noise with a brighter quadrant: the label says which."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 120, (count, 1, size, size)).astype(np.uint8)
    labels = random.integers(0, 4, count)
    half = size // 2
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 2)
        image[0, top * half : (top + 1) * half, left * half : (left + 1) * half] += 100
    return data.Dataset(images, labels, tuple("abcd"), "quadrants", "train")


def network(dropout: bool = False, batch: str | int = "N") -> gx.Graph:
    image = gx.input("image", (batch, 1, 8, 8))
    label = gx.input("label", (batch,), dtype="int64")
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        *([nn.Dropout(retain=0.7)] if dropout else []), nn.Linear(4 * 4 * 4, 4),
    )  # fmt: skip
    logits = net(image)
    return gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})


def linear(image: str = "image", label: str = "label") -> gx.Graph:
    """One layer behind a dropout, with inputs that may have other names."""
    x = gx.input(image, ("N", 1, 8, 8))
    y = gx.input(label, ("N",), dtype="int64")
    logits = nn.Sequential(nn.Flatten(), nn.Dropout(retain=0.7), nn.Linear(64, 4))(x)
    return gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, y)})


def fit(graph: gx.Graph | None = None, **changed: Any) -> gx.History:
    options = {"epochs": 3, "batch_size": BATCH, "passes": SGD, "lr": 0.1, **changed}
    examples = options.pop("dataset", dataset())
    return gx.fit(graph or network(), examples, **options)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


# What it does.


def test_it_is_the_loop_written_out() -> None:
    graph, examples, seed = network(dropout=True), dataset(), 5
    rate = lambda epoch: 0.1 / (1 + epoch)  # noqa: E731
    shift = functools.partial(data.augment.shift, pixels=1)
    history = fit(graph, lr=rate, seed=seed, augment=shift)

    step = gx.compile(graph.apply(*SGD))
    variables = step.init(seed)
    losses, accuracies = [], []
    for epoch in range(3):
        stream = gx.ir.leaves.stream_number("fit/order")
        philox = np.random.Philox(key=np.array([seed, stream], np.uint64), counter=[0, 0, epoch, 0])
        numbers = np.argsort(philox.random_raw(N), kind="stable")
        total, right = 0.0, 0
        for k, start in enumerate(range(0, N, BATCH)):
            chosen = numbers[start : start + BATCH]
            moved = shift(examples.images[chosen], seed=seed, index=epoch * N + chosen)
            x, y = moved.astype(np.float32) / np.float32(255), examples.labels[chosen]
            out = step(variables, image=x, label=y, lr=rate(epoch + k / 4))
            total += float(out["loss"]) * len(y)
            right += int((out["logits"].argmax(axis=1) == y).sum())
        losses.append(total / N)
        accuracies.append(right / N)
    assert same(history.variables, variables)
    assert history.metrics["loss"].tolist() == losses
    assert history.metrics["accuracy"].tolist() == accuracies
    assert history.epochs == 3
    assert history.best is None
    assert history.best_epoch is None
    assert history.graph == graph.apply(*SGD)


def test_it_learns() -> None:
    history = fit(epochs=12, dataset=dataset(200), validation=dataset(100, seed=1))
    assert history.metrics["validation/accuracy"][-1] > 0.95
    assert history.metrics["loss"][-1] < history.metrics["loss"][0] / 3


def test_each_epoch_takes_every_example_once_in_another_order() -> None:
    orders = [order(3, epoch, 1000) for epoch in range(4)]
    for numbers in orders:
        assert np.array_equal(np.sort(numbers), np.arange(1000))
    assert len({numbers.tobytes() for numbers in orders}) == 4
    assert not np.array_equal(order(4, 0, 1000), orders[0])
    # A permutation of 1,000 has one fixed point on average; 20 would be astronomically rare.
    assert all((numbers == np.arange(1000)).sum() < 20 for numbers in orders)


def test_augment_gets_what_it_takes() -> None:
    seen: list[Any] = []

    def by_index(images: Any, *, seed: int, index: Any) -> Any:
        seen.append((seed, index.copy(), len(images)))
        return images

    fit(augment=by_index, seed=9, epochs=2)
    batches = seen[1:]  # the first call is the check before training
    assert [count for _, _, count in batches] == [16, 16, 16, 2] * 2
    assert {seed for seed, _, _ in batches} == {9}
    indices = np.concatenate([index for _, index, _ in batches])
    assert np.array_equal(np.sort(indices), np.arange(2 * N))

    seeds: list[int] = []

    def by_seed(images: Any, seed: int) -> Any:
        seeds.append(seed)
        return images

    fit(augment=by_seed, epochs=2)
    assert len(set(seeds[1:])) == 8
    plain = fit(augment=lambda images: images)
    assert same(plain.variables, fit().variables)
    fixed = functools.partial(by_seed, seed=4)
    seeds.clear()
    fit(augment=fixed, epochs=1)
    assert set(seeds) == {4}


def test_augment_may_give_floats_of_another_size() -> None:
    wide = dataset(size=10)
    crop = lambda images, **given: data.augment.random_crop(images, 8, **given)  # noqa: E731
    centred = data.Dataset(data.augment.center_crop(wide.images, 8), wide.labels, wide.classes)
    fit(dataset=wide, augment=crop, validation=centred)
    floats = fit(augment=lambda images: np.divide(images, 255, dtype=np.float32))
    assert same(floats.variables, fit().variables)


def test_the_rate_is_a_function_of_the_epochs_done() -> None:
    seen: list[float] = []

    def rate(epoch: float) -> float:
        seen.append(epoch)
        return 0.1

    scheduled = fit(lr=rate)
    assert seen == [epoch + k / 4 for epoch in range(3) for k in range(4)]
    assert same(scheduled.variables, fit(lr=0.1).variables)
    inside = fit(lr=None, passes=[passes.backward(), passes.sgd(lr=0.1, momentum=0.9)])
    np.testing.assert_allclose(
        inside.metrics["loss"], fit(lr=0.1).metrics["loss"], rtol=1e-5, atol=0
    )


def test_held_out_numbers_are_those_of_the_inference_graph() -> None:
    graph, held_out = linear(), dataset(270, seed=1)  # more than one batch
    history = fit(graph, validation=held_out)
    x, y = held_out.arrays()
    judged = gx.interpret(graph.apply(passes.inference()), history.variables, image=x, label=y)
    accuracy = float((judged["logits"].argmax(axis=1) == y).mean())
    assert history.metrics["validation/accuracy"][-1] == accuracy
    np.testing.assert_allclose(
        history.metrics["validation/loss"][-1], judged["loss"], rtol=1e-5, atol=0
    )
    # A training graph gives the same: what evaluates is always the inference graph.
    for form in (graph, history.graph):
        found = evaluate(form, history.variables, held_out)
        assert found["accuracy"] == accuracy


def test_metrics_may_be_outputs_of_the_step() -> None:
    history = fit(passes=[passes.weight_decay(0.1), *SGD], metrics=["penalty", "objective", "loss"])
    assert list(history.metrics) == ["loss", "penalty", "objective"]
    total = history.metrics["loss"] + history.metrics["penalty"]
    np.testing.assert_allclose(history.metrics["objective"], total, rtol=1e-5, atol=0)


def test_a_graph_without_logits_trains_without_accuracy() -> None:
    graph = network().select("loss")
    history = fit(graph, metrics=(), validation=dataset(20, seed=1))
    assert list(history.metrics) == ["loss", "validation/loss"]


def test_best_is_the_epoch_with_the_best_monitor() -> None:
    # A rate that rises until the net is worse again, so that the best is not the last.
    options: dict[str, Any] = {
        "epochs": 6, "lr": lambda epoch: 0.05 * 3.0**epoch / 9, "validation": dataset(80, seed=1),
    }  # fmt: skip
    for monitor in ("validation/accuracy", "validation/loss", "loss"):
        history = fit(keep="best", monitor=monitor, **options)
        values = history.metrics[monitor]
        best = int(np.argmax(values) if "accuracy" in monitor else np.argmin(values))
        assert history.best_epoch == best
        assert history.best is not None
        assert same(history.variables, history.best)
        if monitor.startswith("validation"):
            found = evaluate(history.graph, history.variables, dataset(80, seed=1))
            assert found[monitor.partition("/")[2]] == values[best]
    last = fit(**options)
    assert same(last.variables, history.last)
    assert last.best is None
    assert last.best_epoch == int(np.argmax(last.metrics["validation/accuracy"]))


@pytest.mark.parametrize(
    ("metric", "value", "than", "wins"),
    [
        ("validation/accuracy", 0.9, 0.8, True), ("accuracy", 0.8, 0.8, False),
        ("validation/loss", 0.9, 0.8, False), ("loss", 0.1, 0.8, True), ("penalty", 1.0, 2.0, True),
        ("loss", float("nan"), 0.8, False), ("loss", 0.8, float("nan"), True),
    ],
)  # fmt: skip
def test_better(metric: str, value: float, than: float, wins: bool) -> None:
    assert better(metric, value, than) is wins


# Resuming.


def run(folder: Path | None, resume: bool = False, **changed: Any) -> gx.History:
    """A run in which everything is random that can be."""
    given: dict[str, Any] = {
        "epochs": 4, "augment": data.augment.shift, "validation": dataset(30, seed=1), "seed": 2,
        "lr": lambda epoch: 0.2 * (1 - epoch / 4), "keep": "best", "checkpoint": folder,
        "resume": resume, **changed,
    }  # fmt: skip
    return fit(given.pop("graph", None) or network(dropout=True), **given)


def equal(a: gx.History, b: gx.History) -> bool:
    assert a.best is not None
    assert b.best is not None
    return same(a.last, b.last) and same(a.best, b.best) and same(a.metrics, b.metrics)


class Killed(BaseException):
    """Not an Exception: nothing may take it for an ordinary failure."""


def killing(at: int) -> Callable[..., Any]:
    """An augmentation that fails when it is called for the ``at``-th time."""
    calls = 0

    def shift(images: Any, *, seed: int, index: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed
        return data.augment.shift(images, seed=seed, index=index)

    return shift


def test_a_killed_run_ends_with_the_bits_of_a_whole_one(tmp_path: Path) -> None:
    whole = run(None)
    for at in (3, 8, 11, 15):  # in the first epoch; at its end; in the third; in the last
        folder = tmp_path / f"at-{at}"
        with pytest.raises(Killed):
            run(folder, augment=killing(at))
        resumed = run(folder, resume=True)
        assert equal(resumed, whole)
        assert sorted(path.name for path in folder.iterdir()) == [
            f"step-{n}.safetensors" for n in (12, 16, 4, 8)
        ]


SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.train import test_fit as t

calls = 0
def shift(images, *, seed, index):
    global calls
    calls += 1
    if calls == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return t.data.augment.shift(images, seed=seed, index=index)

t.run(Path(sys.argv[1]), augment=shift)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_process_killed_by_the_system_resumes_to_the_same_bits(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir()} == {
        "step-4.safetensors",
        "step-8.safetensors",
    }
    assert equal(run(tmp_path, resume=True), run(None))


def test_resuming_an_empty_folder_starts_and_a_finished_run_returns(tmp_path: Path) -> None:
    first = run(tmp_path / "new", resume=True)
    assert equal(first, run(None))

    def never(images: Any, *, seed: int, index: Any) -> Any:
        if len(index) > 1:  # the check before training looks at one image
            raise Killed
        return images

    assert equal(run(tmp_path / "new", resume=True, augment=never), first)
    # Asked for less than was done, it gives what a shorter run had given.
    assert equal(run(tmp_path / "new", resume=True, epochs=2), run(None, epochs=2))


def test_a_checkpoint_is_a_file_of_variables_with_its_graph(tmp_path: Path) -> None:
    history = run(tmp_path)
    variables, graph = gx.load(tmp_path / "step-16.safetensors")
    assert graph == history.graph
    assert same({k: v for k, v in variables.items() if not k.startswith("fit/")}, history.last)
    assert variables["fit/metric/loss"].tolist() == history.metrics["loss"].tolist()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 3}, "is of a run with seed=2, not seed=3"),
        ({"batch_size": 10}, "is of a run with batch_size=16, not batch_size=10"),
        ({"dataset": dataset(seed=4)}, "is of a run with another, not this data set"),
        ({"graph": network()}, "is of another graph"),
        ({"metrics": ()}, "the checkpoint measured loss, accuracy, validation/loss"),
        ({"resume": False}, "already holds a run, up to step-16.safetensors"),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    run(tmp_path)
    with pytest.raises(gx.GraphError, match=message):
        run(tmp_path, **{"resume": True, "monitor": "loss", **changed})


def test_resuming_needs_what_best_was_kept(tmp_path: Path) -> None:
    run(tmp_path, keep="last")
    with pytest.raises(gx.GraphError, match="kept no best variables: resume with keep='last'"):
        run(tmp_path, resume=True, keep="best", epochs=5)


# Mistakes.


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 0}, "epochs=0 is not a whole number of at least 1"),
    ({"epochs": 2.5}, "epochs=2.5 is not a whole number"),
    ({"batch_size": -1}, "batch_size=-1 is not a whole number"),
    ({"keep": "first"}, "keep='first' is neither 'last' nor 'best'"),
    ({"dataset": [1, 2]}, "the data set is a list, not a data set: use data.load"),
    ({"dataset": dataset()[:0]}, "the data set <.*> is empty"),
    ({"validation": "test"}, "validation is a str, not a data set"),
    ({"dataset": dataset(size=10)}, "gives images 1x10x10, but the graph takes 1x8x8: .*test_fit"),
    ({"validation": dataset(size=6)}, "validation <.*> gives images 1x6x6, .* takes 1x8x8"),
    (
        {"dataset": data.Dataset(dataset().images, np.arange(N) % 7)},
        "has the label 6, out of range for logits of 4 classes",
    ),
    (
        {"validation": data.Dataset(dataset().images, np.arange(N) % 7)},
        "validation <.*> has the label 6, out of range",
    ),
    ({"graph": network().select("logits")}, "the graph has no output 'loss'"),
    ({"graph": "lenet-5"}, "fit takes a gx.Graph, not a str"),
    ({"graph": linear(image="x")}, "this graph also takes 'x': "),
    ({"graph": linear(label="y")}, "this graph also takes 'y': "),
    ({"graph": network(batch=16)}, "takes batches of 16 images, batch_size=16 gives 2 at a time"),
    ({"graph": network().select("loss")}, "the accuracy needs an output 'logits'"),
    ({"passes": [passes.backward()]}, "these passes update no parameter"),
    ({"passes": []}, "these passes update no parameter"),
    ({"passes": [passes.sgd(lr="lr")]}, "sgd found no outputs grad/"),
    ({"passes": [passes.backward(), passes.sgd(lr=0.1)]}, "lr=0.1 has nowhere to go"),
    ({"passes": [passes.backward(), passes.sgd(lr="eta")]}, "no pass made an input 'lr'"),
    ({"lr": None}, "the input 'lr' needs a value, and lr is None"),
    ({"lr": -0.1}, "lr at epoch 0 is -0.1: it must be finite and at least 0"),
    ({"lr": lambda epoch: "big"}, "lr at epoch 0 is 'big', not a number"),
    ({"metrics": ("acuracy",)}, "'acuracy' is neither 'accuracy' nor .* did you mean 'accuracy'"),
    ({"metrics": ("logits",)}, "'logits' is neither 'accuracy' nor a scalar output"),
    ({"keep": "best"}, "'validation/accuracy', which is not measured(?s:.*)pass validation="),
    (
        {"keep": "best", "monitor": "validation/acc", "validation": dataset()},
        "needs the metric 'validation/acc', which is not measured: did you mean",
    ),
    ({"augment": "shift"}, "augment='shift' is not a function of images"),
    ({"augment": lambda images: images[:-1]}, r"augment \(<lambda>\) gave uint8\[0, 1, 8, 8\] for"),
    ({"augment": lambda images: 3}, "gave a int for uint8"),
    ({"augment": lambda images: images.astype(int)}, "gave int64"),
    ({"resume": True}, "resume=True needs the folder to resume from"),
    ({"checkpoint": __file__}, "test_fit.py' is a file; name a folder"),
    ({"seed": -1}, "seed=-1 must be at least 0"),
    ({"backend": "abacus"}, "there is no backend 'abacus'"),
    ({"lr": 3e38}, r"the loss became (nan|inf) at step \d+ \(epoch \d+\), with lr=3e\+38"),
]


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")  # the rate of 10³⁸
@pytest.mark.parametrize(("changed", "message"), MISTAKES, ids=[m[:40] for _, m in MISTAKES])
def test_a_mistake_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        fit(**changed)


def test_evaluate_names_what_it_needs() -> None:
    graph = network()
    variables = gx.compile(graph).init(0)
    with pytest.raises(gx.GraphError, match="evaluate takes a gx.Graph, not a dict"):
        evaluate({}, variables, dataset())  # type: ignore[arg-type]
    with pytest.raises(gx.GraphError, match="evaluated by its outputs 'loss' and 'logits'"):
        evaluate(gx.Graph({"y": graph.outputs["logits"]}), variables, dataset())
    with pytest.raises(gx.GraphError, match=r"variables lack '0.weight'"):
        evaluate(graph, {}, dataset())


# What is seen.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    history = fit()
    assert f"loss {history.metrics['loss'][-1]:.4f}" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_plot_draws_the_losses_and_training_loads_no_picture() -> None:
    history = fit(validation=dataset(20, seed=1))
    chart = history.plot()
    assert list(chart.series) == ["loss", "validation/loss"]
    assert chart.series["loss"] == tuple(history.metrics["loss"])
    assert list(history.plot("accuracy").series) == ["accuracy"]
    with pytest.raises(gx.GraphError, match="no metric 'los' was measured: did you mean 'loss'"):
        history.plot("los")
    code = (
        "import sys, graphc.train; sys.exit('graphc.viz' in sys.modules or 'rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_repr_says_how_it_went() -> None:
    assert repr(fit()).startswith("<graphc.History of 3 epochs: loss ")
