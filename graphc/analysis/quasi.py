"""At which sizes an expression of floor divisions is zero.

The paddings of "same" are such expressions. In each residue class of the size they are polynomials,
so finitely many values decide it for every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from graphc.ir.dims import Dim, FloorDiv

# An expression with a longer period is left undecided.
LONGEST_PERIOD = 4096


@dataclass(frozen=True, slots=True)
class Zero:
    """Where an expression is zero: for ``name`` mod ``period`` in ``residues``, and nowhere else.

    Not ``decided``: it grows with the size, depends on two, or its period is too long.
    """

    name: str
    period: int
    residues: tuple[int, ...]
    decided: bool = True

    @property
    def always(self) -> bool:
        """For every size."""
        return self.decided and len(self.residues) == self.period

    @property
    def never(self) -> bool:
        """For no size."""
        return self.decided and not self.residues

    def __str__(self) -> str:
        if not self.decided:
            return f"depends on {self.name}"
        listed = ", ".join(map(str, self.residues[:8])) + (", …" if len(self.residues) > 8 else "")
        return f"{self.name} mod {self.period} = {listed}"


@lru_cache(maxsize=1024)
def zero(expression: Dim) -> Zero:
    """The sizes at which ``expression`` is zero."""
    taken = _by_residue(expression)
    if taken is None:
        return Zero(", ".join(sorted(expression.names())), 0, (), decided=False)
    (name,) = expression.names()
    return _shortest(name, len(taken), [residue for residue, n in enumerate(taken) if n == 0])


def values(expression: Dim) -> frozenset[int] | None:
    """All values of an expression that repeats with the size; None where it does not, or not soon.

    >>> n = Dim.named("N")
    >>> sorted(values(n - n // 3 * 3)), values(n)
    ([0, 1, 2], None)
    """
    taken = _by_residue(expression)
    return None if taken is None else frozenset(taken)


@lru_cache(maxsize=1024)
def _by_residue(expression: Dim) -> tuple[int, ...] | None:
    """Its value in each residue class of the size; None where it is not constant in one."""
    period = _period(expression)
    if len(expression.names()) != 1 or period > LONGEST_PERIOD:
        return None
    (name,) = expression.names()
    found: list[int] = []
    for residue in range(period):
        # A polynomial that takes one value more often than its degree is constant.
        here = {
            expression.evaluate({name: residue + period * (1 + turn)})
            for turn in range(_degree(expression) + 1)
        }
        if len(here) > 1:
            return None
        found += here
    return tuple(found)


def _shortest(name: str, period: int, residues: list[int]) -> Zero:
    for count in range(1, period + 1):
        if period % count == 0:
            part = sorted({r % count for r in residues})
            if len(part) * (period // count) == len(residues):
                return Zero(name, count, tuple(part))
    return Zero(name, period, tuple(residues))


def _degree(expression: Dim) -> int:
    return max(sum(power for _, power in monomial) for monomial in expression.terms)


def _period(expression: Dim) -> int:
    """In whose residue classes the expression is a polynomial of the size."""
    found = 1
    for monomial in expression.terms:
        for atom, _ in monomial:
            if isinstance(atom, FloorDiv):
                inner = atom.numerator
                # A polynomial of degree d with integer values repeats, mod b, after d!·b.
                turns = atom.denominator * math.factorial(_degree(inner))
                found = math.lcm(found, turns * _period(inner))
    return found
