"""Forms of padding: one spelling each; TensorFlow's rule in symbols; refusals that say why."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc.ir.dims import Dim, evaluate, parse_size
from graphc.ops.padding import Sweep

X = gx.input("image", ("N", 2, 9, 9))
W = gx.parameter("weight", (4, 2, 3, 3))


@pytest.mark.parametrize(
    "spellings",
    [
        [{}, {"padding": "valid"}, {"padding": (0, 0)}, {"padding": ((0, 0), (0, 0))},
         {"stride": (1, 1)}, {"dilation": [1, 1]}, {"stride": np.int64(1)}],
        [{"padding": 2}, {"padding": (2, 2)}, {"padding": [[2, 2], [2, 2]]}],
        [{"padding": (1, 2)}, {"padding": ((1, 1), (2, 2))}],
        [{"padding": ((1, 2), (0, 3))}, {"padding": [(1, 2), [0, 3]]}],
        [{"stride": 2, "padding": "same"}, {"stride": (2, 2), "padding": "same"}],
    ],
    ids=lambda spellings: str(spellings[0]),
)  # fmt: skip
def test_two_spellings_of_one_convolution_are_one_node(spellings: list[dict[str, Any]]) -> None:
    nodes = {gx.conv2d(X, W, **settings) for settings in spellings}
    assert len(nodes) == 1
    graph = gx.Graph({"y": nodes.pop()})
    assert gx.parse(str(graph)) == graph


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, ""),
        ({"padding": 2}, " padding=2"),
        ({"stride": 2, "padding": "same"}, ' stride=2 padding="same"'),
        ({"stride": (2, 1), "padding": (1, 2)}, " stride=[2,1] padding=[1,2]"),
        ({"padding": ((0, 1), (2, 0))}, " padding=[[0,1],[2,0]]"),
        ({"dilation": 2, "groups": 1}, " dilation=2"),
    ],
    ids=str,
)
def test_attributes_print_short(settings: dict[str, Any], text: str) -> None:
    assert gx.conv2d(X, W, **settings).op.text() == text


def test_a_file_may_spell_it_otherwise_and_means_the_same_node() -> None:
    graph = gx.Graph({"y": gx.max_pool2d(X, 2, padding=1)})
    text = str(graph).replace("kernel=2 padding=1", "kernel=[2,2] stride=2 padding=[[1,1],[1,1]]")
    assert "stride" in text
    assert gx.parse(text) == graph
    assert gx.max_pool2d(X, 2, 2, ((1, 1), (1, 1))) is graph.outputs["y"]


def test_same_is_tensorflows_rule_and_exact_for_a_symbolic_size() -> None:
    symbol = Dim.named("H")
    for kernel, stride, dilation in itertools.product(range(1, 6), range(1, 6), range(1, 4)):
        general = Sweep.of(symbol, kernel, stride, dilation, "same")
        for n in range(1, 20):
            out = -(-n // stride)
            total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - n, 0)
            wanted = (out, total // 2, total - total // 2)
            here = Sweep.of(n, kernel, stride, dilation, "same")
            assert (here.out, here.before, here.after) == wanted
            sizes = (general.out, general.before, general.after)
            assert tuple(evaluate(size, {"H": n}) for size in sizes) == wanted


def test_a_size_means_the_same_as_text() -> None:
    """As printed and parsed, and as Python, which generated source is."""
    h, w = Dim.named("H"), Dim.named("W")
    half, third = (h + 1) // 2, (w + 2) // 3
    for size in (2 * half, half * third, h * half, half * half, -half, 5 - 2 * half, h - third):
        text = str(size)
        assert parse_size(text) == size, text
        for sizes in ({"H": 4, "W": 5}, {"H": 7, "W": 3}):
            assert eval(text, {}, dict(sizes)) == evaluate(size, sizes), text


def test_the_size_of_a_symbolic_plane() -> None:
    x = gx.input("x", ("N", 2, "H", "W"))
    assert str(gx.conv2d(x, W, padding=1).type) == "f32[N,4,H,W]"
    assert str(gx.conv2d(x, W).type) == "f32[N,4,H-2,W-2]"
    y = gx.conv2d(x, W, padding="same", stride=2)
    assert str(y.type) == "f32[N,4,(H+1)//2,(W+1)//2]"
    assert not y.guards  # it always fits
    assert [str(guard) for guard in gx.conv2d(x, W).guards] == ["H >= 3", "W >= 3"]
    small = np.zeros((1, 2, 2, 5), np.float32)
    weight = {"weight": np.zeros((4, 2, 3, 3), np.float32)}
    with pytest.raises(gx.ShapeError, match="H >= 3"):
        gx.interpret(gx.Graph({"y": gx.conv2d(x, W)}), weight, x=small)


THIN = gx.parameter("thin", (4, 3, 3, 3))
VECTOR = gx.parameter("vector", (5,))
OPEN = gx.input("open", ("K", 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gx.conv2d(X, THIN),
         "the input has 2 channels, the weight takes 3 (weight.shape[1] 3 x groups 1)"),
        (lambda: gx.conv2d(X, W, groups=3), "groups=3 does not divide the 4 filters"),
        (lambda: gx.conv2d(X, W, groups=0), "groups=0"),
        (lambda: gx.conv2d(X, W, groups=1.0), "groups=1.0 is not an int"),  # type: ignore[arg-type]
        (lambda: gx.conv2d(X, W, VECTOR), "the weight has 4 filters, the bias 5 numbers"),
        (lambda: gx.conv2d(X, VECTOR), "weight has 1 axes, not 4"),
        (lambda: gx.convolve2d(X, VECTOR, padding="same"), "weight has 1 axes, not 4"),
        (lambda: gx.conv2d(X, OPEN), "symbolic size K"),
        (lambda: gx.conv2d(X, W, dilation=5),
         "kernel 3 with dilation 5 spans 11, the input has 9 and padding 0 + 0: 9 is less than 11"),
        (lambda: gx.conv2d(X, W, stride=0), "stride=0 is less than 1"),
        (lambda: gx.conv2d(X, W, padding=-1), "padding=-1 is negative"),
        (lambda: gx.conv2d(X, W, padding="smae"), "padding='smae' is not"),
        (lambda: gx.conv2d(X, W, padding=((1, 2), 3)), "padding=((1, 2), 3) is not"),
        (lambda: gx.conv2d(X, W, padding=(1, 2, 3)), "padding=(1, 2, 3) is not"),
        (lambda: gx.conv2d(X, W, stride=1.5), "stride=1.5 is not"),
        (lambda: gx.conv2d(X, W, stride=True), "stride=True is not"),
        (lambda: gx.conv2d(gx.input("u", (1, 2, 9, 9), dtype="uint8"), W),
         "u8 and f32, and dtypes never promote"),
        (lambda: gx.max_pool2d(X, 10), "kernel 10 needs 10, the input has 9"),
        (lambda: gx.max_pool2d(X, 2, padding=2), "may lie on padding alone"),
        (lambda: gx.avg_pool2d(X, 0), "kernel=0 is less than 1"),
        (lambda: gx.avg_pool2d(VECTOR, 2), "x has 1 axes, not 4"),
        (lambda: gx.conv2d_input_grad(X, W, (9, 9)), "the gradient has 2 channels"),
        (lambda: gx.conv2d_input_grad(gx.conv2d(X, W), W, (9, 8)), "gradient's width"),
        (lambda: gx.conv2d_input_grad(gx.conv2d(X, W), W, 9), "is not a pair"),
        (lambda: gx.conv2d_weight_grad(X, gx.conv2d(X, W), 4), "gradient's height"),
        (lambda: gx.max_pool2d_scatter(X, X, 2), "is not that of the pooled image"),
        (lambda: gx.max_pool2d_take(X, gx.conv2d(X, W), 2), "images of one size"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_mistake_is_told_with_the_numbers_and_the_line(call: Any, message: str) -> None:
    with pytest.raises(gx.GraphError) as raised:
        call()
    assert message in str(raised.value)
    assert "test_padding.py" in str(raised.value)
    assert any(line.startswith("test_padding.py") for line in raised.value.lines)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kernel=3 stride=2", "kernel=0"),
        ("kernel=3 stride=2", "kernel=3 stride=-1"),
        ("kernel=3 stride=2", "kernel=[3]"),
        ("kernel=3 stride=2", 'kernel="3"'),
        ("kernel=3 stride=2", "kernel=N"),
        ("kernel=3 stride=2", "kernel=3 padding=123456789012345678901234567"),
        ("kernel=3 stride=2", 'kernel=3 padding="full"'),
        ("kernel=3 stride=2", "kernel=3 padding=[[1],[2]]"),
        ("groups=2", "groups=123456789012345678901"),
        ("groups=2", "groups=-2"),
        ("groups=2", "groups=2 dilation=99999999999999999999"),
        ("groups=2", "groups=2 stride=true"),
        ("(%image, %weight)", "(%image)"),
        ("(%image, %weight)", "(%image, %weight, %weight, %weight)"),
        ("max_pool2d(%conv2d)", "max_pool2d(%conv2d, %conv2d)"),
    ],
)
def test_a_hostile_file_gets_a_parse_error(old: str, new: str) -> None:
    x = gx.input("image", ("N", 4, 9, 9))
    text = str(gx.Graph({"y": gx.max_pool2d(gx.conv2d(x, W, groups=2), 3, 2)}))
    assert old in text
    gx.parse(text)
    with pytest.raises(gx.ParseError):
        gx.parse(text.replace(old, new))
