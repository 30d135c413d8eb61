"""The emulated driver: memory, pinned copies, streams and graphs, limits, faults, counts."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.backends import emulated
from graphc.backends.emulated.driver import emulated_device
from graphc.backends.emulated.ptx.memory import AccessError, Heap, OutOfDeviceMemory

emulated.install()

import cupy as cp  # noqa: E402 - on the emulated device
import cupyx  # noqa: E402
from cupy_backends.cuda.api.driver import CUDADriverError  # noqa: E402
from cupy_backends.cuda.api.runtime import CUDARuntimeError  # noqa: E402
from cupy_backends.cuda.libs.cublas import CUBLASError  # noqa: E402

AXPY = cp.ElementwiseKernel("T x, T y", "T z", "z = x * 2 + y", "cupy_test_axpy")


@pytest.fixture
def stream() -> Any:
    return cp.cuda.Stream(non_blocking=True)


@pytest.fixture
def exact_memory() -> Any:
    """Without CuPy's pool each array is a buffer of its own, with exact bounds."""
    cp.cuda.set_allocator(None)
    yield
    cp.cuda.set_allocator(cp.get_default_memory_pool().malloc)


def vectors() -> tuple[Any, Any, Any]:
    return cp.arange(8, dtype=np.float32), cp.ones(8, np.float32), cp.empty(8, np.float32)


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("exact_memory")
def test_without_the_pool_bounds_are_those_of_each_array() -> None:
    kernel = cp.RawKernel(
        'extern "C" __global__ void one(float* x) { x[threadIdx.x] = 1; }', "one", ("-lineinfo",)
    )
    x = cp.zeros(8, np.float32)
    kernel((1,), (8,), (x,))
    assert x.get().tolist() == [1] * 8
    with pytest.raises(emulated.DeviceFault, match="store of 4 bytes out of bounds") as caught:
        kernel((1,), (9,), (x,))
    assert caught.value.thread == (8, 0, 0)
    assert caught.value.kernel == "one"
    with pytest.raises(emulated.DeviceFault, match="memory that nothing has written"):
        cp.empty(5, np.float32) + 1
    gone = x.data.ptr
    del x
    stale = cp.ndarray(8, np.float32, memptr=cp.cuda.MemoryPointer(
        cp.cuda.UnownedMemory(gone, 32, None), 0))  # fmt: skip
    with pytest.raises(emulated.DeviceFault, match="of a freed buffer of 32 bytes"):
        kernel((1,), (8,), (stale,))


def test_freed_memory_is_used_again_when_there_is_no_other() -> None:
    heap = Heap(10_000)
    for _ in range(20):
        first, second, third = (heap.allocate(n) for n in (1000, 2000, 700))
        heap.free(second)
        heap.free(first)
        assert heap.used == 700
        heap.free(third)
    assert heap.used == 0
    with pytest.raises(OutOfDeviceMemory):
        heap.allocate(10_000)
    taken = []
    while heap.available > 0:
        taken.append(heap.allocate(heap.available))
    with pytest.raises(OutOfDeviceMemory):
        heap.allocate(1)
    for place in taken:
        heap.free(place)
    with pytest.raises(AccessError, match="freed twice"):
        heap.free(taken[0])
    with pytest.raises(gx.BackendError, match="free of what is no buffer"):
        cp.cuda.runtime.free(emulated_device().heap.allocate(64) + 8)


def test_copies_outside_of_buffers_are_refused() -> None:
    runtime = cp.cuda.runtime
    host = np.zeros(100, np.uint8)
    place = runtime.malloc(64)
    with pytest.raises(gx.BackendError, match="copy to device memory out of bounds"):
        runtime.memcpy(place, host.ctypes.data, 65, 1)
    with pytest.raises(gx.BackendError, match="0 bytes past the end of a buffer of 64 bytes"):
        runtime.memcpy(host.ctypes.data, place, 100, 2)
    runtime.free(place)


def test_an_arena_and_pinned_memory(stream: Any) -> None:
    arena = cp.cuda.alloc(4096)
    a = cp.ndarray((8, 8), np.float32, memptr=arena + 256)
    b = cp.ndarray((8, 8), np.float32, memptr=arena + 512)
    host = cupyx.empty_pinned((8, 8), np.float32)
    host[...] = 3
    back = cupyx.zeros_pinned((8, 8), np.float32)
    cp.multiply(cp.ones((8, 8), np.float32), 2)  # loads the kernel
    with emulated.counting() as counts:
        with stream:
            a.set(host, stream=stream)
            ready = stream.record()
        cp.cuda.Stream.null.wait_event(ready)
        cp.multiply(a, 2, out=b)
        cp.matmul(a, b, out=cp.ndarray((8, 8), np.float32, memptr=arena + 1024))
        cp.asnumpy(b, stream=stream, out=back, blocking=False)
        stream.synchronize()
    assert (back == 6).all()
    assert (counts.allocations, counts.launches, counts.gemms) == (0, 1, 1)
    assert (counts.host_to_device, counts.device_to_host, counts.synchronisations) == (1, 1, 1)
    assert counts.host_to_device_bytes == counts.device_to_host_bytes == 256
    assert (counts.bytes_read, counts.bytes_written) == (256, 256)


