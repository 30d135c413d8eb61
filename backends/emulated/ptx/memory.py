"""The emulated device's memory: made-up addresses, a gap after each buffer, and a state per byte.

A byte is unmapped, mapped but never written, or set; kernels and copies check it. What is freed
stays unmapped until the space is needed again, so that a use after free is found.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

from .types import UNSIGNED, Array, DType, Value

BASE = 0x7F00_0000_0000
GAP = 256  # bytes left unmapped after each buffer
ALIGN = 512  # of a buffer's address; CUDA promises 256
RAW, SET = 1, 3  # states of a mapped byte; 0 is unmapped
_ALL_SET = {n: UNSIGNED[n].type(int.from_bytes(bytes([SET]) * n, "little")) for n in UNSIGNED}
_ALL_RAW = {n: UNSIGNED[n].type(int.from_bytes(bytes([RAW]) * n, "little")) for n in UNSIGNED}


class AccessError(Exception):
    """An access that is refused: what is wrong, and which of the addresses it is."""

    def __init__(self, problem: str, lane: int, address: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.lane = lane
        self.address = address


class OutOfDeviceMemory(Exception):
    """No room for an allocation."""


class Heap:
    """``capacity`` bytes of device memory. The pages are taken from the system when touched."""

    def __init__(self, capacity: int = 1 << 28) -> None:
        capacity = -(-capacity // ALIGN) * ALIGN
        self.capacity = capacity
        self.data: Array = np.zeros(capacity, np.uint8)
        self.state: Array = np.zeros(capacity, np.uint8)
        self._data = {n: self.data.view(t) for n, t in UNSIGNED.items()}
        self._state = {n: self.state.view(t) for n, t in UNSIGNED.items()}
        self._views: dict[DType, Array] = {}
        self._top = ALIGN
        self._free: list[tuple[int, int]] = []  # (offset, length), sorted, in use by nobody
        self._sizes: dict[int, tuple[int, int]] = {}  # offset -> (asked, taken)
        self._freed: dict[int, int] = {}  # offset -> bytes, for messages
        self.used = 0

    # -- buffers ----------------------------------------------------------------------------------

    def allocate(self, size: int) -> int:
        """The address of ``size`` fresh bytes, which count as never written.

        Raises OutOfDeviceMemory.
        """
        taken = -(-(size + GAP) // ALIGN) * ALIGN
        if self._top + taken <= self.capacity:
            offset = self._top
            self._top += taken
        else:
            offset = self._reuse(taken)
        self._sizes[offset] = (size, taken)
        self._freed.pop(offset, None)
        self.used += size
        self.state[offset : offset + size] = RAW
        self.data[offset : offset + size] = 0xFF  # NaN, should a check ever miss it
        return BASE + offset

    def _reuse(self, taken: int) -> int:
        for i, (offset, length) in enumerate(self._free):
            if length >= taken:
                if length == taken:
                    del self._free[i]
                else:
                    self._free[i] = (offset + taken, length - taken)
                return offset
        raise OutOfDeviceMemory

    def free(self, address: int) -> None:
        """Unmap a buffer. Raises AccessError where none begins at ``address``."""
        offset = address - BASE
        if offset not in self._sizes:
            problem = "freed twice" if offset in self._freed else "free of what is no buffer"
            raise AccessError(problem, 0, address)
        size, taken = self._sizes.pop(offset)
        self.used -= size
        self.state[offset : offset + size] = 0
        self._freed[offset] = size
        self._free.append((offset, taken))
        self._free.sort()
        merged: list[tuple[int, int]] = []
        for start, length in self._free:
            if merged and sum(merged[-1]) == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + length)
            else:
                merged.append((start, length))
        self._free = merged

    @property
    def available(self) -> int:
        """Bytes that one allocation could still get."""
        return max(0, *(length for _, length in self._free), self.capacity - self._top, 0) - GAP

    def size_of(self, address: int) -> int | None:
        """The size of the buffer that begins at ``address``."""
        found = self._sizes.get(address - BASE)
        return None if found is None else found[0]

    def holds(self, address: int) -> bool:
        """Whether ``address`` is one of this device."""
        return BASE <= address < BASE + self.capacity

    # -- copies from and to the host --------------------------------------------------------------

    def write(self, address: int, raw: Array) -> None:
        """Copy bytes in. Raises AccessError outside of buffers."""
        span = self._span(address, raw.size, "copy to")
        self.data[span] = raw
        self.state[span] = SET

    def read(self, address: int, size: int, *, checked: bool = True) -> Array:
        """A copy of bytes; ``checked`` refuses those that nothing has written."""
        span = self._span(address, size, "copy from")
        if checked:
            raw = np.flatnonzero(self.state[span] != SET)
            if raw.size:
                at = address + int(raw[0])
                raise AccessError("copy of memory that nothing has written", 0, at)
        return self.data[span].copy()

    def move(self, to: int, source: int, size: int) -> None:
        """Copy within the device; what was never written stays so."""
        a, b = self._span(to, size, "copy to"), self._span(source, size, "copy from")
        self.data[a], self.state[a] = self.data[b].copy(), self.state[b].copy()

    def mark_uninitialised(self, address: int, size: int) -> None:
        """Let these bytes count as never written."""
        span = self._span(address, size, "marking")
        self.state[span] = RAW
        self.data[span] = 0xFF

    def _span(self, address: int, size: int, what: str) -> slice:
        offset = address - BASE
        span = slice(offset, offset + size)
        if size and not (0 <= offset <= self.capacity - size and self.state[span].all()):
            bad = 0
            if 0 <= offset < self.capacity:
                bad = int(np.argmax(self.state[span] == 0))
            problem = f"{what} device memory out of bounds: {self.describe(address + bad)}"
            raise AccessError(problem, 0, address + bad)
        return span

    # -- accesses of kernels ----------------------------------------------------------------------

    def view(self, dtype: DType) -> Array:
        """All of the memory as elements of ``dtype``."""
        if dtype not in self._views:
            self._views[dtype] = self.data.view(dtype)
        return self._views[dtype]

    def locate(self, addresses: Value, size: int, *, load: bool, what: str) -> Value:
        """Byte offsets of accesses of ``size`` bytes (1 … 16), after all checks.

        ``addresses`` are uint64. A store marks its bytes as written. Raises AccessError.
        """
        offsets = addresses - np.uint64(BASE)  # what lies below wraps to a huge number
        if np.max(offsets) > self.capacity - size:
            self._refuse(addresses, offsets > np.uint64(self.capacity - size), size, what)
        if size > 1 and np.bitwise_or.reduce(np.atleast_1d(offsets)) & np.uint64(size - 1):
            self._refuse_misaligned(addresses, size, what)
        offsets = offsets.astype(np.int64)
        unit = min(size, 8)
        words, goal = self._state[unit], _ALL_SET[unit]
        index = offsets >> (unit.bit_length() - 1)
        for k in range(size // unit):
            found = words[index + k]
            written = found == goal
            if written.all():
                continue
            # Every byte must be mapped: the lowest bit of each.
            unmapped = (found & _ALL_RAW[unit]) != _ALL_RAW[unit]
            if np.any(unmapped):
                self._refuse(addresses, unmapped, size, what)
            if load:
                self._refuse_raw(addresses, ~written, what)
            words[index + k] = goal
        return offsets

    def _refuse(self, addresses: Value, bad: Value, size: int, what: str) -> None:
        lane = int(np.argmax(np.atleast_1d(bad)))
        address = int(np.atleast_1d(addresses)[lane])
        problem = f"{what} of {size} bytes out of bounds: {self.describe(address)}"
        raise AccessError(problem, lane, address)

    def _refuse_misaligned(self, addresses: Value, size: int, what: str) -> None:
        bad = (np.atleast_1d(addresses) & np.uint64(size - 1)) != 0
        lane = int(np.argmax(bad))
        address = int(np.atleast_1d(addresses)[lane])
        raise AccessError(f"misaligned {what} of {size} bytes at {address:#x}", lane, address)

    def _refuse_raw(self, addresses: Value, bad: Value, what: str) -> None:
        lane = int(np.argmax(np.atleast_1d(bad)))
        address = int(np.atleast_1d(addresses)[lane])
        problem = f"{what} of memory that nothing has written: {self.describe(address)}"
        raise AccessError(problem, lane, address)

    def describe(self, address: int) -> str:
        """Where an address lies, in words."""
        offset = address - BASE
        if not 0 <= offset < self.capacity:
            return f"{address:#x} is no address of the device"
        for table, words in ((self._sizes, "a buffer"), (self._freed, "a freed buffer")):
            starts = sorted(table)
            at = bisect_right(starts, offset) - 1
            if at < 0:
                continue
            found: Any = table[starts[at]]
            size = found if isinstance(found, int) else found[0]
            past = offset - starts[at] - size
            where = f"of {size} bytes at {BASE + starts[at]:#x}"
            if past < 0:
                return f"{address:#x} is byte {offset - starts[at]} of {words} {where}"
            if past < GAP:
                return f"{address:#x} is {past} bytes past the end of {words} {where}"
        return f"{address:#x} is in no buffer"
