"""Whole training steps on the emulated device, against the same on NumPy: both exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as gx
from tests.backends.cupy.nets import batch, differences, lenet, mlp, residual

NETS: dict[str, tuple[Callable[[], gx.Graph], int]] = {
    "mlp": (mlp, 5),
    "residual": (residual, 4),
    "lenet-5": (lenet, 2),
}


@pytest.mark.parametrize("name", NETS)
def test_five_steps(name: str) -> None:
    make, n = NETS[name]
    graph = make()
    numpy = gx.compile(graph, backend="numpy", exact=True)
    device = gx.compile(graph, backend="emulated", exact=True, verify=True)
    left, right = numpy.init(seed=3), device.init(seed=3)
    for step in range(5):
        given = batch(graph, n, seed=step)
        expected, found = numpy(left, given), device(right, given)
        limit = 1e-5 if step == 0 else 1e-4
        assert abs(float(found["loss"]) / float(expected["loss"]) - 1) < limit
        if step == 0:
            assert max(differences(left, right).values()) < 1e-5
    assert max(differences(left, right).values()) < 1e-4


@pytest.mark.parametrize("options", [{"fused": False}, {"library": True}, {"capture": False}],
                         ids=str)  # fmt: skip
def test_every_way_to_run_gives_the_same(options: dict[str, bool]) -> None:
    graph = mlp()
    numpy = gx.compile(graph, backend="numpy")
    device = gx.compile(graph, backend="emulated", verify=True, **options)
    left, right = numpy.init(seed=3), device.init(seed=3)
    for step in range(4):
        given = batch(graph, 2, seed=step)
        numpy(left, given), device(right, given)
    assert max(differences(left, right).values()) < 1e-4


def test_steps_are_the_same_bits_each_time() -> None:
    graph = mlp()
    runs = []
    for capture in (True, False):
        device = gx.compile(graph, backend="emulated", capture=capture)
        variables = device.init(seed=3)
        for step in range(4):
            device(variables, batch(graph, 4, seed=step))
        runs.append({name: array.get().tobytes() for name, array in variables.items()})
    assert runs[0] == runs[1]


@pytest.mark.parametrize("shape", [(7, 3), (1,), (2, 3, 5, 1), (40, 33)])
def test_dropout_masks_are_numpys(shape: tuple[int, ...]) -> None:
    x = gx.input("x", ("N", *shape))
    other = gx.transpose(gx.dropout(x, retain=0.7), tuple(reversed(range(len(shape) + 1))))
    graph = gx.Graph({"mask": gx.dropout(x, retain=0.3), "turned": other})
    device = gx.compile(graph, backend="emulated")
    numpy = gx.compile(graph, backend="numpy")
    left, right = numpy.init(seed=2**63 + 11), device.init(seed=2**63 + 11)
    for n in (1, 3):
        ones = np.ones((n, *shape), np.float32)
        expected, found = numpy(left, x=ones), device(right, x=ones)
        for name, mask in expected.items():
            np.testing.assert_array_equal(found[name].get(), mask)
    assert int(right["step"]) == 2


def test_a_batch_may_grow_and_shrink() -> None:
    graph = mlp()
    numpy = gx.compile(graph, backend="numpy")
    device = gx.compile(graph, backend="emulated", verify=True)
    left, right = numpy.init(seed=3), device.init(seed=3)
    for n in (3, 50, 1, 50, 3):
        given = batch(graph, n, seed=n)
        numpy(left, given), device(right, given)
    assert max(differences(left, right).values()) < 1e-4


@pytest.mark.parametrize("others", [[], ["twice"], ["sums"], ["twice", "sums"]])
def test_random_numbers_that_are_an_output(others: list[str]) -> None:
    """They are made where they are read, and written where they are asked for."""
    u = gx.random_uniform(("N", 11))
    x = gx.input("x", ("N",))
    made = {"twice": u * 2.0, "sums": gx.sum(u, 1) + x}
    graph = gx.Graph({"u": u, "x": x + 1.0, **{name: made[name] for name in others}})
    device = gx.compile(graph, backend="emulated", verify=True, poison=True)
    numpy = gx.compile(graph)
    given = {"x": np.arange(5, dtype=np.float32)}
    expected, found = (p(p.init(seed=3), given) for p in (numpy, device))
    for name, array in expected.items():
        np.testing.assert_allclose(gx.to_numpy(found[name]), array, rtol=1e-6, err_msg=name)
    assert np.array_equal(gx.to_numpy(found["u"]), expected["u"])
