"""CUDA C++ of the expressions of a description: values, addresses, sizes.

No name of a user enters the code: buffers are b0, b1, …, named dimensions s0, s1, …; only the
comment at the head of a kernel says which op it is and where the user wrote it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from ...ir.dims import Dim, FloorDiv, Size, lower_bound
from ...ir.kernel import Acc, Apply, Axis, Const, Count, Expr, Load, Position, Ref, Store
from ...ir.node import Node
from .addresses import address, moving
from .spelling import Unsupported, c_type, convert, expression, from_memory, literal, to_memory

Groups = tuple[tuple[Axis, ...], ...]


def comment(node: Node) -> str:
    """The op and the user's line, with nothing in it that could end a comment or continue it."""
    lines = node.lines
    more = f" (+{len(lines) - 1})" if len(lines) > 1 else ""
    text = f"{node.op.name}  {lines[0]}{more}" if lines else node.op.name
    return re.sub(r"[^A-Za-z0-9_.:+() -]", "?", text)[:80]


class Walk:
    """One variable that runs through the points of some axes, row-major: coordinates follow from
    it by division. ``groups``: runs of axes that no address tells apart, each walked as one."""

    def __init__(self, variable: str, letter: str, groups: Groups) -> None:
        self.variable, self.letter, self.groups = variable, letter, groups
        self.number = {group[-1]: i for i, group in enumerate(groups)}
        self.axes = frozenset(axis for group in groups for axis in group)
        self.lines: dict[int, str] = {}  # the coordinates that were asked for

    def inner(self, axis: Axis) -> Size:
        """How many points one step along the group that ends in ``axis`` is."""
        later = self.groups[self.number[axis] + 1 :]
        return math.prod((a.extent for group in later for a in group), start=1)

    def points(self) -> Size:
        """How many points there are."""
        return math.prod((a.extent for group in self.groups for a in group), start=1)

    def head(self) -> list[str]:
        """The lines of the coordinates, outermost first."""
        return [line for _, line in sorted(self.lines.items())]


