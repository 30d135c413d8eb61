"""Faults drawn from source: every small change of chosen functions, and a seeded sample of them.

A mutant is one function with one change, compiled in memory: no file is touched. What it is tried
on and who judges it is the caller's affair (``gradients.py`` tries the gradient rules of the ops).
"""

from __future__ import annotations

import ast
import copy
import inspect
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

Change = tuple[str, ast.AST]  # what kind of change it is, and what stands there afterwards

ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
}
ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)  # a - b is not b - a
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}


@dataclass(frozen=True)
class Mutant:
    """One function with one change.

    ``where``: ``Class.method`` or the function's name; ``kind``: what was done; ``before`` and
    ``after``: what was changed, as source; ``key`` names it, whatever lines stand around it.
    """

    module: ModuleType = field(repr=False)
    where: str
    kind: str
    before: str
    after: str
    key: str
    tree: ast.FunctionDef = field(repr=False, compare=False)

    @property
    def source(self) -> str:
        """The whole function with the change."""
        return ast.unparse(self.tree)

    def function(self) -> Callable[..., Any]:
        """The changed function, with the globals of its module."""
        unit = ast.fix_missing_locations(ast.Module([self.tree], []))
        made: dict[str, Any] = {}
        exec(compile(unit, f"<mutant of {self.where}>", "exec"), vars(self.module), made)
        function: Callable[..., Any] = made[self.tree.name]
        return function


def mutants(module: ModuleType, wanted: Callable[[str], bool]) -> list[Mutant]:
    """All changes of the functions and methods of a module that are wanted, in source order.

    wanted: asked with ``Class.method`` or the function's name. One whose body does nothing but
    raise has no mutants.
    """
    found: list[Mutant] = []
    for where, function in _functions(ast.parse(inspect.getsource(module))):
        if wanted(where) and not isinstance(_body(function)[0], ast.Raise):
            found += _changed(module, where, function)
    return found


def sample(drawn: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """``count`` of the mutants, spread over the functions: each gives its turn before any other
    gives two."""
    dice = random.Random(seed)
    by_function: dict[tuple[str, str], list[Mutant]] = {}
    for mutant in drawn:
        by_function.setdefault((mutant.module.__name__, mutant.where), []).append(mutant)
    piles = list(by_function.values())
    dice.shuffle(piles)
    for pile in piles:
        dice.shuffle(pile)
    rounds = range(max(map(len, piles), default=0))
    return [pile[i] for i in rounds for pile in piles if i < len(pile)][:count]


# -- finding the functions ------------------------------------------------------------------------


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            yield statement.name, statement
        elif isinstance(statement, ast.ClassDef):
            for inner in statement.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{statement.name}.{inner.name}", inner


def _body(function: ast.FunctionDef) -> list[ast.stmt]:
    """Its statements without the docstring."""
    has_text = ast.get_docstring(function) is not None
    return function.body[1:] if has_text and len(function.body) > 1 else function.body


def _changed(module: ModuleType, where: str, function: ast.FunctionDef) -> Iterator[Mutant]:
    bare = copy.deepcopy(function)
    bare.decorator_list, bare.returns = [], None
    for argument in ast.walk(bare.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    bare.body = _body(bare)
    names = _locals(bare)
    count: Counter[str] = Counter()
    seen = {ast.unparse(bare)}
    for number, (parent, node) in enumerate(_places(bare)):
        for kind, new in _changes(parent, node, names):
            tree = copy.deepcopy(bare)
            _put(tree, number, new)
            text = ast.unparse(tree)
            if text in seen:  # another way to say one that stands already, or no change at all
                continue
            seen.add(text)
            before, after = ast.unparse(node), ast.unparse(new)
            key = f"{where}: {before} -> {after}"
            count[key] += 1
            key = key if count[key] == 1 else f"{key} ({count[key]})"
            yield Mutant(module, where, kind, before, after, key, tree)


def _places(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, ast.AST]]:
    """(parent, node), depth first, of the body alone."""
    ways = [(function, statement) for statement in reversed(function.body)]
    todo: list[tuple[ast.AST, ast.AST]] = list(ways)
    while todo:
        parent, node = todo.pop()
        yield parent, node
        todo += [(node, child) for child in reversed(list(ast.iter_child_nodes(node)))]


def _put(function: ast.FunctionDef, number: int, new: ast.AST) -> None:
    """Put ``new`` in the place with this number."""
    parent, old = list(_places(function))[number]
    for name, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, name, new)
        elif isinstance(value, list):
            setattr(parent, name, [new if each is old else each for each in value])


