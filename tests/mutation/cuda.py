"""Wrong CUDA, on purpose: is it caught by running small graphs on the emulated device?

Two kinds of faults. Those of ``cuda_faults.py`` are written by hand, as edits of the CUDA that is
printed. Those of ``drawn`` are made by ``draw.py`` from the source of the printer: each changes one
place of one of its functions, so all that it prints. Either way the graphs of ``cuda_programs.py``
are compiled, run, and compared with ``gx.interpret``. ``python -m tests.mutation.cuda`` tries a
sample and writes its part of docs/mutants.md.
"""

from __future__ import annotations

import importlib
import random
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from types import FunctionType, ModuleType
from typing import Any, Literal

import graphc as gx
from graphc.backends.emulated.ptx import executor
from tests.mutation.cuda_faults import Fault
from tests.mutation.cuda_programs import Trial, answers, trials
from tests.mutation.draw import Mutant, mutants

# Where the CUDA of a program comes from: what prints it, and what decides which descriptions are
# one kernel. Not here: cuda.printer (print_kernel, which the backend does not use and
# tests/backends/test_cuda_values.py judges) and cuda.cost (which of two right kernels is faster).
PRINTER = (
    "addresses", "launch", "place", "routines", "schedule", "segments", "spelling", "tiles",
    "writer",
)  # fmt: skip
FUSION = ("fuse", "inline", "merge")
# What the backend asks neither for text nor for numbers.
ASIDE = frozenset({
    "writer.comment",  # in the source
    # of print_kernel
    "schedule.KernelSchedule.__post_init__", "schedule.KernelSchedule.grid",
    "schedule.schedule_kernel", "schedule._groups", "schedule._reach", "addresses.is_elementwise",
    "addresses.stores", "addresses.expressions", "addresses.loads", "addresses.accesses",
    "addresses.loaded", "addresses.stored",
    "segments.Launch.bounds", "segments.Segment.blocks",  # of who launches by hand
    "spelling._demand",  # refuses descriptions that no op makes
})  # fmt: skip
PATIENCE = 20_000  # basic blocks, where the device allows two millions: these graphs need hundreds
SECONDS = 20  # of the processor: no graph here takes one to compile

# What became of a fault. "value": a wrong number; "refused": by the device or by NVRTC;
# "unprinted": the printer fails; "same": the same source for every graph; "equal": another source,
# the same values.
Fate = Literal["value", "refused", "unprinted", "same", "equal"]
CAUGHT = ("value", "refused", "unprinted")


@dataclass(frozen=True)
class Verdict:
    """What became of a fault, and what said so."""

    fate: Fate
    said: str = ""

    @property
    def caught(self) -> bool:
        return self.fate in CAUGHT


@dataclass(frozen=True)
class Stage:
    """A graph with its source and answers where nothing is wrong."""

    trial: Trial

    @cached_property
    def text(self) -> str:
        return _text(self.trial.program())

    @cached_property
    def right(self) -> list[dict[str, Any]]:
        return answers(self.trial)


@cache
def stages() -> tuple[Stage, ...]:
    return tuple(Stage(trial) for trial in trials())


def judge(change: Callable[[], AbstractContextManager[None]], names: Sequence[str] = ()) -> Verdict:
    """What becomes of a fault. change: it is there inside of this; names: of the graphs to try
    (default: all)."""
    chosen = [stage for stage in stages() if not names or stage.trial.name in names]
    for stage in chosen:
        _ = stage.text, stage.right  # before anything is wrong
    differs = False
    for stage in chosen:
        with change(), _impatient():
            try:
                with _limited():
                    program = stage.trial.program()
            except Exception as error:
                return Verdict("unprinted", f"{stage.trial.name}: {_line(error)}")
            if _text(program) == stage.text:
                continue
            differs = True
            try:
                told = stage.trial.wrong(program, stage.right)
            except Exception as error:
                return Verdict("refused", f"{stage.trial.name}: {_line(error)}")
        if told:
            return Verdict("value", told)
    return Verdict("equal" if differs else "same")


