"""Kernels whole: control flow, shared and local memory, warps, atomics, every kind of grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.backends.emulated.ptx import executor
from tests.backends.emulated.cuda import run

RNG = np.random.default_rng(0)


def floats(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


REDUCE = """
extern "C" __global__ void block_sum(const float* x, float* out, int n) {
    __shared__ float s[256];
    float total = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        total += x[i];
    s[threadIdx.x] = total;
    __syncthreads();
    for (int k = blockDim.x / 2; k > 0; k >>= 1) {
        if (threadIdx.x < k) s[threadIdx.x] += s[threadIdx.x + k];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = s[0];
}
extern "C" __global__ void warp_sum(const float* x, float* out, int n) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    float total = 0;
    for (int i = lane; i < n; i += 32) total += x[row * n + i];
    for (int d = 16; d; d /= 2) total += __shfl_xor_sync(0xffffffffu, total, d);
    if (lane == 0) out[row] = total;
}
"""


@pytest.mark.parametrize("n", [1, 31, 256, 257, 5000])
def test_block_reduction(n: int) -> None:
    x, out = floats(n), np.zeros(3, np.float32)
    counts = run(REDUCE, "block_sum", 3, 256, x, out, n, uninitialised=(1,))
    np.testing.assert_allclose(out.sum(), x.sum(dtype=np.float64), rtol=1e-5, atol=1e-5)
    assert counts.barriers == 3 * 9
    assert counts.bytes_read == 4 * n


@pytest.mark.parametrize("n", [1, 32, 33, 100])
def test_warp_reduction(n: int) -> None:
    x, out = floats(8, n), np.zeros(8, np.float32)
    run(REDUCE, "warp_sum", 2, 128, x, out, n, uninitialised=(1,))
    np.testing.assert_allclose(out, x.sum(1, dtype=np.float64), rtol=1e-5, atol=1e-5)


COLLATZ = """
extern "C" __global__ void collatz(const int* x, int* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long v = x[i];
    int steps = 0;
    while (v != 1) {
        if (v % 2) { v = 3 * v + 1; } else { v /= 2; }
        ++steps;
        if (steps > 100) break;
    }
    out[i] = steps;
}
"""


@pytest.mark.parametrize("n", [1, 100, 1000])
def test_loops_of_different_length(n: int) -> None:
    x, out = np.arange(1, n + 1, dtype=np.int32), np.zeros(n, np.int32)
    run(COLLATZ, "collatz", -(-n // 64), 64, x, out, n, uninitialised=(1,))

    def steps(v: int) -> int:
        count = 0
        while v != 1:
            v = 3 * v + 1 if v % 2 else v // 2
            count += 1
            if count > 100:
                break
        return count

    assert out.tolist() == [steps(v) for v in range(1, n + 1)]


@pytest.mark.parametrize("block", [(7, 3, 2), (32, 1, 1), (1, 33, 1), (4, 4, 4), (1000, 1, 1)])
@pytest.mark.parametrize("grid", [(1, 1, 1), (3, 2, 2)])
def test_grids_of_three_dimensions(grid: Any, block: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
    extern "C" __global__ void where(int* out) {
        int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        int size = blockDim.x * blockDim.y * blockDim.z;
        out[block * size + thread] = blockIdx.x * 1000000 + blockIdx.y * 100000 + blockIdx.z * 10000
            + threadIdx.x * 100 + threadIdx.y * 10 + threadIdx.z;
    }"""
    monkeypatch.setattr(executor, "LANES", 500)  # several chunks, some of one block
    out = np.zeros(int(np.prod(grid) * np.prod(block)), np.int32)
    run(source, "where", grid, block, out, uninitialised=(0,))
    want = [
        bx * 1000000 + by * 100000 + bz * 10000 + x * 100 + y * 10 + z
        for bz in range(grid[2]) for by in range(grid[1]) for bx in range(grid[0])
        for z in range(block[2]) for y in range(block[1]) for x in range(block[0])
    ]  # fmt: skip
    assert out.tolist() == want


TILES = """
extern "C" __global__ void transpose(const float* x, float* y, int rows, int columns) {
    __shared__ float tile[32][33];
    int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
    if (r < rows && c < columns) tile[threadIdx.y][threadIdx.x] = x[r * columns + c];
    __syncthreads();
    int tc = blockIdx.y * 32 + threadIdx.x, tr = blockIdx.x * 32 + threadIdx.y;
    if (tr < columns && tc < rows) y[tr * rows + tc] = tile[threadIdx.x][threadIdx.y];
}
extern "C" __global__ void reverse(float* x, int n) {
    extern __shared__ float s[];
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = s[n - 1 - threadIdx.x];
}
extern "C" __global__ void vectors(const float4* x, float4* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) { float4 v = x[i]; y[i] = make_float4(v.w, v.z, v.y, v.x); }
}
"""