class Writer:
    """Writes values, each once. Every value is a name, so equal text is the same value.

    ``walks``: the variables in scope, outermost first; a value that depends on no axis of the last
    one, where there are two, is written before its loop (``outer``), all others into ``body``.
    """

    def __init__(self, buffers: Mapping[Ref, str], dims: Mapping[str, str], integer: str) -> None:
        self.buffers, self.dims, self.integer = buffers, dims, integer
        self.count: Counter[str] = Counter()  # how many names begin with each letter
        self.prologue: list[str] = []
        self.sizes: dict[str, str] = {}
        self.walks: list[Walk] = []
        self.levels: list[tuple[list[str], dict[str, str]]] = [([], {})]
        self.accs: dict[Acc, str] = {}
        self.given: dict[Load, str] = {}  # loads whose value is at hand
        self.uniform: dict[Ref, str] = {}  # buffers of random numbers: the call, but for its number
        self._axes: dict[int, tuple[Expr, frozenset[Axis]]] = {}

    # -- levels -------------------------------------------------------------------------------

    @property
    def body(self) -> list[str]:
        """The lines of the innermost level."""
        return self.levels[-1][0]

    def enter(self, walk: Walk) -> None:
        """The lines that follow are inside a loop of ``walk``."""
        self.walks.append(walk)
        self.levels.append(([], {}))

    def leave(self) -> list[str]:
        """The lines of the loop that ends, its coordinates first."""
        lines, _ = self.levels.pop()
        return [*self.walks.pop().head(), *lines]

    def name(self, letter: str, kind: str, text: str, axes: frozenset[Axis] | None = None) -> str:
        """The local that holds ``text``: the one there is, or a new one."""
        key = f"{kind} {text}"
        for _, named in self.levels:
            if key in named:
                return named[key]
        depth = len(self.levels) - 1 if axes is None else self.floor(axes)
        lines, named = self.levels[depth]
        named[key] = f"{letter}{self.count[letter]}"
        self.count[letter] += 1
        lines.append(f"const {kind} {named[key]} = {text};")
        return named[key]

    def floor(self, axes: frozenset[Axis]) -> int:
        """The outermost level where a value of these axes can stand: inside the loops of its axes,
        and inside the outermost loop."""
        inside = [i for i, walk in enumerate(self.walks, 1) if axes & walk.axes]
        return inside[-1] if inside else min(1, len(self.walks))

    def axes(self, expr: Expr) -> frozenset[Axis]:
        """The axes that a value depends on: a reduction is one number at its point."""
        found = self._axes.get(id(expr))
        if found is not None:
            return found[1]
        axes: frozenset[Axis] = frozenset()
        match expr:
            case Load():
                axes = frozenset(a for where in expr.index for a, _ in where.terms)
            case Position():
                axes = frozenset((expr.axis,))
            case Apply():
                axes = frozenset().union(*map(self.axes, expr.args))
        self._axes[id(expr)] = expr, axes  # the expression stays: its id must not be another's
        return axes

    # -- values -------------------------------------------------------------------------------

    def value(self, root: Expr) -> str:
        """The name (or literal) of a value."""
        done: dict[int, str] = {}
        stack: list[Expr] = [root]
        while stack:
            expr = stack[-1]
            todo = [
                arg for arg in reversed(expr.args if isinstance(expr, Apply) else ())
                if id(arg) not in done
            ]  # fmt: skip
            if todo:
                stack += todo
                continue
            stack.pop()
            if id(expr) not in done:
                done[id(expr)] = self.one(expr, done)
        return done[id(root)]

    def one(self, expr: Expr, found: Mapping[int, str]) -> str:
        """The name of a value whose arguments have names; its line is written if it is new."""
        if isinstance(expr, Const):
            return literal(expr.value, expr.dtype)
        if isinstance(expr, Acc):
            return self.accs[expr]
        if isinstance(expr, Load):
            if expr in self.given:
                return self.given[expr]
            text = self.load(expr)
        elif isinstance(expr, Count):
            text = convert(self.size(expr.size), expr.dtype)
        elif isinstance(expr, Position):
            text = convert(self.coordinate(expr.axis), expr.dtype)
        else:
            args = [found[id(arg)] for arg in expr.args]
            text = expression(expr.op, expr.dtype, args, [arg.dtype for arg in expr.args])
        return self.name("v", c_type(expr.dtype), text, self.axes(expr))

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
        if load.ref in self.uniform:
            element = f"{self.uniform[load.ref]}{self.position(load)})"
        else:
            element = from_memory(self.element(load), load.dtype)
        if not conditions:
            return element
        valid = self.name("ok", "bool", " && ".join(conditions), self.axes(load))
        return f"{valid} ? {element} : {literal(load.fill, load.dtype)}"

    def store(self, store: Store) -> str:
        """The line that stores a value."""
        value = to_memory(self.value(store.expr), store.ref.dtype)
        return f"{self.element(store)} = {value};"

    def element(self, access: Load | Store) -> str:
        """``b0[784 * i0 + t1]``: the element that a load or a store names."""
        return f"{self.buffers[access.ref]}[{self.position(access)}]"

    def position(self, access: Load | Store) -> str:
        """The row-major number of the element that a load or a store names."""
        found = address(access)
        # What a group's other axes contribute goes with its innermost axis.
        terms: list[tuple[Size, str]] = []
        for walk in self.walks:
            strides = {axis: s for axis, s in found.terms.items() if axis in walk.number}
            if strides and strides == {axis: walk.inner(axis) for axis in walk.number}:
                terms.append((1, walk.variable))
            else:
                terms += [(stride, self.coordinate(axis)) for axis, stride in strides.items()]
        for d in found.checked:
            numerator, divisor = self.numerator(access, d), access.index[d].divisor
            quotient = numerator if divisor == 1 else f"({numerator} / {divisor})"
            terms.append((found.strides[d], quotient))
        return self.sum(terms, found.offset)

    def numerator(self, access: Load | Store, d: int) -> str:
        """The index of dimension ``d`` before its division, as a name."""
        where = access.index[d]
        text = self.sum([(c, self.coordinate(axis)) for axis, c in moving(where)], where.offset)
        axes = frozenset(axis for axis, _ in where.terms)
        return text if text.isalnum() else self.name("t", self.integer, text, axes)

    def coordinate(self, axis: Axis) -> str:
        """Where along the group that ends in ``axis`` the point is."""
        if axis.extent == 1:
            return "0"
        walk = next(w for w in self.walks if axis in w.number)
        if len(walk.groups) == 1:
            return walk.variable
        number = walk.number[axis]
        name = f"{walk.letter}{number}"
        if number not in walk.lines:
            inner, text = walk.inner(axis), walk.variable
            if inner != 1:
                text += f" / {self.size(inner)}"
            if number:
                extent = math.prod((a.extent for a in walk.groups[number]), start=1)
                text += f" % {self.size(extent)}"
            walk.lines[number] = f"const {self.integer} {name} = {text};"
        return name

    # -- sizes --------------------------------------------------------------------------------

    def local(self, text: str) -> str:
        """A size as a local of the prologue."""
        if text not in self.sizes:
            self.sizes[text] = f"d{self.count['d']}"
            self.count["d"] += 1
            self.prologue.append(f"const {self.integer} {self.sizes[text]} = {text};")
        return self.sizes[text]

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
        return text if text.isalnum() else self.local(text)

    def atom(self, atom: str | FloorDiv) -> str:
        """A named dimension or a rounded-down quotient, as a name."""
        if isinstance(atom, str):
            return self.dims[atom]
        top, bottom = self.size(atom.numerator), atom.denominator
        bound = lower_bound(atom.numerator)
        if bound is None or bound < 0:  # C++ rounds towards 0
            top = f"({top} < 0 ? {top} - {bottom - 1} : {top})"
        return self.local(f"{top} / {bottom}")

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


__all__ = ["Groups", "Unsupported", "Walk", "Writer", "comment"]
