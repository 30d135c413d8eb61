"""Elementwise kernels as CUDA C++: from a description and a schedule to text, and nothing else.

No name of a user enters the code: buffers are b0, b1, …, named dimensions s0, s1, …; only the
comment at the head says which op it is and where the user wrote it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...ir.dims import Dim, FloorDiv, Size, lower_bound, names
from ...ir.errors import BackendError
from ...ir.kernel import Apply, Axis, Const, Count, DType, Expr, Kernel, Load, Position, Ref, Store
from ...ir.types import short
from .addresses import (
    accesses,
    address,
    expressions,
    is_elementwise,
    loaded,
    loads,
    moving,
    stored,
    stores,
)
from .schedule import KernelSchedule, schedule_kernel
from .spelling import HALVES, Unsupported, c_type, convert, expression, literal


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a printed kernel takes: a pointer for each of ``buffers``, then the value of each named
    dimension of ``sizes``, as int32 or, where the schedule is ``wide``, int64."""

    buffers: tuple[Ref, ...]
    sizes: tuple[str, ...]


def arguments(kernel: Kernel) -> Arguments:
    """The arguments of an elementwise kernel: buffers read, buffers written, sizes by name."""
    buffers = tuple(dict.fromkeys((*loaded(kernel), *stored(kernel))))
    sizes: list[Size] = [axis.extent for axis in kernel.parallel]
    sizes += [size for ref in buffers for size in ref.shape]
    for access in accesses(kernel):
        sizes += [where.offset for where in access.index]
    sizes += [expr.size for expr in expressions(kernel) if isinstance(expr, Count)]
    return Arguments(buffers, tuple(sorted(names(sizes))))


def print_kernel(kernel: Kernel, *, name: str, schedule: KernelSchedule | None = None) -> str:
    """CUDA C++ of an elementwise kernel, as an ``extern "C"`` function called ``name``.

    ``arguments(kernel)`` says what it takes; without a schedule it gets ``schedule_kernel``'s.
    Sources of several kernels can be joined. Raises BackendError for what this printer does not
    write (reductions, 16-bit floats), ValueError for a name that is not a plain identifier.

    >>> import graphc as gx
    >>> from graphc.backends.cuda import print_kernel
    >>> from graphc.ir.kernel import Lowering
    >>> low = Lowering(lambda stream: "s")
    >>> low.begin(gx.relu(gx.input("x", ("N", 3))))
    >>> low.node.op.lower(low, low.node)
    >>> print(print_kernel(low.steps[0], name="k0"))  # doctest: +ELLIPSIS
    // relu ...
    extern "C" __global__ void __launch_bounds__(256) k0(
        const float* __restrict__ b0,  // f32[s0,3]
        float* __restrict__ b1,  // f32[s0,3]
        const long long s0)
    {
        const long long d0 = 3 * s0;
        const long long step = (long long)gridDim.x * blockDim.x;
        for (long long p = (long long)blockIdx.x * blockDim.x + threadIdx.x; p < d0; p += step) {
            const float v0 = b0[p];
            const float v1 = v0 < 0.0f ? 0.0f : v0;
            b1[p] = v1;
        }
    }
    <BLANKLINE>
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} cannot name a kernel: use small letters and digits, as in 'k0'")
    try:
        if not is_elementwise(kernel):
            raise Unsupported("it reduces, and only elementwise kernels are written so far")
        halves = [_dtype(e).name for e in (*expressions(kernel), *stores(kernel))]
        halves = [name for name in halves if name in HALVES]
        if halves:
            raise Unsupported(f"it computes with {halves[0]}: print_launch writes such numbers")
        return _Writer(kernel, schedule or schedule_kernel(kernel)).write(name)
    except Unsupported as reason:
        raise BackendError(
            f"CUDA: no kernel for {_comment(kernel)}: {reason}", nodes=[kernel.node]
        ) from None


def _dtype(found: Expr | Store) -> DType:
    return found.ref.dtype if isinstance(found, Store) else found.dtype


def _comment(kernel: Kernel) -> str:
    """The op and the user's line, with nothing in it that could end a comment or continue it."""
    lines = kernel.node.lines
    more = f" (+{len(lines) - 1})" if len(lines) > 1 else ""
    text = f"{kernel.node.op.name}  {lines[0]}{more}" if lines else kernel.node.op.name
    return re.sub(r"[^A-Za-z0-9_.:+() -]", "?", text)[:80]


