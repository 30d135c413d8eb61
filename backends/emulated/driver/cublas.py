"""A stand-in for cuBLAS: its contract is checked, its arithmetic is NumPy's.

Column-major layouts, leading dimensions, transposes, strides, batches, types and scaling factors
are those of cuBLAS; the order of its sums and its rounding are not. A test that leans on it says
so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.errors import BackendError
from .. import counters
from ..ptx.memory import BASE, SET
from ..ptx.rounding import from_bf16, to_bf16
from ..ptx.types import F32, F64, U16, Array, DType
from .device import Device, host_bytes, nothing
from .tables import Table

# cudaDataType: code -> element type in memory. bfloat16 travels as 16 bits.
TYPES: dict[int, DType] = {0: F32, 1: F64, 2: np.dtype(np.float16), 14: U16}
BFLOAT16 = 14
UNDER_CAPTURE = "calling cuBLAS API during stream capture is currently unsupported"  # as CuPy says


class Gemm:
    """C = α·op(A)·op(B) + β·C on the device's memory."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.mode = 0
        self.pointers = 0  # where scaling factors are: 0 the host, 1 the device
        self.stream = 0

    def table(self) -> Table:
        """cupy_backends.cuda.libs.cublas."""
        run = self.run

        def set_mode(handle: int, mode: int) -> None:
            self.mode = mode

        def set_pointers(handle: int, mode: int) -> None:
            self.pointers = mode

        def set_stream(handle: int, stream: int) -> None:
            self.stream = stream

        def plain(code: int) -> Callable[..., None]:
            def gemm(h: int, ta: int, tb: int, m: int, n: int, k: int, alpha: int, a: int,
                     lda: int, b: int, ldb: int, beta: int, c: int, ldc: int) -> None:  # fmt: skip
                run(ta, tb, m, n, k, alpha, (a, code, lda, 0), (b, code, ldb, 0), beta,
                    (c, code, ldc, 0), 1)  # fmt: skip

            return gemm

        def strided(code: int) -> Callable[..., None]:
            def gemm(h: int, ta: int, tb: int, m: int, n: int, k: int, alpha: int, a: int,
                     lda: int, sa: int, b: int, ldb: int, sb: int, beta: int, c: int, ldc: int,
                     sc: int, count: int) -> None:  # fmt: skip
                run(ta, tb, m, n, k, alpha, (a, code, lda, sa), (b, code, ldb, sb), beta,
                    (c, code, ldc, sc), count)  # fmt: skip

            return gemm

        def batched(code: int) -> Callable[..., None]:
            def gemm(h: int, ta: int, tb: int, m: int, n: int, k: int, alpha: int, a: int,
                     lda: int, b: int, ldb: int, beta: int, c: int, ldc: int,
                     count: int) -> None:  # fmt: skip
                places = (self._pointers(p, count) for p in (a, b, c))
                for x, y, z in zip(*places, strict=True):
                    run(ta, tb, m, n, k, alpha, (x, code, lda, 0), (y, code, ldb, 0), beta,
                        (z, code, ldc, 0), 1)  # fmt: skip

            return gemm

        def gemm_ex(h: int, ta: int, tb: int, m: int, n: int, k: int, alpha: int, a: int, da: int,
                    lda: int, b: int, db: int, ldb: int, beta: int, c: int, dc: int, ldc: int,
                    compute: int, algorithm: int) -> None:  # fmt: skip
            run(ta, tb, m, n, k, alpha, (a, da, lda, 0), (b, db, ldb, 0), beta, (c, dc, ldc, 0), 1)

        def strided_ex(h: int, ta: int, tb: int, m: int, n: int, k: int, alpha: int, a: int,
                       da: int, lda: int, sa: int, b: int, db: int, ldb: int, sb: int, beta: int,
                       c: int, dc: int, ldc: int, sc: int, count: int, compute: int,
                       algorithm: int) -> None:  # fmt: skip
            run(ta, tb, m, n, k, alpha, (a, da, lda, sa), (b, db, ldb, sb), beta,
                (c, dc, ldc, sc), count)  # fmt: skip

        return {
            "create": lambda: self.device.handle(self), "destroy": nothing,
            "setStream": set_stream, "getStream": lambda _: self.stream,
            "setPointerMode": set_pointers, "getPointerMode": lambda _: self.pointers,
            "setMathMode": set_mode, "getMathMode": lambda _: self.mode,
            "sgemm": plain(0), "dgemm": plain(1), "gemmEx": gemm_ex,
            "sgemmStridedBatched": strided(0), "dgemmStridedBatched": strided(1),
            "gemmStridedBatchedEx": strided_ex, "sgemmBatched": batched(0),
            "dgemmBatched": batched(1),
        }  # fmt: skip

    def run(
        self, ta: int, tb: int, m: int, n: int, k: int, alpha: int, a: tuple[int, int, int, int],
        b: tuple[int, int, int, int], beta: int, c: tuple[int, int, int, int], batch: int,
    ) -> None:  # fmt: skip
        """One call: each operand is (address, type, leading dimension, stride of the batch)."""
        if self.device.captures:
            raise NotImplementedError(UNDER_CAPTURE)
        if min(m, n, k, batch) < 0 or {ta, tb} - {0, 1, 2}:
            raise BackendError(f"cuBLAS gemm: sizes {m}, {n}, {k} or transposes {ta}, {tb}")
        for _, code, _, _ in (a, b, c):
            if code not in TYPES:
                raise BackendError(f"cuBLAS gemm of type {code} has no stand-in in the emulator")
        dtype = F64 if c[1] == 1 else F32
        # Scaling factors of the host are read now, those on the device when the work runs.
        host = None if self.pointers else (self._scalar(alpha, dtype), self._scalar(beta, dtype))

        def work(_: bool) -> None:
            self.device.operation()
            scale, keep = host or (self._scalar(alpha, dtype), self._scalar(beta, dtype))
            for i in range(batch):
                x = self._matrix("A", a, i, (m, k) if ta == 0 else (k, m)).astype(dtype)
                y = self._matrix("B", b, i, (k, n) if tb == 0 else (n, k)).astype(dtype)
                out = scale * np.matmul(x.T if ta else x, y.T if tb else y)
                if keep:
                    out = out + keep * self._matrix("C", c, i, (m, n)).astype(dtype)
                self._store(c, i, out.astype(dtype), (a, b))
            counters.count("gemms")
            counters.count("gemm_flops", 2 * batch * m * n * k)
            sizes = (m * k * TYPES[a[1]].itemsize, k * n * TYPES[b[1]].itemsize,
                     m * n * TYPES[c[1]].itemsize * (2 if keep else 1))  # fmt: skip
            counters.count("gemm_bytes", batch * sum(sizes))

        self.device.submit(self.stream, work)

    def _scalar(self, address: int, dtype: DType) -> Any:
        if self.pointers:
            return self.device.heap.read(address, dtype.itemsize).view(dtype)[0]
        return host_bytes(address, dtype.itemsize).view(dtype)[0].copy()

    def _pointers(self, address: int, count: int) -> list[int]:
        raw = self.device.heap.read(address, 8 * count)
        return [int(p) for p in raw.view(np.uint64)]

    def _span(
        self, name: str, operand: tuple[int, int, int, int], i: int, shape: tuple[int, int]
    ) -> tuple[int, int, tuple[int, int]]:
        """Offset and bytes in the heap, and the strides, of a column-major matrix."""
        address, code, leading, stride = operand
        rows, columns = shape
        width = TYPES[code].itemsize
        if leading < max(1, rows):
            raise BackendError(f"cuBLAS gemm: leading dimension {leading} of {name} < {rows} rows")
        start = address + i * stride * width
        if start % width:
            raise BackendError(f"cuBLAS gemm: {name} is misaligned at {start:#x}")
        size = ((columns - 1) * leading + rows) * width if rows and columns else 0
        heap = self.device.heap
        offset = start - BASE
        if size and not (0 <= offset <= heap.capacity - size):
            raise BackendError(f"cuBLAS gemm: {name}: {heap.describe(start)}")
        return offset, size, (width, leading * width)

    def _matrix(
        self, name: str, operand: tuple[int, int, int, int], i: int, shape: tuple[int, int]
    ) -> Array:
        dtype = TYPES[operand[1]]
        offset, size, strides = self._span(name, operand, i, shape)
        if not size:
            return np.zeros(shape, F32 if operand[1] == BFLOAT16 else dtype)
        heap = self.device.heap
        for byte in range(dtype.itemsize):
            state = _strided(heap.state[offset + byte : offset + size], shape, strides)
            if (state != SET).any():
                row, column = (int(v[0]) for v in np.nonzero(state != SET))
                at = BASE + offset + row * strides[0] + column * strides[1]
                raise BackendError(
                    f"cuBLAS gemm reads element ({row}, {column}) of {name}, which nothing has"
                    f" written: {heap.describe(at)}"
                )
        found = _strided(heap.data[offset : offset + size].view(dtype), shape, strides)
        return from_bf16(found.copy()) if operand[1] == BFLOAT16 else found

    def _store(
        self, c: tuple[int, int, int, int], i: int, out: Array,
        others: tuple[tuple[int, int, int, int], ...],
    ) -> None:  # fmt: skip
        m, n = out.shape
        offset, size, strides = self._span("C", c, i, (m, n))
        if not size:
            return
        dtype, heap = TYPES[c[1]], self.device.heap
        if any(other[0] == c[0] for other in others):
            raise BackendError("cuBLAS gemm: C is one of the factors, which it must not overlap")
        for byte in range(dtype.itemsize):
            state = heap.state[offset + byte : offset + size]
            cells = _strided(state, (m, n), strides, writeable=True)
            if not cells.all():
                raise BackendError(f"cuBLAS gemm: C: {heap.describe(BASE + offset + size - 1)}")
            cells[...] = SET
        place = heap.data[offset : offset + size].view(dtype)
        value = to_bf16(out) if c[1] == BFLOAT16 else out.astype(dtype)
        _strided(place, (m, n), strides, writeable=True)[...] = value


def _strided(
    memory: Array, shape: tuple[int, int], strides: tuple[int, int], *, writeable: bool = False
) -> Array:
    return np.lib.stride_tricks.as_strided(memory, shape, strides, writeable=writeable)
