"""graphc from scratch: a compiler for neural networks, all of it, in 300 lines of NumPy.

A network that is a Python function can only run. Written down as a graph, it can also be printed,
differentiated, rewritten and compiled, by programs that *read* it. Here they are, under the names
they bear in graphc, only smaller. To watch them at work: python examples/00_from_scratch.py
"""
# fmt: off

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = Any  # an np.ndarray, or what poses as one for the compiler in section 5

# == 1. Nodes ======================================================================================
# An op is a name and two rules. `evaluate` says in NumPy what it does, and will be run in three
# ways: on zeros it infers, on arrays it interprets, on mere names it compiles. `grad` turns the
# gradient of the result into the gradients of the inputs.
#
# Calling an op computes nothing: it writes a node down, "this op on these inputs". Nodes are
# interned: the same op on the same inputs *is* the same object. So nothing is computed twice, and
# two nodes are equal only if they are identical, which is quick to tell however deep the graph.

@dataclass(frozen=True, eq=False)
class Op:
    name: str
    evaluate: Callable[..., Array]
    grad: Callable[..., list[Node | None]]
    attrs: dict[str, Any] = field(default_factory=dict)

    def infer(self, *inputs: Node, **attrs: Any) -> Array:
        try:
            return np.asarray(self.evaluate(*(np.zeros(x.shape, x.dtype) for x in inputs), **attrs))
        except ValueError as error:
            raise ValueError(f"{self.name}({', '.join(map(str, inputs))}): {error}") from error

    def __call__(self, *inputs: Node, **attrs: Any) -> Node:
        zeros = self.infer(*inputs, **attrs)
        node = Node(replace(self, attrs=attrs), inputs, zeros.shape, zeros.dtype)
        return _interned.setdefault((self.name, repr(attrs), inputs), node)

@dataclass(frozen=True, eq=False)
class Node:
    op: Op
    inputs: tuple[Node, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype.kind}{8 * self.dtype.itemsize}[{','.join(map(str, self.shape))}]"

_interned: WeakValueDictionary[Any, Node] = WeakValueDictionary()

# Leaves are the exception: they are nominal. Two parameters of one shape are two parameters, and to
# share a parameter is just to use its node again. Nothing is copied, nothing need be declared.

def leaf(kind: str, name: str, shape: tuple[int, ...], dtype: str = "float64") -> Node:
    op = Op(kind, lambda name: None, lambda g, name: [], {"name": name})
    return Node(op, (), shape, np.dtype(dtype))

input, parameter = partial(leaf, "input"), partial(leaf, "parameter")

# == 2. Ops ========================================================================================
# All that is known of an op stands in one place: name, evaluate, grad. A gradient is made of ops
# again, so it is a graph like any other, and has gradients of its own.

constant = Op("constant", lambda value: value, lambda g, value: [])
sub: Op = Op("sub", np.subtract, lambda g, a, b: [g, scale(g, by=-1.0)])
mul: Op = Op("mul", np.multiply, lambda g, a, b: [mul(g, b), mul(g, a)])
scale: Op = Op("scale", lambda x, by: np.multiply(x, by), lambda g, x, by: [scale(g, by=by)])
reshape: Op = Op("reshape", lambda x, shape: np.reshape(x, shape),
    lambda g, x, shape: [reshape(g, shape=x.shape)])

# Where a node is used n times, n gradients meet. Their sum is an op of its own, to be told from an
# addition in the network: where a grad_sum stands, edges share.
grad_sum = Op("grad_sum", lambda *terms: reduce(np.add, terms), lambda g, *terms: [g] * len(terms))

# Every sum of products: "ik,kj->ij" is the matrix product. Its gradients are such sums again. A
# linear layer is one of them, under its own name: k calls are to be k uses of the weight.
def einsum_grad(g: Node, a: Node, b: Node, formula: str) -> list[Node | None]:
    i, j, k = formula.replace("->", ",").split(",")
    return [einsum(g, b, formula=f"{k},{j}->{i}"), einsum(g, a, formula=f"{k},{i}->{j}")]

