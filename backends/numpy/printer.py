"""Prints a plan as NumPy source: one array call, or one loop over taps, a line.

A pure function of the plan. No name from a user or a file enters the code: buffers are numbered,
sizes are n0, n1, …; the user's lines stand in comments, cut to harmless characters.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.compiler.plan import (
    At,
    Buffer,
    Call,
    Dimension,
    Fit,
    Inside,
    Instruction,
    Linear,
    Plan,
    Scalar,
    Span,
    View,
    Whole,
)  # fmt: skip
from graphc.ir.dims import Dim, Size
from graphc.ir.errors import BackendError
from graphc.ir.types import TensorType

from .helpers import HELPERS

WIDTH = 140
LETTERS = "abcdefgh"  # what a loop calls its views

# Schedule entry -> how NumPy writes it. {0} {1} are arguments, {out} the result.
CALLS = {
    "add": "np.add({0}, {1}, out={out})",
    "sub": "np.subtract({0}, {1}, out={out})",
    "mul": "np.multiply({0}, {1}, out={out})",
    "div": "np.divide({0}, {1}, out={out})",
    "pow": "np.power({0}, {1}, out={out})",
    "max": "np.maximum({0}, {1}, out={out})",
    "min": "np.minimum({0}, {1}, out={out})",
    "neg": "np.negative({0}, out={out})",
    "exp": "np.exp({0}, out={out})",
    "log": "np.log({0}, out={out})",
    "sqrt": "np.sqrt({0}, out={out})",
    "tanh": "np.tanh({0}, out={out})",
    "relu": "np.maximum({0}, 0, out={out})",
    "abs": "np.absolute({0}, out={out})",
    "sign": "np.sign({0}, out={out})",
    "floor": "np.floor({0}, out={out})",
    "sin": "np.sin({0}, out={out})",
    "cos": "np.cos({0}, out={out})",
    "expm1": "np.expm1({0}, out={out})",
    "log1p": "np.log1p({0}, out={out})",
    "erf": "erf({0}, {out})",
    "eq": "np.equal({0}, {1}, out={out})",
    "ne": "np.not_equal({0}, {1}, out={out})",
    "lt": "np.less({0}, {1}, out={out})",
    "le": "np.less_equal({0}, {1}, out={out})",
    "gt": "np.greater({0}, {1}, out={out})",
    "ge": "np.greater_equal({0}, {1}, out={out})",
    "and": "np.logical_and({0}, {1}, out={out})",
    "or": "np.logical_or({0}, {1}, out={out})",
    "not": "np.logical_not({0}, out={out})",
    "copy": "np.copyto({out}, {0})",
    "cast": "np.copyto({out}, {0}, casting='unsafe')",
    "copy_where": "np.copyto({out}, {0}, where={1})",
    "fill": "{out}[...] = {0}",
    "matmul": "np.matmul({0}, {1}, out={out})",
    "add_reduce": "np.add.reduce({0}, axis={axis}, out={out})",
    "max_reduce": "np.maximum.reduce({0}, axis={axis}, out={out})",
    "min_reduce": "np.minimum.reduce({0}, axis={axis}, out={out})",
    "argmax": "np.argmax({0}, axis={axis}, out={out})",
    "uniform": "uniform({out}, {0}, {1}, {stream})",
    "inside": "inside({0}, {1}, {2}, {what!r})",
    "cumsum": "np.cumsum({0}, axis={axis}, out={out})",
    "cumsum_back": "np.cumsum(np.flip({0}, {axis}), axis={axis}, out=np.flip({out}, {axis}))",
    "gather": "gather({out}, {0}, {1}, {batch})",
    "gather_grad": "gather_grad({out}, {0}, {1}, {batch})",
}

HEAD = """# A step printed by graphc. It needs {needs}; run(variables, inputs) is at the end.
import math, os, sys
if "numpy" not in sys.modules:  # the last bits of a matrix product depend on the number of threads
    os.environ.update(OPENBLAS_NUM_THREADS="{threads}", MKL_NUM_THREADS="{threads}")
import numpy as np
"""

TAIL = """
def run(variables, inputs):  # one step on lists of arrays, in the order of the table: overwrites \
variables, returns outputs
    memory = np.empty({arena} + 64, np.uint8)
    bind(memory[-memory.ctypes.data % 64 :], inputs, variables, {sizes})
    return step()
