"""PTX's types as NumPy has them, and the same bits read as another type."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Value: TypeAlias = Any  # an array with one element a lane, or one scalar for all lanes
DType: TypeAlias = np.dtype[Any]
Array: TypeAlias = npt.NDArray[Any]

BOOL = np.dtype(np.bool_)
F16, F32, F64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
UNSIGNED = {n: np.dtype(f"u{n}") for n in (1, 2, 4, 8)}
SIGNED = {n: np.dtype(f"i{n}") for n in (1, 2, 4, 8)}
U8, U16, U32, U64 = (UNSIGNED[n] for n in (1, 2, 4, 8))
I32, I64 = SIGNED[4], SIGNED[8]

# bfloat16 travels as its 16 bits, a packed pair as its 32; their arithmetic unpacks them.
TYPES: dict[str, DType] = {
    "pred": BOOL, "f16": F16, "f32": F32, "f64": F64, "bf16": U16, "tf32": F32,
    "f16x2": U32, "bf16x2": U32,
    **{f"{kind}{8 * n}": UNSIGNED[n] for kind in "ub" for n in (1, 2, 4, 8)},
    **{f"s{8 * n}": SIGNED[n] for n in (1, 2, 4, 8)},
}  # fmt: skip


def round_up(value: int, align: int) -> int:
    """The next multiple of ``align``."""
    return -(-value // align) * align


def as_type(value: Value, dtype: DType) -> Value:
    """The same bits as ``dtype``: a wider register is cut, a narrower one is filled with zeros."""
    have = value.dtype
    if have is dtype or have == dtype:
        return value
    if have.itemsize == dtype.itemsize and have != BOOL and dtype != BOOL:
        return value.view(dtype)
    if have == BOOL or dtype == BOOL:
        return value.astype(dtype)
    bits = value.view(UNSIGNED[have.itemsize]).astype(UNSIGNED[dtype.itemsize])
    return bits if bits.dtype == dtype else bits.view(dtype)


def extend(value: Value, dtype: DType) -> Value:
    """A loaded or converted value in its register, which may be wider: sign or zeros in front."""
    if value.dtype.itemsize == dtype.itemsize or value.dtype == BOOL:
        return value
    if value.dtype.kind == "f":
        value = value.view(UNSIGNED[value.dtype.itemsize])
    kinds = SIGNED if value.dtype.kind == "i" else UNSIGNED
    return value.astype(kinds[dtype.itemsize])
