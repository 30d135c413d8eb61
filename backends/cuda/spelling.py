"""How CUDA C++ spells element types, numbers and the pointwise ops, each as NumPy computes it.

A NaN propagates through ``max`` and ``min`` (``fmaxf`` drops it); integers wrap around (in C++ that
is undefined for signed ones, so they are computed unsigned); literals are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.kernel import BOOL, DType
from ...ir.types import short

# Numbers of 16 bits are computed with as float32 and rounded after every operation, as NumPy does.
HALVES = {"float16": "half", "bfloat16": "bhalf"}
TYPES = {
    "bool": "bool",
    "float16": "float", "bfloat16": "float", "float32": "float", "float64": "double",
    "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned int",
    "uint64": "unsigned long long",
}  # fmt: skip
_SUFFIX = {
    "float16": "f",
    "bfloat16": "f",
    "float32": "f",
    "uint32": "u",
    "int64": "LL",
    "uint64": "ULL",
}
_INFINITY = {
    "float32": "__uint_as_float(0x7f800000u)",
    "float64": "__longlong_as_double(0x7ff0000000000000LL)",
}
_NAN = {
    "float32": "__uint_as_float(0x7fc00000u)",
    "float64": "__longlong_as_double(0x7ff8000000000000LL)",
}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*"}
# Functions of the C library in the operands' own precision: expf for float32, exp for float64.
_SAME = ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "erf", "sin", "cos", "floor", "pow")
_EXACT = ("neg", "abs", "max", "min", "relu", "sign", "floor")  # of 16 bits: nothing to round
_FUNCTIONS = {"abs": "fabs"} | {name: name for name in _SAME}


F32 = np.dtype(np.float32)
# What the source of a launch needs above it, by the name that its text calls.
HELPERS = {
    "to_half": """
