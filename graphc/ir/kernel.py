"""Kernel descriptions: what an op computes, as data, for every printer.

An op's ``lower`` says *what* each element of its result is: which axes there are, which element of
which buffer is loaded, how they combine. It never says how: loops, temporaries, threads and
addresses are a target's schedule. One description serves NumPy and CUDA.

>>> import graphc as gx
>>> x = gx.input("x", ("N", 3))
>>> low = Lowering(lambda stream: "s")
>>> low.begin(gx.exp(x))
>>> low.pointwise(lambda v: apply("exp", v))
>>> print(low.steps[0])
for n0:N, n1:3: out exp[n0, n1] = exp(x[n0, n1])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from graphc.ir.dims import Dim, Size
from graphc.ir.node import Node
from graphc.ir.types import Shape

DType = np.dtype[Any]
BOOL = np.dtype(np.bool_)

# What a printer must know how to write, and how many arguments each takes. ``select`` is exact: it
# never computes with the branch not taken. Comparisons and logic give bool; ``cast`` converts.
POINTWISE: dict[str, int] = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "pow": 2, "max": 2, "min": 2,
    "neg": 1, "exp": 1, "log": 1, "sqrt": 1, "tanh": 1, "sigmoid": 1, "relu": 1,
    "abs": 1, "sign": 1, "floor": 1, "erf": 1, "sin": 1, "cos": 1, "expm1": 1, "log1p": 1,
    "eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2,
    "and": 2, "or": 2, "not": 1, "select": 3, "cast": 1,
}  # fmt: skip
COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not"})


# -- where: axes, indices, references -------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """One axis of iteration. Nominal: two axes of one extent are two axes."""

    name: str
    extent: Size

    def __mul__(self, factor: int) -> Index:
        return index(self) * factor

    __rmul__ = __mul__

    def __add__(self, other: Axis | Index | Size) -> Index:
        return index(self) + other

    __radd__ = __add__

    def __sub__(self, other: Axis | Index | Size) -> Index:
        return index(self) - other

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Index:
    """``(Σ coefficient·axis + offset) / divisor``; valid iff whole and inside the dimension."""

    terms: tuple[tuple[Axis, int], ...] = ()
    offset: Size = 0
    divisor: int = 1

    def __add__(self, other: Axis | Index | Size) -> Index:
        other = index(other)
        terms = dict(self.terms)
        for axis, coefficient in other.terms:
            terms[axis] = terms.get(axis, 0) + coefficient
        kept = tuple((a, c) for a, c in terms.items() if c)
        return Index(kept, self.offset + other.offset)

    __radd__ = __add__

    def __mul__(self, factor: int) -> Index:
        return Index(tuple((a, c * factor) for a, c in self.terms), self.offset * factor)

    __rmul__ = __mul__

    def __sub__(self, other: Axis | Index | Size) -> Index:
        return self + index(other) * -1

    def __truediv__(self, divisor: int) -> Index:
        return Index(self.terms, self.offset, self.divisor * divisor)

    def __str__(self) -> str:
        parts = [str(a) if c == 1 else f"{c}*{a}" for a, c in self.terms]
        if not parts or self.offset != 0:
            parts.append(str(self.offset))
        text = " + ".join(parts)
        return text if self.divisor == 1 else f"({text})/{self.divisor}"


def index(value: Axis | Index | Size) -> Index:
    """An axis or a size as an index."""
    if isinstance(value, Index):
        return value
    if isinstance(value, Axis):
        return Index(((value, 1),))
    return Index((), value)


@dataclass(frozen=True, slots=True)
class Ref:
    """A buffer as the descriptions see it: a node's value, or an extra result of it (``what``)."""

    node: Node
    what: str
    shape: Shape
    dtype: DType

    def __hash__(self) -> int:
        return hash((self.node, self.what))  # the rest follows from these

    def __str__(self) -> str:
        label = getattr(self.node.op, "label", None)
        name = label() if label is not None else self.node.op.name
        return name if self.what == "value" else f"{name}:{self.what}"


def value(node: Node) -> Ref:
    """The buffer that holds a node's value."""
    return Ref(node, "value", node.shape, node.dtype)


