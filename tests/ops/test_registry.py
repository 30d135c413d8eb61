"""Every op of the registry is complete, is tested by a row, and takes anything a file may say."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest

import graphc as gx
from graphc.ir import attrs
from graphc.ir.check import Check
from graphc.ir.graph import post_order
from graphc.ir.kernel import Lowering
from graphc.ir.leaves import Leaf
from graphc.ir.op import OPS, Cost, Op
from graphc.ir.types import TensorType
from graphc.ir.window import Moved, Receptive
from tests.ops.harness import all_cases

RULES = ("infer", "evaluate", "grad", "lower", "receptive", "cost")
# Leaves are given a value, they compute none: they infer nothing and need no row.
LEAVES = {"input", "parameter", "state", "stream"}
NAMES = sorted(set(OPS) - LEAVES)


@cache
def nodes() -> dict[str, list[gx.Node]]:
    """The nodes of every row's forward graph, and of its first gradients, by op."""
    found: dict[str, dict[gx.Node, None]] = {}
    for built in all_cases():
        for node in [*built.forward.nodes, *built.whole.nodes]:
            found.setdefault(node.op.name, {}).setdefault(node)
    return {name: list(group) for name, group in found.items()}


def test_leaves_are_leaves() -> None:
    assert {name for name, cls in OPS.items() if issubclass(cls, Leaf)} == LEAVES


@pytest.mark.parametrize("name", NAMES)
def test_has_every_rule(name: str) -> None:
    cls = OPS[name]
    missing = [rule for rule in RULES if getattr(cls, rule) is getattr(Op, rule)]
    assert not missing, f"{name} lacks {missing}"
    assert cls.law, f"{name} says nothing of what it computes"
    assert cls.__doc__, f"{name} is not described"
    assert cls.tracks == (cls.update is not Op.update)
    attributes = {field.name for field in dataclasses.fields(cls)}
    assert attributes.isdisjoint({"stream", "name", "operands"}), "words of the printed IR"


@pytest.mark.parametrize("name", NAMES)
def test_has_a_row(name: str) -> None:
    """The op itself stands in a row's forward graph: its gradient is compared there too."""
    assert any(name == node.op.name for built in all_cases() for node in built.forward.nodes)


@pytest.mark.parametrize("name", NAMES)
def test_names_its_operands(name: str) -> None:
    for node in nodes()[name][:5]:
        labels = [node.op.operand(i) for i in range(len(node.inputs))]
        assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", NAMES)
def test_costs_and_windows(name: str) -> None:
    sizes = {"N": 2, "M": 3, "H": 9, "W": 8, "T": 2}
    for node in nodes()[name]:
        cost = node.op.cost(node, sizes)
        assert type(cost) is Cost
        assert isinstance(cost.flops, int)
        assert cost.flops >= 0
        assert cost.bytes >= 0
        windows = node.op.receptive(node)
        assert len(windows) == len(node.inputs)
        for source, window in zip(node.inputs, windows, strict=True):
            assert isinstance(window, get_args(Receptive))
            if isinstance(window, Moved):
                assert sorted(window.axes) == list(range(source.ndim))


@pytest.mark.parametrize("name", NAMES)
def test_lowers_to_its_own_buffer(name: str) -> None:
    for node in nodes()[name][:5]:
        low = Lowering(lambda stream: "path")
        low.begin(node)
        node.op.lower(low, node)
        assert low.steps
        assert all(step.node is node for step in low.steps)
        assert all(str(step) for step in low.steps)


# -- hostile files --------------------------------------------------------------------------------

N = gx.Dim.named("N")
INTS: list[Any] = [-(2**63), -1, 0, 1, 2, 7, 2**31, 2**40, 10**30]
ATOMS: list[Any] = [
    *INTS, True, None, 0.0, -0.0, -1.5, 1.5, 1e308, float("inf"), float("nan"), "", "same", "x",
    N, N - 3, 2 - N, N * N, np.dtype("float16"), np.dtype("bool"), np.dtype("int64"),
]  # fmt: skip
LISTS = [(), *((a,) for a in (*INTS, N, N - 3)), *itertools.product((-1, 0, 1, 2**40), repeat=2)]
LISTS += [(0, 1, 2, 3), (1, 1, 1, 1), (1,) * 9, (N, 2, 3), ((1, 2), (3, -4)), ((N,),)]


def hostile(op: Op) -> Iterator[Op]:
    """The op with one attribute replaced by another value of its declared type."""
    hints = attrs.hints(type(op))
    for field in dataclasses.fields(op):
        for value in [*ATOMS, *LISTS]:
            if attrs.fits(value, hints[field.name]):
                with contextlib.suppress(gx.GraphError):  # refused before it is an op
                    yield dataclasses.replace(op, **{field.name: value})


def outcome(op: Op, inputs: tuple[gx.Node, ...]) -> TensorType | None:
    """The inferred type; None for an error of graphc. Nothing else may come out."""
    try:
        type_ = op.infer(Check(op, inputs), *inputs)
    except gx.GraphError:
        return None
    assert isinstance(type_, TensorType)
    assert all(isinstance(size, (int, gx.Dim)) for size in type_.shape)
    assert all(size >= 1 for size in type_.shape if isinstance(size, int))
    return type_


@pytest.mark.parametrize("name", NAMES)
def test_any_attribute_is_inferred_or_refused(name: str) -> None:
    distinct = {(node.op.key(), tuple(i.type for i in node.inputs)): node for node in nodes()[name]}
    for node in list(distinct.values())[:4]:
        assert outcome(node.op, node.inputs) == node.type
        for op in hostile(node.op):
            outcome(op, node.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_any_operands_are_inferred_or_refused(name: str) -> None:
    given = [
        gx.input("a", ()),
        gx.input("b", (3,)),
        gx.input("c", ("N", 3), dtype="int64"),
        gx.input("d", ("N",), dtype="bool"),
        gx.input("e", (1, 2, "H", 4), dtype="float16"),
        gx.input("f", ("N", 3)),
    ]
    op = nodes()[name][0].op
    for count in range(4):
        for inputs in itertools.product(given, repeat=count):
            outcome(op, inputs)


def test_no_row_makes_a_node_that_is_never_reached() -> None:
    """Rows name every operand: an input that the graph does not hold would not be tested."""
    for built in all_cases():
        held = set(post_order([built.y]))
        assert all(node in held for node in built.inputs), built.row.name