def test_regions_of_an_arena_can_be_marked_dead() -> None:
    x = cp.ones(64, np.float32)
    emulated.mark_uninitialised(x.data.ptr + 128, 64)
    assert (x[:32] + 1).get().tolist() == [2] * 32
    with pytest.raises(emulated.DeviceFault, match="memory that nothing has written"):
        x + 1


def test_a_limit_of_memory_is_cupys_own_error() -> None:
    # So much that what other tests left, in the pool or for the collector, cannot be enough.
    with emulated.memory_limit(emulated_device().heap.used + 4096), pytest.raises(
        cp.cuda.memory.OutOfMemoryError, match="Out of memory allocating 1,073,741,824 bytes"
    ):  # fmt: skip
        cp.empty(1 << 28, np.float32)
    assert cp.zeros(1 << 18, np.float32).size == 1 << 18


# -- graphs ---------------------------------------------------------------------------------------


def test_a_captured_graph_runs_with_what_is_in_memory_then(stream: Any) -> None:
    x, y, z = vectors()
    AXPY(x, y, z)
    with stream:
        stream.begin_capture()
        AXPY(x, y, z)
        AXPY(z, y, y)
        graph = stream.end_capture()
    assert y.get().tolist() == [1] * 8  # nothing has run
    with emulated.counting() as counts:
        graph.launch(stream)
        x.set(np.zeros(8, np.float32))
        graph.launch(stream)
        stream.synchronize()
    first = 2 * (2 * np.arange(8) + 1) + 1
    assert y.get().tolist() == (3 * first).tolist()
    assert (counts.graph_launches, counts.graph_kernels, counts.launches) == (2, 4, 0)
    assert sum(k.launches for k in counts.kernels.values()) == 4


@pytest.mark.parametrize("name", ["get", "malloc", "float", "synchronize", "blas", "null"])
def test_what_a_capture_refuses(name: str, stream: Any) -> None:
    x, y, z = vectors()
    AXPY(x, y, z)
    a = cp.ones((4, 4), np.float32)
    b = a @ a
    actions: dict[str, tuple[Any, type[BaseException], str]] = {
        "get": (x.get, RuntimeError, "captur"),
        "malloc": (lambda: cp.cuda.runtime.malloc(8), CUDARuntimeError, "CaptureUnsupported"),
        "float": (lambda: float(x[0]), RuntimeError, "captur"),
        "synchronize": (cp.cuda.Device().synchronize, CUDARuntimeError, "CaptureUnsupported"),
        # As CuPy's own cuBLAS module does.
        "blas": (lambda: cp.matmul(a, a, out=b), NotImplementedError, "stream capture"),
        "null": (lambda: cp.cuda.Stream(null=True).begin_capture(), Exception, "apture"),
    }  # fmt: skip
    action, kind, message = actions[name]
    with stream:
        stream.begin_capture()
        with pytest.raises(kind, match=message):
            action()
        if name in ("malloc", "synchronize"):
            with pytest.raises(CUDARuntimeError, match="Invalidated"):
                stream.end_capture()
        else:
            stream.end_capture()
    AXPY(x, y, z)  # afterwards all is well
    assert z.get()[1] == 3


def test_streams_join_a_capture_and_must_come_back(stream: Any) -> None:
    x, y, z = vectors()
    AXPY(x, y, z)
    other = cp.cuda.Stream(non_blocking=True)
    for comes_back in (True, False):
        z.fill(0)
        stream.begin_capture()
        start = stream.record()
        other.wait_event(start)
        with other:
            AXPY(x, y, z)
        if comes_back:
            stream.wait_event(other.record())
            graph = stream.end_capture()
            graph.launch(stream)
            assert z.get().tolist() == (2 * np.arange(8) + 1).tolist()
        else:
            with pytest.raises(CUDARuntimeError, match="Unjoined"):
                stream.end_capture()


def test_events(stream: Any) -> None:
    start, end = cp.cuda.Event(), cp.cuda.Event()
    start.record(stream)
    end.record(stream)
    end.synchronize()
    assert end.done
    assert cp.cuda.get_elapsed_time(start, end) == 0
    untimed = cp.cuda.Event(disable_timing=True)
    untimed.record(stream)
    with pytest.raises(CUDARuntimeError, match="InvalidResourceHandle"):
        cp.cuda.get_elapsed_time(start, untimed)


# -- faults ---------------------------------------------------------------------------------------


def work() -> float:
    """Some of everything that can fail."""
    x = cp.asarray(np.arange(16, dtype=np.float32).reshape(4, 4))
    y = x @ x + x
    return float(y.sum())


