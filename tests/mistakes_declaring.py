"""Mistakes in declaring: shapes, types, names."""

from __future__ import annotations

import graphc as gx
from tests.mistakes import CONV, IMAGE, Mistake

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
