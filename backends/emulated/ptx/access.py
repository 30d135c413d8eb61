"""Instructions that touch memory: loads, stores and atomics, of every state space."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ....ir.errors import BackendError
from .frame import Frame
from .memory import AccessError
from .parser import Instruction
from .rounding import from_bf16, to_bf16
from .types import F32, TYPES, U32, UNSIGNED, Array, DType, Value, as_type, extend

# Generic addresses: each space has a window; what lies below is global memory, as it is.
WINDOWS = {"shared": 1 << 60, "local": 2 << 60, "param": 3 << 60}
SPACES = ("global", "shared", "local", "param", "const")

_numbers = itertools.count()  # of the loads, so that memory can remember where each went
_NAMES = {start >> 60: name for name, start in WINDOWS.items()}

Run = Callable[[Frame], None]
Access = Callable[[Frame, Value], None]
Read = Callable[[list[Value]], Value]  # the address of an operand, uint64


def space_of(instruction: Instruction) -> str:
    """The state space that an access names; "generic" where it names none."""
    for word in instruction.opcode:
        base = word.split("_")[0]
        if base in SPACES:
            if word in ("shared_cluster", "param_func"):
                raise BackendError(f"PTX line {instruction.line}: {word} is not emulated")
            return base
    return "generic"


def access_size(instruction: Instruction) -> tuple[DType, int]:
    """Type and number of the elements of a load or store."""
    kind = instruction.opcode[-1]
    count = next((int(w[1:]) for w in instruction.opcode if w in ("v2", "v4", "v8")), 1)
    if kind not in TYPES or kind == "pred" or TYPES[kind].itemsize * count > 16:
        raise BackendError(
            f"PTX line {instruction.line}: this access is not emulated: {instruction.text}"
        )
    return TYPES[kind], count


def load(instruction: Instruction, address: Read, base: int, slots: list[tuple[int, DType]]) -> Run:
    """``ld``: elements to ``slots``, which have declared types; the address is off ``base``."""
    dtype, count = access_size(instruction)
    number = next(_numbers)
    shift = dtype.itemsize.bit_length() - 1
    size = dtype.itemsize * count
    space = space_of(instruction)

    def put(frame: Frame, memory: Array, index: Value) -> None:
        for k, (slot, register) in enumerate(slots):
            if slot >= 0:
                frame.values[slot] = extend(memory[index + k], register)

    def at_global(frame: Frame, addresses: Value) -> None:
        heap, work = frame.launch.heap, frame.launch.work
        offsets = heap.locate(addresses, size, load=True, what="load")
        frame.count_sectors(offsets, size)
        work.bytes_read += frame.count * size
        put(frame, heap.view(dtype), offsets // dtype.itemsize)

    def at_shared(frame: Frame, addresses: Value) -> None:
        shared = _shared(frame)
        at = shared.load(frame, number, addresses, lambda: addresses, size)
        frame.launch.work.shared_bytes += frame.count * size
        put(frame, shared.view(dtype), at >> shift)

    def by_name(frame: Frame) -> None:
        # The register's array is the same as long as nobody writes it: then so are the places.
        shared = _shared(frame)
        values = frame.values
        at = shared.load(frame, number, values[base], lambda: address(values), size)
        frame.launch.work.shared_bytes += frame.count * size
        put(frame, shared.view(dtype), at >> shift)

    def at_local(frame: Frame, addresses: Value) -> None:
        if frame.local is None:
            raise AccessError("local memory out of bounds: this kernel has none", 0, 0)
        at = frame.local.locate(frame, addresses, size, load=True)
        put(frame, frame.local.data.view(dtype), at // dtype.itemsize)

    def at_param(frame: Frame, addresses: Value) -> None:
        at = np.asarray(addresses).astype(np.int64)
        params = frame.launch.params  # padded to a multiple of 16
        if at.max() > len(params) - size or (at % dtype.itemsize).any():
            raise AccessError("read outside of the kernel's parameters", 0, int(at.max()))
        put(frame, params.view(dtype), (at // dtype.itemsize)[()])

    spaces: dict[str, Access] = {
        "global": at_global, "const": at_global, "shared": at_shared, "local": at_local,
        "param": at_param,
    }  # fmt: skip
    if space == "shared":
        return by_name
    return _bound(spaces, space, address, [s for s, _ in slots])


def store(instruction: Instruction, address: Read, slots: list[int]) -> Run:
    """``st``: the elements come from ``slots``."""
    dtype, count = access_size(instruction)
    size = dtype.itemsize * count
    space = space_of(instruction)
    bits = UNSIGNED[dtype.itemsize]

    def put(frame: Frame, memory: Array, index: Value) -> Array | None:
        """Store; which lanes find something else there afterwards."""
        lost = None
        for k, slot in enumerate(slots):
            value = as_type(frame.values[slot], bits)
            if index.ndim == 0 and value.ndim:
                index = np.broadcast_to(index, value.shape)
            memory[index + k] = value
            if index.ndim and (memory[index + k] != value).any():
                lost = memory[index + k] != value
        return lost

    def at_global(frame: Frame, addresses: Value) -> None:
        heap, work = frame.launch.heap, frame.launch.work
        offsets = heap.locate(addresses, size, load=False, what="store")
        frame.count_sectors(offsets, size)
        work.bytes_written += frame.count * size
        lost = put(frame, heap.view(bits), offsets // dtype.itemsize)
        if lost is not None:
            work.write_conflicts += int(np.count_nonzero(lost))

    def at_shared(frame: Frame, addresses: Value) -> None:
        shared = _shared(frame)
        at = shared.store(frame, addresses, size)
        frame.launch.work.shared_bytes += frame.count * size
        put(frame, shared.view(bits), at // dtype.itemsize)

    def at_local(frame: Frame, addresses: Value) -> None:
        if frame.local is None:
            raise AccessError("local memory out of bounds: this kernel has none", 0, 0)
        at = frame.local.locate(frame, addresses, size, load=False)
        put(frame, frame.local.data.view(bits), at // dtype.itemsize)

    def at_read_only(frame: Frame, addresses: Value) -> None:
        raise AccessError("store to memory that is read only", 0, 0)

    spaces: dict[str, Access] = {
        "global": at_global, "shared": at_shared, "local": at_local, "const": at_read_only,
        "param": at_read_only,
    }  # fmt: skip
    return _bound(spaces, space, address, [])


def _shared(frame: Frame) -> Value:
    if frame.shared is None:
        raise AccessError("shared memory out of bounds: this kernel has none", 0, 0)
    return frame.shared


def _bound(spaces: dict[str, Access], space: str, address: Read, writes: list[int]) -> Run:
    """The access with its operand's address; a generic one goes, lane by lane, by its window."""
    if space != "generic":
        access = spaces[space]
        return lambda frame: access(frame, address(frame.values))

    def run(frame: Frame) -> None:
        addresses = np.broadcast_to(np.asarray(address(frame.values)), (frame.count,))
        windows = addresses >> np.uint64(60)
        for window in np.unique(windows):
            name = _NAMES.get(int(window), "global")
            start = np.uint64(WINDOWS.get(name, 0))
            lanes = np.flatnonzero(windows == window)
            if len(lanes) == frame.count:
                spaces[name](frame, addresses - start)
                continue
            part = frame.subset(lanes, tuple(range(len(frame.values))))
            try:
                spaces[name](part, addresses[lanes] - start)
            except AccessError as error:
                lane = int(lanes[error.lane])
                raise AccessError(error.problem, lane, error.address) from None
            frame.merge(part, lanes, tuple(s for s in writes if s >= 0))

    return run