def _text(program: gx.Program) -> str:
    """The source without its comments: those of C++, then those of Python around it."""
    before, cuda, after = program.source.split('"""', 2)
    return re.sub(r"//.*", "", cuda) + re.sub(r"#.*", "", before + after)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]


@contextmanager
def _impatient() -> Iterator[None]:
    """A kernel that does not end is refused soon."""
    kept = executor.PATIENCE
    executor.PATIENCE = PATIENCE
    try:
        yield
    finally:
        executor.PATIENCE = kept


@contextmanager
def _limited() -> Iterator[None]:
    """TimeoutError where compiling does not end: a faulty printer may loop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(*_: object) -> None:
        raise TimeoutError("the printer does not end")

    before = signal.signal(signal.SIGPROF, ended)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


# -- by hand --------------------------------------------------------------------------------------


class Absent(Exception):
    """A fault whose text is not in the source of any of its graphs."""


def judge_fault(fault: Fault) -> Verdict:
    """What becomes of a fault that was written by hand. Raises Absent."""
    verdict = judge(lambda: edited(fault), fault.graphs)
    if verdict.fate == "same":
        raise Absent(f"{fault.name}: {fault.pattern}")
    return verdict


@contextmanager
def edited(fault: Fault) -> Iterator[None]:
    """All CUDA that is printed has the fault."""
    printer = importlib.import_module("graphc.backends.cupy.printer")
    kept = printer.module_source

    def module_source(functions: Sequence[str]) -> str:
        return fault.edit(kept(functions))

    printer.module_source = module_source  # type: ignore[attr-defined]
    try:
        yield
    finally:
        printer.module_source = kept  # type: ignore[attr-defined]


# -- drawn ----------------------------------------------------------------------------------------


def drawn(names: Sequence[str], functions: int | None = None, seed: int = 0) -> list[Mutant]:
    """All that can be drawn from these modules; or from so many of their functions, by chance."""
    modules = [importlib.import_module(f"graphc.backends.cuda.{name}") for name in names]
    if functions is None:
        return [m for module in modules for m in mutants(module, _asked(module))]
    places: list[tuple[ModuleType, str]] = []
    for module in modules:

        def noted(where: str, module: ModuleType = module) -> bool:
            if _asked(module)(where):
                places.append((module, where))
            return False

        mutants(module, noted)
    chosen = random.Random(seed).sample(places, functions)
    return [m for module, name in chosen for m in mutants(module, name.__eq__)]


def _asked(module: ModuleType) -> Callable[[str], bool]:
    name = module.__name__.rpartition(".")[2]
    return lambda where: f"{name}.{where}" not in ASIDE


def key(mutant: Mutant) -> str:
    """Its key, and the module that it is of."""
    return f"{mutant.module.__name__.rpartition('.')[2]}.{mutant.key}"


def judge_drawn(mutant: Mutant) -> Verdict:
    """What becomes of a drawn one."""
    return judge(lambda: injected(mutant))


@contextmanager
def injected(mutant: Mutant) -> Iterator[None]:
    """The function has the fault, whoever imported it by whatever name: its code is changed, the
    function stays."""
    found: Any = mutant.module
    for name in mutant.where.split("."):
        found = vars(found)[name]
    victim = _plain(found)
    kept = victim.__code__
    victim.__code__ = _plain(mutant.function()).__code__
    try:
        yield
    finally:
        victim.__code__ = kept


def _plain(found: Any) -> FunctionType:
    """The function behind a property or a decorator."""
    found = getattr(found, "fget", None) or getattr(found, "__wrapped__", found)
    assert isinstance(found, FunctionType)
    return found


if __name__ == "__main__":
    from tests.mutation.cuda_report import write

    sys.exit(write(sys.argv[1:]))
