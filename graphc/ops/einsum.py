"""Einstein's sums, as transposes, reshapes and matrix products: a composition, two operands a time.

The order of the products is that of the operands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from graphc.ir import dims
from graphc.ir.dims import Size
from graphc.ir.errors import GraphError
from graphc.ir.node import Node, not_a_node
from graphc.ops.linear import matmul
from graphc.ops.mistake import mistake
from graphc.ops.reduce import sum as sum_
from graphc.ops.shape import reshape, transpose

__all__ = ["einsum"]


def einsum(equation: str, *operands: Node) -> Node:
    """The sum over all letters that the result lacks of the products of the operands' elements.

    equation: one letter an axis, operands between commas, e.g. ``"bhqd,bhkd->bhqk"``. Without
    ``->`` the result has the letters that stand once, in alphabetical order. A letter stands once
    in an operand, and has one size everywhere; ``...`` is not read. Results are those of
    ``numpy.einsum`` and ``torch.einsum``.

    Raises GraphError for an equation that does not fit the number of operands or has another form,
    ShapeError where an operand has another number of axes or a letter two sizes.

    >>> import graphc as gx
    >>> a, b = gx.input("a", ("N", 2)), gx.input("b", ("N", 2))
    >>> graph = gx.Graph({"dot": gx.einsum("ni,ni->n", a, b)})
    >>> gx.interpret(graph, {}, a=[[1, 2], [3, 4]], b=[[1, 1], [1, -1]])["dot"].tolist()
    [3.0, -1.0]
    """
    terms, result = _parsed(equation, operands)
    _sizes(equation, terms, operands)
    nodes = list(operands)
    while len(nodes) > 1:
        wanted = {*result, *(letter for term in terms[2:] for letter in term)}
        term, node = _product(terms[0], nodes[0], terms[1], nodes[1], wanted)
        terms[:2], nodes[:2] = [term], [node]
    term, node = _summed(terms[0], nodes[0], set(result))
    return _ordered(term, node, result)


def _product(left: str, a: Node, right: str, b: Node, wanted: set[str]) -> tuple[str, Node]:
    """Two operands as one, with the letters that are still wanted."""
    left, a = _summed(left, a, wanted | set(right))
    right, b = _summed(right, b, wanted | set(left))
    batch = [letter for letter in left if letter in right and letter in wanted]
    inner = [letter for letter in left if letter in right and letter not in wanted]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]
    size = dict(zip(left, a.shape, strict=True)) | dict(zip(right, b.shape, strict=True))
    term = "".join([*batch, *rows, *columns])

    def joined(letters: Sequence[str]) -> Size:
        return math.prod(size[letter] for letter in letters)

    shared = [size[letter] for letter in batch]
    a, b = (
        _ordered(left, a, [*batch, *rows, *inner]),
        _ordered(right, b, [*batch, *inner, *columns]),
    )
    if inner:
        a = reshape(a, (*shared, joined(rows), joined(inner)))
        b = reshape(b, (*shared, joined(inner), joined(columns)))
        return term, reshape(matmul(a, b), [size[letter] for letter in term])
    # Nothing is summed: each meets each, by broadcasting.
    a = reshape(a, (*a.shape, *[1] * len(columns)))
    b = reshape(b, (*shared, *[1] * len(rows), *[size[letter] for letter in columns]))
    return term, a * b


def _summed(term: str, node: Node, wanted: set[str]) -> tuple[str, Node]:
    """An operand without the axes that nothing else reads."""
    alone = tuple(axis for axis, letter in enumerate(term) if letter not in wanted)
    kept = "".join(letter for letter in term if letter in wanted)
    return kept, sum_(node, alone) if alone else node


def _ordered(term: str, node: Node, order: Sequence[str]) -> Node:
    return transpose(node, [term.index(letter) for letter in order])


# -- checks ---------------------------------------------------------------------------------------


def _parsed(equation: Any, operands: Sequence[Any]) -> tuple[list[str], str]:
    """The letters of each operand, and those of the result."""
    if not isinstance(equation, str):
        _refuse(equation, "the equation comes first: gx.einsum('ij,jk->ik', a, b)")
    for operand in operands:
        if not isinstance(operand, Node):
            raise not_a_node("einsum", "operand", operand)
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        _refuse(equation, f"it speaks of {len(terms)} operands, and there are {len(operands)}")
    if not arrow:
        every = "".join(terms)
        result = "".join(sorted(letter for letter in set(every) if every.count(letter) == 1))
    for term in (*terms, result):
        if not all(letter.isascii() and letter.isalpha() for letter in term):
            _refuse(equation, f"{term!r} is not made of letters, one an axis ('...' is not read)")
        if len(set(term)) != len(term):
            _refuse(equation, f"a letter stands twice in {term!r}: diagonals are not read")
    unknown = sorted(set(result) - set(left))
    if unknown:
        _refuse(equation, f"the result has {unknown[0]!r}, which no operand has")
    return terms, result


def _refuse(equation: Any, what: str) -> NoReturn:
    mistake("einsum", f"{equation!r}: {what}", error=GraphError)


def _sizes(equation: str, terms: Sequence[str], operands: Sequence[Node]) -> None:
    """Every letter has one size; what cannot be decided here is a guard of the products."""
    known: dict[str, tuple[Size, Node]] = {}
    for term, node in zip(terms, operands, strict=True):
        if node.ndim != len(term):
            what = f"{term!r} names {len(term)} axes of an operand of {node.ndim}"
            mistake("einsum", f"{equation!r}: {what}", operand=node)
        for letter, size in zip(term, node.shape, strict=True):
            before, first = known.setdefault(letter, (size, node))
            if dims.always_equal(before, size) is False:
                what = f"{equation!r}: {letter!r} is {before} and {size}"
                mistake("einsum", what, first=first, second=node)
