"""A library named libcublas without anything in it, so that CuPy's cuBLAS module can be loaded.

NVIDIA's own has 610 MB. Every function of CuPy's module is replaced before it can be called; one
that was not would answer that it is not supported (CUBLAS_STATUS_NOT_SUPPORTED).
"""

from __future__ import annotations

import ctypes
import re
import struct
from pathlib import Path

from ....ir.errors import BackendError
from .trampolines import compile_library

NAME = "libcublas.so.13"
UNSUPPORTED = 15


def load(module: Path, compiler: list[str], folder: Path) -> ctypes.CDLL:
    """Load a stub of the functions that ``module``, CuPy's extension, asks for."""
    names = undefined(module, "cublas")
    text = "".join(f"int {n}(void) {{ return {UNSUPPORTED}; }}\n" for n in names)
    library = compile_library(
        text, compiler, folder, name="cublas",
        flags=(f"-Wl,-soname,{NAME}", "-Wl,--version-script=versions.map"),
        versions=f"{NAME} {{ global: *; }};\n",
    )  # fmt: skip
    return ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


def undefined(path: Path, prefix: str) -> list[str]:
    """The functions that a shared library takes from others: its undefined dynamic symbols."""
    raw = path.read_bytes()
    if raw[:5] != b"\x7fELF\x02":
        raise BackendError(f"{path.name} is no 64-bit ELF library")
    (start,) = struct.unpack_from("<Q", raw, 0x28)
    width, count = struct.unpack_from("<HH", raw, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", raw, start + i * width) for i in range(count)]
    found = set()
    for section in sections:
        if section[1] != 11:  # SHT_DYNSYM
            continue
        strings = sections[section[6]]
        for at in range(section[4], section[4] + section[5], section[9]):
            name_at, _, _, index = struct.unpack_from("<IBBH", raw, at)
            if index == 0:
                begin = strings[4] + name_at
                found.add(raw[begin : raw.index(b"\0", begin)].decode())
    return sorted(n for n in found if re.fullmatch(rf"{prefix}\w+", n))
