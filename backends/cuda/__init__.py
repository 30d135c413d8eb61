"""CUDA C++ printed from kernel descriptions, and compiled to PTX without a device."""

from .addresses import is_elementwise
from .nvrtc import compile_ptx
from .printer import Arguments, arguments, print_kernel
from .schedule import KernelSchedule, schedule_kernel

__all__ = [
    "Arguments",
    "KernelSchedule",
    "arguments",
    "compile_ptx",
    "is_elementwise",
    "print_kernel",
    "schedule_kernel",
]
