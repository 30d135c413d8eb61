"""Runs a kernel: the lanes of many blocks in step, the lowest instruction first.

Where lanes part at a branch, those at the lowest instruction run first, which brings them together
again behind the branch (NVRTC lays code out so). Lanes that return leave the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ....ir.errors import BackendError
from ..counters import KernelCounts
from ..errors import DeviceFault
from .decode import Code
from .flow import Block
from .frame import SECTOR, Frame, Launch, Local
from .memory import AccessError, Heap
from .parser import Instruction, Module
from .shared import Shared
from .types import U32, Array, Value, round_up

LANES = 1 << 14  # that run in step; registers of this many lanes stay in the cache
PATIENCE = 2_000_000  # basic blocks of one chunk before a kernel counts as endless
MAX_THREADS = 1024  # of a block, on every device since 2010
MAX_SHARED = 232448  # bytes of a block on compute capability 9.0
Dim = tuple[int, int, int]


class Program:
    """A PTX module whose variables have their places in a heap."""

    def __init__(self, module: Module, heap: Heap) -> None:
        self.module = module
        self.heap = heap
        self.addresses: dict[str, int] = {}
        for name, variable in module.variables.items():
            self.addresses[name] = heap.allocate(max(1, variable.size))
            if variable.content is not None and variable.size:
                raw = np.frombuffer(variable.content, np.uint8)
                heap.write(self.addresses[name], raw)
        self._codes: dict[str, Code] = {}

    def code(self, name: str) -> Code:
        """The decoded function. Raises BackendError where it has what is not emulated."""
        if name not in self._codes:
            code = Code(self.module, self.module.functions[name], self.code)
            for slot, variable in code.variables.items():
                code.initial[slot] = np.uint64(self.addresses[variable])
            self._codes[name] = code
        return self._codes[name]

    def unload(self) -> None:
        """Give the module's variables back."""
        for address in self.addresses.values():
            self.heap.free(address)
        self.addresses.clear()


