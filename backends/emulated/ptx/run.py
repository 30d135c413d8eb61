"""One kernel on NumPy arrays, without CuPy, without a C compiler."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.errors import BackendError
from ..counters import KernelCounts
from .executor import Program, kernel_of, launch
from .memory import ALIGN, GAP, Heap
from .parser import Variable, parse
from .types import Array


def run_ptx(
    ptx: str,
    kernel: str,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    args: list[Any] | tuple[Any, ...],
    *,
    shared_bytes: int = 0,
    traffic: bool = True,
    uninitialised: tuple[int, ...] = (),
) -> KernelCounts:
    """Run one kernel of a PTX text on NumPy arrays.

    ``args`` are the kernel's arguments in order: a contiguous array is copied to a buffer of
    exactly its size, and back when the kernel is done; a NumPy scalar of the parameter's size goes
    by value. ``uninitialised`` numbers the arguments whose content the kernel must not read: its
    outputs.

    Raises DeviceFault (what compute-sanitizer would refuse) and BackendError (no such kernel, an
    argument that does not fit, an instruction that is not emulated).

    >>> import numpy as np
    >>> from graphc.backends.cuda import compile_ptx
    >>> from graphc.backends.emulated import run_ptx
    >>> source = '''extern "C" __global__ void twice(float* x, int n) {
    ...     int i = blockIdx.x * blockDim.x + threadIdx.x;
    ...     if (i < n) x[i] = 2 * x[i];
    ... }'''
    >>> x = np.arange(5, dtype=np.float32)
    >>> counts = run_ptx(compile_ptx(source), "twice", (1,), (32,), [x, np.int32(5)])
    >>> x.tolist(), counts.bytes_read
    ([0.0, 2.0, 4.0, 6.0, 8.0], 20)
    """
    module = parse(ptx)
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    variables = sum(v.size + GAP + ALIGN for v in module.variables.values())
    heap = Heap(sum(a.nbytes + GAP + ALIGN for a in arrays) + variables + (1 << 12))
    program = Program(module, heap)
    code = kernel_of(program, kernel)
    formal = code.function.parameters
    if len(formal) != len(args):
        raise BackendError(f"kernel {kernel} takes {len(formal)} arguments, {len(args)} were given")
    places: list[tuple[int, Array]] = []
    known: dict[int, int] = {}  # an array given twice is one buffer
    params = bytearray(sum(v.size for v in formal[-1:]) + (formal[-1].offset if formal else 0))
    for number, (variable, arg) in enumerate(zip(formal, args, strict=True)):
        if isinstance(arg, np.ndarray):
            if id(arg) not in known:
                known[id(arg)] = _upload(heap, arg, number not in uninitialised)
                places.append((known[id(arg)], arg))
            raw = np.uint64(known[id(arg)]).tobytes()
        else:
            raw = _scalar(kernel, number, variable, arg)
        params[variable.offset : variable.offset + len(raw)] = raw
    work = launch(
        program, kernel, _three(grid), _three(block), bytes(params),
        dynamic_shared=shared_bytes, traffic=traffic,
    )  # fmt: skip
    for address, array in places:
        raw_bytes = heap.read(address, array.nbytes, checked=False)
        array.reshape(-1).view(np.uint8)[:] = raw_bytes
    return work


def _upload(heap: Heap, array: Array, initialised: bool) -> int:
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise BackendError("run_ptx takes arrays that are contiguous and writeable")
    address = heap.allocate(array.nbytes)
    if initialised and array.nbytes:
        heap.write(address, array.reshape(-1).view(np.uint8))
    return address


def _scalar(kernel: str, number: int, variable: Variable, arg: Any) -> bytes:
    raw = bytes(arg) if isinstance(arg, bytes | bytearray) else getattr(arg, "tobytes", bytes)()
    if len(raw) != variable.size:
        raise BackendError(
            f"argument {number} of kernel {kernel} has {variable.size} bytes: give an array, or a"
            f" NumPy scalar of that size; this is a {type(arg).__name__}"
        )
    return raw


def _three(size: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (*size, 1, 1)[:3]
    return int(x), int(y), int(z)
