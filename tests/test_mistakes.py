"""Mistakes that users make, in one table: each gets an error that says what was written and where.

A row is a few lines of a user's file ``net.py``; the last one is wrong. The error must be of the
class given, say the line that called, and for each of the nodes named (variables of the file) its
type and the line that made it; ``says`` are more fragments of the message: what was expected, what
to do. The same nodes and lines stand in ``error.nodes`` and ``error.lines``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import data, models, nn, passes
from tests.mistakes import Mistake
from tests.mistakes_declaring import DECLARING, SHAPES, TYPES
from tests.mistakes_running import NOT_AN_ARRAY, PASSES, RUNNING, TEXT

ALL = [*SHAPES, *TYPES, *DECLARING, *NOT_AN_ARRAY, *RUNNING, *PASSES, *TEXT]


def written(row: Mistake) -> tuple[dict[str, Any], str, Exception]:
    """What the user's file holds after the mistake, the line of it, and the error."""
    code = "\n".join(line for line in row.code.splitlines() if line)
    names: dict[str, Any] = {
        "gx": gx, "nn": nn, "np": np, "passes": passes, "models": models, "data": data,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Exception) as caught:
            exec(compile(code, "net.py", "exec"), names)
    return names, f"net.py:{len(code.splitlines())}", caught.value


def test_the_table_is_long_enough() -> None:
    kinds = [row.kind for row in ALL]
    assert len(set(kinds)) == len(kinds) >= 100


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.kind)
def test_the_error_says_what_and_where(row: Mistake) -> None:
    names, line, error = written(row)
    message = str(error)
    assert type(error) is row.error, message
    for fragment in row.says:
        assert fragment in message
    assert f"called at {line}" in message
    assert message.count("called at") == 1
    assert max(map(len, message.splitlines())) <= 250
    if isinstance(error, (gx.GraphError, gx.BackendError)):
        assert line in error.lines
    for name in row.nodes:
        node = names[name]
        assert node in error.nodes  # type: ignore[attr-defined]
        assert str(node.type) in message
        for made in node.lines:
            assert made in error.lines  # type: ignore[attr-defined]
        assert node.lines[0] in message


def test_torn_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, u = gx.input("x", (2,)), gx.parameter("w", (2,)), gx.parameter("u", (2,))
    graph = gx.Graph({"loss": gx.sum(gx.exp(x * w) + gx.tanh(x * u))})
    trained = graph.apply(passes.backward(), passes.sgd(lr=0.1))
    step = gx.compile(trained)
    variables = step.init(seed=0)
    real, calls = np.subtract, []

    def failing(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:  # the second update
            raise MemoryError("no memory today")
        return real(*args, **options)

    monkeypatch.setattr(np, "subtract", failing)
    with pytest.raises(MemoryError):
        step(variables, x=np.ones(2, np.float32))
    monkeypatch.undo()
    with pytest.raises(gx.GraphError, match="half updated by a step that failed") as caught:
        step(variables, x=np.ones(2, np.float32))
    assert "load the variables again" in str(caught.value)
    fresh = step.init(seed=0)
    step(fresh, x=np.ones(2, np.float32))
