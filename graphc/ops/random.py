"""Random bits and dropout. The bits are a function of (seed, stream, step, element): no generator
has a state, every backend draws the same numbers, and a gradient draws its mask again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from graphc.ir import dims
from graphc.ir.check import Check
from graphc.ir.dims import Dim
from graphc.ir.errors import DTypeError, GraphError
from graphc.ir.facts import user_line
from graphc.ir.kernel import Const, Lowering, Ref, apply
from graphc.ir.leaves import SEED, STEP
from graphc.ir.leaves import stream as make_stream
from graphc.ir.node import Node, describe, make
from graphc.ir.op import Array, Cost, Op
from graphc.ir.types import TensorType, dtype_of, shape_of
from graphc.ir.window import POINTWISE, Nothing, Receptive
from graphc.ops.counting import elements, per_element, traffic

__all__ = ["dropout", "random_uniform"]

FLOAT32 = np.dtype(np.float32)
# Philox4x32-10 spends about this many integer operations on a number; counted as one each.
FLOPS_OF_A_NUMBER = 20


def _uniform(shape: tuple[int, ...], stream: Array, seed: Array, step: Array) -> Array:
    """The first numbers of a stream at a step, float32 in [0, 1) (design: Philox, 4x64 bits)."""
    # A list of two Python ints would go through float64 and lose the low bits of the key.
    key = np.array([seed, stream], np.uint64)
    philox = np.random.Philox(key=key, counter=[0, 0, int(step), 0])
    return np.random.Generator(philox).random(shape, dtype=np.float32)


def _check_source(check: Check, stream: Node, seed: Node, step: Node) -> None:
    """Random bits come from a stream, the seed and the step: only a pass or a file can err here."""
    if stream.op.name != "stream" or seed is not SEED or step is not STEP:
        check.fail(
            "draws from a random stream, random/seed and step, in this order", error=GraphError
        )


def _philox(low: Lowering, node: Node, out: Ref) -> None:
    """Fill ``out`` with the numbers that ``node`` draws; its last three inputs say which."""
    stream, seed, step = node.inputs[-3:]
    low.routine("philox", [seed, step], out, path=low.stream_path(stream))


@dataclass(frozen=True, eq=False)
class RandomUniform(Op):
    """Uniform numbers in [0, 1): element i is number i of the stream at this step."""

    name: ClassVar[str] = "random_uniform"
    operands: ClassVar[tuple[str, ...]] = ("stream", "seed", "step")
    shown: ClassVar[int | None] = 0
    law: ClassVar[str] = "y[i] = number i of Philox(seed, stream, step), in [0, 1)"
    shape: tuple[int | Dim, ...]
    dtype: np.dtype[Any] = FLOAT32

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(3)
        _check_source(check, *inputs)
        if self.dtype not in (np.float32, np.float64):
            # Rounded to 16 bits, a number could become 1.
            check.fail("draws float32 or float64", error=DTypeError)
        return TensorType(shape_of(self.shape, what="random_uniform: shape"), self.dtype)

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        shape = tuple(dims.evaluate(size, sizes) for size in self.shape)
        return np.asarray(_uniform(shape, *inputs)).astype(self.dtype)

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        return [None, None, None]

    def lower(self, low: Lowering, node: Node) -> None:
        if node.dtype == FLOAT32:
            _philox(low, node, low.out)
            return
        numbers = low.scratch("uniform", node.shape, FLOAT32)
        _philox(low, node, numbers)
        axes = low.axes(node.shape)
        low.map(axes, low.out, axes, apply("cast", low.load(numbers, axes), dtype=node.dtype))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [Nothing(), Nothing(), Nothing()]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        return per_element(node, sizes, FLOPS_OF_A_NUMBER)


@dataclass(frozen=True, eq=False)
class Dropout(Op):
    """Each element is retained with probability ``retain``, independently, else it is 0."""

    name: ClassVar[str] = "dropout"
    operands: ClassVar[tuple[str, ...]] = ("x", "stream", "seed", "step")
    shown: ClassVar[int | None] = 1
    law: ClassVar[str] = 'y = [u < retain]·x, times 1/retain where scaling is "train"; linear in x'
    retain: float
    scaling: str = "train"

    def __post_init__(self) -> None:
        # The uniform numbers are float32, so the probability is too, for float64 x as well.
        with np.errstate(over="ignore"):
            object.__setattr__(self, "retain", float(np.float32(self.retain)))

    def infer(self, check: Check, *inputs: Node) -> TensorType:
        check.arity(4)
        x, *source = inputs
        _check_source(check, *source)
        if not 0.0 < self.retain <= 1.0:
            check.fail(
                f"retain={self.retain} is not in (0, 1]: it is the probability to KEEP an element",
                fix="to drop 20 %, write retain=0.8; to drop nothing, leave dropout out",
                error=GraphError,
            )
        if self.scaling not in ("train", "test"):
            check.fail(
                f"scaling={self.scaling!r} is not 'train' (kept elements times 1/retain, now) or "
                "'test' (times retain, at inference)",
                error=GraphError,
            )
        return TensorType(x.shape, check.floating(x))

    @property
    def factor(self) -> float:
        """What a retained element is multiplied by."""
        return 1.0 / self.retain if self.scaling == "train" else 1.0

    def evaluate(self, sizes: Mapping[str, int], *inputs: Array) -> Array:
        x, *source = inputs
        kept = _uniform(x.shape, source[0], source[1], source[2]) < np.float32(self.retain)
        scaled = x * np.asarray(self.factor, x.dtype)
        return np.asarray(np.where(kept, scaled, np.zeros((), x.dtype)))

    def grad(self, node: Node, gradient: Node) -> Sequence[Node | None]:
        # Linear: the same mask on the gradient, drawn again rather than kept.
        return [make(self, gradient, *node.inputs[1:]), None, None, None]

    def lower(self, low: Lowering, node: Node) -> None:
        x = node.inputs[0]
        numbers = low.scratch("uniform", x.shape, FLOAT32)
        _philox(low, node, numbers)
        axes = low.axes(x.shape)
        value = low.load(x, axes)
        kept = apply("lt", low.load(numbers, axes), Const(self.retain, FLOAT32))
        scaled = value if self.factor == 1.0 else apply("mul", value, Const(self.factor, x.dtype))
        low.map(axes, low.out, axes, apply("select", kept, scaled, Const(0.0, x.dtype)))

    def receptive(self, node: Node) -> Sequence[Receptive]:
        return [POINTWISE, Nothing(), Nothing(), Nothing()]

    def cost(self, node: Node, sizes: Mapping[str, int]) -> Cost:
        numbers = elements(node, sizes)
        return Cost((FLOPS_OF_A_NUMBER + 2) * numbers, traffic(node, sizes))


# -- functions -------------------------------------------------------------------------------------


def random_uniform(
    shape: Any, *, name: str = "random_uniform", stream: Node | None = None, dtype: Any = "float32"
) -> Node:
    """Uniform random numbers in [0, 1), new ones at every step.

    shape: ints and names of dimensions. Element i (row-major) is number i of NumPy's
    ``Generator(Philox(key=[seed, s], counter=[0, 0, step, 0])).random(dtype=float32)``, with
    ``random/seed`` and ``step`` from the variables and s made from the stream's path: the same
    numbers on every backend. name: the path of the new stream (``name_1``, … where it is taken);
    stream: draw from this one instead, the same numbers as its other users. dtype: float32, or
    float64 (the same numbers).

    Raises GraphError for a bad shape or what is not a stream, DTypeError for other dtypes.

    >>> import graphc as gx
    >>> gx.random_uniform(("N", 3)).shape
    (Dim('N'), 3)
    """
    op = RandomUniform(shape_of(shape, what="random_uniform: shape"), dtype_of(dtype))
    return make(op, _source("random_uniform", stream, name), SEED, STEP)


def dropout(
    x: Node,
    *rates: object,
    retain: float | None = None,
    scaling: str = "train",
    stream: Node | None = None,
    **named: object,
) -> Node:
    """Retain each element of x with probability ``retain``, independently, and zero the others.

    x: any shape, floating. retain: in (0, 1], rounded to float32, by keyword only: other libraries
    call p the probability to *drop*. scaling: ``"train"`` multiplies what is retained by 1/retain,
    and inference leaves the layer out; ``"test"`` leaves it as it is, and inference multiplies by
    retain. stream: draw the mask of this random stream; left out, the call makes its own.

    The mask changes from step to step; ``passes.inference()`` removes the op. Srivastava et al.,
    JMLR 15, 2014. Raises TypeError for a positional rate, ``p=`` or ``rate=``; GraphError for a
    retain outside (0, 1]; DTypeError for integers.

    >>> import graphc as gx
    >>> x = gx.input("x", ("N", 8))
    >>> gx.dropout(x, retain=0.5).op.retain
    0.5
    """
    return make(
        Dropout(checked_retain("gx.dropout(x, …)", rates, retain, named), scaling),
        x,
        _source("dropout", stream, "dropout"),
        SEED,
        STEP,
    )


def checked_retain(
    call: str, rates: Sequence[object], retain: object, named: Mapping[str, object]
) -> float:
    """The probability to retain, of a call that must say so by name (``nn.Dropout`` too).

    call: how the user's call looks, with ``…`` where ``retain=`` goes. Raises TypeError that says
    what to write.
    """
    unknown = [name for name in named if name not in ("p", "rate")]
    if unknown:
        written = call.replace("…", "retain=0.8")
        raise TypeError(f"{call} takes no argument {unknown[0]!r}: write {written}")
    if rates or named:
        said = f"{next(iter(named))}=" if named else "a positional rate"
        raise TypeError(
            f"{call} does not take {said}: other libraries mean the probability to drop by it. "
            f"Write {call.replace('…', 'retain=0.8')}, with the probability to KEEP\n"
            f"  called at {user_line()}"
        )
    if isinstance(retain, bool) or not isinstance(retain, Real):
        raise TypeError(
            f"{call} needs the probability to KEEP, by name: {call.replace('…', 'retain=0.8')}"
            + ("" if retain is None else f", not retain={retain!r}")
        )
    return float(retain)


def _source(name: str, stream: Any, hint: str) -> Node:
    if stream is None:
        return make_stream(hint)
    if isinstance(stream, Node) and stream.op.name == "stream":
        return stream
    what = describe(stream) if isinstance(stream, Node) else repr(stream)
    raise GraphError(f"{name}: stream={what} is not a random stream")
