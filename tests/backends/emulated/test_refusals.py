"""What compute-sanitizer would refuse on a device is refused, and the message says where."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.backends.emulated import DeviceFault, run_ptx
from tests.backends.emulated.cuda import ptx, run


def kernel(body: str, parameters: str = "float* x, float* y, int n") -> str:
    return (
        f'#define tid threadIdx.x\nextern "C" __global__ void k({parameters}) {{\n    {body}\n}}\n'
    )


X = np.arange(64, dtype=np.float32)
CASES: dict[str, tuple[str, str]] = {
    "load past the end": ("y[tid] = x[tid + 1];", "load of 4 bytes out of bounds"),
    "load before the beginning": (
        "y[tid] = x[(int)tid - 1];", "load of 4 bytes out of bounds"),
    "store past the end": ("if (tid <= n) x[tid + n] = 1;",
                           "store of 4 bytes out of bounds: .* 0 bytes past the end of a buffer"),
    "null pointer": ("y[tid] = ((float*)(size_t)(n - 64))[tid];", "is no address of the device"),
    "misaligned": (
        "float2 v = ((float2*)(x + 1))[tid / 4]; y[tid] = v.x * v.y;",
        "misaligned load of 8 bytes"),
    "uninitialised": ("x[tid] = y[tid];", "load of memory that nothing has written"),
    "uninitialised in part": (
        "if (tid < 32) y[tid] = 1; __syncthreads(); x[tid] = y[tid];",
        "load of memory that nothing has written"),
    "race, write then read": (
        "__shared__ float s[64]; s[tid] = x[tid]; y[tid] = s[63 - tid];",
        "shared-memory race: read after write by thread"),
    "race, write after read": (
        "__shared__ float s[64]; s[tid] = x[tid]; __syncthreads();"
        " float v = s[63 - tid]; s[tid] = v + 1; __syncthreads();"
        " y[tid] = s[tid];",
        "shared-memory race: write after read by thread"),
    "race, one address": (
        "__shared__ int s[1]; s[0] = tid; __syncthreads(); y[tid] = s[0];",
        "shared-memory race: two threads write one address"),
    "race of warps that do not meet": (
        "__shared__ float s[64]; s[tid] = x[tid]; __syncwarp();"
        " y[tid] = s[tid ^ 32];",
        "shared-memory race: read after write by thread"),
    "shared memory out of bounds": (
        "__shared__ float s[64]; s[tid + n / 64] = 1; __syncthreads();"
        " y[tid] = s[0];", "shared memory out of bounds"),
    "shared memory that nobody wrote": (
        "__shared__ float s[64]; if (tid) s[tid] = 1; __syncthreads();"
        " y[tid] = s[tid];", "shared memory that nothing has written"),
    "barrier for a part": (
        "if (tid < 40) { __syncthreads(); x[tid] = 1; } else x[tid] = 2;",
        "divergent barrier: 40 of 64 threads"),
    "barrier after a return": (
        "if (tid == 63) return; __syncthreads(); x[tid] = 1;",
        "divergent barrier: 63 of 64 threads of a block reach it, 1 have returned"),
    "two different barriers": (
        "if (tid < 32) { __syncthreads(); x[tid] = 1; }"
        " else { __syncthreads(); x[tid] = 2; }",
        "divergent barrier: 32 of 64 threads of a block reach it, 32 wait at another"),
    "shuffle without all lanes": (
        "if (tid % 32 < 31) x[tid] = __shfl_down_sync(0xffffffffu, x[tid], 1);",
        "waits for lanes that run elsewhere"),
    "shuffle from outside the mask": (
        "if (tid % 32 < 16)"
        " x[tid] = __shfl_sync(0x0000ffffu, x[tid], 20);",
        "shuffle reads lane 20, which is not active"),
    "vote outside its mask": (
        "x[tid] = __any_sync(0x0000ffffu, x[tid] > 3);",
        "runs in a lane that its mask leaves out"),
    "local memory that nobody wrote": (
        "float a[16]; for (int i = 0; i < n / 8; ++i) a[i] = i;"
        " y[tid] = a[(tid * n) % 64 / 4 + tid / 8 + 4];",
        "local memory"),
    "trap": ("if (tid == 5) __trap();", "the kernel trapped"),
    "endless": ("while (((volatile float*)x)[0] < 9) ;", "does not come to an end"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphc.backends.emulated.ptx.executor.PATIENCE", 20_000)
    body, message = CASES[name]
    with pytest.raises(DeviceFault, match=message) as caught:
        run(kernel(body), "k", 2, 64, X.copy(), np.zeros(64, np.float32), 64, uninitialised=(1,))
    fault = caught.value
    assert isinstance(fault, gx.BackendError)
    assert fault.kernel == "k"
    assert fault.cuda_line is not None
    assert re.fullmatch(r"graphc\.cu:[34]", fault.cuda_line)
    assert fault.ptx_line is not None
    text = ptx(kernel(body)).splitlines()[fault.ptx_line - 1]
    assert str(fault).split(f"PTX line {fault.ptx_line}: ")[1].split()[0] in text


def test_the_message_says_who_and_where() -> None:
    body = "int i = blockIdx.x * 32 + threadIdx.x;\n    y[i] = x[i];"
    with pytest.raises(DeviceFault) as caught:
        run(kernel(body), "k", 3, 32, X[:50].copy(), np.zeros(96, np.float32), 64)
    fault = caught.value
    assert (fault.block, fault.thread) == ((1, 0, 0), (18, 0, 0))
    assert fault.cuda_line == "graphc.cu:4"
    assert fault.address is not None
    assert f"{fault.address:#x} is 0 bytes past the end of a buffer of 200 bytes" in str(fault)
    assert "ld.global" in str(fault)


def test_a_fault_of_some_lanes_names_the_right_one() -> None:
    body = (
        "if (blockIdx.x + threadIdx.x > 20) return; if (threadIdx.y % 3 == 2 && threadIdx.x > 4)"
        " { if (n > threadIdx.x) x[0] = 1; y[threadIdx.y * 8 + threadIdx.x] = 1; }"
    )
    with pytest.raises(DeviceFault, match="store of 4 bytes out of bounds") as caught:
        run(kernel(body), "k", (2, 2), (8, 8), X.copy(), np.zeros(46, np.float32), 64)
    assert (caught.value.block, caught.value.thread) == ((0, 0, 0), (6, 5, 0))


def test_a_predicated_access_names_the_right_lane() -> None:
    # Predicates on single accesses come from inline assembly; NVRTC itself writes branches.
    body = """
    asm volatile("{ .reg .pred p; .reg .f32 f; setp.gt.s32 p, %1, 30; mov.f32 f, 0f3F800000;"
                 " @p st.global.f32 [%0], f; }" :: "l"(y + threadIdx.x), "r"((int)threadIdx.x));"""
    y = np.zeros(40, np.float32)
    run(kernel(body), "k", 1, 40, X.copy(), y, 64)
    np.testing.assert_array_equal(y, np.arange(40) > 30)
    with pytest.raises(DeviceFault, match="0 bytes past the end of a buffer of 140") as caught:
        run(kernel(body), "k", 1, 40, X.copy(), np.zeros(35, np.float32), 64)
    assert caught.value.thread == (35, 0, 0)


@pytest.mark.parametrize("block", [0, 1025])
def test_a_block_of_too_many_threads(block: int) -> None:
    with pytest.raises(DeviceFault, match="1 to 1024 threads"):
        run(kernel("x[0] = 1;"), "k", 1, block, X.copy(), X.copy(), 1)


def test_a_block_of_more_threads_than_the_kernel_was_compiled_for() -> None:
    source = kernel("x[threadIdx.x] = 1;").replace("void k", "void __launch_bounds__(32) k")
    run(source, "k", 1, 32, X.copy(), X.copy(), 1)
    with pytest.raises(DeviceFault, match="1 to 32 threads"):
        run(source, "k", 1, 33, X.copy(), X.copy(), 1)


def test_arguments_that_do_not_fit() -> None:
    text = ptx(kernel("x[0] = n;"))
    with pytest.raises(gx.BackendError, match="takes 3 arguments, 2 were given"):
        run_ptx(text, "k", (1,), (1,), [X.copy(), X.copy()])
    with pytest.raises(gx.BackendError, match="argument 2 of kernel k has 4 bytes"):
        run_ptx(text, "k", (1,), (1,), [X.copy(), X.copy(), np.int64(1)])
    with pytest.raises(gx.BackendError, match="argument 2 of kernel k has 4 bytes"):
        run_ptx(text, "k", (1,), (1,), [X.copy(), X.copy(), 3])
    with pytest.raises(gx.BackendError, match="no kernel 'q' in this PTX; it has: k"):
        run_ptx(text, "q", (1,), (1,), [X.copy()])
    with pytest.raises(gx.BackendError, match="contiguous"):
        run_ptx(text, "k", (1,), (1,), [X[::2], X.copy(), np.int32(1)])


@pytest.mark.parametrize(
    "text", ["", "hello", "\x7fELF\x02", ".version 9.0\n.address_size 64\n.entry k() { frob.x y; }"]
)
def test_what_is_no_ptx(text: str) -> None:
    with pytest.raises(gx.BackendError, match=r"PTX"):
        run_ptx(text, "k", (1,), (1,), [])


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('asm volatile("bar.sync 1, 32;");', "only the barrier of a whole block"),
        ('asm volatile("cp.async.wait_all;");', "cp.async.wait_all"),
    ],
)
def test_what_is_not_emulated_is_named(body: str, name: str) -> None:
    args: list[Any] = [X.copy(), X.copy(), 1]
    with pytest.raises(gx.BackendError, match=re.escape(name)):
        run(kernel(body + " x[0] = 1;"), "k", 1, 32, *args)
