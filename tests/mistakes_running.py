"""Mistakes in running, in passes, in text and in data."""

from __future__ import annotations

import graphc as gx
from tests.mistakes import CLASSES, LOSS, PAIR, TRAINED, Mistake

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
