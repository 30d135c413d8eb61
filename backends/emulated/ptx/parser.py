"""PTX text to functions of instructions: the dialect that NVRTC 13.0 writes.

Registers, local names and call parameters become numbered slots, so that a scope's own ``%temp``
is its own. Nothing is executed here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from ....ir.errors import BackendError
from .types import BOOL, TYPES, UNSIGNED, DType, round_up

SPECIAL = re.compile(
    r"%(?:tid|ntid|ctaid|nctaid)\.[xyz]|%(?:laneid|warpid|lanemask_[a-z]{2}|clock(?:64)?|smid)"
)


@dataclass(frozen=True)
class Register:
    """A slot of the frame, read or written as the instruction's type says."""

    slot: int
    negated: bool = False  # ``!%p1`` of a predicate


@dataclass(frozen=True)
class Immediate:
    """A number as the text has it; its bits depend on the instruction's type."""

    text: str


@dataclass(frozen=True)
class Symbol:
    """A variable of the module or of the function, or a parameter: its address is the value."""

    name: str


@dataclass(frozen=True)
class Address:
    """``[base + offset]``."""

    base: Register | Immediate | Symbol
    offset: int


@dataclass(frozen=True)
class Vector:
    """``{a, b}``: the registers of a vector access, or the halves of a packed value."""

    parts: tuple[Operand, ...]


Operand = Register | Immediate | Symbol | Address | Vector


@dataclass(frozen=True)
class Instruction:
    """One statement of PTX."""

    text: str
    line: int
    source: str | None  # "file.cu:12"
    opcode: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: Register | None = None
    target: str = ""  # of a branch or a call


@dataclass(frozen=True)
class Variable:
    """Memory that a name stands for."""

    name: str
    align: int
    size: int
    content: bytes | None = None
    offset: int = 0  # in its space, where that belongs to a function


@dataclass
class Function:
    """A kernel (``.entry``) or a device function (``.func``)."""

    name: str
    entry: bool
    parameters: list[Variable] = field(default_factory=list)
    results: list[Variable] = field(default_factory=list)
    slots: list[DType] = field(default_factory=list)  # the declared type of each register
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    shared: dict[str, Variable] = field(default_factory=dict)
    local: dict[str, Variable] = field(default_factory=dict)
    special: dict[str, int] = field(default_factory=dict)  # %tid.x … -> slot
    shared_bytes: int = 0
    local_bytes: int = 0
    calls: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    max_threads: int | None = None  # of a block, by __launch_bounds__
    _uses: Counter[int] | None = None

    def uses(self) -> Counter[int]:
        """How often each register is named."""
        if self._uses is None:
            found: Counter[int] = Counter()
            for instruction in self.code:
                found.update(_registers(instruction.operands))
                if instruction.guard is not None:
                    found[instruction.guard.slot] += 1
            self._uses = found
        return self._uses


def _registers(operands: Iterable[Operand]) -> Iterator[int]:
    for operand in operands:
        if isinstance(operand, Register):
            yield operand.slot
        elif isinstance(operand, Address):
            yield from _registers((operand.base,))
        elif isinstance(operand, Vector):
            yield from _registers(operand.parts)


@dataclass
class Module:
    """A PTX file."""

    functions: dict[str, Function]
    variables: dict[str, Variable]  # .global and .const
    shared: dict[str, Variable]  # of the module; offsets are common to its kernels
    dynamic: tuple[str, ...]  # ``extern __shared__`` arrays
    text: str


