"""C functions that call back into Python, one for each entry of CuPy's function tables.

CuPy's modules call each other through capsules of C functions (``__pyx_capi__``), whose names are
their signatures. A replaced entry points to a small C function, generated from that signature and
compiled once, which calls a Python function and passes its result, or its exception, on. A capsule
whose signature is not one of the known shapes stays as it is.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ....ir.errors import BackendError

# The few functions of Python's that are needed, so that no header of Python has to be installed.
HEAD = """
#include <stdint.h>
#include <stddef.h>
typedef struct _object PyObject;
extern PyObject *PyObject_CallFunction(PyObject *, const char *, ...);
extern PyObject *PyObject_CallNoArgs(PyObject *);
extern long long PyLong_AsLongLong(PyObject *);
extern double PyFloat_AsDouble(PyObject *);
extern void Py_DecRef(PyObject *);
extern void Py_IncRef(PyObject *);
extern char _Py_NoneStruct;
/* While the interpreter is taken down CuPy still frees; Python's functions are gone then. */
int finished;
static PyObject *none(void) {
    Py_IncRef((PyObject *)&_Py_NoneStruct);
    return (PyObject *)&_Py_NoneStruct;
}
PyObject *callbacks[%d];
"""
# C type -> how PyObject_CallFunction's format has it, and the type to pass.
ARGUMENTS = {
    "int": ("i", "int"), "CUdevice": ("i", "int"), "cudaMemcpyKind": ("i", "int"),
    "unsigned int": ("I", "unsigned int"), "size_t": ("L", "long long"),
    "intptr_t": ("L", "long long"), "uintmax_t": ("L", "long long"),
    "PY_LONG_LONG": ("L", "long long"), "PyObject *": ("O", "PyObject *"),
}  # fmt: skip
C_TYPES = {
    "CUdevice": "int", "cudaMemcpyKind": "int", "PY_LONG_LONG": "long long",
}  # fmt: skip
# What a function returns beside an exception: the values that CuPy's declarations name.
FAILED = {"int": "-1", "size_t": "-1", "funcGetAttribute": "-2", "streamGetPriority": "0"}

_get_name = ctypes.pythonapi.PyCapsule_GetName
_get_name.restype, _get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_new = ctypes.pythonapi.PyCapsule_New
_new.restype = ctypes.py_object
_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def signature(module: ModuleType, name: str) -> str:
    """The C signature of an entry, as CuPy wrote it into the capsule's name."""
    found: bytes = _get_name(vars(module)["__pyx_capi__"][name])
    return found.decode()


@dataclass(frozen=True)
class Hook:
    """One entry to replace."""

    module: ModuleType
    name: str
    signature: str
    function: Callable[..., Any]


def source(hooks: list[Hook]) -> str:
    """The C text of all trampolines."""
    return HEAD % len(hooks) + "\n".join(
        _trampoline(i, hook.name, hook.signature) for i, hook in enumerate(hooks)
    )


def supported(text: str) -> bool:
    """Whether a signature has one of the known shapes."""
    match = re.fullmatch(r"(.*?)\s*\((.*)\)", text)
    if match is None:
        return False
    return _result(match[1]) is not None and all(
        argument in ARGUMENTS or "__pyx_" in argument for argument in _arguments(match[2])
    )


def _arguments(text: str) -> list[str]:
    return [a.strip() for a in text.split(",") if a.strip() != "void"]


def _result(text: str) -> str | None:
    text = text.strip()
    if text == "PyObject *" or text.startswith("struct __pyx_obj"):
        return "PyObject *"
    known = ("int", "unsigned int", "size_t", "intptr_t", "uintmax_t", "float")
    return text if text in known else None


