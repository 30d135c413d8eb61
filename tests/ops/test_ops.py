"""Every row of ``rows_*.py``: value, gradients and compiled program against JAX."""

from __future__ import annotations

import pytest

import graphc as gx
from tests.ops.harness import Row, all_rows, case

ROWS = all_rows()


def cases(*, grad: bool = False, second: bool = False) -> pytest.MarkDecorator:
    """The rows, at each of their dtypes; second derivatives at the widest only."""
    chosen = [
        pytest.param(row, dtype, id=f"{row.name}-{dtype}")
        for row in ROWS
        if (row.grad or not (grad or second)) and (row.second or not second)
        for dtype in (row.dtypes[-1:] if second else row.dtypes)
    ]
    return pytest.mark.parametrize(("row", "dtype"), chosen)


@cases()
def test_value(row: Row, dtype: str) -> None:
    for sample in row.samples:
        case(row, dtype).check_value(sample)


@cases(grad=True)
def test_first_gradient(row: Row, dtype: str) -> None:
    for sample in row.samples:
        case(row, dtype).check_gradient(sample, order=1)


@cases(second=True)
def test_second_gradient(row: Row, dtype: str) -> None:
    for sample in row.samples:
        case(row, dtype).check_gradient(sample, order=2)


@cases()
def test_compiled_program(row: Row, dtype: str) -> None:
    for sample in row.samples:
        case(row, dtype).check_program(sample)


@cases()
def test_prints_and_parses(row: Row, dtype: str) -> None:
    graph = case(row, dtype).whole
    assert gx.parse(str(graph)) == graph
    gx.verify(graph)


def test_names_are_unique() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
