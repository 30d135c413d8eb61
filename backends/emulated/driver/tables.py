"""The functions that take the places of CUDA's runtime and driver in CuPy's tables, by name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from ....ir.errors import BackendError
from .device import CudaError, Device, Event, Kernel, nothing

Table = dict[str, Callable[..., Any]]

# cudaDeviceAttr of an H100, those that CuPy asks for; others are 0.
ATTRIBUTES = {
    1: 1024, 2: 1024, 3: 1024, 4: 64, 5: 2**31 - 1, 6: 65535, 7: 65535,  # largest block and grid
    8: 49152, 10: 32, 12: 65536, 16: 132, 39: 2048, 75: 9, 76: 0, 81: 233472, 82: 65536,
    97: 232448, 115: 1,
}  # fmt: skip
PROPERTIES = {
    "name": b"emulated (graphc)", "totalGlobalMem": 0, "multiProcessorCount": 132, "major": 9,
    "minor": 0, "warpSize": 32, "maxThreadsPerBlock": 1024, "sharedMemPerBlock": 49152,
    "maxThreadsPerMultiProcessor": 2048, "regsPerBlock": 65536,
}  # fmt: skip
MEANINGS = {
    1: "CUDA_ERROR_INVALID_VALUE: invalid argument",
    2: "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    400: "CUDA_ERROR_INVALID_HANDLE: invalid resource handle",
    500: "CUDA_ERROR_NOT_FOUND: named symbol not found",
    701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
    719: "CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure",
    901: "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED: operation failed due to a previous error during"
    " capture",
    906: "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT: operation would make the legacy stream depend on a"
    " capturing blocking stream",
}
VERSION = 13000
_lock = threading.RLock()  # a callback of a stream may call CUDA
CONTEXT = 1


def runtime(device: Device, module: Any) -> Table:
    """cupy_backends.cuda.api.runtime."""

    def attributes(address: int) -> Any:
        kind = device.memory_type(address)
        return module.PointerAttributes(0, address, address if kind == 1 else 0, kind)

    def submit_copy(to: int, source: int, size: int, kind: int, stream: int) -> None:
        device.submit_copy(to, source, size, stream)

    def copy(to: int, source: int, size: int, kind: int) -> None:
        device.unsafe_in_capture()
        device.submit(0, lambda _: device.copy(to, source, size))
        device.drain(0)

    def submit_fill(address: int, value: int, size: int, stream: int) -> None:
        device.submit(stream, lambda _: device.fill(address, value, size))

    def fill(address: int, value: int, size: int) -> None:
        device.unsafe_in_capture()
        device.submit(0, lambda _: device.fill(address, value, size))

    def copy_2d(
        to: int, to_pitch: int, source: int, pitch: int, width: int, height: int, kind: int,
        stream: int = 0,
    ) -> None:  # fmt: skip
        def work(_: bool) -> None:
            for row in range(height):
                device.copy(to + row * to_pitch, source + row * pitch, width)

        device.submit(stream, work)

    def query_stream(stream: int) -> int:
        device.drain(stream)
        return 0

    def elapsed(start: int, end: int) -> float:
        if not (device.reach(start).timed and device.reach(end).timed):
            raise CudaError(400)
        return 0.0  # no time passes on this device

    def attribute(which: int, number: int) -> int:
        return ATTRIBUTES.get(which, 0)

    def host_function(stream: int, callback: Callable[[Any], None], argument: Any) -> None:
        device.submit(stream, lambda _: callback(argument))

    table: Table = {
        "driverGetVersion": lambda: VERSION, "runtimeGetVersion": lambda: VERSION,
        "_getCUDAMajorVersion": lambda: VERSION // 1000, "_ensure_context": nothing,
        "getDevice": lambda: 0, "getDeviceCount": lambda: 1, "setDevice": nothing,
        "deviceGetAttribute": attribute, "deviceGetLimit": lambda _: 0,
        "getDeviceProperties": lambda _: {**PROPERTIES, "totalGlobalMem": device.heap.capacity},
        "deviceGetPCIBusId": lambda _: "0000:00:00.0", "deviceCanAccessPeer": lambda a, b: 0,
        "deviceSynchronize": device.synchronize,
        "streamSynchronize": device.synchronize,
        "malloc": device.malloc, "mallocAsync": lambda size, _: device.malloc(size),
        "free": device.free, "freeAsync": lambda address, _: device.free(address),
        "memGetInfo": lambda: (device.heap.available, device.heap.capacity),
        "memcpy": copy, "memcpyAsync": submit_copy, "memset": fill, "memsetAsync": submit_fill,
        "memcpy2D": copy_2d, "memcpy2DAsync": copy_2d,
        "hostAlloc": lambda size, _: device.host_alloc(size), "freeHost": device.host_free,
        "pointerGetMemoryType": device.memory_type, "pointerGetAttributes": attributes,
        "eventCreate": lambda: device.handle(Event(timed=True)),
        "eventCreateWithFlags": lambda flags: device.handle(Event(timed=not flags & 2)),
        "eventRecord": device.record, "eventDestroy": device.drop,
        "eventQuery": device.query,
        "eventSynchronize": device.synchronize_event, "eventElapsedTime": elapsed,
        "streamCreate": lambda: device.stream(0),
        "streamCreateWithFlags": device.stream,
        "streamCreateWithPriority": lambda flags, _: device.stream(flags),
        "streamDestroy": device.drop, "streamGetPriority": lambda _: 0,
        "streamQuery": query_stream,
        "streamWaitEvent": lambda stream, event, *_: device.wait(stream, event),
        "streamIsCapturing": lambda stream: int(device.is_capturing(stream)),
        "streamBeginCapture": lambda stream, *_: device.begin_capture(stream),
        "streamEndCapture": device.end_capture, "launchHostFunc": host_function,
        "graphInstantiate": lambda graph: device.handle(device.find(graph, tuple)),
        "graphLaunch": device.launch_graph, "graphUpload": nothing,
        "graphDestroy": device.drop, "graphExecDestroy": device.drop,
        "profilerStart": nothing, "profilerStop": nothing,
    }  # fmt: skip
    return raising(table, module.CUDARuntimeError)


def driver(device: Device, module: Any) -> Table:
    """cupy_backends.cuda.api.driver."""

    def launch(
        function: int, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int,
        stream: int, params: int, extra: int,
    ) -> None:  # fmt: skip
        device.launch_kernel(function, (gx, gy, gz), (bx, by, bz), shared, stream, params)

    def get_attribute(which: int, function: int) -> int:
        kernel: Kernel = device.find(function, Kernel)
        code = kernel.program.code(kernel.name)
        return {
            0: code.function.max_threads or 1024, 1: code.static_shared, 3: code.local_bytes,
            4: 32, 5: 90, 6: 90, 8: kernel.dynamic_limit,
        }.get(which, 0)  # fmt: skip

    def set_attribute(function: int, which: int, value: int) -> None:
        kernel: Kernel = device.find(function, Kernel)
        if which == 8:
            kernel.dynamic_limit = value

    table: Table = {
        "ctxGetCurrent": lambda: CONTEXT, "ctxSetCurrent": nothing, "ctxGetDevice": lambda: 0,
        "streamGetCtx": lambda _: CONTEXT, "moduleLoadData": device.load_module,
        "moduleUnload": device.unload_module, "moduleGetFunction": device.function,
        "moduleGetGlobal": device.variable, "launchKernel": launch,
        "funcGetAttribute": get_attribute, "funcSetAttribute": set_attribute,
        "occupancyMaxActiveBlocksPerMultiprocessor": lambda function, block, shared: 2,
        "occupancyMaxPotentialBlockSize": lambda function, shared, limit: (264, 1024),
    }  # fmt: skip

    def error(code: int) -> Exception:
        # The class itself asks libcuda what a code means, and there is none here.
        name = MEANINGS.get(code, "CUDA_ERROR_UNKNOWN: unknown error")
        found: Exception = module.CUDADriverError.__new__(module.CUDADriverError, name)
        vars(found).update(status=code)
        return found

    return raising(table, error)


def raising(table: Table, error: Callable[[int], Exception]) -> Table:
    """Functions whose error codes come out as the exception that CuPy expects."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any) -> Any:
            with _lock:  # threads take turns on the device
                try:
                    return function(*args)
                except CudaError as found:
                    raise error(found.code) from None

        return call

    return {name: wrap(function) for name, function in table.items()}


def refusal(library: str, name: str) -> Callable[..., Any]:
    """What stands in for a function that the emulator does not have."""

    def refuse(*_: Any) -> Any:
        raise BackendError(f"{library} {name} has no stand-in in the emulator")

    return refuse


__all__ = ["driver", "raising", "refusal", "runtime"]
