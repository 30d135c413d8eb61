"""One table drives the tests of every op: a row is a graphc function and the same in JAX.

For each row the tests of ``test_ops.py`` check the value, the first gradient (of a random
projection), the second (a projection of the first) and the compiled program. **Error** is
max|a - b| / max|oracle in float64|, per tensor: at most 1e-5 in float32, 1e-10 in float64.
"""

from __future__ import annotations

import contextlib
import importlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import graphc as gx
from graphc import passes

Array = np.ndarray[Any, np.dtype[Any]]
Sizes = Mapping[str, int]
LIMITS = {"float32": 1e-5, "float64": 1e-10}
SEED, STEP = 1234567890123, 5  # what random ops draw with


def variables(graph: gx.Graph) -> dict[str, Array]:
    """What every run starts from: a row has no parameters, at most states."""
    states = {name: np.zeros(s.type.concrete({}), s.dtype) for name, s in graph.states.items()}
    drawn = {"random/seed": np.array(SEED, np.uint64), "step": np.array(STEP, np.int64)}
    return states | drawn


@dataclass(frozen=True)
class Arg:
    """An operand: its shape ("N" is a symbolic size), its values, and its dtype (None: the row's).

    Values are uniform in [low, high]; ``step`` rounds them to its multiples, which makes ties.
    Floating ones are numbers of float32, so that the rows of every dtype have one oracle.
    """

    shape: tuple[int | str, ...]
    low: float = -1.0
    high: float = 1.0
    step: float | None = None
    dtype: str | None = None

    def array(self, rng: np.random.Generator, sizes: Sizes) -> Array:
        """Its values at these sizes: int64 for an integer (or bool) operand, else float64."""
        shape = [sizes[size] if isinstance(size, str) else size for size in self.shape]
        if self.dtype is not None and np.dtype(self.dtype).kind in "iub":
            return rng.integers(int(self.low), int(self.high) + 1, shape)
        values = rng.uniform(self.low, self.high, shape)
        if self.step is not None:
            values = np.round(values / self.step) * self.step
        return values.astype(np.float32).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Row:
    """``function(*nodes) -> node`` and ``oracle(*jax arrays) -> jax array``, which must agree.

    args: operands, a bare shape being ``Arg(shape)``. sizes: values of the symbolic sizes, all run
    through one graph; by default batch 1 and 7. grad, second: whether first and second derivatives
    (in the floating-point operands) exist to be compared.
    """

    name: str
    function: Callable[..., gx.Node]
    args: tuple[Arg | tuple[int | str, ...], ...]
    oracle: Callable[..., Any]
    dtypes: tuple[str, ...] = ("float32", "float64")
    sizes: tuple[Sizes, ...] = ({"N": 1}, {"N": 7})
    grad: bool = True
    second: bool = True

    @cached_property
    def samples(self) -> list[Sample]:
        """The oracle's operands and answers, at each of the sizes."""
        args = [arg if isinstance(arg, Arg) else Arg(arg) for arg in self.args]
        symbolic = any(isinstance(size, str) for arg in args for size in arg.shape)
        return [Sample(self, args, sizes) for sizes in (self.sizes if symbolic else ({},))]


