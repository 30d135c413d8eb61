"""The state that instructions work on: registers of a group of lanes, and memory near them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..counters import KernelCounts
from .memory import AccessError, Heap
from .types import Array, DType, Value

SECTOR = 32
NEVER, BEFORE, FIRST = 0, 1, 2  # who wrote a granule: nobody, somebody before a barrier, a lane
MANY = -1


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


class Shared:
    """The shared memory of the blocks that run together, watched for races between barriers.

    One granule (the smallest size that the kernel uses there) knows who wrote it and who read it
    since the last barrier. Lanes are numbered over all blocks of the chunk.
    """

    def __init__(self, blocks: int, size: int, granule: int, *, warps: bool) -> None:
        self.size = size
        self.granule = granule
        self.shift = granule.bit_length() - 1
        self.data: Array = np.full(blocks * size, 0xFF, np.uint8)
        count = blocks * size // granule
        self.writer: Array = np.zeros(count, np.int32)
        self.reader: Array = np.zeros(count, np.int32)
        # Where lanes of a warp meet (bar.warp.sync), their own accesses before are in order.
        self.warps = warps
        self.time = 0
        self.met: dict[int, int] = {}  # warp -> time
        if warps:
            self.wrote: Array = np.zeros(count, np.int32)
            self.read: Array = np.zeros(count, np.int32)
        self._views: dict[DType, Array] = {}

    def view(self, dtype: DType) -> Array:
        """All of it as elements of ``dtype``."""
        if dtype not in self._views:
            self._views[dtype] = self.data.view(dtype)
        found: Array = self._views[dtype]
        return found

    def locate(
        self, frame: Frame, addresses: Value, size: int, *, load: bool, store: bool, atomic: bool
    ) -> Array:
        """Byte positions of accesses of ``size`` bytes. Raises AccessError."""
        addresses = np.broadcast_to(addresses, (frame.count,))
        what = "atomic on" if atomic else "load from" if load else "store to"
        if addresses.size and int(addresses.max()) > self.size - size:
            lane = int(np.argmax(addresses > self.size - size))
            at = int(addresses[lane])
            problem = (
                f"{what} shared memory out of bounds: {size} bytes at offset {at}"
                f" of {self.size} bytes"
            )
            raise AccessError(problem, lane, at)
        if int(np.bitwise_or.reduce(addresses)) & (size - 1):
            lane = int(np.argmax((addresses & np.uint64(size - 1)) != 0))
            at = int(addresses[lane])
            raise AccessError(f"misaligned {what} shared memory: offset {at}", lane, at)
        positions: Array = (
            addresses.astype(np.int64) + frame.threads // frame.launch.threads * self.size
        )
        me = (frame.threads + FIRST).astype(np.int32)
        first = positions >> self.shift
        for k in range(max(1, size >> self.shift)):
            self._watch(frame, first + k, me, load=load, store=store, atomic=atomic)
        return positions

    def _watch(
        self, frame: Frame, at: Array, me: Array, *, load: bool, store: bool, atomic: bool
    ) -> None:
        writers = self.writer[at]
        if load and not frame.launch.lenient and not writers.all():
            self._refuse("read of shared memory that nothing has written", writers == NEVER, at)
        # Atomics do not race with each other; a granule that they wrote is as if from before.
        self._conflict(frame, at, me, writers, "write" if store and not load else "read", "write")
        if store:
            readers = self.reader[at]
            bad = (readers != 0) & (readers != me)
            if not atomic and bad.any():
                self._conflict_read(frame, at, me, readers)
            self.writer[at] = BEFORE if atomic else me
            if not atomic:
                if (self.writer[at] != me).any():
                    bad = self.writer[at] != me
                    self._refuse("shared-memory race: two threads write one address", bad, at)
                if self.warps:
                    self.wrote[at] = self.time
        else:
            readers = self.reader[at]
            self.reader[at] = me
            several = (self.reader[at] != me) | ((readers != 0) & (readers != me))
            if several.any():
                self._several(at, me, readers, several, frame)
            if self.warps:
                self.read[at] = self.time

    def _several(self, at: Array, me: Array, readers: Array, several: Array, frame: Frame) -> None:
        if not self.warps:
            self.reader[at[several]] = MANY
            return
        # Readers of one warp only are told apart from readers of many.
        code = -(self._warp(frame, me) + FIRST)
        self.reader[at[several]] = code[several]
        old = np.where(readers >= FIRST, -(self._warp(frame, readers) + FIRST), readers)
        mixed = several & (
            (self.reader[at] != code) | ((readers != 0) & (old != code)) | (readers == MANY)
        )
        self.reader[at[mixed]] = MANY

    def _warp(self, frame: Frame, lanes: Array) -> Array:
        threads = frame.launch.threads
        lane = lanes - FIRST
        found: Array = lane // threads * -(-threads // 32) + lane % threads // 32
        return found

    def _conflict(
        self, frame: Frame, at: Array, me: Array, writers: Array, now: str, then: str
    ) -> None:
        bad = (writers >= FIRST) & (writers != me)
        if not bad.any():
            return
        if self.warps:
            mine, theirs = self._warp(frame, me), self._warp(frame, writers)
            met = np.array([self.met.get(int(w), -1) for w in mine])
            bad &= ~((mine == theirs) & (self.wrote[at] < met))
        if bad.any():
            lane = int(np.argmax(bad))
            other = (int(writers[lane]) - FIRST) % frame.launch.threads
            problem = f"shared-memory race: {now} after {then} by thread {other} with no barrier"
            self._refuse(problem, bad, at)

    def _conflict_read(self, frame: Frame, at: Array, me: Array, readers: Array) -> None:
        bad = (readers != 0) & (readers != me)
        if self.warps:
            mine = self._warp(frame, me)
            theirs = np.where(readers >= FIRST, self._warp(frame, readers), -readers - FIRST)
            met = np.array([self.met.get(int(w), -1) for w in mine])
            bad &= ~((mine == theirs) & (readers != MANY) & (self.read[at] < met))
        if bad.any():
            lane = int(np.argmax(bad))
            other = int(readers[lane])
            who = (
                "several threads"
                if other < 0
                else f"thread {(other - FIRST) % frame.launch.threads}"
            )
            problem = f"shared-memory race: write after read by {who} with no barrier"
            self._refuse(problem, bad, at)

    def _refuse(self, problem: str, bad: Array, at: Array) -> None:
        lane = int(np.argmax(bad))
        position = (int(at[lane]) << self.shift) % max(self.size, 1)
        raise AccessError(f"{problem} (offset {position})", lane, position)

    def barrier(self, blocks: Array | None) -> None:
        """Whole blocks have met: what they did before is in order. None: all blocks."""
        if blocks is None:
            np.minimum(self.writer, BEFORE, out=self.writer)
            self.reader[:] = 0
        elif self.size:
            writer = self.writer.reshape(-1, self.size >> self.shift)
            reader = self.reader.reshape(-1, self.size >> self.shift)
            writer[blocks] = np.minimum(writer[blocks], BEFORE)
            reader[blocks] = 0

    def meet(self, frame: Frame) -> None:
        """The lanes of these warps have met."""
        self.time += 1
        for warp in np.unique(self._warp(frame, frame.threads + FIRST)):
            self.met[int(warp)] = self.time


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

    __slots__ = ("count", "full", "launch", "local", "shared", "threads", "values")

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