@pytest.mark.usefixtures("exact_memory")
def test_each_allocation_can_fail() -> None:
    with emulated.counting() as counts:
        want = work()
    assert counts.allocations > 1
    for k in range(counts.allocations):
        with emulated.faults(allocation=k) as fault, pytest.raises(
            (CUDARuntimeError, cp.cuda.memory.OutOfMemoryError), match="(?i)out of memory"
        ):  # fmt: skip
            work()
        assert fault.fired
    assert work() == want


def test_each_launch_can_fail() -> None:
    with emulated.counting() as counts:
        want = work()
    launches = counts.launches
    assert launches > 1
    for k in range(launches):
        with emulated.faults(launch=k) as fault, pytest.raises(
            CUDADriverError, match="LAUNCH_OUT_OF_RESOURCES"
        ):  # fmt: skip
            work()
        assert fault.fired
    with emulated.faults(launch=launches) as fault:
        assert work() == want
    assert not fault.fired


def test_a_lost_device_stays_lost() -> None:
    with emulated.counting() as counts:
        want = work()
    for k in range(counts.operations):
        with emulated.faults(lost=k) as fault:
            with pytest.raises(
                (CUDARuntimeError, CUDADriverError, CUBLASError), match="(?i)(launch|ion).?fail"
            ):
                work()
            with pytest.raises(CUDARuntimeError):
                cp.cuda.Device().synchronize()
        assert fault.fired
    assert work() == want


def test_a_kernel_of_a_graph_can_fail(stream: Any) -> None:
    x, y, z = vectors()
    AXPY(x, y, z)
    stream.begin_capture()
    with stream:
        AXPY(x, y, z)
        AXPY(z, y, z)
    graph = stream.end_capture()
    with emulated.faults(launch=1) as fault, pytest.raises(Exception, match="(?i)resources"):
        graph.launch(stream)
    assert fault.fired


def test_threads_take_turns() -> None:
    want = work()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: work(), range(24))) == [want] * 24


# -- the stand-in for cuBLAS ----------------------------------------------------------------------


def gemm(a: Any, b: Any, c: Any, *, lda: int = 4, m: int = 4, ta: int = 0) -> None:
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    cublas = cp.cuda.cublas
    cublas.sgemm(cp.cuda.device.get_cublas_handle(), ta, 0, m, 4, 4, one.ctypes.data, a.data.ptr,
                 lda, b.data.ptr, 4, zero.ctypes.data, c.data.ptr, 4)  # fmt: skip


@pytest.mark.usefixtures("exact_memory")
def test_gemm_checks_its_contract() -> None:
    a, b = cp.ones((4, 4), np.float32), cp.ones((4, 4), np.float32)
    c, raw = cp.empty((4, 4), np.float32), cp.empty((4, 4), np.float32)
    gemm(a, b, c)
    assert (c.get() == 4).all()
    with pytest.raises(gx.BackendError, match="leading dimension 3 of A < 4 rows"):
        gemm(a, b, c, lda=3)
    with pytest.raises(gx.BackendError, match=r"reads element \(0, 0\) of B, which nothing has"):
        gemm(a, raw, c)
    with pytest.raises(gx.BackendError, match=r"of A, which nothing has written|past the end"):
        gemm(a, b, c, lda=8)
    with pytest.raises(gx.BackendError, match="C is one of the factors"):
        gemm(a, b, a)
    with pytest.raises(gx.BackendError, match="leading dimension 4 of C < 5 rows"):
        gemm(cp.ones((8, 4), np.float32), b, c, m=5, lda=8)


# -- launches -------------------------------------------------------------------------------------


def test_a_launch_that_no_device_takes() -> None:
    kernel = cp.RawKernel('extern "C" __global__ void none(float* x) {}', "none")
    x = cp.zeros(4, np.float32)
    for grid, block, shared in (((1, 70000), (1,), 0), ((1,), (2048,), 0), ((1,), (1,), 1 << 16)):
        with pytest.raises((CUDADriverError, gx.BackendError)):
            kernel(grid, block, (x,), shared_mem=shared)
    kernel.max_dynamic_shared_size_bytes = 1 << 16
    kernel((1,), (1,), (x,), shared_mem=1 << 16)


def test_host_memory_is_not_the_devices() -> None:
    kernel = cp.RawKernel('extern "C" __global__ void set(float* x) { x[0] = 1; }', "set")
    host = np.zeros(4, np.float32)
    with pytest.raises(emulated.DeviceFault, match="is no address of the device"):
        kernel((1,), (1,), (ctypes.c_void_p(host.ctypes.data).value,))


def test_a_cubin_is_refused_by_name() -> None:
    with pytest.raises(gx.BackendError, match="cubin"):
        cp.cuda.function.Module().load(b"\x7fELF" + bytes(100))