class Sample:
    """What JAX says about a row at some sizes, in float64; computed when first asked for."""

    def __init__(self, row: Row, args: list[Arg], sizes: Sizes) -> None:
        self.row, self.args, self.sizes = row, args, sizes
        self.rng = np.random.default_rng(zlib.crc32(row.name.encode()))
        self.operands = [arg.array(self.rng, sizes) for arg in args]
        self.wrt = [i for i, operand in enumerate(self.operands) if operand.dtype.kind == "f"]
        self.floats = [jnp.asarray(self.operands[i]) for i in self.wrt]

    def oracle(self, *floats: Any) -> Any:
        """The row's oracle, with these values of the floating-point operands."""
        values: list[Any] = [
            operand if arg.dtype is None else jnp.asarray(operand.astype(arg.dtype))
            for arg, operand in zip(self.args, self.operands, strict=True)
        ]
        for i, value in zip(self.wrt, floats, strict=True):
            values[i] = value
        return self.row.oracle(*values)

    def random(self, shape: tuple[int, ...]) -> Array:
        """Numbers of either sign, none of them small."""
        signs = self.rng.choice([-1.0, 1.0], shape)
        return np.asarray(self.rng.uniform(0.5, 1.5, shape) * signs, np.float32).astype(np.float64)

    @cached_property
    def answers(self) -> tuple[Array, list[Array], list[Array]]:
        """The oracle's value, the gradient of ``loss`` and the gradient of ``slope``."""
        if not self.wrt:
            return np.asarray(self.oracle()), [], []
        wanted = [self.oracle]
        if self.row.grad:
            wanted.append(self.gradient_of(self.loss))
        if self.row.grad and self.row.second:
            wanted.append(self.gradient_of(self.slope))
        # One compilation, unoptimized, takes a fraction of the time of all its primitives' own.
        together = jax.jit(lambda *floats: [function(*floats) for function in wanted])
        options: Any = {"xla_backend_optimization_level": 0}
        results = together.lower(*self.floats).compile(options)(*self.floats)
        value, first, second = (*results, (), ())[:3]
        return np.asarray(value), list(map(np.asarray, first)), list(map(np.asarray, second))

    @cached_property
    def projection(self) -> Array:
        """What the result is multiplied by, to be one number."""
        return self.random(jax.eval_shape(self.oracle, *self.floats).shape)

    @cached_property
    def directions(self) -> dict[int, Array]:
        """What the first gradients are multiplied by, to be one number."""
        return {
            i: self.random(operand.shape) for i, operand in zip(self.wrt, self.floats, strict=True)
        }

    def loss(self, *floats: Any) -> Any:
        """Σ y · projection."""
        return jnp.sum(self.oracle(*floats) * self.projection)

    def slope(self, *floats: Any) -> Any:
        """Σ <gradient, direction>."""
        gradients = self.gradient_of(self.loss)(*floats)
        pairs = zip(self.wrt, gradients, strict=True)
        return sum(jnp.sum(gradient * self.directions[i]) for i, gradient in pairs)

    def gradient_of(self, function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        """JAX's gradient in every floating-point operand."""
        gradient: Callable[..., tuple[Any, ...]] = jax.grad(function, tuple(range(len(self.wrt))))
        return gradient


class Case:
    """A row at one dtype: its graphs, the same for every sample."""

    def __init__(self, row: Row, dtype: str) -> None:
        self.row, self.dtype = row, dtype
        args = row.samples[0].args
        self.inputs = [
            gx.input(f"x{i}", arg.shape, dtype=arg.dtype or dtype) for i, arg in enumerate(args)
        ]
        self.wrt = [f"x{i}" for i in row.samples[0].wrt]
        self.y = row.function(*self.inputs)
        self.forward = gx.Graph({"y": self.y})

    @cached_property
    def first(self) -> gx.Graph:
        """The forward and the gradient of Σ y · projection."""
        loss = gx.sum(self.y * gx.input("projection", self.y.shape, dtype=self.dtype))
        return derivatives(gx.Graph({"loss": loss, "y": self.y}), self.wrt)

    @cached_property
    def second(self) -> gx.Graph:
        """The gradient of Σ <first gradient, direction>."""
        gradients = {k: v for k, v in self.first.outputs.items() if k.startswith("grad/")}
        terms = [
            gx.sum(g * gx.input(k.replace("grad/", "direction/"), g.shape, dtype=self.dtype))
            for k, g in gradients.items()
        ]
        loss = gx.grad_sum(*terms) if terms else gx.constant(0.0, self.dtype)
        # y keeps every operand in the graph, also one that the gradient no longer reads.
        names = [name.removeprefix("grad/") for name in gradients]
        return derivatives(gx.Graph({"loss": loss, "y": self.y}), names)

    @property
    def whole(self) -> gx.Graph:
        """The first derivatives where there are any, else the forward."""
        return self.first if self.row.grad else self.forward

    @cached_property
    def program(self) -> Any:
        """One NumPy program for all sizes."""
        return gx.compile(self.whole, backend="numpy")

    def arrays(self, sample: Sample, graph: gx.Graph) -> dict[str, Array]:
        """What the inputs of ``graph`` are, in the row's dtype."""
        given = {f"x{i}": operand for i, operand in enumerate(sample.operands)}
        if "projection" in graph.inputs:
            given["projection"] = sample.projection
        if any(name.startswith("direction/") for name in graph.inputs):
            given |= {f"direction/x{i}": array for i, array in sample.directions.items()}
        return {name: given[name].astype(node.dtype) for name, node in graph.inputs.items()}

    # -- checks -------------------------------------------------------------------------------

    def check_value(self, sample: Sample) -> None:
        """The interpreter's value against the oracle's; the inferred type against the actual."""
        arrays, expected = self.arrays(sample, self.forward), sample.answers[0]
        value = gx.interpret(self.forward, variables(self.forward), inputs=arrays)["y"]
        assert value.shape == expected.shape == self.y.type.concrete(sample.sizes)
        assert value.dtype == self.y.dtype
        self.compare(value, expected, "value")

    def check_gradient(self, sample: Sample, order: int) -> None:
        """The gradients of this order; none at all means that it is zero."""
        graph, expected = (self.first, self.second)[order - 1], sample.answers[order]
        found = gx.interpret(graph, variables(graph), inputs=self.arrays(sample, graph))
        for name, gradient in zip(self.wrt, expected, strict=True):
            if f"grad/{name}" in found:
                self.compare(found[f"grad/{name}"], gradient, f"gradient of {name}")
            else:
                assert not gradient.any(), f"{self.row.name}: no gradient flows to {name}"

    def check_program(self, sample: Sample) -> None:
        """The compiled program against the interpreter."""
        graph = self.whole
        arrays = self.arrays(sample, graph)
        found = self.program(variables(graph), inputs=arrays)
        expected = gx.interpret(graph, variables(graph), inputs=arrays)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            array = gx.to_numpy(found[name])
            assert array.dtype == value.dtype, name
            self.compare(array, value, f"compiled {name}")

    def compare(self, found: Array, expected: Array, what: str) -> None:
        """Within the limit of the row's dtype; anything that is not a float, exactly."""
        where = f"{self.row.name} {self.dtype}: {what}"
        assert found.shape == expected.shape, where
        if found.dtype.kind == "f":
            assert error(found, expected) <= LIMITS[found.dtype.name], where
        else:
            np.testing.assert_array_equal(found, expected, err_msg=where)


def error(found: Array, expected: Array) -> float:
    """max|a - b| / max|oracle in float64|; equal infinities and NaNs agree."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    if same.all():
        return 0.0
    scale = float(np.max(np.abs(expected)))
    difference = float(np.max(np.abs(np.where(same, 0.0, found - expected))))
    return difference / scale if scale > 0 else difference


def derivatives(graph: gx.Graph, names: list[str]) -> gx.Graph:
    """``graph`` with the gradient of "loss" for each of the names that one flows to."""
    reached = []
    for name in names:
        try:
            graph.apply(passes.backward("loss", wrt=name))
        except gx.GraphError as refused:
            if not ("does not depend" in str(refused) or "no gradient flows" in str(refused)):
                raise
        else:
            reached.append(name)
    return graph.apply(passes.backward("loss", wrt=reached)) if reached else graph


@cache
def case(row: Row, dtype: str) -> Case:
    """The case, built once for all its tests."""
    return Case(row, dtype)


def all_rows() -> list[Row]:
    """The rows of every ``rows_<family>.py`` beside this file."""
    rows: list[Row] = []
    for file in sorted(Path(__file__).parent.glob("rows_*.py")):
        rows += importlib.import_module(f"tests.ops.{file.stem}").ROWS
    return rows


@cache
def all_cases() -> list[Case]:
    """Every row at its widest dtype. One that does not build fails in test_ops.py alone."""
    built = []
    for row in all_rows():
        with contextlib.suppress(Exception):
            one = case(row, row.dtypes[-1])
            one.whole  # noqa: B018
            built.append(one)
    return built
