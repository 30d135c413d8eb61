"""The type of a node: a shape of sizes and an element type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.ir.dims import Dim, Size, evaluate, parse_size
from graphc.ir.errors import DTypeError, GraphError

Shape = tuple[Size, ...]

_SHORT = {
    "float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "bool": "bool",
}  # fmt: skip
_LONG = {short: long for long, short in _SHORT.items()}
MOST_AXES = 8
LARGEST_SIZE = 2**40  # a single dimension; keeps every product of a hostile file in plain ints


def dtype_of(value: Any) -> np.dtype[Any]:
    """The NumPy dtype called ``value`` ('float32', 'f32', np.float32, …).

    Raises DTypeError for one that graphc does not compute with.
    """
    if isinstance(value, np.dtype) and value.name in _SHORT:
        return value
    name = _LONG.get(value, value) if isinstance(value, str) else value
    if name == "bfloat16":
        import ml_dtypes  # only those who use it pay for the import

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    known = ", ".join(_SHORT)
    if name in (float, int, "float", "int", None):
        raise DTypeError(f"dtype={value!r} does not say how many bits: use one of {known}")
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise DTypeError(f"dtype={value!r} is not an element type: use one of {known}") from None
    if dtype.name not in _SHORT or not dtype.isnative:
        raise DTypeError(f"dtype={value!r} is not one that graphc computes with: use {known}")
    return dtype


def short(dtype: np.dtype[Any]) -> str:
    """``f32`` for float32: how the printed IR writes it."""
    return _SHORT[dtype.name]


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether gradients can flow through this element type (bfloat16 included)."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


@dataclass(frozen=True, slots=True)
class TensorType:
    """A shape and a dtype; prints as ``f32[N,16,28,28]``."""

    shape: Shape
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{short(self.dtype)}[{','.join(map(str, self.shape))}]"

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def concrete(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in numbers."""
        return tuple(evaluate(size, sizes) for size in self.shape)


def shape_of(shape: Any, *, what: str = "shape") -> Shape:
    """A user's shape: a sequence of ints, dimension names (expressions too) and ``Dim``s.

    Raises GraphError where an entry is none of these, or is not at least 1.
    """
    if isinstance(shape, (int, str, Dim)):
        shape = (shape,)
    sizes: list[Size] = []
    for entry in tuple(shape):
        if isinstance(entry, str):
            entry = parse_size(entry)
        elif isinstance(entry, np.integer):
            entry = int(entry)
        if isinstance(entry, bool) or not isinstance(entry, (int, Dim)):
            raise GraphError(
                f"{what} {tuple(shape)!r}: {entry!r} is not a size. Use ints and names "
                "such as ('N', 1, 28, 28)"
            )
        if isinstance(entry, int) and not 1 <= entry < LARGEST_SIZE:
            raise GraphError(f"{what} {tuple(shape)!r}: a size must be at least 1, not {entry}")
        sizes.append(entry)
    if len(sizes) > MOST_AXES:
        raise GraphError(f"{what} {tuple(shape)!r}: at most {MOST_AXES} axes")
    return tuple(sizes)