@pytest.mark.parametrize("shape", [(32, 32), (33, 70), (1, 5), (64, 1)])
def test_a_tile_in_shared_memory(shape: tuple[int, int]) -> None:
    x, y = floats(*shape), np.zeros(shape[::-1], np.float32)
    grid = (-(-shape[1] // 32), -(-shape[0] // 32))
    run(TILES, "transpose", grid, (32, 32), x, y, *shape, uninitialised=(1,))
    np.testing.assert_array_equal(y, x.T)


def test_dynamic_shared_memory() -> None:
    x = floats(100)
    want = x[::-1].copy()
    run(TILES, "reverse", 1, 100, x, 100, shared_bytes=400)
    np.testing.assert_array_equal(x, want)


def test_vector_accesses_count_once() -> None:
    x, y = floats(10, 4), np.zeros((10, 4), np.float32)
    counts = run(TILES, "vectors", 1, 32, x, y, 10, uninitialised=(1,))
    np.testing.assert_array_equal(y, x[:, ::-1])
    assert (counts.bytes_read, counts.bytes_written, counts.sectors) == (160, 160, 10)


def test_sectors_tell_coalesced_from_strided() -> None:
    source = """
    extern "C" __global__ void rows(const float* x, float* y, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = x[i]; }
    extern "C" __global__ void columns(const float* x, float* y, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x; y[i] = x[i % n * n + i / n]; }"""
    x, y = floats(64, 64), np.zeros((64, 64), np.float32)
    good = run(source, "rows", 16, 256, x, y, 64, uninitialised=(1,))
    bad = run(source, "columns", 16, 256, x, y, 64, uninitialised=(1,))
    np.testing.assert_array_equal(y, x.T)
    assert good.sectors * 32 == good.bytes_read + good.bytes_written
    # Read: 32 sectors a warp instead of 4; written: 4.
    assert bad.sectors == 128 * (32 + 4)
    assert good.distinct_sectors == bad.distinct_sectors == 1024


LOCAL = """
__device__ __noinline__ float pick(const float* p, int i) { return p[i] * 2; }
__device__ __noinline__ int factorial(int n) {
    int f = 1; for (int i = 2; i <= n; ++i) f *= i; return f; }
__constant__ float table[4] = {1, 2, 4, 8};
__device__ int calls = 40;
extern "C" __global__ void local(const float* x, float* y, int* z, int n) {
    float mine[8];
    for (int i = 0; i < 8; ++i) mine[i] = x[(threadIdx.x + i) % n];
    y[threadIdx.x] = pick(mine, (threadIdx.x * n) % 8) + table[threadIdx.x % 4];
    z[threadIdx.x] = threadIdx.x % 3 ? factorial(threadIdx.x % 7) : -1;
    atomicAdd(&calls, 1);
    __syncthreads();
    if (threadIdx.x == 0) z[0] = calls;
}
"""


def test_local_memory_functions_and_variables() -> None:
    x, y, z = floats(13), np.zeros(45, np.float32), np.zeros(45, np.int32)
    run(LOCAL, "local", 1, 45, x, y, z, 13, uninitialised=(1, 2))
    t = np.arange(45)
    want = 2 * x[(t + t * 13 % 8) % 13] + np.array([1, 2, 4, 8])[t % 4]
    np.testing.assert_allclose(y, want, rtol=1e-6)
    factorials = np.array([1, 1, 2, 6, 24, 120, 720])[t % 7]
    np.testing.assert_array_equal(z[1:], np.where(t % 3, factorials, -1)[1:])
    assert z[0] == 85


ATOMICS = """
extern "C" __global__ void histogram(const int* x, int* bins, float* sums, int* last, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    atomicAdd(bins + x[i], 1);
    atomicAdd(sums + x[i], 0.5f);
    atomicMax(last + x[i], i);
}
extern "C" __global__ void locked(int* out) {
    int old = out[0], seen;
    do { seen = old; old = atomicCAS(out, seen, seen + 3); } while (old != seen);
    out[1 + atomicInc((unsigned*)out + 1, 1000)] ^= 0;
}
extern "C" __global__ void shared_bins(const int* x, int* bins, int n) {
    __shared__ int s[8];
    if (threadIdx.x < 8) s[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) atomicAdd(s + x[i], 1);
    __syncthreads();
    if (threadIdx.x < 8) bins[threadIdx.x] = s[threadIdx.x];
}
"""


def test_atomics() -> None:
    n = 1000
    x = RNG.integers(0, 8, n).astype(np.int32)
    bins, sums, last = np.zeros(8, np.int32), np.zeros(8, np.float32), np.zeros(8, np.int32)
    counts = run(ATOMICS, "histogram", 8, 128, x, bins, sums, last, n)
    np.testing.assert_array_equal(bins, np.bincount(x, minlength=8))
    np.testing.assert_array_equal(sums, np.bincount(x, minlength=8) / 2)
    np.testing.assert_array_equal(last, [np.flatnonzero(x == k)[-1] for k in range(8)])
    assert (counts.atomics, counts.float_atomics) == (3 * n, n)
    bins[:] = 0
    run(ATOMICS, "shared_bins", 1, 64, x, bins, n, uninitialised=(1,))
    np.testing.assert_array_equal(bins, np.bincount(x, minlength=8))


def test_compare_and_swap_in_a_loop() -> None:
    out = np.zeros(70, np.int32)
    run(ATOMICS, "locked", 1, 50, out)
    assert out[0] == 150


WARPS = """
extern "C" __global__ void votes(const int* x, unsigned* out) {
    unsigned t = threadIdx.x, m = 0xffffffffu;
    out[t] = __ballot_sync(m, x[t] > 0);
    out[64 + t] = __any_sync(m, x[t] > 90) + 2 * __all_sync(m, x[t] > -200);
    out[128 + t] = __shfl_up_sync(m, x[t], 3);
    out[192 + t] = __shfl_down_sync(m, x[t], 5, 8);
    out[256 + t] = __shfl_sync(m, x[t], t * 7);
    out[320 + t] = t % 2 ? __activemask() : 0;
    out[384 + t] = __shfl_sync(m, x[t], 2, 4);
}
extern "C" __global__ void meet(const int* x, int* out) {
    __shared__ int s[64];
    int t = threadIdx.x, other = t ^ 1;
    s[t] = x[t];
    __syncwarp();
    int got = s[other];
    __syncwarp();
    s[t] = got + 1;
    __syncwarp();
    out[t] = s[other];
}
extern "C" __global__ void reduced(const int* x, int* out) {
    out[threadIdx.x] = __reduce_add_sync(0xffffffffu, x[threadIdx.x]);
    out[64 + threadIdx.x] = __reduce_max_sync(0xffffffffu, x[threadIdx.x]);
}
"""


def test_warps() -> None:
    x = RNG.integers(-100, 100, 64).astype(np.int32)
    out = np.zeros(7 * 64, np.uint32)
    run(WARPS, "votes", 1, 64, x, out, uninitialised=(1,))
    got = out.reshape(7, 2, 32)
    rows, lane = x.reshape(2, 32), np.arange(32)
    ballots = [sum(1 << i for i in range(32) if row[i] > 0) for row in rows]
    assert (got[0] == np.array(ballots)[:, None]).all()
    assert (got[1] == ((rows > 90).any(1) + 2 * (rows > -200).all(1))[:, None]).all()
    assert (got[2].view(np.int32) == rows[:, np.where(lane >= 3, lane - 3, lane)]).all()
    down = np.where(lane % 8 + 5 < 8, lane + 5, lane)
    assert (got[3].view(np.int32) == rows[:, down]).all()
    assert (got[4].view(np.int32) == rows[:, lane * 7 % 32]).all()
    assert (got[5] == np.where(lane % 2, 0xAAAAAAAA, 0)).all()
    assert (got[6].view(np.int32) == rows[:, lane // 4 * 4 + 2]).all()


def test_meeting_of_a_warp_orders_its_accesses() -> None:
    x, out = np.arange(64, dtype=np.int32), np.zeros(64, np.int32)
    run(WARPS, "meet", 1, 64, x, out, uninitialised=(1,))
    np.testing.assert_array_equal(out, x + 1)


def test_reductions_of_a_warp() -> None:
    x, out = RNG.integers(-99, 99, 64).astype(np.int32), np.zeros(128, np.int32)
    run(WARPS, "reduced", 1, 64, x, out, uninitialised=(1,))
    rows = x.reshape(2, 32)
    np.testing.assert_array_equal(out[:64], np.repeat(rows.sum(1), 32))
    np.testing.assert_array_equal(out[64:], np.repeat(rows.max(1), 32))


PHILOX = """
extern "C" __global__ void philox(unsigned* out, unsigned k0, unsigned k1, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned c0 = i, c1 = 0, c2 = 7, c3 = 9;
    for (int round = 0; round < 10; ++round) {
        unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
        unsigned h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0; c1 = l1; c2 = h0 ^ c3 ^ k1; c3 = l0;
        k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
    }
    out[4 * i] = c0; out[4 * i + 1] = c1; out[4 * i + 2] = c2; out[4 * i + 3] = c3;
}
"""


def test_random_bits_of_philox() -> None:
    n, mask = 33, 2**32 - 1
    out = np.zeros(4 * n, np.uint32)
    run(PHILOX, "philox", 2, 32, out, np.uint32(123), np.uint32(456), n, uninitialised=(0,))

    def philox(c: list[int], k: list[int]) -> list[int]:
        for _ in range(10):
            a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [b >> 32 ^ c[1] ^ k[0], b & mask, a >> 32 ^ c[3] ^ k[1], a & mask]
            k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
        return c

    want = [v for i in range(n) for v in philox([i, 0, 7, 9], [123, 456])]
    assert out.tolist() == want


def test_an_empty_array_is_never_touched() -> None:
    source = (
        'extern "C" __global__ void k(float* x, int n) { if (threadIdx.x < n) x[threadIdx.x] = 1; }'
    )
    counts = run(source, "k", 1, 32, np.zeros(0, np.float32), 0)
    assert counts.bytes_written == 0
