"""Prints a plan as a Python program on the host, with the CUDA C++ that it launches.

A pure function of the plan. No name from a user or a file enters the code: buffers, launches and
sizes are numbered; the user's lines stand in comments, cut to harmless characters.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.compiler.plan import Buffer, Call, Instruction, Linear, Place, Plan, Scalar, View
from graphc.ir.dims import Dim, Size
from graphc.ir.errors import BackendError
from graphc.ir.kernel import Ref, Routine
from graphc.ir.node import Node
from graphc.ir.types import TensorType

from ..cuda.launch import arguments, module_source, print_launch
from ..cuda.segments import (
    BLOCK,
    MOST_BLOCKS,
    Launch,
    Product,
    Segment,
    extent,
    segment_stores,
    segment_writes,
)  # fmt: skip

WIDTH = 140

HEAD = '''# A step printed by graphc. It needs CuPy and NVRTC alone; run(...) is at the end.
import base64
import cupy as cp
import numpy as np

def load(source):
    return cp.RawModule(code=source, options={options}).get_function

def inside(values, low, high, what):
    if values.size and not low <= int(values.min()) <= int(values.max()) < high:
        found = f"from {{int(values.min())}} to {{int(values.max())}}"
        raise ValueError(f"{{what}} is outside [{{low}}, {{high}}): they run {{found}}")

def copy(target, source):
    target.data.copy_from_device_async(source.data, source.nbytes)

def fill(pointer, size):
    pointer.memset_async(255, size)

CUDA = r"""
'''
CHECK = (
    "if {larger}: raise ValueError('printed for sizes up to {top}: compile it for larger sizes=')"
)
TAIL = """
def run(variables, inputs):  # one step on lists of CuPy arrays, in the order of the table: \
overwrites variables, returns outputs
    bind(cp.cuda.alloc({arena}), inputs, variables, {sizes})
    outputs = step()
    cp.cuda.get_current_stream().synchronize()
    return [output.copy() for output in outputs]
"""


@dataclass
class CudaSource:
    """Printed source, with the instruction behind each of its lines.

    ``cuda``: the kernels alone. ``parts``: the functions of the step in order, with whether a CUDA
    graph can hold them and why not; ``checks``: (input number, low, high, what, node) of what is
    checked
    where it is given.
    """

    source: str
    cuda: str
    lines: dict[int, int] = field(default_factory=dict)
    first_update: int = 0
    parts: tuple[tuple[str, str], ...] = ()  # name, reason ("" where it can be captured)
    checks: tuple[tuple[int, Size, Size, str, Node], ...] = ()
    part_lines: tuple[tuple[int, int], ...] = ()  # the first and last line of each part
    nodes: tuple[tuple[Node, ...], ...] = ()  # of each part
    reuse_outputs: bool = False
    warm: bool = False  # whether its kernels ran once: a driver may load them late


def print_plan(plan: Plan, *, options: tuple[str, ...], poison: bool = False) -> CudaSource:
    """The source of one step. ``poison`` adds lines that fill dead memory with NaN."""
    return _Printer(plan, options, poison).run()


class _Printer:
    def __init__(self, plan: Plan, options: tuple[str, ...], poison: bool) -> None:
        self.plan, self.options, self.poison = plan, options, poison
        self.table: list[str] = []
        self.views: dict[View, str] = {}
        self.sizes = {name: f"n{i}" for i, name in enumerate(plan.capacity)}
        self.functions: dict[str, tuple[str, str]] = {}  # text without its name -> name, text
        self.checks: list[tuple[int, Size, Size, str, Node]] = []

    def run(self) -> CudaSource:
        for buffer in self.plan.buffers:
            self._declare(buffer)
        inputs = {number: i for i, (_, number) in enumerate(self.plan.schedule.inputs)}
        direct = {result for result, _ in self.plan.schedule.direct}
        parts: list[tuple[str, list[tuple[str, int]]]] = []  # reason, lines
        updating = False
        first: tuple[int, int] | None = None
        for number, instruction in enumerate(self.plan.instructions):
            (call,) = instruction.calls
            begins = not updating and any(
                w and b in direct for b, w in instruction.buffers().items()
            )
            updating |= begins
            if call.function == "inside" and self._given(call, instruction.node, inputs):
                continue
            reason = self._reason(call)
            text = self._call(number, call)
            note = _note(f"{instruction.label}  {(instruction.node.lines or ('',))[0]}")
            if not parts or parts[-1][0] != reason or begins:
                parts.append((reason, []))
            if begins:
                first = len(parts) - 1, len(parts[-1][1])
            parts[-1][1].append((_with_note(text, note, WIDTH), number))
            if self.poison:
                parts[-1][1].extend((line, number) for line in self._poison(number, instruction))
        copies = [(f"copy(b{v}, b{r})", len(self.plan.instructions))
                  for v, r in self.plan.schedule.copies]  # fmt: skip
        if copies:
            if not updating:
                parts.append(("", []))
                first = len(parts) - 1, 0
            elif parts[-1][0]:
                parts.append(("", []))
            parts[-1][1].extend(copies)
        return self._assemble(parts, first)

    def _given(self, call: Call, node: Node, inputs: dict[int, int]) -> bool:
        """A check of what the caller gives is made where it is given."""
        view, low, high = call.args
        assert isinstance(view, View)
        assert isinstance(low, Scalar)
        assert isinstance(high, Scalar)
        what = str(dict(call.options)["what"])
        if view.buffer not in inputs:
            return False
        bounds = [
            b.value.offset if isinstance(b.value, Linear) else int(b.value) for b in (low, high)
        ]
        self.checks.append((inputs[view.buffer], bounds[0], bounds[1], what, node))
        return True

    def _reason(self, call: Call) -> str:
        """Why a CUDA graph cannot hold a call; nothing where it can."""
        if call.function == "matmul":
            return "CuPy calls no cuBLAS while a stream is captured"
        if call.function == "inside":
            return "a check of values on the device waits for them"
        return ""

    def _assemble(
        self, parts: list[tuple[str, list[tuple[str, int]]]], first: tuple[int, int] | None
    ) -> CudaSource:
        cuda = module_source([text for _, text in self.functions.values()])
        rows = HEAD.format(options=self.options).splitlines()
        rows += cuda.splitlines()
        rows += ['"""', ""]
        taken = ", ".join(("arena", "inputs", "variables", *self.sizes.values()))
        rows.append(f"def bind({taken}):")
        if self.plan.capacity:
            larger = " or ".join(
                f"{self.sizes[n]} > {top}" for n, top in self.plan.capacity.items()
            )
            top = ", ".join(map(str, self.plan.capacity.values()))
            rows.append("    " + CHECK.format(larger=larger, top=top))
        rows.append("    # The buffer table:")
        rows += [f"    {row}" for row in self.table]
        rows.append("    globals().update(locals())  # for the step")
        lines: dict[int, int] = {}
        update = 10**9
        names: list[tuple[str, str]] = []
        spans: list[tuple[int, int]] = []
        for p, (reason, body) in enumerate(parts):
            rows += ["", f"def part{p}():" + (f"  # not captured: {reason}" if reason else "")]
            for i, (text, number) in enumerate(body):
                rows.append(f"    {text}")
                lines[len(rows)] = number
                if first == (p, i):
                    update = len(rows)
            spans.append((len(rows) - len(body) + 1, len(rows)))
            names.append((f"part{p}", reason))
        outputs = "".join(f"b{n}, " for _, n in self.plan.schedule.outputs).rstrip()
        rows += ["", "def outputs():", f"    return ({outputs})", "", "def step():"]
        rows += [f"    {name}()" for name, _ in names]
        rows.append("    return outputs()")
        rows += TAIL.format(
            arena=max(1, self.plan.peak_bytes), sizes=self._size_sources()
        ).splitlines()
        made = self.plan.instructions
        nodes = tuple(
            tuple(dict.fromkeys(made[n].node for _, n in body if n < len(made)))
            for _, body in parts
        )
        return CudaSource(
            "\n".join(rows) + "\n", cuda, lines, update, tuple(names), tuple(self.checks),
            tuple(spans), nodes,
        )  # fmt: skip

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
        schedule = self.plan.schedule
        place = self.plan.places[buffer.root]
        shape, dtype = self._shape(buffer.shape), _type(buffer.dtype)
        if buffer.root != buffer.number:
            text = f"b{buffer.root}.reshape({shape})"
        elif buffer.kind == "input":
            text = f"inputs[{[n for _, n in schedule.inputs].index(buffer.number)}]"
        elif buffer.kind == "variable":
            text = f"variables[{[n for _, n in schedule.variables].index(buffer.number)}]"
        elif buffer.kind == "constant":
            raw = base64.b64encode(np.ascontiguousarray(buffer.data).tobytes()).decode()
            text = f'cp.asarray(np.frombuffer(base64.b64decode("{raw}"), {dtype}).reshape({shape}))'
        elif place.space == "arena":
            text = f"cp.ndarray({shape}, {dtype}, arena + {place.offset})"
        else:
            text = f"b{place.space}"
        note = f"{TensorType(buffer.shape, buffer.dtype)} {buffer.label}"
        self.table.append(_with_note(f"b{buffer.number} = {text}", note, WIDTH - 4))

    def _size(self, size: Size) -> str:
        if isinstance(size, int):
            return str(size)
        return re.sub(r"[A-Za-z_]\w*", lambda m: self.sizes[m[0]], str(size))

    def _shape(self, shape: tuple[Size, ...]) -> str:
        inside = ", ".join(self._size(s) for s in shape)
        return f"({inside}{',' if len(shape) == 1 else ''})"

    # -- calls --------------------------------------------------------------------------------

    def _call(self, number: int, call: Call) -> str:
        match call.function:
            case "launch":
                return self._launch(number, dict(call.options)["launch"], call)
            case "matmul":
                a, b = (self._view(view) for view in call.args if isinstance(view, View))
                assert call.out is not None
                return f"cp.matmul({a}, {b}, out={self._view(call.out)})"
            case "copy":
                (source,) = (v for v in call.args if isinstance(v, View))
                assert call.out is not None
                return f"copy(b{call.out.buffer}, b{source.buffer})"
            case "inside":
                view, low, high = call.args
                assert isinstance(view, View)
                what = dict(call.options)["what"]
                bounds = ", ".join(self._scalar(b) for b in (low, high))
                return f"inside(b{view.buffer}, {bounds}, {what!r})"
        raise BackendError(f"the cupy backend cannot print {call.function!r}")

    def _scalar(self, scalar: View | Scalar) -> str:
        assert isinstance(scalar, Scalar)
        if isinstance(scalar.value, Linear):
            return self._size(scalar.value.offset)
        return repr(scalar.value)

    def _launch(self, number: int, launch: Launch, call: Call) -> str:
        """A line that launches; its function is printed once for all launches of the same text."""
        refs = arguments(launch)
        buffers = self._numbers(launch, call)
        placed = [(self.plan.places[self.plan.buffers[buffers[r]].root], r) for r in refs]
        shared = frozenset(
            ref for place, ref in placed
            if any(self._overlap(place, ref, p, other, buffers) for p, other in placed)
        )  # fmt: skip
        wide = launch.wide(self.plan.capacity)
        text = print_launch(launch, name="kernel", wide=wide, shared=shared)
        key = "\n".join(line for line in text.splitlines() if not line.startswith("// "))
        if key not in self.functions:
            name = f"k{len(self.functions)}"
            self.functions[key] = name, text.replace(" kernel(", f" {name}(", 1)
            self.table.append(f'{name} = function("{name}")')
            if len(self.functions) == 1:
                self.table.insert(-1, "function = load(CUDA)")
        name = self.functions[key][0]
        integer = "np.int64" if wide else "np.int32"
        args = [f"b{buffers[ref]}" for ref in refs]
        args += [f"{integer}({self.sizes[size]})" for size in launch.sizes()]
        grid, count = self._blocks(launch.segments[0]), len(launch.segments)
        if count > 1:
            each = ", ".join(map(self._blocks, launch.segments))
            self.table.append(f"e{number} = np.cumsum([{each}]).tolist()")
            args += [f"np.uint32(e{number}[{i}])" for i in range(count - 1)]
            grid = f"e{number}[-1]"
        self.table.append(f"g{number} = ({grid},)")
        self.table.append(f"a{number} = ({', '.join(args)},)")
        return f"{name}(g{number}, ({BLOCK},), a{number})"

    def _numbers(self, launch: Launch, call: Call) -> dict[Ref, int]:
        """The buffer of each ref of a launch."""
        found: dict[Ref, int] = {}
        for ref, view in zip(launch.reads(), call.args, strict=True):
            assert isinstance(view, View)
            found[ref] = view.buffer
        written = [
            ref for segment in launch.segments for ref in _written(segment)
        ]  # fmt: skip
        for ref, view in zip(written, call.outs, strict=True):
            found[ref] = view.buffer
        return found

    def _overlap(
        self, place: Place, ref: Ref, other: Place, ref2: Ref, numbers: dict[Ref, int]
    ) -> bool:
        if ref == ref2:
            return False
        if self.plan.buffers[numbers[ref]].root == self.plan.buffers[numbers[ref2]].root:
            return True
        if place.space != other.space:
            return False
        a, b = (self.plan.buffers[numbers[r]].bytes(self.plan.capacity) for r in (ref, ref2))
        return place.offset < other.offset + b and other.offset < place.offset + a

    def _blocks(self, segment: Segment) -> str:
        """How many blocks a segment has, as an expression of the sizes."""
        points = self._size(segment.points())
        step = segment.step
        if isinstance(step, Product):
            down = f"-(-({self._size(extent(step.gemm.m))}) // {step.tile.rows})"
            across = f"-(-({self._size(extent(step.gemm.n))}) // {step.tile.columns})"
            return f"{down} * {across} * ({points}) * {step.parts}"
        if points.isdigit():
            return str(max(1, min(-(-int(points) * segment.team // BLOCK), MOST_BLOCKS)))
        scaled = f"({points})" + (f" * {segment.team}" if segment.team != 1 else "")
        return f"min(-(-{scaled} // {BLOCK}), {MOST_BLOCKS})"

    def _view(self, view: View) -> str:
        """A matrix, as a name of the table."""
        if view.whole:
            return f"b{view.buffer}"
        if view not in self.views:
            text = f"b{view.buffer}"
            if view.shape is not None:
                text += f".reshape({self._shape(view.shape)})"
            if view.order is not None:
                text += f".transpose({', '.join(map(str, view.order))})"
            self.views[view] = f"v{len(self.views)}"
            self.table.append(f"{self.views[view]} = {text}")
        return self.views[view]

    def _poison(self, number: int, instruction: Instruction) -> list[str]:
        """Fill what nobody reads any more, unless something else lives there already."""
        rows: list[str] = []
        for dead in self.plan.deaths[number]:
            place = self.plan.places[dead]
            heirs = {
                root
                for b, written in instruction.buffers().items()
                if written and (root := self.plan.buffers[b].root) != dead
            }
            if place.space != "arena" or any(self.plan.places[h] == place for h in heirs):
                continue
            rows.append(f"fill(b{dead}.data, b{dead}.nbytes)")
        return rows


def _written(segment: Segment) -> list[Ref]:
    if isinstance(segment.step, Routine):
        return list(segment_writes(segment.step))
    return [store.ref for store in segment_stores(segment.step)]


def _type(dtype: np.dtype[Any]) -> str:
    if dtype.name == "bfloat16":
        return "np.uint16"
    return f"np.{'bool_' if dtype.name == 'bool' else dtype.name}"


def _note(text: str) -> str:
    """The text in harmless characters."""
    return re.sub(r"[^\x20-\x7e]", "?", text).strip()


def _with_note(text: str, note: str, width: int) -> str:
    """``text  # note``, the note cut to fit."""
    room = width - len(text) - 4
    return f"{text}  # {_note(note)[:room]}" if note and room > 8 else text
