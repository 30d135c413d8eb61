"""The emulated device behind CUDA's runtime and driver: memory, streams, events, graphs, faults.

Work runs at once, in the order in which it is submitted, or as late as CUDA allows (streams.py); a
stream that is being captured records it instead. What CUDA refuses while a stream is captured is
refused here too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....ir.errors import BackendError
from .. import counters
from ..ptx import Program, launch, parse
from ..ptx.memory import AccessError, Heap, OutOfDeviceMemory
from ..ptx.types import Array
from .streams import DEFAULT, Point, Queues

# Codes of cudaError_t and CUresult (they agree).
INVALID_VALUE, OUT_OF_MEMORY = 1, 2
INVALID_HANDLE, NOT_FOUND, NOT_READY = 400, 500, 600
ILLEGAL_STATE, OUT_OF_RESOURCES, LAUNCH_FAILED = 401, 701, 719
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURE_UNMATCHED = 900, 901, 903
CAPTURE_UNJOINED, CAPTURE_ISOLATION, CAPTURE_IMPLICIT, CAPTURED_EVENT = 904, 905, 906, 907

DEFAULT_STREAMS = (DEFAULT, 1, 2)
NON_BLOCKING = 1
STATIC_SHARED = 49152  # bytes a block may have unless its kernel's attribute says more
MAX_GRID = (2**31 - 1, 65535, 65535)

Work = Callable[[bool], None]  # takes whether a graph runs it


class CudaError(Exception):
    """A code that the runtime's or the driver's own exception carries to CuPy."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(eq=False)
class Capture:
    """A capture that has begun: what its streams recorded."""

    origin: int
    work: list[Work] = field(default_factory=list)
    streams: set[int] = field(default_factory=set)
    unjoined: set[int] = field(default_factory=set)  # did work that the origin does not wait for
    invalid: bool = False


@dataclass(eq=False)
class Event:
    """A point in a stream."""

    timed: bool
    capture: Capture | None = None
    # Where work runs late: what a stream that waits for it waits for, and in which queues.
    point: Point | None = None
    queues: Queues | None = None
    joins: frozenset[int] = frozenset()
    asked: bool = False  # whether it is done, and it was not


@dataclass(eq=False)
class Kernel:
    """A function of a loaded module."""

    program: Program
    name: str
    dynamic_limit: int = STATIC_SHARED


@dataclass
class Fault:
    """What to let fail; ``fired`` tells whether it was reached."""

    allocation: int | None
    launch: int | None
    lost: int | None
    fired: bool = False
    allocations: int = 0
    launches: int = 0
    operations: int = 0


