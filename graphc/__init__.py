"""graphc: a symbolic computation-graph compiler and visualizer. ``import graphc as gx``.

Declare a network with ``gx.input`` and ``graphc.nn``, put its outputs into a ``gx.Graph``,
transform it with ``graphc.passes``, run it with ``gx.compile``, draw it with ``graphc.viz``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from graphc.ir import (
    BackendError,
    Dim,
    DTypeError,
    FormatError,
    Graph,
    GraphError,
    Guard,
    Node,
    ParseError,
    ShapeError,
    input,
    parameter,
    parse,
    state,
    verify,
)
from graphc.ops import (
    abs,
    adaptive_avg_pool2d,
    add,
    again,
    argmax,
    avg_pool2d,
    avg_pool2d_input_grad,
    batch_norm,
    binary_cross_entropy_with_logits,
    broadcast_to,
    cast,
    cat,
    clip,
    concat,
    constant,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv_transpose2d,
    convolve2d,
    cos,
    cross_entropy,
    cumsum,
    div,
    dropout,
    edge,
    einsum,
    elu,
    embedding,
    equal,
    erf,
    exp,
    expm1,
    flatten,
    flip,
    gather,
    gather_grad,
    gelu,
    grad_sum,
    greater,
    greater_equal,
    group_norm,
    l1_loss,
    layer_norm,
    leaky_relu,
    less,
    less_equal,
    linear,
    local_response_norm,
    log,
    log1p,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    matmul,
    max,
    max_pool2d,
    max_pool2d_scatter,
    max_pool2d_take,
    maximum,
    mean,
    min,
    minimum,
    mse_loss,
    mul,
    neg,
    nll_loss,
    not_equal,
    one_hot,
    pad,
    pow,
    random_uniform,
    relu,
    reshape,
    scaled_dot_product_attention,
    sigmoid,
    sign,
    silu,
    sin,
    size,
    softmax,
    softplus,
    sqrt,
    square,
    squeeze,
    step,
    sub,
    sum,
    tanh,
    track,
    transpose,
    unsqueeze,
    upsample,
    where,
)

if TYPE_CHECKING:
    from graphc import analysis, data, models, nn, passes, train
    from graphc.analysis.angular_update import angular_update
    from graphc.analysis.centre import centre_offsets
    from graphc.analysis.compose_affine import compose_affine
    from graphc.analysis.cost import cost
    from graphc.analysis.effective import effective_receptive_field
    from graphc.analysis.equivariance import equivariance
    from graphc.analysis.gradient_check import gradient_check
    from graphc.analysis.moments import moments
    from graphc.analysis.projective_field import projective_field
    from graphc.analysis.receptive_field import receptive_field, receptive_fields
    from graphc.analysis.repair import repair
    from graphc.analysis.sharing import check_sharing
    from graphc.analysis.toeplitz import toeplitz
    from graphc.compiler.interpret import interpret
    from graphc.compiler.program import Program, compile
    from graphc.compiler.registry import available_backends
    from graphc.passes.unroll import convolution_edges
    from graphc.train.checkpoint import load, save
    from graphc.train.fit import fit
    from graphc.train.history import History

__version__ = "0.1.0"

# Loaded when first asked for: `import graphc` stays fast, and never loads what it does not use.
_MODULES = ("analysis", "data", "models", "nn", "passes", "train", "viz")
_FROM = {
    "History": "graphc.train.history",
    "Program": "graphc.compiler.program",
    "angular_update": "graphc.analysis.angular_update",
    "available_backends": "graphc.compiler.registry",
    "centre_offsets": "graphc.analysis.centre",
    "check_sharing": "graphc.analysis.sharing",
    "compile": "graphc.compiler.program",
    "compose_affine": "graphc.analysis.compose_affine",
    "convolution_edges": "graphc.passes.unroll",
    "cost": "graphc.analysis.cost",
    "effective_receptive_field": "graphc.analysis.effective",
    "equivariance": "graphc.analysis.equivariance",
    "fit": "graphc.train.fit",
    "gradient_check": "graphc.analysis.gradient_check",
    "interpret": "graphc.compiler.interpret",
    "load": "graphc.train.checkpoint",
    "moments": "graphc.analysis.moments",
    "projective_field": "graphc.analysis.projective_field",
    "receptive_field": "graphc.analysis.receptive_field",
    "receptive_fields": "graphc.analysis.receptive_field",
    "repair": "graphc.analysis.repair",
    "save": "graphc.train.checkpoint",
    "toeplitz": "graphc.analysis.toeplitz",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"graphc.{name}")
    if name in _FROM:
        return getattr(importlib.import_module(_FROM[name]), name)
    raise AttributeError(f"graphc has no {name!r}")


def to_numpy(array: Any) -> Any:
    """A program's array as a NumPy array, wherever its backend keeps it.

    >>> import graphc as gx
    >>> import numpy as np
    >>> gx.to_numpy(np.ones(2))
    array([1., 1.])
    """
    import numpy as np

    return array.get() if hasattr(array, "get") else np.asarray(array)


__all__ = [
    "BackendError",
    "DTypeError",
    "Dim",
    "FormatError",
    "Graph",
    "GraphError",
    "Guard",
    "History",
    "Node",
    "ParseError",
    "Program",
    "ShapeError",
    "abs",
    "adaptive_avg_pool2d",
    "add",
    "again",
    "analysis",
    "angular_update",
    "argmax",
    "available_backends",
    "avg_pool2d",
    "avg_pool2d_input_grad",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "broadcast_to",
    "cast",
    "cat",
    "centre_offsets",
    "check_sharing",
    "clip",
    "compile",
    "compose_affine",
    "concat",
    "constant",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv_transpose2d",
    "convolution_edges",
    "convolve2d",
    "cos",
    "cost",
    "cross_entropy",
    "cumsum",
    "data",
    "div",
    "dropout",
    "edge",
    "effective_receptive_field",
    "einsum",
    "elu",
    "embedding",
    "equal",
    "equivariance",
    "erf",
    "exp",
    "expm1",
    "fit",
    "flatten",
    "flip",
    "gather",
    "gather_grad",
    "gelu",
    "grad_sum",
    "gradient_check",
    "greater",
    "greater_equal",
    "group_norm",
    "input",
    "interpret",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "less",
    "less_equal",
    "linear",
    "load",
    "local_response_norm",
    "log",
    "log1p",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "matmul",
    "max",
    "max_pool2d",
    "max_pool2d_scatter",
    "max_pool2d_take",
    "maximum",
    "mean",
    "min",
    "minimum",
    "models",
    "moments",
    "mse_loss",
    "mul",
    "neg",
    "nll_loss",
    "nn",
    "not_equal",
    "one_hot",
    "pad",
    "parameter",
    "parse",
    "passes",
    "pow",
    "projective_field",
    "random_uniform",
    "receptive_field",
    "receptive_fields",
    "relu",
    "repair",
    "reshape",
    "save",
    "scaled_dot_product_attention",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "size",
    "softmax",
    "softplus",
    "sqrt",
    "square",
    "squeeze",
    "state",
    "step",
    "sub",
    "sum",
    "tanh",
    "to_numpy",
    "toeplitz",
    "track",
    "train",
    "transpose",
    "unsqueeze",
    "upsample",
    "verify",
    "where",
]
