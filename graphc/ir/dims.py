"""Symbolic sizes: polynomials with integer coefficients over named dimensions and floor divisions.

A size is a plain ``int`` or a ``Dim``; a ``Dim`` is never constant. Two sizes are equal exactly
when their normal forms are, so equality costs nothing and never guesses. What cannot be decided
(``N == M``, ``H >= 5``) becomes a ``Guard``: a fact of the node, checked before any array is made.
A named dimension is at least 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from graphc.ir.errors import GraphError, ParseError

Size: TypeAlias = "int | Dim"
# A monomial is a sorted tuple of (atom, power); an atom is a name or a floor division.
Atom: TypeAlias = "str | FloorDiv"
Monomial: TypeAlias = tuple[tuple[Atom, int], ...]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Words of the printed IR that a bare dimension could be taken for.
RESERVED = frozenset({"true", "false", "none", "inf", "nan"})


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """``numerator // denominator`` where nothing more can be pulled out of it."""

    numerator: Dim
    denominator: int

    def __str__(self) -> str:
        inside = self.numerator.name or f"({self.numerator})"
        return f"{inside}//{self.denominator}"


def _order(monomial: Monomial) -> tuple[int, str]:
    return (-sum(power for _, power in monomial), _monomial_text(monomial))


def _monomial_text(monomial: Monomial, coefficient: int = 1) -> str:
    factors = [str(atom) for atom, power in monomial for _ in range(power)]
    # * and // read from left to right and - binds first: 2*(N+1)//3 would be (2*N+2)//3.
    if len(factors) > 1 or coefficient != 1:
        factors = [f"({factor})" if "//" in factor else factor for factor in factors]
    return "*".join(factors)


_MOST_TERMS = 100


