"""What an op is: frozen attributes and seven rules, all in one place.

``infer`` gives the type or an error; ``evaluate`` is the plain NumPy definition; ``grad`` builds
ordinary nodes; ``lower`` describes kernels; ``receptive`` maps a window of the output to the
inputs; ``cost`` counts. The seventh is the attributes themselves. A test walks ``OPS`` and refuses
an op that lacks one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from graphc.ir import attrs
from graphc.ir.types import TensorType

if TYPE_CHECKING:
    from graphc.ir.check import Check
    from graphc.ir.kernel import Lowering
    from graphc.ir.node import Node
    from graphc.ir.window import Receptive

Array = np.ndarray[Any, np.dtype[Any]]

# Printed name -> class. A file can name only what stands here.
OPS: dict[str, type[Op]] = {}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one execution of a node takes, in numbers: a multiply-add is two flops."""

    flops: int
    bytes: int


@dataclass(frozen=True, eq=False)
class Op:
    """Base of every op. Subclasses are frozen dataclasses; a class attribute ``name`` registers."""

    name: ClassVar[str]
    # Names of the operands, for errors and drawings; the last one repeats for n-ary ops.
    operands: ClassVar[tuple[str, ...]] = ()
    # Operands from this index on are hidden in print and drawings (dropout's stream, seed, step).
    shown: ClassVar[int | None] = None
    # Whether a node of it has gx.Graph update a state (``track``); then ``update`` is its rule.
    tracks: ClassVar[bool] = False
    # One line: what the op computes, with its algebraic facts; the op table of the docs shows it.
    law: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            if cls.name in OPS and OPS[cls.name].__qualname__ != cls.__qualname__:
                raise TypeError(f"two ops are called {cls.name!r}")
            OPS[cls.name] = cls

    # -- the rules ----------------------------------------------------------------------------

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        """The type of the result; ``check`` raises errors and collects guards."""
        raise NotImplementedError(f"{self.name} has no infer rule")

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        """The value, by the plain definition. ``sizes`` are the values of the named dimensions."""
        raise NotImplementedError(f"{self.name} has no evaluate rule")

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        """One node (or None: no gradient flows) for each input of ``node``.

        A gradient may still have the broadcast shape of the result: the driver un-broadcasts.
        """
        raise NotImplementedError(f"{self.name} has no grad rule")

    def lower(self, low: Lowering, node: Node) -> None:
        """Describe the kernels that compute ``node``, through ``low``."""
        raise NotImplementedError(f"{self.name} has no lower rule")

    def receptive(self, node: Node) -> Sequence[Receptive]:
        """For each input, which of its pixels one output pixel reads."""
        raise NotImplementedError(f"{self.name} has no receptive rule")

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        """Flops and bytes of one execution at these sizes."""
        raise NotImplementedError(f"{self.name} has no cost rule")

    def update(self, node: Node, previous: Node) -> Node:
        """For an op that tracks: the new value of the state ``node.inputs[1]``, from the value
        that earlier tracks of the same state left (the state itself, where there is none)."""
        raise NotImplementedError(f"{self.name} tracks no state")

    # -- identity -----------------------------------------------------------------------------

    def attributes(self) -> dict[str, Any]:
        """The attributes by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def key(self) -> tuple[Any, ...]:
        """What makes two ops the same: class, and attributes by type and bits."""
        return (type(self), *(attrs.key(getattr(self, field.name)) for field in fields(self)))

    def shown_attributes(self) -> dict[str, Any]:
        """The attributes that the printed IR writes: those that differ from their default."""
        shown: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is MISSING or attrs.key(value) != attrs.key(field.default):
                shown[field.name] = value
        return shown

    def text(self) -> str:
        """`` stride=2 padding="same"``: the attributes as printed, each after a blank."""
        return "".join(f" {k}={attrs.render(v)}" for k, v in self.shown_attributes().items())

    def operand(self, position: int) -> str:
        """What the input at ``position`` is called in errors and drawings."""
        if not self.operands:
            return f"operand {position + 1}"
        if position < len(self.operands):
            return self.operands[position]
        return f"{self.operands[-1]} {position + 1}"
