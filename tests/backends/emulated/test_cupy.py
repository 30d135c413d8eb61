"""The real CuPy, unchanged, on the emulated device: its own kernels against NumPy.

The tests named gemm lean on the stand-in for cuBLAS: they show layouts and types, not arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.backends import emulated

emulated.install()

import cupy as cp  # noqa: E402 - on the emulated device

RNG = np.random.default_rng(0)
A = RNG.standard_normal((37, 53)).astype(np.float32)
B = RNG.standard_normal((37, 53)).astype(np.float32)
KERNEL = cp.ElementwiseKernel("T x, T y", "T z", "z = x * y + max(x, y)", "cupy_test_kernel")
NORM = cp.ReductionKernel("T x", "T y", "x * x", "a + b", "y = sqrt(a)", "0", "cupy_test_norm")


@cp.fuse(kernel_name="cupy_test_fused")  # type: ignore[untyped-decorator]
def fused(x: Any, y: Any) -> Any:
    return cp.maximum(x * y, 0) + cp.tanh(x)


def scattered(x: Any) -> Any:
    out = cp.zeros((2, 53), np.float32)
    cp.add.at(out, cp.asarray([0, 0, 1]), x[:3])
    return out


def softmax(xp: Any, x: Any) -> Any:
    e = xp.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


Check = tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any], float]
CHECKS: dict[str, Check] = {
    "copy": (lambda a, b: a, lambda a, b: a, 0),
    "add": (lambda a, b: a + b, lambda a, b: a + b, 0),
    "broadcast of a view": (lambda a, b: a[::2, 1:] * 2.5, lambda a, b: a[::2, 1:] * 2.5, 0),
    "functions": (lambda a, b: cp.tanh(a) + cp.exp(b) * cp.log(cp.abs(a) + 1),
                  lambda a, b: np.tanh(a) + np.exp(b) * np.log(np.abs(a) + 1), 1e-5),
    "sum of rows": (lambda a, b: a.sum(axis=1), lambda a, b: a.sum(axis=1), 1e-5),
    "sum": (lambda a, b: a.sum(), lambda a, b: a.sum(), 1e-4),
    "max": (lambda a, b: a.max(axis=0), lambda a, b: a.max(axis=0), 0),
    "argmax": (lambda a, b: a.argmax(axis=1), lambda a, b: a.argmax(axis=1), 0),
    "where": (lambda a, b: cp.where(a > 0, a, b), lambda a, b: np.where(a > 0, a, b), 0),
    "transpose": (lambda a, b: cp.ascontiguousarray(a.T), lambda a, b: a.T, 0),
    "take": (lambda a, b: a[cp.asarray([3, 1, 2])], lambda a, b: a[[3, 1, 2]], 0),
    "pad": (lambda a, b: cp.pad(a, 1), lambda a, b: np.pad(a, 1), 0),
    "concatenate": (lambda a, b: cp.concatenate([a, b]), lambda a, b: np.concatenate([a, b]), 0),
    "scatter": (lambda a, b: scattered(a), lambda a, b: np.stack([a[0] + a[1], a[2]]), 1e-6),
    "half": (lambda a, b: a.astype(np.float16).astype(np.float32),
             lambda a, b: a.astype(np.float16).astype(np.float32), 0),
    "variance of doubles": (lambda a, b: a.astype(np.float64).var(axis=0),
                            lambda a, b: a.astype(np.float64).var(axis=0), 1e-12),
    "elementwise kernel": (lambda a, b: KERNEL(a, b), lambda a, b: a * b + np.maximum(a, b), 1e-6),
    "fused": (lambda a, b: fused(a, b), lambda a, b: np.maximum(a * b, 0) + np.tanh(a), 1e-5),
    "reduction kernel": (lambda a, b: NORM(a, axis=1), lambda a, b: np.sqrt((a * a).sum(1)), 1e-5),
    "gemm": (lambda a, b: a @ b.T, lambda a, b: a @ b.T, 1e-4),
    "gemm of views": (lambda a, b: a[3:, ::2].T @ b[:34], lambda a, b: a[3:, ::2].T @ b[:34], 1e-4),
    "gemm in batches": (lambda a, b: cp.stack([a, b, a]) @ b.T,
                        lambda a, b: np.stack([a, b, a]) @ b.T, 1e-4),
    "gemm of halves": (lambda a, b: a.astype(np.float16) @ b.T.astype(np.float16),
                       lambda a, b: a @ b.T, 3e-2),
    "gemm of doubles": (lambda a, b: a.astype(np.float64) @ b.T.astype(np.float64),
                        lambda a, b: a.astype(np.float64) @ b.T.astype(np.float64), 1e-12),
    "gemm by einsum": (lambda a, b: cp.einsum("ij,kj->ik", a, b), lambda a, b: a @ b.T, 1e-4),
    "gemm by tensordot": (lambda a, b: cp.tensordot(a, b, ([1], [1])), lambda a, b: a @ b.T, 1e-4),
    "integers": (lambda a, b: cp.arange(-9, 9) // 4 * 100 + cp.arange(-9, 9) % 4,
                 lambda a, b: np.arange(-9, 9) // 4 * 100 + np.arange(-9, 9) % 4, 0),
    "cumulative sum": (lambda a, b: cp.cumsum(a, axis=1), lambda a, b: a.cumsum(axis=1), 1e-4),
    "softmax": (lambda a, b: softmax(cp, a), lambda a, b: softmax(np, a), 1e-5),
    "complex": (lambda a, b: (a + 1j * b) * cp.conj(b + 0j), lambda a, b: (a + 1j * b) * b, 1e-5),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_equals_numpy(name: str) -> None:
    on_device, on_host, tolerance = CHECKS[name]
    got = cp.asnumpy(on_device(cp.asarray(A), cp.asarray(B)))
    want = on_host(A, B)
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def test_a_module_of_ours() -> None:
    source = """extern "C" __global__ void scale(const float* x, float* y, double by, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) y[i] = x[i] * by;
    }
    __device__ float offset = 2.5f;
    extern "C" __global__ void shift(float* x) { x[threadIdx.x] += offset; }"""
    module = cp.RawModule(code=source, options=("--std=c++17",))
    x, y = cp.asarray(A), cp.empty(A.shape, np.float32)
    module.get_function("scale")((16,), (128,), (x, y, np.float64(3), np.int32(A.size)))
    module.get_function("shift")((1,), (53,), (y,))
    want = A * np.float32(3)
    want[0] += np.float32(2.5)
    np.testing.assert_array_equal(y.get(), want)
    place = module.get_global("offset")
    assert cp.ndarray((1,), np.float32, memptr=place).get() == 2.5


def step(xp: Any, w: list[Any], v: list[Any], x: Any, t: Any) -> Any:
    """One step of momentum SGD of a network with one hidden layer, written out."""
    h = xp.maximum(x @ w[0] + w[1], 0)
    o = h @ w[2] + w[3]
    p = softmax(xp, o)
    loss = -(t * xp.log(p + 1e-9)).sum() / len(x)
    d = (p - t) / len(x)
    e = (d @ w[2].T) * (h > 0)
    for i, g in enumerate((x.T @ e, e.sum(0), h.T @ d, d.sum(0))):
        v[i] = 0.9 * v[i] + g
        w[i] = w[i] - 0.1 * v[i]
    return loss


def test_a_training_step_op_by_op() -> None:
    rng = np.random.default_rng(1)
    shapes = [(64, 40), (40,), (40, 10), (10,)]
    w = [(rng.standard_normal(s) * 0.1).astype(np.float32) for s in shapes]
    v = [np.zeros_like(a) for a in w]
    x = rng.standard_normal((16, 64)).astype(np.float32)
    t = np.eye(10, dtype=np.float32)[rng.integers(0, 10, 16)]
    wd, vd, xd, td = (
        [cp.asarray(a) for a in w],
        [cp.asarray(a) for a in v],
        *map(cp.asarray, (x, t)),
    )
    for i in range(4):
        if i == 3:  # warm: the pool has every size by now
            with emulated.counting() as counts:
                got = step(cp, wd, vd, xd, td)
        else:
            got = step(cp, wd, vd, xd, td)
        want = step(np, w, v, x, t)
        assert float(got) == pytest.approx(float(want), rel=1e-5)
    for a, b in zip(w, wd, strict=True):
        np.testing.assert_allclose(b.get(), a, atol=1e-6)
    assert (counts.gemms, counts.allocations, counts.synchronisations) == (5, 0, 0)
    assert counts.device_to_host == 0
    assert counts.launches > 30


# -- what is CuPy's own and differs from NumPy comes for free -------------------------------------


def test_arrays_do_not_mix_with_numpys() -> None:
    x = cp.ones(3, np.float32)
    with pytest.raises(TypeError):
        np.asarray(x)
    with pytest.raises(TypeError):
        x + np.ones(3, np.float32)
    assert cp.asarray([5.0, 6.0])[cp.asarray([3])].get() == 6  # an index wraps, CUDA has no error


def test_what_has_no_stand_in_is_refused_by_name() -> None:
    with pytest.raises(Exception, match=r"CUB|cudaError|stand-in"):
        cp.sort(cp.asarray(A))
    with pytest.raises(Exception, match=r"libcurand|stand-in"):
        cp.random.rand(3)
    with pytest.raises(Exception, match=r"libcusolver|libnvJitLink|stand-in"):
        cp.linalg.svd(cp.asarray(A))
    with pytest.raises(gx.BackendError, match="cuBLAS sger has no stand-in"):
        cp.cuda.cublas.sger(0, 1, 1, 0, 0, 1, 0, 1, 0, 1)
    with pytest.raises(gx.BackendError, match="CUDA runtime createTextureObject has no stand-in"):
        cp.cuda.runtime.createTextureObject(0, 0)


def test_who_asks_for_a_gpu_does_not_get_the_emulated_device() -> None:
    graph = gx.Graph({"y": gx.exp(gx.input("x", ("N",)))})
    with pytest.raises(gx.BackendError, match="on the emulated device in this process"):
        gx.compile(graph, backend="cupy")
    gx.compile(graph, backend="emulated")
