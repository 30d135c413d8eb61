"""Updates read old values and take effect together, after the outputs: as gx.interpret has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx

SHAPE = (2, 3)


def leaves() -> tuple[gx.Node, gx.Node, gx.Node, gx.Node]:
    x = gx.input("x", SHAPE)
    a, b, c = (gx.state(name, SHAPE, init="normal") for name in "abc")
    return x, a, b, c


def swap() -> gx.Graph:
    x, a, b, _ = leaves()
    return gx.Graph({"y": x + a}, updates={a: b, b: a})


def ring_of_three() -> gx.Graph:
    x, a, b, c = leaves()
    return gx.Graph({"y": x}, updates={a: b, b: c, c: a})


def swap_of_computed_values() -> gx.Graph:
    x, a, b, _ = leaves()
    return gx.Graph({"y": x * a}, updates={a: b + x, b: a * 2})


def one_reads_the_other() -> gx.Graph:
    x, a, b, _ = leaves()
    return gx.Graph({"y": x}, updates={a: a + x, b: a * b})


def names_against_dependencies() -> gx.Graph:
    """b's update reads a, a's reads what b becomes."""
    x, a, b, c = leaves()
    new = b - 0.5 * x
    return gx.Graph({"y": a + b + c}, updates={a: a - new, b: new, c: gx.tanh(a) + new})


def state_that_is_an_output() -> gx.Graph:
    x, a, _, _ = leaves()
    return gx.Graph({"before": a, "y": x}, updates={a: a + x})


def new_value_that_is_an_output() -> gx.Graph:
    x, a, _, _ = leaves()
    new = a + x
    return gx.Graph({"after": new, "before": a * 1.0}, updates={a: new})


def state_read_after_its_update_in_order() -> gx.Graph:
    x, a, b, _ = leaves()
    new = a * x
    return gx.Graph({"y": gx.exp(new) + a}, updates={a: new, b: b + a})


def one_value_for_two() -> gx.Graph:
    x, a, b, _ = leaves()
    new = a + b + x
    return gx.Graph({"y": x}, updates={a: new, b: new})


def to_an_input() -> gx.Graph:
    x, a, b, _ = leaves()
    return gx.Graph({"y": a + b}, updates={a: x, b: x})


def to_a_constant() -> gx.Graph:
    x, a, b, _ = leaves()
    new = gx.constant(np.arange(6, dtype=np.float32).reshape(SHAPE))
    return gx.Graph({"y": x + a, "constant": new}, updates={a: new, b: b + new})


def to_itself() -> gx.Graph:
    x, a, b, _ = leaves()
    return gx.Graph({"y": x + a}, updates={a: a, b: b + 1})


def through_a_reshape() -> gx.Graph:
    x, a, b, _ = leaves()
    return gx.Graph(
        {"flat": gx.reshape(a, (6,)), "y": x}, updates={a: gx.reshape(gx.reshape(b, (6,)), SHAPE)}
    )


def swap_through_reshapes() -> gx.Graph:
    x, a, b, _ = leaves()
    turn = lambda v: gx.reshape(gx.reshape(v, (6,)), SHAPE)  # noqa: E731
    return gx.Graph({"y": x}, updates={a: turn(b), b: turn(a)})


def reversed_in_place() -> gx.Graph:
    x, a, b, _ = leaves()
    return gx.Graph(
        {"y": x}, updates={a: a[::-1, ::-1], b: gx.transpose(gx.transpose(b, (1, 0)), (1, 0))}
    )


def transposed() -> gx.Graph:
    a = gx.state("a", (3, 3), init="normal")
    return gx.Graph({"y": a * 2}, updates={a: gx.transpose(a, (1, 0)) + a})


def shifted() -> gx.Graph:
    a = gx.state("a", (5,), init="normal")
    return gx.Graph({"y": a * 2}, updates={a: gx.concat([a[1:], a[:1]], 0)})


def product_with_itself() -> gx.Graph:
    a = gx.state("a", (3, 3), init="normal")
    return gx.Graph({"y": gx.sum(a)}, updates={a: gx.matmul(a, a)})


def normalized() -> gx.Graph:
    x, a, _, _ = leaves()
    return gx.Graph(
        {"y": x},
        updates={
            a: gx.softmax(a, 1),
        },
    )


def chosen() -> gx.Graph:
    x, a, b, _ = leaves()
    return gx.Graph({"y": x}, updates={a: gx.where(a > x, a, b), b: gx.where(x > 0, b, a)})


def parameters_too() -> gx.Graph:
    x = gx.input("x", SHAPE)
    w = gx.parameter("w", SHAPE, init="normal")
    v = gx.parameter("a", SHAPE, init="normal")
    return gx.Graph({"w": w, "y": w * x}, updates={w: w - v * x, v: v + w})


def scalars() -> gx.Graph:
    x = gx.input("x", SHAPE)
    count = gx.state("count", (), dtype="int64")
    total = gx.state("total", ())
    return gx.Graph({"mean": total}, updates={count: count + 1, total: total + gx.sum(x)})


NETS: list[Callable[[], gx.Graph]] = [
    swap, ring_of_three, swap_of_computed_values, one_reads_the_other, names_against_dependencies,
    state_that_is_an_output, new_value_that_is_an_output, state_read_after_its_update_in_order,
    one_value_for_two, to_an_input, to_a_constant, to_itself, through_a_reshape,
    swap_through_reshapes, reversed_in_place, transposed, shifted, product_with_itself, normalized,
    chosen, parameters_too, scalars,
]  # fmt: skip


@pytest.mark.parametrize("net", NETS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("options", [{}, {"poison": True}, {"reuse_outputs": True}], ids=str)
def test_three_steps_as_the_interpreter_takes_them(
    net: Callable[[], gx.Graph], options: dict[str, Any]
) -> None:
    graph = net()
    program = gx.compile(graph, **options)
    variables = program.init(seed=3)
    expected = {name: array.copy() for name, array in variables.items()}
    rng = np.random.default_rng(0)
    for _ in range(3):
        given = {"x": rng.standard_normal(SHAPE, dtype=np.float32)} if graph.inputs else {}
        outputs, expected = gx.interpret(graph, expected, updates=True, inputs=given)
        same = dict(variables)
        found = program(variables, given)
        assert found.keys() == outputs.keys()
        for name, array in outputs.items():
            np.testing.assert_allclose(found[name], array, rtol=2e-6, atol=1e-6, err_msg=name)
        for name, array in expected.items():
            assert variables[name] is same[name]
            np.testing.assert_allclose(variables[name], array, rtol=2e-6, atol=1e-6, err_msg=name)


def test_the_interpreter_takes_its_arguments_by_name_too() -> None:
    x = gx.input("x", (2,))
    graph = gx.Graph({"y": x * 2})
    assert gx.interpret(graph=graph, variables={}, x=[1.0, 2.0])["y"].tolist() == [2.0, 4.0]


def test_an_updated_array_inside_a_longer_one_is_found() -> None:
    a, b, c = gx.parameter("a", (9,)), gx.parameter("b", (2,)), gx.parameter("c", (2,))
    graph = gx.Graph({"y": gx.sum(a) + gx.sum(b)}, updates={c: c * 2})
    program, memory = gx.compile(graph), np.ones(13, np.float32)
    # Read-only arrays may lie in each other; b stands between a and c in memory.
    with pytest.raises(gx.GraphError, match="'a' and 'c' share memory"):
        program({"a": memory[:9], "b": memory[2:4], "c": memory[6:8]})
    side_by_side = {"a": memory[:9], "b": memory[2:4], "c": memory[9:11]}
    assert program(side_by_side)["y"] == 11
    assert memory.tolist() == [1.0] * 9 + [2.0, 2.0, 1.0, 1.0]
