"""What each PTX instruction computes, as a function of NumPy arrays: no registers, no memory.

``.approx`` functions come out rounded from float64, which a GPU does not promise (it may be a few
units in the last place off).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ....ir.errors import BackendError
from .rounding import flush, fma, from_bf16, high_product, odd_sum, round_to, to_bf16
from .types import BOOL, F16, F32, F64, TYPES, U16, U32, U64, UNSIGNED, DType, Value, as_type

Function = Callable[..., Value]


@dataclass(frozen=True)
class Operation:
    """A function and the types in which it reads its arguments."""

    function: Function
    reads: tuple[DType, ...]


ROUNDINGS = ("rn", "rz", "rm", "rp")
INTEGRAL: dict[str, Function] = {
    "rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil,
}  # fmt: skip
_BITS: dict[str, Function] = {
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip
_COMPARE: dict[str, Function] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal,
    "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip
_FUNCTIONS: dict[str, Function] = {
    "ex2": np.exp2, "lg2": np.log2, "rcp": lambda x: 1 / x, "rsqrt": lambda x: 1 / np.sqrt(x),
    "sqrt": np.sqrt, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
}  # fmt: skip


def operation(opcode: tuple[str, ...]) -> Operation | None:
    """The meaning of an arithmetic instruction; None where the emulator has none."""
    name, kind = opcode[0], opcode[-1]
    if name == "cvt":
        return _convert(opcode)
    if name == "set":
        return _set(opcode)
    if name == "dp4a":
        return _dot(opcode)
    dtype = TYPES.get(kind)
    if dtype is None:
        return None
    if kind in ("f16x2", "bf16x2"):
        return _packed(opcode)
    if kind == "bf16":
        return _bf16(opcode)
    if dtype == BOOL:
        return _predicate(opcode)
    return _floating(opcode, dtype) if dtype.kind == "f" else _integer(opcode, dtype)


# -- floats ---------------------------------------------------------------------------------------


def _floating(opcode: tuple[str, ...], dtype: DType) -> Operation | None:
    name = opcode[0]
    mode = next((m for m in opcode if m in ROUNDINGS), "rn")
    two, three = (dtype, dtype), (dtype, dtype, dtype)
    found: Operation | None = None
    if name in ("add", "sub", "mul"):
        plain = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[name]
        found = Operation(plain if mode == "rn" else _directed(name, dtype, mode), two)
    elif name == "fma":
        found = Operation(lambda a, b, c: fma(a, b, c, dtype, mode), three)
    elif name == "div":
        found = Operation(np.divide, two)
    elif name in ("min", "max"):
        found = Operation(_extremum(name, nan="NaN" in opcode), two)
    elif name == "neg":
        found = Operation(np.negative, (dtype,))
    elif name == "abs":
        found = Operation(np.abs, (dtype,))
    elif name == "copysign":
        found = Operation(lambda a, b: np.copysign(b, a), two)
    elif name == "testp":
        found = Operation(_test(opcode[1]), (dtype,))
    elif name in _FUNCTIONS:
        exact = _FUNCTIONS[name]
        if name in ("sqrt", "rcp") and dtype == F64:
            found = Operation(exact, (dtype,))
        else:
            found = Operation(lambda x: exact(x.astype(F64)).astype(dtype), (dtype,))
    elif name in ("mov", "selp"):
        return _moved(name, dtype)
    if found is None or "ftz" not in opcode:
        return _saturating(found, opcode)
    return _saturating(_flushing(found), opcode)


def _flushing(found: Operation) -> Operation:
    inner = found.function

    def function(*args: Value) -> Value:
        result = inner(*(flush(a) if a.dtype == F32 else a for a in args))
        return flush(result) if result.dtype == F32 else result

    return Operation(function, found.reads)


def _saturating(found: Operation | None, opcode: tuple[str, ...]) -> Operation | None:
    if found is None or "sat" not in opcode:
        return found
    inner = found.function

    def function(*args: Value) -> Value:
        x = inner(*args)
        return np.where(np.isnan(x), x.dtype.type(0), np.clip(x, 0, 1))

    return Operation(function, found.reads)


def _directed(name: str, dtype: DType, mode: str) -> Function:
    if dtype == F64:
        raise BackendError(f"PTX {name}.{mode}.f64 is not emulated")

    def function(a: Value, b: Value) -> Value:
        a, b = a.astype(F64), b.astype(F64)
        exact = a * b if name == "mul" else odd_sum(a, -b if name == "sub" else b)
        return round_to(exact, dtype, mode)

    return function


def _extremum(name: str, *, nan: bool) -> Function:
    """IEEE's minimum and maximum: -0 is less than +0, and one NaN is ignored unless ``.NaN``."""
    lower = name == "min"
    pick = (np.minimum if nan else np.fmin) if lower else (np.maximum if nan else np.fmax)

    def function(a: Value, b: Value) -> Value:
        found = pick(a, b)
        zeros = (a == 0) & (b == 0)
        if np.any(zeros):
            negative = np.signbit(a) | np.signbit(b) if lower else np.signbit(a) & np.signbit(b)
            found = np.where(zeros, np.where(negative, -0.0, 0.0).astype(found.dtype), found)
        return found

    return function


