"""``backward`` against JAX: values, order and number of gradients, and what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes
from graphc.ir import Node, facts
from graphc.ir.check import Check
from graphc.ir.node import make
from graphc.ir.op import OPS, Array, Op
from graphc.ir.types import TensorType


def close(found: Any, oracle: Any, tolerance: float = 1e-5) -> None:
    assert np.shape(found) == np.shape(oracle)
    assert np.max(np.abs(found - oracle)) / max(np.max(np.abs(oracle)), 1e-30) <= tolerance


def arrays(graph: gx.Graph, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        name: random.normal(size=tuple(map(int, p.shape))).astype(p.dtype)
        for name, p in graph.parameters.items()
    }


# -- printed -------------------------------------------------------------------------------------


def test_printed_before_and_after() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    graph = gx.Graph({"loss": gx.sum(gx.tanh(x * w))})
    assert graph.text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        '  %w = parameter f32[3] role="weight" init="zeros"\n'
        "  %mul: f32[N,3] = mul(%x, %w)\n"
        "  %tanh: f32[N,3] = tanh(%mul)\n"
        "  %sum: f32[] = sum(%tanh) axes=[0,1]\n"
        "  return loss=%sum\n"
        "}"
    )
    after = graph.apply(passes.backward())
    assert after.text() == (
        "graphc 1\n"
        "graph (x: f32[N,3]) {\n"
        '  %w = parameter f32[3] role="weight" init="zeros"\n'
        "  %mul: f32[N,3] = mul(%x, %w)\n"
        "  %tanh: f32[N,3] = tanh(%mul)\n"
        "  %sum: f32[] = sum(%tanh) axes=[0,1]\n"
        "  %constant: f32[] = constant() value=1.0\n"
        "  %broadcast_to: f32[N,3] = broadcast_to(%constant) shape=[N,3]\n"
        "  %square: f32[N,3] = square(%tanh)\n"
        "  %sub: f32[N,3] = sub(%constant, %square)\n"
        "  %mul_1: f32[N,3] = mul(%broadcast_to, %sub)\n"
        "  %mul_2: f32[N,3] = mul(%mul_1, %x)\n"
        "  %sum_1: f32[3] = sum(%mul_2) axes=[0]\n"
        "  return loss=%sum, grad/w=%sum_1\n"
        "}"
    )
    assert gx.parse(str(after)) == after
    assert after.made_by == "backward"
    assert [earlier.made_by for earlier in after.history] == ["declare"]


def test_applied_twice_from_the_same_graph_gives_equal_graphs() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    graph = gx.Graph({"loss": gx.sum(gx.tanh(x * w))})
    assert graph.apply(passes.backward()) == graph.apply(passes.backward())


def test_every_gradient_node_says_its_line_and_its_forward_node() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    y = gx.tanh(x * w)
    after = gx.Graph({"loss": gx.sum(y * w)}).apply(passes.backward())
    old = {x, w, *after.history[0].nodes}
    # What depends on no leaf (1.0, and 1.0 broadcast) is one node for the whole process: one that
    # another graph made first says that graph's lines.
    anonymous: set[gx.Node] = set()
    for node in after.nodes:
        if node not in old and all(source in anonymous for source in node.inputs):
            anonymous.add(node)
    new = [node for node in after.nodes if node not in old and node not in anonymous]
    assert new
    assert all(node.lines for node in new)
    assert all(facts.forward_of(node) in old for node in new)
    assert facts.forward_of(after.outputs["grad/w"]) is w
    assert set(after.outputs["grad/w"].lines) == set(w.lines)
    assert "# gradient of %tanh, test_backward.py:" in str(after)


# -- sharing: must-hold 4 ------------------------------------------------------------------------


@pytest.mark.parametrize("calls", range(1, 8))
def test_a_layer_called_k_times_has_jaxs_gradient_through_one_grad_sum(calls: int) -> None:
    layer = nn.Linear(5, 5)
    x = gx.input("x", ("N", 5))
    h = x
    for _ in range(calls):
        h = gx.tanh(layer(h))
    graph = gx.Graph({"loss": gx.mean(gx.square(h))}).apply(passes.backward())
    uses = [user for user in graph.users(layer.weight) if user.op.name == "linear"]
    assert len(uses) == calls
    for name in ("weight", "bias"):
        gradient = graph.outputs[f"grad/linear.{name}"]
        if calls == 1:
            assert gradient.op.name != "grad_sum"
        else:
            assert gradient.op.name == "grad_sum"
            assert len(gradient.inputs) == len(set(gradient.inputs)) == calls
            # In `.users` order: the i-th term is the gradient through the i-th call.
            assert [facts.forward_of(term) for term in gradient.inputs] == uses
    assert sum(node.op.name == "grad_sum" for node in graph.nodes) == 2 * (calls > 1)

    values = arrays(graph)
    data = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)

    def loss(weight: Any, bias: Any) -> Any:
        h = data.astype(np.float64)
        for _ in range(calls):
            h = jnp.tanh(h @ weight.T + bias)
        return jnp.mean(h**2)

    weight, bias = (values[f"linear.{n}"].astype(np.float64) for n in ("weight", "bias"))
    oracle = jax.grad(loss, (0, 1))(weight, bias)
    out = gx.interpret(graph, values, x=data)
    close(out["grad/linear.weight"], oracle[0])
    close(out["grad/linear.bias"], oracle[1])


def test_x_times_x_keeps_two_edges() -> None:
    x = gx.input("x", ())
    graph = gx.Graph({"loss": x * x}).apply(passes.backward(wrt=x))
    assert [user.op.name for user in gx.Graph({"loss": x * x}).users(x)] == ["mul", "mul"]
    gradient = graph.outputs["grad/x"]
    assert gradient.op.name == "grad_sum"
    assert len(gradient.inputs) == 2
    assert float(gx.interpret(graph, {}, x=np.float32(3))["grad/x"]) == 6.0


def test_grad_sum_terms_come_in_users_order_by_edge() -> None:
    x, a, b = (gx.input(n, ()) for n in "xab")
    first, second = a * x, x * b
    loss = first + second * x
    graph = gx.Graph({"loss": loss}).apply(passes.backward(wrt="x"))
    users = gx.Graph({"loss": loss}).users(x)
    assert users == (first, second, loss.inputs[1])
    terms = graph.outputs["grad/x"].inputs
    assert [facts.forward_of(term) for term in terms] == list(users)


def test_a_shared_parameter_in_an_inner_grad_sum() -> None:
    x, w = gx.input("x", ("N",)), gx.parameter("w", ())
    h = gx.exp(x * w)
    graph = gx.Graph({"loss": gx.sum(h * gx.tanh(h) + h)}).apply(passes.backward())
    assert graph.gradients[h].op.name == "grad_sum"
    assert len(graph.gradients[h].inputs) == 3
    data = np.linspace(-1, 1, 5).astype(np.float32)

    def loss(w: Any) -> Any:
        h = jnp.exp(data.astype(np.float64) * w)
        return jnp.sum(h * jnp.tanh(h) + h)

    out = gx.interpret(graph, {"w": np.array(0.7, np.float32)}, x=data)
    close(out["grad/w"], jax.grad(loss)(0.7))


# -- broadcasting --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (3,)), ((), (2, 3)), ((1, 1), (2, 3)),
     ((4, 1, 3), (2, 1)), ((1,), (1, 1)), ((2, 3), (2, 3)), ((1,), ())],
)  # fmt: skip
def test_gradients_are_unbroadcast(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = gx.parameter("a", left), gx.parameter("b", right)
    graph = gx.Graph({"loss": gx.sum(gx.tanh(a * b + a))}).apply(passes.backward())
    values = arrays(graph)
    out = gx.interpret(graph, values)

    def loss(a: Any, b: Any) -> Any:
        return jnp.sum(jnp.tanh(a * b + a))

    oracle = jax.grad(loss, (0, 1))(*(values[n].astype(np.float64) for n in "ab"))
    for name, value in zip("ab", oracle, strict=True):
        assert graph.outputs[f"grad/{name}"].type == graph.parameters[name].type
        close(out[f"grad/{name}"], value)


def test_sizes_that_only_a_guard_equates() -> None:
    x, y = gx.input("x", ("N",)), gx.input("y", ("M",))
    w = gx.parameter("w", (3,))
    graph = gx.Graph({"loss": gx.sum(x * y * w)}).apply(passes.backward(wrt=["x", "y", "w"]))
    for name in "xyw":
        assert graph.outputs[f"grad/{name}"].type == graph.node(name).type
    values = {"w": np.array([1, 2, 3], np.float32)}
    out = gx.interpret(graph, values, x=np.float32([4, 5, 6]), y=np.float32([7, 8, 9]))
    assert out["grad/x"].tolist() == [7, 16, 27]
    assert out["grad/y"].tolist() == [4, 10, 18]
    assert out["grad/w"].tolist() == [28, 40, 54]


# -- what is differentiated ----------------------------------------------------------------------


def net() -> tuple[gx.Graph, Node, Node]:
    x = gx.input("x", ("N", 4))
    hidden = gx.relu(nn.Linear(4, 3, name="a")(x))
    logits = nn.Linear(3, 2, name="b")(hidden)
    label = gx.input("label", ("N",), dtype="int64")
    return gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)}), x, hidden


def grads(graph: gx.Graph) -> list[str]:
    return [name for name in graph.outputs if name.startswith("grad/")]


def test_default_is_every_parameter_in_order_of_first_use() -> None:
    graph, _, _ = net()
    after = graph.apply(passes.backward())
    assert grads(after) == ["grad/a.weight", "grad/a.bias", "grad/b.weight", "grad/b.bias"]
    assert list(after.outputs)[:2] == ["logits", "loss"]


def test_names_nodes_and_inputs_can_be_asked_for() -> None:
    graph, x, hidden = net()
    after = graph.apply(passes.backward(wrt=["x", graph.parameters["b.weight"], hidden, "linear"]))
    assert grads(after) == ["grad/x", "grad/b.weight", "grad/relu", "grad/linear"]
    assert grads(graph.apply(passes.backward("loss", wrt=x))) == ["grad/x"]
    assert grads(graph.apply(passes.backward(graph.outputs["loss"], "logits"))) == ["grad/logits"]


def test_only_nodes_between_wrt_and_output_are_visited() -> None:
    graph, _, hidden = net()
    after = graph.apply(passes.backward(wrt=["b.weight"]))
    assert hidden not in after.gradients
    assert graph.parameters["a.weight"] not in after.gradients
    names = {node.op.name for node in after.nodes}
    assert "where" not in names  # relu's gradient is nobody's
    everything = graph.apply(passes.backward())
    assert {graph.name(node) for node in everything.gradients} == {
        "a.weight", "a.bias", "b.weight", "b.bias", "linear", "relu", "linear_1", "cross_entropy",
    }  # fmt: skip


def test_gradients_survive_later_passes() -> None:
    graph, _, hidden = net()
    trained = graph.apply(passes.backward(), passes.sgd(lr=0.1))
    assert hidden in trained.gradients
    assert trained.gradients[hidden] in trained.nodes


def test_objective_is_the_default_and_loss_beside_it_warns() -> None:
    x, w = gx.input("x", ()), gx.parameter("w", ())
    graph = gx.Graph({"loss": x * w, "objective": w * 3})
    after = graph.apply(passes.backward())
    assert float(gx.interpret(after, {"w": np.array(1, np.float32)}, x=2)["grad/w"]) == 3
    with pytest.warns(UserWarning, match="objective"):
        after = graph.apply(passes.backward("loss"))
    assert float(gx.interpret(after, {"w": np.array(1, np.float32)}, x=2)["grad/w"]) == 2


def test_the_gradient_from_the_penalty_is_marked_decay() -> None:
    graph, _, _ = net()
    after = graph.apply(passes.weight_decay(0.1), passes.backward())
    gradient = after.outputs["grad/a.weight"]
    assert gradient.op.text() == " decay=1"
    assert gradient.op.operand(1) == "decay"
    assert facts.forward_of(gradient.inputs[1]).op.name == "square"
    assert after.outputs["grad/a.bias"].op.name != "grad_sum"
    assert gx.parse(str(after)) == after


def test_a_parameter_that_no_gradient_reaches_is_left_out() -> None:
    x, w, v = gx.input("x", ("N",)), gx.parameter("w", ()), gx.parameter("v", ())
    y = gx.where(x > v, x * w, x)
    graph = gx.Graph({"loss": gx.sum(y)})
    assert grads(graph.apply(passes.backward())) == ["grad/w"]
    with pytest.raises(gx.GraphError, match=r"no gradient flows.*v: f32"):
        graph.apply(passes.backward(wrt="v"))


# -- second order --------------------------------------------------------------------------------


def test_gradient_nodes_differentiate_again() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3,))
    first = gx.Graph({"loss": gx.mean(gx.tanh(x * w) ** 3)}).apply(passes.backward())
    norm = gx.sum(gx.square(first.outputs["grad/w"]))
    second = gx.Graph({"loss": norm}).apply(passes.backward())
    data = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)

    def loss(w: Any) -> Any:
        return jnp.mean(jnp.tanh(data.astype(np.float64) * w) ** 3)

    value = np.array([0.3, -0.7, 1.1], np.float32)
    oracle = jax.grad(lambda w: jnp.sum(jax.grad(loss)(w) ** 2))(value.astype(np.float64))
    close(gx.interpret(second, {"w": value}, x=data)["grad/w"], oracle)


def test_third_derivative_of_a_power() -> None:
    x = gx.input("x", ())
    node: Node = x * x * x * x
    for _ in range(3):
        node = gx.Graph({"loss": node}).apply(passes.backward(wrt=x)).outputs["grad/x"]
    assert float(gx.interpret(gx.Graph({"y": node}), {}, x=2.0)["y"]) == 48.0


def test_gradients_beside_an_update_of_a_state() -> None:
    x, w = gx.input("x", ("N",)), gx.parameter("w", ())
    running = gx.state("running", ())
    h = gx.track(gx.mean(x * w), running, momentum=0.5)
    graph = gx.Graph({"loss": gx.square(h)}).apply(passes.backward())
    assert list(graph.updates) == ["running"]
    out, new = gx.interpret(
        graph,
        {"w": np.array(2, np.float32), "running": np.array(0, np.float32)},
        updates=True,
        x=np.float32([1, 3]),
    )
    assert float(out["grad/w"]) == 16.0  # 2·(mean x · w)·mean x = 2·4·2
    assert float(new["running"]) == 2.0


# -- size and depth ------------------------------------------------------------------------------


def test_at_most_25_nodes_for_a_two_layer_perceptron() -> None:
    x, label = gx.input("x", ("N", 8)), gx.input("label", ("N",), dtype="int64")
    w1, b1, w2, b2 = (
        gx.parameter(n, s) for n, s in (("w1", (8, 6)), ("b1", (6,)), ("w2", (6, 4)), ("b2", (4,)))
    )
    graph = gx.Graph({"loss": gx.cross_entropy(gx.tanh(x @ w1 + b1) @ w2 + b2, label)})
    after = graph.apply(passes.backward())
    assert len(after.nodes) - len(graph.nodes) <= 25


def test_a_long_chain_does_not_recurse() -> None:
    x = gx.input("x", (2,))
    node = x
    for _ in range(2 * sys.getrecursionlimit()):
        node = gx.relu(node)
    graph = gx.Graph({"loss": gx.sum(node)}).apply(passes.backward(wrt=x))
    assert len(graph.gradients) == 2 * sys.getrecursionlimit() + 2
    assert gx.parse(str(graph)) == graph


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "los"}, "did you mean 'loss'"),
        ({"output": "logits"}, r"scalar.*logits|scalar.*linear"),
        ({"wrt": "lable"}, "did you mean 'label'"),
        ({"wrt": "label"}, "floating-point"),
        ({"wrt": "c.weight"}, "no node is called"),
        ({"wrt": []}, "no gradient"),
        ({"wrt": gx.input("other", ())}, "not a node of this graph"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    graph, _, _ = net()
    with pytest.raises(gx.GraphError, match=message):
        graph.apply(passes.backward(**options))


def test_an_unreachable_wrt_is_an_error_that_names_both() -> None:
    x, w = gx.input("x", ()), gx.parameter("w", ())
    graph = gx.Graph({"loss": x * x, "other": w * x})
    with pytest.raises(gx.GraphError, match=r"does not depend on w") as caught:
        graph.apply(passes.backward(wrt="w"))
    assert len(caught.value.nodes) == 2
    with pytest.raises(gx.GraphError, match="depends on no parameter"):
        graph.apply(passes.backward())


def test_a_graph_with_gradients_is_refused() -> None:
    graph, _, _ = net()
    with pytest.raises(gx.GraphError, match=r"grad/a\.weight"):
        graph.apply(passes.backward(), passes.backward())


def test_without_a_loss_the_error_says_what_to_write() -> None:
    x = gx.input("x", ())
    with pytest.raises(gx.GraphError, match=r"passes\.backward\('y'\)"):
        gx.Graph({"y": x * x}).apply(passes.backward())


def test_an_integer_scalar_has_no_gradient() -> None:
    x = gx.input("x", (), dtype="int64")
    with pytest.raises(gx.GraphError, match="floating-point scalar"):
        gx.Graph({"loss": x * x}).apply(passes.backward(wrt="x"))


@pytest.fixture
def faulty() -> Any:
    """An op whose gradient rule answers what the test says; gone from the registry afterwards."""

    class Faulty(Op):
        name = "faulty"
        operands = ("x",)
        answer: Any = None

        def infer(self, check: Check, *inputs: Node) -> TensorType:
            return TensorType((), inputs[0].dtype)

        def evaluate(self, sizes: Any, *inputs: Array) -> Array:
            return np.asarray(inputs[0].sum())

        def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
            return type(self).answer(node.inputs[0], gradient)

    yield Faulty
    del OPS["faulty"]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda x, g: [g, g], gx.GraphError, "2 gradients for 1 inputs"),
        (lambda x, g: [1.0], gx.GraphError, "answered a float for x"),
        (lambda x, g: [g], gx.ShapeError, r"answered f32\[\] for x"),
        (lambda x, g: [gx.input("z", (4,)) * g], gx.ShapeError, r"answered f32\[4\] for x"),
        (lambda x, g: [gx.cast(x, "float64")], gx.DTypeError, r"answered f64\[3\] for x"),
    ],
)
def test_a_wrong_gradient_rule_is_caught_and_named(
    faulty: Any, answer: Callable[..., Any], error: type[Exception], message: str
) -> None:
    faulty.answer = staticmethod(answer)
    x = gx.input("x", (3,))
    graph = gx.Graph({"loss": make(faulty(), x)})
    with pytest.raises(error, match=f"faulty: .*{message}"):
        graph.apply(passes.backward(wrt="x"))