def _locals(function: ast.FunctionDef) -> list[str]:
    """The names that hold values here: its arguments and what it assigns, but ``self``."""
    taken = [argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)]
    stored = [
        node.id
        for statement in function.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    return [name for name in dict.fromkeys([*taken, *stored]) if name not in ("self", "_")]


# -- changing one place ---------------------------------------------------------------------------


def _changes(parent: ast.AST, node: ast.AST, names: Sequence[str]) -> Iterator[Change]:
    """What can stand in the place of ``node``."""
    match node:
        case ast.BinOp():
            yield from _of_arithmetic(node)
        case ast.AugAssign():
            for operator in ARITHMETIC.get(type(node.op), ()):
                yield "operator", ast.AugAssign(node.target, operator(), node.value)
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield "sign", node.operand
        case ast.Compare(left=left, ops=[operator_], comparators=[right]):
            for other in COMPARISONS.get(type(operator_), ()):
                yield "comparison", ast.Compare(left, [other()], [right])
        case ast.BoolOp(op=operator_, values=values):
            other_ = ast.Or() if isinstance(operator_, ast.And) else ast.And()
            yield "comparison", ast.BoolOp(other_, values)
            for i in range(len(values)):
                rest = values[:i] + values[i + 1 :]
                yield "drop condition", rest[0] if len(rest) == 1 else ast.BoolOp(operator_, rest)
        case ast.Constant():
            yield from (("constant", ast.Constant(new)) for new in _of_constant(node.value))
        case ast.Call():
            yield from _of_call(node)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) if isinstance(node.ctx, ast.Load):
            yield from _of_sequence(parent, node, parts)
        case ast.If():
            turned = ast.UnaryOp(ast.Not(), node.test)
            yield "condition", ast.If(turned, node.body, node.orelse)
        case ast.IfExp():
            yield "condition", node.body
            yield "condition", node.orelse
        case ast.Subscript(value=whole, slice=ast.Slice()) if isinstance(node.ctx, ast.Load):
            yield "drop slice", whole
        case ast.Expr(value=ast.Call()):
            yield "drop statement", ast.Pass()
        case ast.Name(id=name, ctx=ast.Load()) if name in names and len(names) > 1:
            other__ = names[(names.index(name) + 1) % len(names)]
            yield "other name", ast.Name(other__, ast.Load())
    if isinstance(parent, ast.Return) and isinstance(node, ast.expr) and _is_one(node):
        yield "sign", ast.UnaryOp(ast.USub(), node)


def _is_one(node: ast.expr) -> bool:
    """Whether it is one value, that may have a sign, as far as the source tells."""
    return not isinstance(node, (ast.Tuple, ast.List, ast.ListComp, ast.Constant, ast.Starred))


def _of_arithmetic(node: ast.BinOp) -> Iterator[Change]:
    for operator in ARITHMETIC.get(type(node.op), ()):
        yield "operator", ast.BinOp(node.left, operator(), node.right)
    yield "drop operand", node.left
    yield "drop operand", node.right
    if isinstance(node.op, ORDERED):
        yield "swap operands", ast.BinOp(node.right, node.op, node.left)


def _of_constant(value: Any) -> Sequence[Any]:
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1]
        case float():
            return [value * 2 or 1.0, 0.0]
        case _:
            return []


def _of_call(node: ast.Call) -> Iterator[Change]:
    first = node.args[0] if node.args else None
    if first is not None and not isinstance(first, ast.Starred):
        yield "drop call", first
    for i in range(len(node.args) - 1):
        args = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
        yield "swap operands", ast.Call(node.func, args, node.keywords)
    for i in range(len(node.keywords)):
        fewer = node.keywords[:i] + node.keywords[i + 1 :]
        yield "drop argument", ast.Call(node.func, node.args, fewer)


def _of_sequence(
    parent: ast.AST, node: ast.Tuple | ast.List, parts: Sequence[ast.expr]
) -> Iterator[Change]:
    for i in range(len(parts) - 1):
        swapped = [*parts[:i], parts[i + 1], parts[i], *parts[i + 2 :]]
        yield "swap parts", type(node)(swapped, ast.Load())
    if not isinstance(parent, ast.Return):
        return
    for i, part in enumerate(parts):
        if _is_one(part):
            for kind, new in (
                ("drop part", ast.Constant(None)),
                ("sign", ast.UnaryOp(ast.USub(), part)),
            ):
                yield kind, type(node)([*parts[:i], new, *parts[i + 1 :]], ast.Load())
