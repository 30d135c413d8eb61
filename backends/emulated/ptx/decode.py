"""Instructions to steps: every operand becomes a slot of the frame, every opcode a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.errors import BackendError
from . import access, alu, carry, warp
from .access import WINDOWS
from .flow import Block, End, Step, analyse
from .frame import Frame
from .memory import AccessError
from .parser import Address, Function, Immediate, Instruction, Module, Operand, Register, Vector
from .parser import Symbol as Name
from .types import BOOL, TYPES, U32, U64, UNSIGNED, DType, Value, as_type, extend, round_up

Run = Callable[[Frame], None]
NOTHING = frozenset(
    ("membar", "fence", "nanosleep", "prefetch", "prefetchu", "griddepcontrol", "discard")
)


class Code:
    """A decoded function: blocks of steps, and what its slots hold before it runs."""

    def __init__(self, module: Module, function: Function, load: Callable[[str], Code]) -> None:
        self.name = function.name
        self.function = function
        self.module = module
        self.initial: list[Value] = [dtype.type(0) for dtype in function.slots]
        self.slots = list(function.slots)
        self.constants: dict[tuple[str, DType], int] = {}
        self.param_slots: dict[tuple[str, int], int] = {}  # of calls: name and offset
        self.variables: dict[int, str] = {}  # slot -> variable of the module
        self.local_bytes = function.local_bytes
        self.static_shared = round_up(module_shared(module), 16) + function.shared_bytes
        self.granule = 8
        self.meets = False  # has bar.warp.sync
        self._load = load
        self.blocks = self._decode()
        kept = [s for v in function.results for (n, _), s in self.params(v.name)]
        analyse(self.blocks, kept)

    def params(self, name: str) -> list[tuple[tuple[str, int], int]]:
        """The slots of a call parameter, by offset."""
        return [item for item in self.param_slots.items() if item[0][0] == name]

    # -- slots ------------------------------------------------------------------------------------

    def _new(self, dtype: DType, value: Value) -> int:
        self.initial.append(value)
        self.slots.append(dtype)
        return len(self.slots) - 1

    def constant(self, text: str, dtype: DType) -> int:
        """The slot of an immediate, as the bits of ``dtype``."""
        if (text, dtype) not in self.constants:
            self.constants[text, dtype] = self._new(dtype, _immediate(text, dtype))
        return self.constants[text, dtype]

    def symbol(self, name: str, line: int) -> int:
        """The slot of an address that a name stands for."""
        function, module = self.function, self.module
        base = round_up(module_shared(module), 16)
        offset = None
        if name in function.shared:
            offset = base + function.shared[name].offset
        elif name in module.shared:
            offset = module.shared[name].offset
        elif name in module.dynamic:
            offset = round_up(self.static_shared, 16)
        elif name in function.local:
            offset = function.local[name].offset
        else:
            offset = next((v.offset for v in function.parameters if v.name == name), None)
        if offset is not None:
            return self.constant(str(offset), U64)
        if name in module.variables:
            known = [slot for slot, other in self.variables.items() if other == name]
            if known:
                return known[0]
            slot = self._new(U64, U64.type(0))
            self.variables[slot] = name
            return slot
        raise BackendError(f"PTX line {line}: {name} is not emulated (or not defined)")

    def source(self, operand: Operand, dtype: DType, line: int) -> int:
        """The slot to read an operand from."""
        if isinstance(operand, Register):
            return operand.slot
        if isinstance(operand, Immediate):
            return self.constant(operand.text, dtype)
        if isinstance(operand, Name):
            return self.symbol(operand.name, line)
        raise BackendError(f"PTX line {line}: this operand is not emulated")

    def destination(self, operand: Operand, line: int) -> int:
        """The slot to write to; -1 for ``_``."""
        if isinstance(operand, Register) and not operand.negated:
            return operand.slot
        raise BackendError(f"PTX line {line}: this destination is not emulated")

    def address(self, operand: Operand, line: int) -> tuple[access.Read, tuple[int, ...]]:
        """How to compute an address, and the slots that it needs."""
        if not isinstance(operand, Address):
            raise BackendError(f"PTX line {line}: an address was expected")
        slot = self.source(operand.base, U64, line)
        if operand.offset == 0:
            return (lambda values: as_type(values[slot], U64)), (slot,)
        offset = np.uint64(operand.offset & (2**64 - 1))  # a negative one wraps
        return (lambda values: as_type(values[slot], U64) + offset), (slot,)

    # -- blocks -----------------------------------------------------------------------------------

    def _decode(self) -> dict[int, Block]:
        code = self.function.code
        ends = [self._end(i) for i in code]
        starts = {0, *self.function.labels.values()}
        starts.update(i + 1 for i, end in enumerate(ends) if end is not None)
        order = sorted(s for s in starts if s < len(code))
        blocks = {}
        for start, stop in zip(order, [*order[1:], len(code)], strict=True):
            steps: list[Step] = []
            end = End("next")
            for i in range(start, stop):
                found = ends[i]
                if found is None:
                    steps += self._steps(code[i])
                else:
                    end = found
            blocks[start] = Block(steps, end, stop)
        return blocks

    def _end(self, i: Instruction) -> End | None:
        guard = -1 if i.guard is None else i.guard.slot
        negated = i.guard is not None and i.guard.negated
        name = i.opcode[0]
        if name == "bra":
            if i.target not in self.function.labels:
                raise BackendError(f"PTX line {i.line}: no label {i.target}")
            return End("branch", i, guard, negated, self.function.labels[i.target])
        if name in ("ret", "exit"):
            return End("return", i, guard, negated)
        if name in ("bar", "barrier"):
            if guard >= 0:
                raise BackendError(
                    f"PTX line {i.line}: a barrier under a predicate is not emulated"
                )
            if "warp" in i.opcode:
                self.meets = True
                return End("warp", i)
            plain = len(i.operands) == 1 and i.operands[0] == Immediate("0")
            if "sync" not in i.opcode or not plain:
                raise BackendError(
                    f"PTX line {i.line}: only the barrier of a whole block is emulated: {i.text}"
                )
            return End("barrier", i)
        return None

    def _steps(self, i: Instruction) -> list[Step]:
        problem = BackendError(f"PTX line {i.line} is not emulated: {i.text}")
        try:
            steps = self._plain(i)
        except (KeyError, IndexError, ValueError) as error:
            raise problem from error  # types or operands that no branch foresees
        if steps is None:
            raise problem
        if i.guard is None:
            return steps
        return [_guarded(step, i.guard) for step in steps]

    def _plain(self, i: Instruction) -> list[Step] | None:
        name = i.opcode[0]
        if name in NOTHING:
            return []
        if name in ("ld", "ldu"):
            return [self._load_step(i)]
        if name == "st":
            return [self._store_step(i)]
        if name in ("atom", "red"):
            return [self._atomic_step(i)]
        if name == "setp":
            return self._compare(i)
        if name in ("cvta", "mov") and name + i.opcode[-1] != "movpred":
            found = self._moves(i)
            if found is not None:
                return found
        if name in ("shfl", "vote", "activemask", "match", "redux", "elect"):
            return [warp.step(self, i)]
        with_carry = carry.step(self, i)
        if with_carry is not None:
            return [with_carry]
        if name == "call":
            return [self._call(i)]
        if name == "trap":
            return [Step(_trap, (), (), i)]
        found_op = alu.operation(i.opcode)
        return None if found_op is None else self._compute(i, found_op, i.operands[1:])

    # -- arithmetic -------------------------------------------------------------------------------

    def _sources(
        self, i: Instruction, operands: tuple[Operand, ...], dtypes: tuple[DType, ...]
    ) -> tuple[list[Step], list[int]]:
        before: list[Step] = []
        slots = []
        if len(operands) != len(dtypes):
            raise ValueError
        for operand, dtype in zip(operands, dtypes, strict=True):
            slot = self.source(operand, dtype, i.line)
            if isinstance(operand, Register) and operand.negated:
                inverse = self._new(BOOL, np.bool_(False))
                before.append(_unary(np.logical_not, BOOL, slot, inverse, i))
                slot = inverse
            slots.append(slot)
        return before, slots

    def _compute(
        self, i: Instruction, operation: alu.Operation, operands: tuple[Operand, ...]
    ) -> list[Step]:
        before, slots = self._sources(i, operands, operation.reads)
        target = self.destination(i.operands[0], i.line)
        register = self.slots[target]
        function, types = operation.function, operation.reads
        widen = i.opcode[0] == "cvt" and TYPES[i.opcode[-2]].itemsize < register.itemsize
        run: Run
        if len(slots) == 2 and not widen:
            (a, b), (ta, tb) = slots, types

            def run(frame: Frame) -> None:
                v = frame.values
                v[target] = function(as_type(v[a], ta), as_type(v[b], tb))

        elif len(slots) == 1 and not widen:
            (a,), (ta,) = slots, types

            def run(frame: Frame) -> None:
                v = frame.values
                v[target] = function(as_type(v[a], ta))

        else:
            pairs = tuple(zip(slots, types, strict=True))

            def run(frame: Frame) -> None:
                v = frame.values
                result = function(*(as_type(v[s], t) for s, t in pairs))
                v[target] = extend(result, register) if widen else result

        return [*before, Step(run, tuple(slots), (target,), i)]

    def _compare(self, i: Instruction) -> list[Step] | None:
        found = alu.comparison(i.opcode)
        if found is None:
            return None
        join = next((w for w in i.opcode if w in ("and", "or", "xor")), None)
        types = (*found.reads, BOOL) if join else found.reads
        before, slots = self._sources(i, i.operands[1:], types)
        first = i.operands[0]
        targets = [first] if isinstance(first, Register) else list(_parts(first))
        outs = [self.destination(t, i.line) for t in targets]
        ta, tb = found.reads
        a, b, *rest = slots
        function = found.function
        combine: Any = {
            "and": np.logical_and,
            "or": np.logical_or,
            "xor": np.logical_xor,
            None: None,
        }[join]

        def run(frame: Frame) -> None:
            v = frame.values
            result = function(as_type(v[a], ta), as_type(v[b], tb))
            results = (result, np.logical_not(result)) if len(outs) == 2 else (result,)
            for slot, value in zip(outs, results, strict=True):
                if slot >= 0:
                    v[slot] = value if combine is None else combine(value, v[rest[0]])

        writes = tuple(s for s in outs if s >= 0)
        return [*before, Step(run, tuple(slots), writes, i)]

    def _moves(self, i: Instruction) -> list[Step] | None:
        """cvta, packing and unpacking, addresses; None for a plain move."""
        if i.opcode[0] == "cvta":
            space = next(
                (w.split("_")[0] for w in i.opcode if w.split("_")[0] in access.SPACES), ""
            )
            start = WINDOWS.get(space, 0)
            dtype = TYPES[i.opcode[-1]]
            shift = np.uint64(start if "to" not in i.opcode else -start & (2**64 - 1))
            slot = self.source(i.operands[1], U64, i.line)
            out = self.destination(i.operands[0], i.line)
            if dtype != U64:
                return None
            return [_unary(lambda x: x + shift, U64, slot, out, i)]
        target, value = i.operands
        dtype = TYPES[i.opcode[-1]]
        if isinstance(value, Vector):
            return [self._pack(i, dtype, value)]
        if isinstance(target, Vector):
            return [self._unpack(i, dtype, target)]
        if isinstance(value, Name):
            slot = self.symbol(value.name, i.line)
            out = self.destination(target, i.line)
            register = self.slots[out]
            return [_unary(lambda x: as_type(x, register), U64, slot, out, i)]
        return None

    def _pack(self, i: Instruction, dtype: DType, parts: Vector) -> Step:
        part = UNSIGNED[dtype.itemsize // len(parts.parts)]
        bits = UNSIGNED[dtype.itemsize]
        slots = [self.source(p, part, i.line) for p in parts.parts]
        target = self.destination(i.operands[0], i.line)
        step = bits.type(8 * part.itemsize)

        def run(frame: Frame) -> None:
            v = frame.values
            found = as_type(v[slots[-1]], part).astype(bits)
            for slot in reversed(slots[:-1]):
                found = (found << step) | as_type(v[slot], part).astype(bits)
            v[target] = found

        return Step(run, tuple(slots), (target,), i)

    def _unpack(self, i: Instruction, dtype: DType, parts: Vector) -> Step:
        part = UNSIGNED[dtype.itemsize // len(parts.parts)]
        bits = UNSIGNED[dtype.itemsize]
        slot = self.source(i.operands[1], dtype, i.line)
        outs = [self.destination(p, i.line) for p in parts.parts]

        def run(frame: Frame) -> None:
            whole = as_type(frame.values[slot], bits)
            for k, out in enumerate(outs):
                if out >= 0:
                    frame.values[out] = (whole >> bits.type(8 * part.itemsize * k)).astype(part)

        return Step(run, (slot,), tuple(o for o in outs if o >= 0), i)

    # -- memory -----------------------------------------------------------------------------------

    def _shared_unit(self, i: Instruction, size: int) -> None:
        if access.space_of(i) in ("shared", "generic"):
            self.granule = min(self.granule, size)

    def _load_step(self, i: Instruction) -> Step:
        dtype, _ = access.access_size(i)
        targets = _parts(i.operands[0])
        slots = [(s, self.slots[s]) for s in (self.destination(t, i.line) for t in targets)]
        where = i.operands[1]
        param = self._param(where) if access.space_of(i) == "param" else None
        if param is not None:
            sources = [self._param_slot(param[0], param[1] + k * dtype.itemsize, dtype)
                       for k in range(len(slots))]  # fmt: skip

            def run(frame: Frame) -> None:
                v = frame.values
                for source, (slot, register) in zip(sources, slots, strict=True):
                    v[slot] = extend(as_type(v[source], dtype), register)

            return Step(run, tuple(sources), tuple(s for s, _ in slots if s >= 0), i)
        self._shared_unit(i, dtype.itemsize)
        address, needs = self.address(where, i.line)
        writes = tuple(s for s, _ in slots if s >= 0)
        return Step(access.load(i, address, needs[0], slots), needs, writes, i)

    def _store_step(self, i: Instruction) -> Step:
        dtype, _ = access.access_size(i)
        slots = [self.source(p, dtype, i.line) for p in _parts(i.operands[1])]
        where = i.operands[0]
        param = self._param(where) if access.space_of(i) == "param" else None
        if param is not None:
            outs = [self._param_slot(param[0], param[1] + k * dtype.itemsize, dtype)
                    for k in range(len(slots))]  # fmt: skip

            def run(frame: Frame) -> None:
                v = frame.values
                for out, slot in zip(outs, slots, strict=True):
                    v[out] = as_type(v[slot], dtype)

            return Step(run, tuple(slots), tuple(outs), i)
        self._shared_unit(i, dtype.itemsize)
        address, needs = self.address(where, i.line)
        return Step(access.store(i, address, slots), (*needs, *slots), (), i)

    def _param(self, operand: Operand) -> tuple[str, int] | None:
        """Name and offset, where the operand is a parameter of a call and not of the kernel."""
        if not isinstance(operand, Address) or not isinstance(operand.base, Name):
            return None
        name = operand.base.name
        of_kernel = self.function.entry and any(p.name == name for p in self.function.parameters)
        return None if of_kernel else (name, operand.offset)

    def _param_slot(self, name: str, offset: int, dtype: DType) -> int:
        slots = self.param_slots
        if (name, offset) not in slots:
            bits = UNSIGNED[dtype.itemsize]
            slots[name, offset] = self._new(bits, bits.type(0))
        return slots[name, offset]

    def _atomic_step(self, i: Instruction) -> Step:
        dtype = TYPES[i.opcode[-1]]
        operands = i.operands
        result = None
        if i.opcode[0] == "atom":
            slot = self.destination(operands[0], i.line)
            # NVRTC names a register also where nobody reads it.
            result = (slot, self.slots[slot]) if self.function.uses()[slot] > 1 else None
            operands = operands[1:]
        self._shared_unit(i, dtype.itemsize)
        address, needs = self.address(operands[0], i.line)
        slots = [self.source(o, dtype, i.line) for o in operands[1:]]
        writes = () if result is None else (result[0],)
        return Step(access.atomic(i, address, result, slots), (*needs, *slots), writes, i)

    # -- calls ------------------------------------------------------------------------------------

    def _call(self, i: Instruction) -> Step:
        name, number = i.target.split(" ")
        given, returned = self.function.calls[int(number)]
        if name not in self.module.functions:
            raise BackendError(f"PTX line {i.line}: the function {name} is not emulated")
        code = self._load(name)
        if any(block.end.kind in ("barrier", "warp") for block in code.blocks.values()):
            raise BackendError(f"PTX line {i.line}: a barrier inside of {name} is not emulated")
        self.granule = min(self.granule, code.granule)
        callee = code.function
        moves: list[tuple[int, int]] = []
        for mine, theirs in zip(given, callee.parameters, strict=True):
            found = {o: s for (_, o), s in code.params(theirs.name)}
            for (_, offset), slot in self.params(mine):
                if offset in found:
                    moves.append((slot, found[offset]))
        results: list[tuple[int, int]] = []
        for mine, theirs in zip(returned, callee.results, strict=True):
            for (_, offset), slot in code.params(theirs.name):
                results.append((slot, self._param_slot(mine, offset, code.slots[slot])))

        def run(frame: Frame) -> None:
            from .executor import run_lanes

            values = code.start_values()
            for mine, theirs in moves:
                values[theirs] = frame.values[mine]
            inner = Frame(
                frame.launch, values, frame.threads, frame.shared, frame.local, full=frame.full
            )
            run_lanes(code, inner, calls=True)
            for theirs, mine in results:
                frame.values[mine] = inner.values[theirs]

        reads = tuple(mine for mine, _ in moves)
        return Step(run, reads, tuple(mine for _, mine in results), i)

    def start_values(self) -> list[Value]:
        """What the slots hold when a launch (or a call) begins."""
        return self.initial.copy()


def module_shared(module: Module) -> int:
    """Bytes of shared memory that all kernels of a module have in common."""
    return max((v.offset + v.size for v in module.shared.values()), default=0)


def _parts(operand: Operand) -> tuple[Operand, ...]:
    return operand.parts if isinstance(operand, Vector) else (operand,)


def _immediate(text: str, dtype: DType) -> Value:
    if dtype == BOOL:
        return np.bool_(text != "carry" and int(text, 0) != 0)
    prefix = text[:2].lower()
    if prefix in ("0f", "0d"):
        width = U32 if prefix == "0f" else U64
        raw = width.type(int(text[2:], 16)).view("f4" if prefix == "0f" else "f8")
        if dtype.kind == "f":
            return raw.astype(dtype)
        return as_type(raw, dtype)
    if dtype.kind == "f":
        return dtype.type(float(text))
    bits = UNSIGNED[dtype.itemsize]
    number = int(text.rstrip("U"), 0) & (2 ** (8 * dtype.itemsize) - 1)
    return bits.type(number).view(dtype)


def _unary(
    function: Callable[[Value], Value], dtype: DType, slot: int, out: int, i: Instruction
) -> Step:
    def run(frame: Frame) -> None:
        frame.values[out] = function(as_type(frame.values[slot], dtype))

    return Step(run, (slot,), (out,), i)


def _trap(frame: Frame) -> None:
    raise AccessError("the kernel trapped", 0, 0)


def _guarded(step: Step, guard: Register) -> Step:
    """The step for those lanes whose predicate holds."""
    reads = tuple(dict.fromkeys((*step.reads, *step.writes)))

    def run(frame: Frame) -> None:
        mask = frame.values[guard.slot]
        if guard.negated:
            mask = np.logical_not(mask)
        if mask.ndim == 0 or mask.all():
            if mask.all():
                step.run(frame)
            return
        lanes = np.flatnonzero(mask)
        if len(lanes) == 0:
            return
        part = frame.subset(lanes, reads)
        try:
            step.run(part)
        except AccessError as error:
            lane = int(lanes[error.lane])
            raise AccessError(error.problem, lane, error.address) from None
        frame.merge(part, lanes, step.writes)

    return Step(run, (*reads, guard.slot), step.writes, step.instruction)