einsum: Op = Op("einsum", lambda a, b, formula: np.einsum(formula, a, b), einsum_grad)
linear = Op("linear", lambda x, w: np.einsum("ni,oi->no", x, w),
    lambda g, x, w: [einsum(g, w, formula="no,oi->ni"), einsum(g, x, formula="no,ni->oi")])

# A convolution, y[n,o,h,w] = Σ x[n,c,h+i,w+j] w[o,c,i,j], slides w over x. Its gradients slide too:
# the flipped w over g, and g over x. So the three are each other's gradients, to any order.
def slide(a: Array, b: Array, padding: int, formula: str) -> Array:
    a = np.pad(a, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    return np.einsum(formula, sliding_window_view(a, b.shape[2:], (2, 3)), b)

conv2d: Op = Op("conv2d", lambda x, w, padding: slide(x, w, padding, "nchwij,ocij->nohw"),
    lambda g, x, w, **pad: [conv2d_input_grad(g, w, **pad), conv2d_weight_grad(g, x, **pad)])
conv2d_input_grad: Op = Op("conv2d_input_grad", lambda g, w, padding:
        slide(g, np.flip(w, (2, 3)), w.shape[2] - 1 - padding, "nohwij,ocij->nchw"),
    lambda h, g, w, **pad: [conv2d(h, w, **pad), conv2d_weight_grad(g, h, **pad)])
conv2d_weight_grad: Op = Op("conv2d_weight_grad",
    lambda g, x, padding: slide(x, g, padding, "nchwij,noij->ochw"),
    lambda h, g, x, **pad: [conv2d(x, h, **pad), conv2d_input_grad(g, h, **pad)])

# Two ops choose. The choice itself has no slope; what was chosen gets the gradient.
positive = Op("positive", lambda x: np.heaviside(x, 0.0), lambda g, x: [None])
relu = Op("relu", lambda x: np.maximum(x, 0.0), lambda g, x: [mul(g, positive(x))])

def split(x: Array, kernel: int) -> Array:
    n, c, h, w = x.shape
    return np.reshape(x, (n, c, h // kernel, kernel, w // kernel, kernel))

def largest_evaluate(x: Array, kernel: int) -> Array:
    x = split(x, kernel)
    mask = np.equal(x, np.max(x, (3, 5), keepdims=True))
    return np.divide(mask, np.sum(mask, (3, 5), keepdims=True))  # ties share (graphc: the first)

largest = Op("largest", largest_evaluate, lambda g, x, kernel: [None])
max_pool2d: Op = Op("max_pool2d", lambda x, kernel: np.max(split(x, kernel), (3, 5)),
    lambda g, x, kernel: [reshape(
        einsum(g, largest(x, kernel=kernel), formula="nchw,nchiwj->nchiwj"), shape=x.shape)])

# The loss is minus the logarithm of the label's probability, on average over the batch.
def log_softmax(z: Array) -> Array:
    z = np.subtract(z, np.max(z, 1, keepdims=True))
    return np.subtract(z, np.log(np.sum(np.exp(z), 1, keepdims=True)))

softmax: Op = Op("softmax", lambda z: np.exp(log_softmax(z)),
    lambda g, z: [sub(mul(g, softmax(z)),
        einsum(einsum(g, softmax(z), formula="nk,nk->n"), softmax(z), formula="n,nk->nk"))])
one_hot = Op("one_hot", lambda y, classes: np.equal(np.expand_dims(y, 1), range(classes)),
    lambda g, y, classes: [None])
cross_entropy = Op("cross_entropy",
    lambda z, y: np.negative(np.mean(np.take_along_axis(log_softmax(z), np.expand_dims(y, 1), 1))),
    lambda g, z, y: [einsum(scale(g, by=1 / z.shape[0]),
        sub(softmax(z), one_hot(y, classes=z.shape[1])), formula=",nk->nk"), None])

# == 3. Graphs =====================================================================================
# A graph is what some outputs depend on: its nodes, each after its inputs (depth first, on a stack
# of our own: a deep network must not overflow Python's), the users of each node, and their names.

class Graph:
    def __init__(self, outputs: dict[str, Node]) -> None:
        order: dict[Node, None] = {}  # a set that remembers its order
        stack = list(reversed(outputs.values()))
        while stack:
            missing = [x for x in reversed(stack[-1].inputs) if x not in order]
            stack += missing
            if not missing:
                order[stack.pop()] = None
        self.outputs, self.nodes = outputs, list(order)
        self.users: dict[Node, list[tuple[Node, int]]] = {node: [] for node in order}
        self.names: dict[Node, str] = {}
        count: Counter[str] = Counter()
        for node in order:
            for position, x in enumerate(node.inputs):
                self.users[x].append((node, position))  # an entry per edge: mul(x, x) uses x twice
            name = node.op.attrs.get("name", node.op.name)
            self.names[node] = name + f"_{count[name]}" * (count[name] > 0)
            count[name] += 1
        self.inputs = {self.names[x]: x for x in order if x.op.name == "input"}
        self.parameters = {self.names[w]: w for w in order if w.op.name == "parameter"}

    def __str__(self) -> str:
        inputs = ", ".join(f"{name}: {node}" for name, node in self.inputs.items())
        outputs = ", ".join(f"{name}=%{self.names[node]}" for name, node in self.outputs.items())
        lines = ["graphc 1", f"graph ({inputs}) {{"]
        for node, name in self.names.items():
            if name in self.parameters:
                lines.append(f"  %{name} = parameter {node}")
            elif name not in self.inputs:
                operands = ", ".join(f"%{self.names[x]}" for x in node.inputs)
                attrs = [f"{k}={json.dumps(v)}".replace(" ", "") for k, v in node.op.attrs.items()]
                lines.append(" ".join([f"  %{name}: {node} = {node.op.name}({operands})", *attrs]))
        return "\n".join([*lines, f"  return {outputs}", "}"])

# == 4. Backward ===================================================================================
# A pass is a function from a graph to a graph. This one goes from the loss back to the leaves. Each
# edge brings a gradient, and where a node has several users, theirs are added. That is all there is
# to a shared weight: as if each use had a weight of its own, and then the sum. SGD is a pass, too.

def backward(graph: Graph) -> Graph:
    along: dict[tuple[Node, int], Node | None] = {}  # (user, position), an edge -> its gradient
    total: dict[Node, Node] = {graph.outputs["loss"]: constant(value=1.0)}
    for node in reversed(graph.nodes):
        terms = [g for edge in graph.users[node] if (g := along.get(edge))]
        if terms:
            total[node] = grad_sum(*terms) if len(terms) > 1 else terms[0]
            if total[node].shape != node.shape:
                raise ValueError(f"{graph.names[node]}: {node} has a gradient {total[node]}")
        if node in total:
            gradients = node.op.grad(total[node], *node.inputs, **node.op.attrs)
            along.update({(node, position): g for position, g in enumerate(gradients)})
    return Graph(graph.outputs | {f"grad/{key}": total[w] for key, w in graph.parameters.items()})

def sgd(graph: Graph, lr: float) -> Graph:
    step = {name: scale(graph.outputs[f"grad/{name}"], by=lr) for name in graph.parameters}
    return Graph(graph.outputs | {name: sub(w, step[name]) for name, w in graph.parameters.items()})

# == 5. Running ====================================================================================
# The interpreter goes over the nodes and does what each op says.

def interpret(graph: Graph, variables: dict[str, Array], **inputs: Array) -> dict[str, Array]:
    given = variables | inputs
    value = {leaf: given[name] for name, leaf in (graph.inputs | graph.parameters).items()}
    for node in graph.nodes:
        if node not in value:
            value[node] = node.op.evaluate(*(value[x] for x in node.inputs), **node.op.attrs)
    return {name: value[node] for name, node in graph.outputs.items()}

# The compiler *is* the interpreter, given names in place of arrays. NumPy lets a guest say what is
# to be done with it: this one has the call written down, and answers with the name of the result.

class Traced:
    def __init__(self, text: str, example: Array, lines: dict[str, str]) -> None:
        self.name = lines.setdefault(text, f"v{len(lines)}")  # lines are interned like nodes
        self.example, self.shape, self.lines = example, np.shape(example), lines

    def __repr__(self) -> str:
        return self.name

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Traced:
        module = getattr(function, "__module__", "numpy").replace("numpy", "np")
        words = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
        example = function(*(x.example if isinstance(x, Traced) else x for x in args), **kwargs)
        return Traced(f"{module}.{function.__name__}({', '.join(words)})", example, self.lines)

    def __array_ufunc__(self, ufunc: Any, how: str, *args: Any, **kwargs: Any) -> Traced:
        return self.__array_function__({"__call__": ufunc}[how], (), args, kwargs)  # never .reduce

class Program:
    def __init__(self, graph: Graph) -> None:
        lines: dict[str, str] = {}
        given = {name: Traced(f"given[{name!r}]", np.zeros(x.shape, x.dtype), lines)
                 for name, x in (graph.inputs | graph.parameters).items()}
        outputs = interpret(graph, given)
        body = [*(f"{name} = {text}" for text, name in lines.items()), f"return {outputs}"]
        self.source = "\n    ".join(["import numpy as np\n\ndef program(given):", *body])
        self.scope: dict[str, Callable[..., dict[str, Array]]] = {}
        exec(self.source, self.scope)

    def __call__(self, variables: dict[str, Array], **inputs: Array) -> dict[str, Array]:
        return self.scope["program"](variables | inputs)

compile = Program

# == 6. A network ==================================================================================
# Does a line lie, stand, fall or rise? If `first` and `second` are one node, a layer is used twice.

def network(stem: Node, first: Node, second: Node, head: Node) -> Graph:
    image, label = input("image", (32, 1, 8, 8)), input("label", (32,), "int64")
    x = relu(conv2d(image, stem, padding=1))
    x = relu(conv2d(x, first, padding=1))
    x = max_pool2d(relu(conv2d(x, second, padding=1)), kernel=2)
    return Graph({"loss": cross_entropy(linear(reshape(x, shape=(32, 64)), head), label)})

def batch(rng: np.random.Generator) -> dict[str, Array]:
    label, at = rng.integers(4, size=32), rng.integers(8, size=(32, 1, 1))
    i, j = np.indices((8, 8))
    line = np.stack([i, j, i - j, i + j])[label] % 8 == at
    return {"image": (line + rng.normal(0, 0.3, line.shape))[:, None], "label": label}

def main() -> None:
    stem, head = parameter("stem.weight", (4, 1, 3, 3)), parameter("head.weight", (4, 64))
    twice, other = parameter("twice.weight", (4, 4, 3, 3)), parameter("other.weight", (4, 4, 3, 3))
    graph = network(stem, twice, twice, head)
    train = backward(graph)
    program = compile(train)
    print(f"{train}\n\n{program.source}\n\nSlope of the loss, by gradient and by differences:")

    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.3, w.shape) for name, w in graph.parameters.items()}
    data = batch(rng)
    out = program(weights, **data)
    for name, w in weights.items():
        d = rng.normal(0, 1e-6, w.shape)
        up, down = (interpret(graph, weights | {name: x}, **data)["loss"] for x in (w + d, w - d))
        print(f"  {name:12}  {np.vdot(out[f'grad/{name}'], d):.6e}  {(up - down) / 2:.6e}")
    # Were the two uses two weights of equal value, their gradients would add up to the shared one.
    apart = backward(network(stem, twice, other, head))
    two = interpret(apart, weights | {"other.weight": weights["twice.weight"]}, **data)
    gap = two["grad/twice.weight"] + two["grad/other.weight"] - out["grad/twice.weight"]
    print(f"Shared weight against the sum over two weights: {np.abs(gap).max()} apart")

    step = compile(sgd(train, lr=0.1))
    for i in range(61):
        out = step(weights, **batch(rng))
        weights = {name: out[name] for name in weights}
        if i % 10 == 0:
            print(f"step {i}: loss {out['loss']:.3f}")

if __name__ == "__main__":
    main()
