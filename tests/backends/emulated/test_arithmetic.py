"""The arithmetic that NVRTC writes, against NumPy, SciPy, libm and exact fractions."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.special

from graphc.backends.emulated import run_ptx
from graphc.backends.emulated.ptx.rounding import fma as emulated_fma
from graphc.backends.emulated.ptx.types import F16, F32, F64
from tests.backends.emulated.cuda import ptx

Array = np.ndarray[Any, Any]
N = 777


def numbers(dtype: Any, seed: int) -> Array:
    """Values of every size, NaN, infinities, zeros and subnormals; integers of every size."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        found = rng.integers(info.min, info.max, N, dtype, endpoint=True)
        found >>= rng.integers(0, info.bits - 1, N).astype(dtype)
        found[:6] = [0, 1, info.max, info.min, 2, 3]
        return found
    small = 8 if dtype == np.float16 else 30
    found = (rng.standard_normal(N) * 2.0 ** rng.integers(-small, small, N)).astype(dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    found[:10] = [0.0, -0.0, 1, -1, np.nan, np.inf, -np.inf, tiny * 3, -tiny, 0.5]
    return found


def near(seed: int, size: float, dtype: Any = np.float32) -> Array:
    return (np.random.default_rng(seed).standard_normal(N) * size).astype(dtype)


# C type of the inputs, expression in a, b, c; C type of the result; oracle; tolerance in ulp
Row = tuple[str, str, str, Callable[..., Any], float]
C = {
    "float": np.float32, "double": np.float64, "int": np.int32, "unsigned": np.uint32,
    "long long": np.int64, "unsigned long long": np.uint64, "short": np.int16,
    "signed char": np.int8, "unsigned char": np.uint8, "unsigned short": np.uint16,
    "bool": np.bool_,
}  # fmt: skip


def trunc_div(a: Array, b: Array) -> Array:
    return np.array(
        [0 if y == 0 else abs(int(x)) // abs(int(y)) * (1 if (x < 0) == (y < 0) else -1)
         for x, y in zip(a, b, strict=True)]
    )  # fmt: skip


def high_words(a: Array, b: Array, dtype: Any) -> Array:
    return np.array([int(x) * int(y) >> 64 for x, y in zip(a, b, strict=True)], dtype)


ROWS: dict[str, Row] = {
    **{f"add {t}": (t, "a + b", t, lambda a, b, c: a + b, 0) for t in C if t != "bool"},
    **{f"sub {t}": (t, "a - b", t, lambda a, b, c: a - b, 0) for t in C if t != "bool"},
    **{f"mul {t}": (t, "a * b", t, lambda a, b, c: a * b, 0) for t in C if t != "bool"},
    **{f"mad {t}": (t, "a * b + c", t, lambda a, b, c: a * b + c, 0)
       for t in ("int", "unsigned", "long long", "unsigned long long")},
    **{f"min {t}": (t, "min(a, b)", t, lambda a, b, c: np.minimum(a, b), 0)
       for t in ("int", "unsigned", "long long", "unsigned long long")},
    **{f"max {t}": (t, "max(a, b)", t, lambda a, b, c: np.maximum(a, b), 0)
       for t in ("int", "unsigned", "long long", "unsigned long long")},
    **{f"fmin {t}": (t, f"fmin{s}(a, b)", t, lambda a, b, c: np.fmin(a, b), 0)
       for t, s in (("float", "f"), ("double", ""))},
    **{f"fmax {t}": (t, f"fmax{s}(a, b)", t, lambda a, b, c: np.fmax(a, b), 0)
       for t, s in (("float", "f"), ("double", ""))},
    **{f"{name} {t}": (t, f"a {sign} b", "bool", getattr(np, name), 0)
       for t in ("float", "double", "int", "unsigned", "long long", "unsigned char")
       for name, sign in (("less", "<"), ("greater_equal", ">="), ("equal", "=="),
                          ("not_equal", "!="), ("less_equal", "<="), ("greater", ">"))},
    **{f"bits {t}": (t, "(a & b) | (~a & c) ^ (b & c)", t,
                     lambda a, b, c: (a & b) | (~a & c) ^ (b & c), 0)
       for t in ("int", "unsigned long long", "short", "unsigned char")},
    **{f"shift left {t}": (t, f"({t})(a << ((unsigned)b % {w}))", t,
                           lambda a, b, c, w=w: a << (b.astype(np.uint32) % w).astype(a.dtype), 0)
       for t, w in (("int", 32), ("unsigned", 32), ("long long", 64), ("unsigned long long", 64))},
    **{f"shift right {t}": (t, f"a >> ((unsigned)b % {w})", t,
                            lambda a, b, c, w=w: a >> (b.astype(np.uint32) % w).astype(a.dtype), 0)
       for t, w in (("int", 32), ("unsigned", 32), ("long long", 64), ("unsigned long long", 64))},
    **{f"div {t}": (t, "b == 0 ? 0 : a / (b == -1 ? 7 : b)", t,
                    lambda a, b, c: trunc_div(a, np.where(b == -1, 7, b)), 0)
       for t in ("int", "long long")},
    **{f"div {t}": (t, "b == 0 ? 0 : a / b", t, lambda a, b, c: trunc_div(a, b), 0)
       for t in ("unsigned", "unsigned long long")},
    **{f"rem {t}": (t, "b == 0 ? 0 : a % (b == -1 ? 7 : b)", t,
                    lambda a, b, c: np.where(b == 0, 0, np.fmod(a, np.where(b == -1, 7, b))), 0)
       for t in ("int", "long long")},
    "div by constant": ("int", "a / 7 + a % 10", "int",
                        lambda a, b, c: trunc_div(a, np.full_like(a, 7)) + np.fmod(a, 10), 0),
    "div 64 by constant": ("unsigned long long", "a / 1000003ull", "unsigned long long",
                           lambda a, b, c: a // np.uint64(1000003), 0),
    "umulhi": ("unsigned", "__umulhi(a, b)", "unsigned",
               lambda a, b, c: (a.astype(np.uint64) * b) >> np.uint64(32), 0),
    "mulhi": ("int", "__mulhi(a, b)", "int",
              lambda a, b, c: (a.astype(np.int64) * b) >> np.int64(32), 0),
    "umul64hi": ("unsigned long long", "__umul64hi(a, b)", "unsigned long long",
                 lambda a, b, c: high_words(a, b, np.uint64), 0),
    "mul64hi": ("long long", "__mul64hi(a, b)", "long long",
                lambda a, b, c: high_words(a, b, np.int64), 0),
    "popc": ("unsigned", "__popc(a)", "int", lambda a, b, c: np.bitwise_count(a), 0),
    "popcll": ("unsigned long long", "__popcll(a)", "int", lambda a, b, c: np.bitwise_count(a), 0),
    "clz": ("unsigned", "__clz(a)", "int",
            lambda a, b, c: [32 - int(x).bit_length() for x in a], 0),
    "clzll": ("unsigned long long", "__clzll(a)", "int",
              lambda a, b, c: [64 - int(x).bit_length() for x in a], 0),
    "brev": ("unsigned", "__brev(a)", "unsigned",
             lambda a, b, c: [int(f"{int(x):032b}"[::-1], 2) for x in a], 0),
    "ffs": ("int", "__ffs(a)", "int",
            lambda a, b, c: [(int(x) & -int(x)).bit_length() if x else 0 for x in a], 0),
    "byte_perm": ("unsigned", "__byte_perm(a, b, 0x5410) + __byte_perm(a, b, 0x0123)", "unsigned",
                  lambda a, b, c: ((a & 0xFFFF) | (b << 16)) + a.byteswap(), 0),
    "funnel left": ("unsigned", "__funnelshift_l(a, b, c)", "unsigned",
                    lambda a, b, c: ((((b.astype(np.uint64) << np.uint64(32)) | a)
                                      << (c & 31).astype(np.uint64)) >> np.uint64(32)), 0),
    "funnel right": ("unsigned", "__funnelshift_rc(a, b, c)", "unsigned",
                     lambda a, b, c: (((b.astype(np.uint64) << np.uint64(32)) | a)
                                      >> np.minimum(c, 32).astype(np.uint64)), 0),
    "dp4a": ("unsigned", "__dp4a(a, b, c)", "unsigned",
             lambda a, b, c: c + (a.view(np.uint8).astype(np.uint32)
                                  * b.view(np.uint8)).reshape(-1, 4).sum(1).astype(np.uint32), 0),
    "dp4a signed": ("int", "__dp4a(a, b, c)", "int",
                    lambda a, b, c: c + (a.view(np.int8).astype(np.int32)
                                         * b.view(np.int8)).reshape(-1, 4).sum(1).astype(np.int32),
                    0),
    "abs": ("int", "abs(a)", "int", lambda a, b, c: np.abs(a), 0),
    "sad": ("unsigned", "__usad(a, b, c)", "unsigned",
            lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c, 0),
    "fabs": ("float", "fabsf(a) - -b", "float", lambda a, b, c: np.abs(a) + b, 0),
    "copysign": ("float", "copysignf(a, b)", "float", lambda a, b, c: np.copysign(a, b), 0),
    "select": ("float", "a > b ? c : a", "float", lambda a, b, c: np.where(a > b, c, a), 0),
    "div float": ("float", "a / b", "float", lambda a, b, c: a / b, 0),
    "div double": ("double", "a / b", "double", lambda a, b, c: a / b, 0),
    "sqrt float": ("float", "sqrtf(fabsf(a))", "float", lambda a, b, c: np.sqrt(np.abs(a)), 0),
    "sqrt double": ("double", "sqrt(fabs(a))", "double", lambda a, b, c: np.sqrt(np.abs(a)), 0),
    "rsqrt": ("float", "rsqrtf(fabsf(a))", "float",
              lambda a, b, c: 1 / np.sqrt(np.abs(a.astype(np.float64))), 2),
    "rint": ("float", "rintf(a) + floorf(b)", "float", lambda a, b, c: np.rint(a) + np.floor(b), 0),
    "trunc": ("double", "trunc(a) + ceil(b)", "double",
              lambda a, b, c: np.trunc(a) + np.ceil(b), 0),
    "fmod": ("float", "fmodf(a, b)", "float", lambda a, b, c: np.fmod(a, b), 0),
    "saturate": ("float", "__saturatef(a)", "float",
                 lambda a, b, c: np.where(np.isnan(a), 0, np.clip(a, 0, 1)), 0),
    "float to int": ("float", "(int)a", "int",
                     lambda a, b, c: [0 if math.isnan(x) else int(min(max(x, -(2**31)), 2**31 - 1))
                                      for x in a.tolist()], 0),
    "float to unsigned": ("float", "(unsigned)a", "unsigned",
                          lambda a, b, c: [0 if math.isnan(x) else int(min(max(x, 0), 2**32 - 1))
                                           for x in a.tolist()], 0),
    "double to long": ("double", "(long long)(a * 1e12)", "long long",
                       lambda a, b, c: [-(2**63) if math.isnan(x) else
                                        2**63 - 1 if x >= 2**63 else -(2**63) if x <= -(2**63)
                                        else int(x) for x in (a * 1e12).tolist()], 0),
    "round to int": ("float", "__float2int_rn(a)", "int",
                     lambda a, b, c: [0 if math.isnan(x) else
                                      int(min(max(np.rint(x), -(2**31)), 2**31 - 1))
                                      for x in a.tolist()], 0),
    "int to float": ("int", "(float)a", "float", lambda a, b, c: a.astype(np.float32), 0),
    "long to float": ("long long", "(float)a", "float",
                      lambda a, b, c: a.astype(np.float32), 0),
    "long to double": ("unsigned long long", "(double)a", "double",
                       lambda a, b, c: a.astype(np.float64), 0),
    "float to double": ("float", "(double)a * 3", "double",
                        lambda a, b, c: a.astype(np.float64) * 3, 0),
    "double to float": ("double", "(float)a", "float", lambda a, b, c: a.astype(np.float32), 0),
    "char to int": ("signed char", "(int)a * 3", "int", lambda a, b, c: a.astype(np.int32) * 3, 0),
    "byte to float": ("unsigned char", "(float)a", "float",
                      lambda a, b, c: a.astype(np.float32), 0),
    "int to short": ("int", "(short)a", "short", lambda a, b, c: a.astype(np.int16), 0),
    "long to byte": ("long long", "(unsigned char)(a ^ b)", "unsigned char",
                     lambda a, b, c: (a ^ b).astype(np.uint8), 0),
    "bits of float": ("float", "__float_as_int(a) ^ __float_as_int(b)", "int",
                      lambda a, b, c: a.view(np.int32) ^ b.view(np.int32), 0),
    "bits of double": ("double", "__double_as_longlong(a)", "long long",
                       lambda a, b, c: a.view(np.int64), 0),
    "halves of double": ("double", "__hiloint2double(__double2loint(a), __double2hiint(b))",
                         "double", lambda a, b, c: ((a.view(np.uint64) << np.uint64(32))
                                                    | (b.view(np.uint64) >> np.uint64(32))
                                                    ).view(np.float64), 0),
    "add down": ("float", "__fadd_rd(a, b)", "float", None, 0),
    "add up": ("float", "__fadd_ru(a, b)", "float", None, 0),
    "mul to zero": ("float", "__fmul_rz(a, b)", "float", None, 0),
    "double to float down": ("double", "__double2float_rd(a)", "float", None, 0),
}  # fmt: skip
DIRECTED: dict[str, tuple[Callable[[Any, Any], Fraction], str]] = {
    "add down": (lambda a, b: Fraction(a) + Fraction(b), "down"),
    "add up": (lambda a, b: Fraction(a) + Fraction(b), "up"),
    "mul to zero": (lambda a, b: Fraction(a) * Fraction(b), "zero"),
    "double to float down": (lambda a, b: Fraction(a), "down"),
}


def cleaned(name: str) -> str:
    return "k_" + "".join(c if c.isalnum() else "_" for c in name)


def module(rows: dict[str, Row]) -> str:
    return "\n".join(
        f'extern "C" __global__ void {cleaned(name)}(const {t}* x, const {t}* y, const {t}* z,'
        f" {result}* out, int n) {{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n)"
        f" return; {t} a = x[i], b = y[i], c = z[i]; out[i] = {expression}; }}"
        for name, (t, expression, result, _, _) in rows.items()
    )


def call(text: str, kernel: str, args: tuple[Array, ...], result: Any) -> Array:
    out = np.zeros(N, result)
    run_ptx(text, kernel, (-(-N // 128),), (128,), [*args, out, np.int32(N)], uninitialised=(3,))
    return out


@pytest.mark.parametrize("name", ROWS)
def test_operation(name: str) -> None:
    t, _, result, oracle, ulps = ROWS[name]
    a, b, c = (numbers(C[t], seed) for seed in (1, 2, 3))
    got = call(ptx(module(ROWS)), cleaned(name), (a, b, c), C[result])
    with np.errstate(all="ignore"):
        if oracle is None:
            want = directed(name, a, b)
        elif ROWS[name][3] in (np.less, np.less_equal, np.greater, np.greater_equal, np.equal,
                               np.not_equal):  # fmt: skip
            want = oracle(a, b)
        else:
            want = np.asarray(oracle(a, b, c)).astype(C[result])
    if ulps:
        np.testing.assert_allclose(got, want, rtol=ulps * np.finfo(C[result]).eps)
    else:
        np.testing.assert_array_equal(got, want)


def directed(name: str, a: Array, b: Array) -> Array:
    """The exact result, rounded by stepping from its neighbour until the order is right."""
    exact_of, way = DIRECTED[name]
    found = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            with np.errstate(all="ignore"):
                plain = {"add": np.float32(x) + np.float32(y), "mul": np.float32(x) * np.float32(y),
                         "dou": np.float32(x)}[name[:3]]  # fmt: skip
            found.append(plain)
            continue
        exact = exact_of(x, y)
        f = np.float32(float(exact))
        low = f if Fraction(float(f)) <= exact else np.nextafter(f, np.float32(-np.inf))
        high = f if Fraction(float(f)) >= exact else np.nextafter(f, np.float32(np.inf))
        down = low if way == "down" or (way == "zero" and exact >= 0) else high
        found.append(down)
    return np.array(found, np.float32)


# -- fused multiply-add ---------------------------------------------------------------------------


def libm(name: str, kind: Any) -> Callable[..., float]:
    function = getattr(ctypes.CDLL(ctypes.util.find_library("m")), name)
    function.restype, function.argtypes = kind, [kind] * 3
    found: Callable[..., float] = function
    return found


def hard(rng: np.random.Generator, dtype: Any, count: int) -> tuple[Array, Array, Array]:
    """Factors and addends whose exact sum lies half way between two numbers, or just beside it."""
    bits = np.finfo(dtype).nmant
    a = (1 + rng.integers(0, 2**bits, count) / 2**bits).astype(dtype)
    b = (1 + rng.integers(0, 2**bits, count) / 2**bits).astype(dtype)
    scale = np.ldexp(1.0, rng.integers(-2 * bits, 3, count)).astype(dtype)
    c = (a * b * scale).astype(dtype) * rng.choice([-1, 1], count).astype(dtype)
    power = np.ldexp(1.0, -rng.integers(0, 2 * bits, count)).astype(dtype)
    c[::3] = power[::3]
    b[::5] = power[::5]
    return a, b, c


@pytest.mark.parametrize(
    ("dtype", "name", "kind"),
    [(F32, "fmaf", ctypes.c_float), (F64, "fma", ctypes.c_double)],
    ids=["f32", "f64"],
)
def test_fma_is_rounded_once(dtype: Any, name: str, kind: Any) -> None:
    exact = libm(name, kind)
    rng = np.random.default_rng(4)
    a, b, c = (np.concatenate(v) for v in zip(
        hard(rng, dtype, 6000), [numbers(dtype, s) for s in (1, 2, 3)], strict=True))  # fmt: skip
    with np.errstate(all="ignore"):
        got = emulated_fma(a, b, c, dtype)
    want = np.array([exact(*map(float, v)) for v in zip(a, b, c, strict=True)], dtype)
    np.testing.assert_array_equal(got, want)


def test_fma_of_subnormals_and_near_ties_is_exact() -> None:
    exact = libm("fmaf", ctypes.c_float)
    rng = np.random.default_rng(5)
    mantissa = rng.integers(1, 2**24, (2, 4000))
    a = np.ldexp(mantissa[0], rng.integers(-120, -60, 4000)).astype(np.float32)
    b = np.ldexp(mantissa[1], rng.integers(-80, -20, 4000)).astype(np.float32)
    c = np.ldexp(rng.integers(-3, 4, 4000), -149).astype(np.float32)
    with np.errstate(all="ignore"):
        got = emulated_fma(a, b, c, F32)
    want = np.array([exact(*map(float, v)) for v in zip(a, b, c, strict=True)], np.float32)
    np.testing.assert_array_equal(got, want)


def test_fma_of_half_is_exact() -> None:
    rng = np.random.default_rng(6)
    a, b, c = (rng.standard_normal(3000).astype(np.float16) * np.float16(4) for _ in range(3))
    with np.errstate(all="ignore"):
        got = emulated_fma(a, b, c, F16)
    # A product of two halves and a sum with a third fit float128's 64 bits of mantissa.
    want = (a.astype(np.longdouble) * b + c).astype(np.float16)
    np.testing.assert_array_equal(got, want)


# -- functions of CUDA's math library -------------------------------------------------------------

LIBRARY: dict[str, tuple[str, Callable[..., Any], float]] = {
    "expf": ("float", np.exp, 2), "logf": ("float", lambda x: np.log(np.abs(x)), 2),
    "tanhf": ("float", np.tanh, 3), "sinf": ("float", np.sin, 2), "cosf": ("float", np.cos, 2),
    "erff": ("float", scipy.special.erf, 3), "expm1f": ("float", np.expm1, 2),
    "log1pf": ("float", lambda x: np.log1p(np.abs(x)), 2), "exp": ("double", np.exp, 2),
    "log": ("double", lambda x: np.log(np.abs(x)), 2), "tanh": ("double", np.tanh, 3),
    "sin": ("double", np.sin, 3), "cos": ("double", np.cos, 3), "cbrtf": ("float", np.cbrt, 2),
    "erf": ("double", scipy.special.erf, 3), "log1p": ("double", lambda x: np.log1p(np.abs(x)), 2),
    "lgammaf": ("float", lambda x: scipy.special.gammaln(np.abs(x)), 8),
}  # fmt: skip


def library() -> str:
    argument = dict.fromkeys(("logf", "log1pf", "log", "log1p", "lgammaf"), "fabs(a)")
    return module({
        n: (t, f"{n}(({t}){argument.get(n, 'a')})", t, f, u) for n, (t, f, u) in LIBRARY.items()
    })  # fmt: skip


@pytest.mark.parametrize("name", LIBRARY)
def test_math_library(name: str) -> None:
    t, oracle, ulps = LIBRARY[name]
    dtype = C[t]
    x = near(7, 5, dtype)
    x[:200] *= 100 if name[:3] in ("sin", "cos") else 0.01
    if name[:3] in ("sin", "cos"):
        x[200:210] = 1e7 * x[200:210]  # the slow path, with local memory
    got = call(ptx(library()), cleaned(name), (x, x, x), dtype)
    with np.errstate(all="ignore"):
        want = oracle(x.astype(np.float64))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got, want, rtol=ulps * eps, atol=2 * eps)


def test_pow() -> None:
    x, y = np.abs(near(8, 3)), near(9, 4)
    rows: dict[str, Row] = {"powf": ("float", "powf(a, b)", "float", np.power, 8)}
    got = call(ptx(module(rows)), "k_powf", (x, y, x), np.float32)
    np.testing.assert_allclose(got, x.astype(np.float64) ** y.astype(np.float64), rtol=1e-6)


# -- 16 bits --------------------------------------------------------------------------------------

HALF = """
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#define ROW(name, T, expr) extern "C" __global__ void name(const T* x, const T* y, const T* z, \\
    T* out, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; \\
    T a = x[i], b = y[i], c = z[i]; out[i] = expr; }
ROW(h_add, __half, __hadd(a, b))
ROW(h_mul, __half, __hmul(a, b))
ROW(h_fma, __half, __hfma(a, b, c))
ROW(h_max, __half, __hmax(a, b))
ROW(h_cast, __half, __float2half(__half2float(a) * 3.0f))
ROW(h_lt, __half, __hlt(a, b) ? a : c)
ROW(h_int, __half, __int2half_rn(__half2int_rz(a)))
ROW(b_add, __nv_bfloat16, __hadd(a, b))
ROW(b_mul, __nv_bfloat16, __hmul(a, b))
ROW(b_fma, __nv_bfloat16, __hfma(a, b, c))
ROW(b_cast, __nv_bfloat16, __float2bfloat16(__bfloat162float(a) * 3.0f))
ROW(b_lt, __nv_bfloat16, __hlt(a, b) ? a : c)
extern "C" __global__ void h2_fma(const __half2* x, const __half2* y, const __half2* z,
                                  __half2* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = __hfma2(x[i], y[i], z[i]);
}
extern "C" __global__ void b2_mul(const __nv_bfloat162* x, const __nv_bfloat162* y,
                                  const __nv_bfloat162* z, __nv_bfloat162* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = __hmul2(x[i], y[i]);
}
"""
WIDE: dict[str, Callable[..., Any]] = {
    "add": lambda a, b, c: a + b, "mul": lambda a, b, c: a * b, "fma": lambda a, b, c: a * b + c,
    "max": lambda a, b, c: np.fmax(a, b), "cast": lambda a, b, c: a * 3,
    "lt": lambda a, b, c: np.where(a < b, a, c), "int": lambda a, b, c: np.trunc(a),
}  # fmt: skip


@pytest.mark.parametrize("arch", ["compute_80", "compute_90"])
@pytest.mark.parametrize("name", re.findall(r"(?:ROW\(|void )([hb]2?_\w+)", HALF))
def test_sixteen_bits(name: str, arch: str) -> None:
    dtype = np.dtype(np.float16 if name[0] == "h" else ml_dtypes.bfloat16)
    count = N // 2 * 2 if "2" in name else N
    a, b, c = (near(seed, 3, dtype)[:count] for seed in (10, 11, 12))
    out = np.zeros(count, np.uint16)
    elements = count // 2 if "2" in name else count
    given = [v.view(np.uint16) for v in (a, b, c)]
    run_ptx(ptx(HALF, arch), name, (-(-elements // 128),), (128,),
            [*given, out, np.int32(elements)], uninitialised=(3,))  # fmt: skip
    # Exact in longdouble; one rounding to 16 bits is then the right answer.
    exact = WIDE[name.split("_")[1]](*(v.astype(np.longdouble) for v in (a, b, c)))
    want = exact.astype(np.float16) if name[0] == "h" else round_bfloat(exact)
    np.testing.assert_array_equal(out.view(dtype).astype(np.float32), want.astype(np.float32))


def round_bfloat(exact: Array) -> Array:
    """To 8 bits of mantissa, ties to even, by exact scaling: no format in between."""
    mantissa, power = np.frexp(exact)
    return np.ldexp(np.rint(np.ldexp(mantissa, 8)), power - 8).astype(np.float64)
