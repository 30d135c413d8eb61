"""Attribute values of ops: how they compare (by type and bits), print, and are checked."""

from __future__ import annotations

import base64
import json
import math
import struct
import types
import typing
from typing import Any, Union

import numpy as np

from graphc.ir.dims import Dim

LONGEST_LIST = 64  # a longer constant prints as base64


def key(value: Any) -> Any:
    """What tells two attribute values apart: type and bits (``0``, ``0.0``, ``False`` differ)."""
    match value:
        case bool() | int() | str() | None:
            return (type(value).__name__, value)
        case float():
            # A NaN equals itself, whatever its payload: the printed IR could not tell them apart.
            return ("float", "nan" if math.isnan(value) else struct.pack("<d", value))
        case tuple():
            return ("tuple", *(key(item) for item in value))
        case np.ndarray():
            return ("array", value.dtype.name, value.shape, canonical_bytes(value))
        case _:
            return (type(value).__name__, value)


def canonical_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """The array's bits, row-major."""
    return np.ascontiguousarray(array).tobytes()


def render(value: Any) -> str:
    """An attribute as the printed IR writes it: strings quoted, sizes bare, tuples in brackets."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value)
        case int() | Dim():
            return str(value)
        case float():
            return render_float(value)
        case tuple():
            return f"[{','.join(map(render, value))}]"
        case np.dtype():
            return json.dumps(value.name)
        case np.ndarray():
            return render_array(value)
        case _ if hasattr(value, "__graphc_text__"):
            return typing.cast(str, value.__graphc_text__())
    raise TypeError(f"an attribute cannot be a {type(value).__name__}")


def render_float(value: float) -> str:
    """The shortest text that reads back as the same bits."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(float(value))


def render_array(array: np.ndarray[Any, Any]) -> str:
    """A constant's elements: nested lists, or base64 of the little-endian bits."""
    exact = array.dtype.kind in "iub" or array.dtype.name in ("float16", "float32", "float64")
    finite = array.dtype.kind in "iub" or bool(np.isfinite(array).all())
    if not exact or array.size > LONGEST_LIST or not finite:
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return f'base64"{base64.b64encode(canonical_bytes(raw)).decode()}"'

    def nested(part: Any) -> str:
        if isinstance(part, np.ndarray) and part.ndim:
            return f"[{','.join(nested(item) for item in part)}]"
        if array.dtype.kind == "b":
            return "true" if part else "false"
        # str of a float32 is its shortest repr; of an int it is plain.
        return str(part[()] if isinstance(part, np.ndarray) else part)

    return nested(array)


_hints: dict[str, dict[str, Any]] = {}


def hints(cls: type) -> dict[str, Any]:
    """The declared type of each attribute of an op class."""
    if cls.__qualname__ not in _hints:
        _hints[cls.__qualname__] = typing.get_type_hints(cls)
    return _hints[cls.__qualname__]


def fits(value: Any, hint: Any) -> bool:
    """Whether a value read from a file is of the declared type. Knows what ops declare, no more."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments and type(value) in {type(a) for a in arguments}
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin is np.dtype or hint is np.dtype:
        return isinstance(value, np.dtype)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray)
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float, bool, str):
        return type(value) is hint
    return isinstance(hint, type) and isinstance(value, hint)


__all__ = ["LONGEST_LIST", "fits", "hints", "key", "render", "render_array"]
