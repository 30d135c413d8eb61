"""Runs printed CUDA kernels on the CPU: the system's C++ compiler, and a header of ours that plays
the device. What a kernel writes beside its outputs is noticed."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.backends.cuda import KernelSchedule, arguments
from graphc.ir import dims
from graphc.ir.kernel import Kernel, Ref

Array = np.ndarray[Any, np.dtype[Any]]
Memory = dict[Ref, Array]

COMPILER = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason="there is no C++ compiler to run CUDA C++ with"
)

# Products and sums are rounded one by one, as nvrtc.OPTIONS has it.
FLAGS = ("-std=c++17", "-O0", "-shared", "-fPIC", "-ffp-contract=off")
# An unused coordinate or an ambiguous condition is a fault of the printer; max(x, x) is none.
WARNINGS = ("-Wall", "-Werror", "-Wno-tautological-compare")
MARGIN = 64  # elements before and after each buffer that must stay as they are


def build(sources: Mapping[str, str], folder: Path, *, strict: bool = True) -> ctypes.CDLL:
    """A library of kernels: function name to source. Warnings are errors where it is ``strict``."""
    assert COMPILER is not None
    parts = [f'#include "{Path(__file__).with_name("cuda_shim.h")}"']
    parts += [f"{source}LAUNCHER({name})" for name, source in sources.items()]
    unit, library = folder / "kernels.cpp", folder / "kernels.so"
    unit.write_text("\n".join(parts) + "\n", encoding="utf-8")
    flags = (*FLAGS, *(WARNINGS if strict else ("-w",)))
    result = subprocess.run(
        [COMPILER, *flags, unit, "-o", library], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return ctypes.CDLL(str(library))


def run(
    library: ctypes.CDLL,
    name: str,
    kernel: Kernel,
    schedule: KernelSchedule,
    memory: Memory,
    sizes: Mapping[str, int],
    *,
    grid: int = 3,
    block: int = 32,
) -> None:
    """Launch a kernel on ``memory``, whose arrays it reads and overwrites.

    Buffers that ``memory`` lacks are made, full of bytes that no result has.
    """
    taken = arguments(kernel)
    integer = ctypes.c_int64 if schedule.wide else ctypes.c_int32
    guarded: dict[Ref, Array] = {}
    for ref in taken.buffers:
        shape = tuple(dims.evaluate(size, sizes) for size in ref.shape)
        array = memory.setdefault(ref, poison(ref, shape))
        assert array.shape == shape
        assert array.dtype == ref.dtype
        margin = poison(ref, (MARGIN,))
        guarded[ref] = np.concatenate([margin, array.ravel(), margin])
    values: list[Any] = [
        ctypes.c_void_p(flat.ctypes.data + MARGIN * flat.itemsize) for flat in guarded.values()
    ]
    values += [integer(sizes[size]) for size in taken.sizes]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    getattr(library, f"launch_{name}")(ctypes.c_uint(grid), ctypes.c_uint(block), pointers)
    for ref, flat in guarded.items():
        for margin in (flat[:MARGIN], flat[-MARGIN:]):
            assert margin.tobytes() == poison(ref, (MARGIN,)).tobytes(), f"{name} wrote outside"
        memory[ref] = flat[MARGIN:-MARGIN].reshape(memory[ref].shape)


def poison(ref: Ref, shape: tuple[int, ...]) -> Array:
    """NaNs of all ones, -1, the largest unsigned number; for bool, True."""
    count = math.prod(shape) * ref.dtype.itemsize
    byte = 1 if ref.dtype == bool else 0xFF
    return np.full(count, byte, np.uint8).view(ref.dtype).reshape(shape)
