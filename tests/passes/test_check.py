"""``graph.apply(…, check=inputs)``: the pass that changes a value is named, the others are not."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import graphc as gx
from graphc import models, nn, passes
from graphc.compiler.validate import difference, variables_for
from graphc.ir import Node
from graphc.ir.node import make

INPUTS: dict[str, Any] = {"x": np.linspace(-1, 1, 6).reshape(2, 3), "label": [0, 1], "lr": 0.1}


def network() -> gx.Graph:
    x, label = gx.input("x", ("N", 3)), gx.input("label", ("N",), dtype="int64")
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), name="net")
    logits = net(x)
    return gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})


def wrong(op: str, name: str = "wrong", **options: Any) -> Any:
    """A pass that leaves an op out."""

    def function(graph: gx.Graph) -> gx.Graph:
        """op(x) -> x, which is no law."""

        def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
            return inputs[0] if old.op.name == op else None

        return graph.rewrite(replace)

    function.__name__ = name
    return passes.define(**options)(function) if options else passes.define(function)


def test_the_wrong_pass_is_named_with_what_ran_before_it() -> None:
    steps = [passes.weight_decay(0.1), wrong("relu"), passes.backward()]
    with pytest.raises(gx.GraphError) as caught:
        network().apply(*steps, check=INPUTS | {"lr": 1.0})
    message = str(caught.value)
    assert "the pass 'wrong' changed the output 'logits'" in message
    assert "before it ran: weight_decay" in message
    assert "changes='*'" in message
    assert any(line.startswith("test_check.py:") for line in caught.value.lines)
    assert caught.value.nodes
    network().apply(*steps)  # unchecked, nobody sees it


def test_any_function_is_checked() -> None:
    def forget_biases(graph: gx.Graph) -> gx.Graph:
        def replace(old: Node, inputs: tuple[Node, ...]) -> Node | None:
            return make(old.op, *inputs[:2]) if old.op.name == "linear" else None

        return graph.rewrite(replace)

    with pytest.raises(gx.GraphError, match="'forget_biases' changed the output 'logits'"):
        # The initial biases of some layers are 0: the values that it is run on are not.
        network().apply(forget_biases, check={"x": INPUTS["x"], "label": [0, 1]})


def test_an_update_is_compared_as_well() -> None:
    s, x = gx.state("s", (2,)), gx.input("x", (2,))
    graph = gx.Graph({"y": x}, {s: gx.tanh(s + x)})
    with pytest.raises(gx.GraphError, match="'wrong' changed the update of 's'"):
        graph.apply(wrong("tanh"), check={"x": [1, 2]})


def test_our_passes_change_what_they_say() -> None:
    after = network().apply(
        passes.insert_dropout(retain=0.5),
        passes.weight_decay(0.1),
        passes.weight_decay(0.1, where="net.0*"),
        passes.unshare(),
        passes.simplify(),
        passes.backward(),
        passes.share(),
        passes.clip_gradients(0.1),
        passes.checkpoint(),
        passes.sgd(lr="lr", momentum=0.9),
        passes.simplify(),
        check=INPUTS,
    )
    assert after.apply(passes.inference(), check=INPUTS).outputs
    image = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    predict = models.build("residual-8", classes=3, image=(3, 8, 8)).select("logits")
    predict.apply(passes.inference(), passes.fold_batch_norm(), check={"image": image})


def test_what_a_pass_changes_on_purpose() -> None:
    assert passes.insert_dropout(retain=0.5).changes == ("*",)
    assert passes.weight_decay(0.1).changes == ("penalty", "objective")
    assert passes.simplify().changes == ()
    graph, inputs = network(), {name: INPUTS[name] for name in ("x", "label")}
    graph.apply(wrong("relu", changes="*"), check=inputs)
    graph.apply(wrong("relu", changes=("log*", "loss")), check=inputs)
    with pytest.raises(gx.GraphError, match="changed the output 'loss'"):
        graph.apply(wrong("relu", changes="logits"), check=inputs)
    # The graph after it is what the next pass is compared with.
    with pytest.raises(gx.GraphError, match="'second' changed"):
        graph.apply(wrong("relu", changes="*"), wrong("linear", "second"), check=inputs)

    @passes.define(changes="y")
    def scale(factor: float) -> Any:
        """y -> factor·y."""
        return lambda graph: graph.rebuild({"y": graph.outputs["y"] * factor})

    doubled = scale(2.0)
    assert (doubled.changes, repr(doubled)) == (("y",), "passes.scale(2.0)")
    gx.Graph({"y": gx.input("x", ())}).apply(doubled, check={"x": 1.0})


def test_inputs_that_do_not_fit() -> None:
    graph = network()
    with pytest.raises(gx.GraphError, match=r"before the first pass: the input 'label' is missing"):
        graph.apply(check={"x": INPUTS["x"]})
    train = [passes.backward(), passes.sgd(lr="lr")]
    with pytest.raises(gx.GraphError, match=r"after the pass 'sgd': the input 'lr' is missing"):
        graph.apply(*train, check={"x": INPUTS["x"], "label": [0, 1]})
    with pytest.raises(gx.GraphError, match=r"no graph on the way has an input 'xx'(.|\n)*'x'"):
        graph.apply(*train, check=INPUTS | {"xx": 1.0})
    with pytest.raises(gx.GraphError, match="takes a dict of input name to array, not a list"):
        graph.apply(check=[1])  # type: ignore[arg-type]


def test_variables_depend_on_their_names_alone_and_variances_stay_positive() -> None:
    graph = models.build("residual-8", classes=3, image=(3, 8, 8))
    variables = variables_for(graph)
    less = variables_for(graph.select("logits").apply(passes.inference()))
    for name, array in less.items():
        np.testing.assert_array_equal(array, variables[name])
    for name, array in variables.items():
        assert array.dtype.kind != "f" or np.any(array != 0), name
        assert not name.endswith("running_var") or np.all(array >= 1), name


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_rounding_is_no_difference_and_more_is(dtype: str) -> None:
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    values = np.array([1.0, -3.0, 0.0], kind)
    step = {"float64": 1e-10, "float32": 1e-5, "float16": 0.01, "bfloat16": 0.05}[dtype]
    near = (values.astype(np.float64) + step).astype(kind)
    far = (values.astype(np.float64) + step * 40).astype(kind)
    assert np.any(near != values)
    assert difference(values, near) is None
    assert difference(values, far) is not None


def test_differences_of_other_kinds() -> None:
    nan, inf = np.array([np.nan, np.inf, -np.inf]), np.array([np.inf, np.inf, -np.inf])
    assert difference(nan, nan) is None
    assert difference(nan, inf) is not None
    assert difference(inf, -inf) is not None
    assert difference(np.array([1, 2]), np.array([1, 2])) is None
    assert "2 became 3 at [1]" in (difference(np.array([1, 2]), np.array([1, 3])) or "")
    assert difference(np.array(True), np.array(False)) is not None
    assert "shape" in (difference(np.zeros(2), np.zeros((2, 1))) or "")
    assert difference(np.zeros((0, 2)), np.zeros((0, 2))) is None
    assert difference(np.array([2, 3]), np.array([2.0, 3.0])) is None
    assert difference(np.array(1e-13), np.array(-1e-13)) is None  # 0 but for rounding
