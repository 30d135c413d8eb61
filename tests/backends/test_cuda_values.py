"""Printed CUDA kernels, run on the CPU, give NumPy's values; seeded faults in them are noticed."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from graphc import models, passes
from graphc.backends.cuda import (
    KernelSchedule,
    arguments,
    is_elementwise,
    print_kernel,
    schedule_kernel,
)
from graphc.compiler.interpret import values_of
from graphc.compiler.lower import group, legalize
from graphc.ir.kernel import Kernel
from graphc.ir.node import Node
from tests.backends.cuda_cases import (
    CAST_CASES,
    GRAPHS,
    HAND,
    INTEGER_CASES,
    POINTWISE_CASES,
    RANDOM,
    Case,
)
from tests.backends.shim import Array, build, needs_compiler, run

pytestmark = needs_compiler

CASES = {
    case.name: case
    for case in (*POINTWISE_CASES, *INTEGER_CASES, *CAST_CASES, *GRAPHS, *HAND, *RANDOM)
}
LARGEST = {"N": 64, "H": 64, "W": 64}


@dataclass(frozen=True)
class Fault:
    """An edit of the printed source that a reader of NumPy's rules would call wrong."""

    name: str
    case: str
    pattern: str
    replacement: str

    def source(self, function: str) -> str:
        (kernel,) = CASES[self.case].kernels
        text = print_kernel(kernel, name=function, schedule=narrow(kernel))
        edited, count = re.subn(self.pattern, self.replacement, text, count=1)
        assert count == 1, f"{self.pattern} is not in\n{text}"
        return edited


FAULTS = [
    Fault("the mask is lost", "padding", r"ok0 \? (b0\[.*?\]) : 0\.1f", r"\1"),
    Fault("the lower guard is lost", "padding", r"t0 >= 0 && ", ""),
    Fault("the upper guard is one too high", "padding", r"t1 < 7", "t1 <= 7"),
    Fault("the wrong fill", "padding", r": 0\.1f", ": 0.0f"),
    Fault("a rounded literal", "padding", r"\* 0\.7f", "* 0.70001f"),
    Fault("a wrong stride", "padding", r"7 \* t0", "8 * t0"),
    Fault("a wrong offset", "padding", r"t1 = (\w+) - 2", r"t1 = \1 - 1"),
    Fault("gaps are filled", "spread with gaps", r" && t0 % 2 == 0", ""),
    Fault("a wrong divisor", "spread with gaps", r"t1 / 6", "t1 / 3"),
    Fault("the last point is lost", "permutation", r"p < (\w+);", r"p < \1 - 1;"),
    Fault("one point too many", "permutation", r"p < (\w+);", r"p <= \1;"),
    Fault("every other stride", "permutation", r"p \+= step", "p += 2 * step"),
    Fault("axes swapped", "permutation", r"i0 = p / (\w+)", r"i0 = p % \1"),
    Fault("the wrong channel", "a bias for each channel", r"% 3", "% 2"),
    Fault("rows for channels", "a bias for each channel", r"/ 20", "/ 4"),
    Fault("branches swapped", "a choice that hides a nan", r"\? (\S+) : (\S+);", r"? \2 : \1;"),
    Fault("a choice by arithmetic", "a choice that hides a nan",
          r"(v\d) \? (v\d) : (\S+);", r"\1 * \2 + (1 - \1) * \3;"),
    Fault("a strict comparison", "ge float32", r">=", ">"),
    Fault("NaN is dropped", "a larger one of two", r" \|\| isnan\(v0\)", ""),
    Fault("fmaxf", "a larger one of two", r"= v0 >= .*;", "= fmaxf(v0, v1);"),
    Fault("NaN becomes 0", "relu float32", r"v0 < 0\.0f \? 0\.0f : v0", "v0 > 0.0f ? v0 : 0.0f"),
    Fault("stores swapped", "half of a concatenation", r"= v0;\n(.*)= v1;", r"= v1;\n\1= v0;"),
    Fault("rounded towards zero", "sizes and positions", r"\((\w+) < 0 \? .*\) / 2", r"\1 / 2"),
    Fault("an exponential to base 2", "exp float32", r"expf", "exp2f"),
    Fault("computed in double", "sin float64", r"sin\(v0\)", "sinf((float)v0)"),
]  # fmt: skip


