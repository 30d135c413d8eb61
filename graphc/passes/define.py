"""What a pass is: a function Graph -> Graph with a name and its law in one line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, Protocol, overload

from graphc.ir import Graph, GraphError

Options = ParamSpec("Options")
Function = Callable[[Graph], Graph]


class Pass:
    """A function Graph -> Graph, or one that takes options and gives such a function.

    Attributes: ``name`` (what the history calls it), ``law`` (one line: what it does), ``changes``
    (globs of the outputs whose values it changes on purpose; empty: of none). The repr is what the
    user wrote, e.g. ``passes.sgd(lr=0.1)``.
    """

    name: str
    law: str
    changes: tuple[str, ...]

    def __init__(
        self, function: Callable[..., Any], call: str = "", changes: Sequence[str] = ()
    ) -> None:
        functools.update_wrapper(self, function)
        self.changes = tuple(changes)
        self.name = function.__name__
        self.law = (function.__doc__ or "").strip().split("\n", 1)[0]
        self._function = function
        self._call = call or self.name

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run on a graph, or take the options: which of the two it is, the result tells."""
        graphs = [given for given in args if isinstance(given, Graph)]
        if graphs and not self._takes(args, options):
            raise self._no_graph("takes options")
        result = self._function(*args, **options)
        if isinstance(result, Graph):
            return result
        if graphs or not callable(result):
            raise self._no_graph(f"gave a {type(result).__name__}, not a Graph")
        shown = [*map(repr, args), *(f"{key}={value!r}" for key, value in options.items())]
        configured = Pass(self._function, f"{self.name}({', '.join(shown)})", self.changes)
        configured._function = result
        return configured

    def report(self, graph: Graph) -> Any:
        """What this pass, with these options, chooses in ``graph`` and what it leaves, and why.

        Told by the passes whose choice is worth a look before training: ``weight_decay``. Printed,
        a table. Raises GraphError where the pass has no such report.
        """
        found = getattr(self._function, "report", None)
        if found is None:
            raise GraphError(f"{self!r} has no report: passes.weight_decay(…) has one")
        return found(graph)

    def _takes(self, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
        try:
            inspect.signature(self._function).bind(*args, **options)
        except TypeError:
            return False
        return True

    def _no_graph(self, what: str) -> GraphError:
        return GraphError(
            f"the pass {self.name} {what}: a pass returns a Graph, and one that takes options is "
            f"written with its parentheses, passes.{self.name}(…)"
        )

    def __repr__(self) -> str:
        return f"passes.{self._call}"


class _Define(Protocol):
    """``define`` with its options given."""

    @overload
    def __call__(self, function: Function, /) -> Pass: ...
    @overload
    def __call__(self, function: Callable[Options, Function], /) -> Callable[Options, Pass]: ...


@overload
def define(function: Function, /) -> Pass: ...
@overload
def define(function: Callable[Options, Function], /) -> Callable[Options, Pass]: ...
@overload
def define(*, changes: str | Sequence[str]) -> _Define: ...
def define(
    function: Callable[..., Any] | None = None, /, *, changes: str | Sequence[str] = ()
) -> Any:
    """Make a pass of a function Graph -> Graph, or of one that takes options and gives such one.

    Its name is the function's, its law the first line of the docstring. Check the options in the
    outer function: there the user's own line is still in the traceback.

    changes: a glob of outputs (or several) whose values the pass changes on purpose, ``"*"`` for
    all: ``graph.apply(…, check=inputs)`` raises where a pass changes any other.

    >>> import graphc as gx
    >>> from graphc import passes
    >>> @passes.define
    ... def forget(*, output):
    ...     '''outputs -> outputs without this one.'''
    ...     def run(graph):
    ...         return graph.select(*(name for name in graph.outputs if name != output))
    ...     return run
    >>> x = gx.input("x", (2,))
    >>> graph = gx.Graph({"y": gx.relu(x), "z": gx.tanh(x)}).apply(forget(output="z"))
    >>> list(graph.outputs), graph.made_by, forget(output="z")
    (['y'], 'forget', passes.forget(output='z'))
    """
    globs = (changes,) if isinstance(changes, str) else tuple(changes)
    if function is None:
        return functools.partial(Pass, changes=globs)
    return Pass(function, changes=globs)
