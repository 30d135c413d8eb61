"""Mistakes that users make, in one table: each gets an error that says what was written and where.

A row is a few lines of a user's file ``net.py``; the last one is wrong. The error must be of the
class given, say the line that called, and for each of the nodes named (variables of the file) its
type and the line that made it; ``says`` are more fragments of the message: what was expected, what
to do. The same nodes and lines stand in ``error.nodes`` and ``error.lines``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import data, models, nn, passes


@dataclass(frozen=True)
class Mistake:
    """One row of the table."""

    kind: str
    code: str
    error: type[Exception]
    says: tuple[str, ...]
    nodes: tuple[str, ...] = ()


IMAGE = """
x = gx.input("x", ("N", 3, 8, 8))
"""
CONV = (
    IMAGE
    + """
w = gx.parameter("w", (6, 3, 5, 5))
"""
)
PAIR = """
a = gx.input("a", ("N", 3))
b = gx.input("b", ("N", 3))
graph = gx.Graph({"y": a + b})
program = gx.compile(graph)
good = np.ones((2, 3), np.float32)
"""
CLASSES = """
logits = gx.input("logits", ("N", 3))
label = gx.input("label", ("N",), dtype="int64")
loss = gx.cross_entropy(logits, label)
graph = gx.Graph({"loss": loss})
good = np.ones((2, 3), np.float32)
"""
LOSS = """
x = gx.input("x", ("N", 3))
w = gx.parameter("w", (3,))
loss = gx.sum(gx.relu(x * w))
graph = gx.Graph({"loss": loss})
"""
TRAINED = (
    LOSS
    + """
