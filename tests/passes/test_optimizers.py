"""Adam, AdamW, RMSprop and clipping follow PyTorch's rules, written out; rates as schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes
from graphc.passes import schedules

STEPS = 50
DATA = np.random.default_rng(3).normal(size=(STEPS, 5, 3))
Values = dict[str, Any]


def problem(dtype: str) -> gx.Graph:
    x = gx.input("x", ("N", 3), dtype=dtype)
    w = gx.parameter("a.weight", (3,), dtype=dtype)
    b = gx.parameter("a.bias", (), dtype=dtype, role="bias")
    return gx.Graph({"loss": gx.mean(gx.square(gx.tanh(gx.sum(x * w, 1) + b)))})


def start(dtype: str) -> Values:
    return {"a.weight": np.array([0.5, -1.0, 2.0], dtype), "a.bias": np.array(0.3, dtype)}


def train(graph: gx.Graph, dtype: str, **inputs: Any) -> Values:
    """All steps on the interpreter; the states start at zero."""
    variables = start(dtype)
    for name, leaf in graph.states.items():
        variables[name] = np.zeros(leaf.type.concrete({}), leaf.dtype)
    for x in DATA.astype(dtype):
        _, variables = gx.interpret(graph, variables, updates=True, x=x, **inputs)
    return variables


def gradients(p: Values, x: Any) -> Values:
    """Of ``problem``, by hand."""
    y = np.tanh((x * p["a.weight"]).sum(1) + p["a.bias"])
    g = 2 * y * (1 - y**2) / len(x)
    return {"a.weight": (g[:, None] * x).sum(0), "a.bias": g.sum()}


# torch.optim, as its documentation writes it, one step of one parameter: (w, g, memory, t, lr).
Rule = Callable[[Any, Any, Values, int, float], Any]


def torch_adam(
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, decay: float = 0.0
) -> Rule:
    def rule(w: Any, g: Any, memory: Values, t: int, lr: float) -> Any:
        w = w * (1 - lr * decay)
        memory["m"] = betas[0] * memory.get("m", 0.0) + (1 - betas[0]) * g
        memory["v"] = betas[1] * memory.get("v", 0.0) + (1 - betas[1]) * g**2
        m = memory["m"] / (1 - betas[0] ** t)
        v = memory["v"] / (1 - betas[1] ** t)
        return w - lr * m / (np.sqrt(v) + eps)

    return rule


def torch_rmsprop(
    alpha: float = 0.99, eps: float = 1e-8, mu: float = 0.0, centered: bool = False
) -> Rule:
    def rule(w: Any, g: Any, memory: Values, t: int, lr: float) -> Any:
        memory["v"] = alpha * memory.get("v", 0.0) + (1 - alpha) * g**2
        v = memory["v"]
        if centered:
            memory["g"] = alpha * memory.get("g", 0.0) + (1 - alpha) * g
            v = v - memory["g"] ** 2
        memory["b"] = mu * memory.get("b", 0.0) + g / (np.sqrt(v) + eps)
        return w - lr * memory["b"]

    return rule


def oracle(
    rules: dict[str, Rule],
    lr: Callable[[int], float] = lambda t: 0.02,
    clip: float = math.inf,
) -> Values:
    p = start("float64")
    memory: dict[str, Values] = {name: {} for name in p}
    for t, x in enumerate(DATA, 1):
        found = gradients(p, x)
        norm = math.sqrt(sum(float(np.sum(g**2)) for g in found.values()))
        factor = min(1.0, clip / (norm + 1e-6))
        for name, rule in rules.items():
            p[name] = rule(p[name], found[name] * factor, memory[name], t, lr(t))
    return p


def both(rule: Rule) -> dict[str, Rule]:
    return {"a.weight": rule, "a.bias": rule}


def close(found: Values, expected: Values, tolerance: float) -> None:
    for name, value in expected.items():
        error = np.max(np.abs(found[name] - value)) / np.max(np.abs(value))
        assert error <= tolerance, (name, error)


CASES: dict[str, tuple[Callable[[float], Any], dict[str, Rule]]] = {
    "adam": (lambda lr: passes.adam(lr=lr), both(torch_adam())),
    "adam, other betas": (
        lambda lr: passes.adam(lr=lr, betas=(0.5, 0.75), eps=0.1),
        both(torch_adam((0.5, 0.75), 0.1)),
    ),
    "adamw decays weights and no biases": (
        lambda lr: passes.adamw(lr=lr, weight_decay=0.3),
        {"a.weight": torch_adam(decay=0.3), "a.bias": torch_adam()},
    ),
    "adamw, biases too": (
        lambda lr: passes.adamw(lr=lr, roles=("weight", "bias")),
        both(torch_adam(decay=0.01)),
    ),
    "rmsprop": (lambda lr: passes.rmsprop(lr=lr), both(torch_rmsprop())),
    "rmsprop, centered with momentum": (
        lambda lr: passes.rmsprop(lr=lr, alpha=0.9, eps=1e-3, momentum=0.9, centered=True),
        both(torch_rmsprop(0.9, 1e-3, 0.9, True)),
    ),
}


# At the larger rate fifty float32 steps end 2e-6 away from the float64 ones.
@pytest.mark.parametrize(
    ("dtype", "lr", "tolerance"), [("float32", 0.001, 1e-6), ("float64", 0.02, 1e-13)]
)
@pytest.mark.parametrize("name", CASES)
def test_fifty_steps_follow_pytorchs_rule(
    name: str, dtype: str, lr: float, tolerance: float
) -> None:
    optimizer, rules = CASES[name]
    graph = problem(dtype).apply(passes.backward(), optimizer(lr))
    assert gx.parse(str(graph)) == graph
    close(train(graph, dtype), oracle(rules, lambda t: lr), tolerance)


@pytest.mark.parametrize("name", ["adamw, biases too", "rmsprop, centered with momentum"])
def test_the_compiled_step_does_the_same(name: str) -> None:
    optimizer, rules = CASES[name]
    step = gx.compile(problem("float32").apply(passes.backward(), optimizer(0.001)))
    variables = step.init(seed=0) | start("float32")
    for x in DATA.astype(np.float32):
        step(variables, x=x)
    close(variables, oracle(rules, lambda t: 0.001), 1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_the_rate_as_an_input_and_per_path(optimizer: str) -> None:
    make = getattr(passes, optimizer)
    graph = problem("float64").apply(
        passes.backward(), make(lr="rate", lr_scale={"*.bias": 3, "a.w*": 1})
    )
    plain: Rule = torch_rmsprop() if optimizer == "rmsprop" else torch_adam()
    decay = 0.01 if optimizer == "adamw" else 0.0
    weight = plain if optimizer == "rmsprop" else torch_adam(decay=decay)
    rules: dict[str, Rule] = {
        "a.weight": weight,
        "a.bias": lambda w, g, memory, t, lr: plain(w, g, memory, t, 3 * lr),
    }
    close(train(graph, "float64", rate=0.03125), oracle(rules, lambda t: 0.03125), 1e-13)


def test_the_biases_correction_counts_the_optimizers_own_steps() -> None:
    graph = problem("float64").apply(passes.backward(), passes.adam(lr=0.02))
    assert "step" not in graph.states
    assert list(graph.updates) == sorted(
        ["a.bias", "a.weight", "adam/step"]
        + [f"adam/a.{name}/{what}" for name in ("bias", "weight") for what in ("mean", "square")]
    )
    assert int(train(graph, "float64")["adam/step"]) == STEPS


def test_two_optimizers_share_a_graph_and_one_count() -> None:
    graph = problem("float64").apply(
        passes.backward(wrt="a.weight"),
        passes.adam(lr=0.02),
        passes.backward(wrt="a.bias"),
        passes.adam(lr=0.02),
    )
    assert [name for name in graph.states if name.endswith("/step")] == ["adam/step"]
    close(train(graph, "float64"), oracle(both(torch_adam())), 1e-13)
    mixed = problem("float64").apply(
        passes.backward(wrt="a.weight"),
        passes.adamw(lr=0.02, weight_decay=0),
        passes.backward(wrt="a.bias"),
        passes.rmsprop(lr=0.02),
    )
    rules = {"a.weight": torch_adam(), "a.bias": torch_rmsprop()}
    close(train(mixed, "float64"), oracle(rules), 1e-13)


def test_adamw_decays_the_paths_that_where_names() -> None:
    v, w = gx.parameter("v", ()), gx.parameter("w", ())
    graph = gx.Graph({"loss": v + w}).apply(passes.backward())
    step = graph.apply(passes.adamw(lr=0.5, weight_decay=0.5, where="w"))
    values = {n: np.zeros((), leaf.dtype) for n, leaf in step.states.items()}
    ones = {"v": np.ones((), np.float32), "w": np.ones((), np.float32)}
    _, new = gx.interpret(step, values | ones, updates=True)
    assert [float(new[name]) for name in ("v", "w")] == pytest.approx([0.5, 0.25], rel=1e-6)
    with pytest.raises(gx.GraphError, match="names none of"):
        graph.apply(passes.adamw(where="u"))


# -- printed -------------------------------------------------------------------------------------


def printed(*after: Any) -> str:
    w = gx.parameter("w", ())
    before = gx.Graph({"loss": gx.square(w)}).apply(passes.backward())
    assert "return loss=%square, grad/w=%mul_1" in before.text()
    return before.apply(*after).text()


def test_rmsprop_printed() -> None:
    assert printed(passes.rmsprop(lr="lr", alpha=0.5)) == (
        "graphc 1\n"
        "graph (lr: f32[]) {\n"
        '  %w = parameter f32[] role="weight" init="zeros"\n'
        "  %square: f32[] = square(%w)\n"
        '  %rmsprop/w/square = state f32[] init="zeros"\n'
        "  %constant: f32[] = constant() value=0.5\n"
        "  %mul: f32[] = mul(%rmsprop/w/square, %constant)\n"
        "  %constant_1: f32[] = constant() value=1.0\n"
        "  %constant_2: f32[] = constant() value=2.0\n"
        "  %mul_1: f32[] = mul(%w, %constant_2)\n"
        "  %mul_2: f32[] = mul(%constant_1, %mul_1)\n"
        "  %square_1: f32[] = square(%mul_2)\n"
        "  %mul_3: f32[] = mul(%square_1, %constant)\n"
        "  %add: f32[] = add(%mul, %mul_3)\n"
        "  %sqrt: f32[] = sqrt(%add)\n"
        "  %constant_3: f32[] = constant() value=1e-08\n"
        "  %add_1: f32[] = add(%sqrt, %constant_3)\n"
        "  %div: f32[] = div(%mul_2, %add_1)\n"
        "  %mul_4: f32[] = mul(%lr, %div)\n"
        "  %sub: f32[] = sub(%w, %mul_4)\n"
        "  return loss=%square\n"
        "  update %rmsprop/w/square = %add\n"
        "  update %w = %sub\n"
        "}"
    )


def test_adam_printed() -> None:
    assert printed(passes.adam(lr=0.5)) == (
        "graphc 1\n"
        "graph () {\n"
        '  %w = parameter f32[] role="weight" init="zeros"\n'
        "  %square: f32[] = square(%w)\n"
        '  %adam/step = state i64[] init="zeros"\n'
        "  %constant: i64[] = constant() value=1\n"
        "  %add: i64[] = add(%adam/step, %constant)\n"
        '  %adam/w/mean = state f32[] init="zeros"\n'
        "  %constant_1: f32[] = constant() value=0.9\n"
        "  %mul: f32[] = mul(%adam/w/mean, %constant_1)\n"
        "  %constant_2: f32[] = constant() value=1.0\n"
        "  %constant_3: f32[] = constant() value=2.0\n"
        "  %mul_1: f32[] = mul(%w, %constant_3)\n"
        "  %mul_2: f32[] = mul(%constant_2, %mul_1)\n"
        "  %constant_4: f32[] = constant() value=0.1\n"
        "  %mul_3: f32[] = mul(%mul_2, %constant_4)\n"
        "  %add_1: f32[] = add(%mul, %mul_3)\n"
        '  %adam/w/square = state f32[] init="zeros"\n'
        "  %constant_5: f32[] = constant() value=0.999\n"
        "  %mul_4: f32[] = mul(%adam/w/square, %constant_5)\n"
        "  %square_1: f32[] = square(%mul_2)\n"
        "  %constant_6: f32[] = constant() value=0.001\n"
        "  %mul_5: f32[] = mul(%square_1, %constant_6)\n"
        "  %add_2: f32[] = add(%mul_4, %mul_5)\n"
        "  %constant_7: f32[] = constant() value=0.5\n"
        "  %constant_8: f64[] = constant() value=1.0\n"
        "  %constant_9: f64[] = constant() value=0.9\n"
        '  %cast: f64[] = cast(%add) dtype="float64"\n'
        "  %pow: f64[] = pow(%constant_9, %cast)\n"
        "  %sub: f64[] = sub(%constant_8, %pow)\n"
        "  %cast_1: f32[] = cast(%sub)\n"
        "  %div: f32[] = div(%add_1, %cast_1)\n"
        "  %sqrt: f32[] = sqrt(%add_2)\n"
        "  %constant_10: f64[] = constant() value=0.999\n"
        "  %pow_1: f64[] = pow(%constant_10, %cast)\n"
        "  %sub_1: f64[] = sub(%constant_8, %pow_1)\n"
        "  %sqrt_1: f64[] = sqrt(%sub_1)\n"
        "  %cast_2: f32[] = cast(%sqrt_1)\n"
        "  %div_1: f32[] = div(%sqrt, %cast_2)\n"
        "  %constant_11: f32[] = constant() value=1e-08\n"
        "  %add_3: f32[] = add(%div_1, %constant_11)\n"
        "  %div_2: f32[] = div(%div, %add_3)\n"
        "  %mul_6: f32[] = mul(%constant_7, %div_2)\n"
        "  %sub_2: f32[] = sub(%w, %mul_6)\n"
        "  return loss=%square\n"
        "  update %adam/step = %add\n"
        "  update %adam/w/mean = %add_1\n"
        "  update %adam/w/square = %add_2\n"
        "  update %w = %sub_2\n"
        "}"
    )


def test_clip_gradients_printed() -> None:
    text = printed(passes.clip_gradients(2))
    assert text.endswith(
        "  %square_1: f32[] = square(%mul_1)\n"
        "  %sqrt: f32[] = sqrt(%square_1)\n"
        "  %constant_2: f32[] = constant() value=1e-06\n"
        "  %add: f32[] = add(%sqrt, %constant_2)\n"
        "  %div: f32[] = div(%constant_1, %add)\n"
        "  %minimum: f32[] = minimum(%div, %constant)\n"
        "  %mul_2: f32[] = mul(%mul_1, %minimum)\n"
        "  return loss=%square, grad/w=%mul_2\n"
        "}"
    )


# -- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [0.05, 1e6])
def test_clipped_steps_follow_pytorchs_rule(norm: float) -> None:
    graph = problem("float64").apply(
        passes.backward(), passes.clip_gradients(norm), passes.adamw(lr=0.02)
    )
    rules = {"a.weight": torch_adam(decay=0.01), "a.bias": torch_adam()}
    close(train(graph, "float64"), oracle(rules, clip=norm), 1e-13)


def test_a_norm_of_zero_and_gradients_of_inputs() -> None:
    x, w = gx.input("x", ()), gx.parameter("w", (2,), dtype="float32")
    before = gx.Graph({"loss": gx.sum(w) * x}).apply(passes.backward(wrt=["w", "x"]))
    after = before.apply(passes.clip_gradients(1))
    assert after.outputs["grad/x"] is before.outputs["grad/x"]
    found = gx.interpret(after, {"w": np.ones(2, np.float32)}, x=0.0)
    assert found["grad/w"].tolist() == [0.0, 0.0]


# -- schedules -----------------------------------------------------------------------------------


def rates(lr: gx.Node, count: int) -> list[float]:
    graph = gx.Graph({"lr": lr})
    return [float(gx.interpret(graph, {"step": np.array(t)})["lr"]) for t in range(count)]


def test_schedules_are_their_formulas() -> None:
    found = rates(schedules.cosine(0.1, 20, start=5, final=0.1), 30)
    for t, rate in enumerate(found):
        done = min(max((t - 5) / 20, 0), 1)
        assert rate == pytest.approx(0.01 + 0.09 * (1 + math.cos(math.pi * done)) / 2, rel=1e-5)
    found = rates(schedules.step_decay(0.1, 7), 30)
    assert found == pytest.approx([0.1 * 0.1 ** (t // 7) for t in range(30)], rel=1e-6)
    found = rates(schedules.warmup(schedules.step_decay(0.1, 7, 0.5), 10), 30)
    expected = [0.1 * 0.5 ** (t // 7) * min(1, (t + 1) / 10) for t in range(30)]
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_schedule_as_the_rate_of_training() -> None:
    lr = schedules.warmup(schedules.cosine(0.02, STEPS), 10)
    graph = problem("float64").apply(passes.backward(), passes.adam(lr=lr))

    def rate(t: int) -> float:
        return 0.01 * (1 + math.cos(math.pi * (t - 1) / STEPS)) * min(1, t / 10)

    found = train(graph, "float64")
    assert int(found["step"]) == STEPS
    close(found, oracle(both(torch_adam()), rate), 1e-6)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (passes.adam, {"lr": -1}, "at least 0"),
        (passes.adam, {"betas": (0.9, 1.0)}, "never takes anything in"),
        (passes.adam, {"betas": 0.9}, "two numbers"),
        (passes.adam, {"betas": (0.9, -0.1)}, "from 0 to 1"),
        (passes.adam, {"eps": -1}, "at least 0"),
        (passes.adamw, {"weight_decay": -1}, "at least 0"),
        (passes.adamw, {"roles": ("weights",)}, "did you mean 'weight'"),
        (passes.rmsprop, {"alpha": 2}, "from 0 to 1"),
        (passes.rmsprop, {"momentum": float("nan")}, "from 0 to 1"),
        (passes.rmsprop, {"lr_scale": {"*": "x"}}, "at least 0"),
        (passes.clip_gradients, {"norm": 0}, "positive norm"),
        (passes.clip_gradients, {"norm": math.inf}, "at least 0"),
        (schedules.cosine, {"lr": 0.1, "steps": 0}, "at least 1"),
        (schedules.cosine, {"lr": 0.1, "steps": 5, "final": 2}, "from 0 to 1"),
        (schedules.step_decay, {"lr": "lr", "every": 3}, "not a name"),
        (schedules.warmup, {"lr": -0.1, "steps": 3}, "at least 0"),
    ],
)
def test_bad_options_are_refused_at_once(function: Any, options: Values, message: str) -> None:
    with pytest.raises(gx.GraphError, match=message):
        function(**options)


@pytest.mark.parametrize("make", [passes.adam, passes.adamw, passes.rmsprop])
def test_bad_graphs_are_refused(make: Any) -> None:
    graph = problem("float32")
    with pytest.raises(gx.GraphError, match=r"run passes\.backward\(\)"):
        graph.apply(make())
    with pytest.raises(gx.GraphError, match="another optimizer"):
        graph.apply(passes.backward(), passes.sgd(lr=0.1, keep_gradients=True), make())
    with pytest.raises(gx.GraphError, match=r"clip_gradients found no outputs grad/"):
        graph.apply(passes.clip_gradients(1))
