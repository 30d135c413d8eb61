"""The optimizers against torch.optim, where PyTorch is installed: fifty steps of one network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: test_optimizers.py has its rules written out"
)


@pytest.mark.parametrize(
    ("ours", "theirs", "clip"),
    [
        (passes.sgd(lr=0.02, momentum=0.9, nesterov=True),
         lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True), None),
        (passes.adam(lr=0.02), lambda p: torch.optim.Adam(p, lr=0.02), 0.1),
        (passes.adamw(lr=0.02, roles=("weight", "bias")),
         lambda p: torch.optim.AdamW(p, lr=0.02), None),
        (passes.rmsprop(lr=0.02), lambda p: torch.optim.RMSprop(p, lr=0.02), None),
        (passes.rmsprop(lr=0.02, momentum=0.9, centered=True),
         lambda p: torch.optim.RMSprop(p, lr=0.02, momentum=0.9, centered=True), 0.1),
    ],
)  # fmt: skip
def test_fifty_steps_end_where_torchs_do(ours: Any, theirs: Any, clip: float | None) -> None:
    x = gx.input("x", ("N", 3), dtype="float64")
    w = gx.parameter("w", (4, 3), dtype="float64")
    b = gx.parameter("b", (4,), dtype="float64", role="bias")
    graph = gx.Graph({"loss": gx.mean(gx.square(gx.tanh(gx.linear(x, w, b))))})
    clipping = [] if clip is None else [passes.clip_gradients(clip)]
    step = gx.compile(graph.apply(passes.backward(), *clipping, ours))
    random = np.random.default_rng(0)
    variables = step.init(seed=0) | {"w": random.normal(size=(4, 3)), "b": random.normal(size=4)}
    weights = {name: torch.tensor(variables[name], requires_grad=True) for name in ("w", "b")}
    optimizer = theirs(list(weights.values()))
    for data in random.normal(size=(50, 5, 3)):
        step(variables, x=data)
        optimizer.zero_grad()
        y = torch.nn.functional.linear(torch.tensor(data), weights["w"], weights["b"])
        torch.mean(torch.tanh(y) ** 2).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(list(weights.values()), clip)
        optimizer.step()
    for name, weight in weights.items():
        expected = weight.detach().numpy()
        assert np.max(np.abs(variables[name] - expected)) <= 1e-6 * np.max(np.abs(expected))