__device__ __forceinline__ unsigned short to_half(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
""",
    "of_half": """
__device__ __forceinline__ float of_half(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
""",
    "to_bhalf": """
__device__ __forceinline__ unsigned short to_bhalf(float x) {
    const unsigned bits = __float_as_uint(x);
    if (isnan(x)) return 0x7fc0;
    return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
""",
    "of_bhalf": """
__device__ __forceinline__ float of_bhalf(unsigned short bits) {
    return __uint_as_float((unsigned)bits << 16);
}
""",
}


class Unsupported(Exception):
    """Something that this printer does not write; the message ends a sentence about the kernel."""


def c_type(dtype: DType) -> str:
    """The C++ type of an element."""
    if dtype.name not in TYPES:
        raise Unsupported(
            f"it computes with {dtype.name}, and the elements can be {', '.join(TYPES)}: "
            "gx.cast(x, 'float32') first"
        )
    return TYPES[dtype.name]


def memory_type(dtype: DType) -> str:
    """The C++ type of an element as it lies in memory."""
    return "unsigned short" if dtype.name in HALVES else c_type(dtype)


def from_memory(text: str, dtype: DType) -> str:
    """An element as it is computed with."""
    return f"of_{HALVES[dtype.name]}({text})" if dtype.name in HALVES else text


def to_memory(text: str, dtype: DType) -> str:
    """A value as it lies in memory."""
    return f"to_{HALVES[dtype.name]}({text})" if dtype.name in HALVES else text


def rounded(text: str, dtype: DType) -> str:
    """A float32 as the nearest number of ``dtype``."""
    return from_memory(to_memory(text, dtype), dtype)


def literal(value: Any, dtype: DType) -> str:
    """The number as an element of ``dtype``, to the bit; in parentheses where it is negative."""
    c_type(dtype)
    if dtype == BOOL:
        return "true" if value else "false"
    floating = dtype.kind == "f" or dtype.name in HALVES
    text = _float(value, dtype) if floating else _integer(value, dtype)
    return f"({text})" if text.startswith("-") else text


def _float(value: Any, dtype: DType) -> str:
    with np.errstate(over="ignore"):
        number = dtype.type(value)
    if dtype.name in HALVES:
        return _float(float(number), F32)
    if np.isnan(number):
        return _NAN[dtype.name]
    if np.isinf(number):
        return ("-" if number < 0 else "") + _INFINITY[dtype.name]
    return f"{number!s}{_SUFFIX.get(dtype.name, '')}"  # the shortest digits that mean this number


def _integer(value: Any, dtype: DType) -> str:
    info = np.iinfo(dtype)
    if not info.min <= value <= info.max or value != int(value):
        raise Unsupported(f"{value!r} is not a number of {dtype.name}")
    number, suffix = int(value), _SUFFIX.get(dtype.name, "")
    if number == info.min < 0:  # -9223372036854775808 is the negative of what does not fit
        return f"{number + 1}{suffix} - 1"
    return f"{number}{suffix}"


def convert(text: str, dtype: DType) -> str:
    """``text`` (a name or a parenthesis) as ``dtype``."""
    if dtype.name in HALVES:
        return rounded(f"(float){text}", dtype)
    return f"{text} != 0" if dtype == BOOL else f"({c_type(dtype)}){text}"


def expression(op: str, dtype: DType, args: Sequence[str], types: Sequence[DType]) -> str:
    """``op`` of ``args`` (names, literals or parentheses) whose element types are ``types``."""
    if op == "cast":
        return convert(args[0], dtype)
    if op == "select":
        _demand(op, types, (BOOL, dtype, dtype))
        return f"{args[0]} ? {args[1]} : {args[2]}"
    if op in ("and", "or", "not"):
        _demand(op, (*types, dtype), (BOOL,) * (len(types) + 1))
        return f"!{args[0]}" if op == "not" else f" {'&&' if op == 'and' else '||'} ".join(args)
    if op in _COMPARE:
        _demand(op, (*types, dtype), (types[0], types[0], BOOL))
        return f"{args[0]} {_COMPARE[op]} {args[1]}"
    _demand(op, types, (dtype,) * len(types))
    if dtype == BOOL:
        raise Unsupported(f"{op} of bool is no arithmetic")
    if dtype.name in HALVES:
        text = _of_floats(op, F32, args)
        if text is not None and op not in _EXACT:
            text = rounded(text, dtype)
    else:
        text = (_of_floats if dtype.kind == "f" else _of_integers)(op, dtype, args)
    if text is None:
        raise Unsupported(f"there is no {op} of {dtype.name}")
    return text


def _demand(op: str, found: Sequence[DType], expected: Sequence[DType]) -> None:
    if tuple(found) != tuple(expected):
        listed = ", ".join(map(short, found))
        raise Unsupported(f"{op} of {listed} is not {op} of {', '.join(map(short, expected))}")


def _of_floats(op: str, dtype: DType, args: Sequence[str]) -> str | None:
    a, b = args[0], args[-1]
    suffix = _SUFFIX.get(dtype.name, "")
    zero, one = literal(0, dtype), literal(1, dtype)
    if op in _FUNCTIONS:
        return f"{_FUNCTIONS[op]}{suffix}({', '.join(args)})"
    return {
        "add": f"{a} + {b}",
        "sub": f"{a} - {b}",
        "mul": f"{a} * {b}",
        "div": f"{a} / {b}",
        "neg": f"-{a}",
        # The condition is false for a NaN on the right, which is then the result.
        "max": f"{a} >= {b} || isnan({a}) ? {a} : {b}",
        "min": f"{a} <= {b} || isnan({a}) ? {a} : {b}",
        "relu": f"{a} < {zero} ? {zero} : {a}",
        "sigmoid": f"{one} / ({one} + exp{suffix}(-{a}))",
        "sign": f"{a} > {zero} ? {one} : {a} < {zero} ? -{one} : {a} == {zero} ? {zero} : {a}",
    }.get(op)


def _of_integers(op: str, dtype: DType, args: Sequence[str]) -> str | None:
    a, b = args[0], args[-1]
    name = c_type(dtype)
    signed = dtype.kind == "i"
    # At least an int wide: uint16 · uint16 would be promoted to a signed int, and overflow.
    unsigned = TYPES["uint64" if dtype.itemsize == 8 else "uint32"]
    zero = literal(0, dtype)
    negative = f"({name})(0u - ({unsigned}){a})"
    if op in _ARITHMETIC:
        return f"({name})(({unsigned}){a} {_ARITHMETIC[op]} ({unsigned}){b})"
    return {
        "neg": negative,
        "abs": f"{a} < {zero} ? {negative} : {a}" if signed else a,
        "max": f"{a} >= {b} ? {a} : {b}",
        "min": f"{a} <= {b} ? {a} : {b}",
        "relu": f"{a} < {zero} ? {zero} : {a}" if signed else a,
        "sign": f"({name})(({a} > {zero}) - ({a} < {zero}))"
        if signed
        else f"({name})({a} != {zero})",
        "floor": a,
    }.get(op)
