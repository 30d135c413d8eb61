"""Modules: Python objects that own parameters and build nodes when they are called.

A module is only a way to declare: the graph keeps the nodes, and from the module no more than the
path that names its parameters. Whatever is assigned to an attribute belongs to the module, the
first owner counts, and the path from the topmost owner is the name: PyTorch's ``state_dict`` key.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import numpy as np

from graphc.ir import GraphError, Node, facts
from graphc.ir.facts import Scope
from graphc.ir.leaves import Naming, Parameter, State, check_name
from graphc.ir.node import make_leaf


class Module:
    """Base of the layers, and of your own networks: assign layers, write ``forward``.

    ``name=`` (of a module that no other owns) goes before the names of all that it owns; without
    it, the names begin with the attributes. A layer called twice shares its parameters;
    ``copy.deepcopy(layer)`` makes fresh ones.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = nn.Linear(4, 8)
    ...         self.out = nn.Linear(8, 2)
    ...     def forward(self, x):
    ...         return self.out(gx.relu(self.hidden(x)))
    >>> list(gx.Graph({"y": Net()(gx.input("x", ("N", 4)))}).parameters)
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    # What a module that nobody owns calls its own parameters: "linear" gives linear.weight,
    # linear_1.weight, …; the empty kind leaves the attribute alone.
    _kind: ClassVar[str] = ""

    _scope: Scope
    _name: str | None  # what the user said; the scope's name may also be a number's: linear_1

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """The scope exists before ``__init__``: attributes may be assigned ahead of super()'s."""
        module = super().__new__(cls)
        module._scope, module._name = Scope(cls._kind), None
        return module

    def __init__(self, *, name: str | None = None) -> None:
        self._name = None if name is None else check_name(name, "a module")
        self._scope.name = self._name

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Build the nodes; your network says how. Called by ``module(…)``."""
        raise GraphError(f"{type(self).__name__} declares no forward(self, x): it cannot be called")

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """``forward``, with every node made on the way noted as this module's."""
        for given in (*inputs, *named.values()):
            if isinstance(given, (Module, np.ndarray)):
                raise _not_a_node(self, given)
        with facts.calling(self._scope):
            return self.forward(*inputs, **named)

    # -- owning -------------------------------------------------------------------------------

    def __setattr__(self, key: str, value: Any) -> None:
        before = vars(self).get(key)
        if before is not value and isinstance(before, Module):
            before._scope.others = [o for o in before._scope.others if o != (self._scope, key)]
        elif (
            before is not value
            and isinstance(before, Node)
            and isinstance(before.op, (Parameter, State))
        ):
            naming = before.op.naming
            naming.others = [owner for owner in naming.others if owner != (self._scope, key)]
        if isinstance(value, Module):
            check_name(key, "a layer")
            self._scope.adopt(value._scope, key)
        elif isinstance(value, Node) and isinstance(value.op, (Parameter, State)):
            naming = value.op.naming
            if naming.scope is not None:
                if (self._scope, key) not in [(naming.scope, naming.key), *naming.others]:
                    naming.others.append((self._scope, check_name(key, "a parameter")))
            elif naming.fixed is None:
                naming.scope, naming.key = self._scope, check_name(key, "a parameter")
        object.__setattr__(self, key, value)

    def __getattr__(self, key: str) -> Any:
        close = difflib.get_close_matches(key, vars(self), 1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        raise AttributeError(f"{type(self).__name__} has no {key!r}{hint}")

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules assigned to this one, by attribute."""
        return ((k, v) for k, v in vars(self).items() if isinstance(v, Module))

    def named_parameters(self) -> Iterator[tuple[str, Node]]:
        """(path from here, parameter) of every parameter below, each once; as in PyTorch.

        >>> from graphc import nn
        >>> [name for name, _ in nn.Sequential(nn.Linear(4, 2), nn.ReLU()).named_parameters()]
        ['0.weight', '0.bias']
        """
        seen: set[Node] = set()
        pending: list[tuple[str, Module]] = [("", self)]
        while pending:
            prefix, module = pending.pop()
            for key, value in vars(module).items():
                if isinstance(value, Node) and isinstance(value.op, Parameter):
                    if value not in seen:
                        yield prefix + key, value
                    seen.add(value)
            inside = [(f"{prefix}{key}.", child) for key, child in module.children()]
            pending.extend(reversed(inside))

    def parameters(self) -> Iterator[Node]:
        """Every parameter below, each once."""
        return (node for _, node in self.named_parameters())

    # -- copying ------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        fresh = type(self).__new__(type(self))
        memo[id(self)] = fresh
        fresh._scope = _fresh_scope(self._scope, memo)
        fresh._scope.name = fresh._name = self._name
        for key, value in vars(self).items():
            if key not in ("_scope", "_name"):
                leaf = isinstance(value, Node) and isinstance(value.op, (Parameter, State))
                setattr(fresh, key, (_fresh_leaf if leaf else copy.deepcopy)(value, memo))
        return fresh

    def __repr__(self) -> str:
        inside = [f"({key}): {value!r}" for key, value in self.children()]
        if inside:
            rows = "\n".join(inside).replace("\n", "\n  ")
            return f"{type(self).__name__}(\n  {rows}\n)"
        plain = (bool, int, float, str, tuple)
        shown = {k: v for k, v in vars(self).items() if isinstance(v, plain) and k[0] != "_"}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


def _fresh_scope(scope: Scope, memo: dict[int, Any]) -> Scope:
    return cast(Scope, memo.setdefault(id(scope), Scope(scope.kind)))


def _fresh_leaf(node: Node, memo: dict[int, Any]) -> Node:
    """A new parameter or state like ``node``, shared in the copy where it was shared, and owned by
    the copy of its owner: tied weights keep their first path."""
    if id(node) not in memo:
        op = cast(Parameter | State, node.op)
        naming = Naming(op.naming.hint)
        if op.naming.scope is not None:
            naming.scope, naming.key = _fresh_scope(op.naming.scope, memo), op.naming.key
        memo[id(node)] = make_leaf(replace(op, naming=naming))
    return cast(Node, memo[id(node)])


def _not_a_node(module: Module, given: object) -> GraphError:
    kind = type(module).__name__
    if isinstance(given, Module):
        return GraphError(
            f"{kind} was called with the layer {type(given).__name__}: layers take nodes. "
            "Write nn.Sequential(a, b)(x), or b(a(x))"
        )
    return GraphError(
        f"{kind} was called with an array: a layer declares. Declare x = gx.input('x', shape), "
        "and give the array to the compiled graph, or wrap a fixed one with gx.constant"
    )
