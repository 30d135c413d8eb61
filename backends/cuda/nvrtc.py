"""CUDA C++ to PTX by NVRTC, NVIDIA's compiler as a library. Needs no device, no driver, no toolkit.

The library comes with the package ``nvidia-cuda-nvrtc``. Its version is pinned to 13.0: a newer one
writes a newer PTX, which the drivers of CUDA 13.0 refuse to load.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

from ...ir.errors import BackendError

PACKAGE = "nvidia-cuda-nvrtc"
# A product and a sum are rounded one by one, as NumPy does it (a fused multiply-add would round
# once), subnormal numbers are kept, division and root are correctly rounded. Elementwise kernels
# wait for memory, so this costs them nothing; matrix products say fmaf. The lines of the source go
# into the PTX: a fault then names its line.
OPTIONS = (
    "--std=c++17", "--generate-line-info",
    "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true",
)  # fmt: skip

COMPILATIONS: list[str] = []  # the architecture of each compilation of this process


def compile_ptx(source: str, arch: str = "compute_80") -> str:
    """The PTX of CUDA C++ ``source`` for the virtual architecture ``arch``.

    Raises BackendError: NVRTC is not installed; ``arch`` is none; the source does not compile (the
    message ends with NVRTC's log).

    >>> from graphc.backends.cuda import compile_ptx
    >>> compile_ptx('extern "C" __global__ void k(float* b) { b[0] = 1.0f; }', "sm_90")
    Traceback (most recent call last):
        ...
    graphc.ir.errors.BackendError: 'sm_90' is not a virtual architecture: use one as 'compute_80'...
    """
    if not re.fullmatch(r"compute_[0-9]{2,3}[a-z]?", arch):
        raise BackendError(f"{arch!r} is not a virtual architecture: use one as 'compute_80'")
    nvrtc = _library()
    program = ctypes.c_void_p()
    options = [f"--gpu-architecture={arch}".encode(), *(option.encode() for option in OPTIONS)]
    _check(
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"graphc.cu", 0, None, None
        )
    )
    try:
        code = nvrtc.nvrtcCompileProgram(
            program, len(options), (ctypes.c_char_p * len(options))(*options)
        )
        COMPILATIONS.append(arch)
        if code:
            log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).strip()
            raise BackendError(f"NVRTC refuses the source for {arch} ({_error(code)}):\n{log}")
        return _text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


@cache
def version() -> str:
    """NVRTC's own version. Raises BackendError where it is not installed."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def find_libraries() -> tuple[Path, ...]:
    """The package's shared libraries: NVRTC itself, then the builtins that it opens by name.

    Raises BackendError where the package is not installed.
    """
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        files = []
    found = {file.name: Path(str(file.locate())) for file in files}
    # Beside them lies an "alt" build of each.
    chosen = [n for n in sorted(found) if re.fullmatch(r"libnvrtc(-builtins)?\.so[.0-9]*", n)]
    if len(chosen) != 2:
        raise BackendError(
            f"CUDA kernels need NVRTC, which is not installed: pip install '{PACKAGE}==13.0.*'"
        )
    builtins, nvrtc = (found[name] for name in chosen)
    return nvrtc, builtins


@cache
def _library() -> ctypes.CDLL:
    path, builtins = find_libraries()
    try:
        # NVRTC looks for its builtins by name alone; what is loaded already it finds.
        ctypes.CDLL(str(builtins))
        nvrtc = ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendError(f"{PACKAGE} is installed but does not load: {error}") from None
    # Pointers travel as c_void_p, so all functions but this one return the int that is the default.
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    return nvrtc


def _error(code: int) -> str:
    text: bytes = _library().nvrtcGetErrorString(code)
    return text.decode()


def _check(code: int) -> None:
    if code:
        raise BackendError(f"NVRTC fails: {_error(code)}")


def _text(size_of: Callable[..., int], get: Callable[..., int], program: ctypes.c_void_p) -> str:
    """What NVRTC hands out by a size and a copy: a log, a PTX."""
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(get(program, buffer))
    return buffer.value.decode()
