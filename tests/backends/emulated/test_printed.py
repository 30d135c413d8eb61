"""Kernels that the CUDA printer writes, compiled by NVRTC and executed: NumPy's values come out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest

from graphc.backends.cuda import KernelSchedule, arguments, print_kernel, schedule_kernel
from graphc.backends.emulated import run_ptx
from graphc.ir import dims
from graphc.ir.kernel import Kernel
from tests.backends.cuda_cases import (
    CAST_CASES,
    GRAPHS,
    HAND,
    INTEGER_CASES,
    POINTWISE_CASES,
    RANDOM,
    Case,
)
from tests.backends.emulated.cuda import ptx
from tests.backends.shim import Memory, poison

FAMILIES = {
    "pointwise": POINTWISE_CASES, "integers": INTEGER_CASES, "casts": CAST_CASES,
    "graphs": GRAPHS, "by hand": HAND, "random": RANDOM,
}  # fmt: skip
LARGEST = {"N": 64, "H": 64, "W": 64}


def schedule(kernel: Kernel, wide: bool) -> KernelSchedule:
    return schedule_kernel(kernel) if wide else schedule_kernel(kernel, largest=LARGEST)


@cache
def module(family: str, wide: bool) -> str:
    """One PTX for a family: its kernels are ``k<case>_<kernel>``."""
    sources = [
        print_kernel(kernel, name=f"k{i}_{j}", schedule=schedule(kernel, wide))
        for i, case in enumerate(FAMILIES[family])
        for j, kernel in enumerate(case.kernels)
    ]
    return ptx("\n".join(sources))


def launch(text: str, name: str, kernel: Kernel, wide: bool, memory: Memory,
           sizes: Mapping[str, int]) -> None:  # fmt: skip
    taken = arguments(kernel)
    fresh = []
    for number, ref in enumerate(taken.buffers):
        shape = tuple(dims.evaluate(size, sizes) for size in ref.shape)
        if ref not in memory:
            memory[ref] = poison(ref, shape)
            fresh.append(number)
    integer = np.int64 if schedule(kernel, wide).wide else np.int32
    args = [np.ascontiguousarray(memory[ref]) for ref in taken.buffers]
    numbers = [integer(sizes[size]) for size in taken.sizes]
    run_ptx(text, name, (3,), (32,), [*args, *numbers], uninitialised=tuple(fresh))
    for ref, array in zip(taken.buffers, args, strict=True):
        memory[ref] = array


def check(family: str, i: int, case: Case, wide: bool) -> None:
    for sizes in case.sizes:
        memory = case.memory(sizes)
        before = {ref: array.copy() for ref, array in memory.items()}
        with np.errstate(all="ignore"):
            expected = case.oracle(before, sizes)
        for j, kernel in enumerate(case.kernels):
            launch(module(family, wide), f"k{i}_{j}", kernel, wide, memory, sizes)
        for ref, array in expected.items():
            exact = array.dtype.kind != "f"
            tolerance = 0.0 if exact else 1e-6 if array.dtype.itemsize == 4 else 1e-14
            # CUDA's functions are a few units in the last place off, near zero relative to 1.
            np.testing.assert_allclose(memory[ref], array, rtol=tolerance, atol=tolerance / 10,
                                       equal_nan=True, err_msg=case.name)  # fmt: skip
        for ref in before.keys() - expected.keys():
            assert memory[ref].tobytes() == before[ref].tobytes(), "an input was overwritten"


@pytest.mark.parametrize(
    ("family", "wide"),
    [*((family, False) for family in FAMILIES), ("by hand", True), ("graphs", True)],
)
def test_values(family: str, wide: bool) -> None:
    failed = []
    for i, case in enumerate(FAMILIES[family]):
        try:
            check(family, i, case, wide)
        except AssertionError as error:
            failed.append(f"{case.name}: {error}")
    assert not failed, "\n".join(failed)
