"""Puts the emulated device under CuPy, once for a process and before CuPy is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any

from ....ir.errors import BackendError
from .. import counters
from ..needs import cache_folder, find_compiler, requirements
from . import cublas, stub, tables
from .device import Device, Fault, failing
from .streams import Queues
from .trampolines import Hook, hook, hooks_of, signature, supported

MEMORY = 1 << 30  # bytes of the device; the system gives them when they are touched

EXECUTION_FAILED = 13  # CUBLAS_STATUS_EXECUTION_FAILED

# Helpers that touch no device; everything else without a stand-in is refused by name.
HARMLESS = ("check_status", "get_build_version", "make_Extent", "make_Pos", "make_PitchedPtr")

_device: Device | None = None
_kept: list[Any] = []  # what C points to


def installed() -> bool:
    """Whether this process has the emulated device under its CuPy."""
    return _device is not None


def install(memory: int | None = None) -> None:
    """Put the emulated device under CuPy: to be called before anything imports ``cupy``.

    ``memory`` is the size of the device's memory in bytes (default: ``GRAPHC_EMULATED_MEMORY``,
    else 1 GiB). A second call does nothing.

    Raises BackendError, in one line: something is not installed, or CuPy was imported before.

    >>> from graphc.backends import emulated
    >>> emulated.requirements() or emulated.install()
    >>> emulated.installed()
    True
    """
    global _device
    if _device is not None:
        return
    missing = requirements()
    if missing:
        raise BackendError(f"the emulated backend cannot run here: {'; '.join(missing)}")
    if "cupy" in sys.modules:
        raise BackendError(
            "CuPy was imported before the emulated device was put under it: a process has one or"
            " the other"
        )
    size = _memory() if memory is None else memory
    if size < 1:
        raise BackendError(f"memory={size}: the emulated device needs some bytes")
    compiler = find_compiler()
    assert compiler is not None  # or it would be missing above
    _device = Device(size)
    try:
        _replace(_device, compiler, cache_folder() / "emulated")
    except OSError as error:
        _device = None
        raise BackendError(
            f"the emulated backend cannot use its cache ({error}): set GRAPHC_CACHE to a folder"
            " that can be written"
        ) from error
    except BaseException:
        _device = None
        raise


def _memory() -> int:
    given = os.environ.get("GRAPHC_EMULATED_MEMORY", str(MEMORY))
    if not given.isdecimal():
        raise BackendError(f"GRAPHC_EMULATED_MEMORY={given!r} is no number of bytes")
    return int(given)


def emulated_device() -> Device:
    """The emulated device. Raises BackendError before :func:`install`."""
    if _device is None:
        raise BackendError("the emulated device is not installed: call emulated.install() first")
    return _device


def _replace(target: Device, compiler: list[str], folder: Path) -> None:
    backends = util.find_spec("cupy_backends")
    if backends is None or backends.origin is None:
        raise BackendError("this CuPy has no cupy_backends")
    runtime = import_module("cupy_backends.cuda.api.runtime")
    driver = import_module("cupy_backends.cuda.api.driver")
    hooks = [
        *_hooks(runtime, "CUDA runtime", tables.runtime(target, runtime)),
        *_hooks(driver, "CUDA driver", tables.driver(target, driver)),
    ]
    # Before anything else of CuPy's takes functions out of these two.
    _kept.append(hook(hooks, compiler, folder))
    (extension,) = Path(backends.origin).parent.glob("cuda/libs/cublas*.so")
    _kept.append(stub.load(extension, compiler, folder))
    blas = import_module("cupy_backends.cuda.libs.cublas")
    failed = partial(blas.CUBLASError, EXECUTION_FAILED)
    table = tables.raising(cublas.Gemm(target).table(), lambda _: failed())
    _kept.append(hook(_hooks(blas, "cuBLAS", table), compiler, folder))
    # CuPy reads these when imported; a child process may want a real device.
    kernels = folder / "kernels"
    settings = {
        "CUPY_COMPILE_WITH_PTX": "1",  # a cubin is no use here
        "CUPY_ACCELERATORS": "",  # CUB and cuTENSOR are machine code
        "CUPY_CACHE_DIR": str(kernels),  # its keys do not tell PTX from cubin
        "CUPY_CACHE_IN_MEMORY": "0",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        import_module("cupy")
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    _count_compilations()


def _hooks(module: ModuleType, library: str, table: tables.Table) -> list[Hook]:
    """The hooks of a table, and a refusal for every other function of the module."""
    others = [
        name
        for name in vars(module)["__pyx_capi__"]
        if name not in table and name not in HARMLESS and supported(signature(module, name))
    ]
    return hooks_of(module, {**table, **{n: tables.refusal(library, n) for n in others}})


def _count_compilations() -> None:
    nvrtc: Any = import_module("cupy_backends.cuda.libs.nvrtc")
    create_program, compile_program = nvrtc.createProgram, nvrtc.compileProgram
    empty: set[int] = set()

    def create(source: str, *args: Any) -> Any:
        program = create_program(source, *args)
        (empty.discard if source else empty.add)(program)
        return program

    def compile_and_count(program: int, *args: Any) -> Any:
        # CuPy compiles an empty source once, to learn the compiler's version.
        if program not in empty:
            counters.count("compilations")
        return compile_program(program, *args)

    nvrtc.createProgram, nvrtc.compileProgram = create, compile_and_count


# -- what tests do with the device ----------------------------------------------------------------


def faults(
    *, allocation: int | None = None, launch: int | None = None, lost: int | None = None
) -> AbstractContextManager[Fault]:
    """Let the emulated device fail inside the block; numbers count from 0, from its beginning.

    ``allocation``: that cudaMalloc is out of memory. ``launch``: that kernel (alone or in a graph)
    is refused for lack of resources. ``lost``: from that operation on (see ``Counts.operations``)
    the device answers everything with an error, until the block ends. The block's value has
    ``fired``: whether the fault was reached.

    >>> from graphc.backends import emulated
    >>> emulated.install()
    >>> import cupy
    >>> with emulated.faults(allocation=0) as fault:
    ...     cupy.cuda.runtime.malloc(100)
    Traceback (most recent call last):
        ...
    cupy_backends.cuda.api.runtime.CUDARuntimeError: cudaErrorMemoryAllocation: out of memory
    >>> fault.fired
    True
    """
    return failing(emulated_device(), allocation, launch, lost)


@contextmanager
def late(*, others_first: bool = False) -> Iterator[None]:
    """Let work of streams run as late as CUDA allows: when the host waits for it, or never.

    Who forgets to wait, for an event of another stream or for a copy to or from pinned memory,
    reads what is not there yet. When the host waits, only what it waits for runs, or
    (``others_first``) every other stream goes ahead of it as far as its own waits let it: who
    writes over what another stream still reads is found by that. A fault of a kernel comes out of
    the call that waits. At the end of the block everything runs that is left.
    """
    target = emulated_device()
    if target.queues is not None:
        raise BackendError("emulated.late() is on already")
    target.queues = Queues(others_first=others_first)
    try:
        yield
        target.drain()
    finally:
        target.queues = None


@contextmanager
def memory_limit(nbytes: int) -> Iterator[None]:
    """Let allocations fail inside the block that would take more than ``nbytes`` of the device."""
    target = emulated_device()
    before, target.limit = target.limit, nbytes
    try:
        yield
    finally:
        target.limit = before


def mark_uninitialised(address: int, nbytes: int) -> None:
    """Let device memory count as never written: to read it before a write is refused."""
    emulated_device().heap.mark_uninitialised(address, nbytes)