def launch(
    program: Program,
    name: str,
    grid: Dim,
    block: Dim,
    params: bytes,
    *,
    dynamic_shared: int = 0,
    traffic: bool = False,
    lenient: bool = False,
) -> KernelCounts:
    """Run a kernel to its end and tell what it did.

    ``params`` are the arguments as the kernel's parameter space has them. ``lenient`` lets
    threads return before a barrier that others reach (devices since Volta do) and read shared
    memory that nobody wrote. Raises DeviceFault where the kernel does what it must not, and
    BackendError where it cannot run here.
    """
    code = program.code(name)
    work = KernelCounts(launches=1)
    threads = block[0] * block[1] * block[2]
    shared = round_up(round_up(code.static_shared, 16) + dynamic_shared, 16)
    padded = params.ljust(round_up(len(params), 16), b"\0")
    run = Launch(name, grid, block, program.heap, np.frombuffer(padded, np.uint8), work, lenient)
    most = code.function.max_threads or MAX_THREADS
    if not 0 < threads <= most or min(*grid, *block) < 1:
        raise DeviceFault(
            f"a launch of {grid} blocks of {block} threads: a block of it has 1 to {most} threads",
            kernel=name,
        )
    if shared > MAX_SHARED:
        raise DeviceFault(f"{shared} bytes of shared memory: {MAX_SHARED} are there", kernel=name)
    if traffic:
        run.touched = np.zeros(program.heap.capacity // SECTOR + 1, np.bool_)
    blocks = grid[0] * grid[1] * grid[2]
    step = max(1, LANES // threads)
    with np.errstate(all="ignore"):
        for first in range(0, blocks, step):
            _chunk(code, run, first, min(step, blocks - first), shared)
    if run.touched is not None:
        work.distinct_sectors = int(np.count_nonzero(run.touched))
    return work


def _chunk(code: Code, run: Launch, first: int, blocks: int, shared_bytes: int) -> None:
    threads = run.threads
    count = blocks * threads
    run.first_block = first
    lanes = np.arange(count)
    values = code.start_values()
    for name, slot in code.function.special.items():
        values[slot] = _special(name, run, first, blocks)
    granule = min(code.granule, 8)
    shared = Shared(blocks, shared_bytes, granule, warps=code.meets) if shared_bytes else None
    local = Local(count, code.local_bytes) if code.local_bytes else None
    warps = -(-threads // 32)
    run.alive = np.full((blocks, warps), 0xFFFFFFFF, np.uint64)
    if threads % 32:
        run.alive[:, -1] = (1 << threads % 32) - 1
    run.alive = run.alive.reshape(-1)
    frame = Frame(run, values, lanes, shared, local, full=threads % 32 == 0)
    run_lanes(code, frame, calls=False)


def _special(name: str, run: Launch, first: int, blocks: int) -> Value:
    """The value of a special register, an array only where lanes differ."""
    kind, _, axis = name[1:].partition(".")
    at = "xyz".find(axis) if axis else 0
    if kind == "ntid":
        return np.uint32(run.block[at])
    if kind == "nctaid":
        return np.uint32(run.grid[at])
    if kind == "ctaid":
        if run.grid[at] == 1:
            return np.uint32(0)
        number = np.arange(first, first + blocks)
        number = number // int(np.prod(run.grid[:at], dtype=np.int64)) % run.grid[at]
        return np.repeat(number.astype(U32), run.threads) if blocks > 1 else np.uint32(number[0])
    if kind == "tid" and run.block[at] == 1:
        return np.uint32(0)
    if kind in ("tid", "laneid", "warpid") or kind.startswith("lanemask"):
        return _thread_number(kind, at, run.block, blocks)
    return np.uint32(0)  # clocks and the number of the multiprocessor


@lru_cache(maxsize=64)
def _thread_number(kind: str, axis: int, block: Dim, blocks: int) -> Array:
    thread = np.arange(block[0] * block[1] * block[2])
    lane = thread % 32
    if kind == "tid":
        number = thread // int(np.prod(block[:axis], dtype=np.int64)) % block[axis]
    elif kind == "laneid":
        number = lane
    elif kind == "warpid":
        number = thread // 32
    else:
        one = np.ones_like(lane)
        below = (one << lane) - 1
        mine = one << lane
        number = {
            "lanemask_eq": mine, "lanemask_lt": below, "lanemask_le": below | mine,
            "lanemask_gt": 0xFFFFFFFF & ~(below | mine), "lanemask_ge": 0xFFFFFFFF & ~below,
        }[kind]  # fmt: skip
    found = np.tile(number.astype(U32), blocks)
    found.flags.writeable = False
    return found


def run_lanes(code: Code, frame: Frame, *, calls: bool) -> None:
    """Run all lanes of a frame until they return. In a call nobody leaves the arrays."""
    _Run(code, frame, calls=calls).run()


class _Run:
    def __init__(self, code: Code, frame: Frame, *, calls: bool) -> None:
        self.code = code
        self.frame = frame
        self.calls = calls
        self.alive = frame.count
        # Instruction -> the groups of lanes that come to it; None is all lanes of the frame.
        self.pending: dict[int, list[Array | None]] = {0: [None]}
        self.waiting: dict[int, list[tuple[Array | None, Instruction]]] = {}
        self.meeting: dict[int, list[tuple[Array | None, Instruction]]] = {}
        threads = frame.launch.threads
        self.blocks = int(frame.threads[-1]) // threads + 1 if frame.count else 0
        self.alive_in = np.full(self.blocks, threads)

    def run(self) -> None:
        blocks, work = self.code.blocks, self.frame.launch.work
        patience = PATIENCE
        while True:
            if not self.pending:
                if self.meeting:
                    self._meet()
                elif self.waiting:
                    self._release()
                else:
                    return
                continue
            patience -= 1
            at = min(self.pending)
            block = blocks.get(at)
            lanes = self._join(self.pending.pop(at))
            if block is None:  # past the last instruction
                self._leave(lanes)
                continue
            if patience < 0:
                step = block.steps[0].instruction if block.steps else block.end.instruction
                raise self._fault("the kernel does not come to an end", step, None, lanes)
            if lanes is not None and len(lanes) == self.alive and not self.calls:
                self._compact(lanes)
                lanes = None
            frame = self.frame if lanes is None else self.frame.subset(lanes, block.reads)
            work.instructions += (
                len(block.steps) + (block.end.instruction is not None)
            ) * frame.count
            self._steps(block, frame, lanes)
            if lanes is not None:
                self.frame.merge(frame, lanes, block.outs)
            self._end(block, frame, lanes)

    def _steps(self, block: Block, frame: Frame, lanes: Array | None) -> None:
        step = None
        try:
            for step in block.steps:
                step.run(frame)
        except AccessError as error:
            assert step is not None
            raise self._fault(error.problem, step.instruction, error, lanes) from None

    # -- control flow -----------------------------------------------------------------------------

    def _go(self, at: int, lanes: Array | None) -> None:
        self.pending.setdefault(at, []).append(lanes)

    def _join(self, groups: list[Array | None]) -> Array | None:
        if len(groups) == 1:
            return groups[0]
        joined = np.concatenate([g for g in groups if g is not None])
        joined.sort(kind="stable")  # of sorted parts: a merge
        return None if len(joined) == self.frame.count else joined

    def _end(self, block: Block, frame: Frame, lanes: Array | None) -> None:
        end = block.end
        if end.kind == "next":
            self._go(block.next, lanes)
        elif end.kind == "barrier":
            assert end.instruction is not None
            self.waiting.setdefault(block.next, []).append((lanes, end.instruction))
        elif end.kind == "warp":
            assert end.instruction is not None
            if frame.full:
                self._met(frame)
                self._go(block.next, lanes)
            else:
                self.meeting.setdefault(block.next, []).append((lanes, end.instruction))
        else:
            yes, no = self._split(frame, lanes, end.guard, end.negated)
            if yes is not _NOBODY:
                if end.kind == "branch":
                    self._go(end.target, yes)  # type: ignore[arg-type]
                else:
                    self._leave(yes)  # type: ignore[arg-type]
            if no is not _NOBODY:
                self._go(block.next, no)  # type: ignore[arg-type]

    def _split(
        self, frame: Frame, lanes: Array | None, guard: int, negated: bool
    ) -> tuple[object, object]:
        """The lanes that jump and those that do not."""
        if guard < 0:
            return lanes, _NOBODY
        taken = frame.values[guard]
        if negated:
            taken = np.logical_not(taken)
        if taken.ndim == 0 or (every := taken.all()) or not taken.any():
            return (lanes, _NOBODY) if (taken if taken.ndim == 0 else every) else (_NOBODY, lanes)
        yes, no = np.flatnonzero(taken), np.flatnonzero(~taken)
        return (yes, no) if lanes is None else (lanes[yes], lanes[no])

    def _leave(self, lanes: Array | None) -> None:
        if self.calls:
            return
        frame = self.frame
        threads = frame.threads if lanes is None else frame.threads[lanes]
        self.alive -= len(threads)
        per = frame.launch.threads
        self.alive_in -= np.bincount(threads // per, minlength=self.blocks)
        warps = threads // per * -(-per // 32) + threads % per // 32
        gone = np.uint64(1) << (threads % per % 32).astype(np.uint64)
        np.bitwise_and.at(frame.launch.alive, warps, ~gone)

    def _compact(self, lanes: Array) -> None:
        """Only these lanes are left: shrink the arrays to them."""
        slots = tuple(range(len(self.frame.values)))
        self.frame = self.frame.subset(lanes, slots)

    # -- barriers ---------------------------------------------------------------------------------

    def _release(self) -> None:
        """All lanes wait: let the blocks go on whose lanes all wait at one barrier."""
        frame = self.frame
        per = frame.launch.threads
        groups = []
        for at, parts in self.waiting.items():
            lanes = self._join([lanes for lanes, _ in parts])
            threads = frame.threads if lanes is None else frame.threads[lanes]
            groups.append((at, lanes, threads, parts[0][1]))
        self.waiting = {}
        for at, lanes, threads, instruction in groups:
            found = np.bincount(threads // per, minlength=self.blocks)
            # CUDA wants a barrier to be reached by the whole block, or by all that are left of it.
            expected = self.alive_in if frame.launch.lenient else per
            missing = (found > 0) & (found != expected)
            if missing.any():
                block = int(np.argmax(missing))
                lane = int(np.argmax(threads // per == block))
                rest = int(self.alive_in[block]) - int(found[block])
                others = (
                    f"{rest} wait at another"
                    if rest
                    else f"{per - int(found[block])} have returned"
                )
                problem = (
                    f"divergent barrier: {int(found[block])} of {per} threads of a block reach it,"
                    f" {others}"
                )
                where = lane if lanes is None else int(lanes[lane])
                raise self._fault(problem, instruction, AccessError(problem, where, 0), None, False)
            whole = lanes is None and self.alive == frame.count
            count = int(np.count_nonzero(found))
            frame.launch.work.barriers += count
            if frame.shared is not None:
                frame.shared.barrier(frame, None if whole else np.flatnonzero(found))
            self._go(at, lanes)

    def _met(self, frame: Frame) -> None:
        if frame.shared is not None:
            frame.shared.meet(frame)

    def _meet(self) -> None:
        """Lanes wait for their warps: all that are left of a warp must be here."""
        frame = self.frame
        groups = [(at, lanes, i) for at, ps in self.meeting.items() for lanes, i in ps]
        self.meeting = {}
        for at, lanes, instruction in groups:
            part = frame if lanes is None else frame.subset(lanes, ())
            warps, row = np.unique(part.warps(), return_inverse=True)
            present = np.zeros(len(warps), np.uint64)
            bits = np.uint64(1) << part.laneids().astype(np.uint64)
            np.bitwise_or.at(present, row, bits)
            missing = present != frame.launch.alive[warps]
            if missing.any():
                lane = int(np.argmax(missing[row]))
                problem = "divergent bar.warp.sync: lanes of the warp run elsewhere"
                raise self._fault(problem, instruction, AccessError(problem, lane, 0), lanes, False)
            self._met(part)
            self._go(at, lanes)

    # -- faults -----------------------------------------------------------------------------------

    def _fault(
        self,
        problem: str,
        instruction: Instruction | None,
        error: AccessError | None,
        lanes: Array | None,
        access: bool = True,
    ) -> DeviceFault:
        run = self.frame.launch
        block = thread = None
        if error is not None:
            lane = error.lane if lanes is None else int(lanes[error.lane])
            number = int(self.frame.threads[lane])
            block = _unravel(run.first_block + number // run.threads, run.grid)
            thread = _unravel(number % run.threads, run.block)
        return DeviceFault(
            problem,
            kernel=run.kernel,
            instruction="" if instruction is None else instruction.text,
            ptx_line=None if instruction is None else instruction.line,
            cuda_line=None if instruction is None else instruction.source,
            block=block,
            thread=thread,
            address=error.address if error is not None and access else None,
        )


_NOBODY = object()


def _unravel(number: int, size: Sequence[int]) -> Dim:
    return number % size[0], number // size[0] % size[1], number // (size[0] * size[1])


def kernel_of(program: Program, name: str) -> Code:
    """The code of a kernel. Raises BackendError where the module has none of that name."""
    function = program.module.functions.get(name)
    if function is None or not function.entry:
        known = ", ".join(n for n, f in program.module.functions.items() if f.entry)
        raise BackendError(f"no kernel {name!r} in this PTX; it has: {known or 'none'}")
    return program.code(name)
