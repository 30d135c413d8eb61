"""Five kernels of the kinds that a backend prints, and twenty bugs to seed into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.signal

SOURCE = """
#define TILE 16
extern "C" __global__ void pointwise(const float* __restrict__ x, const float* __restrict__ y,
                                     float* __restrict__ z, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        float a = x[i], b = y[i];
        z[i] = (a > 0.0f ? a : expm1f(a)) * tanhf(b) + logf(fabsf(a) + 1.0f);
    }
}
extern "C" __global__ void total(const float* __restrict__ x, float* __restrict__ out, int n) {
    __shared__ float s[256];
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        sum += x[i];
    s[threadIdx.x] = sum;
    __syncthreads();  // total: before the loop
    for (int k = blockDim.x / 2; k > 0; k >>= 1) {
        if (threadIdx.x < k) s[threadIdx.x] += s[threadIdx.x + k];
        __syncthreads();  // total: in the loop
    }
    if (threadIdx.x == 0) atomicAdd(out, s[0]);
}
extern "C" __global__ void product(const float* __restrict__ a, const float* __restrict__ b,
                                   float* __restrict__ c, int m, int n, int k) {
    __shared__ float at[TILE][TILE], bt[TILE][TILE];
    int tx = threadIdx.x, ty = threadIdx.y;
    int row = blockIdx.y * TILE + ty, col = blockIdx.x * TILE + tx;
    float sum = 0.0f;
    for (int k0 = 0; k0 < k; k0 += TILE) {
        at[ty][tx] = (row < m && k0 + tx < k) ? a[row * k + k0 + tx] : 0.0f;
        bt[ty][tx] = (col < n && k0 + ty < k) ? b[(k0 + ty) * n + col] : 0.0f;
        __syncthreads();  // product: after the load
        for (int j = 0; j < TILE; ++j) sum += at[ty][j] * bt[j][tx];
        __syncthreads();  // product: after the use
    }
    if (row < m && col < n) c[row * n + col] = sum;
}
extern "C" __global__ void convolution(const float* __restrict__ x, const float* __restrict__ w,
                                       float* __restrict__ y, int count, int ci, int h, int width,
                                       int co, int kh, int kw, int oh, int ow, int stride,
                                       int pad) {
    __shared__ float wt[TILE][TILE], xt[TILE][TILE];
    int tx = threadIdx.x, ty = threadIdx.y;
    int o = blockIdx.y * TILE + ty, at = blockIdx.x * TILE + tx;
    int points = count * oh * ow, terms = ci * kh * kw;
    int image = at / (oh * ow), y0 = at / ow % oh, x0 = at % ow;
    float sum = 0.0f;
    for (int k0 = 0; k0 < terms; k0 += TILE) {
        wt[ty][tx] = (o < co && k0 + tx < terms) ? w[o * terms + k0 + tx] : 0.0f;
        int k = k0 + ty, c = k / (kh * kw), dy = k / kw % kh, dx = k % kw;
        int iy = y0 * stride - pad + dy, ix = x0 * stride - pad + dx;
        bool inside = at < points && k < terms && iy >= 0 && iy < h && ix >= 0 && ix < width;
        xt[ty][tx] = inside ? x[((image * ci + c) * h + iy) * width + ix] : 0.0f;
        __syncthreads();  // convolution: after the load
        for (int j = 0; j < TILE; ++j) sum += wt[ty][j] * xt[j][tx];
        __syncthreads();  // convolution: after the use
    }
    if (o < co && at < points) y[((image * co + o) * oh + y0) * ow + x0] = sum;
}
extern "C" __global__ void softmax(const float* __restrict__ x, float* __restrict__ y, int rows,
                                   int columns) {
    int lane = threadIdx.x & 31, row = (blockIdx.x * blockDim.x + threadIdx.x) >> 5;
    if (row >= rows) return;
    float most = -3.402823466e38f, sum = 0.0f;
    for (int c = lane; c < columns; c += 32) most = fmaxf(most, x[row * columns + c]);
    for (int d = 16; d; d >>= 1) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, d));
    for (int c = lane; c < columns; c += 32) sum += expf(x[row * columns + c] - most);
    for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    for (int c = lane; c < columns; c += 32)
        y[row * columns + c] = expf(x[row * columns + c] - most) / sum;
}
"""


@dataclass(frozen=True)
class Bug:
    """An edit of the source: ``old`` becomes ``new`` in ``kernel``."""

    name: str
    kernel: str
    old: str
    new: str

    def source(self) -> str:
        begin = SOURCE.index(f"void {self.kernel}(")
        at = SOURCE.index(self.old, begin)
        return SOURCE[:at] + self.new + SOURCE[at + len(self.old) :]


BUGS = (
    *(Bug(f"no barrier: {place}", place.split(":")[0], f"__syncthreads();  // {place}", "")
      for place in ("product: after the load", "product: after the use", "total: before the loop",
                    "total: in the loop", "convolution: after the load",
                    "convolution: after the use")),
    Bug("store guard one too far", "product", "if (row < m &&", "if (row <= m &&"),
    Bug("no guard of k on the left", "product", "(row < m && k0 + tx < k)", "(row < m)"),
    Bug("no guard of k on the right", "product", "(col < n && k0 + ty < k)", "(col < n)"),
    Bug("last column not stored", "product", "if (row < m && col < n)",
        "if (row < m && col < n - 1)"),
    Bug("early return before a barrier", "product", "float sum = 0.0f;",
        "float sum = 0.0f; if (row >= m) return;"),
    Bug("loop one too far", "pointwise", "i < n;", "i <= n;"),
    Bug("misaligned vector load", "pointwise", "float a = x[i],",
        "float2 v = i + 4 < n ? *(const float2*)(x + i) : float2();"
        " float a = i + 4 < n ? (v.y == 1e30f) + v.x : x[i],"),
    Bug("no guard above", "convolution", "iy >= 0 && ", ""),
    Bug("no guard on the right", "convolution", " && ix < width", ""),
    Bug("sign of the padding", "convolution", "y0 * stride - pad", "y0 * stride + pad"),
    Bug("atomic dropped", "total", "atomicAdd(out, s[0])", "*out += s[0]"),
    Bug("every thread adds", "total", "if (threadIdx.x == 0) ", ""),
    Bug("one shuffle missing", "softmax", "for (int d = 16; d; d >>= 1) sum",
        "for (int d = 8; d; d >>= 1) sum"),
    Bug("a lane leaves before the shuffle", "softmax", "if (row >= rows) return;",
        "if (row >= rows || lane == 31) return;"),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A launch of one kernel, which argument it fills, and what it must leave there."""

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    out: int
    want: Any


