"""What a row of the table of mistakes is, and the lines that many of them begin with."""

from __future__ import annotations

from dataclasses import dataclass


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
