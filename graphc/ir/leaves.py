"""Leaves: inputs, parameters, states and random streams. Each is itself, whatever it looks like."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.errors import DTypeError, GraphError, ShapeError
from graphc.ir.facts import Scope
from graphc.ir.initializers import Initializer, initializer_of
from graphc.ir.node import Node, bare_leaf, make_leaf
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType, dtype_of, is_float, shape_of
from graphc.ir.window import Receptive

if TYPE_CHECKING:
    from graphc.ir.kernel import Lowering

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./@-]*\Z")
ROLES = ("weight", "bias", "scale", "shift")


def check_name(name: object, what: str) -> str:
    """``name`` if the printed IR can write it; else a GraphError."""
    if not isinstance(name, str) or not NAME.match(name):
        raise GraphError(
            f"{what} cannot be called {name!r}: a name starts with a letter, digit or '_' and "
            "goes on with those and '.', '/', '@', '-'"
        )
    return name


def stream_number(path: str) -> int:
    """The Philox key of the stream called ``path`` (design 3.7)."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")


class Naming:
    """How a leaf is called. Settled once, by the first Graph that holds it."""

    __slots__ = ("fixed", "hint", "key", "others", "scope", "suffix")

    def __init__(self, hint: str) -> None:
        self.hint = hint  # what the declaration said
        self.fixed: str | None = None  # the name, once a graph gave it
        self.scope: Scope | None = None  # the module that owns it
        self.key = ""  # … under this attribute
        self.others: list[tuple[Scope, str]] = []  # the modules that share it: a tied weight
        self.suffix = ""


@dataclass(frozen=True, eq=False)
class Leaf(Op):
    """Base of the leaves. ``naming`` is a fact beside the op, not an attribute."""

    type: TensorType
    naming: Naming = field(repr=False)

    def label(self) -> str:
        """The name it has or will have, as far as it is known."""
        naming = self.naming
        if naming.fixed is not None:
            return naming.fixed
        if naming.scope is None:
            return naming.hint
        keys = (*naming.scope.keys(), *([naming.key] if naming.key else []))
        root = naming.scope.root
        prefix = root.name or ("" if naming.scope.keys() else root.kind)
        return ".".join((*([prefix] if prefix else []), *keys))

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> NoReturn:
        raise GraphError(f"{self.name} {self.label()} has no value of its own: it is given one")

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return ()

    def lower(self, low: Lowering, node: Node) -> None:
        return None

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return ()

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return Cost(0, 0)


def naming_of(leaf: Node) -> Naming:
    """How a leaf is called, and by whom it is owned. Raises GraphError for another node."""
    if not isinstance(leaf.op, Leaf):
        raise GraphError(f"{leaf!r} is not a leaf: only leaves have names of their own")
    return leaf.op.naming


@dataclass(frozen=True, eq=False)
class Input(Leaf):
    """What the caller gives at each run."""

    name: ClassVar[str] = "input"
    law: ClassVar[str] = "given by the caller at each run"


@dataclass(frozen=True, eq=False)
class Parameter(Leaf):
    """What training changes: a role, an initializer and any number of uses."""

    name: ClassVar[str] = "parameter"
    law: ClassVar[str] = "learned; one leaf however many uses"
    role: str = "weight"
    init: Initializer = field(default_factory=lambda: initializer_of("zeros"))


@dataclass(frozen=True, eq=False)
class State(Leaf):
    """What a step reads and updates but no gradient reaches (running mean, momentum, step)."""

    name: ClassVar[str] = "state"
    law: ClassVar[str] = "carried from step to step by the graph's updates"
    init: Initializer = field(default_factory=lambda: initializer_of("zeros"))


@dataclass(frozen=True, eq=False)
class Stream(Leaf):
    """A source of random bits; its path chooses which (design 3.7)."""

    name: ClassVar[str] = "stream"
    law: ClassVar[str] = "names a sequence of random bits"


# Two leaves of the process: every graph that draws random bits reads the same seed and step.
def _process(name: str, dtype: str) -> Node:
    naming = Naming(name)
    naming.fixed = name
    return bare_leaf(State(TensorType((), np.dtype(dtype)), naming, initializer_of(0)))


SEED = _process("random/seed", "uint64")
STEP = _process("step", "int64")

# -- declaring ------------------------------------------------------------------------------------


def input(name: str, shape: Any, dtype: Any = "float32") -> Node:
    """An input called ``name``: what the caller gives at each run.

    shape: ints and names of dimensions, e.g. ``("N", 1, 28, 28)``; the same name is the same size.
    Raises GraphError for a bad name or shape, DTypeError for an unknown dtype.

    >>> import graphc as gx
    >>> gx.input("image", ("N", 1, 28, 28)).shape
    (Dim('N'), 1, 28, 28)
    """
    check_name(name, "an input")
    type_ = TensorType(shape_of(shape, what=f"input {name}, shape"), dtype_of(dtype))
    return make_leaf(Input(type_, Naming(name)))


def parameter(
    name: str, shape: Any, *, dtype: Any = "float32", init: Any = "zeros", role: str = "weight"
) -> Node:
    """A parameter: a leaf that training changes, used any number of times.

    shape: ints only. init: an initializer's name, a number, or an ``nn.init`` object. role:
    ``weight``, ``bias``, ``scale`` or ``shift`` (``weight_decay`` selects by it).
    Raises ShapeError for a symbolic size, GraphError for an unknown role or initializer.

    >>> import graphc as gx
    >>> gx.parameter("w", (16, 1, 5, 5), init="kaiming_uniform").role
    'weight'
    """
    check_name(name, "a parameter")
    sizes = shape_of(shape, what=f"parameter {name}, shape")
    _integers(sizes, f"parameter {name}")
    kind = dtype_of(dtype)
    if not is_float(kind):
        raise DTypeError(f"parameter {name} is {kind.name}: only floating-point values are learned")
    if role not in ROLES:
        raise GraphError(f"parameter {name}: role={role!r} is not one of {', '.join(ROLES)}")
    return make_leaf(Parameter(TensorType(sizes, kind), Naming(name), role, initializer_of(init)))


def state(name: str, shape: Any, *, dtype: Any = "float32", init: Any = "zeros") -> Node:
    """A state: a leaf that a graph's ``updates`` carry from step to step (a running mean, a count).

    shape: ints only. Raises ShapeError for a symbolic size.

    >>> import graphc as gx
    >>> gx.state("running_mean", (16,)).op.name
    'state'
    """
    check_name(name, "a state")
    sizes = shape_of(shape, what=f"state {name}, shape")
    _integers(sizes, f"state {name}")
    return make_leaf(State(TensorType(sizes, dtype_of(dtype)), Naming(name), initializer_of(init)))


def stream(name: str, scope: Scope | None = None, suffix: str = "") -> Node:
    """A random stream: named by its layer's path where ``scope`` is given (plus ``suffix``)."""
    naming = Naming(check_name(name, "a stream"))
    naming.scope, naming.suffix = scope, suffix
    return make_leaf(Stream(TensorType((), np.dtype(np.uint64)), naming))


def _integers(sizes: tuple[int | Dim, ...], what: str) -> None:
    symbolic = [str(size) for size in sizes if not isinstance(size, int)]
    if symbolic:
        raise ShapeError(
            f"{what} has the symbolic size {symbolic[0]}: its array must have one shape for "
            "every run, so all its sizes are ints"
        )