def narrow(kernel: Kernel) -> KernelSchedule:
    return schedule_kernel(kernel, largest=LARGEST)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every case, with 64-bit and with 32-bit indices."""
    sources: dict[str, str] = {}
    for i, case in enumerate(CASES.values()):
        for j, kernel in enumerate(case.kernels):
            sources[f"c{i}_{j}_wide"] = print_kernel(kernel, name=f"c{i}_{j}_wide")
            sources[f"c{i}_{j}"] = print_kernel(kernel, name=f"c{i}_{j}", schedule=narrow(kernel))
    return build(sources, tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every fault."""
    sources = {f"f{i}": fault.source(f"f{i}") for i, fault in enumerate(FAULTS)}
    return build(sources, tmp_path_factory.mktemp("cuda"), strict=False)


def compare(library: ctypes.CDLL, case: Case, functions: Mapping[str, KernelSchedule]) -> None:
    """Run the case's kernels under these names; what they leave must be NumPy's."""
    for sizes in case.sizes:
        memory = case.memory(sizes)
        before = {ref: array.copy() for ref, array in memory.items()}
        with np.errstate(all="ignore"):
            expected = case.oracle(before, sizes)
        for kernel, (name, schedule) in zip(case.kernels, functions.items(), strict=True):
            run(library, name, kernel, schedule, memory, sizes)
        for ref, array in expected.items():
            assert memory[ref].shape == array.shape
            exact = array.dtype.kind != "f"
            tolerance = 0.0 if exact else 1e-6 if array.dtype.itemsize == 4 else 1e-14
            np.testing.assert_allclose(memory[ref], array, rtol=tolerance, atol=0, equal_nan=True)
        for ref in before.keys() - expected.keys():
            assert memory[ref].tobytes() == before[ref].tobytes(), "an input was overwritten"


@pytest.mark.parametrize("name", CASES)
def test_values(library: ctypes.CDLL, name: str) -> None:
    case, i = CASES[name], list(CASES).index(name)
    for suffix, schedule in (("_wide", schedule_kernel), ("", narrow)):
        functions = {f"c{i}_{j}{suffix}": schedule(k) for j, k in enumerate(case.kernels)}
        compare(library, case, functions)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_noticed(faulty: ctypes.CDLL, fault: Fault) -> None:
    case = CASES[fault.case]
    functions = {f"f{FAULTS.index(fault)}": narrow(case.kernels[0])}
    with pytest.raises(AssertionError, match="Not equal to tolerance|wrote outside"):
        compare(faulty, case, functions)


def test_a_training_step(tmp_path: Path) -> None:
    """Every elementwise kernel of LeNet-5's step, fed by the interpreter, gives what it gives."""
    train = models.build("lenet-5").apply(
        passes.insert_dropout(retain=0.5, after="relu"),
        passes.weight_decay(5e-4),
        passes.backward(),
        passes.sgd(lr="lr", momentum=0.9, nesterov=True),
    )
    rng, sizes = np.random.default_rng(0), {"N": 3}

    def given(node: Node) -> Array:
        if node.dtype.kind != "f":
            return rng.integers(0, 10, node.type.concrete(sizes)).astype(node.dtype)
        return (rng.standard_normal(node.type.concrete(sizes)) * 0.1).astype(node.dtype)

    inputs = {name: given(node) for name, node in train.inputs.items()}
    variables = {name: given(node) for name, node in (train.parameters | train.states).items()}
    known = values_of(train, inputs, variables, sizes)
    kernels = [
        step
        for step in group(train, legalize(train))
        if isinstance(step, Kernel)
        and is_elementwise(step)
        and all(ref.what == "value" for ref in arguments(step).buffers)
    ]
    assert len(kernels) > 70
    library = build(
        {f"k{i}": print_kernel(k, name=f"k{i}", schedule=narrow(k)) for i, k in enumerate(kernels)},
        tmp_path,
    )
    for i, kernel in enumerate(kernels):
        written = {store.ref for phase in kernel.phases for store in phase.stores}
        read = set(arguments(kernel).buffers) - written
        memory = {ref: known[ref.node] for ref in read}
        run(library, f"k{i}", kernel, narrow(kernel), memory, sizes)
        for ref in written:
            np.testing.assert_allclose(memory[ref], known[ref.node], rtol=1e-6, atol=0)
