"""CUDA's runtime, driver and cuBLAS as CuPy calls them, replaced by an emulated device."""

from .replace import device, faults, install, installed, late, mark_uninitialised, memory_limit

__all__ = ["device", "faults", "install", "installed", "late", "mark_uninitialised", "memory_limit"]
