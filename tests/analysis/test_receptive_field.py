"""Receptive fields against what the nets do: each pixel is perturbed and the units that change are
counted (positive weights, so nothing cancels); and against published numbers."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn
from graphc.ir import Node

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def weight(*shape: int, rng: random.Random) -> Node:
    values = np.random.default_rng(rng.randrange(2**31)).uniform(0.5, 1.5, shape)
    return gx.constant(values)


def depends(node: Node, x: Node) -> Mask:
    """[unit y, unit x, pixel y, pixel x]: one run, in which example i has pixel i changed."""
    channels, height, width = (int(s) for s in x.shape[1:])
    pixels = height * width
    base = np.random.default_rng(0).uniform(1, 2, (channels, height, width))
    batch = np.repeat(base[None], pixels + 1, 0)
    for i in range(pixels):
        batch[i, :, i // width, i % width] += 100.0  # more than any maximum
    maps = gx.interpret(gx.Graph({"map": node}), {}, x=batch)["map"]
    if maps.ndim == 2:
        maps = maps[:, None, None]
    changed = (maps[:-1] != maps[-1]).any(axis=1)
    return changed.transpose(1, 2, 0).reshape(*changed.shape[1:], height, width)


def at_unit(field: Any, y: int, x: int) -> tuple[int, ...]:
    """The hull as Araujo et al. write it."""
    first = [u * s - p for u, s, p in zip((y, x), field.stride, field.padding, strict=True)]
    return (*first, *(a + n - 1 for a, n in zip(first, field.size, strict=True)))


def agrees(field: Any, brute: Mask) -> None:
    """All units, all rows and columns, and the numbers where there are some."""
    largest = [-1, -1]
    for y, x in itertools.product(range(brute.shape[0]), range(brute.shape[1])):
        seen = brute[y, x]
        np.testing.assert_array_equal(field.mask(y, x), seen)
        at = np.argwhere(seen)
        box = field.box(y, x)
        assert box == (None if not len(at) else (*at.min(0), *at.max(0)))
        hull = field.box(y, x, clip=False)
        if box is not None:
            assert tuple(np.minimum(hull, box)[:2]) == hull[:2]
            assert tuple(np.maximum(hull, box)[2:]) == hull[2:]
        if field.aligned:
            # Where the map is turned, rows go with x.
            assert hull in (at_unit(field, y, x), at_unit(field, x, y))
        elif hull is not None:
            largest = [max(largest[0], hull[2] - hull[0]), max(largest[1], hull[3] - hull[1])]
    if not field.aligned:
        assert field.size == (largest[0] + 1, largest[1] + 1)
    for y in range(brute.shape[0]):
        assert field.rows(y) == tuple(np.flatnonzero(brute[y].any((0, 2))))
    for x in range(brute.shape[1]):
        assert field.columns(x) == tuple(np.flatnonzero(brute[:, x].any((0, 1))))


# -- random nets ----------------------------------------------------------------------------------


def padding(rng: random.Random, kernel: tuple[int, int]) -> Any:
    most = [min(k - 1, 2) for k in kernel]
    return rng.choice(
        [
            0,
            "same",
            (rng.randint(0, most[0]), rng.randint(0, most[1])),
            tuple((rng.randint(0, m), rng.randint(0, m)) for m in most),
        ]
    )


def layer(rng: random.Random, x: Node) -> Node:
    """One op on a map; x itself where what was drawn does not fit."""
    c, h, w = x.shape[1:]
    kernel = (rng.randint(1, 3), rng.randint(1, 3))
    stride = (rng.randint(1, 3), rng.randint(1, 2)) if h > 4 and w > 4 else 1
    kind = rng.choice(
        ["conv", "conv", "conv", "dilated", "max", "average", "relu", "transposed", "upsample",
         "pad", "cut", "flip", "channels", "excite", "turn"]
    )  # fmt: skip
    try:
        if kind in ("conv", "dilated"):
            groups = rng.choice([1, c])
            filters = weight(2 * c if groups > 1 else 2, c // groups, *kernel, rng=rng)
            dilation = (rng.randint(1, 3), 2) if kind == "dilated" else 1
            settings = {"stride": stride, "dilation": dilation, "groups": groups}
            return gx.conv2d(x, filters, padding=padding(rng, kernel), **settings)
        if kind in ("max", "average"):
            kernel = (max(kernel[0], 2), max(kernel[1], 2))
            pool = gx.max_pool2d if kind == "max" else gx.avg_pool2d
            return pool(x, kernel, stride, rng.choice([0, "same", 1]))
        if kind == "transposed" and h * w < 60:
            size = ((h - 1) * 2 + kernel[0], (w - 1) * 2 + kernel[1])
            return gx.conv2d_input_grad(x, weight(c, 2, *kernel, rng=rng), size, stride=2)
        if kind == "upsample" and h * w < 60:
            return gx.upsample(x, (2, rng.randint(1, 3)))
        if kind == "pad":
            return gx.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2)), value=1.0)
        if kind == "cut":
            return x[:, :, rng.randint(0, 1) :, :: rng.randint(1, 2)]
        if kind == "flip":
            return gx.flip(x, rng.choice([2, 3]))
        if kind == "channels":
            return x[:, : max(c // 2, 1)]
        if kind == "excite":
            return x * gx.mean(x, (2, 3) if rng.random() < 0.3 else 1, keepdims=True)
        if kind == "turn":
            return gx.transpose(x, (0, 1, 3, 2))
    except gx.ShapeError:
        return x
    return gx.relu(x)


def net(rng: random.Random, x: Node) -> Node:
    for _ in range(rng.randint(1, 4)):
        form = rng.choice(["chain", "chain", "residual", "concat"])
        a = layer(rng, x)
        if form == "residual":
            b = layer(rng, x)
            x = a + b if a.shape == b.shape else a
        elif form == "concat":
            b = layer(rng, layer(rng, x))
            x = gx.concat([a, b], 1) if a.shape[2:] == b.shape[2:] else a
        else:
            x = a
    return x


@pytest.mark.parametrize("seed", range(150))
def test_random_nets(seed: int) -> None:
    rng = random.Random(seed)
    x = gx.input("x", ("N", rng.randint(1, 2), rng.randint(6, 9), rng.randint(6, 9)), "float64")
    node = net(rng, x)
    brute = depends(node, x)
    agrees(gx.receptive_field(node, x), brute)


def test_axes_that_change_places_all_around() -> None:
    x = gx.input("x", ("N", 2, 5, 6), "float64")
    turned = gx.transpose(x, (0, 2, 3, 1))  # rows are now columns, columns channels
    field = gx.receptive_field(turned)
    assert (field.size, field.box(4, 1)) == ((5, 1), (0, 4, 4, 4))
    assert field.columns(1) == tuple(range(6))
    back = gx.transpose(turned[:, 1:], (0, 3, 1, 2))
    agrees(gx.receptive_field(back), depends(back, x))


def test_a_view_of_all_beside_a_view_of_one() -> None:
    """A squeeze-and-excite block: everything, and no one stride says so."""
    x = image(7, 6)
    field = gx.receptive_field(x * gx.sigmoid(gx.mean(x, (2, 3), keepdims=True)))
    assert (field.aligned, field.size, field.stride) == (False, (7, 6), None)
    assert field.box(3, 3) == (0, 0, 6, 5)


def test_fully_connected_sees_everything() -> None:
    x = gx.input("x", ("N", 1, 6, 5), "float64")
    rng = random.Random(0)
    h = gx.flatten(gx.conv2d(x, weight(2, 1, 3, 3, rng=rng), padding=1))
    node = gx.linear(h, weight(4, 60, rng=rng))
    field = gx.receptive_field(node)
    assert (field.size, field.stride, field.padding) == ((6, 5), (0, 0), (0, 0))
    assert field.box(0, 3) == (0, 0, 5, 4)
    assert gx.receptive_field(gx.mean(x, (2, 3))).size == (6, 5)
    assert gx.receptive_field(gx.mean(x, (2, 3), keepdims=True)).size == (6, 5)


# -- published numbers ----------------------------------------------------------------------------
# google-research/receptive_field@f12ae8e, RECEPTIVE_FIELD_TABLE.md and the tests beside it
# (Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill
# 2019): size, stride, padding at each endpoint, resolution 224 unless it says otherwise.


def image(*size: Any) -> Node:
    return gx.input("image", ("N", 1, *size))


def conv(x: Node, kernel: Any, stride: Any = 1, padding: Any = "same") -> Node:
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    return gx.conv2d(x, gx.parameter("w", (1, 1, *kernel)), stride=stride, padding=padding)


def numbers(node: Node, **size: int) -> tuple[Any, ...]:
    """(size, stride, padding) of a field that is the same along both axes."""
    field = gx.receptive_field(node, size=size)
    assert field.aligned
    for pair in (field.size, field.stride, field.padding):
        assert pair[0] == pair[1]
    return field.size[0], field.stride[0], field.padding[0]


def test_alexnet_v2() -> None:
    x = conv(image(224, 224), 11, 4, "valid")
    found = [numbers(x)]
    x = gx.max_pool2d(x, 3, 2)
    found.append(numbers(x))
    x = conv(x, 5)
    found.append(numbers(x))
    x = gx.max_pool2d(x, 3, 2)
    for _ in range(3):
        x = conv(x, 3)
        found.append(numbers(x))
    found.append(numbers(gx.max_pool2d(x, 3, 2)))
    assert found == [
        (11, 4, 0), (19, 8, 0), (51, 8, 16), (99, 16, 32), (131, 16, 48), (163, 16, 64),
        (195, 32, 64),
    ]  # fmt: skip


def test_vgg_16_of_the_zoo() -> None:
    graph = models.build("vgg-16")
    found = [numbers(n) for n in graph.nodes if n.op.name in ("conv2d", "max_pool2d")]
    assert found == [
        (3, 1, 1), (5, 1, 2), (6, 2, 2), (10, 2, 4), (14, 2, 6), (16, 4, 6), (24, 4, 10),
        (32, 4, 14), (40, 4, 18), (44, 8, 18), (60, 8, 26), (76, 8, 34), (92, 8, 42),
        (100, 16, 42), (132, 16, 58), (164, 16, 74), (196, 16, 90), (212, 32, 90),
    ]  # fmt: skip
    logits = gx.receptive_field(graph.outputs["logits"])
    assert logits.box(0, 7) == (0, 0, 223, 223)


def test_mobilenet_v1() -> None:
    x = conv(image(224, 224), 3, 2)
    found = [numbers(x)]
    for stride in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1):
        x = conv(conv(x, 3, stride), 1)
        found.append(numbers(x))
    assert found == [
        (3, 2, 0), (7, 2, 2), (11, 4, 2), (19, 4, 6), (27, 8, 6), (43, 8, 14), (59, 16, 14),
        (91, 16, 30), (123, 16, 46), (155, 16, 62), (187, 16, 78), (219, 16, 94), (251, 32, 94),
        (315, 32, 126),
    ]  # fmt: skip


def resnet_50_of_tf_slim(side: int) -> list[tuple[Any, ...]]:
    """Strides stand in the last unit of a block; strided convolutions pad by hand."""
    x = gx.max_pool2d(conv(image(side, side), 7, 2, 3), 3, 2, "same")
    found = []
    for units, stride in ((3, 2), (4, 2), (6, 2), (3, 1)):
        for unit in range(units):
            step = stride if unit == units - 1 else 1
            skip = conv(x, 1, step) if unit == 0 else gx.max_pool2d(x, 1, step)
            middle = conv(conv(x, 1), 3, step, 1 if step > 1 else "same")
            x = gx.relu(skip + conv(middle, 1))
        found.append(numbers(x))
    return found


def test_resnet_50() -> None:
    assert resnet_50_of_tf_slim(224) == [(35, 8, 15), (99, 16, 47), (291, 32, 143), (483, 32, 239)]
    assert resnet_50_of_tf_slim(321) == [(35, 8, 17), (99, 16, 49), (291, 32, 145), (483, 32, 241)]


@pytest.mark.parametrize(("name", "size"), [("resnet-18", 435), ("resnet-34", 899)])
def test_torchvisions_resnets(name: str, size: int) -> None:
    graph = models.build(name)
    last = [n for n in graph.nodes if n.op.name == "batch_norm"][-1]
    assert numbers(last) == (size, 32, size // 2)
    field = gx.receptive_field(last)
    assert len(field.whole_batch) == len([n for n in graph.nodes if n.op.name == "batch_norm"])
    assert "normalizations" in repr(field)


def aligned_toy(x: Node, second: Any, pool: bool = False) -> Node:
    """unit_network_1, 2 and 4: a 1x1 of stride 4 beside two of stride 2."""
    if pool:
        return gx.max_pool2d(x, 1, 4) + gx.max_pool2d(second(x), 1, 2)
    return conv(x, 1, 4, "valid") + conv(second(x), 1, 2, "valid")


def test_unit_networks() -> None:
    by_hand = ((1, 0), (1, 0))
    assert numbers(aligned_toy(image(32, 32), lambda x: conv(x, 3, 2, by_hand))) == (3, 4, 1)
    assert numbers(aligned_toy(image(32, 32), lambda x: gx.max_pool2d(x, 3, 2, by_hand), True)) == (
        3, 4, 1,
    )  # fmt: skip
    # "same" pads 1 above at 9x9, where the branches agree, and nothing at 8x8.
    nine = aligned_toy(image(9, 9), lambda x: conv(x, 3, 2))
    assert numbers(nine) == (3, 4, 1)
    eight = gx.receptive_field(aligned_toy(image(8, 8), lambda x: conv(x, 3, 2)))
    assert (eight.aligned, eight.stride, eight.padding) == (False, None, None)
    # The kernel's order is rows, columns.
    x = conv(conv(image(32, 32), (3, 5), 2, "valid"), (3, 1), 2, "valid")
    field = gx.receptive_field(x)
    assert (field.size, field.stride, field.padding) == ((7, 5), (4, 4), (0, 0))


def test_a_symbolic_size_that_decides_padding() -> None:
    node = aligned_toy(image("H", "W"), lambda x: conv(x, 3, 2))
    assert numbers(node, H=9, W=9) == (3, 4, 1)
    assert not gx.receptive_field(node, size={"H": 8, "W": 8}).aligned
    # Of every size: where the branches agree is told, not guessed.
    every = gx.receptive_field(node)
    assert (every.size, every.stride, every.padding, every.aligned) == ((3, 3), (4, 4), None, None)
    assert every.alignment.when == "H mod 2 = 1 and W mod 2 = 1"
    assert (every.alignment.size, every.alignment.unit) == ((2, 2), (0, 0))
    with pytest.raises(gx.GraphError, match=r"size H, which is symbolic[\s\S]*size=\{'H': 224\}"):
        every.box(0, 0)
    # Where padding does not depend on it, only the border needs the size.
    plain = gx.receptive_field(conv(image("H", "W"), 3, 2, 1))
    assert (plain.size, plain.stride, plain.padding) == ((3, 3), (2, 2), (1, 1))
    assert plain.box(0, 0, clip=False) == (-1, -1, 1, 1)
    with pytest.raises(gx.GraphError, match="size H"):
        plain.box(0, 0)


def test_the_unaligned_toy_of_distill() -> None:
    """7, 6, 5, 6 inputs for its four outputs: the article's text says 6 and 5 of the middle two."""
    x = gx.input("x", (1, 1, 1, 8))
    wide = conv(x, (1, 5), (1, 2), ((0, 0), (2, 1)))
    deep = conv(conv(x, (1, 3), padding="valid"), (1, 3), padding="valid")
    field = gx.receptive_field(wide + deep)
    assert not field.aligned
    assert (field.size, field.stride, field.padding) == ((1, 7), None, None)
    boxes = [field.box(0, o, clip=False) for o in range(4)]
    assert [box[3] - box[1] + 1 for box in boxes] == [7, 6, 5, 6]
    assert boxes[:3] == [(0, -2, 0, 4), (0, 0, 0, 5), (0, 2, 0, 6)]
    assert [field.columns(o) for o in range(4)] == [
        tuple(range(5)), tuple(range(6)), tuple(range(2, 7)), tuple(range(3, 8)),
    ]  # fmt: skip
    one, other = sorted(field.paths, key=len)
    assert one.count("conv2d") == 1
    assert other.count("conv2d") == 2
    assert all(__file__.rsplit("/", 1)[1] in path for path in field.paths)


