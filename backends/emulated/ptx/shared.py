"""Shared memory of the blocks that run together, watched for races between barriers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .memory import AccessError
from .types import Array, DType, Value

if TYPE_CHECKING:
    from .frame import Frame

NEVER, BEFORE, FIRST = 0, 1, 2  # who wrote a granule: nobody, somebody before a barrier, a lane
MANY = -1  # who read it: lanes of several warps


@dataclass(eq=False)
class Place:
    """Where the lanes of one access go: computed once for as long as the registers are the same."""

    base: Value
    threads: Array
    positions: Array  # in bytes, over all blocks
    granules: tuple[Array, ...]
    lanes: Array  # FIRST + the number of each lane over all blocks
    written: bool = False  # all that is read here has been written: that stays so


class Shared:
    """The shared memory of some blocks.

    One granule (the smallest size that the kernel uses there) knows who wrote it and who read it
    since the last barrier. Reads are noted and looked at when somebody writes: between two barriers
    of a tiled kernel nobody does.
    """

    def __init__(self, blocks: int, size: int, granule: int, *, warps: bool) -> None:
        self.size = size
        self.granule = granule
        self.shift = granule.bit_length() - 1
        self.data: Array = np.full(blocks * size, 0xFF, np.uint8)
        count = blocks * size // granule
        self.writer: Array = np.zeros(count, np.int32)
        self.reader: Array = np.zeros(count, np.int32)
        self.dirty = False  # somebody wrote since the last barrier
        self.noted: list[Place] = []  # reads that are not in ``reader`` yet
        self.read_any = False
        # Where lanes of a warp meet (bar.warp.sync), their own accesses before are in order.
        self.warps = warps
        self.time = 0
        self.met: dict[int, int] = {}  # warp -> time
        if warps:
            self.wrote: Array = np.zeros(count, np.int32)
            self.read: Array = np.zeros(count, np.int32)
        self._views: dict[DType, Array] = {}
        self._places: dict[int, Place] = {}  # access -> where it went last

    def view(self, dtype: DType) -> Array:
        """All of it as elements of ``dtype``."""
        if dtype not in self._views:
            self._views[dtype] = self.data.view(dtype)
        return self._views[dtype]

    # -- accesses ---------------------------------------------------------------------------------

    def load(
        self, frame: Frame, access: int, base: Value, address: Callable[[], Value], size: int
    ) -> Array:
        """Byte positions that the load numbered ``access`` reads. Raises AccessError."""
        place = self._places.get(access)
        if place is None or place.base is not base or place.threads is not frame.threads:
            place = self._place(frame, base, address(), size, "load from")
            self._places[access] = place
        if self.dirty or not place.written:
            for at in place.granules:
                writers = self.writer[at]
                if not frame.launch.lenient and not writers.all():
                    problem = "read of shared memory that nothing has written"
                    self._refuse(problem, writers == NEVER, at)
                self._conflict(frame, at, place.lanes, writers, "read")
            place.written = True
        self.noted.append(place)
        return place.positions

    def store(self, frame: Frame, addresses: Value, size: int) -> Array:
        """Byte positions that a store writes. Raises AccessError."""
        place = self._place(frame, None, addresses, size, "store to")
        self._look(frame)
        me = place.lanes
        for at in place.granules:
            self._conflict(frame, at, me, self.writer[at], "write")
            self._conflict_read(frame, at, me)
            self.writer[at] = me
            if (self.writer[at] != me).any():
                bad = self.writer[at] != me
                self._refuse("shared-memory race: two threads write one address", bad, at)
            if self.warps:
                self.wrote[at] = self.time
        self.dirty = True
        return place.positions

    def atomic(self, frame: Frame, addresses: Value, size: int) -> Array:
        """Byte positions of atomics, which do not race with each other. Raises AccessError."""
        place = self._place(frame, None, addresses, size, "atomic on")
        self._look(frame)
        for at in place.granules:
            writers = self.writer[at]
            if not writers.all():
                problem = "read of shared memory that nothing has written"
                self._refuse(problem, writers == NEVER, at)
            self._conflict(frame, at, place.lanes, writers, "atomic")
            self._conflict_read(frame, at, place.lanes)
        return place.positions

    def _place(self, frame: Frame, base: Value, addresses: Value, size: int, what: str) -> Place:
        addresses = np.broadcast_to(addresses, (frame.count,))
        if int(addresses.max()) > self.size - size:
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
        positions: Array = addresses.astype(np.int64) + frame.block * self.size
        first = positions >> self.shift
        granules = tuple(first + k for k in range(max(1, size >> self.shift)))
        lanes = frame.number + np.int32(FIRST)
        return Place(base, frame.threads, positions, granules, lanes)

    # -- races ------------------------------------------------------------------------------------

    def _look(self, frame: Frame) -> None:
        """Take the reads that were noted into ``reader``."""
        for place in self.noted:
            me = place.lanes
            for at in place.granules:
                readers = self.reader[at]
                self.reader[at] = me
                several = (self.reader[at] != me) | ((readers != 0) & (readers != me))
                if several.any():
                    self._several(at, me, readers, several, frame)
                if self.warps:
                    self.read[at] = self.time
        self.read_any |= bool(self.noted)
        self.noted.clear()

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

    def _conflict(self, frame: Frame, at: Array, me: Array, writers: Array, now: str) -> None:
        """Refuse an access after somebody else's write with no barrier between."""
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
            problem = f"shared-memory race: {now} after write by thread {other} with no barrier"
            self._refuse(problem, bad, at)

    def _conflict_read(self, frame: Frame, at: Array, me: Array) -> None:
        """Refuse a write after somebody else's read with no barrier between."""
        readers = self.reader[at]
        bad = (readers != 0) & (readers != me)
        if not bad.any():
            return
        if self.warps:
            mine = self._warp(frame, me)
            theirs = np.where(readers >= FIRST, self._warp(frame, readers), -readers - FIRST)
            met = np.array([self.met.get(int(w), -1) for w in mine])
            bad &= ~((mine == theirs) & (readers != MANY) & (self.read[at] < met))
        if bad.any():
            other = int(readers[int(np.argmax(bad))])
            number = (other - FIRST) % frame.launch.threads
            who = "several threads" if other < 0 else f"thread {number}"
            problem = f"shared-memory race: write after read by {who} with no barrier"
            self._refuse(problem, bad, at)

    def _refuse(self, problem: str, bad: Array, at: Array) -> None:
        lane = int(np.argmax(bad))
        position = (int(at[lane]) << self.shift) % max(self.size, 1)
        raise AccessError(f"{problem} (offset {position})", lane, position)

    def barrier(self, frame: Frame, blocks: Array | None) -> None:
        """Whole blocks have met: what they did before is in order. None: all blocks."""
        if blocks is None:
            self.noted.clear()
            if self.dirty:
                np.minimum(self.writer, BEFORE, out=self.writer)
            if self.read_any:
                self.reader[:] = 0
            self.dirty = self.read_any = False
            return
        self._look(frame)
        writer = self.writer.reshape(-1, self.size >> self.shift)
        reader = self.reader.reshape(-1, self.size >> self.shift)
        writer[blocks] = np.minimum(writer[blocks], BEFORE)
        reader[blocks] = 0

    def meet(self, frame: Frame) -> None:
        """The lanes of these warps have met."""
        self._look(frame)
        self.time += 1
        for warp in np.unique(self._warp(frame, frame.threads + FIRST)):
            self.met[int(warp)] = self.time