def _test(what: str) -> Function:
    tests: dict[str, Function] = {
        "finite": np.isfinite, "infinite": np.isinf, "notanumber": np.isnan,
        "number": lambda x: ~np.isnan(x),
        "subnormal": lambda x: (np.abs(x) < np.finfo(x.dtype).tiny) & (x != 0),
        "normal": lambda x: np.isfinite(x) & (np.abs(x) >= np.finfo(x.dtype).tiny),
    }  # fmt: skip
    return tests[what]


def _moved(name: str, dtype: DType) -> Operation:
    if name == "mov":
        return Operation(lambda a: a, (dtype,))
    return Operation(lambda a, b, p: np.where(p, a, b), (dtype, dtype, BOOL))


# -- integers and bits ----------------------------------------------------------------------------


def _integer(opcode: tuple[str, ...], dtype: DType) -> Operation | None:
    name = opcode[0]
    bits = 8 * dtype.itemsize
    two, three = (dtype, dtype), (dtype, dtype, dtype)
    if name in ("mul", "mad", "mul24", "mad24"):
        return _product(opcode, dtype)
    if name in ("shl", "shr"):
        return Operation(_shift(name, dtype), (dtype, U32))
    if name in ("div", "rem"):
        return Operation(_division(name, dtype), two)
    if name in ("mov", "selp"):
        return _moved(name, dtype)
    if name in _BITS:
        return Operation(_BITS[name], two)
    if name in ("add", "sub") and not {"sat", "cc"} & set(opcode):
        return Operation(np.add if name == "add" else np.subtract, two)
    if name == "lop3":
        return Operation(_lop3, (*three, U32))
    if name == "bfe":
        return Operation(_extract(dtype), (dtype, U32, U32))
    if name == "shf":
        return Operation(_funnel(opcode), (U32, U32, U32))
    simple: dict[str, Operation] = {
        "min": Operation(np.minimum, two),
        "max": Operation(np.maximum, two),
        "not": Operation(np.invert, (dtype,)),
        "cnot": Operation(lambda a: (a == 0).astype(dtype), (dtype,)),
        "neg": Operation(np.negative, (dtype,)),
        "abs": Operation(np.abs, (dtype,)),
        "sad": Operation(
            lambda a, b, c: c + (np.maximum(a, b) - np.minimum(a, b)).astype(dtype), three
        ),
        "popc": Operation(lambda a: np.bitwise_count(a).astype(U32), (dtype,)),
        "bfind": Operation(_find("shiftamt" in opcode, bits), (dtype,)),
        "clz": Operation(lambda a: (bits - _length(a)).astype(U32), (dtype,)),
        "brev": Operation(lambda a: _reverse(a, bits), (dtype,)),
        "bfi": Operation(_insert, (dtype, dtype, U32, U32)),
        "prmt": Operation(_permute, (U32, U32, U32)),
        "bmsk": Operation(_mask, (U32, U32)),
    }
    return simple.get(name)


def _product(opcode: tuple[str, ...], dtype: DType) -> Operation | None:
    name, how = opcode[0], opcode[1]
    if "cc" in opcode or name.endswith("24"):
        return None
    if how == "wide":
        wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")
        if name == "mul":
            return Operation(lambda a, b: a.astype(wide) * b.astype(wide), (dtype, dtype))
        return Operation(lambda a, b, c: a.astype(wide) * b.astype(wide) + c, (dtype, dtype, wide))
    product: Function = np.multiply
    if how == "hi":
        product = lambda a, b: high_product(a, b, dtype)  # noqa: E731
    if name == "mul":
        return Operation(product, (dtype, dtype))
    return Operation(lambda a, b, c: product(a, b) + c, (dtype, dtype, dtype))


def _shift(name: str, dtype: DType) -> Function:
    bits = 8 * dtype.itemsize

    def left(a: Value, by: Value) -> Value:
        inside = np.minimum(by, np.uint32(bits - 1)).astype(dtype)
        return np.where(by >= bits, dtype.type(0), a << inside)

    def right(a: Value, by: Value) -> Value:
        inside = np.minimum(by, np.uint32(bits - 1)).astype(dtype)
        if dtype.kind == "i":
            return a >> inside
        return np.where(by >= bits, dtype.type(0), a >> inside)

    return left if name == "shl" else right