def _trampoline(i: int, name: str, text: str) -> str:
    match = re.fullmatch(r"(.*?)\s*\((.*)\)", text)
    if match is None or (result := _result(match[1])) is None:
        raise BackendError(f"CuPy's {name} has a signature that is not known: {text}")
    declared, passed, form = [], [], ""
    for k, argument in enumerate(_arguments(match[2])):
        if "__pyx_obj" in argument:
            argument = "PyObject *"
        if "__pyx_opt_args" in argument:
            declared.append(f"void *a{k}")  # optional arguments: none of them matters here
        elif "__pyx" in argument:
            declared.append(f"int a{k}")  # __pyx_skip_dispatch
        else:
            kind, cast = ARGUMENTS[argument]
            declared.append(f"{C_TYPES.get(argument, argument)} a{k}")
            passed.append(f"({cast})a{k}")
            form += kind
    head = f"{result} trampoline{i}({', '.join(declared) or 'void'})"
    call = (
        f'PyObject_CallFunction(callbacks[{i}], "({form})", {", ".join(passed)})'
        if passed
        else f"PyObject_CallNoArgs(callbacks[{i}])"
    )
    if result == "PyObject *":
        return f"{head} {{ return finished ? none() : {call}; }}"
    failed = FAILED.get(name, FAILED.get(result, "0"))
    convert = "PyFloat_AsDouble" if result == "float" else "PyLong_AsLongLong"
    return (
        f"{head} {{ if (finished) return 0; PyObject *r = {call}; if (!r) return {failed};"
        f" {result} v = ({result}){convert}(r); Py_DecRef(r); return v; }}"
    )


def compile_library(
    text: str, compiler: list[str], folder: Path, *, name: str, flags: tuple[str, ...] = (),
    versions: str = "",
) -> Path:  # fmt: skip
    """A shared library of C text, compiled once for all processes. ``versions`` is the content of
    the file ``versions.map`` beside it.

    Raises BackendError where the compiler fails.
    """
    key = hashlib.sha256("\0".join((text, versions, *compiler, *flags)).encode()).hexdigest()[:16]
    made = folder / f"{name}-{key}.so"
    if made.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        (Path(work) / "source.c").write_text(text, encoding="utf-8")
        (Path(work) / "versions.map").write_text(versions, encoding="utf-8")
        command = [*compiler, "-O1", "-w", "-shared", "-fPIC", "source.c", "-o", "made.so", *flags]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BackendError(f"{' '.join(compiler)} fails:\n{done.stderr.strip()[-2000:]}")
        # Another process may have been faster; both made the same.
        os.replace(Path(work) / "made.so", made)  # noqa: PTH105 - atomic
    return made


def hook(hooks: list[Hook], compiler: list[str], folder: Path) -> list[Any]:
    """Replace the entries, for callers in C and in Python; returns what must stay alive."""
    library = ctypes.PyDLL(str(compile_library(source(hooks), compiler, folder, name="hooks")))
    table: Any = (ctypes.py_object * len(hooks)).in_dll(library, "callbacks")
    atexit.register(setattr, ctypes.c_int.in_dll(library, "finished"), "value", 1)
    alive = [True]
    atexit.register(alive.clear)
    kept: list[Any] = [library, table, hooks]
    for i, each in enumerate(hooks):
        table[i] = each.function
        name = each.signature.encode()
        address = ctypes.cast(getattr(library, f"trampoline{i}"), ctypes.c_void_p)
        vars(each.module)["__pyx_capi__"][each.name] = _new(address, name, None)
        kept.append(name)  # a capsule does not copy its name
        setattr(each.module, each.name, _until(alive, each.function))
    return kept


def _until(alive: list[bool], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for callers in Python, which does nothing once the interpreter is taken down:
    what it would need may be gone."""

    def call(*args: Any) -> Any:
        return function(*args) if alive else 0

    return call


def hooks_of(module: ModuleType, table: Mapping[str, Callable[..., Any]]) -> list[Hook]:
    """The hooks for a table of functions. Raises BackendError where CuPy lacks one."""
    entries = vars(module)["__pyx_capi__"]
    missing = sorted(set(table) - set(entries))
    if missing:
        raise BackendError(f"this CuPy has no {module.__name__}.{missing[0]}: the pin is 14.2")
    return [Hook(module, n, signature(module, n), f) for n, f in table.items()]
