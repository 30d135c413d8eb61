"""The state that instructions work on: registers of a group of lanes, and memory near them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..counters import KernelCounts
from .memory import AccessError, Heap
from .shared import Shared
from .types import Array, Value

SECTOR = 32


@dataclass
class Launch:
    """One run of a kernel: where, on what, and what it did so far."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    heap: Heap
    params: Array  # the kernel's arguments, as bytes
    work: KernelCounts
    lenient: bool = False  # returns before a barrier and raw shared memory are let through
    touched: Array | None = None  # one flag a sector of the heap
    first_block: int = 0  # of the blocks that run at the moment
    # For each of their warps, the lanes that have not returned, as bits.
    alive: Array = field(default_factory=lambda: np.zeros(0, np.uint64))

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.block[0] * self.block[1] * self.block[2]


class Local:
    """The memory of each thread alone: arrays on its stack, which nothing initialises."""

    def __init__(self, threads: int, size: int) -> None:
        self.size = -(-size // 16) * 16
        self.data: Array = np.full(threads * self.size, 0xFF, np.uint8)
        self.written: Array = np.zeros(threads * self.size, np.bool_)

    def locate(self, frame: Frame, addresses: Value, size: int, *, load: bool) -> Array:
        """Byte positions of accesses of ``size`` bytes. Raises AccessError."""
        addresses = np.broadcast_to(addresses, (frame.count,))
        bad = addresses > np.uint64(max(self.size - size, 0))
        if self.size < size or bad.any():
            lane = int(np.argmax(bad))
            at = int(addresses[lane])
            problem = (
                f"local memory out of bounds: {size} bytes at offset {at} of {self.size} bytes"
            )
            raise AccessError(problem, lane, at)
        bad = (addresses & np.uint64(size - 1)) != 0
        if bad.any():
            lane = int(np.argmax(bad))
            at = int(addresses[lane])
            raise AccessError(f"misaligned access of local memory: offset {at}", lane, at)
        positions: Array = addresses.astype(np.int64) + frame.threads * self.size
        if load:
            bad = np.zeros(frame.count, np.bool_)
            for k in range(size):
                bad |= ~self.written[positions + k]
            if bad.any():
                lane = int(np.argmax(bad))
                problem = "read of local memory that nothing has written"
                raise AccessError(problem, lane, int(addresses[lane]))
        else:
            for k in range(size):
                self.written[positions + k] = True
        return positions


class Frame:
    """The registers of some lanes that run in step.

    ``values`` has one entry a slot: an array with one element a lane, or one scalar where all lanes
    agree. ``threads`` numbers the lanes over all blocks of the chunk.
    """

    __slots__ = ("_block", "_number", "count", "full", "launch", "local", "shared", "threads",
                 "values")  # fmt: skip

    def __init__(
        self,
        launch: Launch,
        values: list[Value],
        threads: Array,
        shared: Shared | None,
        local: Local | None,
        *,
        full: bool,
    ) -> None:
        self.launch = launch
        self.values = values
        self.threads = threads
        self.count = len(threads)
        self.shared = shared
        self.local = local
        self.full = full  # whole warps, all of their lanes present and in order
        self._block: Array | None = None
        self._number: Array | None = None

    def subset(self, lanes: Array, slots: tuple[int, ...]) -> Frame:
        """The lanes at these positions, with copies of the registers ``slots``."""
        values: list[Any] = self.values.copy()
        for slot in slots:
            value = values[slot]
            if value.ndim:
                values[slot] = value[lanes]
        return Frame(self.launch, values, self.threads[lanes], self.shared, self.local, full=False)

    def merge(self, part: Frame, lanes: Array, slots: tuple[int, ...]) -> None:
        """Take over the registers ``slots`` that a subset has written."""
        for slot in slots:
            new, old = part.values[slot], self.values[slot]
            if old.ndim:
                out = old.copy()
            else:
                out = np.full(self.count, old)
            if out.dtype != new.dtype:
                out = out.view(new.dtype) if out.itemsize == new.itemsize else out.astype(new.dtype)
            out[lanes] = new
            self.values[slot] = out

    @property
    def block(self) -> Array:
        """The block of each lane, numbered over the chunk."""
        if self._block is None:
            per = self.launch.threads
            if per & (per - 1) == 0:  # a division costs ten times a shift
                self._block = self.threads >> (per.bit_length() - 1)
            else:
                self._block = self.threads // per
        return self._block

    @property
    def number(self) -> Array:
        """``threads`` in 32 bits."""
        if self._number is None:
            self._number = self.threads.astype(np.int32)
        return self._number

    def warps(self) -> Array:
        """The warp of each lane, numbered over all blocks of the chunk."""
        threads = self.launch.threads
        found: Array = self.threads // threads * -(-threads // 32) + self.threads % threads // 32
        return found

    def laneids(self) -> Array:
        """Each lane's number in its warp."""
        threads = self.launch.threads
        found: Array = self.threads % threads % 32
        return found

    def count_sectors(self, offsets: Value, size: int) -> None:
        """Count the sectors that an access of global memory touches, warp by warp."""
        launch = self.launch
        if launch.touched is None:
            return
        sectors = np.broadcast_to(np.asarray(offsets) // SECTOR, (self.count,))
        launch.touched[sectors] = True
        if self.full:
            rows = np.sort(sectors.reshape(-1, 32), axis=1)
            launch.work.sectors += rows.shape[0] + int(np.count_nonzero(np.diff(rows, axis=1)))
        else:
            launch.work.sectors += len(np.unique(self.warps() << 40 | sectors))
