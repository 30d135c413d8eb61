"""Nodes: ``(op, inputs)``, immutable, interned, compared by identity."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from graphc.ir import facts
from graphc.ir.dims import Guard
from graphc.ir.errors import GraphError
from graphc.ir.op import Op
from graphc.ir.types import Shape, TensorType

if TYPE_CHECKING:
    from graphc.ir.leaves import Leaf

# The arithmetic of nodes is defined by the ops layer, which fills this in: the IR itself knows no
# op.
OPERATORS: dict[str, Any] = {}
# What NumPy calls the operators that an array on the left side asks it for.
UFUNCS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "true_divide": "div", "divide": "div",
    "power": "pow", "matmul": "matmul",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge",
}  # fmt: skip


class Node:
    """One value of a graph: an op applied to other nodes, with its inferred type.

    Equal means identical: the same op on the same inputs *is* the same object, a leaf (input,
    parameter, state, random stream) is always a new one. ``==`` is identity (``gx.equal`` compares
    values), ``bool(node)`` raises, arithmetic operators build nodes.

    Attributes: ``op`` (``op.name`` is the printed name), ``inputs``, ``shape`` (ints or symbolic
    sizes), ``dtype``, ``type``, ``lines`` (the user's lines that made it); a parameter's ``role``.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 3))
    >>> y = gx.relu(x * 2)
    >>> y.op.name, y.shape, y.dtype.name
    ('relu', (Dim('N'), 3), 'float32')
    >>> gx.relu(x * 2) is y
    True
    """

    __slots__ = ("__weakref__", "guards", "inputs", "op", "type")
    op: Op
    inputs: tuple[Node, ...]
    type: TensorType
    guards: tuple[Guard, ...]

    def __init__(self) -> None:
        raise GraphError("nodes are made by the functions of graphc, e.g. gx.input or gx.relu")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise GraphError(f"a node is immutable: its {name} cannot be set", nodes=[self])

    # -- reading ------------------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        """The sizes of its axes: ints, or expressions of named dimensions."""
        return self.type.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.type.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type, a NumPy dtype."""
        return self.type.dtype

    @property
    def lines(self) -> tuple[str, ...]:
        """The user's lines that made it, ``"file.py:12"``."""
        return tuple(dict.fromkeys(origin.line for origin in facts.origins(self)))

    @property
    def role(self) -> str:
        """A parameter's role: ``weight``, ``bias``, ``scale`` or ``shift``."""
        role = getattr(self.op, "role", None)
        if role is None:
            raise AttributeError(f"{describe(self)} is not a parameter: it has no role")
        return str(role)

    def __repr__(self) -> str:
        return describe(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: what it is, and a drawing of what it is computed from."""
        from graphc.ir.display import node_bundle

        return node_bundle(self)

    # -- identity -----------------------------------------------------------------------------

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a node does not pickle: pickle the Graph (it travels as its printed IR) and "
            "look the node up there"
        )

    def __bool__(self) -> NoReturn:
        raise GraphError(
            f"{describe(self)} has no truth value while the graph is being declared: "
            "use gx.where(condition, a, b) to choose, `is` to compare nodes",
            nodes=[self],
        )

    def _symbolic(self, what: str) -> TypeError:
        return TypeError(
            f"{describe(self)} {what} before the graph runs\n  called at {facts.user_line()}\n"
            "  to fix: use graphc's functions (gx.exp, gx.sum, …) and slices, or gx.interpret to "
            "get numbers"
        )

    def __iter__(self) -> NoReturn:
        raise self._symbolic("cannot be iterated over (slice it: x[0])")

    def __contains__(self, item: object) -> NoReturn:
        raise self._symbolic("has no elements")

    def __len__(self) -> NoReturn:
        raise self._symbolic("has no len (its sizes are x.shape)")

    def __float__(self) -> NoReturn:
        raise self._symbolic("is no number")

    def __index__(self) -> NoReturn:
        raise self._symbolic("is no number")

    def __array__(self, *args: object, **kwargs: object) -> NoReturn:
        raise self._symbolic("has no array")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """``array * node`` is a node, not an array of nodes; NumPy's functions take none."""
        if ufunc in (np.equal, np.not_equal):
            return ufunc is np.not_equal  # == is identity, and an array is no node
        name = UFUNCS.get(ufunc.__name__)
        if name is None or method != "__call__" or options:
            raise self._symbolic(f"is nothing that np.{ufunc.__name__} takes")
        # NumPy may have made arrays of its scalars; np.float64(2) * x means the number.
        plain = (i[()] if isinstance(i, np.ndarray) and i.ndim == 0 else i for i in inputs)
        return OPERATORS[name](*plain)

    # -- arithmetic: the ops layer fills the table --------------------------------------------

    def __add__(self, other: Any) -> Node:
        return OPERATORS["add"](self, other)  # type: ignore[no-any-return]

    def __radd__(self, other: Any) -> Node:
        return OPERATORS["add"](other, self)  # type: ignore[no-any-return]

    def __sub__(self, other: Any) -> Node:
        return OPERATORS["sub"](self, other)  # type: ignore[no-any-return]

    def __rsub__(self, other: Any) -> Node:
        return OPERATORS["sub"](other, self)  # type: ignore[no-any-return]

    def __mul__(self, other: Any) -> Node:
        return OPERATORS["mul"](self, other)  # type: ignore[no-any-return]

    def __rmul__(self, other: Any) -> Node:
        return OPERATORS["mul"](other, self)  # type: ignore[no-any-return]

    def __truediv__(self, other: Any) -> Node:
        return OPERATORS["div"](self, other)  # type: ignore[no-any-return]

    def __rtruediv__(self, other: Any) -> Node:
        return OPERATORS["div"](other, self)  # type: ignore[no-any-return]

    def __pow__(self, other: Any) -> Node:
        return OPERATORS["pow"](self, other)  # type: ignore[no-any-return]

    def __rpow__(self, other: Any) -> Node:
        return OPERATORS["pow"](other, self)  # type: ignore[no-any-return]

    def __neg__(self) -> Node:
        return OPERATORS["neg"](self)  # type: ignore[no-any-return]

    def __matmul__(self, other: Any) -> Node:
        return OPERATORS["matmul"](self, other)  # type: ignore[no-any-return]

    def __rmatmul__(self, other: Any) -> Node:
        return OPERATORS["matmul"](other, self)  # type: ignore[no-any-return]

    def __lt__(self, other: Any) -> Node:
        return OPERATORS["lt"](self, other)  # type: ignore[no-any-return]

    def __le__(self, other: Any) -> Node:
        return OPERATORS["le"](self, other)  # type: ignore[no-any-return]

    def __gt__(self, other: Any) -> Node:
        return OPERATORS["gt"](self, other)  # type: ignore[no-any-return]

    def __ge__(self, other: Any) -> Node:
        return OPERATORS["ge"](self, other)  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Node:
        return OPERATORS["slice"](self, index)  # type: ignore[no-any-return]


# -- making ---------------------------------------------------------------------------------------

_lock = threading.RLock()
_table: weakref.WeakValueDictionary[Any, Node] = weakref.WeakValueDictionary()
_ops: weakref.WeakValueDictionary[Any, Op] = weakref.WeakValueDictionary()


def _new(op: Op, inputs: tuple[Node, ...], type_: TensorType, guards: tuple[Guard, ...]) -> Node:
    node = object.__new__(Node)
    for name, value in (("op", op), ("inputs", inputs), ("type", type_), ("guards", guards)):
        object.__setattr__(node, name, value)
    return node


def make(op: Op, *inputs: Node) -> Node:
    """The node ``op(*inputs)``: the one there is, or a new one with its type inferred.

    Raises what the op's ``infer`` raises: ShapeError, DTypeError or GraphError.
    """
    from graphc.ir.check import Check

    for position, node in enumerate(inputs):
        if not isinstance(node, Node):  # hostile or mistaken callers exist
            raise not_a_node(
                op.name, op.operand(position), node,
                [other for other in inputs[: op.shown] if isinstance(other, Node)],
            )  # fmt: skip
    with _lock:
        # Equal ops are one object, so a chain of equal nodes holds one op and one key of it.
        op = _ops.setdefault(op.key(), op)
        key = (op, inputs)
        found = _table.get(key)
    if found is None:
        check = Check(op, inputs)
        type_ = op.infer(check, *inputs)
        if inputs and type_ == inputs[0].type:
            type_ = inputs[0].type
        with _lock:
            # Another thread may have made it while this one inferred.
            found = _table.get(key)
            if found is None:
                found = _new(op, inputs, type_, tuple(check.guards))
                _table[key] = found
    facts.record(found)
    return found


def bare_leaf(op: Leaf) -> Node:
    """A new leaf that no line of the user made."""
    return _new(op, (), op.type, ())


def make_leaf(op: Leaf) -> Node:
    """A new leaf. Never interned: two equal layers are two weights."""
    node = bare_leaf(op)
    facts.record(node)
    return node


def not_a_node(
    function: str, operand: str, value: object, others: Sequence[Node] = ()
) -> GraphError:
    """The error of an operand that is an array, a number, None …; ``others`` are good ones."""
    rows = "".join(f"\n  beside  {describe(other)}" for other in others)
    return GraphError(
        f"{function}: {operand} is a {type(value).__name__}, not a node{rows}\n"
        "  to fix: wrap arrays with gx.constant(value), declare data with gx.input(name, shape)",
        nodes=others,
    )


# -- describing -----------------------------------------------------------------------------------


def describe(node: Node) -> str:
    """One line for errors: ``0.weight: f32[16,1,5,5] (parameter, net.py:12)``."""
    label = getattr(node.op, "label", None)
    name = label() if label is not None else node.op.name
    lines = node.lines
    where = f"{lines[0]}{f' (+{len(lines) - 1})' if len(lines) > 1 else ''}" if lines else ""
    kind = f"{node.op.name}, " if name != node.op.name else ""
    return f"{name}: {node.type}" + (f"  [{kind}{where}]" if where else "")