@lru_cache(maxsize=512)
def parse(text: str) -> Module:
    """The functions and variables of a PTX file.

    Raises BackendError: the text is no PTX, or has a statement that the emulator does not know.
    """
    if ".version" not in text or ".address_size 64" not in text:
        raise BackendError("this is no PTX of a 64-bit target: the emulator runs PTX alone")
    return _Parser(text).module()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.files: dict[str, str] = {}
        self.functions: dict[str, Function] = {}
        self.variables: dict[str, Variable] = {}
        self.shared: dict[str, Variable] = {}
        self.dynamic: list[str] = []
        self.shared_top = 0

    def module(self) -> Module:
        clean = re.sub(r"//[^\n]*", "", self.text)
        # DWARF sections carry nothing that runs; their lines stay, so that lines keep their number.
        clean = re.sub(
            r"\.section\s+\S+\s*\{.*?\n\}", lambda m: "\n" * m[0].count("\n"), clean, flags=re.S
        )
        for number, path in re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', clean, re.M):
            self.files[number] = path.rsplit("/", 1)[-1]
        head = re.compile(
            r"(?:\.visible\s+|\.weak\s+|\.extern\s+)*\.(entry|func)\s*(?:\(([^)]*)\)\s*)?([\w$]+)\s*"
            r"(?:\(([^)]*)\))?([^{};]*)([{;])"
        )
        outside: list[str] = []
        at = 0
        for match in head.finditer(clean):
            if match.start() < at:
                continue
            outside.append(clean[at : match.start()])
            if match[6] == ";":  # a declaration
                at = match.end()
                continue
            end = _closing(clean, match.end())
            outside.append("\n")
            at = end + 1
            bounds = re.search(r"\.maxntid\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", match[5])
            self.functions[match[3]] = self.function(
                match[3],
                match[1] == "entry",
                match[2] or "",
                match[4] or "",
                clean[match.end() : end],
                clean.count("\n", 0, match.end()) + 1,
            )
            if bounds is not None:
                sizes = (int(size or 1) for size in bounds.groups())
                self.functions[match[3]].max_threads = math.prod(sizes)
        outside.append(clean[at:])
        self.globals("".join(outside))
        return Module(self.functions, self.variables, self.shared, tuple(self.dynamic), self.text)

    def globals(self, text: str) -> None:
        for declaration in text.split(";"):
            found = re.search(
                r"\.(global|const|shared)\s+(?:\.attribute\([^)]*\)\s*)?(?:\.align\s+(\d+)\s+)?"
                r"\.(\w+)\s+([\w$]+)\s*(?:\[\s*(\d*)\s*\])?\s*(?:=\s*(.*))?$",
                declaration.strip(),
                re.S,
            )
            if found is None:
                continue
            space, align, kind, name, count, content = found.groups()
            width = TYPES[kind].itemsize
            if space == "shared" and count == "":
                self.dynamic.append(name)
                continue
            size = width * int(count or 1)
            variable = Variable(name, int(align or width), size, _content(content, kind, size))
            if space == "shared":
                self.shared_top = round_up(self.shared_top, variable.align)
                self.shared[name] = Variable(name, variable.align, size, offset=self.shared_top)
                self.shared_top += size
            else:
                self.variables[name] = variable

    def function(
        self, name: str, entry: bool, results: str, parameters: str, body: str, line: int
    ) -> Function:
        function = Function(name, entry, _parameters(parameters), _parameters(results))
        _Body(function, self.files, line).read(body)
        return function


def _closing(text: str, at: int) -> int:
    depth = 1
    for found in re.finditer(r"[{}]", text[at:]):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return at + found.start()
    raise BackendError("this PTX ends inside a function")


def _content(text: str | None, kind: str, size: int) -> bytes | None:
    if text is None:
        return bytes(size)  # CUDA's variables start at zero
    width = TYPES[kind].itemsize
    raw = b""
    for item in text.strip().strip("{}").split(","):
        number = item.strip()
        if number[:2].lower() in ("0f", "0d"):
            value = int(number[2:], 16)
        else:
            value = int(number, 0) & (256**width - 1)
        raw += value.to_bytes(width, "little")
    return raw.ljust(size, b"\0")


