"""Inputs on their way to the device: through pinned memory, by one copy, on a stream of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

ALIGNMENT = 256


class Lane(Sequence[Any]):
    """The inputs of a step, in one piece of device memory, and as much pinned memory beside it."""

    def __init__(self, cupy: Any, shapes: Sequence[tuple[tuple[int, ...], Any]]) -> None:
        self.cupy = cupy
        self.offsets: list[int] = []
        total = 0
        for shape, dtype in shapes:
            self.offsets.append(total)
            total += -(-math.prod(shape) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
        self.memory = cupy.cuda.alloc(max(total, 1))
        self.pinned = cupy.cuda.alloc_pinned_memory(max(total, 1))
        self.arrays: list[Any] = []
        self.staged: list[np.ndarray[Any, Any]] = []
        for (shape, dtype), offset in zip(shapes, self.offsets, strict=True):
            self.arrays.append(cupy.ndarray(shape, dtype, self.memory + offset))
            count = math.prod(shape)
            raw = np.frombuffer(self.pinned, np.dtype(dtype), count, offset)
            self.staged.append(raw.reshape(shape))
        self.copied: Any = None  # when the pinned memory may be written again
        self.used: Any = None  # when the step that read these inputs is done

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, number: Any) -> Any:
        return self.arrays[number]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.arrays)

    def fill(self, arrays: Sequence[Any], compute: Any, copies: Any) -> None:
        """Copy arrays of the host or the device here; ``compute`` waits for them, nobody else."""
        given = self.cupy.cuda.get_current_stream()
        if self.copied is not None and not self.copied.done:
            self.copied.synchronize()
        if self.used is not None:
            copies.wait_event(self.used)
        host = [isinstance(array, np.ndarray) for array in arrays]
        for array, staged, here in zip(arrays, self.staged, host, strict=True):
            if here:
                np.copyto(staged, array)
        for first, last in _runs(host):
            start = self.offsets[first]
            size = self.offsets[last] + self.staged[last].nbytes - start
            if size:
                (self.memory + start).copy_from_host_async(self.pinned.ptr + start, size, copies)
        self.copied = copies.record()
        compute.wait_event(self.copied)
        if not all(host):
            compute.wait_event(given.record())
        for array, target, here in zip(arrays, self.arrays, host, strict=True):
            if not here and array.nbytes:
                source = array if array.flags.c_contiguous else self.cupy.ascontiguousarray(array)
                target.data.copy_from_device_async(source.data, source.nbytes, compute)


def _runs(flags: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """The first and last number of each run of true flags."""
    first: int | None = None
    for number, flag in enumerate([*flags, False]):
        if flag and first is None:
            first = number
        elif not flag and first is not None:
            yield first, number - 1
            first = None
