"""Odd kernels, compiled for NumPy, against the interpreter: values and two orders of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import passes

Build = Callable[..., gx.Node]
CASES: dict[str, tuple[list[Any], Build]] = {}  # name -> shapes of the inputs, what they become


def case(name: str, shapes: Iterable[Any], build: Build) -> None:
    CASES[name] = list(shapes), build


# Convolution: (image, filter, options).
for number, (image, kernel, options) in enumerate(
    [
        ((2, 4, 7, 6), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
        ((2, 4, 7, 6), (4, 1, 3, 2), {"groups": 4, "stride": 2}),
        ((2, 4, 7, 6), (8, 1, 1, 1), {"groups": 4}),
        ((1, 3, 9, 9), (2, 3, 3, 3), {"dilation": 2, "padding": 2}),
        ((1, 3, 9, 9), (2, 3, 2, 2), {"dilation": (3, 1), "stride": (2, 3)}),
        ((2, 2, 6, 7), (3, 2, 3, 3), {"padding": ((0, 2), (1, 0)), "stride": 2}),
        ((2, 2, 6, 7), (3, 2, 3, 3), {"padding": "same", "stride": 2}),
        ((2, 2, 5, 5), (3, 2, 5, 5), {}),
        ((1, 1, 1, 1), (1, 1, 1, 1), {}),
        ((1, 1, 1, 1), (1, 1, 3, 3), {"padding": 1}),
        ((2, 1, 1, 2), (1, 1, 5, 3), {"padding": 2, "dilation": (1, 2)}),
        ((1, 2, 2, 1), (2, 1, 3, 3), {"padding": 2, "stride": 2, "groups": 2}),
        (("N", 1, 1, 1), (2, 1, 4, 2), {"padding": ((1, 2), (0, 1))}),
        ((1, 2, 1, 5), (2, 2, 1, 2), {"padding": (0, 1), "stride": (1, 2)}),
        ((3, 1, 5, 1), (2, 1, 2, 1), {"stride": 3, "padding": (1, 0)}),
        ((2, 4, 5, 5), (4, 2, 1, 1), {"groups": 2, "stride": 2, "padding": 1}),
        (("N", 2, 5, 6), (3, 2, 3, 3), {"padding": 1}),
        (("N", 2, "H", "W"), (3, 2, 3, 3), {"padding": 1}),
        (("N", 2, "H", 6), (2, 1, 3, 2), {"groups": 2, "stride": 2}),
    ]
):
    case(f"conv-{number}", (image, kernel), lambda x, w, o=options: gx.conv2d(x, w, **o))
    if number < 8:
        case(
            f"convolve-{number}", (image, kernel), lambda x, w, o=options: gx.convolve2d(x, w, **o)
        )

for number, (image, options) in enumerate(
    [
        ((2, 2, 6, 7), {"kernel": 3, "stride": 1}),
        ((2, 2, 6, 7), {"kernel": 3, "stride": 2, "padding": 1}),
        ((2, 2, 7, 7), {"kernel": (2, 3), "stride": (3, 1), "padding": ((1, 0), (0, 2))}),
        ((1, 1, 5, 5), {"kernel": 5}),
        ((1, 1, 1, 1), {"kernel": 1}),
        ((1, 1, 1, 3), {"kernel": (1, 2), "stride": 1}),
        ((2, 1, 4, 4), {"kernel": 1, "stride": 2}),
        (("N", 2, "H", "W"), {"kernel": 2}),
        (("N", 1, 5, "W"), {"kernel": 3, "stride": 2, "padding": "same"}),
    ]
):
    case(f"max-{number}", (image,), lambda x, o=options: gx.max_pool2d(x, **o))
    case(f"avg-{number}", (image,), lambda x, o=options: gx.avg_pool2d(x, **o))

# Products whose operands are views.
case(
    "matmul-transposed",
    ((3, 4), (5, 3)),
    lambda a, b: gx.matmul(gx.transpose(a, (1, 0)), gx.transpose(b, (1, 0))),
)
case("matmul-batched", ((2, 3, 4), (2, 4, 5)), gx.matmul)
case("matmul-broadcast", ((2, 1, 3, 4), (5, 4, 2)), gx.matmul)
case(
    "matmul-inner-batch",
    ((3, 2, 4), (4, 2, 5)),
    lambda a, b: gx.matmul(gx.transpose(a, (1, 0, 2)), gx.transpose(b, (1, 0, 2))),
)
case("matmul-of-slices", ((4, 6), (6, 4)), lambda a, b: gx.matmul(a[::2, 1:4], b[::-2, ::-1]))
case("matmul-of-reshape", ((2, 3, 4), (12, 2)), lambda a, b: gx.matmul(gx.reshape(a, (2, 12)), b))
case(
    "matmul-of-heads",
    ((2, 6, 4), (2, 6, 4)),
    lambda a, b: gx.matmul(
        gx.transpose(gx.reshape(a, (2, 6, 2, 2)), (0, 2, 1, 3)),
        gx.transpose(gx.reshape(b, (2, 6, 2, 2)), (0, 2, 3, 1)),
    ),
)
case("matmul-ones", ((1, 1), (1, 1)), gx.matmul)
case("matmul-row", ((1, 5), (5, 1)), gx.matmul)
case("matmul-column", (("N", 1), (1, 4)), gx.matmul)
case("matmul-picked", ((3, 2, 4), (4, 3)), lambda a, b: gx.matmul(a[:, 1], b))
case("linear", (("N", 3, 4), (5, 4)), gx.linear)

# Moving elements.
case("slice-back", ((7, 5),), lambda x: x[::-2, 3:0:-1])
case("slice-to-the-start", ((7,),), lambda x: x[4::-2])
case("slice-of-slice", ((9, 4),), lambda x: x[1:8][::-3][:, ::2])
case("slice-pick", ((3, 4, 5),), lambda x: x[1][:, 2])
case("concat", ((2, 3), (2, 1), (2, 2)), lambda a, b, c: gx.concat([a, b, c, a], 1))
case("concat-of-slices", ((4, 3), (5, 3)), lambda a, b: gx.concat([a[::-1], b[1:4], a[:1]], 0))
case(
    "concat-of-transposes",
    ((2, 3), (3, 4)),
    lambda a, b: gx.concat([gx.transpose(a, (1, 0)), b], 1),
)
case("concat-symbolic", (("N", 2), ("M", 2)), lambda a, b: gx.tanh(gx.concat([a, b], 0)))
case("pad", ((3, 4),), lambda x: gx.pad(x, ((1, 0), (2, 3))))
case("pad-of-a-view", ((3, 4),), lambda x: gx.pad(gx.transpose(x, (1, 0))[::-1], ((1, 0), (2, 3))))
case("pad-symbolic", (("N", "W"),), lambda x: gx.pad(x, ((0, 0), (1, 2))) * 2)
case("transpose", ((2, 3, 4, 5),), lambda x: gx.transpose(x, (3, 1, 0, 2)))
case("reshape", (("N", 6),), lambda x: gx.reshape(gx.reshape(x, ("N", 2, 3)), ("2*N", 3)))
case("reshape-of-transpose", ((4, 6),), lambda x: gx.reshape(gx.transpose(x, (1, 0)), (3, 8)))

# Broadcasting.
case("broadcast-both", ((3, 1), (1, 4)), lambda a, b: a * b + a)
case("broadcast-ranks", ((4,), (2, 3, 4)), lambda a, b: gx.maximum(a, b))
case("broadcast-scalar", ((), (2, 3)), lambda a, b: a / (b * b + 1.0))
case("broadcast-symbolic", (("N", 1, 3), (2, 1)), lambda a, b: a - b)
case("broadcast-ones", ((1, 1), (1, 1, 1)), lambda a, b: a * b)
case("where", ((3, 1), (1, 4), (3, 4)), lambda a, b, c: gx.where(a > b, b, c * a))
case("scalars", ((), ()), lambda a, b: gx.tanh(a * b) - a)

# Reductions over every subset of axes.
for rank in (1, 3):
    shape = ("N", 3, 4)[-rank:]
    for count in range(rank + 1):
        for axes in combinations(range(rank), count):
            for keep in (False, True):
                for op in (gx.sum, gx.mean, gx.max):
                    if not axes:
                        continue
                    case(
                        f"{op.__name__}-{rank}-{axes}-{keep}",
                        (shape,),
                        lambda x, f=op, a=axes, k=keep: f(x, a, keepdims=k),
                    )
case("sum-of-ones", ((1, 1, 1),), lambda x: gx.sum(x, (0, 2)))
case("sum-of-a-view", ((4, 5, 6),), lambda x: gx.sum(gx.transpose(x, (2, 0, 1))[::2], (0, 2)))
case("softmax", (("N", 5),), lambda x: gx.softmax(x, 1))
case("softmax-first", ((4, 3, 2),), lambda x: gx.log_softmax(x, 0))
case("softmax-one", ((3, 1),), lambda x: gx.softmax(x, 1))

SIZES = {"N": 3, "M": 2, "H": 5, "W": 6}


def arrays(graph: gx.Graph, sizes: dict[str, int], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(node.type.concrete(sizes)).astype(node.dtype)
        for name, node in graph.inputs.items()
    }


def compare(graph: gx.Graph, tolerance: float) -> None:
    """Compiled, every plan verified, dead memory poisoned, at sizes that grow and shrink."""
    program = gx.compile(graph, verify=True, poison=True)
    names = program.plan.capacity
    for grown in ({}, {"N": 7, "H": 8, "W": 9}, {"N": 1}):
        given = arrays(graph, {**SIZES, **grown})
        expected = gx.interpret(graph, {}, inputs=given)
        found = program({}, given)
        for name, array in expected.items():
            top = max(1.0, float(np.abs(array).max(initial=0)))
            error = np.abs(found[name].astype(np.float64) - array).max(initial=0) / top
            assert found[name].shape == array.shape
            assert error <= tolerance, f"{name} at {grown}: {error}"
        if not names:
            return


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float64"])
def test_values_and_two_orders_of_gradients(name: str, dtype: str) -> None:
    shapes, build = CASES[name]
    inputs = [gx.input(f"x{i}", shape, dtype=dtype) for i, shape in enumerate(shapes)]
    y = build(*inputs)
    names = [f"x{i}" for i in range(len(inputs))]
    loss = gx.Graph({"y": y, "loss": gx.sum(gx.sin(y) * y)})
    first = loss.apply(passes.backward(wrt=names))
    compare(first, 1e-11)
    grads = [gx.sum(gx.sin(first.outputs[f"grad/{n}"])) for n in names]
    total = grads[0]
    for grad in grads[1:]:
        total = total + grad
    reached = gx.Graph({"loss": total})
    second = reached.apply(passes.backward(wrt=[n for n in names if n in reached.inputs]))
    compare(second, 1e-10)


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith(("sum-", "mean-", "max-3"))])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-2)])
def test_narrow_floats(name: str, dtype: str, tolerance: float) -> None:
    shapes, build = CASES[name]
    inputs = [gx.input(f"x{i}", shape, dtype=dtype) for i, shape in enumerate(shapes)]
    y = build(*inputs)
    assert y.dtype == np.dtype(dtype)
    loss = gx.Graph({"y": y, "loss": gx.sum(y)})
    compare(loss.apply(passes.backward(wrt=list(loss.inputs))), tolerance)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool"])
def test_whole_numbers_are_exact(dtype: str) -> None:
    a = gx.input("a", ("N", 4), dtype=dtype)
    b = gx.input("b", ("N", 1), dtype=dtype)
    outputs = {
        "eq": gx.equal(a, b),
        "where": gx.where(gx.equal(a, b), a, b),
        "concat": gx.concat([a[::-1], b], 1),
        "turned": gx.transpose(a, (1, 0))[::-2],
        "cast": gx.cast(a, "float32") * 2.0,
        "padded": gx.pad(a, ((1, 1), (0, 2))),
    }
    if dtype != "bool":
        outputs |= {"sum": gx.sum(a, 0), "max": gx.max(a, 1), "mul": a * b + a, "gt": a > b}
    graph = gx.Graph(outputs)
    program = gx.compile(graph, poison=True)
    rng = np.random.default_rng(0)
    for n in (4, 2, 5):
        given = {
            "a": rng.integers(0, 3, (n, 4)).astype(dtype),
            "b": rng.integers(0, 3, (n, 1)).astype(dtype),
        }
        expected = gx.interpret(graph, {}, inputs=given)
        found = program({}, given)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array), name


def test_nothing_that_is_not_finite_is_made_of_what_is_masked() -> None:
    """A choice takes nothing from the branch not taken; padding meets NaN and infinity."""
    x = gx.input("x", (2, 2, 4, 4))
    w = gx.input("w", (1, 2, 3, 3))
    graph = gx.Graph(
        {
            "where": gx.where(x > 0, gx.log(x), 0.0),
            "pool": gx.max_pool2d(x, 3, 1, padding=1),
            "conv": gx.conv2d(x, w, padding=1),
            "pad": gx.pad(x, ((0, 0), (0, 0), (1, 1), (0, 1))),
        }
    )
    given = arrays(graph, {})
    given["x"][0, 0, 1, 1] = np.nan
    given["x"][1, 1, 0, 0] = np.inf
    given["x"][1, 0, 3, 3] = -np.inf
    expected, found = gx.interpret(graph, {}, inputs=given), gx.compile(graph)({}, given)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
