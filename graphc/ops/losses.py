"""Losses beside the cross-entropy: compositions of other ops, with PyTorch's names."""

from __future__ import annotations

from typing import Any

from graphc.ir import dims
from graphc.ir.errors import GraphError
from graphc.ir.node import Node
from graphc.ops.activation import softplus
from graphc.ops.elementwise import abs, square, sub
from graphc.ops.gather import gather
from graphc.ops.mistake import mistake
from graphc.ops.pointwise import operands
from graphc.ops.reduce import mean
from graphc.ops.reduce import sum as sum_
from graphc.ops.shape import reshape, unsqueeze

__all__ = ["binary_cross_entropy_with_logits", "l1_loss", "mse_loss", "nll_loss"]


def mse_loss(x: Node, target: Any, *, reduction: str = "mean") -> Node:
    """The mean of (x - target)²; its sum, or each one, by ``reduction`` ("sum", "none").

    x, target: one shape, floating; a Python number is the target of all. Unlike arithmetic it does
    not broadcast: (N,) beside (N, 1) is a mistake. Raises ShapeError for two shapes, GraphError for
    another reduction.

    >>> import graphc as gx
    >>> x, t = gx.input("x", ("N",)), gx.input("t", ("N",))
    >>> float(gx.interpret(gx.Graph({"y": gx.mse_loss(x, t)}), {}, x=[1, 2], t=[1, 5])["y"])
    4.5
    """
    return _reduced("mse_loss", square(_difference("mse_loss", x, target)), reduction)


def l1_loss(x: Node, target: Any, *, reduction: str = "mean") -> Node:
    """The mean of |x - target|. Arguments and errors as ``mse_loss``.

    >>> import graphc as gx
    >>> x, t = gx.input("x", ("N",)), gx.input("t", ("N",))
    >>> float(gx.interpret(gx.Graph({"y": gx.l1_loss(x, t)}), {}, x=[1, 2], t=[1, 5])["y"])
    1.5
    """
    return _reduced("l1_loss", abs(_difference("l1_loss", x, target)), reduction)


def binary_cross_entropy_with_logits(
    x: Node, target: Any, *, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Node:
    """The mean of -target·ln σ(x) - (1 - target)·ln(1 - σ(x)), σ the sigmoid; exact at any x.

    x: logits; target: of x's shape, in [0, 1]; weight: times each term; pos_weight: times the
    terms of the target (both broadcast). Arguments and errors else as ``mse_loss``.

    >>> import graphc as gx
    >>> x, t = gx.input("x", ("N",)), gx.input("t", ("N",))
    >>> loss = gx.binary_cross_entropy_with_logits(x, t)
    >>> float(gx.interpret(gx.Graph({"y": loss}), {}, x=[100, 100], t=[1, 0])["y"])
    50.0
    """
    name = "binary_cross_entropy_with_logits"
    x, target = _alike(name, x, target)
    miss = softplus(-x)
    if pos_weight is not None:
        miss = miss * (target * (pos_weight - 1) + 1)
    terms = (1 - target) * x + miss
    return _reduced(name, terms if weight is None else terms * weight, reduction)


def nll_loss(x: Node, label: Node, *, reduction: str = "mean") -> Node:
    """The mean of -x[n, label[n]], x logarithms of probabilities (``log_softmax``).

    x: (N, C, …), floating; label: (N, …), int64, each in [0, C): another one is a GraphError when
    the program runs. ``cross_entropy`` is this of ``log_softmax``, in one op. Raises ShapeError
    where the shapes do not fit, GraphError for another reduction.

    >>> import graphc as gx
    >>> x, label = gx.input("x", ("N", 2)), gx.input("label", ("N",), dtype="int64")
    >>> graph = gx.Graph({"y": gx.nll_loss(x, label)})
    >>> float(gx.interpret(graph, {}, x=[[-1, -2], [-3, -4]], label=[1, 0])["y"])
    2.5
    """
    if x.ndim < 2 or label.ndim != x.ndim - 1:
        what = f"x has {x.ndim} axes, the labels {label.ndim}, not batch, classes, … and batch, …"
        mistake("nll_loss", what, x=x, label=label)
    chosen = reshape(gather(x, 1, unsqueeze(label, 1)), label.shape)
    return _reduced("nll_loss", -chosen, reduction)


def _alike(name: str, x: Node, target: Any) -> tuple[Node, Node]:
    """Both as nodes of one shape; a number is the target of all."""
    x, node = operands(x, target)
    if not isinstance(target, (bool, int, float)):
        pairs = zip(x.shape, node.shape, strict=False)
        if x.ndim != node.ndim or any(dims.always_equal(a, b) is False for a, b in pairs):
            what = "x and its target have two shapes, and a loss does not broadcast"
            mistake(name, what, fix="gx.reshape one of them", x=x, target=node)
    return x, node


def _difference(name: str, x: Node, target: Any) -> Node:
    return sub(*_alike(name, x, target))


def _reduced(name: str, terms: Node, reduction: str) -> Node:
    if reduction == "none":
        return terms
    if reduction not in ("mean", "sum"):
        what = f"reduction={reduction!r} is not 'mean', 'sum' or 'none'"
        mistake(name, what, error=GraphError)
    return mean(terms) if reduction == "mean" else sum_(terms)
