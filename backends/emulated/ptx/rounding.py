"""Arithmetic that NumPy does not have: fused multiply-add, directed rounding, 16-bit floats.

A sum that float64 rounds *to odd* (an inexact result gets an odd last bit) can be rounded again to
a format of at most 50 bits as if the exact sum had been: Boldo and Melquiond, "Emulation of FMA and
correctly rounded sums: proved algorithms using rounding to odd", IEEE Trans. Computers 57(4), 2008.
So every fma of 16 and 32 bits here is rounded once, exactly as the hardware does it, and so is that
of 64 bits while nothing overflows on the way.
"""

from __future__ import annotations

import numpy as np

from .types import F16, F32, F64, U16, U32, U64, Array, DType, Value, as_type

_CUT = np.uint64(35)  # float32 cuts the last 29 bits off a float64
_TIE = np.uint64(1 << 63)
_SUBNORMAL = np.uint32(0x01000000)  # twice the smallest normal float32, which rounding may reach
_SPLIT = 134217729.0  # 2^27 + 1, Dekker's


def two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """The rounded sum and what rounding lost, exactly (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Value, b: Value) -> tuple[Value, Value]:
    """The rounded product and what rounding lost (Dekker), while nothing over- or underflows."""
    p = a * b
    t = _SPLIT * a
    high_a = t - (t - a)
    t = _SPLIT * b
    high_b = t - (t - b)
    low_a, low_b = a - high_a, b - high_b
    return p, ((high_a * high_b - p) + high_a * low_b + low_a * high_b) + low_a * low_b


def odd_sum(a: Value, b: Value) -> Value:
    """float64 a + b rounded to odd."""
    s, e = two_sum(a, b)
    return to_odd(s, e)


def to_odd(s: Value, e: Value) -> Value:
    """``s``, one step towards what was lost ``e`` where its last bit is even and e is not 0."""
    s = np.asarray(s)
    bits = s.view(U64)
    move = (e != 0) & np.isfinite(e) & np.isfinite(s) & ((bits & np.uint64(1)) == 0)
    # One step away from zero adds 1 to the bits, one step towards it takes 1.
    up = (e > 0) == (s > 0)
    return np.where(move, np.where(up, bits + np.uint64(1), bits - np.uint64(1)), bits).view(F64)


def fma(a: Value, b: Value, c: Value, dtype: DType, mode: str = "rn") -> Value:
    """a·b + c rounded once, to nearest or as ``mode`` (rz, rm, rp) says."""
    if dtype == F64:
        return _fma64(a, b, c)
    p = a.astype(F64) * b.astype(F64)  # exact: 48 bits at most
    c = c.astype(F64)
    if dtype == F16 or mode != "rn":
        return round_to(odd_sum(p, c), dtype, mode)
    s = p + c
    # Rounding twice differs from rounding once only where the first result lies half way between
    # two float32 and was itself inexact; below float32's normal range "half way" lies elsewhere.
    found = s.astype(F32)
    half = (as_type(s, U64) << _CUT) == _TIE
    size = as_type(found, U32) << np.uint32(1)
    if np.min(size) <= _SUBNORMAL:
        half = half | ((size <= _SUBNORMAL) & (s != 0))
    if half.any():
        if s.ndim == 0:
            return odd_sum(p, c).astype(F32)
        p, c = np.broadcast_to(p, s.shape)[half], np.broadcast_to(c, s.shape)[half]
        found[half] = odd_sum(p, c).astype(F32)
    return found


def _fma64(a: Value, b: Value, c: Value) -> Value:
    a, b, c = np.broadcast_arrays(a, b, c)
    plain = a * b + c
    high, low = two_product(a, b)
    t_high, t_low = two_sum(c, low)
    v_high, v_low = two_sum(high, t_high)
    exact = v_high + odd_sum(t_low, v_low)
    # Outside this range Dekker's split overflows or the lost part underflows; there the product
    # and the sum are rounded one by one. What is not finite stays as IEEE has it.
    p, size = np.abs(high), np.abs(c)
    safe = ((p > 1e-200) & (p < 1e290)) & ((size < 1e290) & ((size > 1e-200) | (size == 0)))
    safe &= (np.abs(a) < 1e290) & (np.abs(b) < 1e290)
    return np.where(safe, exact, plain)


def round_to(x: Value, dtype: DType, mode: str = "rn") -> Value:
    """float64 ``x`` in ``dtype``, rounded to nearest even or as ``mode`` says."""
    if dtype == F64:
        return x
    f = x.astype(dtype)
    if mode == "rn":
        return f
    back, inf = f.astype(F64), dtype.type(np.inf)
    if mode == "rm":
        return np.where(back > x, np.nextafter(f, -inf), f)
    if mode == "rp":
        return np.where(back < x, np.nextafter(f, inf), f)
    return np.where(np.abs(back) > np.abs(x), np.nextafter(f, dtype.type(0)), f)


def flush(x: Value) -> Value:
    """``.ftz``: a subnormal float32 becomes a zero of its sign."""
    bits = as_type(x, U32)
    small = (bits & np.uint32(0x7F800000)) == 0
    return np.where(small, bits & np.uint32(0x80000000), bits).view(F32)


def from_bf16(bits: Value) -> Value:
    """bfloat16's 16 bits as the float32 of the same value."""
    return (bits.astype(U32) << np.uint32(16)).view(F32)


def to_bf16(x: Value, mode: str = "rn") -> Value:
    """float32 or float64 ``x`` rounded to bfloat16, as its 16 bits."""
    x = np.asarray(x)
    if x.dtype == F64:  # by way of a float32 rounded to odd
        f = np.asarray(x.astype(F32))
        bits = f.view(U32)
        back = f.astype(F64)
        move = (back != x) & np.isfinite(x) & ((bits & np.uint32(1)) == 0)
        away = np.abs(x) > np.abs(back)
        bits = np.where(move, np.where(away, bits + np.uint32(1), bits - np.uint32(1)), bits)
    else:
        bits = x.astype(F32).view(U32)
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    if mode == "rn":
        rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    else:
        rounded = bits
    return np.where(nan, U16.type(0x7FFF), (rounded >> np.uint32(16)).astype(U16))


def high_product(a: Array, b: Array, dtype: DType) -> Value:
    """The upper half of the product of two integers of ``dtype``."""
    bits = 8 * dtype.itemsize
    if bits < 64:
        wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
        return ((a.astype(wide) * b.astype(wide)) >> wide.type(bits)).astype(dtype)
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    x, y = as_type(a, U64), as_type(b, U64)
    x0, x1, y0, y1 = x & mask, x >> half, y & mask, y >> half
    middle = ((x0 * y0) >> half) + ((x1 * y0) & mask) + ((x0 * y1) & mask)
    high = x1 * y1 + ((x1 * y0) >> half) + ((x0 * y1) >> half) + (middle >> half)
    if dtype.kind == "i":  # two's complement: each negative factor counted the other 2^64 too much
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
    return as_type(high, dtype)
