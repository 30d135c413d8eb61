"""What the caller gives, checked against the graph before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.ir.check import Check
from graphc.ir.dims import Dim
from graphc.ir.errors import CALLED, DTypeError, GraphError, ShapeError
from graphc.ir.graph import Graph
from graphc.ir.naming import suggest
from graphc.ir.node import Node, describe
from graphc.ir.types import is_float, short

Array = np.ndarray[Any, np.dtype[Any]]
Sizes = dict[str, int]


def gather(inputs: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs given as a dict (for names that are no Python words) and as keywords, in one."""
    if inputs is not None and not isinstance(inputs, Mapping):
        raise GraphError(
            f"inputs are a dict of name to array, not a {type(inputs).__name__}\n"
            "  to fix: name every input, program(variables, x=array)"
        )
    both = dict(inputs or {})
    for name, value in named.items():
        if name in both:
            raise GraphError(f"the input {name!r} is given twice: in inputs= and as a keyword")
        both[name] = value
    return both


def bind_inputs(
    graph: Graph, given: Mapping[str, Any], holds: Callable[[Any], bool] = lambda value: False
) -> tuple[dict[str, Array], Sizes]:
    """The inputs as arrays of the declared dtypes, and the value of every named dimension.

    holds: whether a value is an array of the backend's own, which stays where it is.
    Raises GraphError for a missing or unknown name, DTypeError for a value that does not cast under
    NumPy's ``same_kind``, ShapeError for a shape or a guard that does not hold.
    """
    for name in given:
        if name not in graph.inputs:
            raise GraphError(f"the graph has no input {name!r}{suggest(name, graph.inputs)}")
    arrays: dict[str, Array] = {}
    for name, node in graph.inputs.items():
        if name not in given:
            raise GraphError(
                f"the input {name!r} is missing: {describe(node)}\n"
                f"  to fix: pass {name}=array of shape {_shape(node)}",
                nodes=[node],
            )
        arrays[name] = _cast(name, node, given[name], holds)
    return arrays, _sizes(graph, arrays)


def _shape(node: Node) -> str:
    return f"({', '.join(map(str, node.shape))}{',' if node.ndim == 1 else ''})"


def _cast(name: str, node: Node, value: Any, holds: Callable[[Any], bool]) -> Array:
    if isinstance(value, Node):
        raise GraphError(
            f"the input {name!r} was given a node, not an array: {describe(value)}",
            nodes=[node, value],
        )
    try:
        array = value if holds(value) else np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ShapeError(
            f"the input {name!r} is not an array: {describe(node)}\n  {error}", nodes=[node]
        ) from None
    if array.ndim != node.ndim:
        raise ShapeError(
            f"the input {name!r} has shape {array.shape}, but it is declared with "
            f"{node.ndim} axes: {describe(node)}",
            nodes=[node],
        )
    if array.dtype == node.dtype:
        return array
    wanted = node.dtype
    # An image of bytes: 0 to 255 where the network was declared for 0 to 1. No error would follow.
    if array.dtype == np.uint8 and is_float(wanted) and not _python_numbers(value):
        raise DTypeError(
            f"the input {name!r} is uint8, but it is declared {short(wanted)}: {describe(node)}\n"
            "  graphc never rescales by itself\n"
            f"  to fix: {name}={name}.astype('{wanted.name}') / 255",
            nodes=[node],
        )
    if not np.can_cast(array.dtype, wanted, "same_kind") and not _python_numbers(value):
        raise DTypeError(
            f"the input {name!r} is {array.dtype.name}, which does not cast to {short(wanted)}: "
            f"{describe(node)}\n  to fix: {name}={name}.astype('{wanted.name}')",
            nodes=[node],
        )
    if array.dtype.kind not in "iufb" or (array.dtype.kind == "f" and wanted.kind in "iub"):
        raise DTypeError(
            f"the input {name!r} holds {array.dtype.name} values, not {short(wanted)}: "
            f"{describe(node)}",
            nodes=[node],
        )
    cast = array.astype(wanted)
    whole = array.dtype.kind in "iu" and wanted.kind in "iu"
    if whole and bool((cast != array).any()):
        raise DTypeError(f"the input {name!r} has values that {short(wanted)} cannot hold")
    return cast


def _python_numbers(value: Any) -> bool:
    """A number or nested list that carries no dtype of its own: ``lr=1`` is fine for a float."""
    return not isinstance(value, (np.ndarray, np.generic)) and not hasattr(value, "dtype")


