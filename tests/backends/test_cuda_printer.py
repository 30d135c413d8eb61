"""CUDA C++ from kernel descriptions: what the text looks like, and that NVRTC takes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, passes
from graphc.backends.cuda import (
    KernelSchedule,
    arguments,
    compile_ptx,
    is_elementwise,
    nvrtc,
    print_kernel,
    schedule_kernel,
)
from graphc.compiler.lower import legalize
from graphc.ir.kernel import (
    BOOL,
    POINTWISE,
    Acc,
    Axis,
    Const,
    Count,
    Kernel,
    Phase,
    Position,
    Store,
    apply,
    index,
)
from graphc.ir.node import Node
from tests.backends.cuda_cases import (
    CAST_CASES,
    F32,
    F64,
    HAND,
    INTEGER_CASES,
    NUMPY,
    RANDOM,
    N,
    begin,
    only,
    pointwise,
)


def nvrtc_is_missing() -> bool:
    try:
        nvrtc.find_libraries()
    except gx.BackendError:
        return True
    return False


needs_nvrtc = pytest.mark.skipif(
    nvrtc_is_missing(), reason="nvidia-cuda-nvrtc==13.0.* is not installed"
)
ARCHITECTURES = ("compute_80", "compute_90")
LARGEST = {"N": 128}


def kernel_of(node: Node) -> Kernel:
    low = begin(node)
    node.op.lower(low, node)
    return only(low)


def mapping(
    expr: Callable[..., Any], shape: Any = (N, 5), dtype: Any = F32, node: Node | None = None
) -> Kernel:
    """A kernel that stores ``expr(load)`` of one buffer."""
    low = begin(node)
    x, out = low.scratch("x", shape, dtype), low.scratch("out", shape, dtype)
    axes = low.axes(shape)
    low.map(axes, out, axes, expr(low.load(x, axes)))
    return only(low)


def text(kernel: Kernel, **options: Any) -> str:
    return print_kernel(kernel, name="k", schedule=schedule_kernel(kernel, **options))


def body(source: str) -> list[str]:
    """The lines of the loop, without their blanks."""
    lines = [line.strip() for line in source.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("for "))
    return lines[start + 1 : -2]


# -- NVRTC ----------------------------------------------------------------------------------------


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_every_pointwise_op_compiles(dtype: np.dtype[Any], arch: str) -> None:
    assert NUMPY.keys() | {"cast"} == POINTWISE.keys()
    kernels = [kernel for op in NUMPY for kernel in pointwise(op, dtype).kernels]
    kernels.append(mapping(lambda v: apply("cast", v, dtype=F32), dtype=dtype))
    source = "".join(print_kernel(kernel, name=f"k{i}") for i, kernel in enumerate(kernels))
    ptx = compile_ptx(source, arch)
    assert re.findall(r"\.visible \.entry (\w+)\(", ptx) == [f"k{i}" for i in range(len(kernels))]
    assert ptx.count(f".target {arch.replace('compute', 'sm')}") == 1


@needs_nvrtc
def test_addresses_masks_and_integers_compile() -> None:
    integers = [case for case in INTEGER_CASES if case.name.endswith((" int8", "uint32", "int64"))]
    chosen = [*HAND, *RANDOM[:10], *CAST_CASES[::3], *integers]
    kernels = [kernel for case in chosen for kernel in case.kernels]
    source = "".join(
        print_kernel(kernel, name=f"k{i}", schedule=schedule_kernel(kernel, largest=LARGEST))
        for i, kernel in enumerate(kernels)
    )
    assert compile_ptx(source).count(".entry") == len(kernels)


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_elementwise_kernels_of_a_training_step_compile(arch: str) -> None:
    train = models.build("lenet-5").apply(
        passes.insert_dropout(retain=0.5, after="relu"),
        passes.weight_decay(5e-4),
        passes.backward(),
        passes.sgd(lr="lr", momentum=0.9, nesterov=True),
    )
    kernels = [step for step in legalize(train) if is_elementwise(step)]
    assert len(kernels) > 80
    sources = [
        print_kernel(kernel, name=f"k{i}", schedule=schedule_kernel(kernel, largest=LARGEST))
        for i, kernel in enumerate(kernels)
        if isinstance(kernel, Kernel)
    ]
    assert "long long p" not in "".join(sources)  # 32-bit indices do, up to N = 128
    assert compile_ptx("".join(sources), arch).count(".entry") == len(kernels)


@needs_nvrtc
def test_arithmetic_is_rounded_as_numpy_rounds() -> None:
    def expr(v: Any) -> Any:
        product = apply("add", apply("mul", v, Const(0.3, F32)), Const(1.0, F32))
        return apply("div", apply("sqrt", product), v)

    ptx = compile_ptx(text(mapping(expr)))
    assert ".version 9.0" in ptx  # what the drivers of CUDA 13.0 load
    assert "sqrt.rn.f32" in ptx
    assert "div.rn.f32" in ptx
    assert not re.findall(r"\b(?:fma|mad)\.\S*f32|\.ftz|\.approx", ptx)


@needs_nvrtc
@pytest.mark.parametrize(
    ("dtype", "bits", "prefix"), [(F32, np.uint32, "0f"), (F64, np.uint64, "0d")]
)
def test_numbers_arrive_to_the_last_bit(dtype: np.dtype[Any], bits: Any, prefix: str) -> None:
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    numbers = rng.integers(0, np.iinfo(bits).max, 200, bits, endpoint=True).view(dtype)
    numbers = numbers[np.isfinite(numbers)]
    edges = [0.1, 1 / 3, 1e-5, 16777217, info.max, info.tiny, info.smallest_subnormal, np.inf]
    numbers = np.concatenate([numbers, np.array(edges, dtype)])
    low = begin()
    x, axes = low.scratch("x", (9,), dtype), low.axes((9,))
    stores = tuple(
        Store(
            low.scratch("y", (9,), dtype),
            (index(axes[0]),),
            apply("mul", low.load(x, axes), Const(number.item(), dtype)),
        )
        for number in numbers
    )
    low.kernel(axes, [Phase(stores=stores)])
    ptx = compile_ptx(print_kernel(only(low), name="k"))
    missing = [n for n in numbers if f"{prefix}{n.view(bits):0{dtype.itemsize * 2}X}" not in ptx]
    assert missing == []


@needs_nvrtc
def test_a_refused_source_shows_the_log() -> None:
    with pytest.raises(gx.BackendError, match="compute_90") as error:
        compile_ptx('extern "C" __global__ void k() { undeclared = 1; }', "compute_90")
    assert 'graphc.cu(1): error: identifier "undeclared" is undefined' in str(error.value)
    with pytest.raises(gx.BackendError, match="invalid value for --gpu-architecture"):
        compile_ptx("", "compute_20")


def test_an_architecture_that_is_none() -> None:
    with pytest.raises(gx.BackendError, match="'sm_90' is not a virtual architecture"):
        compile_ptx("", "sm_90")


def test_without_nvrtc_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(nvrtc.metadata, "distribution", distribution)
    nvrtc._library.cache_clear()
    with pytest.raises(gx.BackendError) as error:
        compile_ptx("")
    assert str(error.value).splitlines()[0] == (
        "CUDA kernels need NVRTC, which is not installed: pip install 'nvidia-cuda-nvrtc==13.0.*'"
    )


def test_a_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libnvrtc.so.13"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(nvrtc, "find_libraries", lambda: (broken, broken))
    nvrtc._library.cache_clear()
    with pytest.raises(gx.BackendError, match="installed but does not load"):
        compile_ptx("")


# -- the text -------------------------------------------------------------------------------------


def test_a_kernel_as_a_whole() -> None:
    x = gx.input("picture", ("batch", 3, 4, 4))
    bias = gx.parameter("weights", (3, 1, 1))
    total = x + bias
    kernel = kernel_of(total)
    assert text(kernel, largest={"batch": 64}) == (
        f"// add  {total.lines[0]}\n"
        'extern "C" __global__ void __launch_bounds__(256) k(\n'
        "    const float* __restrict__ b0,  // f32[s0,3,4,4]\n"
        "    const float* __restrict__ b1,  // f32[3,1,1]\n"
        "    float* __restrict__ b2,  // f32[s0,3,4,4]\n"
        "    const int s0)\n"
        "{\n"
        "    const int d0 = 48 * s0;\n"
        "    const int step = gridDim.x * blockDim.x;\n"
        "    for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < d0; p += step) {\n"
        "        const int i1 = p / 16 % 3;\n"
        "        const float v0 = b0[p];\n"
        "        const float v1 = b1[i1];\n"
        "        const float v2 = v0 + v1;\n"
        "        b2[p] = v2;\n"
        "    }\n"
        "}\n"
    )
    taken = arguments(kernel)
    assert [ref.node for ref in taken.buffers] == [x, bias, total]
    assert taken.sizes == ("batch",)


def test_no_name_of_a_user_enters() -> None:
    # Whatever a user may call things: none of it is in the text, where "float" would be fatal.
    x = gx.input("float", ("int", "return"))
    source = text(kernel_of(gx.exp(x)))
    code = source[source.index("\n") :]
    assert not re.findall(r"\breturn\b|\[int\b", code)
    assert "f32[s0,s1]" in code


def test_a_line_that_would_leave_the_comment() -> None:
    x = gx.input("x", (3,))
    scope = {"gx": gx, "x": x}
    code = compile("y = gx.tanh(x)", 'evil */\n#include "/etc/passwd" \\\n\\', "exec")
    exec(code, scope)
    source = text(kernel_of(scope["y"]))  # type: ignore[arg-type]
    first, second, *_ = source.splitlines()
    assert re.fullmatch(r"// tanh  [\w.:+() ?-]*", first)
    assert not first.endswith("\\")
    assert second.startswith('extern "C"')


def test_equal_values_are_computed_once() -> None:
    def expr(v: Any) -> Any:
        again = apply("exp", apply("mul", v, v))
        return apply("sub", apply("div", apply("exp", apply("mul", v, v)), v), again)

    assert body(text(mapping(expr))) == [
        "const float v0 = b0[p];",
        "const float v1 = v0 * v0;",
        "const float v2 = expf(v1);",
        "const float v3 = v2 / v0;",
        "const float v4 = v3 - v2;",
        "b1[p] = v4;",
    ]


def test_zeros_of_both_signs_and_true_and_one_are_not_equal() -> None:
    def expr(v: Any) -> Any:
        plus, minus = apply("div", v, Const(0.0, F32)), apply("div", v, Const(-0.0, F32))
        one = apply("cast", Const(True, BOOL), dtype=F32)
        return apply("add", apply("add", plus, minus), apply("add", one, Const(1, F32)))

    lines = body(text(mapping(expr)))
    assert "const float v1 = v0 / 0.0f;" in lines
    assert "const float v2 = v0 / (-0.0f);" in lines
    assert "const float v4 = (float)true;" in lines
    assert "const float v5 = v4 + 1.0f;" in lines


@pytest.mark.parametrize(
    ("dtype", "product"),
    [
        ("int32", "(int)((unsigned int)v0 * (unsigned int)v0)"),
        ("int64", "(long long)((unsigned long long)v0 * (unsigned long long)v0)"),
        ("uint16", "(unsigned short)((unsigned int)v0 * (unsigned int)v0)"),
    ],
)
def test_integers_wrap_around(dtype: str, product: str) -> None:
    # An overflow of signed ints (and uint16 is promoted to one) is undefined in C++.
    kernel = mapping(lambda v: apply("mul", v, v), dtype=np.dtype(dtype))
    assert body(text(kernel))[1].endswith(f" v1 = {product};")


def test_indices_are_wide_only_where_they_must() -> None:
    kernel = mapping(lambda v: v, (N, 1000))
    assert "for (long long p = (long long)blockIdx.x" in text(kernel)
    assert "for (int p" in text(kernel, largest={"N": 2**20})
    assert "for (long long p" in text(kernel, largest={"N": 2**21})
    assert "for (int p" in text(mapping(lambda v: v, (5, 1000)))
    assert "for (long long p" in text(mapping(lambda v: v, (2**16, 2**15)))

    def window(buffer: Any, where: Callable[[Axis], list[Any]], **options: Any) -> str:
        low = begin()
        x, (i,) = low.scratch("x", buffer, F32), low.axes((3,))
        low.map((i,), low.scratch("out", (3,), F32), (i,), low.load(x, where(i), fill=0.0))
        return text(only(low), **options)

    # Few points of a large buffer; an index, or an address, that is far outside before its mask
    # says so; the end of a dimension times the divisor.
    assert "for (long long p" in window((2**12, 2**20), lambda i: [i * 1000, i])
    assert "for (long long p" in window((4,), lambda i: [i * 2**30])
    assert "for (long long p" in window((4, 2**20), lambda i: [i * 2**10, i])
    assert "for (int p" in window((4, 2**20), lambda i: [i * 2**8, i])
    assert "for (long long p" in window((N,), lambda i: [index(i) / 3], largest={"N": 2**29})
    assert "for (int p" in window((N,), lambda i: [index(i) / 3], largest={"N": 2**28})
    assert "for (long long p" in window((4,), lambda i: [i - N * 2**10], largest={"N": 2**21})
    # A size that is only counted, and the numerator of one.
    half = mapping(lambda v: Count((N * N + 1) // 4, F32), (5,))
    assert "for (long long p" in text(half, largest={"N": 46_000})
    assert "for (int p" in text(half, largest={"N": 32_000})
    assert "for (long long p" in text(
        mapping(lambda v: Count(N * 2**20, F32), (5,)), largest={"N": 2**11}
    )
    assert "const int d0 = 1048576 * s0;" in text(
        mapping(lambda v: Count(N * 2**20, F32), (5,)), largest={"N": 2**10}
    )


def test_axes_that_no_address_tells_apart_are_one() -> None:
    assert body(text(mapping(lambda v: v, (N, 3, 1, 5))))[0] == "const float v0 = b0[p];"
    low = begin()
    x, out = low.scratch("x", (3, 4, 5, 6), F32), low.scratch("out", (3, 4, 5, 6), F32)
    a, b, c, d = axes = low.axes(x.shape)
    low.map(axes, out, (a, b, c, d), low.load(low.scratch("y", (5, 6, 3, 4), F32), [c, d, a, b]))
    kernel = only(low)
    assert schedule_kernel(kernel).groups == ((a, b), (c, d))
    assert body(text(kernel)) == [
        "const int i0 = p / 30;",
        "const int i1 = p % 30;",
        "const float v0 = b0[12 * i1 + i0];",
        "b1[p] = v0;",
    ]
    # An axis whose own coordinate is a value walks alone.
    low = begin()
    low.map(axes, out, axes, Position(c, F32))
    assert schedule_kernel(only(low)).groups == ((a, b), (c,), (d,))


def test_what_can_be_proved_is_not_checked() -> None:
    low = begin()
    x, out = low.scratch("x", (N, 8), F32), low.scratch("out", (N + 2, 4), F32)
    n, i = axes = low.axes(out.shape)
    low.map(axes, out, axes, low.load(x, [n - 2, 2 * i + 1], fill=0.0))
    source = text(only(low))
    assert "const bool ok0 = t0 >= 0;" in source
    # The last row of 2n is row 2N - 2: always inside 2N rows.
    low = begin()
    x, out = low.scratch("x", (2 * N,), F32), low.scratch("out", (N,), F32)
    (n,) = axes = low.axes((N,))
    low.map(axes, out, axes, low.load(x, [2 * n], fill=0.0))
    assert "ok0" not in text(only(low))


def test_restrict_only_where_it_is_proved() -> None:
    low = begin()
    x, step = low.scratch("x", (5,), F32), low.scratch("step", (5,), F32)
    axes = low.axes((5,))
    low.map(axes, x, axes, apply("sub", low.load(x, axes), low.load(step, axes)))
    source = text(only(low))
    assert "    float* b0,  // f32[5]\n" in source
    assert "    const float* __restrict__ b1)  // f32[5]\n" in source
    # The plan puts the result into the memory of an operand.
    kernel = mapping(lambda v: apply("neg", v), (5,))
    x, out = arguments(kernel).buffers
    source = text(kernel, shared={x, out})
    assert "    const float* b0,  // f32[5]\n" in source
    assert "    float* b1)  // f32[5]\n" in source
    assert "__restrict__" not in source


def test_the_grid_covers_the_points_within_its_limits() -> None:
    schedule = KernelSchedule(groups=(), wide=True, block=128)
    assert schedule.grid(1) == 1
    assert schedule.grid(129) == 2
    assert schedule.grid(10**12) == 65_536
    # A point and a stride together fit into 32 bits, whatever the launch asks for.
    assert schedule.grid(2**40, most=2**31) * schedule.block == 2**30


def test_the_same_kernel_gives_the_same_text() -> None:
    def source() -> str:
        x = gx.input("x", ("N", "H", "W"))
        return text(kernel_of(gx.where(x > 0, x, -x)))

    assert source() == source()


def test_a_deep_expression() -> None:
    def expr(v: Any) -> Any:
        for i in range(10_000):
            v = apply("add", v, Const(float(i), F32))
        return v

    assert len(body(text(mapping(expr)))) == 10_002


# -- what is refused ------------------------------------------------------------------------------


def test_a_reduction_is_refused() -> None:
    x = gx.input("x", ("N", 3))
    low = begin(gx.relu(x))
    n, i = low.axes(x.shape)
    acc = Acc("sum", low.load(x, [n, i]), F32)
    out = low.scratch("out", (N,), F32)
    store = Store(out, (index(n),), acc)
    low.kernel((n,), [Phase((i,), (acc,)), Phase(stores=(store,))])
    assert not is_elementwise(only(low))
    with pytest.raises(gx.BackendError, match=r"no kernel for relu  .*: it reduces"):
        print_kernel(only(low), name="k")
    low = begin()
    low.kernel((n,), [Phase(stores=(store,))])
    with pytest.raises(gx.BackendError, match="it reads a reduction"):
        print_kernel(only(low), name="k")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_floats_are_refused(dtype: str) -> None:
    node = gx.exp(gx.input("x", ("N", 3), dtype=dtype))
    with pytest.raises(gx.BackendError) as error:
        print_kernel(kernel_of(node), name="k")
    assert f"it computes with {dtype}" in str(error.value)
    assert node.lines[0] in str(error.value)
    assert error.value.nodes == (node,)
    assert error.value.lines[:1] == node.lines  # then the line of the call
    x = gx.input("x", ("N", 3))
    with pytest.raises(gx.BackendError, match=f"no kernel for cast .* with {dtype}"):
        print_kernel(kernel_of(gx.cast(x, dtype)), name="k")


def test_an_overwrite_that_races_is_refused() -> None:
    # No run on a CPU can show it, where one thread comes after the other.
    low = begin()
    x, axes = low.scratch("x", (5,), F32), low.axes((4,))
    low.map(axes, x, axes, apply("add", low.load(x, axes), low.load(x, [axes[0] + 1])))
    with pytest.raises(gx.BackendError, match="overwrites elements that other points still read"):
        print_kernel(only(low), name="k")


@pytest.mark.parametrize(
    ("op", "dtypes", "reason"),
    [
        ("exp", ("int32",), "there is no exp of int32"),
        ("div", ("int64", "int64"), "there is no div of int64"),
        ("add", ("bool", "bool"), "add of bool is no arithmetic"),
        ("add", ("float32", "float64"), "add of f32, f64 is not add of f64, f64"),
        ("lt", ("int32", "uint32"), "lt of i32, u32, bool is not lt of i32, i32, bool"),
        ("and", ("bool", "int8"), "and of bool, i8, bool is not and of bool, bool, bool"),
        ("select", ("float32", "float32", "float32"), "select of f32, f32, f32 is not"),
    ],
)
def test_types_that_do_not_fit_are_refused(op: str, dtypes: tuple[str, ...], reason: str) -> None:
    low = begin()
    axes = low.axes((5,))
    expr = apply(op, *(low.load(low.scratch("x", (5,), dtype), axes) for dtype in dtypes))
    low.map(axes, low.scratch("out", (5,), expr.dtype), axes, expr)
    with pytest.raises(gx.BackendError, match=reason):
        print_kernel(only(low), name="k")


@pytest.mark.parametrize("value", [0.5, 300, -1, float("nan")])
def test_a_number_that_its_type_does_not_hold_is_refused(value: float) -> None:
    kernel = mapping(lambda v: apply("add", v, Const(value, v.dtype)), dtype=np.dtype(np.uint8))
    with pytest.raises(gx.BackendError, match="is not a number of uint8"):
        print_kernel(kernel, name="k")


def test_wrong_use() -> None:
    kernel, other = mapping(lambda v: v, (2, 3)), mapping(lambda v: v, (2, 3))
    for name in ("", "0k", "K", "k k", "k;", "ké"):
        with pytest.raises(ValueError, match="cannot name a kernel"):
            print_kernel(kernel, name=name)
    with pytest.raises(ValueError, match="the schedule is not one of this kernel"):
        print_kernel(kernel, name="k", schedule=schedule_kernel(other))
    for block in (0, 1025):
        with pytest.raises(ValueError, match="a block has 1 to 1024 threads"):
            schedule_kernel(kernel, block=block)
