"""Training by ``fit`` on the emulated device: the numbers of NumPy, and going on after a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import data, nn, passes
from graphc.backends import emulated
from tests.backends.cupy.nets import classifier, differences

SGD = [passes.backward(), passes.sgd(lr="lr", momentum=0.9)]


def fit(**changed: Any) -> gx.History:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (22, 3, 2, 2)).astype(np.uint8)
    labels = images[:, 0].reshape(22, 4).argmax(axis=1)
    digits = data.Dataset(images, labels, tuple("abcd"), "noise", "train")
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Dropout(retain=0.5), nn.Linear(7, 4)
    )
    options = {"epochs": 2, "batch_size": 8, "passes": SGD, "lr": 0.1, "keep": "best", **changed}
    return gx.fit(classifier(net, (3, 2, 2)), digits, validation=digits, **options)


def test_the_history_is_numpys() -> None:
    expected, found = fit(backend="numpy"), fit(backend="emulated")
    assert max(differences(expected.variables, found.variables).values()) < 1e-4
    for name, row in expected.metrics.items():
        np.testing.assert_allclose(found.metrics[name], row, rtol=1e-4)


@pytest.mark.parametrize("kind", ["launch", "lost"])
def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path, kind: str) -> None:
    whole = fit(backend="emulated", epochs=3)
    fit(backend="emulated", epochs=1, checkpoint=tmp_path)
    with emulated.faults(**{kind: 40}) as fault, pytest.raises(gx.BackendError):
        fit(backend="emulated", epochs=3, checkpoint=tmp_path, resume=True)
    assert fault.fired
    found = fit(backend="emulated", epochs=3, checkpoint=tmp_path, resume=True)
    for name, array in whole.variables.items():
        np.testing.assert_array_equal(found.variables[name].get(), array.get(), err_msg=name)