"""
# The offsets of the table serve smaller sizes; at larger ones the buffers would overlap.
CHECK = (
    "if {larger}: raise ValueError('printed for sizes up to {top}: compile it for larger sizes=')"
)


@dataclass
class NumpySource:
    """Printed source, with the instruction behind each of its lines."""

    source: str
    lines: dict[int, int] = field(default_factory=dict)
    first_update: int = 0


def print_plan(
    plan: Plan, *, threads: int = 1, poison: bool = False, reuse_outputs: bool = False
) -> NumpySource:
    """The source of one step. ``poison`` adds lines that fill dead memory with NaN;
    ``reuse_outputs`` returns views of the arena where it can, not copies."""
    return _Printer(plan, threads, poison, reuse_outputs).run()


class _Printer:
    def __init__(self, plan: Plan, threads: int, poison: bool, reuse_outputs: bool) -> None:
        self.plan = plan
        self.reuse_outputs = reuse_outputs
        self.threads = threads
        self.poison = poison
        self.table: list[str] = []
        self.views: dict[View, str] = {}
        self.sizes = {name: f"n{i}" for i, name in enumerate(plan.capacity)}
        self.helpers: set[str] = set()

    def run(self) -> NumpySource:
        for buffer in self.plan.buffers:
            self._declare(buffer)
        body: list[tuple[str, int]] = []
        direct = {result for result, _ in self.plan.schedule.direct}
        first: int | None = None  # the row of the first update
        for number, instruction in enumerate(self.plan.instructions):
            if first is None and any(w and b in direct for b, w in instruction.buffers().items()):
                first = len(body)
            body += [(text, number) for text in self._line(number, instruction)]
            if self.poison:
                body += [(text, number) for text in self._poison(number)]
        end = len(self.plan.instructions)
        outputs = "".join(f"{self._output(n)}, " for _, n in self.plan.schedule.outputs).rstrip()
        copies = [f"np.copyto(b{v}, b{result})" for v, result in self.plan.schedule.copies]
        if copies:
            body.append((f"outputs = ({outputs})", end))
            first = len(body) if first is None else first
            outputs = "outputs"
            body += [(text, end) for text in copies]
        body.append((f"return {outputs}" if copies else f"return ({outputs})", end))
        return self._assemble(body, len(body) if first is None else first)

    def _output(self, number: int) -> str:
        """An output as the caller gets it: never a variable, an input or a constant itself."""
        place = self.plan.places[self.plan.buffers[number].root]
        lent = self.reuse_outputs and place.space == "arena"
        return f"b{number}" if lent else f"b{number}.copy()"

    def _assemble(self, body: list[tuple[str, int]], first: int) -> NumpySource:
        rows = HEAD.format(
            threads=self.threads,
            needs="NumPy and ml_dtypes" if "bfloat16" in self.helpers else "NumPy alone",
        ).splitlines()
        for name in sorted(self.helpers):
            rows += HELPERS[name].splitlines()
        rows += [
            "",
            f"def bind({', '.join(('arena', 'inputs', 'variables', *self.sizes.values()))}):",
        ]
        if self.plan.capacity:
            larger = " or ".join(
                f"{self.sizes[n]} > {top}" for n, top in self.plan.capacity.items()
            )
            top = ", ".join(map(str, self.plan.capacity.values()))
            rows.append("    " + CHECK.format(larger=larger, top=top))
        rows += ["    # The buffer table:"]
        rows += [f"    {row}" for row in self.table]
        rows += ["    globals().update(locals())  # for the step", "", "@np.errstate(all='ignore')"]
        rows += ["def step():"]
        start = len(rows)
        rows += [f"    {text}" for text, _ in body]
        rows += TAIL.format(arena=self.plan.peak_bytes, sizes=self._size_sources()).splitlines()
        source = "\n".join(rows) + "\n"
        return NumpySource(
            source,
            {start + 1 + i: number for i, (_, number) in enumerate(body)},
            start + 1 + first,
        )

    def _size_sources(self) -> str:
        """Where a standalone run reads each size: the axis of the input where it stands alone."""
        found: dict[str, str] = {}
        for i, (_, number) in enumerate(self.plan.schedule.inputs):
            for axis, size in enumerate(self.plan.buffers[number].shape):
                if isinstance(size, Dim) and size.name is not None:
                    found.setdefault(size.name, f"inputs[{i}].shape[{axis}]")
        return ", ".join(found[name] for name in self.sizes)

    # -- the table ----------------------------------------------------------------------------

    def _declare(self, buffer: Buffer) -> None:
        name = f"b{buffer.number}"
        shape = self._shape(buffer.shape)
        place = self.plan.places[buffer.root]
        dtype = buffer.dtype.name
        if dtype == "bfloat16":
            self.helpers.add(dtype)
        schedule = self.plan.schedule
        if buffer.root != buffer.number:
            text = f"b{buffer.root}.reshape({shape})"
        elif buffer.kind == "input":
            text = f"inputs[{[n for _, n in schedule.inputs].index(buffer.number)}]"
        elif buffer.kind == "variable":
            text = f"variables[{[n for _, n in schedule.variables].index(buffer.number)}]"
        elif buffer.kind == "constant":
            text = self._constant(buffer.data)
        elif buffer.kind == "range":
            text = f"np.arange({self._size(buffer.shape[0])}, dtype={_numpy(dtype)})"
        elif place.space == "arena":
            text = f"np.ndarray({shape}, {_numpy(dtype)}, arena, {place.offset})"
        else:
            text = f"b{place.space}"
        self._row(f"{name} = {text}", f"{TensorType(buffer.shape, buffer.dtype)} {buffer.label}")

    def _constant(self, data: np.ndarray[Any, Any]) -> str:
        raw = base64.b64encode(np.ascontiguousarray(data).tobytes()).decode()
        parts = [raw[i : i + 100] for i in range(0, len(raw), 100)] or [""]
        self._row("import base64", "")
        self._row("raw = (", "")
        for part in parts:
            self._row(f'    "{part}"', "")
        self._row(")", "")
        shape = ", ".join(map(str, data.shape))
        kind = _numpy(data.dtype.name)
        return f"np.frombuffer(base64.b64decode(raw), {kind}).reshape({shape})"

    def _row(self, text: str, note: str) -> None:
        self.table.append(_with_note(text, note, WIDTH - 4))

    def _size(self, size: Size) -> str:
        if isinstance(size, int):
            return str(size)
        return re.sub(r"[A-Za-z_]\w*", lambda m: self.sizes[m[0]], str(size))

    def _shape(self, shape: tuple[Size, ...]) -> str:
        inside = ", ".join(self._size(s) for s in shape)
        return f"({inside}{',' if len(shape) == 1 else ''})"

    # -- views --------------------------------------------------------------------------------

    def _view(self, view: View, fits: tuple[Fit, ...]) -> str:
        """The expression of a view."""
        shape = self.plan.buffers[view.buffer].shape
        cuts = [self._cut(dim, size) for dim, size in zip(view.dims, shape, strict=True)]
        text = f"b{view.buffer}"
        if any(cut != ":" for cut in cuts):
            while cuts and cuts[-1] == ":":
                cuts.pop()
            if all(isinstance(dim, At) for dim in view.dims):
                cuts.append("...")  # a view of one element, not a copy of it
            text += f"[{', '.join(cuts)}]"
        if view.shape is not None:
            text += f".reshape({self._shape(view.shape)})"
        if view.order is not None:
            kept = [axis for axis in view.order if axis is not None]
            if kept != sorted(kept):
                text += f".transpose({', '.join(map(str, kept))})"
            if None in view.order:
                inside = ", ".join("None" if axis is None else ":" for axis in view.order)
                text += f"[{inside}]"
        return text

    def _cut(self, dim: Dimension, size: Size) -> str:
        match dim:
            case Whole():
                return ":"
            case At():
                return self._linear(dim.position)
            case Inside():
                return f"{'p' if dim.points else 'q'}{dim.fit}"
            case Span():
                # Up to the last one and not past it: a shape must not depend on slack.
                start, last = dim.start, dim.start.offset + (dim.count - 1) * dim.step
                if dim.step > 0:
                    stop = Linear(last + 1, start.terms)
                    step = "" if dim.step == 1 else f":{dim.step}"
                    return f"{self._linear(start)}:{self._linear(stop)}{step}"
                if not start.terms and last == 0:
                    return f"{self._linear(start)}::{dim.step}"
                # Backwards, the stop may be before element 0, and -1 means the end: so one whole
                # dimension lower, where every stop is counted from the end.
                stop = Linear(last - 1 - size, start.terms)
                return f"{self._linear(start)}:{self._linear(stop)}:{dim.step}"

    def _linear(self, linear: Linear) -> str:
        parts = [v if c == 1 else f"{c}*{v}" for v, c in linear.terms]
        if not parts or not isinstance(linear.offset, int) or linear.offset:
            parts.append(self._size(linear.offset))
        return " + ".join(parts).replace("+ -", "- ")

    def _operand(self, operand: View | Scalar, fits: tuple[Fit, ...]) -> str:
        if isinstance(operand, Scalar):
            return self._scalar(operand)
        if operand.whole:
            return f"b{operand.buffer}"
        if operand not in self.views:
            self.views[operand] = f"v{len(self.views)}"
            self._row(f"{self.views[operand]} = {self._view(operand, fits)}", "")
        return self.views[operand]

    def _scalar(self, scalar: Scalar) -> str:
        value = scalar.value
        if isinstance(value, Linear):
            return self._linear(value)
        if isinstance(value, float) and not np.isfinite(value):
            return "np.nan" if value != value else "np.inf" if value > 0 else "-np.inf"
        return repr(value)

    # -- lines --------------------------------------------------------------------------------

    def _line(self, number: int, instruction: Instruction) -> list[str]:
        """The line of an instruction; its note stands above it where it does not fit beside it."""
        if instruction.loops or instruction.fits:
            text = self._looped(number, instruction)
        else:
            text = "; ".join(
                self._call(c, lambda o: self._operand(o, ())) for c in instruction.calls
            )
        lines = instruction.node.lines
        note = _note(f"{instruction.label}  {lines[0] if lines else ''}")
        if len(text) + len(note) + 4 <= WIDTH - 4:
            return [f"{text}  # {note}"]
        return [f"# {note[: WIDTH - 6]}", text]

    def _looped(self, number: int, instruction: Instruction) -> str:
        """``for a, b in t3: …`` with the views of every turn made once, in the table."""
        names: dict[View | Scalar, str] = {}
        items: list[str] = []

        def operand(item: View | Scalar) -> str:
            if isinstance(item, Scalar) and not (
                isinstance(item.value, Linear) and item.value.terms
            ):
                return self._scalar(item)
            if item not in names:
                names[item] = LETTERS[len(names)] if len(names) < len(LETTERS) else f"x{len(names)}"
                items.append(
                    self._scalar(item)
                    if isinstance(item, Scalar)
                    else self._view(item, instruction.fits)
                )
            return names[item]

        calls = "; ".join(self._call(call, operand) for call in instruction.calls)
        table = f"t{number}"
        self.table.append(f"{table} = [")
        self.table.append(f"    ({', '.join(items)},)")
        for loop in instruction.loops:
            self.table.append(f"    for {loop.variable} in range({loop.extent})")
        for i, fit in enumerate(instruction.fits):
            self.helpers.add("fit")
            numbers = ", ".join(
                (
                    self._size(fit.extent), str(fit.coefficient), self._linear(fit.start),
                    str(fit.divisor), self._size(fit.size),
                )
            )  # fmt: skip
            self.table.append(f"    for p{i}, q{i} in [fit({numbers})]")
        self.table.append("]")
        variables = ", ".join(names.values()) + ("," if len(names) == 1 else "")
        return f"for {variables} in {table}: {calls}"

    def _call(self, call: Call, operand: Any) -> str:
        if call.function in HELPERS:
            self.helpers.add(call.function)
        args = [operand(arg) for arg in call.args]
        out = "" if call.out is None else operand(call.out)
        template = CALLS.get(call.function)
        if template is None:
            raise BackendError(f"the numpy backend cannot compute {call.function!r}")
        return template.format(*args, out=out, **dict(call.options))

    def _poison(self, number: int) -> list[str]:
        """Fill what nobody reads any more, unless something else lives there already."""
        rows: list[str] = []
        for dead in self.plan.deaths[number]:
            place = self.plan.places[dead]
            heirs = {
                root
                for b, written in self.plan.instructions[number].buffers().items()
                if written and (root := self.plan.buffers[b].root) != dead
            }
            if place.space != "arena" or any(self.plan.places[h] == place for h in heirs):
                continue
            buffer = self.plan.buffers[dead]
            total: Size = buffer.dtype.itemsize
            for size in buffer.shape:
                total = total * size
            name = f"dead{dead}"
            cut = f"{place.offset} : {place.offset} + {self._size(total)}"
            self.table.append(f"{name} = arena[{cut}]")
            rows.append(f"{name}[...] = 255")
        return rows


def _numpy(dtype: str) -> str:
    """An element type as the program names it."""
    if dtype == "bfloat16":
        return dtype
    return "np.bool_" if dtype == "bool" else f"np.{dtype}"


def _note(text: str) -> str:
    """The text in harmless characters."""
    return re.sub(r"[^\x20-\x7e]", "?", text).strip()


def _with_note(text: str, note: str, width: int) -> str:
    """``text  # note``, the note cut to fit."""
    room = width - len(text) - 4
    return f"{text}  # {_note(note)[:room]}" if note and room > 8 else text