step = gx.compile(graph.apply(passes.backward(), passes.sgd(lr=0.1, momentum=0.9)))
v = step.init(seed=0)
x0 = np.ones((2, 3), np.float32)
"""
)

SHAPES = [
    Mistake(
        "shapes that do not broadcast",
        'a = gx.input("a", (2, 3))\nb = gx.input("b", (4, 3))\nc = a + b',
        gx.ShapeError, ("add: ", "2 != 4", "left ", "right ", "to fix: "), ("a", "b"),
    ),
    Mistake(
        "inner sizes of a matrix product",
        'a = gx.input("a", ("N", 3))\nw = gx.parameter("w", (4, 5))\nc = a @ w',
        gx.ShapeError, ("left has 3 columns, right has 4 rows", "to fix: "), ("a", "w"),
    ),
    Mistake(
        "features of a linear layer",
        'x = gx.input("x", ("N", 784))\nw = gx.parameter("w", (10, 785))\ny = gx.linear(x, w)',
        gx.ShapeError, ("x has 784 features, the weight takes 785", "(10, 784)"), ("x", "w"),
    ),
    Mistake(
        "features of a module",
        'x = gx.input("x", ("N", 4))\nnet = nn.Linear(3, 2)\nw = net.weight\ny = net(x)',
        gx.ShapeError, ("linear.weight", "x has 4 features, the weight takes 3"), ("x", "w"),
    ),
    Mistake(
        "length of a bias",
        IMAGE + 'b = gx.parameter("b", (7,))\ny = gx.linear(x, gx.parameter("w", (6, 8)), b)',
        gx.ShapeError, ("the bias has 7 numbers, the weight gives 6", "to fix: "), ("x", "b"),
    ),
    Mistake(
        "channels of a convolution",
        IMAGE + 'w = gx.parameter("w", (16, 8, 3, 3))\ny = gx.conv2d(x, w)',
        gx.ShapeError,
        ("the input has 3 channels, the weight takes 8 (weight.shape[1] 8 x groups 1)", "to fix: "),
        ("x", "w"),
    ),
    Mistake(
        "groups that do not divide",
        IMAGE + 'w = gx.parameter("w", (6, 1, 3, 3))\ny = gx.conv2d(x, w, groups=4)',
        gx.ShapeError, ("groups=4 does not divide the 6 filters", "to fix: "), ("x", "w"),
    ),
    Mistake(
        "a kernel larger than the image",
        'x = gx.input("x", (1, 3, 4, 4))\nw = gx.parameter("w", (6, 3, 5, 5))\ny = gx.conv2d(x, w)',
        gx.ShapeError, ("kernel 5 needs 5, the input has 4", "padding='same'"), ("x", "w"),
    ),
    Mistake(
        "a dilated kernel larger than the image (a negative output size)",
        CONV + "y = gx.conv2d(x, w, dilation=3)",
        gx.ShapeError, ("with dilation 3 spans 13, the input has 8",), ("x", "w"),
    ),
    Mistake(
        "a pooling window larger than the image",
        IMAGE + "y = gx.max_pool2d(x, 9)",
        gx.ShapeError, ("kernel 9 needs 9, the input has 8", "to fix: "), ("x",),
    ),
    Mistake(
        "pooling windows on padding alone",
        IMAGE + "y = gx.avg_pool2d(x, 2, padding=2)",
        gx.ShapeError, ("a window of 2 may lie on padding alone", "to fix: "), ("x",),
    ),
    Mistake(
        "a stride of 0", CONV + "y = gx.conv2d(x, w, stride=0)",
        gx.ShapeError, ("stride=0 is less than 1",), ("x", "w"),
    ),
    Mistake(
        "an unknown padding", CONV + 'y = gx.conv2d(x, w, padding="full")',
        gx.GraphError, ("padding='full' is not an int", "'same'"),
    ),
    Mistake(
        "a negative padding", CONV + "y = gx.conv2d(x, w, padding=-1)",
        gx.ShapeError, ("padding=-1 is negative", "to fix: slice the input"), ("x", "w"),
    ),
    Mistake(
        "an image without its batch axis",
        'x = gx.input("x", (3, 8, 8))\nw = gx.parameter("w", (6, 3, 5, 5))\ny = gx.conv2d(x, w)',
        gx.ShapeError, ("x has 3 axes, not 4 (batch, channels, height, width)",), ("x", "w"),
    ),
    Mistake(
        "concat of other sizes",
        'a = gx.input("a", ("N", 3))\nb = gx.input("b", ("N", 4))\nc = gx.concat([a, b])',
        gx.ShapeError, ("input 2 does not continue input 1, axis 1: 3 != 4", "to fix: "),
        ("a", "b"),
    ),
    Mistake(
        "concat without a list",
        'a = gx.input("a", ("N", 3))\nc = gx.concat(a, a)',
        gx.GraphError, ("a list of one node or more", "a: f32[N,3]", "to fix: gx.concat([a, b]"),
    ),
    Mistake(
        "a reshape to another number of elements",
        IMAGE + 'y = gx.reshape(x, ("N", 191))',
        gx.ShapeError, ("another number of elements than x: 191*N != 192*N", "-1"), ("x",),
    ),
    Mistake(
        "an axis that is not there", IMAGE + "y = gx.sum(x, axis=4)",
        gx.ShapeError, ("there is no axis 4", "to fix: use an axis from -4 to 3"), ("x",),
    ),
    Mistake(
        "an incomplete permutation", IMAGE + "y = gx.transpose(x, (0, 2, 3))",
        gx.ShapeError, ("is not a permutation of the 4 axes", "to fix: "), ("x",),
    ),
    Mistake(
        "an index out of range", IMAGE + "y = x[:, 3]",
        gx.ShapeError, ("no element 3 on axis 1, which has 3",), ("x",),
    ),
    Mistake(
        "an index by condition", IMAGE + "y = x[x > 0]",
        gx.GraphError, ("not an index of axis 0", "gx.where"), ("x",),
    ),
    Mistake(
        "an empty slice", IMAGE + "y = x[:, 2:2]",
        gx.ShapeError, ("0 is less than 1", "take at least one element"), ("x",),
    ),
    Mistake(
        "labels and logits of other batches",
        'x = gx.input("x", (4, 3))\nlabel = gx.input("label", (5,), dtype="int64")\n'
        "y = gx.cross_entropy(x, label)",
        gx.ShapeError, ("4 rows of logits and 5 labels",), ("x", "label"),
    ),
]  # fmt: skip

TYPES = [
    Mistake(
        "two dtypes",
        'a = gx.input("a", (2,))\nb = gx.input("b", (2,), dtype="float64")\nc = a * b',
        gx.DTypeError, ("f32 and f64", "never promote", "to fix: cast one"), ("a", "b"),
    ),
    Mistake(
        "a float beside integers",
        'a = gx.input("a", (2,), dtype="int64")\nc = a * 0.5',
        gx.DTypeError, ("0.5 is a Python float, which i64 does not hold", "to fix: "), ("a",),
    ),
    Mistake(
        "a mean of integers",
        'a = gx.input("a", (2,), dtype="int64")\nc = gx.mean(a)',
        gx.DTypeError, ("needs floating-point operands, not i64", "to fix: gx.cast"), ("a",),
    ),
    Mistake(
        "labels that are floats",
        'a = gx.input("a", ("N", 3))\nb = gx.input("b", ("N",))\nc = gx.cross_entropy(a, b)',
        gx.DTypeError, ("the labels are f32, not i64", "dtype='int64'"), ("a", "b"),
    ),
    Mistake(
        "a condition that is no bool",
        'a = gx.input("a", (3,))\nc = gx.where(a, a, 0)',
        gx.DTypeError, ("the condition is f32, not bool", "gx.where(x > 0, a, b)"), ("a",),
    ),
    Mistake(
        "an unknown dtype", 'a = gx.input("a", (3,), dtype="float33")',
        gx.DTypeError, ("'float33' is not an element type", "float32"),
    ),
    Mistake(
        "a dtype without its bits", 'a = gx.input("a", (3,), dtype="float")',
        gx.DTypeError, ("does not say how many bits", "float32"),
    ),
]  # fmt: skip

DECLARING = [
    Mistake(
        "a symbolic size in a parameter", 'w = gx.parameter("w", ("N", 3))',
        gx.ShapeError, ("parameter w has the symbolic size N", "all its sizes are ints"),
    ),
    Mistake(
        "an integer parameter", 'w = gx.parameter("w", (3,), dtype="int64")',
        gx.DTypeError, ("parameter w is int64", "floating-point"),
    ),
    Mistake(
        "an unknown role", 'w = gx.parameter("w", (3,), role="weights")',
        gx.GraphError, ("role='weights' is not one of weight, bias, scale, shift",),
    ),
    Mistake(
        "an unknown initializer", 'w = gx.parameter("w", (3,), init="kaiming")',
        gx.GraphError, ("init='kaiming' is not an initializer", "kaiming_uniform"),
    ),
    Mistake(
        "a size that is none", 'x = gx.input("x", (None, 3))',
        gx.GraphError, ("None is not a size", "('N', 1, 28, 28)"),
    ),
    Mistake(
        "a size of 0", 'x = gx.input("x", (0, 3))',
        gx.GraphError, ("a size must be at least 1, not 0",),
    ),
    Mistake(
        "an unfinished expression of a size", 'x = gx.input("x", ("N+", 3))',
        gx.ParseError, ("'N+' is not a dimension", "unexpected end"),
    ),
    Mistake(
        "a name with a blank", 'x = gx.input("my input", (3,))',
        gx.GraphError, ("an input cannot be called 'my input'", "a name starts with"),
    ),
    Mistake(
        "an output's name with a blank",
        'x = gx.input("x", (3,))\ng = gx.Graph({"my loss": x})',
        gx.GraphError, ("an output cannot be called 'my loss'",),
    ),
    Mistake(
        "an output that nothing connects",
        'x = gx.input("x", (3,))\ng = gx.Graph({"y": np.ones(3)})',
        gx.GraphError, ("output 'y' is a ndarray, not a node", "gx.constant"),
    ),
    Mistake(
        "outputs without names",
        'x = gx.input("x", (3,))\ng = gx.Graph([x])',
        gx.GraphError, ("a dict of named outputs", "not a list"),
    ),
    Mistake(
        "two parameters of one name",
        'a = gx.parameter("w", (3,))\nb = gx.parameter("w", (3,))\ng = gx.Graph({"y": a + b})',
        gx.GraphError, ("two leaves of this graph are called 'w'", "to fix: "), ("a", "b"),
    ),
    Mistake(
        "a dimension that nobody tells",
        'x = gx.input("x", (3,))\ny = gx.broadcast_to(x, ("N", 3))\ng = gx.Graph({"y": y})',
        gx.GraphError, ("nothing tells the size N", "gx.input('x', ('N', 3))"), ("y",),
    ),
    Mistake(
        "an update of another shape",
        'x = gx.input("x", (3,))\ns = gx.state("s", (4,))\ng = gx.Graph({"y": x}, {s: x})',
        gx.ShapeError, ("it must keep the type",), ("x", "s"),
    ),
    Mistake(
        "an update of an input",
        'x = gx.input("x", (3,))\ng = gx.Graph({"y": x}, {x: x * 2})',
        gx.GraphError, ("only parameters and states can be updated",), ("x",),
    ),
    Mistake(
        "a node that is changed", 'x = gx.input("x", (3,))\nx.shape = (4,)',
        gx.GraphError, ("a node is immutable: its shape cannot be set",),
    ),
    Mistake(
        "track without a state", 'x = gx.input("x", (3,))\ny = gx.track(x, x)',
        gx.GraphError, ("is not a state", "to fix: declare it: gx.state("), ("x",),
    ),
    Mistake(
        "an array where a node belongs", IMAGE + "y = gx.conv2d(x, np.zeros((6, 3, 5, 5)))",
        gx.GraphError, ("weight is a ndarray, not a node", "to fix: ", "gx.constant"), ("x",),
    ),
    Mistake(
        "a function of an array", "y = gx.flatten(np.ones((2, 2)))",
        gx.GraphError, ("flatten: x is a ndarray, not a node", "to fix: "),
    ),
    Mistake(
        "a layer called with an array", "net = nn.Linear(3, 2)\ny = net(np.ones((1, 3)))",
        gx.GraphError, ("Linear was called with an array", "gx.input('x', shape)"),
    ),
    Mistake(
        "an operand that is no number", 'x = gx.input("x", (3,))\ny = x + "1"',
        gx.GraphError, ("a str is not an operand", "to fix: "),
    ),
    Mistake(
        "a positional dropout rate", 'x = gx.input("x", (3,))\ny = gx.dropout(x, 0.5)',
        TypeError, ("does not take a positional rate", "gx.dropout(x, retain=0.8)", "KEEP"),
    ),
    Mistake(
        "dropout's p=", "y = nn.Dropout(p=0.5)",
        TypeError, ("does not take p=", "nn.Dropout(retain=0.8)", "KEEP"),
    ),
    Mistake(
        "dropout's rate=", 'x = gx.input("x", (3,))\ny = gx.dropout(x, rate=0.5)',
        TypeError, ("does not take rate=", "retain=0.8"),
    ),
    Mistake(
        "a retain outside (0, 1]", 'x = gx.input("x", (3,))\ny = gx.dropout(x, retain=1.5)',
        gx.GraphError, ("retain=1.5 is not in (0, 1]", "to fix: "), ("x",),
    ),
]  # fmt: skip

NOT_AN_ARRAY = [
    Mistake(
        "an if on a node", 'x = gx.input("x", (3,))\ny = x > 0\nbool(y)',
        gx.GraphError, ("has no truth value", "gx.where(condition, a, b)"), ("y",),
    ),
    *(
        Mistake(
            kind, f'x = gx.input("x", (3,))\n{code}', TypeError, ("x: f32[3]", said, "to fix: ")
        )
        for kind, code, said in (
            ("a loop over a node", "for row in x: pass", "cannot be iterated over"),
            ("Python's sum of a node", "y = sum(x)", "cannot be iterated over"),
            ("an array of a node", "y = np.array(x)", "has no array before the graph runs"),
            ("a NumPy function of a node", "y = np.exp(x)", "nothing that np.exp takes"),
            ("NumPy's sum of a node", "y = np.sum(x)", "nothing that np.add takes"),
            ("NumPy's mean of a node", "y = np.mean(x)", "has no array before the graph runs"),
            ("an array that adds a node", "y = np.ones(3)\ny += x", "nothing that np.add takes"),
            ("a node as a number", "y = float(x)", "is no number before the graph runs"),
            ("a node as a count", "y = range(x)", "is no number before the graph runs"),
            ("the length of a node", "y = len(x)", "x.shape"),
            ("membership in a node", "y = 3 in x", "has no elements"),
        )
    ),
]  # fmt: skip

RUNNING = [
    Mistake(
        "a missing input", PAIR + "y = program({}, a=good)",
        gx.GraphError, ("the input 'b' is missing", "to fix: pass b=array of shape (N, 3)"), ("b",),
    ),
    Mistake(
        "an unknown input", PAIR + "y = program({}, a=good, b=good, bb=good)",
        gx.GraphError, ("the graph has no input 'bb'", "there are: a, b"),
    ),
    Mistake(
        "an input given twice", PAIR + 'y = program({}, {"a": good}, a=good, b=good)',
        gx.GraphError, ("the input 'a' is given twice",),
    ),
    Mistake(
        "an input without its name", PAIR + "y = program({}, good, b=good)",
        gx.GraphError, ("inputs are a dict of name to array", "to fix: name every input"),
    ),
    Mistake(
        "an array of another shape", PAIR + "y = program({}, a=np.ones((2, 4), 'f4'), b=good)",
        gx.ShapeError, ("'a' has shape (2, 4), but (2, 3) is expected with N=2",), ("a",),
    ),
    Mistake(
        "an array of other axes", PAIR + "y = program({}, a=np.ones(3, 'f4'), b=good)",
        gx.ShapeError, ("'a' has shape (3,), but it is declared with 2 axes",), ("a",),
    ),
    Mistake(
        "an N that differs", PAIR + "y = program({}, a=good, b=np.ones((3, 3), 'f4'))",
        gx.ShapeError, ("N is 2 by axis 0 of 'a', but 3 by axis 0 of 'b'",), ("b",),
    ),
    Mistake(
        "an empty batch", PAIR + "y = program({}, a=good[:0], b=good[:0])",
        gx.ShapeError, ("axis 0 of 'a' is empty: N must be at least 1",),
    ),
    Mistake(
        "uint8 into a float", PAIR + "y = program({}, a=good.astype('uint8'), b=good)",
        gx.DTypeError, ("'a' is uint8, but it is declared f32", "a=a.astype('float32') / 255"),
        ("a",),
    ),
    Mistake(
        "complex into a float", PAIR + "y = program({}, a=good, b=good.astype('complex64'))",
        gx.DTypeError, ("'b' is complex64", "to fix: b=b.astype('float32')"), ("b",),
    ),
    Mistake(
        "strings into a float", PAIR + "y = program({}, a=[['1', '2', '3']], b=good[:1])",
        gx.DTypeError, ("the input 'a' holds", "not f32"), ("a",),
    ),
    Mistake(
        "a ragged list", PAIR + "y = program({}, a=[[1, 2, 3], [1]], b=good)",
        gx.ShapeError, ("the input 'a' is not an array",), ("a",),
    ),
    Mistake(
        "a node as an input", PAIR + "y = program({}, a=a, b=good)",
        gx.GraphError, ("the input 'a' was given a node, not an array",), ("a",),
    ),
    Mistake(
        "float labels",
        CLASSES + "y = gx.compile(graph)({}, logits=good, label=np.array([0.0, 1]))",
        gx.DTypeError, ("'label' is float64", "to fix: label=label.astype('int64')"), ("label",),
    ),
    Mistake(
        "a label out of range",
        CLASSES + "y = gx.compile(graph)({}, logits=good, label=np.array([0, 3]))",
        gx.GraphError, ("a label is outside [0, 3)", "from 0 to 3"), ("logits", "label", "loss"),
    ),
    Mistake(
        "a label out of range, interpreted",
        CLASSES + "y = gx.interpret(graph, {}, logits=good, label=np.array([0, -1]))",
        gx.GraphError, ("label -1 at [1] is not a class",), ("logits", "label", "loss"),
    ),
    Mistake(
        "a guard that fails at the call",
        'a = gx.input("a", ("N",))\nb = gx.input("b", ("M",))\ny = a + b\n'
        'program = gx.compile(gx.Graph({"y": y}))\n'
        "program({}, a=np.ones(2, 'f4'), b=np.ones(3, 'f4'))",
        gx.ShapeError, ("N == M does not hold with N=2 by axis 0 of 'a', M=3 by axis 0 of 'b'",),
        ("a", "b", "y"),
    ),
    Mistake(
        "an image smaller than the window, at the call",
        'x = gx.input("x", (1, 1, "H", "W"))\ny = gx.max_pool2d(x, 5)\n'
        'program = gx.compile(gx.Graph({"y": y}))\n'
        "program({}, x=np.ones((1, 1, 9, 4), 'f4'))",
        gx.ShapeError, ("W >= 5 does not hold", "W=4 by axis 3 of 'x'"), ("x", "y"),
    ),
    Mistake(
        "a missing variable", TRAINED + 'del v["w"]\nstep(v, x=x0)',
        gx.GraphError, ("variables lack 'w'", "to fix: start from program.init(seed=0)"), ("w",),
    ),
    Mistake(
        "no variables", TRAINED + "step(None, x=x0)",
        gx.GraphError, ("variables are a dict of name to array", "not a NoneType"),
    ),
    Mistake(
        "a variable of another shape", TRAINED + 'v["w"] = np.ones(2, "f4")\nstep(v, x=x0)',
        gx.ShapeError, ("the variable 'w' is float32[2]",), ("w",),
    ),
    Mistake(
        "a variable of another dtype", TRAINED + 'v["w"] = np.ones(3)\nstep(v, x=x0)',
        gx.DTypeError, ("the variable 'w' is float64[3]",), ("w",),
    ),
    Mistake(
        "a list as a variable", TRAINED + 'v["w"] = [1.0, 2.0, 3.0]\nstep(v, x=x0)',
        gx.GraphError, ("the variable 'w' is a list", "to fix: np.asarray"), ("w",),
    ),
    Mistake(
        "a read-only variable", TRAINED + 'v["w"].setflags(write=False)\nstep(v, x=x0)',
        gx.GraphError, ("'w' is read-only", "to fix: variables['w'].copy()"), ("w",),
    ),
    Mistake(
        "a variable with gaps", TRAINED + 'v["w"] = np.ones(6, "f4")[::2]\nstep(v, x=x0)',
        gx.GraphError, ("'w' is not contiguous", "to fix: np.ascontiguousarray"), ("w",),
    ),
    Mistake(
        "variables that overlap",
        TRAINED + 'm = np.ones(5, "f4")\nv.update({"w": m[:3], "sgd/w/momentum": m[2:]})\n'
        "step(v, x=x0)",
        gx.GraphError, ("share memory", "'sgd/w/momentum'", "to fix: copy one"), ("w",),
    ),
    Mistake(
        "a seed out of range", TRAINED + "v = step.init(seed=-1)",
        gx.GraphError, ("seed=-1 must be at least 0 and less than 2**64",),
    ),
    Mistake(
        "a seed that is no int", TRAINED + "v = step.init(seed=1.5)",
        gx.GraphError, ("seed=1.5 is not an int",),
    ),
    Mistake(
        "an unknown backend", PAIR + 'gx.compile(graph, backend="cuda")',
        gx.GraphError, ("there is no backend 'cuda'", "numpy"),
    ),
    Mistake(
        "a node compiled", PAIR + "gx.compile(a)",
        gx.GraphError, ("compile takes a gx.Graph, not a Node",),
    ),
    Mistake(
        "too little memory", PAIR + "gx.compile(graph, memory_limit=1)({}, a=good, b=good)",
        gx.BackendError, ("more than memory_limit=1",),
    ),
]  # fmt: skip

PASSES = [
    Mistake(
        "an unknown output", LOSS + 'graph.select("losss")',
        gx.GraphError, ("no output is called 'losss': did you mean 'loss'?",),
    ),
    Mistake(
        "a node of another graph", LOSS + "y = gx.tanh(x)\ngraph.name(y)",
        gx.GraphError, ("is not a node of this graph",), ("y",),
    ),
    Mistake(
        "a pass without parentheses", LOSS + "graph.apply(passes.backward)",
        gx.GraphError, ("backward gave a function, not a Graph", "passes.backward(…)"),
    ),
    Mistake(
        "an optimizer without parentheses",
        LOSS + "graph.apply(passes.backward(), passes.sgd)",
        gx.GraphError, ("was given a graph", "with its parentheses, e.g. passes.sgd(lr=0.1)"),
    ),
    Mistake(
        "a pass by its name", LOSS + 'graph.apply("backward")',
        gx.GraphError, ("apply takes passes", "not a str", "passes.backward()"),
    ),
    Mistake(
        "a pass that returns nothing", LOSS + "graph.apply(lambda graph: None)",
        gx.GraphError, ("returned a NoneType, not a Graph",),
    ),
    Mistake(
        "backward without a loss", PAIR + "graph.apply(passes.backward())",
        gx.GraphError, ("'objective' or 'loss'", "passes.backward('y')"),
    ),
    Mistake(
        "backward of what is no scalar", PAIR + 'y = a + b\ngraph.apply(passes.backward("y"))',
        gx.ShapeError, ("needs a floating-point scalar", "to fix: reduce it"), ("y",),
    ),
    Mistake(
        "a wrt out of reach",
        LOSS + 'u = gx.parameter("u", (3,))\ngraph = gx.Graph({"loss": loss, "u": u})\n'
        'graph.apply(passes.backward(wrt="u"))',
        gx.GraphError, ("does not depend on u",), ("loss", "u"),
    ),
    Mistake(
        "an unknown wrt", LOSS + 'graph.apply(passes.backward(wrt="ww"))',
        gx.GraphError, ("no node is called 'ww': did you mean 'w'?",),
    ),
    Mistake(
        "a wrt that is no name", LOSS + "graph.apply(passes.backward(wrt=3))",
        gx.GraphError, ("takes names and nodes, or a list of them, not 3",),
    ),
    Mistake(
        "no gradient on the way",
        LOSS + 'loss = gx.sum(gx.cast(w > 0, "float32"))\n'
        'gx.Graph({"loss": loss}).apply(passes.backward())',
        gx.GraphError, ("no gradient flows", "a comparison"), ("loss", "w"),
    ),
    Mistake(
        "backward twice", LOSS + "graph.apply(passes.backward(), passes.backward())",
        gx.GraphError, ("has gradients already (grad/w)", "backward runs once"),
    ),
    Mistake(
        "sgd before backward", LOSS + "graph.apply(passes.sgd(lr=0.1))",
        gx.GraphError, ("run passes.backward() before it",),
    ),
    Mistake(
        "a negative learning rate", "passes.sgd(lr=-1)",
        gx.GraphError, ("sgd(lr=…) must be a number of at least 0, not -1",),
    ),
    Mistake(
        "the name of the learning rate", 'passes.sgd(lr="learning rate")',
        gx.GraphError, ("'learning rate' cannot be an input given by keyword", "'lr'"),
    ),
    Mistake(
        "Nesterov without momentum", "passes.sgd(lr=0.1, nesterov=True)",
        gx.GraphError, ("needs a momentum",),
    ),
    Mistake(
        "weight decay after backward",
        LOSS + "graph.apply(passes.backward(), passes.weight_decay(0.1))",
        gx.GraphError, ("comes before backward", "in front of passes.backward()"),
    ),
    Mistake(
        "dropout after backward",
        LOSS + "graph.apply(passes.backward(), passes.insert_dropout(retain=0.5))",
        gx.GraphError, ("comes before backward", "in front of passes.backward()"),
    ),
    Mistake(
        "dropout after nothing",
        LOSS + 'graph.apply(passes.insert_dropout(retain=0.5, after="sigmoid"))',
        gx.GraphError, ("found no sigmoid here",),
    ),
    Mistake(
        "a retain of 0", "passes.insert_dropout(retain=0)",
        gx.GraphError, ("retain lies in (0, 1]",),
    ),
    Mistake(
        "insert_dropout by position", "passes.insert_dropout(0.5)",
        TypeError, ("does not take a positional rate", "passes.insert_dropout(retain=0.8)"),
    ),
    Mistake(
        "an unknown op", 'passes.insert_dropout(retain=0.5, after="Relu")',
        gx.GraphError, ("no op is called 'Relu': did you mean 'relu'?",),
    ),
]  # fmt: skip

TEXT = [
    Mistake(
        kind, LOSS + f"gx.parse({code})", gx.ParseError, says,
    )
    for kind, code, says in (
        ("text that is no graph", '"hello"', ("not a printed graph", "graphc 1", "'hello'")),
        ("a later version", '"graphc 99"', ("line 1", "version 99", "install a newer graphc")),
        ("a graph cut short", "str(graph)[:-2]", ("ends before the closing '}'",)),
        ("an op that is none", 'str(graph).replace("= mul", "= mull")',
         ("line 4", "there is no op called 'mull'")),
        ("a type that is not the op's", 'str(graph).replace("%mul: f32[N,3]", "%mul: f32[N,4]")',
         ("line 4", "the line says f32[N,4], but mul gives f32[N,3]")),
        ("a value that is not there", 'str(graph).replace("(%x,", "(%xx,")',
         ("line 4", "%xx is used before it is defined")),
        ("no text", "None", ("takes the text of a graph, not a NoneType",)),
    )
] + [
    Mistake(
        "an unknown model", 'models.build("lenet5")',
        gx.GraphError, ("no network is called 'lenet5': did you mean 'lenet-5'?",),
    ),
    Mistake(
        "an unknown data set", 'data.load("mnist-min", "train")',
        gx.GraphError, ("no data set is called 'mnist-min'", "mnist-mini"),
    ),
    Mistake(
        "an unknown split", 'data.load("mnist-mini", "training")',
        gx.GraphError, ("no split 'training'", "train, test"),
    ),
]  # fmt: skip

ALL = [*SHAPES, *TYPES, *DECLARING, *NOT_AN_ARRAY, *RUNNING, *PASSES, *TEXT]


def written(row: Mistake) -> tuple[dict[str, Any], str, Exception]:
    """What the user's file holds after the mistake, the line of it, and the error."""
    code = "\n".join(line for line in row.code.splitlines() if line)
    names: dict[str, Any] = {
        "gx": gx, "nn": nn, "np": np, "passes": passes, "models": models, "data": data,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Exception) as caught:
            exec(compile(code, "net.py", "exec"), names)
    return names, f"net.py:{len(code.splitlines())}", caught.value


