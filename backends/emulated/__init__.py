"""The CuPy backend on an emulated device: no GPU, no driver.

The real CuPy runs on a replaced CUDA driver, which executes the very PTX that NVRTC made of the
kernels, and refuses what compute-sanitizer would refuse on a device. See docs/gpu.md for what this
proves and what it does not.
"""

from .backend import EmulatedBackend
from .counters import Counts, KernelCounts, counting
from .driver import faults, install, installed, late, mark_uninitialised, memory_limit
from .errors import DeviceFault
from .needs import requirements
from .ptx import run_ptx

__all__ = [
    "Counts",
    "DeviceFault",
    "EmulatedBackend",
    "KernelCounts",
    "counting",
    "faults",
    "install",
    "installed",
    "late",
    "mark_uninitialised",
    "memory_limit",
    "requirements",
    "run_ptx",
]