# -- atomics --------------------------------------------------------------------------------------


def atomic(
    instruction: Instruction, address: Read, result: tuple[int, DType] | None, slots: list[int]
) -> Run:
    """``atom`` and ``red``: lanes in order, which is one of the orders that a GPU may take."""
    opcode = instruction.opcode
    kind = opcode[-1]
    names = ("add", "min", "max", "exch", "cas", "and", "or", "xor", "inc", "dec")
    name = next((w for w in opcode if w in names), "")
    if kind not in TYPES or not name or kind.endswith("x2"):
        raise BackendError(
            f"PTX line {instruction.line}: this atomic is not emulated: {instruction.text}"
        )
    dtype = TYPES[kind]
    size = dtype.itemsize
    space = space_of(instruction)
    floating = dtype.kind == "f" or kind == "bf16"
    combine = _combine(name, kind)

    def apply(frame: Frame, memory: Array, index: Array) -> None:
        work = frame.launch.work
        work.atomics += frame.count
        if floating:
            work.float_atomics += frame.count
        args = [np.broadcast_to(as_type(frame.values[s], dtype), (frame.count,)) for s in slots]
        if result is None and name == "add" and kind != "bf16":
            np.add.at(memory, index, args[0])
            return
        old = np.empty(frame.count, dtype)
        for lane in range(frame.count):
            at = index[lane]
            old[lane] = memory[at]
            memory[at] = combine(memory[at], *(a[lane] for a in args))
        if result is not None:
            frame.values[result[0]] = extend(old, result[1])

    def at_global(frame: Frame, addresses: Value) -> None:
        heap, work = frame.launch.heap, frame.launch.work
        offsets = heap.locate(addresses, size, load=True, what="atomic")
        frame.count_sectors(offsets, size)
        work.bytes_read += frame.count * size
        work.bytes_written += frame.count * size
        index = np.broadcast_to(offsets // size, (frame.count,))
        apply(frame, heap.view(dtype), index)

    def at_shared(frame: Frame, addresses: Value) -> None:
        shared = _shared(frame)
        at = shared.atomic(frame, addresses, size)
        apply(frame, shared.view(dtype), at // size)

    def refuse(frame: Frame, addresses: Value) -> None:
        raise AccessError("atomic on memory that only one thread has", 0, 0)

    spaces: dict[str, Access] = {
        "global": at_global,
        "shared": at_shared,
        "local": refuse,
        "param": refuse,
    }
    writes = [] if result is None else [result[0]]
    return _bound(spaces, space, address, writes)


def _combine(name: str, kind: str) -> Callable[..., Value]:
    def increment(old: Value, limit: Value) -> Value:
        return old.dtype.type(0) if old >= limit else old + old.dtype.type(1)

    def decrement(old: Value, limit: Value) -> Value:
        return limit if old == 0 or old > limit else old - old.dtype.type(1)

    def add(old: Value, by: Value) -> Value:
        if kind == "bf16":
            return to_bf16(from_bf16(old).astype(F32) + from_bf16(by))
        return old + by

    table: dict[str, Callable[..., Value]] = {
        "add": add, "min": np.minimum, "max": np.maximum, "exch": lambda old, new: new,
        "cas": lambda old, expected, new: new if old == expected else old,
        "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
        "inc": increment, "dec": decrement,
    }  # fmt: skip
    return table[name]


def vote(opcode: tuple[str, ...]) -> Callable[[Array], Value]:
    """What ``vote`` makes of a warp's predicates: rows of 32, absent lanes hold its identity."""
    if "all" in opcode:
        return lambda rows: rows.all(axis=1)
    if "any" in opcode:
        return lambda rows: rows.any(axis=1)
    if "ballot" in opcode:
        weights = np.uint64(1) << np.arange(32, dtype=np.uint64)
        return lambda rows: (rows * weights).sum(axis=1, dtype=np.uint64).astype(U32)
    raise BackendError(f"PTX {'.'.join(opcode)} is not emulated")
