"""LeNet-5 on the shipped digits: a short run always, the whole demo for five seeds in the soak."""

from __future__ import annotations

import pytest

import graphc as gx
from graphc import data, models, passes
from graphc.cli import demo
from graphc.train import evaluate


def test_one_epoch_of_a_third_of_the_digits_reads_four_of_five() -> None:
    graph, digits = models.build("lenet-5"), data.load("mnist-mini", "train")
    history = gx.fit(
        graph, digits[:2000], epochs=2, batch_size=32, lr=0.05,
        passes=[passes.backward(), passes.sgd(lr="lr", momentum=0.9)],
        validation=digits[5500:],
    )  # fmt: skip
    accuracy = history.metrics["validation/accuracy"]
    assert accuracy[-1] > 0.8
    assert history.metrics["loss"][-1] < history.metrics["loss"][0] / 2
    found = evaluate(graph, history.variables, digits[5500:])
    assert found["accuracy"] == accuracy[-1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_demo_reads_975_of_1000_with_every_seed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAPHC_VERIFY_PLAN", raising=False)  # as a user runs it
    graph, runs, _ = demo.train(seed)
    accuracy = demo.test(graph, runs)
    assert accuracy[demo.SHIFTS] >= 0.975
    assert accuracy[demo.PLAIN] >= 0.96
    assert accuracy[demo.SHIFTS] > accuracy[demo.PLAIN]