def _division(name: str, dtype: DType) -> Function:
    def function(a: Value, b: Value) -> Value:
        zero = b == 0
        b = np.where(zero, dtype.type(1), b)
        rest = np.fmod(a, b)  # as in C: the sign of a
        if name == "rem":
            return np.where(zero, a, rest)
        return np.where(zero, ~dtype.type(0), (a - rest) // b)  # CUDA leaves x / 0 open

    return function


def _length(a: Value) -> Value:
    """The number of bits up to the highest one."""
    x = a.astype(U64) if a.dtype.kind == "u" else as_type(a, UNSIGNED[a.dtype.itemsize]).astype(U64)
    found = np.zeros(np.shape(x), np.uint32)
    for step in (32, 16, 8, 4, 2, 1):
        big = x >= (np.uint64(1) << np.uint64(step))
        found = found + np.where(big, np.uint32(step), np.uint32(0))
        x = np.where(big, x >> np.uint64(step), x)
    return found + (x > 0).astype(U32)


def _find(as_shift: bool, bits: int) -> Function:
    """The place of the highest bit that is not the sign's; all ones where there is none."""

    def function(a: Value) -> Value:
        if a.dtype.kind == "i":
            a = np.where(a < 0, ~a, a)
        length = _length(a)
        place = np.uint32(bits) - length if as_shift else length - np.uint32(1)
        return np.where(length == 0, np.uint32(0xFFFFFFFF), place).astype(U32)

    return function


def _reverse(a: Value, bits: int) -> Value:
    found = np.zeros_like(a)
    for i in range(bits):
        found = found | (((a >> a.dtype.type(i)) & a.dtype.type(1)) << a.dtype.type(bits - 1 - i))
    return found


def _lop3(a: Value, b: Value, c: Value, table: Value) -> Value:
    lut = int(np.max(table))
    a, b, c = (as_type(x, UNSIGNED[x.dtype.itemsize]) for x in (a, b, c))
    found = np.zeros_like(a & b & c)
    for i in range(8):
        if lut >> i & 1:
            found = found | ((a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c))
    return found


def _extract(dtype: DType) -> Function:
    bits = 8 * dtype.itemsize
    left, right = _shift("shl", dtype), _shift("shr", dtype)

    def function(a: Value, position: Value, length: Value) -> Value:
        position, length = position & np.uint32(0xFF), length & np.uint32(0xFF)
        if dtype.kind == "i" and np.any(position + length > bits):
            raise BackendError("PTX bfe past the highest bit of a signed type is not emulated")
        up = np.uint32(bits) - np.minimum(position + length, np.uint32(bits))
        cut = np.uint32(bits) - np.minimum(length, np.uint32(bits) - np.minimum(position, bits))
        return np.where(length == 0, dtype.type(0), right(left(a, up), cut))

    return function


def _insert(a: Value, b: Value, position: Value, length: Value) -> Value:
    dtype = b.dtype
    left = _shift("shl", dtype)
    one, position, length = dtype.type(1), position & np.uint32(255), length & np.uint32(255)
    mask = left(left(one, length) - one, position)
    return (left(a, position) & mask) | (b & ~mask)


def _mask(position: Value, length: Value) -> Value:
    left = _shift("shl", U32)
    one = np.uint32(1)
    return left(left(one, length) - one, position)


def _funnel(opcode: tuple[str, ...]) -> Function:
    to_left, wrap = opcode[1] == "l", "wrap" in opcode

    def function(low: Value, high: Value, by: Value) -> Value:
        by = by & np.uint32(31) if wrap else np.minimum(by, np.uint32(32))
        both = (high.astype(U64) << np.uint64(32)) | low.astype(U64)
        if to_left:
            return ((both << by.astype(U64)) >> np.uint64(32)).astype(U32)
        return (both >> by.astype(U64)).astype(U32)

    return function


def _permute(a: Value, b: Value, selector: Value) -> Value:
    both = (b.astype(U64) << np.uint64(32)) | a.astype(U64)
    found = np.zeros_like(a + b)
    for i in range(4):
        pick = (selector >> np.uint32(4 * i)) & np.uint32(15)
        byte = (both >> ((pick & np.uint32(7)).astype(U64) * np.uint64(8))) & np.uint64(255)
        sign = np.where(byte >= 128, np.uint64(255), np.uint64(0))
        byte = np.where(pick >= 8, sign, byte).astype(U32)
        found = found | (byte << np.uint32(8 * i))
    return found


def _dot(opcode: tuple[str, ...]) -> Operation | None:
    """``dp4a``: the products of four bytes each, added to a sum."""
    first, second = (TYPES[kind].kind == "i" for kind in opcode[1:3])

    def byte(x: Value, k: int, signed: bool) -> Value:
        part = ((x >> np.uint32(8 * k)) & np.uint32(255)).astype(np.uint8)
        return (part.view(np.int8) if signed else part).astype(np.int64)

    def function(a: Value, b: Value, c: Value) -> Value:
        total = c.astype(np.int64)
        for k in range(4):
            total = total + byte(a, k, first) * byte(b, k, second)
        return total.astype(U32)

    return Operation(function, (U32, U32, U32))


def _predicate(opcode: tuple[str, ...]) -> Operation | None:
    name = opcode[0]
    if name in _BITS:
        return Operation(_BITS[name], (BOOL, BOOL))
    if name == "not":
        return Operation(np.logical_not, (BOOL,))
    return _moved(name, BOOL) if name in ("mov", "selp") else None


# -- comparisons ----------------------------------------------------------------------------------


def comparison(opcode: tuple[str, ...]) -> Operation | None:
    """The predicate of ``setp``, without what it is combined with."""
    kind = opcode[-1]
    dtype = TYPES.get(kind)
    how = opcode[1]
    if dtype is None or kind.endswith("x2"):
        return None
    if kind == "bf16":
        inner = _compare(how, floating=True)
        return (
            None
            if inner is None
            else Operation(lambda a, b: inner(from_bf16(a), from_bf16(b)), (U16, U16))
        )
    found = _compare(how, floating=dtype.kind == "f")
    if found is None:
        return None
    if "ftz" in opcode:
        compare = found
        return Operation(lambda a, b: compare(flush(a), flush(b)), (dtype, dtype))
    return Operation(found, (dtype, dtype))


def _compare(how: str, *, floating: bool) -> Function | None:
    if how == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if how == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if floating and how.endswith("u") and how[:-1] in _COMPARE:
        base = _COMPARE[how[:-1]]
        return lambda a, b: base(a, b) | np.isnan(a) | np.isnan(b)
    if floating and how == "ne":  # ordered, unlike NumPy's
        return lambda a, b: (a != b) & ~np.isnan(a) & ~np.isnan(b)
    return _COMPARE.get(how)


def _set(opcode: tuple[str, ...]) -> Operation | None:
    """A comparison whose result is 1.0, or all bits."""
    found, want = comparison((*opcode[:-2], opcode[-1])), TYPES.get(opcode[-2])
    if found is None or want is None or {"and", "or", "xor"} & set(opcode):
        return None
    compare = found.function
    yes = want.type(1) if want.kind == "f" else want.type(-1 & (2 ** (8 * want.itemsize) - 1))
    return Operation(lambda a, b: np.where(compare(a, b), yes, want.type(0)), found.reads)


# -- conversions ----------------------------------------------------------------------------------


def _convert(opcode: tuple[str, ...]) -> Operation | None:
    to, source = opcode[-2], opcode[-1]
    mode = next((m for m in opcode if m in (*ROUNDINGS, *INTEGRAL, "rna")), None)
    if to in ("f16x2", "bf16x2") and source == "f32":

        def half(x: Value) -> Value:
            return to_bf16(x) if to == "bf16x2" else x.astype(F16).view(U16)

        def pack(high: Value, low: Value) -> Value:
            return (half(high).astype(U32) << np.uint32(16)) | half(low).astype(U32)

        return Operation(pack, (F32, F32)) if mode == "rn" and "relu" not in opcode else None
    if to == "tf32":
        return Operation(_tf32(mode), (F32,)) if mode in ("rna", "rn", "rz") else None
    if to not in TYPES or source not in TYPES or source == "tf32" or "relu" in opcode:
        return None
    have, want = TYPES[source], TYPES[to]
    if source == "bf16":
        if to not in ("f32", "f64"):
            return None
        return Operation(lambda x: from_bf16(x).astype(want), (U16,))
    if to == "bf16":
        if have.kind != "f" or mode not in ("rn", "rz"):
            return None
        return Operation(lambda x: to_bf16(x, mode), (have,))
    if have.kind == "f":
        found = _from_float(have, want, mode)
    elif want.kind == "f":
        found = _to_float(want, mode)
    else:
        found = _between(want, saturate="sat" in opcode)
        return Operation(found, (have,))
    result: Operation | None = Operation(found, (have,))
    if "ftz" in opcode and result is not None:
        result = _flushing(result)
    return _saturating(result, opcode) if want.kind == "f" else result


def _from_float(have: DType, want: DType, mode: str | None) -> Function:
    integral = INTEGRAL.get(mode or "")
    if want.kind == "f":
        if integral is not None:
            return lambda x: integral(x).astype(want)
        if mode in (None, "rn") or want.itemsize > have.itemsize:
            return lambda x: x.astype(want)
        return lambda x: round_to(x.astype(F64), want, mode)
    info = np.iinfo(want)
    low, high = float(info.min), float(info.max)
    inside = np.nextafter(high, 0.0) if high > 2**53 else high

    # Out of range goes to the nearest integer there is; NaN to 0, or to the highest bit alone where
    # 64 bits are on either side (PTX ISA, cvt).
    highest = UNSIGNED[want.itemsize].type(1 << (info.bits - 1)).view(want)
    nothing = highest if have == F64 or want.itemsize == 8 else want.type(0)

    def function(x: Value) -> Value:
        x = x.astype(F64) if integral is None else integral(x.astype(F64))
        nan = np.isnan(x)
        number = np.where(nan, 0.0, np.clip(x, low, inside)).astype(want)
        return np.where(nan, nothing, np.where(x >= high, want.type(info.max), number))

    return function


def _to_float(want: DType, mode: str | None) -> Function:
    if mode in (None, "rn") or want == F64:
        return lambda x: x.astype(want)

    def function(x: Value) -> Value:
        # float64 does not hold every 64-bit integer: the lost part decides as in to_odd.
        exact = x.astype(F64)
        if x.dtype.itemsize == 8:
            raise BackendError(f"PTX cvt.{mode} of a 64-bit integer is not emulated")
        return round_to(exact, want, mode or "rn")

    return function


def _between(want: DType, *, saturate: bool) -> Function:
    info = np.iinfo(want)

    def function(x: Value) -> Value:
        if saturate:
            have = np.iinfo(x.dtype)
            x = np.clip(
                x, x.dtype.type(max(have.min, info.min)), x.dtype.type(min(have.max, info.max))
            )
        return x.astype(want)

    return function


def _tf32(mode: str | None) -> Function:
    def function(x: Value) -> Value:
        bits = as_type(x, U32)
        finite = np.isfinite(x)
        if mode == "rna":
            bits = np.where(finite, bits + np.uint32(0x1000), bits)
        elif mode == "rn":
            bits = np.where(
                finite, bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1)), bits
            )
        return (bits & np.uint32(0xFFFFE000)).view(F32)

    return function


