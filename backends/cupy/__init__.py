"""The CuPy backend: fused kernels of ours and cuBLAS, on an NVIDIA device.

Nothing here imports CuPy before a backend is made: all work with NumPy needs none.
"""

from __future__ import annotations

from .backend import CupyBackend

__all__ = ["CupyBackend"]