# -- what: expressions ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """The element of ``ref`` at ``index``; ``fill`` where the index is not valid (None: it always
    is)."""

    ref: Ref
    index: tuple[Index, ...]
    fill: float | int | bool | None = None

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.ref.dtype

    def __str__(self) -> str:
        fill = "" if self.fill is None else f" else {self.fill}"
        return f"{self.ref}[{', '.join(map(str, self.index))}{fill}]"


@dataclass(frozen=True, slots=True)
class Const:
    """A number."""

    value: float | int | bool
    dtype: DType

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True)
class Count:
    """The number that a symbolic size is in this run."""

    size: Size
    dtype: DType

    def __str__(self) -> str:
        return f"size({self.size})"


@dataclass(frozen=True, slots=True)
class Position:
    """Where along an axis the element is (0, 1, …)."""

    axis: Axis
    dtype: DType

    def __str__(self) -> str:
        return f"position({self.axis})"


@dataclass(frozen=True, slots=True)
class Apply:
    """One of ``POINTWISE`` on the values of other expressions. An equal expression is one value."""

    op: str
    args: tuple[Expr, ...]
    dtype: DType

    def __str__(self) -> str:
        return f"{self.op}({', '.join(map(str, self.args))})"


@dataclass(frozen=True, slots=True)
class Acc:
    """A reduction over the axes of its phase; later phases read it.

    ``sum``, ``max`` and ``min`` (which propagate NaN), ``argmax`` (the row-major number, among the
    axes of the phase, of the first element that is larger than all before it).
    """

    monoid: Literal["sum", "max", "min", "argmax"]
    expr: Expr
    dtype: DType

    def __str__(self) -> str:
        return f"{self.monoid}({self.expr})"


Expr: TypeAlias = Load | Const | Count | Position | Apply | Acc


def apply(op: str, *args: Expr, dtype: DType | None = None) -> Apply:
    """``op`` on expressions. The result's dtype is the last argument's (bool for comparisons)."""
    if op not in POINTWISE or len(args) != POINTWISE[op]:
        raise ValueError(f"{op} with {len(args)} arguments is not a pointwise op of the kernels")
    if dtype is None:
        dtype = BOOL if op in COMPARISONS else args[-1].dtype
    return Apply(op, args, dtype)


# -- how it is put together -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Store:
    """``ref[index] = expr``: each element is written at most once."""

    ref: Ref
    index: tuple[Index, ...]
    expr: Expr

    def __str__(self) -> str:
        return f"out {self.ref}[{', '.join(map(str, self.index))}] = {self.expr}"


@dataclass(frozen=True, slots=True)
class Phase:
    """One sweep over the parallel axes and ``over``: reductions, or stores, or both."""

    over: tuple[Axis, ...] = ()
    accs: tuple[Acc, ...] = ()
    stores: tuple[Store, ...] = ()

    def __str__(self) -> str:
        over = f" over {_axes(self.over)}" if self.over else ""
        return "; ".join(map(str, (*self.accs, *self.stores))) + over


@dataclass(frozen=True, slots=True)
class Kernel:
    """Phases, in order, at every point of the parallel axes. All loads see memory as it was before
    the kernel."""

    node: Node
    parallel: tuple[Axis, ...]
    phases: tuple[Phase, ...]

    def __str__(self) -> str:
        phases = " | ".join(map(str, self.phases))
        return f"for {_axes(self.parallel)}: {phases}" if self.parallel else phases


@dataclass(frozen=True, slots=True)
class Gemm:
    """``out[batch, m, n] = Σ_k a[batch, m, k] · b[batch, k, n]``; each letter is a list of axes.

    The operands are loads, masked ones too: a convolution is one Gemm. Every axis of ``out`` is in
    ``batch``, ``m`` or ``n``.
    """

    node: Node
    batch: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    k: tuple[Axis, ...]
    a: Load
    b: Load
    out: Ref
    out_index: tuple[Index, ...]

    def __str__(self) -> str:
        where = ", ".join(map(str, self.out_index))
        head = f"for {_axes((*self.batch, *self.m, *self.n))}: " if self.m or self.n else ""
        return f"{head}out {self.out}[{where}] = sum({self.a} * {self.b}) over {_axes(self.k)}"


@dataclass(frozen=True, slots=True)
class Routine:
    """Something a backend has a library call for: ``constant``; ``philox`` (seed, step -> uniform
    numbers of a stream); ``check_range`` (labels -> nothing; fails where one is outside);
    ``cumsum``; ``gather`` (x, index -> x at the indices) and its transpose ``gather_grad``."""

    node: Node
    name: str
    inputs: tuple[Ref, ...]
    out: Ref | None
    attributes: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        extra = "".join(f" {k}={v}" for k, v in self.attributes)
        inputs = ", ".join(map(str, self.inputs))
        return f"{f'out {self.out} = ' if self.out else ''}{self.name}({inputs}){extra}"


@dataclass(frozen=True, slots=True)
class Alias:
    """``out`` is the memory of ``source`` under another shape: free."""

    node: Node
    out: Ref
    source: Ref

    def __str__(self) -> str:
        return f"out {self.out} is {self.source}"


Step: TypeAlias = Kernel | Gemm | Routine | Alias


def _axes(axes: Sequence[Axis]) -> str:
    return ", ".join(f"{axis.name}:{axis.extent}" for axis in axes)


# -- the builder that an op's lower rule is handed ------------------------------------------------


class Lowering:
    """Collects the descriptions of a graph, node after node."""

    def __init__(self, stream_path: Callable[[Node], str]) -> None:
        self.steps: list[Step] = []
        self.stream_path = stream_path
        self._once: dict[Any, tuple[Ref, ...]] = {}
        self._node: Node | None = None
        self._counter = 0

    def begin(self, node: Node) -> None:
        """The descriptions that follow belong to ``node``."""
        self._node, self._counter = node, 0

    @property
    def node(self) -> Node:
        """The node being lowered."""
        if self._node is None:
            raise RuntimeError("Lowering.begin was not called")
        return self._node

    @property
    def out(self) -> Ref:
        """The buffer of the node being lowered."""
        return value(self.node)

    def axes(self, shape: Sequence[Size], prefix: str = "n") -> tuple[Axis, ...]:
        """Fresh axes with these extents."""
        return tuple(Axis(f"{prefix}{i}", size) for i, size in enumerate(shape))

    def load(
        self,
        source: Node | Ref,
        where: Sequence[Axis | Index | Size],
        fill: float | int | bool | None = None,
    ) -> Load:
        """The element of a node (or an extra buffer) at ``where``."""
        ref = value(source) if isinstance(source, Node) else source
        if len(where) != len(ref.shape):
            raise ValueError(f"{ref} has {len(ref.shape)} axes, the index has {len(where)}")
        return Load(ref, tuple(map(index, where)), fill)

    def broadcast(self, source: Node | Ref, axes: Sequence[Axis]) -> Load:
        """The element of ``source`` that meets the point ``axes`` under broadcasting."""
        ref = value(source) if isinstance(source, Node) else source
        # Missing leading axes, and axes of literal size 1, are the same for every point.
        aligned = axes[len(axes) - len(ref.shape) :]
        return self.load(
            ref,
            [
                0 if size == 1 and axis.extent != 1 else axis
                for size, axis in zip(ref.shape, aligned, strict=True)
            ],
        )

    def kernel(self, parallel: Sequence[Axis], phases: Sequence[Phase]) -> None:
        """Add a kernel."""
        self.steps.append(Kernel(self.node, tuple(parallel), tuple(phases)))

    def map(
        self, parallel: Sequence[Axis], out: Ref, where: Sequence[Axis | Index | Size], expr: Expr
    ) -> None:
        """Add a kernel that stores one expression and reduces nothing."""
        self.kernel(parallel, [Phase(stores=(Store(out, tuple(map(index, where)), expr),))])

    def pointwise(self, function: Callable[..., Expr], *sources: Node) -> None:
        """The node is ``function`` of the elements of its inputs (or ``sources``), broadcast."""
        axes = self.axes(self.node.shape)
        loads = [self.broadcast(source, axes) for source in sources or self.node.inputs]
        self.map(axes, self.out, axes, function(*loads))

    def gemm(
        self,
        *,
        batch: Sequence[Axis] = (),
        m: Sequence[Axis],
        n: Sequence[Axis],
        k: Sequence[Axis],
        a: Load,
        b: Load,
        out: Ref | None = None,
        out_index: Sequence[Axis | Index | Size],
    ) -> None:
        """Add a matrix product."""
        self.steps.append(
            Gemm(
                self.node, tuple(batch), tuple(m), tuple(n), tuple(k), a, b,
                self.out if out is None else out, tuple(map(index, out_index)),
            )
        )  # fmt: skip

    def routine(
        self, name: str, inputs: Sequence[Node | Ref], out: Ref | None, **attributes: Any
    ) -> None:
        """Add a library call."""
        refs = tuple(value(i) if isinstance(i, Node) else i for i in inputs)
        self.steps.append(Routine(self.node, name, refs, out, tuple(attributes.items())))

    def alias(self, source: Node) -> None:
        """The node is its input's memory under its own shape."""
        self.steps.append(Alias(self.node, self.out, value(source)))

    def scratch(self, what: str, shape: Sequence[Size], dtype: Any) -> Ref:
        """An extra buffer of the node being lowered."""
        self._counter += 1
        return Ref(self.node, f"{what}{self._counter}", tuple(shape), np.dtype(dtype))

    def once(self, key: Any, build: Callable[[], tuple[Ref, ...]]) -> tuple[Ref, ...]:
        """Extra buffers that several nodes read: built by the first that asks for ``key``."""
        if key not in self._once:
            self._once[key] = build()
        return self._once[key]


def number(size: Size, dtype: DType) -> Const | Count:
    """A size as a value."""
    if isinstance(size, Dim):
        return Count(size, dtype)
    return Const(size if dtype.kind in "iu" else float(size), dtype)