def _sizes(graph: Graph, arrays: Mapping[str, Array]) -> Sizes:
    """Solve the named dimensions from the axes where they stand alone, then check all the rest."""
    sizes: Sizes = {}
    source: dict[str, str] = {}
    for name, node in graph.inputs.items():
        for axis, (size, actual) in enumerate(zip(node.shape, arrays[name].shape, strict=True)):
            dim = size.name if isinstance(size, Dim) else None
            if dim is None:
                continue
            where = f"axis {axis} of {name!r}"
            if actual < 1:
                raise ShapeError(f"{where} is empty: {dim} must be at least 1", nodes=[node])
            if sizes.setdefault(dim, actual) != actual:
                raise ShapeError(
                    f"{dim} is {sizes[dim]} by {source[dim]}, but {actual} by {where}\n"
                    f"  {describe(node)}, given {arrays[name].shape}",
                    nodes=[node],
                )
            source.setdefault(dim, where)
    for name, node in graph.inputs.items():
        expected = node.type.concrete(sizes)
        if arrays[name].shape != expected:
            told = "".join(f", {dim}={size}" for dim, size in sizes.items())
            raise ShapeError(
                f"the input {name!r} has shape {arrays[name].shape}, but {expected} is expected"
                f"{told and ' with' + told[1:]}: {describe(node)}",
                nodes=[node],
            )
    for guard in graph.guards:
        if not guard.holds(sizes):
            nodes = [node for node in graph.nodes if guard in node.guards]
            told = ", ".join(f"{dim}={size} by {source[dim]}" for dim, size in sizes.items())
            operands = "".join(f"\n  of      {describe(node)}" for node in nodes[0].inputs)
            raise ShapeError(
                f"{guard} does not hold with {told}\n  needed by {describe(nodes[0])}{operands}",
                nodes=[*nodes, *nodes[0].inputs],
            )
    return sizes


def bind_variables(
    graph: Graph, variables: Mapping[str, Any], *, writable: bool = True, backend: Any = None
) -> dict[str, Array]:
    """The arrays of the graph's parameters and states, checked: name, dtype, shape, layout.

    With ``writable``, those that the updates overwrite must be writable, contiguous and not overlap
    with any other. Raises GraphError before anything runs.
    """
    if not isinstance(variables, Mapping):
        raise GraphError(
            f"variables are a dict of name to array (program.init(seed=0)), not a "
            f"{type(variables).__name__}"
        )
    found: dict[str, Array] = {}
    for name, leaf in {**graph.parameters, **graph.states}.items():
        if name not in variables:
            raise GraphError(
                f"variables lack {name!r}: {describe(leaf)}{suggest(name, variables)}\n"
                "  to fix: start from program.init(seed=0), or load the right checkpoint",
                nodes=[leaf],
            )
        array = variables[name]
        if not (isinstance(array, np.ndarray) if backend is None else backend.holds(array)):
            fix = f"np.asarray(value, {leaf.dtype.name!r})"
            if backend is not None and (isinstance(array, np.ndarray) or hasattr(array, "get")):
                fix = f"start from this program's init(seed=0), or {backend.conversion}"
            raise GraphError(
                f"the variable {name!r} is a {_kind(array)}, not an array"
                f"{'' if backend is None else f' of the backend {backend.name!r}'}: "
                f"{describe(leaf)}\n  to fix: {fix}",
                nodes=[leaf],
            )
        expected = leaf.type.concrete({})
        if array.shape != expected or array.dtype != leaf.dtype:
            raise (ShapeError if array.shape != expected else DTypeError)(
                f"the variable {name!r} is {array.dtype.name}{list(array.shape)}, "
                f"but the graph declares {describe(leaf)}",
                nodes=[leaf],
            )
        found[name] = array
    if writable:
        _check_writable(graph, found, backend)
    return found


def _kind(value: Any) -> str:
    """What a value is, with its library: an ndarray may be NumPy's or CuPy's."""
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    return kind.__name__ if module == "builtins" else f"{module}.{kind.__name__}"


def _address(array: Any) -> int:
    """Where an array of the host begins."""
    return int(array.__array_interface__["data"][0])


def failed(node: Node, error: Exception) -> GraphError:
    """The error of an op that found a value it cannot take (a label outside its classes)."""
    said = str(error).partition(f"\n  {CALLED}")[0].removeprefix(f"{node.op.name}: ")
    message = Check(node.op, node.inputs).message(said)
    where = message.replace(f"{node.op.name}: ", f"{describe(node)}: ", 1)
    return GraphError(where, nodes=[node, *node.inputs])


def _check_writable(graph: Graph, arrays: Mapping[str, Array], backend: Any) -> None:
    address = _address if backend is None else backend.address
    updated = set(graph.updates)
    leaves = {**graph.parameters, **graph.states}
    for name, array in arrays.items():
        if not array.flags.c_contiguous:
            raise GraphError(
                f"the variable {name!r} is not contiguous: {describe(leaves[name])}\n"
                f"  to fix: np.ascontiguousarray(variables[{name!r}])",
                nodes=[leaves[name]],
            )
        if name in updated and not getattr(array.flags, "writeable", True):
            raise GraphError(
                f"the variable {name!r} is read-only, but the graph updates it in place: "
                f"{describe(leaves[name])}\n  to fix: variables[{name!r}].copy()",
                nodes=[leaves[name]],
            )
    # By address: how far any array before has reached, and how far one that is overwritten.
    reach = overwritten = (0, "")
    for start, size, second in sorted(
        (address(array), array.nbytes, name) for name, array in arrays.items() if array.nbytes
    ):
        end, first = reach if second in updated else overwritten
        if end > start:
            raise GraphError(
                f"the variables {first!r} and {second!r} share memory, but an update overwrites "
                f"them in place\n  {describe(leaves[first])}\n  {describe(leaves[second])}\n"
                "  to fix: copy one of them (tied weights are one parameter in the graph)",
                nodes=[leaves[first], leaves[second]],
            )
        reach = max(reach, (start + size, second))
        if second in updated:
            overwritten = max(overwritten, (start + size, second))
