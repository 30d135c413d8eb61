"""The backend: checks the device, owns streams and memory, runs printed steps."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import numpy as np

from graphc.compiler.binding import failed
from graphc.compiler.devices import device_of
from graphc.compiler.lower import Ordered
from graphc.compiler.memory import lifetimes
from graphc.compiler.plan import Plan, Schedule
from graphc.ir import dims
from graphc.ir.errors import BackendError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, describe

from ..cuda import nvrtc
from . import cache
from .feed import Lane
from .printer import CudaSource, print_plan
from .schedule import Options, Scheduler
from .step import PartFailed, Step

DRIVER = 13_000  # what CuPy for CUDA 13 needs: driver 580 or newer
ARCHITECTURES = (80, 90)  # the virtual ones that kernels are compiled for


class CupyBackend:
    """Schedules for launches, prints them, runs what it printed on the current device."""

    name = "cupy"
    alignment = 256  # bytes
    lanes = 2  # the next batch is copied while a step still reads the last
    conversion = "cupy.asarray(array)"

    def __init__(
        self, threads: int | None = None, *, exact: bool = False, tf32: bool = False,
        capture: bool = True, fused: bool = True, library: bool | None = None,
        device: str | None = None,
    ) -> None:  # fmt: skip
        """exact: every sum by kernels of ours, in a fixed order. tf32: cuBLAS may round operands
        to 10 bits. capture: run steps as CUDA graphs. fused: several ops in a launch. library:
        matrix products by cuBLAS wherever it can (True) or never (False); None: where that pays.
        device: whose constants choices are made by, one of ``graphc.compiler.devices``.
        """
        del threads  # of the host: nothing is computed there
        self.cupy = _import()
        if self.name == CupyBackend.name:
            _refuse_emulated(self.cupy)
        self.capability = _device(self.cupy)
        self.device = device_of(device or ("h200" if self.capability >= 90 else "a100"))
        self.options = Options(exact=exact, fused=fused, library=library, tf32=tf32)
        self.tf32, self.capture = tf32, capture
        self._modules: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._streams: tuple[Any, Any] | None = None

    # -- arrays -------------------------------------------------------------------------------

    def holds(self, value: Any) -> bool:
        """Whether a value is an array of this backend."""
        return isinstance(value, self.cupy.ndarray)

    def from_host(self, array: np.ndarray[Any, Any]) -> Any:
        """A NumPy array as one of the device."""
        try:
            return self.cupy.asarray(array)
        except Exception as error:
            self.translate(error, None, False)
            raise

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """An array of the device as a NumPy array: waits for it."""
        try:
            found: np.ndarray[Any, Any] = array.get()
        except Exception as error:
            self.translate(error, None, False)
            raise
        return found

    def copy(self, array: Any) -> Any:
        """Another array with the same elements, by a plain copy: no kernel has to be compiled."""
        try:
            made = self.cupy.empty(array.shape, array.dtype)
            source = array if array.flags.c_contiguous else self.cupy.ascontiguousarray(array)
            if array.nbytes:
                made.data.copy_from_device_async(source.data, source.nbytes)
        except Exception as error:
            self.translate(error, None, False)
            raise
        return made

    def address(self, array: Any) -> int:
        """Where an array begins."""
        return int(array.data.ptr)

    def inputs(self, shapes: Sequence[tuple[tuple[int, ...], Any]]) -> Lane:
        """Memory for the inputs of a step, and the pinned memory that they pass through."""
        return Lane(self.cupy, shapes)

    def feed(
        self, printed: CudaSource, targets: Lane, arrays: Sequence[Any], sizes: Mapping[str, int]
    ) -> None:
        """Check and copy what the caller gave, on a stream of its own."""
        for number, low, high, what, node in printed.checks:
            bounds = dims.evaluate(low, sizes), dims.evaluate(high, sizes)
            try:
                _inside(arrays[number], *bounds, what)
            except ValueError as error:
                raise failed(node, error) from None
        compute, copies = self.streams()
        targets.fill(arrays, compute, copies)

    def streams(self) -> tuple[Any, Any]:
        """The stream that computes, and the one that copies."""
        with self._lock:
            if self._streams is None:
                stream = self.cupy.cuda.Stream
                self._streams = stream(non_blocking=True), stream(non_blocking=True)
            return self._streams

    def translate(self, error: BaseException, node: Node | None, torn: bool) -> None:
        """Raise what a failure of the device means to the user; return where it is none."""
        nodes = [] if node is None else [node]
        if isinstance(error, PartFailed):
            nodes, cause = list(error.nodes), error.cause
        else:
            cause = error
        runtime = self.cupy.cuda.runtime
        kinds = (
            runtime.CUDARuntimeError, self.cupy.cuda.driver.CUDADriverError,
            self.cupy.cuda.memory.OutOfMemoryError,
        )  # fmt: skip
        if isinstance(cause, BackendError):
            if not nodes or cause.nodes:
                raise cause
        elif not isinstance(cause, kinds):
            if isinstance(error, PartFailed):
                raise cause
            return
        where = "before the step" if not nodes else ", ".join(describe(n) for n in nodes[:3])
        if len(nodes) > 3:
            where = f"{describe(nodes[0])} … {describe(nodes[-1])} ({len(nodes)} in one CUDA graph)"
        if torn:
            after = "some variables are updated, some are not: load them again from a checkpoint"
        else:
            after = "the variables are as they were: the call can be made again"
        if isinstance(cause, self.cupy.cuda.memory.OutOfMemoryError):
            after += ", with a smaller batch or after freeing memory"
        raise BackendError(f"the device failed at {where}: {cause}\n  {after}", nodes=nodes) from (
            cause
        )

    # -- programs -----------------------------------------------------------------------------

    def schedule(self, graph: Graph, ordered: Ordered) -> Schedule:
        """Launches, products and temporaries."""
        return Scheduler(graph, ordered, self.device, self.options).run()

    def print(self, plan: Plan, *, poison: bool = False, reuse_outputs: bool = False) -> CudaSource:
        """The step as source text."""
        printed = print_plan(plan, options=nvrtc.OPTIONS, poison=poison)
        printed.reuse_outputs = reuse_outputs
        return printed

    def load(self, printed: CudaSource) -> Any:
        """The text as a function ``bind(arena, inputs, variables, *sizes) -> step``. It is ours
        alone: no name of a user is in it."""
        code = compile(printed.source, "<graphc step>", "exec")
        function = self._functions(printed.cuda)

        def bind(*args: Any) -> Step:
            namespace: dict[str, Any] = {"__name__": "graphc_step"}
            exec(code, namespace)
            namespace["load"] = lambda source: function
            compute, _ = self.streams()
            with compute:
                namespace["bind"](*args)
            return Step(self.cupy, compute, namespace, printed, args[1], capture=self.capture)

        return bind

    def _functions(self, cuda: str) -> Any:
        """The kernels of a source by name, compiled once and loaded once."""
        with self._lock:
            if cuda not in self._modules:
                fits = max(a for a in ARCHITECTURES if a <= max(self.capability, ARCHITECTURES[0]))
                module = self.cupy.cuda.function.Module()
                if '"C"' in cuda:
                    module.load(cache.ptx(cuda, f"compute_{fits}"))
                self._modules[cuda] = module
            return self._modules[cuda].get_function

    def limits(self) -> AbstractContextManager[Any]:
        """What holds while a step runs: the precision of cuBLAS, whatever the environment says."""
        return _precision(self.tf32)

    def arena(self, plan: Plan, *, poison: bool = False) -> Any:
        """The memory of a plan, in one piece. Raises BackendError, naming what makes the peak."""
        try:
            memory = self.cupy.cuda.alloc(max(plan.peak_bytes, 1))
        except self.cupy.cuda.memory.OutOfMemoryError as error:
            held = peak(plan)[:4]
            nodes = [node for node, _ in held]
            told = ", ".join(f"{describe(node)}: {size:,} bytes" for node, size in held)
            raise BackendError(
                f"the device has no {plan.peak_bytes:,} bytes for the arena of this step at "
                f"{plan.capacity or 'its size'}; at its peak it holds {told}\n"
                "  to fix: a smaller batch, passes.checkpoint(), or free other arrays",
                nodes=nodes,
            ) from error
        if poison:
            memory.memset(255, max(plan.peak_bytes, 1))
        return memory


@contextmanager
def _precision(tf32: bool) -> Iterator[None]:
    linalg = importlib.import_module("cupy._core._routines_linalg")
    before = linalg.get_compute_type(np.float32)
    wanted = linalg.COMPUTE_TYPE_TF32 if tf32 else linalg.COMPUTE_TYPE_FP32
    linalg.set_compute_type(np.float32, wanted)
    try:
        yield
    finally:
        linalg.set_compute_type(np.float32, before)


def peak(plan: Plan) -> list[tuple[Node, int]]:
    """The nodes whose results fill the arena when it is fullest, the largest first."""
    first, last = lifetimes(plan.schedule)
    roots = [n for n in first if plan.places[n].space == "arena"]
    sizes = {n: plan.buffers[n].bytes(plan.capacity) for n in roots}
    change: dict[int, int] = {}
    for n in roots:
        change[first[n]] = change.get(first[n], 0) + sizes[n]
        change[last[n] + 1] = change.get(last[n] + 1, 0) - sizes[n]
    total = best = when = 0
    for position in sorted(change):
        total += change[position]
        if total > best:
            best, when = total, position
    live = [n for n in roots if first[n] <= when <= last[n]]
    node: dict[int, Node] = {}
    for instruction in plan.instructions:
        for n, written in instruction.buffers().items():
            if written:
                node.setdefault(plan.buffers[n].root, instruction.node)
    found = [(node[n], sizes[n]) for n in live if n in node]
    return sorted(found, key=lambda pair: -pair[1])


def _inside(values: Any, low: int, high: int, what: str) -> None:
    """Labels and indices are checked before anything runs: on the host where they come from it."""
    if values.size and not low <= int(values.min()) <= int(values.max()) < high:
        found = f"from {int(values.min())} to {int(values.max())}"
        raise ValueError(f"{what} is outside [{low}, {high}): they run {found}")


def _import() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise BackendError(
            f"the backend 'cupy' needs CuPy, which does not load ({error})\n"
            "  to fix: pip install 'graphc[cupy]', or use backend='numpy'"
        ) from error


def _refuse_emulated(cupy: Any) -> None:
    """Who asks for a GPU must not get the emulated device because a test wanted that before."""
    with suppress(cupy.cuda.runtime.CUDARuntimeError):
        if cupy.cuda.runtime.getDeviceProperties(0)["name"].startswith(b"emulated"):
            raise BackendError(
                "CuPy is on the emulated device in this process, which is no GPU\n"
                "  to fix: use backend='emulated', or a process of its own for the GPU"
            )


def _device(cupy: Any) -> int:
    """The compute capability of the current device, as 90 for 9.0. Raises BackendError."""
    runtime = cupy.cuda.runtime
    instead = "use backend='numpy', or backend='emulated' to run the same kernels without a device"
    try:
        driver = runtime.driverGetVersion()
        if 0 < driver < DRIVER:
            found, needed = (f"{v // 1000}.{v % 1000 // 10}" for v in (driver, DRIVER))
            raise BackendError(
                f"the NVIDIA driver is too old: it is for CUDA {found}, and CuPy needs {needed}\n"
                f"  to fix: install driver 580 or newer, or {instead}"
            )
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise BackendError(
            f"there is no CUDA device here ({error})\n  to fix: {instead}"
        ) from error
    if not count:
        raise BackendError(f"there is no CUDA device here\n  to fix: {instead}")
    return int(cupy.cuda.Device().compute_capability)
