"""Rule 3.6: ``track`` is the identity, and tells the Graph how a state goes on."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import passes

F = np.float32


def running(shape: tuple[int, ...] = (3,), dtype: str = "float32") -> gx.Node:
    return gx.state("running", shape, dtype=dtype)


def test_is_the_identity_on_its_value() -> None:
    x = gx.input("x", (3,))
    y = gx.track(x, running(), momentum=0.25)
    assert y.type == x.type
    given = F([1, 2, 3])
    out = gx.interpret(gx.Graph({"y": y}), {"running": F([9, 9, 9])}, x=given)
    np.testing.assert_array_equal(out["y"], given)


def test_updates_the_state_beside_the_outputs() -> None:
    x = gx.input("x", (3,))
    graph = gx.Graph({"y": gx.track(x, running(), momentum=0.25) * 2})
    assert list(graph.updates) == ["running"]
    before = {"running": F([4, 8, -4])}
    _, after = gx.interpret(graph, before, updates=True, x=F([0, 4, 4]))
    np.testing.assert_array_equal(after["running"], F([3, 7, -2]))  # 3/4·state + 1/4·value
    np.testing.assert_array_equal(before["running"], F([4, 8, -4]))  # and nothing was changed


def test_declares_no_update_where_nothing_tracks() -> None:
    graph = gx.Graph({"y": gx.input("x", (3,)) + running()})
    assert graph.updates == {}
    assert list(graph.states) == ["running"]


def test_several_tracks_of_a_state_compose_in_the_order_of_nodes() -> None:
    """A batch norm called three times updates its statistics three times, as PyTorch's does."""
    a, b, c = (gx.input(name, (1,)) for name in "abc")
    s = running((1,))
    # declared in another order than the outputs reach them
    last, first, middle = (gx.track(v, s, momentum=0.5) for v in (c, a, b))
    graph = gx.Graph({"a": first, "bc": middle + last})
    tracks = [node.inputs[0] for node in graph.nodes if node.op.name == "track"]
    assert tracks == [a, b, c]
    _, after = gx.interpret(graph, {"running": F([16])}, updates=True, a=F([0]), b=F([8]), c=F([2]))
    expected = 16.0
    for value in (0.0, 8.0, 2.0):
        expected = 0.5 * expected + 0.5 * value
    np.testing.assert_array_equal(after["running"], F([expected]))


def test_the_same_track_is_one_node_and_one_update() -> None:
    x, s = gx.input("x", (1,)), running((1,))
    first, second = gx.track(x, s, momentum=0.5), gx.track(x, s, momentum=0.5)
    assert first is second
    _, after = gx.interpret(
        gx.Graph({"y": first + second}), {"running": F([4])}, updates=True, x=F([0])
    )
    np.testing.assert_array_equal(after["running"], F([2]))


@pytest.mark.parametrize("symbolic", [False, True])
def test_count_makes_the_variance_unbiased(symbolic: bool) -> None:
    n = 5
    x = gx.input("x", ("N" if symbolic else n, 3))
    variance = gx.mean(gx.square(x - gx.mean(x, 0)), 0)
    y = gx.track(variance, running(), momentum=0.1, count=x.shape[0])
    given = np.random.default_rng(0).normal(size=(n, 3)).astype(F)
    before = F([1, 2, 3])
    out, after = gx.interpret(gx.Graph({"y": y}), {"running": before}, updates=True, x=given)
    np.testing.assert_allclose(out["y"], given.var(0), rtol=1e-5)  # the value stays biased
    expected = 0.9 * before + 0.1 * given.var(0, ddof=1)
    np.testing.assert_allclose(after["running"], expected, rtol=1e-5)


def test_agrees_with_pytorchs_batch_norm() -> None:
    torch = pytest.importorskip("torch")
    x = gx.input("x", ("N", 2, "H", "W"))
    n, _, h, w = x.shape
    mean = gx.mean(x, (0, 2, 3))
    centred = x - gx.reshape(mean, (2, 1, 1))
    variance = gx.mean(gx.square(centred), (0, 2, 3))
    mean_state, variance_state = gx.state("mean", (2,)), gx.state("variance", (2,), init="ones")
    graph = gx.Graph(
        {
            "mean": gx.track(mean, mean_state, momentum=0.1),
            "variance": gx.track(variance, variance_state, momentum=0.1, count=n * h * w),
        }
    )
    given = np.random.default_rng(1).normal(size=(3, 2, 4, 5)).astype(F)
    before = {"mean": np.zeros(2, F), "variance": np.ones(2, F)}
    _, after = gx.interpret(graph, before, updates=True, x=given)
    layer = torch.nn.BatchNorm2d(2)
    layer(torch.from_numpy(given))
    np.testing.assert_allclose(after["mean"], layer.running_mean.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(after["variance"], layer.running_var.numpy(), rtol=1e-5)


def test_a_count_of_one_is_refused_when_the_sizes_are_known() -> None:
    x = gx.input("x", ("N", 3))
    y = gx.track(gx.mean(x, 0), running(), momentum=0.1, count=x.shape[0])
    graph = gx.Graph({"y": y})
    assert [str(guard) for guard in graph.guards] == ["N >= 2"]
    variables = {"running": np.zeros(3, F)}
    gx.interpret(graph, variables, x=np.zeros((2, 3), F))
    with pytest.raises(gx.ShapeError, match="N >= 2 does not hold with N=1"):
        gx.interpret(graph, variables, x=np.zeros((1, 3), F))


def test_a_count_of_one_is_refused_at_once() -> None:
    with pytest.raises(gx.ShapeError, match="divides by count - 1.*1 is less than 2"):
        gx.track(gx.input("x", (3,)), running(), momentum=0.1, count=1)


def test_gradient_passes_and_the_state_gets_none() -> None:
    x, s = gx.input("x", (3,)), running()
    loss = gx.sum(gx.square(gx.track(x, s, momentum=0.5)))
    graph = gx.Graph({"loss": loss}).apply(passes.backward(wrt="x"))
    assert list(graph.updates) == ["running"]
    out = gx.interpret(graph, {"running": np.zeros(3, F)}, x=F([1, 2, 3]))
    np.testing.assert_array_equal(out["grad/x"], F([2, 4, 6]))


def test_prints_parses_and_selects_with_its_update() -> None:
    x = gx.input("x", ("N", 3))
    y = gx.track(gx.mean(x, 0), running(), momentum=0.1, count=x.shape[0])
    graph = gx.Graph({"y": y, "z": x * 2})
    assert gx.parse(str(graph)) == graph
    assert list(graph.select("z").updates) == ["running"]
    assert "track(%mean, %running) momentum=0.1 count=N" in str(graph)


def test_a_state_that_is_none_is_refused() -> None:
    x = gx.input("x", (3,))
    with pytest.raises(gx.GraphError, match="not a state"):
        gx.track(x, gx.parameter("p", (3,)), momentum=0.1)
    with pytest.raises(gx.ShapeError, match="3 != 4"):
        gx.track(x, gx.state("s", (4,)), momentum=0.1)
    with pytest.raises(gx.DTypeError, match="the value is f32, the state f64"):
        gx.track(x, running(dtype="float64"), momentum=0.1)
    with pytest.raises(gx.GraphError, match="between 0 and 1"):
        gx.track(x, running(), momentum=1.5)