class _Writer:
    """One kernel being written. Every value is a name, so equal text is the same value."""

    def __init__(self, kernel: Kernel, schedule: KernelSchedule) -> None:
        self.kernel, self.schedule = kernel, schedule
        self.integer = "long long" if schedule.wide else "int"
        self.arguments = arguments(kernel)
        self.buffers = {ref: f"b{i}" for i, ref in enumerate(self.arguments.buffers)}
        self.dims = {name: f"s{i}" for i, name in enumerate(self.arguments.sizes)}
        self.groups = {group[-1]: i for i, group in enumerate(schedule.groups)}
        walked = [axis for group in schedule.groups for axis in group]
        if walked != [axis for axis in kernel.parallel if axis.extent != 1]:
            raise ValueError(f"the schedule is not one of this kernel: {kernel}")
        # What is named so far, how many names begin with each letter, and the lines of the names.
        self.named: dict[str, str] = {}
        self.count: Counter[str] = Counter()
        self.prologue: list[str] = []
        self.coordinates: dict[int, str] = {}
        self.body: list[str] = []

    def write(self, name: str) -> str:
        """The whole function."""
        self.check_overwrites()
        values = self.values(store.expr for store in stores(self.kernel))
        targets = [self.element(store) for store in stores(self.kernel)]
        points = self.size(math.prod((axis.extent for axis in self.kernel.parallel), start=1))
        wide = f"({self.integer})" if self.schedule.wide else ""
        loop = (
            f"for ({self.integer} p = {wide}blockIdx.x * blockDim.x + threadIdx.x; "
            f"p < {points}; p += step) {{"
        )
        inner = [
            *(line for _, line in sorted(self.coordinates.items())),
            *self.body,
            *(f"{target} = {value};" for target, value in zip(targets, values, strict=True)),
        ]
        lines = [
            f"// {_comment(self.kernel)}",
            f'extern "C" __global__ void __launch_bounds__({self.schedule.block}) {name}(',
            *self.parameters(),
            "{",
            *(f"    {line}" for line in self.prologue),
            f"    const {self.integer} step = {wide}gridDim.x * blockDim.x;",
            f"    {loop}",
            *(f"        {line}" for line in inner),
            "    }",
            "}",
        ]
        return "\n".join(lines) + "\n"

    def parameters(self) -> list[str]:
        """The parameter list, one a line; buffers with their types."""
        read, written = set(loaded(self.kernel)), set(stored(self.kernel))
        found = []
        for ref, name in self.buffers.items():
            const = "" if ref in written else "const "
            # Proved: what is written is not read, and the plan puts nothing else there.
            apart = ref not in self.schedule.shared and not (ref in read and ref in written)
            restrict = " __restrict__" if apart else ""
            shape = ",".join(self.plain(size) for size in ref.shape)
            found.append((f"{const}{c_type(ref.dtype)}*{restrict} {name}", ref.dtype, shape))
        last = len(found) + len(self.dims) - 1
        lines = [
            f"    {text}{',' if i < last else ')'}  // {short(dtype)}[{shape}]"
            for i, (text, dtype, shape) in enumerate(found)
        ]
        for i, name in enumerate(self.dims.values(), len(found)):
            lines.append(f"    const {self.integer} {name}{',' if i < last else ')'}")
        return lines

    def plain(self, size: Size) -> str:
        """A size in the comment of a buffer, in the names of the parameters."""
        return re.sub(r"[A-Za-z_]\w*", lambda match: self.dims[match.group()], str(size))

    def check_overwrites(self) -> None:
        """A thread may overwrite only what no other thread reads."""
        for store in stores(self.kernel):
            for load in loads(self.kernel):
                if load.ref == store.ref and load.index != store.index:
                    raise Unsupported("it overwrites elements that other points still read")

    # -- values -------------------------------------------------------------------------------

    def values(self, roots: Iterable[Expr]) -> list[str]:
        """The names (or literals) of the stores' values, each computed once."""
        found: dict[int, str] = {}
        for expr in expressions(self.kernel):
            found[id(expr)] = self.value(expr, found)
        return [found[id(root)] for root in roots]

    def value(self, expr: Expr, found: dict[int, str]) -> str:
        """The name of a value whose arguments have names; its line is written if it is new."""
        if isinstance(expr, Const):
            return literal(expr.value, expr.dtype)
        if isinstance(expr, Load):
            text = self.load(expr)
        elif isinstance(expr, Count):
            text = convert(self.size(expr.size), expr.dtype)
        elif isinstance(expr, Position):
            text = convert(self.coordinate(expr.axis), expr.dtype)
        elif isinstance(expr, Apply):
            args = [found[id(arg)] for arg in expr.args]
            text = expression(expr.op, expr.dtype, args, [arg.dtype for arg in expr.args])
        else:  # is_elementwise has looked at the phases alone
            raise Unsupported("it reads a reduction")
        return self.name("v", c_type(expr.dtype), text, self.body)

    def name(self, letter: str, kind: str, text: str, lines: list[str]) -> str:
        """The local that holds ``text``: the one there is, or a new one."""
        key = f"{kind} {text}"
        if key not in self.named:
            self.named[key] = f"{letter}{self.count[letter]}"
            self.count[letter] += 1
            lines.append(f"const {kind} {self.named[key]} = {text};")
        return self.named[key]

    # -- addresses ----------------------------------------------------------------------------

    def load(self, load: Load) -> str:
        """A load, behind what must hold for its index to be valid."""
        conditions: list[str] = []
        for d, check in address(load).checked.items():
            where, size = load.index[d], load.ref.shape[d]
            numerator = self.numerator(load, d)
            if check.low:
                conditions.append(f"{numerator} >= 0")
            if check.high:
                conditions.append(f"{numerator} < {self.size(size * where.divisor)}")
            if check.whole:
                conditions.append(f"{numerator} % {where.divisor} == 0")
        element = self.element(load)
        if not conditions:
            return element
        valid = self.name("ok", "bool", " && ".join(conditions), self.body)
        return f"{valid} ? {element} : {literal(load.fill, load.dtype)}"

    def element(self, access: Load | Store) -> str:
        """``b0[784 * i0 + t1]``: the element that a load or a store names."""
        found, buffer = address(access), self.buffers[access.ref]
        # What a group's other axes contribute goes with its innermost axis.
        strides = {axis: stride for axis, stride in found.terms.items() if axis in self.groups}
        plain = not found.checked and found.offset == 0
        if plain and strides == {axis: self.inner(axis) for axis in self.groups}:
            return f"{buffer}[p]"
        terms = [(stride, self.coordinate(axis)) for axis, stride in strides.items()]
        for d in found.checked:
            numerator, divisor = self.numerator(access, d), access.index[d].divisor
            quotient = numerator if divisor == 1 else f"({numerator} / {divisor})"
            terms.append((found.strides[d], quotient))
        return f"{buffer}[{self.sum(terms, found.offset)}]"

    def numerator(self, access: Load | Store, d: int) -> str:
        """The index of dimension ``d`` before its division, as a name."""
        where = access.index[d]
        text = self.sum([(c, self.coordinate(axis)) for axis, c in moving(where)], where.offset)
        return text if text.isalnum() else self.name("t", self.integer, text, self.body)

    def inner(self, axis: Axis) -> Size:
        """How many points one step along the group that ends in ``axis`` is."""
        later = self.schedule.groups[self.groups[axis] + 1 :]
        return math.prod((a.extent for group in later for a in group), start=1)

    def coordinate(self, axis: Axis) -> str:
        """Where along the group that ends in ``axis`` the point is."""
        if axis.extent == 1:
            return "0"
        if len(self.groups) == 1:
            return "p"
        number = self.groups[axis]
        if number not in self.coordinates:
            inner, text = self.inner(axis), "p"
            if inner != 1:
                text += f" / {self.size(inner)}"
            if number:
                extent = math.prod((a.extent for a in self.schedule.groups[number]), start=1)
                text += f" % {self.size(extent)}"
            self.coordinates[number] = f"const {self.integer} i{number} = {text};"
        return f"i{number}"

    # -- sizes --------------------------------------------------------------------------------

    def size(self, size: Size) -> str:
        """A size as a literal, a parameter, or a local computed before the loop."""
        if not isinstance(size, Dim):
            return str(size) if size >= 0 else f"({size})"
        if size.name is not None:
            return self.dims[size.name]
        terms: list[tuple[Size, str]] = []
        constant = 0
        for monomial, coefficient in size.terms.items():
            factors = [self.atom(atom) for atom, power in monomial for _ in range(power)]
            if factors:
                terms.append((coefficient, " * ".join(factors)))
            else:
                constant = coefficient
        text = self.sum(terms, constant)
        return text if text.isalnum() else self.name("d", self.integer, text, self.prologue)

    def atom(self, atom: str | FloorDiv) -> str:
        """A named dimension or a rounded-down quotient, as a name."""
        if isinstance(atom, str):
            return self.dims[atom]
        top, bottom = self.size(atom.numerator), atom.denominator
        bound = lower_bound(atom.numerator)
        if bound is None or bound < 0:  # C++ rounds towards 0
            top = f"({top} < 0 ? {top} - {bottom - 1} : {top})"
        return self.name("d", self.integer, f"{top} / {bottom}", self.prologue)

    def sum(self, terms: Sequence[tuple[Size, str]], constant: Size) -> str:
        """``2 * i1 + i3 - 1``."""
        text = ""
        for coefficient, factor in [*terms, (constant, "")]:
            if coefficient == 0:
                continue
            negative = isinstance(coefficient, int) and coefficient < 0
            shown = self.size(-coefficient if negative else coefficient)
            part = shown if not factor else factor if shown == "1" else f"{shown} * {factor}"
            sign = ("-" if negative else "") if not text else " - " if negative else " + "
            text += sign + part
        return text or "0"
