"""Instructions by which the lanes of a warp speak to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ....ir.errors import BackendError
from .access import vote
from .flow import Step
from .frame import Frame
from .memory import AccessError
from .parser import Instruction, Vector
from .types import BOOL, TYPES, U32, Array, Value, as_type, extend

if TYPE_CHECKING:
    from .decode import Code

_WEIGHTS = np.uint64(1) << np.arange(32, dtype=np.uint64)


def step(code: Code, i: Instruction) -> Step:
    """``shfl.sync``, ``vote.sync``, ``redux.sync`` or ``activemask``."""
    name = i.opcode[0]
    if name == "shfl" and "sync" in i.opcode:
        return _shuffle(code, i)
    if name == "vote" and "sync" in i.opcode:
        return _vote(code, i)
    if name == "redux" and "sync" in i.opcode:
        return _redux(code, i)
    if name == "activemask":
        return _active(code, i)
    raise BackendError(f"PTX line {i.line} is not emulated: {i.text}")


def _check_mask(frame: Frame, mask: Value) -> None:
    """Each lane must be in its mask, and every lane of the mask that has not returned be here."""
    mask = as_type(mask, U32)
    if frame.full and mask.ndim == 0 and mask == 0xFFFFFFFF:
        return
    lane = frame.laneids()
    mask = np.broadcast_to(mask, (frame.count,)).astype(np.uint64)
    outside = (mask >> lane.astype(np.uint64)) & np.uint64(1) == 0
    if outside.any():
        bad = int(np.argmax(outside))
        raise AccessError("a warp instruction runs in a lane that its mask leaves out", bad, 0)
    warps, first = np.unique(frame.warps(), return_inverse=True)
    present = np.zeros(len(warps), np.uint64)
    np.bitwise_or.at(present, first, np.uint64(1) << lane.astype(np.uint64))
    alive = frame.launch.alive[warps]
    missing = (mask & alive[first] & ~present[first]) != 0
    if missing.any():
        bad = int(np.argmax(missing))
        raise AccessError("a warp instruction waits for lanes that run elsewhere", bad, 0)


def _positions(frame: Frame, lane: Array, source: Array) -> Array:
    """Where in the frame the lane ``source`` of each lane's own warp stands."""
    if frame.full:
        return np.arange(frame.count) - lane + source
    where = np.full(int(frame.threads[-1]) + 33, -1, np.int64)
    where[frame.threads] = np.arange(frame.count)
    wanted = frame.threads - lane + source
    threads = frame.launch.threads
    same = wanted // threads == frame.threads // threads
    found: Array = np.where(same, where[wanted], -1)
    return found


def _shuffle(code: Code, i: Instruction) -> Step:
    targets = i.operands[0].parts if isinstance(i.operands[0], Vector) else (i.operands[0],)
    outs = [code.destination(t, i.line) for t in targets]
    value, by, bounds, mask = (code.source(o, U32, i.line) for o in i.operands[1:])
    mode = i.opcode[2]

    def run(frame: Frame) -> None:
        v = frame.values
        _check_mask(frame, v[mask])
        lane = frame.laneids()
        b = as_type(v[by], U32).astype(np.int64) & 31
        c = as_type(v[bounds], U32).astype(np.int64)
        clamp, segment = c & 31, (c >> 8) & 31
        last = (lane & segment) | (clamp & ~segment)
        if mode == "up":
            source = lane - b
            inside = source >= last
        elif mode == "idx":
            source = (lane & segment) | (b & ~segment)
            inside = source <= last
        else:
            source = lane + b if mode == "down" else lane ^ b
            inside = source <= last
        source = np.where(inside, source, lane)
        at = _positions(frame, lane, source)
        if (at < 0).any():
            bad = int(np.argmax(at < 0))
            raise AccessError(f"shuffle reads lane {int(source[bad])}, which is not active", bad, 0)
        given = as_type(v[value], U32)
        if outs[0] >= 0:
            v[outs[0]] = given[at] if given.ndim else given
        if len(outs) > 1 and outs[1] >= 0:
            v[outs[1]] = np.broadcast_to(inside, (frame.count,))

    writes = tuple(o for o in outs if o >= 0)
    return Step(run, (value, by, bounds, mask), writes, i)


def _rows(
    frame: Frame, values: Value, absent: Value, dtype: np.dtype[np.generic]
) -> tuple[Array, Array]:
    """One row of 32 a warp, and which row each lane is in."""
    warps, row = np.unique(frame.warps(), return_inverse=True)
    table = np.full((len(warps), 32), absent, dtype)
    table[row, frame.laneids()] = values
    return table, row


def _vote(code: Code, i: Instruction) -> Step:
    out = code.destination(i.operands[0], i.line)
    negated = getattr(i.operands[1], "negated", False)
    value = code.source(i.operands[1], BOOL, i.line)
    mask = code.source(i.operands[2], U32, i.line)
    combine = vote(i.opcode)
    absent = np.bool_("all" in i.opcode)

    def run(frame: Frame) -> None:
        v = frame.values
        _check_mask(frame, v[mask])
        given = np.logical_not(v[value]) if negated else v[value]
        table, row = _rows(frame, given, absent, BOOL)
        v[out] = combine(table)[row]

    return Step(run, (value, mask), (out,), i)


def _redux(code: Code, i: Instruction) -> Step:
    name, dtype = i.opcode[2], TYPES[i.opcode[-1]]
    out = code.destination(i.operands[0], i.line)
    value = code.source(i.operands[1], dtype, i.line)
    mask = code.source(i.operands[2], U32, i.line)
    info = np.iinfo(dtype)
    table: dict[str, tuple[np.ufunc, int]] = {
        "add": (np.add, 0), "min": (np.minimum, int(info.max)), "max": (np.maximum, int(info.min)),
        "and": (np.bitwise_and, -1 & int(np.iinfo(U32).max)), "or": (np.bitwise_or, 0),
        "xor": (np.bitwise_xor, 0),
    }  # fmt: skip
    combine, absent = table[name]

    def run(frame: Frame) -> None:
        v = frame.values
        _check_mask(frame, v[mask])
        rows, row = _rows(frame, as_type(v[value], dtype), dtype.type(absent), dtype)
        v[out] = extend(combine.reduce(rows, axis=1, dtype=dtype)[row], code.slots[out])

    return Step(run, (value, mask), (out,), i)


def _active(code: Code, i: Instruction) -> Step:
    out = code.destination(i.operands[0], i.line)

    def run(frame: Frame) -> None:
        table, row = _rows(frame, True, np.bool_(False), BOOL)
        frame.values[out] = (table * _WEIGHTS).sum(axis=1, dtype=np.uint64).astype(U32)[row]

    return Step(run, (), (out,), i)