class Dim:
    """A size that depends on named dimensions, in normal form. Immutable and hashable.

    >>> n = Dim.named("N")
    >>> print((n + 1) * 2, (n // 2 + 1) // 3)
    2*N+2 (N+2)//6
    >>> (2 * n + 1) // 2 == n
    True
    """

    __slots__ = ("_hash", "_text", "terms")
    terms: dict[Monomial, int]

    def __init__(self, terms: dict[Monomial, int]) -> None:
        if len(terms) > _MOST_TERMS:  # a product of twenty sums would have a million
            raise GraphError(f"a size of {len(terms)} terms: at most {_MOST_TERMS} are kept")
        self.terms = dict(sorted(terms.items(), key=lambda item: _order(item[0])))
        self._text: str | None = None
        self._hash = hash(frozenset(self.terms.items()))

    @staticmethod
    def named(name: str) -> Dim:
        """The dimension called ``name`` (an identifier, not a word of the printed IR)."""
        if not NAME.match(name) or name in RESERVED:
            raise GraphError(
                f"{name!r} cannot name a dimension: use an identifier such as 'N' "
                f"(not one of {', '.join(sorted(RESERVED))})"
            )
        return Dim({((name, 1),): 1})

    # -- arithmetic ---------------------------------------------------------------------------

    def __add__(self, other: Size) -> Size:
        terms = dict(self.terms)
        for monomial, coefficient in _terms(other).items():
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return _build(terms)

    __radd__ = __add__

    def __mul__(self, other: Size) -> Size:
        terms: dict[Monomial, int] = {}
        for left, a in self.terms.items():
            for right, b in _terms(other).items():
                monomial = _product(left, right)
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _build(terms)

    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + (-other)

    def __rsub__(self, other: Size) -> Size:
        return other + (-self)

    def __floordiv__(self, divisor: int) -> Size:
        if not isinstance(divisor, int) or divisor < 1:
            raise GraphError(f"a dimension divides by a positive int only, not by {divisor!r}")
        if divisor == 1:
            return self
        constant = self.terms.get((), 0)
        rest = {m: c for m, c in self.terms.items() if m != ()}
        if len(rest) == 1:  # (x//a + c)//b is (x + ac)//(ab)
            ((monomial, coefficient),) = rest.items()
            if coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1:
                atom = monomial[0][0]
                if isinstance(atom, FloorDiv):
                    inner = atom.numerator + atom.denominator * constant
                    return inner // (atom.denominator * divisor)
        # Whole multiples come out of the division: (b·p + r)//b is p + r//b.
        whole = {m: c // divisor for m, c in rest.items() if c % divisor == 0}
        part = {m: c for m, c in rest.items() if c % divisor}
        whole[()] = constant // divisor
        remainder = constant % divisor
        if not part:
            return _build(whole)
        common = reduce(math.gcd, part.values(), divisor)  # (g·p + c)//(g·b) is (p + c//g)//b
        inner_terms = {m: c // common for m, c in part.items()}
        inner_terms[()] = remainder // common
        inner_size = _build(inner_terms)
        divisor //= common
        if divisor == 1:
            return _build(whole) + inner_size
        if isinstance(inner_size, int) or inner_size != self:
            # Something came out: what is left may be a lone floor division, or divide again.
            return _build(whole) + inner_size // divisor
        return Dim({((FloorDiv(inner_size, divisor), 1),): 1})

    # -- identity -----------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        raise GraphError(f"the size {self} is not known until the graph runs: it has no truth")

    def __str__(self) -> str:
        if self._text is None:
            parts: list[str] = []
            for monomial, coefficient in self.terms.items():
                text = _monomial_text(monomial, coefficient)
                if not text:
                    body = str(abs(coefficient))
                elif abs(coefficient) == 1:
                    body = text
                else:
                    body = f"{abs(coefficient)}*{text}"
                parts.append(("-" if coefficient < 0 else "+" if parts else "") + body)
            self._text = "".join(parts)
        return self._text

    def __repr__(self) -> str:
        return f"Dim({str(self)!r})"

    # -- reading ------------------------------------------------------------------------------

    def names(self) -> frozenset[str]:
        """Every named dimension in it."""
        found: set[str] = set()
        for monomial in self.terms:
            for atom, _ in monomial:
                found |= {atom} if isinstance(atom, str) else atom.numerator.names()
        return frozenset(found)

    @property
    def name(self) -> str | None:
        """The name if this is a named dimension standing alone, else None."""
        text = str(self)
        return text if NAME.match(text) else None

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """Its value where every name has one."""
        total = 0
        for monomial, coefficient in self.terms.items():
            for atom, power in monomial:
                if isinstance(atom, str):
                    value = sizes[atom]
                else:
                    value = atom.numerator.evaluate(sizes) // atom.denominator
                coefficient *= value**power
            total += coefficient
        return total


def _terms(size: Size) -> dict[Monomial, int]:
    if isinstance(size, Dim):
        return size.terms
    return {(): size} if size else {}


def _build(terms: dict[Monomial, int]) -> Size:
    terms = {m: c for m, c in terms.items() if c}
    if not terms:
        return 0
    if terms.keys() == {()}:
        return terms[()]
    return Dim(terms)


def _product(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: str(item[0])))


def quotient(size: Size, divisor: Size) -> Size | None:
    """The size that ``divisor`` times makes ``size``, where polynomial division is exact.

    >>> n, c = Dim.named("N"), Dim.named("C")
    >>> print(quotient(6 * n * c + 4 * c, 2 * c), quotient(3 * n, n + 1))
    3*N+2 None
    """
    # Long division by the leading monomials in lexicographic order (Cox, Little, O'Shea, 2.3): one
    # that multiplication respects, so each step removes the leading monomial of what is left.
    atoms = sorted({a for s in (size, divisor) for m in _terms(s) for a, _ in m}, key=str)

    def leading(terms: dict[Monomial, int]) -> tuple[list[int], int]:
        powers = [([dict(m).get(atom, 0) for atom in atoms], c) for m, c in terms.items()]
        return max(powers)

    if divisor == 0:
        return None
    powers, coefficient = leading(_terms(divisor))
    result: Size = 0
    while size != 0:
        most, count = leading(_terms(size))
        left = [m - p for m, p in zip(most, powers, strict=True)]
        if min(left, default=0) < 0 or count % coefficient:
            return None
        step: Size = count // coefficient
        for atom, power in zip(atoms, left, strict=True):
            for _ in range(power):
                step = step * Dim({((atom, 1),): 1})
        result, size = result + step, size - step * divisor
    return result


# -- what can be proved -------------------------------------------------------------------------


def lower_bound(size: Size) -> int | None:
    """A number that ``size`` is never below, with every name at least 1; None if none is found."""
    if isinstance(size, int):
        return size
    # Write each atom as its own lower bound plus something that is at least 0 and expand: where no
    # coefficient is negative, the constant is the bound.
    expanded: Size = 0
    for monomial, coefficient in size.terms.items():
        product: Size = coefficient
        for atom, power in monomial:
            if isinstance(atom, str):
                base: Size = 1 + Dim({((atom, 1),): 1})
            else:
                bound = lower_bound(atom.numerator)
                if bound is None:
                    return None
                base = bound // atom.denominator + Dim({((str(atom), 1),): 1})
            for _ in range(power):
                product = product * base
        expanded = expanded + product
    terms = _terms(expanded)
    if any(coefficient < 0 for monomial, coefficient in terms.items() if monomial != ()):
        return None
    return terms.get((), 0)


def always_at_least(size: Size, bound: int) -> bool | None:
    """True or False where it can be proved, None where it depends on the sizes."""
    low = lower_bound(size)
    if low is not None and low >= bound:
        return True
    high = lower_bound(-size)
    if high is not None and -high < bound:
        return False
    return None


def always_equal(a: Size, b: Size) -> bool | None:
    """True or False where it can be proved, None where it depends on the sizes."""
    difference = a - b
    if isinstance(difference, int):
        return difference == 0
    if always_at_least(difference, 1) or always_at_least(-difference, 1):
        return False
    # 2N - 3 is never 0: no common factor of the coefficients divides the constant.
    constant = difference.terms.get((), 0)
    factor = reduce(math.gcd, (c for m, c in difference.terms.items() if m != ()), 0)
    return False if constant % factor else None


@dataclass(frozen=True, slots=True)
class Guard:
    """An undecided fact about sizes: ``left == right`` or ``left >= right``.

    Checked before any array is made; ``program`` and ``interpret`` name the one that fails.
    """

    left: Size
    relation: str
    right: Size

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it is true at these sizes."""
        left, right = evaluate(self.left, sizes), evaluate(self.right, sizes)
        return left == right if self.relation == "==" else left >= right


def evaluate(size: Size, sizes: Mapping[str, int]) -> int:
    """The number that ``size`` is where every name has a value."""
    return size if isinstance(size, int) else size.evaluate(sizes)


def names(shape: Iterable[Size]) -> frozenset[str]:
    """Every named dimension of a shape."""
    return frozenset[str]().union(*(s.names() for s in shape if isinstance(s, Dim)))


# -- text ---------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_][A-Za-z0-9_]*)|(//|[-+*()]))")
_LONGEST = 2000
_DEEPEST = 50


def parse_size(text: str) -> Size:
    """The size written as ``text``: ints, names, ``+ - * //`` and parentheses.

    Raises ParseError; never evaluates anything. Inverse of ``str``.
    """
    if len(text) > _LONGEST:
        raise ParseError(f"a dimension of {len(text)} characters: at most {_LONGEST} are read")
    tokens: list[str] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if not match:
            raise ParseError(f"{text!r} is not a dimension: unexpected {text[position]!r}")
        tokens.append(match.group().strip())
        position = match.end()
    tokens.reverse()

    def fail(found: str) -> ParseError:
        return ParseError(f"{text!r} is not a dimension: unexpected {found}")

    def take() -> str:
        return tokens.pop() if tokens else "end"

    def atom(depth: int) -> Size:
        if not tokens:
            raise fail("end")
        token = take()
        if depth > _DEEPEST:
            raise fail("nesting")
        if token == "-":
            return -factor(depth + 1)
        if token == "(":
            value = total(depth + 1)
            if take() != ")":
                raise fail("end: a parenthesis is open")
            return value
        if token.isdigit():
            return int(token)
        if NAME.match(token) and token not in RESERVED:
            return Dim.named(token)
        raise fail(token)

    def factor(depth: int) -> Size:
        value = atom(depth)
        while tokens and tokens[-1] in ("*", "//"):
            if take() == "*":
                value = value * atom(depth)
                continue
            divisor = atom(depth)
            if not isinstance(divisor, int) or divisor < 1:
                raise fail(f"division by {divisor}")
            value = value // divisor
        return value

    def total(depth: int) -> Size:
        value = factor(depth)
        while tokens and tokens[-1] in ("+", "-"):
            value = value + factor(depth) if take() == "+" else value - factor(depth)
        return value

    result = total(0)
    if tokens:
        raise fail(tokens[-1])
    return result
