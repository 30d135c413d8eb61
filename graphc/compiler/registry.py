"""Which backends there are: found by entry point, loaded when asked for."""

from __future__ import annotations

import inspect
import os
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from graphc.ir.errors import BackendError, GraphError

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP = "graphc.backends"


@cache
def _entries() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def available_backends() -> tuple[str, ...]:
    """The names that ``gx.compile(graph, backend=…)`` takes here.

    >>> import graphc as gx
    >>> "numpy" in gx.available_backends()
    True
    """
    return tuple(sorted(_entries()))


def backend_of(
    name: str | None, threads: int | None, options: Mapping[str, Any] | None = None
) -> Any:
    """The backend called ``name``; None: the one that GRAPHC_BACKEND names, else numpy.

    options: its own ones, by name. Raises GraphError for an unknown name or option, BackendError
    for a backend whose libraries or device are missing.
    """
    wanted = name or os.environ.get("GRAPHC_BACKEND") or "numpy"
    if not isinstance(wanted, str) or wanted not in _entries():
        known = ", ".join(available_backends()) or "none: is graphc installed?"
        raise GraphError(f"there is no backend {wanted!r} here (known: {known})")
    try:
        cls = _entries()[wanted].load()
    except ImportError as error:
        raise BackendError(f"the backend {wanted!r} cannot be loaded: {error}") from error
    own = [
        parameter.name
        for base in cls.__mro__[:-1]
        if "__init__" in vars(base)
        for parameter in inspect.signature(base.__init__).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for option in options or {}:
        if option not in own:
            raise GraphError(
                f"the backend {wanted!r} has no option {option!r} "
                f"(it has: {', '.join(own) or 'none'})"
            )
    return cls(threads, **(options or {}))
