"""CUDA's runtime, driver and cuBLAS as CuPy calls them, replaced by an emulated device."""

from .replace import (
    emulated_device,
    faults,
    install,
    installed,
    late,
    mark_uninitialised,
    memory_limit,
)

__all__ = [
    "emulated_device",
    "faults",
    "install",
    "installed",
    "late",
    "mark_uninitialised",
    "memory_limit",
]
