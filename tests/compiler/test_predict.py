"""Predictions: what is counted against a count of our own, what is predicted marked as such."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import models, passes
from graphc.compiler.devices import DEVICES


def test_one_product_is_counted_by_hand() -> None:
    x, w = gx.input("x", ("N", 30)), gx.parameter("w", (20, 30))
    program = gx.compile(gx.Graph({"y": gx.linear(x, w)}))
    program(program.init(), x=np.ones((8, 30)))
    found = program.plan.predict("h100")
    assert (found.launches, found.flops) == (1, 2 * 8 * 20 * 30)
    assert found.bytes == 4 * (8 * 30 + 20 * 30 + 8 * 20)
    half = program.plan.predict("h100", N=4)
    assert (half.sizes, half.flops) == ({"N": 4}, found.flops // 2)


def test_a_step_is_what_gx_cost_counts_and_at_least_its_launches() -> None:
    graph = models.build("lenet-5").apply(passes.backward(), passes.sgd(lr=0.1))
    program = gx.compile(graph)
    images = np.zeros((16, 1, 28, 28), np.float32)
    program(program.init(), image=images, label=np.zeros(16, int))
    plan = program.plan
    for name, device in DEVICES.items():
        found, captured = plan.predict(name), plan.predict(name, captured=True)
        assert found.launches == plan.launches
        assert 0.9 * gx.cost(graph, N=16).flops <= found.flops <= gx.cost(graph, N=16).flops
        # A table's constants give these bounds, whatever the plan.
        assert found.device_seconds >= found.launches * device.kernel.value
        assert found.device_seconds >= found.bytes / device.bandwidth.value
        assert found.seconds == max(found.device_seconds, found.launches * device.launch.value)
        assert captured.host_seconds == device.launch.value
        assert "predicted" in str(found)
        assert "not measured" in str(found)
        assert set(device.assumed()) >= {"kernel", "launch", "graph_node"}
        assert "kernel, launch" in str(found)


def test_mistakes_are_told() -> None:
    x = gx.input("x", ("N",))
    program = gx.compile(gx.Graph({"y": gx.relu(x)}))
    program({}, x=np.ones(3))
    with pytest.raises(gx.GraphError, match="no device is called 'h1OO'.*rtx-4090"):
        program.plan.predict("h1OO")
    with pytest.raises(gx.GraphError, match="no dimension 'M'"):
        program.plan.predict("h100", M=3)
    with pytest.raises(gx.GraphError, match="N=0 is not a size"):
        program.plan.predict("h100", N=0)