@pytest.mark.parametrize(
    ("dilations", "hull", "used"), [((2, 2, 2), 13, 7), ((1, 2, 5), 17, 17)], ids=str
)
def test_holes_are_left_out(dilations: tuple[int, ...], hull: int, used: int) -> None:
    x = node = image(41, 41)
    for dilation in dilations:
        w = gx.parameter("w", (1, 1, 3, 3))
        node = gx.conv2d(node, w, padding=dilation, dilation=dilation)
    field = gx.receptive_field(node, x)
    assert numbers(node) == (hull, 1, hull // 2)
    assert len(field.rows(20)) == len(field.columns(20)) == used
    assert field.mask(20, 20).sum() == used**2


def test_transposed_convolutions_by_phase() -> None:
    def up(kernel: int, padding: int) -> Any:
        x = image(6, 6)
        w = gx.parameter("w", (1, 1, kernel, kernel))
        side = 5 * 2 + kernel - 2 * padding
        return gx.receptive_field(
            gx.conv2d_input_grad(x, w, (side, side), stride=2, padding=padding), x
        )

    three = up(3, 1)
    assert three.size == (2, 2)
    assert not three.aligned
    assert [len(three.rows(o)) for o in (2, 3, 4, 5)] == [1, 2, 1, 2]
    assert "at row 0" in three.paths[0]
    four = up(4, 1)
    assert four.size == (2, 2)
    assert [four.rows(o) for o in (1, 2, 3, 4)] == [(0, 1), (0, 1), (1, 2), (1, 2)]
    # Up and down again: every unit lands on the same phase.
    x = image(6, 6)
    w = gx.parameter("w", (1, 1, 3, 3))
    back = conv(gx.conv2d_input_grad(x, w, (11, 11), stride=2, padding=1), 1, 2, "valid")
    assert numbers(back) == (1, 1, 0)


# -- what is said ---------------------------------------------------------------------------------


def test_padding_positions_depend_on_nothing() -> None:
    x = image(3, 3)
    field = gx.receptive_field(conv(x, 1, 1, 2), x)
    assert field.box(0, 0) is None
    assert field.box(0, 0, clip=False) == (-2, -2, -2, -2)
    assert field.box(2, 2) == (0, 0, 0, 0)
    assert field.rows(0) == ()


def test_wrt_any_node() -> None:
    x = image(20, 20)
    h = conv(x, 3, 2)
    node = conv(gx.max_pool2d(h, 2), 3)
    assert gx.receptive_field(node, h).size == (6, 6)
    assert gx.receptive_field(node, x).size == (13, 13)
    assert gx.receptive_field(node, node).size == (1, 1)


def test_mistakes_are_named() -> None:
    x, other = image(8, 8), gx.input("other", (1, 1, 8, 8))
    with pytest.raises(gx.GraphError, match="does not depend on the values of"):
        gx.receptive_field(gx.relu(x), other)
    with pytest.raises(gx.GraphError, match="say which one is meant"):
        gx.receptive_field(x + other)
    with pytest.raises(gx.GraphError, match="there is no row 8 on a map with 8"):
        gx.receptive_field(gx.relu(x)).box(8, 0)
    with pytest.raises(gx.GraphError, match="an int, not 1.5"):
        gx.receptive_field(gx.relu(x)).rows(1.5)
    with pytest.raises(gx.GraphError, match="takes a node"):
        gx.receptive_field(gx.Graph({"y": x}))
    with pytest.raises(gx.GraphError, match="H='a' is not an int"):
        gx.receptive_field(gx.relu(x), size={"H": "a"})


def test_batch_norm_in_training_and_in_inference() -> None:
    x = image(8, 8)
    layer = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))
    node = layer(x)
    field = gx.receptive_field(node)
    assert (field.size, len(field.whole_batch)) == ((3, 3), 1)
    graph = gx.Graph({"y": node}).apply(gx.passes.inference())
    assert gx.receptive_field(graph.outputs["y"]).whole_batch == ()


