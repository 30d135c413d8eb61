"""Reads the printed IR back. The text is hostile until parsed: nothing is evaluated, every name
comes from a closed table, every attribute is checked against its declared type."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from graphc.ir import attrs, facts
from graphc.ir.dims import RESERVED, parse_size
from graphc.ir.errors import GraphError, ParseError
from graphc.ir.graph import Graph
from graphc.ir.initializers import initializer_of
from graphc.ir.leaves import (
    ROLES,
    SEED,
    STEP,
    Input,
    Leaf,
    Naming,
    Parameter,
    State,
    Stream,
)  # fmt: skip
from graphc.ir.node import Node, bare_leaf, make
from graphc.ir.op import OPS
from graphc.ir.printer import EMBEDDED, VERSION
from graphc.ir.types import TensorType, dtype_of, shape_of

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_./@-]*"
_TYPE = r"[a-z0-9]+\[[^\]\s]*\]"
_HEADER = re.compile(r"graph \((.*)\) \{\Z")
_INPUT = re.compile(rf"({_NAME}): ({_TYPE})(?:, |\Z)")
_LEAF = re.compile(rf"%({_NAME}) = (parameter|state) ({_TYPE})(.*)\Z")
_NODE = re.compile(rf"%({_NAME}): ({_TYPE}) = ([a-z0-9_]+)\(([^)]*)\)(.*)\Z")
_RETURN = re.compile(rf"({_NAME})=%({_NAME})(?:, |\Z)")
_UPDATE = re.compile(rf"update %({_NAME}) = %({_NAME})\Z")
_ATTRIBUTE = re.compile(r" ([a-z_]+)=")
_COMMENT = re.compile(r"  # (.*)\Z")
_WHERE = re.compile(r"(?:.*, )?([^,]+:\d+)(?: \(\+\d+\))?\Z")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|inf|nan)(?![A-Za-z0-9_*/+(-])")
_SIZE = re.compile(r"[-A-Za-z0-9_+*/()]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BASE64 = re.compile(r'base64"([A-Za-z0-9+/=]*)"')
_DEEPEST = 12


def parse(text: str) -> Graph:
    """The graph that ``text`` prints; also out of a rendered DOT or SVG, which carry it.

    ``gx.parse(str(graph)) == graph``. Raises ParseError with the line number and the line.

    >>> import graphc as gx
    >>> graph = gx.Graph({"y": gx.relu(gx.input("x", ("N", 2)))})
    >>> gx.parse(str(graph)) == graph
    True
    """
    if not isinstance(text, str):
        raise ParseError(f"parse takes the text of a graph, not a {type(text).__name__}")
    if not text.lstrip().startswith("graphc "):
        text = _embedded(text)
    return _Reader(text).read()


def _embedded(text: str) -> str:
    match = re.search(re.escape(EMBEDDED) + r"([A-Za-z0-9+/]+=*)", text)
    if match is None:
        raise ParseError(
            "this is not a printed graph: it neither begins with 'graphc 1' nor carries the IR "
            f"as a rendered DOT or SVG does. It begins {text[:60]!r}"
        )
    try:
        return base64.b64decode(match[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ParseError(f"the IR inside this drawing is damaged: {error}") from None


class _Reader:
    """One pass over the lines, no recursion over the graph."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.number = 0
        self.row = ""
        self.names: dict[str, Node] = {}
        self.streams: dict[str, Node] = {}

    def fail(self, what: str) -> ParseError:
        return ParseError(f"line {self.number}: {what}\n  {self.row.strip()[:160]}")

    def read(self) -> Graph:
        rows = self._rows()
        self._version(next(rows, ""))
        self._header(next(rows, ""))
        outputs: dict[str, Node] = {}
        updates: dict[Node, Node] = {}
        closed = False
        for row in rows:
            if closed:
                raise self.fail("nothing may follow the closing '}'")
            where = self._comment()
            if row == "}":
                closed = True
            elif row.startswith("return "):
                if outputs:
                    raise self.fail("a second return")
                outputs = self._outputs(row.removeprefix("return "))
            elif row.startswith("update "):
                match = _UPDATE.match(row)
                if not match:
                    raise self.fail("expected 'update %leaf = %node'")
                leaf = self._get(match[1])
                if leaf in updates:
                    raise self.fail(f"a second update of %{match[1]}")
                updates[leaf] = self._get(match[2])
            elif outputs:
                raise self.fail("a node after the return")
            else:
                self._define(row, where)
        if not closed:
            raise self.fail("the text ends before the closing '}'")
        try:
            return Graph(
                outputs, updates, streams={node: name for name, node in self.streams.items()}
            )
        except GraphError as error:
            raise ParseError(f"the text is not a graph: {error.message}") from error

    def _rows(self) -> Iterator[str]:
        for number, text in enumerate(self.lines, 1):
            self.number, self.row = number, text
            row = _COMMENT.sub("", text).strip()
            if row and not row.startswith("#"):
                yield row

    def _comment(self) -> str | None:
        found = _COMMENT.search(self.row)
        match = _WHERE.match(found[1]) if found else None
        return match[1] if match else None

    def _version(self, row: str) -> None:
        word, _, number = row.partition(" ")
        if word != "graphc" or not number.isdigit() or len(number) > 6:
            raise self.fail("the text must begin with 'graphc 1'")
        if not 1 <= int(number) <= VERSION:
            raise self.fail(
                f"this graph is of version {number}, and this graphc reads 1 to {VERSION}: "
                "install a newer graphc"
            )

    def _header(self, row: str) -> None:
        match = _HEADER.match(row)
        if not match:
            raise self.fail("expected 'graph (name: type, …) {'")
        position = 0
        while position < len(match[1]):
            found = _INPUT.match(match[1], position)
            if not found:
                raise self.fail(f"expected 'name: type' at {match[1][position : position + 30]!r}")
            position = found.end()
            self._bind(found[1], bare_leaf(Input(self._type(found[2]), _fixed(found[1]))))

    def _bind(self, name: str, node: Node) -> None:
        if name in self.names:
            raise self.fail(f"%{name} is defined twice")
        self.names[name] = node

    def _get(self, name: str) -> Node:
        node = self.names.get(name)
        if node is None:
            raise self.fail(f"%{name} is used before it is defined")
        return node

    def _type(self, text: str) -> TensorType:
        kind, _, inside = text.partition("[")
        try:
            sizes = [parse_size(part) for part in inside[:-1].split(",") if inside != "]"]
            return TensorType(shape_of(sizes), dtype_of(kind))
        except GraphError as error:
            raise self.fail(f"{text} is not a type: {error.message}") from None

    def _outputs(self, text: str) -> dict[str, Node]:
        outputs: dict[str, Node] = {}
        position = 0
        while position < len(text):
            found = _RETURN.match(text, position)
            if not found:
                raise self.fail(f"expected 'name=%node' at {text[position : position + 30]!r}")
            position = found.end()
            if found[1] in outputs:
                raise self.fail(f"two outputs are called {found[1]!r}")
            outputs[found[1]] = self._get(found[2])
        return outputs

    # -- nodes --------------------------------------------------------------------------------

    def _define(self, row: str, where: str | None) -> None:
        leaf = _LEAF.match(row)
        if leaf:
            node = self._leaf(leaf[1], leaf[2], self._type(leaf[3]), self._attributes(leaf[4]))
            name = leaf[1]
        else:
            match = _NODE.match(row)
            if not match:
                raise self.fail("expected '%name: type = op(%input, …) attribute=value …'")
            name, type_ = match[1], self._type(match[2])
            inputs = [self._get(self._operand(p)) for p in match[4].split(", ") if match[4]]
            node = self._node(match[3], type_, inputs, self._attributes(match[5]))
        self._bind(name, node)
        if where is not None:
            facts.add(node, [facts.Origin(where)])

    def _operand(self, text: str) -> str:
        if not text.startswith("%"):
            raise self.fail(f"an input is written %name, not {text!r}")
        return text[1:]

    def _leaf(self, name: str, kind: str, type_: TensorType, given: dict[str, Any]) -> Node:
        for process in (SEED, STEP):
            if name == process.op.label() and kind == "state" and type_ == process.type:  # type: ignore[attr-defined]
                return process
        known = {"init", "role"} if kind == "parameter" else {"init"}
        if set(given) != known:
            raise self.fail(f"a {kind} has {' and '.join(sorted(known))}, not {sorted(given)}")
        try:
            init = initializer_of(given["init"])
        except GraphError as error:
            raise self.fail(str(error)) from None
        if any(not isinstance(size, int) for size in type_.shape):
            raise self.fail(f"a {kind} has integer sizes")
        if kind == "state":
            return bare_leaf(State(type_, _fixed(name), init))
        if given["role"] not in ROLES:
            raise self.fail(f"role={given['role']!r} is not one of {', '.join(ROLES)}")
        return bare_leaf(Parameter(type_, _fixed(name), given["role"], init))

    def _node(
        self, op_name: str, type_: TensorType, inputs: list[Node], given: dict[str, Any]
    ) -> Node:
        cls = OPS.get(op_name)
        if cls is None or issubclass(cls, Leaf):
            raise self.fail(f"there is no op called {op_name!r}")
        if cls.shown is not None:
            path = given.pop("stream", None)
            if not isinstance(path, str):
                raise self.fail(f'{op_name} draws random bits: it needs stream="path"')
            inputs += [self._stream(path), SEED, STEP]
        values: dict[str, Any] = {}
        hints = attrs.hints(cls)
        for field in fields(cls):
            if field.name in given:
                value = given.pop(field.name)
                value = self._coerce(value, hints[field.name], type_)
                if not attrs.fits(value, hints[field.name]):
                    raise self.fail(f"the value of {field.name} does not fit {op_name}")
                values[field.name] = value
            elif field.default is MISSING:
                raise self.fail(f"{op_name} needs {field.name}=")
        if given:
            raise self.fail(f"{op_name} has no attribute {', '.join(given)}")
        try:
            with facts.derive(self.names.get("", SEED)):
                node = make(cls(**values), *inputs)
        except (GraphError, TypeError, ValueError, OverflowError) as error:
            raise self.fail(str(error)) from error
        if node.type != type_:
            raise self.fail(f"the line says {type_}, but {op_name} gives {node.type}")
        return node

    def _stream(self, path: str) -> Node:
        if path not in self.streams:
            if not re.fullmatch(_NAME, path):
                raise self.fail(f"{path!r} cannot be the path of a stream")
            self.streams[path] = bare_leaf(
                Stream(TensorType((), np.dtype(np.uint64)), _fixed(path))
            )
        return self.streams[path]

    # -- attribute values ---------------------------------------------------------------------

    def _coerce(self, value: Any, hint: Any, type_: TensorType) -> Any:
        """A dtype is written as its name, a constant's elements as numbers or base64."""
        text = str(hint)
        if "ndarray" in text:
            return self._array(value, type_)
        if "dtype" in text and isinstance(value, str):
            try:
                return dtype_of(value)
            except GraphError as error:
                raise self.fail(str(error)) from None
        return value

    def _array(self, value: Any, type_: TensorType) -> np.ndarray[Any, Any]:
        if any(not isinstance(size, int) for size in type_.shape):
            raise self.fail("a constant has integer sizes")
        shape = type_.concrete({})
        if isinstance(value, bytes):
            count = int(np.prod(shape, dtype=object)) * type_.dtype.itemsize
            if len(value) != count:
                raise self.fail(f"the constant has {len(value)} bytes, its type needs {count}")
            stored = np.frombuffer(value, dtype=type_.dtype.newbyteorder("<"))
            return stored.reshape(shape).astype(type_.dtype)
        try:
            array = np.array(value, dtype=type_.dtype)
        except (TypeError, ValueError, OverflowError):
            raise self.fail(f"the constant's elements are not {type_.dtype.name}") from None
        if array.shape != shape:
            raise self.fail(f"the constant has shape {array.shape}, its type says {shape}")
        return array

    def _attributes(self, text: str) -> dict[str, Any]:
        given: dict[str, Any] = {}
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _ATTRIBUTE.match(text, position)
            if not match:
                raise self.fail(f"expected ' name=value' at {text[position : position + 30]!r}")
            if match[1] in given:
                raise self.fail(f"{match[1]} is given twice")
            given[match[1]], position = self._value(text, match.end(), 0)
        return given

    def _value(self, text: str, at: int, depth: int) -> tuple[Any, int]:
        if depth > _DEEPEST:
            raise self.fail("the lists are nested too deeply")
        if text.startswith("[", at):
            items: list[Any] = []
            at += 1
            while not text.startswith("]", at):
                if items:
                    if not text.startswith(",", at):
                        raise self.fail("expected ',' or ']' in a list")
                    at += 1
                item, at = self._value(text, at, depth + 1)
                items.append(item)
            return tuple(items), at + 1
        for pattern, read in (
            (_BASE64, _bytes), (_STRING, json.loads), (_NUMBER, _number), (_SIZE, _word),
        ):  # fmt: skip
            match = pattern.match(text, at)
            if match:
                try:
                    return read(match[1] if pattern is _BASE64 else match[0]), match.end()
                except (ValueError, GraphError) as error:
                    raise self.fail(f"{match[0][:40]!r} is not a value: {error}") from None
        raise self.fail(f"expected a value at {text[at : at + 30]!r}")


def _fixed(name: str) -> Naming:
    naming = Naming(name)
    naming.fixed = name
    return naming


def _number(text: str) -> int | float:
    if re.fullmatch(r"-?\d+", text):
        if len(text) > 30:
            raise ValueError("too many digits")
        return int(text)
    return float(text)


def _word(text: str) -> Any:
    if text in RESERVED:
        return {"true": True, "false": False, "none": None}[text]
    return parse_size(text)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