def test_the_table_is_long_enough() -> None:
    kinds = [row.kind for row in ALL]
    assert len(set(kinds)) == len(kinds) >= 100


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.kind)
def test_the_error_says_what_and_where(row: Mistake) -> None:
    names, line, error = written(row)
    message = str(error)
    assert type(error) is row.error, message
    for fragment in row.says:
        assert fragment in message
    assert f"called at {line}" in message
    assert message.count("called at") == 1
    assert max(map(len, message.splitlines())) <= 250
    if isinstance(error, (gx.GraphError, gx.BackendError)):
        assert line in error.lines
    for name in row.nodes:
        node = names[name]
        assert node in error.nodes  # type: ignore[attr-defined]
        assert str(node.type) in message
        for made in node.lines:
            assert made in error.lines  # type: ignore[attr-defined]
        assert node.lines[0] in message


def test_torn_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, u = gx.input("x", (2,)), gx.parameter("w", (2,)), gx.parameter("u", (2,))
    graph = gx.Graph({"loss": gx.sum(gx.exp(x * w) + gx.tanh(x * u))})
    trained = graph.apply(passes.backward(), passes.sgd(lr=0.1))
    step = gx.compile(trained)
    variables = step.init(seed=0)
    real, calls = np.subtract, []

    def failing(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:  # the second update
            raise MemoryError("no memory today")
        return real(*args, **options)

    monkeypatch.setattr(np, "subtract", failing)
    with pytest.raises(MemoryError):
        step(variables, x=np.ones(2, np.float32))
    monkeypatch.undo()
    with pytest.raises(gx.GraphError, match="half updated by a step that failed") as caught:
        step(variables, x=np.ones(2, np.float32))
    assert "load the variables again" in str(caught.value)
    fresh = step.init(seed=0)
    step(fresh, x=np.ones(2, np.float32))
