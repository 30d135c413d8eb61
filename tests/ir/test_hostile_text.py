"""Text that is not a graph, and graphs that no text should make: errors of ours, nothing else."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

import graphc as gx
from graphc import nn, passes


def trained() -> gx.Graph:
    image = gx.input("image", ("N", 1, 6, 6))
    label = gx.input("label", ("N",), dtype="int64")
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding="same"), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(retain=0.5), nn.Flatten(), nn.Linear(18, 3),
    )  # fmt: skip
    logits = net(image) + gx.constant(np.linspace(0, 1, 3, dtype=np.float32))
    graph = gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})
    return graph.apply(passes.backward(), passes.sgd(lr="lr", momentum=0.9))


TEXT = str(trained())
PIECES = (
    "0", "-1", "99999999999", "1e400", "nan", "N*N", "N//0", "none", "true", "[[[", 'base64"AAAA"',
    '[base64"AAAA"]', "%step", "f32[]", "i64[N]", "2**9", "\x00", "\u2028", "  # ", "\n", "=", ")",
)  # fmt: skip


def mutated(text: str, rng: random.Random) -> str:
    """One slip: a piece put in, some characters taken out, a value, an operand or a line moved."""
    at = rng.randrange(len(text))
    match rng.randrange(5):
        case 0:
            return text[:at] + rng.choice(PIECES) + text[at:]
        case 1:
            return text[:at] + text[at + rng.randrange(1, 8) :]
        case 2:
            found = rng.choice(list(re.finditer(r"(?<==)[^\s,%]+", text)))
            return text[: found.start()] + rng.choice(PIECES) + text[found.end() :]
        case 3:
            names = list(re.finditer(r"%[\w./]+", text))
            found, other = rng.choice(names), rng.choice(names)
            return text[: found.start()] + other[0] + text[found.end() :]
        case _:
            rows = text.split("\n")
            rows.insert(rng.randrange(len(rows)), rng.choice(rows))
            return "\n".join(rows)


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_text_is_a_graph_or_a_parse_error(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        text = mutated(TEXT, rng)
        try:
            graph = gx.parse(text)
        except gx.ParseError:
            continue
        gx.verify(graph)
        assert gx.parse(str(graph)) == graph


def test_only_leaves_are_updated() -> None:
    text = "graphc 1\ngraph (x: f32[2]) {{\n  %s = state f32[2] init=0.0\n"
    text += "  %relu: f32[2] = relu(%x)\n  return y=%relu\n  update %{} = %relu\n}}"
    assert list(gx.parse(text.format("s")).updates) == ["s"]
    for name in ("relu", "x"):
        with pytest.raises(gx.ParseError, match="only parameters and states can be updated"):
            gx.parse(text.format(name))


def test_bytes_where_an_attribute_is_no_array() -> None:
    text = "graphc 1\ngraph (x: f32[2]) {\n"
    text += '  %sum: f32[] = sum(%x) axes=[base64"AAAA"]\n  return y=%sum\n}'
    with pytest.raises(gx.ParseError, match="axes does not fit sum"):
        gx.parse(text)


def test_a_size_inside_an_attribute_must_be_told_too() -> None:
    x = gx.input("x", ("N", 4))
    running = gx.state("running", (4,))
    for node in (gx.size("Q"), gx.track(gx.mean(x, 0), running, count="Q")):
        with pytest.raises(gx.GraphError, match="nothing tells the size Q"):
            gx.Graph({"x": x, "y": node})


def test_a_signalling_nan_prints_its_bits() -> None:
    bits = np.array([0x7F800001, 0x7FC00001], np.uint32)
    graph = gx.Graph({"y": gx.constant(bits.view(np.float32))})
    assert np.array_equal(gx.interpret(gx.parse(str(graph)), {})["y"].view(np.uint32), bits)


def test_a_product_of_many_sums_is_refused_at_once() -> None:
    row = "graphc 1\ngraph (x: f32[{}]) {{\n  return x=%x\n}}"
    for factor in ("(A+B+C+D+E+F+G+H)", "(A//2+B//3+C//5+D//7+E//11)"):
        with pytest.raises(gx.ParseError, match="at most 100 are kept"):
            gx.parse(row.format("*".join([factor] * 40)))


def test_a_wrong_constant_is_told_once() -> None:
    with pytest.raises(gx.ParseError) as caught:
        gx.parse("graphc 1\ngraph () {\n  %c: f32[2] = constant() value=[1.0]\n  return y=%c\n}")
    assert str(caught.value).count("line 3:") == 1