# -- what no window describes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda x: gx.cumsum(x, 2),
        lambda x: gx.cumsum(gx.flip(gx.cumsum(x, 3), 3), 2),
        lambda x: gx.adaptive_avg_pool2d(x, (3, 2)),
        lambda x: gx.matmul(gx.transpose(x, (0, 1, 3, 2)), gx.constant(np.eye(7)[:, ::2] * 1.0)),
        lambda x: gx.matmul(gx.constant(np.tril(np.ones((7, 7)))), x),
    ],
    ids=["sums", "both", "adaptive", "columns", "rows"],
)
def test_sums_and_constant_matrices(build: Any) -> None:
    x = gx.input("x", ("N", 2, 7, 5), "float64")
    node = build(x)
    brute = depends(node, x)
    field, forth = gx.receptive_field(node, x), gx.projective_field(node, x)
    for y, at in np.ndindex(*brute.shape[:2]):
        np.testing.assert_array_equal(field.mask(y, at), brute[y, at])
    for row, column in np.ndindex(7, 5):
        np.testing.assert_array_equal(forth.mask(row, column), brute[:, :, row, column])
    assert gx.equivariance(node, x).period is None


def test_a_batch_of_one_that_the_graph_cannot_cut_is_an_error_and_no_endless_search() -> None:
    x = gx.input("x", ("N", 1, 5, 5))
    third = gx.reshape(x[: gx.Dim.named("N") // 3 * 3], (gx.Dim.named("N") // 3, 3, 5, 5))
    with pytest.raises(gx.GraphError, match="does not work at N=1"):
        gx.receptive_field(third).rows(0)
    assert gx.receptive_field(third, size={"N": 3}).rows(0) == (0,)
