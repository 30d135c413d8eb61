"""The CuPy backend, unchanged, on the emulated device."""

from __future__ import annotations

from typing import Any

from ..cupy import CupyBackend
from .driver import install


class EmulatedBackend(CupyBackend):
    """The CuPy backend whose device is emulated: for tests, not for speed.

    Takes what :class:`graphc.backends.cupy.CupyBackend` takes. Raises BackendError, in one line,
    where the emulator's requirements are missing.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> double = gx.compile(gx.Graph({"y": x + x}), backend="emulated")
    >>> gx.to_numpy(double({}, x=[[1.0, 2.0, 3.0]])["y"]).tolist()
    [[2.0, 4.0, 6.0]]
    """

    name = "emulated"

    def __init__(self, *args: Any, **options: Any) -> None:
        install()  # before anything imports CuPy
        super().__init__(*args, **options)