# -- 16-bit floats in bits ------------------------------------------------------------------------


def _bf16(opcode: tuple[str, ...]) -> Operation | None:
    """bfloat16: unpack, compute in float32 (fma in float64), round once more, which is harmless."""
    if opcode[0] in ("mov", "selp"):
        return _moved(opcode[0], U16)
    if opcode[0] == "fma":

        def fused(a: Value, b: Value, c: Value) -> Value:
            a, b, c = (from_bf16(x).astype(F64) for x in (a, b, c))
            found = odd_sum(a * b, c)
            if "relu" in opcode:
                found = np.where(np.isnan(found), found, np.maximum(found, 0.0))
            return to_bf16(found)

        return Operation(fused, (U16, U16, U16))
    if opcode[0] in ("neg", "abs"):
        bits = np.uint16(0x8000)
        flip = np.bitwise_xor if opcode[0] == "neg" else (lambda x, b: x & ~b)
        return Operation(lambda x: flip(x, bits), (U16,))
    found = _floating((*opcode[:-1], "f32"), F32)
    if found is None:
        return None
    inner = found.function
    return Operation(lambda *args: to_bf16(inner(*map(from_bf16, args))), (U16,) * len(found.reads))


def _packed(opcode: tuple[str, ...]) -> Operation | None:
    """Two 16-bit floats in 32 bits: the same on both halves."""
    single = operation((*opcode[:-1], opcode[-1].removesuffix("x2")))
    if single is None:
        return None
    inner, half = single.function, single.reads[0]

    def function(*args: Value) -> Value:
        low = inner(*((a & np.uint32(0xFFFF)).astype(U16).view(half) for a in args))
        high = inner(*((a >> np.uint32(16)).astype(U16).view(half) for a in args))
        low, high = (np.asarray(x).view(U16).astype(U32) for x in (low, high))
        return low | (high << np.uint32(16))

    return Operation(function, (U32,) * len(single.reads))


__all__ = ["Function", "Operation", "comparison", "operation"]