def cases() -> Iterator[Case]:
    """Shapes that reach every guard of the five kernels."""
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    n = 2003
    x, y = floats(n), floats(n)
    a, b = x.astype(np.float64), y.astype(np.float64)
    want = np.where(a > 0, a, np.expm1(a)) * np.tanh(b) + np.log(np.abs(a) + 1)
    yield Case("pointwise", (5,), (256,), (x, y, np.zeros_like(x), n), 2, want)
    yield Case("total", (6,), (256,), (x, np.zeros(1, np.float32), n), 1, [a.sum()])
    m, columns, k = 40, 37, 35
    left, right = floats(m, k), floats(k, columns)
    yield Case("product", (3, 3), (16, 16), (left, right, np.zeros((m, columns), np.float32), m,
               columns, k), 2, left.astype(np.float64) @ right)  # fmt: skip
    count, ci, h, width, co, kernel, stride, pad = 2, 3, 9, 7, 5, 3, 1, 1
    images, weights = floats(count, ci, h, width), floats(co, ci, kernel, kernel)
    want = np.array([
        [sum(scipy.signal.correlate2d(image[c], weight[c], "same") for c in range(ci))
         for weight in weights.astype(np.float64)]
        for image in images.astype(np.float64)
    ])  # fmt: skip
    yield Case("convolution", (-(-count * h * width // 16), 1), (16, 16),
               (images, weights, np.zeros(want.shape, np.float32), count, ci, h, width, co, kernel,
                kernel, h, width, stride, pad), 2, want)  # fmt: skip
    rows, columns = 11, 101
    s = floats(rows, columns)
    e = np.exp(s.astype(np.float64))
    yield Case("softmax", (3,), (128,), (s, np.zeros_like(s), rows, columns), 1,
               e / e.sum(1, keepdims=True))  # fmt: skip