def _parameters(text: str) -> list[Variable]:
    found, offset = [], 0
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(
            r"\.(?:param|reg)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+"
            r"(?:\.ptr(?:\s+\.(?:global|shared|local|const))?(?:\s+\.align\s+\d+)?\s+)?"
            r"([\w$%]+)(?:\[(\d+)\])?",
            item,
        )
        if match is None:
            raise BackendError(f"PTX parameter not understood by the emulator: {item}")
        width = TYPES[match[2]].itemsize
        size, align = width * int(match[4] or 1), int(match[1] or width)
        offset = round_up(offset, align)
        found.append(Variable(match[3], align, size, offset=offset))
        offset += size
    return found


class _Body:
    """Reads the statements between a function's braces."""

    def __init__(self, function: Function, files: dict[str, str], line: int) -> None:
        self.function = function
        self.files = files
        self.line = line
        self.source: str | None = None
        self.scopes: list[dict[str, int]] = [{}]
        self.param_scopes: list[dict[str, str]] = [
            {v.name: v.name for v in (*function.parameters, *function.results)}
        ]

    def read(self, body: str) -> None:
        # A statement ends at a semicolon, a brace opens or closes a scope; a brace inside a
        # statement encloses a vector's registers.
        at, line = 0, self.line
        size = len(body)
        while at < size:
            char = body[at]
            if char == "\n":
                line += 1
                at += 1
            elif char.isspace() or char == ";":
                at += 1
            elif char == "{":
                self.scopes.append({})
                self.param_scopes.append({})
                at += 1
            elif char == "}":
                self.scopes.pop()
                self.param_scopes.pop()
                at += 1
            elif (label := re.compile(r"([\w$]+)\s*:(?!:)").match(body, at)) is not None:
                self.function.labels[label[1]] = len(self.function.code)
                at = label.end()
            elif re.compile(r"\.(loc|file)\s").match(body, at):
                end = body.find("\n", at)
                end = size if end < 0 else end
                self.location(body[at:end])
                at = end
            else:
                end = body.find(";", at)
                if end < 0:
                    raise BackendError(f"PTX line {line}: a statement without an end")
                self.statement(body[at:end].strip(), line)
                line += body.count("\n", at, end)
                at = end + 1

    def location(self, text: str) -> None:
        match = re.match(r"\.loc\s+(\d+)\s+(\d+)", text)
        if match is None:
            return
        # Of an inlined function, the place in the user's own source says more than the header's.
        inlined = re.search(r"inlined_at\s+(\d+)\s+(\d+)", text)
        number, line = (inlined or match).groups()[:2]
        if line != "0":
            self.source = f"{self.files.get(number, 'source')}:{line}"

    def statement(self, text: str, line: int) -> None:
        if text.startswith("."):
            self.declaration(text, line)
            return
        match = re.match(r"(?:@(!?)([%\w$]+)\s+)?([\w.:]+)\s*(.*)", text, re.S)
        if match is None:
            raise BackendError(f"PTX line {line} is not understood by the emulator: {text}")
        guard = None
        if match[2]:
            guard = Register(self.slot(match[2], line), match[1] == "!")
        opcode = tuple(match[3].replace("::", "_").split("."))
        rest = re.sub(r"\s+", " ", match[4]).strip()
        shown = f"{match[3]} {rest}".strip()
        target = ""
        operands: tuple[Operand, ...] = ()
        if opcode[0] == "bra":
            target = rest
        elif opcode[0] == "call":
            target = self.call(rest, line)
        else:
            operands = tuple(self.operand(o, line) for o in _split(rest))
        self.function.code.append(
            Instruction(shown, line, self.source, opcode, operands, guard, target)
        )

    def call(self, text: str, line: int) -> str:
        match = re.fullmatch(r"(?:\(\s*([^)]*)\)\s*,\s*)?([\w$]+)\s*(?:,\s*\(\s*([^)]*)\))?", text)
        if match is None:
            raise BackendError(f"PTX line {line}: an indirect call is not emulated: {text}")
        names = [
            tuple(self.param(n.strip()) for n in (group or "").split(",") if n.strip())
            for group in (match[3], match[1])
        ]
        self.function.calls.append((names[0], names[1]))
        return f"{match[2]} {len(self.function.calls) - 1}"

    def declaration(self, text: str, line: int) -> None:
        if (match := re.match(r"\.reg\s+\.(\w+)\s+(.*)", text, re.S)) is not None:
            dtype = TYPES[match[1]]
            if dtype != BOOL and dtype.kind != "f":
                dtype = UNSIGNED[dtype.itemsize]
            for item in match[2].split(","):
                name, count = re.fullmatch(r"(%?[\w$]+)(?:<(\d+)>)?", item.strip()).groups()  # type: ignore[union-attr]
                names = [name] if count is None else [f"{name}{i}" for i in range(int(count))]
                for each in names:
                    self.scopes[-1][each] = len(self.function.slots)
                    self.function.slots.append(dtype)
            return
        match = re.match(
            r"\.(shared|local|param)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?$",
            text,
        )
        if match is None:
            if text.startswith((".pragma", ".maxn", ".minn", ".reqn")):
                return
            raise BackendError(f"PTX line {line} is not understood by the emulator: {text}")
        space, align, kind, name, count = match.groups()
        function = self.function
        width = TYPES[kind].itemsize
        size = width * int(count or 1)
        if space == "param":
            # Each call sequence has its own; the number keeps them apart.
            self.param_scopes[-1][name] = f"{name}#{line}"
        elif space == "shared":
            start = round_up(function.shared_bytes, int(align or width))
            function.shared[name] = Variable(name, int(align or width), size, offset=start)
            function.shared_bytes = start + size
        else:
            start = round_up(function.local_bytes, int(align or width))
            function.local[name] = Variable(name, int(align or width), size, offset=start)
            function.local_bytes = start + size

    def param(self, name: str) -> str:
        """The unique name of a call parameter, where ``name`` is one here."""
        for scope in reversed(self.param_scopes):
            if name in scope:
                return scope[name]
        return name

    def slot(self, name: str, line: int) -> int:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if SPECIAL.fullmatch(name):
            if name not in self.function.special:
                self.function.special[name] = len(self.function.slots)
                self.function.slots.append(UNSIGNED[4])
            return self.function.special[name]
        raise BackendError(f"PTX line {line}: the register {name} is not emulated")

    def operand(self, text: str, line: int) -> Operand:
        if text.startswith("{"):
            return Vector(tuple(self.operand(t, line) for t in _split(text[1:-1].strip())))
        if text.startswith("["):
            match = re.fullmatch(r"\[\s*([%\w$.]+)\s*(?:\+\s*(-?\w+))?\s*\]", text)
            if match is None:
                raise BackendError(f"PTX line {line}: the address {text} is not emulated")
            base = self.operand(match[1], line)
            if not isinstance(base, Register | Immediate | Symbol):
                raise BackendError(f"PTX line {line}: the address {text} is not emulated")
            return Address(base, int(match[2] or "0", 0))
        if "|" in text:  # shfl's and setp's second destination
            return Vector(tuple(self.operand(t.strip(), line) for t in text.split("|")))
        if text == "_":
            return Register(-1)
        if text.startswith("!"):
            return Register(self.slot(text[1:].strip(), line), negated=True)
        if re.fullmatch(r"-?[0-9].*", text):
            return Immediate(text)
        for scope in reversed(self.scopes):
            if text in scope:
                return Register(scope[text])
        if text.startswith("%"):
            return Register(self.slot(text, line))
        return Symbol(self.param(text))


def _split(text: str) -> list[str]:
    """Operands of a list; those in braces or brackets are one."""
    parts, depth, current = [], 0, ""
    for char in text:
        if char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
        if char == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    if current.strip():
        parts.append(current.strip())
    return parts
