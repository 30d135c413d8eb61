"""Facts beside the graph: which line of the user made a node, inside which module.

They live in a weak table, never in a node's identity: the same sum written on two lines is one
node with two origins. A pass that replaces a node hands its origins on (``derive``), so every node
of a transformed graph still says which line of the user it comes from.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from graphc.ir.node import Node


class Scope:
    """A module as the graph sees it: what it is called and inside what.

    It holds no parameter and no layer, so an origin can keep it without keeping a model alive.
    """

    __slots__ = ("key", "kind", "name", "others", "parent")

    def __init__(self, kind: str, name: str | None = None) -> None:
        self.kind = kind  # "linear", "sequential": how a bare layer is called
        self.name = name  # what the user said with name=
        self.parent: Scope | None = None
        self.key = ""
        self.others: list[tuple[Scope, str]] = []  # what else owns it: a layer in two places

    def adopt(self, child: Scope, key: str) -> None:
        """Own ``child`` under ``key``, unless it is owned already: the first owner counts."""
        if child is self or self.root is child:
            return
        if child.parent is None:
            child.parent, child.key = self, key
        elif (self, key) not in [(child.parent, child.key), *child.others]:
            child.others.append((self, key))

    @property
    def root(self) -> Scope:
        """The topmost owner."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def keys(self) -> tuple[str, ...]:
        """The attribute names from the root down to here."""
        found: list[str] = []
        scope = self
        while scope.parent is not None:
            found.append(scope.key)
            scope = scope.parent
        return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Origin:
    """One place that made a node: the user's line, the innermost module being called."""

    line: str
    scope: Scope | None = None


class _Current(threading.local):
    """What this thread is building right now."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.derived: list[tuple[Node, tuple[Origin, ...], Node | None]] = []
        self.last: tuple[Origin] = (Origin(""),)  # nodes of one line share one


_current = _Current()
_lock = threading.RLock()
_origins: weakref.WeakKeyDictionary[Node, tuple[Origin, ...]] = weakref.WeakKeyDictionary()
_forward: weakref.WeakKeyDictionary[Node, weakref.ref[Node]] = weakref.WeakKeyDictionary()
_sources: weakref.WeakKeyDictionary[Node, weakref.ref[Node]] = weakref.WeakKeyDictionary()

_PACKAGE = Path(__file__).resolve().parent.parent
# backends/ and viz/ stand beside the package in a checkout, inside it in a wheel. NumPy's functions
# call a node's methods: what called them is the user's line.
_OURS = tuple(
    f"{folder}/"
    for folder in (
        _PACKAGE,
        _PACKAGE.parent / "backends",
        _PACKAGE.parent / "viz",
        Path(np.__file__).resolve().parent,
    )
)
# A network of the zoo is written as a user writes one, and its own lines say more than the one
# line that asked for all of it.
_ZOO = f"{_PACKAGE / 'models'}/"
_REGISTRY = f"{_ZOO}registry.py"
_CLI = f"{_PACKAGE / 'cli'}/"
# Python's own code between two frames of ours: a cached property, a context manager.
_BETWEEN = frozenset({functools.__file__, contextlib.__file__})
COMMAND = "graphc"  # the line of what the command line does by itself: nobody wrote one


def user_line() -> str:
    """``"lenet.py:14"``: the innermost frame that is not ours, a notebook's as ``cell:line``."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        if frame.f_code.co_filename.startswith(_CLI):
            return COMMAND
        frame = frame.f_back
    file = frame.f_code.co_filename
    if _is_ours(frame):
        return COMMAND
    if "ipykernel" in file or file.startswith("<ipython"):
        return f"cell:{frame.f_lineno}"
    name = file.replace(chr(92), "/").rsplit("/", 1)[-1]
    if not name.isprintable():  # a line break in a file's name would end the printed IR's comment
        name = "".join(c if c.isprintable() else "?" for c in name)
    return f"{name}:{frame.f_lineno}"


def _is_ours(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if file == "<string>":  # the __init__ that dataclass writes for an op, or python -c
        return str(frame.f_globals.get("__name__")).startswith("graphc.")
    if file in _BETWEEN:
        return True
    return file.startswith(_OURS) and (not file.startswith(_ZOO) or file == _REGISTRY)


@contextmanager
def calling(scope: Scope) -> Iterator[None]:
    """Nodes made inside belong to this module."""
    _current.scopes.append(scope)
    try:
        yield
    finally:
        _current.scopes.pop()


@contextmanager
def derive(source: Node, *, gradient: bool = False) -> Iterator[None]:
    """Nodes made inside come from ``source``: they take its origins, not the pass's own frames.

    With ``gradient=True`` they also belong to it as parts of its gradient rule (``forward_of``).
    """
    owner = source if gradient else forward_of(source)
    _current.derived.append((source, origins(source), owner))
    try:
        yield
    finally:
        _current.derived.pop()


def record(node: Node) -> None:
    """Note where ``node`` is being made. Called for every creation, an interned one too."""
    if _current.derived:
        source, found, owner = _current.derived[-1]
        # A node that the user wrote keeps the user's lines alone, whatever pass meets it again.
        if node in _origins:
            return
        add(node, found)
        with _lock:
            _sources.setdefault(node, weakref.ref(source))
            if owner is not None:
                _forward.setdefault(node, weakref.ref(owner))
        return
    line, scope = user_line(), _current.scopes[-1] if _current.scopes else None
    (last,) = _current.last
    if last.line != line or last.scope is not scope:
        _current.last = (Origin(line, scope),)
    add(node, _current.last)


def add(node: Node, found: Iterable[Origin]) -> None:
    """Give ``node`` these origins too; equal ones are kept once, in the order they came."""
    with _lock:
        known = _origins.get(node)
        if known is None:
            _origins[node] = tuple(found)
            return
        new = tuple(origin for origin in found if origin not in known)
        if new:
            _origins[node] = known + new


def origins(node: Node) -> tuple[Origin, ...]:
    """Every place that made ``node``, the first one first."""
    return _origins.get(node, ())


def forward_of(node: Node) -> Node | None:
    """The forward node whose gradient rule made ``node``, if one did."""
    found = _forward.get(node)
    return None if found is None else found()


def in_backward(node: Node) -> bool:
    """Whether some gradient rule made ``node``, be its forward node gone or not."""
    return node in _forward


def source_of(node: Node) -> Node | None:
    """The node that a pass made ``node`` from (``derive``), if one did and it is still there."""
    found = _sources.get(node)
    return None if found is None else found()


def set_forward(node: Node, owner: Node) -> None:
    """Say that ``node`` is part of the gradient of ``owner`` (a pass that rebuilt both)."""
    with _lock:
        _forward[node] = weakref.ref(owner)
