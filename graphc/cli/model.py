"""From what the user calls a model to its graph."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from graphc import models
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.ir.naming import suggest
from graphc.ir.parser import parse


def resolve(model: str) -> Graph:
    """The graph that MODEL names: of the zoo, ``file.py:function``, or a file that holds one.

    A file is a printed graph, a drawing of ours (SVG, DOT), or weights saved with their graph.
    Raises GraphError for what is none of these, and for whatever goes wrong in the user's file.

    >>> resolve("lenet-5").parameter_count()
    61706
    """
    if model in models.names():
        return models.build(model)
    file, colon, name = model.rpartition(":")
    if colon and file.endswith(".py"):
        return _call(Path(file), name)
    path = Path(model)
    if not path.exists():
        raise GraphError(
            f"{model!r} is neither a file nor a network of the zoo"
            f"{suggest(model, models.names())}\n  MODEL is one of these names, file.py:function, "
            "or a file that holds a printed graph"
        )
    if path.suffix == ".py":
        raise GraphError(
            f"{model}: say which function returns the graph, e.g. {model}:{_functions(path)[0]}"
        )
    return _read(path)


def _read(path: Path) -> Graph:
    if path.suffix == ".safetensors":
        from graphc.train.checkpoint import load

        graph = load(path)[1]
        if graph is None:
            raise GraphError(f"{path} holds weights without their graph: gx.save(path, v, graph)")
        return graph
    try:
        return parse(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise GraphError(f"{path} is not text, so not a printed graph") from None
    except GraphError as error:
        raise type(error)(
            f"{path}: {error.message}", nodes=error.nodes, lines=error.lines
        ) from None


def _functions(path: Path) -> list[str]:
    """The functions that a file defines, or at least a word to put there."""
    try:
        body = ast.parse(path.read_bytes(), str(path)).body
    except (SyntaxError, ValueError):
        body = []
    return [node.name for node in body if isinstance(node, ast.FunctionDef)] or ["function"]


def _call(path: Path, name: str) -> Graph:
    """What the user's function returns. It is the user's own program: it runs with all rights."""
    if not path.is_file():
        raise GraphError(f"there is no file {path}")
    try:
        module = _load(path)
        function = getattr(module, name, None)
        if not callable(function):
            raise GraphError(
                f"{path} defines no function {name!r}{suggest(name, _functions(path))}"
            )
        graph = function()
    except GraphError:
        raise
    except Exception as error:
        raise GraphError(f"{_where(error, path)}: {type(error).__name__}: {error}") from None
    if not isinstance(graph, Graph):
        raise GraphError(
            f"{path}:{name} returned a {type(graph).__name__}, not a graph: end it with "
            "return gx.Graph({'logits': logits, 'loss': loss})"
        )
    return graph


def _load(path: Path) -> ModuleType:
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise GraphError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as `python file.py` would: its neighbours are importable
    sys.modules.setdefault(spec.name, module)  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


def _where(error: BaseException, path: Path) -> str:
    """``file.py:12``: the last line of the user's file that the error passed through."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}:{error.lineno}"
    line, trace = 0, error.__traceback__
    while trace is not None:
        frame: Any = trace.tb_frame
        if Path(frame.f_code.co_filename) == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{path}:{line}" if line else str(path)
