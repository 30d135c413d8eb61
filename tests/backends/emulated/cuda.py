"""Small CUDA kernels for the emulator's tests: compiled by NVRTC, run on NumPy arrays."""

from __future__ import annotations

from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from graphc.backends.cuda import compile_ptx, nvrtc
from graphc.backends.emulated import KernelCounts, run_ptx


@cache
def headers() -> str:
    """The folder of cuda_fp16.h and its kind, from pip's nvidia-cuda-runtime."""
    spec = util.find_spec("nvidia.cu13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return str(Path(next(iter(spec.submodule_search_locations))) / "include")


@cache
def ptx(source: str, arch: str = "compute_80", options: tuple[str, ...] = ()) -> str:
    """PTX of a source, with line numbers."""
    kept = nvrtc.OPTIONS
    nvrtc.OPTIONS = (*kept, "-lineinfo", f"-I{headers()}", *options)
    try:
        return compile_ptx(source, arch)
    finally:
        nvrtc.OPTIONS = kept


def run(
    source: str, kernel: str, grid: Any, block: Any, *args: Any, **options: Any
) -> KernelCounts:
    """Compile and run; arrays are changed in place."""
    grid = grid if isinstance(grid, tuple) else (grid,)
    block = block if isinstance(block, tuple) else (block,)
    given = [a if isinstance(a, np.ndarray | np.generic) else np.int32(a) for a in args]
    return run_ptx(ptx(source), kernel, grid, block, given, **options)