class Device:
    """One emulated GPU of compute capability 9.0."""

    def __init__(self, memory: int) -> None:
        self.heap = Heap(memory)
        self.limit: int | None = None
        self.faults: list[Fault] = []
        self.captures: dict[int, Capture] = {}
        self.pinned: dict[int, tuple[Any, int]] = {}
        self._handles: dict[int, Any] = {}
        self._next = 4096
        self._flags: dict[int, int] = {}  # stream -> its flags
        self.queues: Queues | None = None  # where work runs late

    # -- handles ----------------------------------------------------------------------------------

    def handle(self, thing: Any) -> int:
        """A number that stands for a thing, as CUDA's pointers do."""
        self._next += 16
        self._handles[self._next] = thing
        return self._next

    def find(self, handle: int, kind: type[Any]) -> Any:
        """The thing behind a handle. Raises CudaError where it is none of that kind."""
        thing = self._handles.get(handle)
        if not isinstance(thing, kind):
            raise CudaError(INVALID_HANDLE)
        return thing

    def drop(self, handle: int) -> None:
        """Forget a handle."""
        if self._handles.pop(handle, None) is None:
            raise CudaError(INVALID_HANDLE)

    # -- faults -----------------------------------------------------------------------------------

    def operation(self) -> None:
        """Count something that a lost device would refuse."""
        counters.count("operations")
        for fault in self.faults:
            if fault.lost is not None and fault.operations >= fault.lost:
                fault.fired = True
                raise CudaError(LAUNCH_FAILED)
            fault.operations += 1

    def _may_allocate(self) -> None:
        for fault in self.faults:
            fault.allocations += 1
            if fault.allocations - 1 == fault.allocation:
                fault.fired = True
                raise CudaError(OUT_OF_MEMORY)

    def _may_launch(self) -> None:
        for fault in self.faults:
            fault.launches += 1
            if fault.launches - 1 == fault.launch:
                fault.fired = True
                raise CudaError(OUT_OF_RESOURCES)

    # -- memory -----------------------------------------------------------------------------------

    def malloc(self, size: int) -> int:
        """cudaMalloc."""
        self.unsafe_in_capture()
        self.operation()
        self._may_allocate()
        if self.limit is not None and self.heap.used + size > self.limit:
            raise CudaError(OUT_OF_MEMORY)
        try:
            address = self.heap.allocate(size)
        except OutOfDeviceMemory:
            raise CudaError(OUT_OF_MEMORY) from None
        counters.count("allocations")
        counters.count("allocated_bytes", size)
        return address

    def free(self, address: int) -> None:
        """cudaFree."""
        if address != 0:
            self._when_idle(lambda: self._free(address))

    def _free(self, address: int) -> None:
        try:
            self.heap.free(address)
        except AccessError as error:
            raise BackendError(f"cudaFree: {error.problem}: {address:#x}") from None
        counters.count("frees")

    def _when_idle(self, action: Callable[[], None]) -> None:
        """Do what waits for the device, as cudaFree does."""
        if self.queues is None:
            action()
        else:
            self.queues.when_idle(action)

    def host_alloc(self, size: int) -> int:
        """cudaHostAlloc: memory of the host at the beginning of a page."""
        buffer = ctypes.create_string_buffer(size + 4096)
        address = -(-ctypes.addressof(buffer) // 4096) * 4096
        self.pinned[address] = (buffer, size)
        counters.count("pinned_allocations")
        return address

    def host_free(self, address: int) -> None:
        """cudaFreeHost."""
        if address not in self.pinned:
            raise CudaError(INVALID_VALUE)
        self._when_idle(lambda: nothing(self.pinned.pop(address)))

    def memory_type(self, address: int) -> int:
        """0 unregistered, 1 pinned, 2 of the device."""
        if self.heap.holds(address):
            return 2
        return int(any(a <= address < a + max(n, 1) for a, (_, n) in self.pinned.items()))

    def copy(self, to: int, source: int, size: int) -> None:
        """The copy itself, in whatever direction the addresses say."""
        self.operation()
        heap = self.heap
        if heap.holds(to) and heap.holds(source):
            counters.count("device_to_device")
            counters.count("device_to_device_bytes", size)
            self._checked(lambda: heap.move(to, source, size))
        elif heap.holds(to):
            counters.count("host_to_device")
            counters.count("host_to_device_bytes", size)
            self._checked(lambda: heap.write(to, host_bytes(source, size)))
        elif heap.holds(source):
            counters.count("device_to_host")
            counters.count("device_to_host_bytes", size)
            found = self._checked(lambda: heap.read(source, size, checked=False))
            host_bytes(to, size)[:] = found
        else:
            ctypes.memmove(to, source, size)

    def submit_copy(self, to: int, source: int, size: int, stream: int) -> None:
        """cudaMemcpyAsync. Memory of the host that is not pinned is read at once, and a copy to it
        is there when the call returns."""
        pageable = [a for a in (to, source) if self.memory_type(a) == 0]
        if self.queues is None or not pageable or stream in self.captures:
            self.submit(stream, lambda _: self.copy(to, source, size))
        elif source in pageable:
            kept = host_bytes(source, size).copy()
            self.submit(stream, lambda _: self.copy(to, kept.ctypes.data, size))
        else:
            self.submit(stream, lambda _: self.copy(to, source, size))
            self.drain(stream)

    def fill(self, address: int, value: int, size: int) -> None:
        """cudaMemset."""
        self.operation()
        counters.count("memsets")
        raw = np.full(size, value & 255, np.uint8)
        self._checked(lambda: self.heap.write(address, raw))

    def _checked(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except AccessError as error:
            raise BackendError(error.problem) from None

    # -- streams, events, graphs ------------------------------------------------------------------

    def stream(self, flags: int) -> int:
        """A new stream's handle."""
        handle = self.handle("stream")
        self._flags[handle] = flags
        return handle

    def submit(self, stream: int, work: Work) -> None:
        """Run work, or record it where the stream is captured."""
        capture = self._capturing(stream)
        if capture is None:
            self._run(stream, lambda: work(False))
            return
        capture.work.append(work)
        if stream != capture.origin:
            capture.unjoined.add(stream)

    def _run(self, stream: int, work: Callable[[], None], after: tuple[Point, ...] = ()) -> None:
        """Run work at once, or queue it."""
        if self.queues is None:
            work()
            return
        stream = DEFAULT if stream in DEFAULT_STREAMS else stream
        blocking = tuple(s for s, flags in self._flags.items() if not flags & NON_BLOCKING)
        self.queues.add(stream, work, blocking=blocking, waits=stream in blocking, after=after)

    def drain(self, stream: int | None = None) -> None:
        """Run what is queued: of one stream, or everything."""
        if self.queues is not None:
            if stream is None:
                self.queues.run_all()
            else:
                self.queues.run(self.queues.end(DEFAULT if stream in DEFAULT_STREAMS else stream))

    def _capturing(self, stream: int) -> Capture | None:
        capture = self.captures.get(stream)
        if capture is None:
            if stream in (0, 1) and any(
                not self._flags.get(c.origin, 0) & NON_BLOCKING for c in self.captures.values()
            ):
                # The default stream would wait for a captured one.
                self._invalidate()
                raise CudaError(CAPTURE_IMPLICIT)
            return None
        if capture.invalid:
            raise CudaError(CAPTURE_INVALIDATED)
        return capture

    def _invalidate(self) -> None:
        for capture in self.captures.values():
            capture.invalid = True

    def unsafe_in_capture(self) -> None:
        """Refuse what CUDA refuses while any stream is captured, and end that capture's chances."""
        if self.captures:
            self._invalidate()
            raise CudaError(CAPTURE_UNSUPPORTED)

    def synchronize(self, stream: int | None = None) -> None:
        """Wait for the device or a stream."""
        self.unsafe_in_capture()
        self.operation()
        counters.count("synchronisations")
        self.drain(stream)

    def synchronize_event(self, event: int) -> None:
        """cudaEventSynchronize."""
        self.reach(event)
        self.unsafe_in_capture()
        self.operation()
        counters.count("synchronisations")

    def begin_capture(self, stream: int) -> None:
        """cudaStreamBeginCapture."""
        if stream in DEFAULT_STREAMS:
            raise CudaError(CAPTURE_UNSUPPORTED)
        if stream in self.captures:
            raise CudaError(ILLEGAL_STATE)
        self.captures[stream] = Capture(stream, streams={stream})

    def end_capture(self, stream: int) -> int:
        """cudaStreamEndCapture: a graph's handle."""
        capture = self.captures.get(stream)
        if capture is None:
            raise CudaError(ILLEGAL_STATE)
        if capture.origin != stream:
            raise CudaError(CAPTURE_UNMATCHED)
        for member in capture.streams:
            self.captures.pop(member, None)
        if capture.invalid:
            raise CudaError(CAPTURE_INVALIDATED)
        if capture.unjoined:
            raise CudaError(CAPTURE_UNJOINED)
        return self.handle(tuple(capture.work))

    def is_capturing(self, stream: int) -> bool:
        """cudaStreamIsCapturing, as CuPy asks it."""
        capture = self.captures.get(stream)
        if capture is not None and capture.invalid:
            raise RuntimeError("the stream was capturing, but an error has invalidated the capture")
        return capture is not None

    def record(self, event: int, stream: int) -> None:
        """cudaEventRecord."""
        found: Event = self.find(event, Event)
        capture = self._capturing(stream)
        found.capture, found.point, found.asked = capture, None, False
        # Waiting for this event is waiting for all that its stream did or waited for.
        found.joins = frozenset({stream}) if capture is not None else frozenset()
        if capture is None and self.queues is not None:
            # A mark in the queue: it also stands behind what the stream waits for.
            self._run(stream, lambda: None)
            found.point = self.queues.end(DEFAULT if stream in DEFAULT_STREAMS else stream)
            found.queues = self.queues

    def wait(self, stream: int, event: int) -> None:
        """cudaStreamWaitEvent: in a capture, how a stream joins it and comes back."""
        found: Event = self.find(event, Event)
        capture = self._capturing(stream)
        if found.capture is None:
            if capture is not None:
                self._invalidate()
                raise CudaError(CAPTURE_ISOLATION)
            if found.point is not None and found.queues is self.queues:
                self._run(stream, lambda: None, (found.point,))
            return
        if capture is None:
            found.capture.streams.add(stream)
            self.captures[stream] = found.capture
        elif stream == capture.origin:
            capture.unjoined -= found.joins

    def reach(self, event: int) -> Event:
        """An event that the host asks: what stands before it is done."""
        found: Event = self.find(event, Event)
        if found.capture is not None:
            raise CudaError(CAPTURED_EVENT)
        if found.point is not None and found.queues is self.queues is not None:
            self.queues.run(found.point)
        return found

    def query(self, event: int) -> int:
        """cudaEventQuery: what runs late is not ready when first asked for, and ready then."""
        found: Event = self.find(event, Event)
        if found.capture is not None:
            raise CudaError(CAPTURED_EVENT)
        if found.point is not None and found.queues is self.queues is not None:
            if not self.queues.reached(found.point) and not found.asked:
                found.asked = True
                return NOT_READY
            self.queues.run(found.point)
        return 0

    def launch_graph(self, graph: int, stream: int) -> None:
        """cudaGraphLaunch."""
        work: tuple[Work, ...] = self.find(graph, tuple)
        self.operation()
        counters.count("graph_launches")
        for each in work:
            self.submit(stream, lambda _, each=each: each(True))  # type: ignore[misc]

    # -- modules and kernels ----------------------------------------------------------------------

    def load_module(self, image: bytes) -> int:
        """cuModuleLoadData of PTX."""
        self.operation()
        if image[:4] == b"\x7fELF":
            raise BackendError("the emulator runs PTX; this is a cubin, code of one device")
        counters.count("module_loads")
        text = image.rstrip(b"\0").decode()
        try:
            return self.handle(Program(parse(text), self.heap))
        except OutOfDeviceMemory:
            raise CudaError(OUT_OF_MEMORY) from None

    def unload_module(self, module: int) -> None:
        """cuModuleUnload."""
        program: Program = self.find(module, Program)
        self.drop(module)
        self._when_idle(program.unload)

    def function(self, module: int, name: str) -> int:
        """cuModuleGetFunction."""
        program: Program = self.find(module, Program)
        if name not in program.module.functions:
            raise CudaError(NOT_FOUND)
        return self.handle(Kernel(program, name))

    def variable(self, module: int, name: str) -> int:
        """cuModuleGetGlobal."""
        program: Program = self.find(module, Program)
        if name not in program.addresses:
            raise CudaError(NOT_FOUND)
        return program.addresses[name]

    def launch_kernel(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        stream: int,
        params: int,
    ) -> None:
        """cuLaunchKernel: the arguments are read now, as CUDA does."""
        kernel: Kernel = self.find(function, Kernel)
        code = kernel.program.code(kernel.name)
        formal = code.function.parameters
        if any(g > limit for g, limit in zip(grid, MAX_GRID, strict=True)) or min(grid) < 1:
            raise CudaError(INVALID_VALUE)
        if shared + code.static_shared > max(kernel.dynamic_limit, STATIC_SHARED):
            raise CudaError(INVALID_VALUE)
        raw = bytearray(formal[-1].offset + formal[-1].size if formal else 0)
        if formal:
            pointers = (ctypes.c_void_p * len(formal)).from_address(params)
            for variable, pointer in zip(formal, pointers, strict=True):
                end = variable.offset + variable.size
                raw[variable.offset : end] = ctypes.string_at(pointer, variable.size)
        arguments = bytes(raw)

        def work(from_graph: bool) -> None:
            if not from_graph:
                self.operation()
            self._may_launch()
            active = counters.active()
            traffic = any(counts.traffic for counts in active)
            done = launch(
                kernel.program, kernel.name, grid, block, arguments,
                dynamic_shared=shared, traffic=traffic,
                lenient=kernel.name.startswith("cupy_"),  # CuPy's own scans do
            )  # fmt: skip
            for counts in active:
                counts.kernel(kernel.name, done, from_graph=from_graph)

        self.submit(stream, work)


def nothing(*_: Any) -> None:
    """A call that has nothing to do here."""


def host_bytes(address: int, size: int) -> Array:
    """Memory of the host as an array."""
    if size == 0:
        return np.empty(0, np.uint8)
    found: Array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
    return found


@contextmanager
def failing(
    device: Device, allocation: int | None, launch: int | None, lost: int | None
) -> Iterator[Fault]:
    """Let one thing fail inside the block."""
    fault = Fault(allocation, launch, lost)
    device.faults.append(fault)
    try:
        yield fault
    finally:
        device.faults.remove(fault)
