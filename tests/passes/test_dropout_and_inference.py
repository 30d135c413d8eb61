"""``insert_dropout`` reaches every use; ``inference`` takes back what only training needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from graphc.ir import Node


def network() -> gx.Graph:
    x = gx.input("x", ("N", 4))
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), name="net")
    y = net(x)
    return gx.Graph({"y": y, "loss": gx.mean(gx.square(y))})


def sites(graph: gx.Graph) -> dict[str, tuple[float, str]]:
    """stream -> (retain, what it is applied to)."""
    return {
        graph.name(node.inputs[1]): (node.op.retain, graph.name(node.inputs[0]))
        for node in graph.nodes
        if node.op.name == "dropout"
    }


# -- insert_dropout ------------------------------------------------------------------------------


def test_printed_before_and_after() -> None:
    x = gx.input("x", ("N", 2))
    y = gx.relu(x)
    graph = gx.Graph({"y": y, "z": gx.tanh(y)})
    after = graph.apply(passes.insert_dropout(retain=0.8))
    assert after.text() == (
        "graphc 1\n"
        "graph (x: f32[N,2]) {\n"
        "  %relu: f32[N,2] = relu(%x)\n"
        "  %random/seed = state u64[] init=0.0\n"
        "  %step = state i64[] init=0.0\n"
        '  %dropout: f32[N,2] = dropout(%relu) retain=0.800000011920929 stream="relu/dropout"\n'
        "  %tanh: f32[N,2] = tanh(%dropout)\n"
        "  %constant: i64[] = constant() value=1\n"
        "  %add: i64[] = add(%step, %constant)\n"
        "  return y=%dropout, z=%tanh\n"
        "  update %step = %add\n"
        "}"
    )
    assert gx.parse(str(after)) == after
    assert after.apply(passes.inference()) == graph


def test_streams_are_named_by_module_path_else_by_name_and_number() -> None:
    assert sites(network().apply(passes.insert_dropout(retain=0.5))) == {
        "net.1/dropout": (0.5, "relu"),
        "net.3/dropout": (0.5, "relu_1"),
    }

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Node) -> Node:
            return gx.relu(self.fc(gx.relu(self.fc(x))))

    graph = gx.Graph({"y": Functional()(gx.input("x", ("N", 4)))})
    assert list(sites(graph.apply(passes.insert_dropout(retain=0.5)))) == [
        "relu/dropout",
        "relu_1/dropout",
    ]
    named = nn.Sequential(Functional(), name="net")
    graph = gx.Graph({"y": named(gx.input("x", ("N", 4)))})
    assert list(sites(graph.apply(passes.insert_dropout(retain=0.5)))) == [
        "net.0/dropout",
        "net.0/dropout_1",
    ]


def test_the_inserted_node_keeps_line_and_path_of_what_it_follows() -> None:
    graph = network().apply(passes.insert_dropout(retain=0.5))
    drops = [node for node in graph.nodes if node.op.name == "dropout"]
    for node in drops:
        assert node.lines == node.inputs[0].lines
        assert graph.paths(node) == graph.paths(node.inputs[0])


def test_where_after_and_the_table_of_probabilities() -> None:
    graph = network()

    def found(**options: Any) -> dict[str, tuple[float, str]]:
        return sites(graph.apply(passes.insert_dropout(**options)))

    assert list(found(retain=0.5, where="net.3")) == ["net.3/dropout"]
    assert list(found(retain=0.5, where=lambda n: n is graph.outputs["y"])) == ["net.3/dropout"]
    assert list(found(retain=0.5, where="relu_1")) == ["net.3/dropout"]
    assert found(retain=0.5, after="linear") == {
        "net.0/dropout": (0.5, "linear"),
        "net.2/dropout": (0.5, "linear_1"),
    }
    assert len(found(retain=0.5, after=("linear", "relu"))) == 4
    assert found(retain={"net.1": 0.25, "net.*": 0.5}) == {
        "net.1/dropout": (0.25, "relu"),
        "net.3/dropout": (0.5, "relu_1"),
    }
    assert found(retain={"net.1": 0.25}) == {"net.1/dropout": (0.25, "relu")}
    assert found(retain={"*": 0.5, "x": 0.75}) == {
        "x/dropout": (0.75, "x"),
        "net.1/dropout": (0.5, "relu"),
        "net.3/dropout": (0.5, "relu_1"),
    }
    assert found(retain={"x": 0.75}) == {"x/dropout": (0.75, "x")}


def test_masks_differ_between_sites_and_repeat_in_the_gradient() -> None:
    x = gx.input("x", ("N", 64))
    graph = gx.Graph({"loss": gx.sum(gx.relu(x)), "y": gx.relu(gx.tanh(x))}).apply(
        passes.insert_dropout(retain=0.5), passes.backward(wrt="x")
    )
    variables = {"random/seed": np.array(3, np.uint64), "step": np.array(5, np.int64)}
    out = gx.interpret(graph, variables, x=np.ones((2, 64), np.float32))
    kept = out["grad/x"] != 0
    assert 20 < kept.sum() < 108
    assert set(np.unique(out["grad/x"])) == {0.0, 2.0}
    assert float(out["loss"]) == 2.0 * kept.sum()
    assert not np.array_equal(kept, out["y"] != 0)


def test_parameters_and_names_of_leaves_stay() -> None:
    graph = network()
    after = graph.apply(passes.insert_dropout(retain=0.5), passes.backward(), passes.sgd(lr=0.1))
    assert list(after.parameters) == list(graph.parameters)
    assert all(after.parameters[name] is p for name, p in graph.parameters.items())
    assert "step" in after.updates


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retain": 0}, r"\(0, 1\]"),
        ({"retain": 1.01}, "from 0 to 1"),
        ({"retain": -0.5}, "from 0 to 1"),
        ({"retain": "0.5"}, "number"),
        ({"retain": {"net.1": 2}}, "from 0 to 1"),
        ({"retain": 0.5, "after": "rellu"}, "did you mean 'relu'"),
        ({"retain": 0.5, "after": "sigmoid"}, "no sigmoid here"),
        ({"retain": 0.5, "scaling": "both"}, "neither 'train' nor 'test'"),
        ({"retain": 0.5, "where": "nte.*"}, r"names none of net\.1 = relu"),
        ({"retain": {"nte.1": 0.5}}, r"names none of net\.1 = relu"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    graph = network()
    with pytest.raises(gx.GraphError, match=message):
        graph.apply(passes.insert_dropout(**options))


def test_after_backward_it_is_refused() -> None:
    graph = network()
    drop = passes.insert_dropout(retain=0.5)
    for before in (
        [passes.backward()],
        [passes.backward(), passes.sgd(lr=0.1)],
    ):
        with pytest.raises(gx.GraphError, match=r"in front of passes\.backward"):
            graph.apply(*before, drop)
    # Also where the text is all that is left.
    trained = gx.parse(str(graph.apply(passes.backward(), passes.sgd(lr=0.1))))
    with pytest.raises(gx.GraphError, match=r"in front of passes\.backward"):
        trained.apply(drop)


# -- inference -----------------------------------------------------------------------------------


def test_track_becomes_its_state_and_updates_go() -> None:
    x = gx.input("x", ("N", 2))
    running = gx.state("running", (2,))
    graph = gx.Graph({"y": x - gx.track(gx.mean(x, 0), running, momentum=0.1)})
    assert list(graph.updates) == ["running"]
    after = graph.apply(passes.inference())
    assert after.text() == (
        "graphc 1\n"
        "graph (x: f32[N,2]) {\n"
        '  %running = state f32[2] init="zeros"\n'
        "  %sub: f32[N,2] = sub(%x, %running)\n"
        "  return y=%sub\n"
        "}"
    )
    value = gx.interpret(
        after, {"running": np.array([1, 2], np.float32)}, x=np.zeros((3, 2), np.float32)
    )["y"]
    assert value.tolist() == [[-1, -2]] * 3


@pytest.mark.parametrize(("scaling", "factor"), [("train", 1.0), ("test", 0.25)])
def test_dropout_becomes_its_mean(scaling: Any, factor: float) -> None:
    x = gx.input("x", ("N", 8))
    graph = gx.Graph({"y": gx.dropout(x, retain=0.25, scaling=scaling)})
    after = graph.apply(passes.inference())
    assert not after.states
    assert not after.updates
    data = np.arange(8, dtype=np.float32).reshape(1, 8)
    np.testing.assert_array_equal(gx.interpret(after, {}, x=data)["y"], data * np.float32(factor))
    # Its mean over many steps is what inference computes.
    total = np.zeros_like(data)
    for step in range(400):
        variables = {"random/seed": np.array(1, np.uint64), "step": np.array(step, np.int64)}
        total += gx.interpret(graph, variables, x=data)["y"]
    np.testing.assert_allclose(total / 400, data * factor, rtol=0.4, atol=1e-6)


def test_a_trained_graph_predicts_without_its_optimizer() -> None:
    graph = network()
    trained = graph.apply(
        passes.insert_dropout(retain=0.5),
        passes.weight_decay(1e-3),
        passes.backward(),
        passes.sgd(lr="lr", momentum=0.9),
    )
    assert trained.select("y").apply(passes.inference()) == graph.select("y")


def test_step_stays_where_a_random_op_does() -> None:
    x = gx.input("x", ("N", 2))
    noisy = gx.dropout(x, retain=0.5) + gx.random_uniform(("N", 2))
    after = gx.Graph({"y": noisy}).apply(passes.inference())
    assert list(after.updates) == ["step"]
    assert list(after.states) == ["random/seed", "step"]


def test_a_second_run_changes_nothing() -> None:
    x = gx.input("x", ("N", 2))
    running = gx.state("running", (2,))
    y = gx.dropout(x - gx.track(gx.mean(x, 0), running), retain=0.5, scaling="test")
    once = gx.Graph({"y": y}).apply(passes.inference())
    twice = once.apply(passes.inference())
    assert twice == once
    assert twice.outputs["y"] is once.outputs["y"]
    assert [earlier.made_by for earlier in twice.history] == ["declare", "inference"]


def test_neither_counters_nor_running_statistics_are_dropped() -> None:
    x = gx.input("x", ("N", 4, 3, 3))
    y = nn.BatchNorm2d(4, name="norm")(x + gx.dropout(x, retain=0.5))
    graph = gx.Graph({"y": y + x, "class": gx.argmax(y, 1)})
    after = graph.apply(passes.insert_dropout(retain=0.5, after=("add", "argmax")))
    dropped = [node.inputs[0] for node in after.nodes if node.op.name == "dropout"]
    assert [node.op.name for node in dropped].count("add") == 2
    assert "norm.running_mean" in after.updates
    for name, node in after.updates.items():
        assert node.op.name == graph.updates[name].op.name, name
