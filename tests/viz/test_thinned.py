"""The thinned network: its crosses are the zeros of the step, its edges have both ends kept."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import models, nn, passes, viz
from graphc.viz.canvas import SMALLEST, labels_of, overlapping

Array = np.ndarray[Any, np.dtype[Any]]
SVG = "{http://www.w3.org/2000/svg}"


def mlp(scaling: Any = "train", retain: Any = 0.5) -> gx.Graph:
    x, label = gx.input("image", ("N", 6)), gx.input("label", ("N",), dtype="int64")
    layers = nn.Sequential(
        nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)
    )  # fmt: skip
    logits = layers(x)
    graph = gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})
    return graph.apply(passes.insert_dropout(retain=retain, scaling=scaling))


TRAIN = (passes.backward(), passes.sgd(lr="lr"))


def batch(count: int = 4, features: int = 6) -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(count, features)).astype("float32"), np.arange(count) % 3


def rule(stream: str, seed: int, step: int, shape: tuple[int, ...], retain: float) -> Array:
    """Rule 3.7 of the design, written down once more."""
    number = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    philox = np.random.Philox(key=np.array([seed, number], np.uint64), counter=[0, 0, step, 0])
    kept: Array = np.random.Generator(philox).random(shape, np.float32) < np.float32(retain)
    return kept


@pytest.mark.parametrize("example", [0, 3, -1])
@pytest.mark.parametrize("steps", [0, 2])
def test_crosses_are_what_the_compiled_step_dropped(example: int, steps: int) -> None:
    train = mlp().apply(*TRAIN)
    x, y = batch()
    program = gx.compile(train)
    held = program.init(seed=11)
    for _ in range(steps):
        program(held, image=x, label=y, lr=0.1)
    figure = viz.thinned(train, held, example=example, image=x, label=y, lr=0.1)
    assert (figure.model["seed"], figure.model["step"]) == (11, steps)
    # Ones in place of the activations show the whole mask that this step's program draws.
    dropouts = [n for n in forward(train) if n.op.name == "dropout"]
    sized = [n for n in figure.model["layers"] if n["stream"]]
    assert len(dropouts) == len(sized) == 2
    ones = gx.input("ones", ("N", 1))
    probe = train.rebuild(
        {
            f"m{i}": gx.dropout(
                gx.broadcast_to(ones, ("N", n.shape[1])), retain=0.5, stream=n.inputs[1]
            )
            for i, n in enumerate(dropouts)
        },
        updates={},
    )
    copy = {name: np.array(array) for name, array in held.items()}
    masks = gx.compile(probe)(copy, ones=np.ones((4, 1), "float32"))
    for i, layer in enumerate(sized):
        dropped = np.flatnonzero(masks[f"m{i}"][example] == 0)
        assert layer["dropped"] == dropped.tolist()
        mask = rule(layer["stream"], 11, steps, (4, layer["units"]), 0.5)
        assert layer["dropped"] == np.flatnonzero(~mask[example]).tolist()
    # The step itself changed nothing but what it should: the figure ran on copies.
    assert int(held["step"]) == steps


def forward(graph: gx.Graph) -> tuple[gx.Node, ...]:
    """The forward nodes: those below the loss."""
    return graph.select("loss").rebuild(updates={}).nodes


def test_the_picture_has_a_cross_for_each_dropped_unit_and_only_edges_with_both_ends_kept() -> None:
    train = mlp().apply(*TRAIN)
    x, _ = batch()
    held = gx.compile(train).init(seed=2)
    figure = viz.thinned(train, held, example=1, image=x)
    layers = figure.model["layers"]
    dropped = {(i, unit) for i, layer in enumerate(layers) for unit in layer["dropped"]}
    assert dropped
    full = {(0, i, 1, j) for i in range(6) for j in range(7)}
    full |= {(1, i, 2, j) for i in range(7) for j in range(5)}
    full |= {(2, i, 3, j) for i in range(5) for j in range(3)}
    kept = {e for e in full if (e[0], e[1]) not in dropped and (e[2], e[3]) not in dropped}
    assert {tuple(e) for e in figure.model["edges"]} == full
    assert {tuple(e) for e in figure.model["thinned_edges"]} == kept
    root = ET.fromstring(figure.svg.encode())
    groups = {e.get("id"): e for e in root.iter(f"{SVG}g")}
    crossed = {
        (int(c.get("data-layer", "")), int(c.get("data-unit", "")))
        for c in groups["thinned"].iter(f"{SVG}circle")
        if c.get("data-dropped")
    }
    assert crossed == dropped
    assert not [c for c in groups["full"].iter() if c.get("data-dropped")]
    for name, edges in (("full", full), ("thinned", kept)):
        drawn = [
            (
                *map(int, e.get("data-from", "").split(",")),
                *map(int, e.get("data-to", "").split(",")),
            )
            for e in groups[name].iter(f"{SVG}polyline")
            if e.get("data-from")
        ]
        assert sorted(drawn) == sorted(edges)


@pytest.mark.parametrize("scaling", ["train", "test"])
def test_the_thinned_network_computes_what_the_step_computes(scaling: Any) -> None:
    graph = mlp(scaling, retain=0.6)
    x, y = batch()
    program = gx.compile(graph)
    held = program.init(seed=8)
    figure = viz.dropout(graph, held, example=2, image=x)
    logits = program(dict(held), image=x, label=y)["logits"][2]
    # By hand, on the kept units alone.
    value, weights = x[2].astype(np.float64), iter([0, 2, 4])
    for layer in figure.model["layers"][:-1]:
        kept = np.setdiff1d(np.arange(layer["units"]), layer["dropped"])
        factor = 1 / 0.6 if layer["stream"] and scaling == "train" else 1.0
        number = next(weights)
        w, b = held[f"{number}.weight"], held[f"{number}.bias"]
        value = (w[:, kept] @ (value[kept] * factor)) + b
        value = np.maximum(value, 0) if number < 4 else value
    np.testing.assert_allclose(logits, value, rtol=1e-5, atol=1e-6)
    tests = [entry["test"] for entry in figure.model["test"]]
    assert tests == ([1.0, 1.0] if scaling == "train" else [0.6, 0.6])
    # … and test time is the mean over masks, which a first layer shows: E[mask · factor] · w.
    train = np.mean([entry["train"] * entry["retain"] for entry in figure.model["test"]])
    assert train == pytest.approx(tests[0])
    assert ("p·w" in figure.svg) == (scaling == "test")
    for words in ("present with probability p = 0.6", "always present"):
        assert words in figure.svg


def test_masks_of_maps_and_of_the_input() -> None:
    graph = models.build("lenet-5").apply(
        passes.insert_dropout(retain={"image": 0.8, "*": 0.5}), *TRAIN
    )
    x = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    held = gx.compile(graph).init(seed=4)
    figure = viz.thinned(graph, held, example=2, step=17, image=x)
    shapes = [tuple(layer["shape"]) for layer in figure.model["layers"]]
    assert shapes == [(1, 28, 28), (6, 28, 28), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]
    for layer in figure.model["layers"]:
        if layer["stream"] is None:
            assert layer["dropped"] == []
            continue
        mask = rule(layer["stream"], 4, 17, (3, *layer["shape"]), layer["retain"])[2]
        assert layer["dropped"] == np.flatnonzero(~mask).tolist()
    assert figure.model["links"] == [[3, 4], [4, 5], [5, 6]]


def test_a_value_that_is_dropped_twice_keeps_what_both_keep() -> None:
    x = gx.input("x", ("N", 30))
    y = gx.dropout(gx.relu(gx.dropout(x, retain=0.7)), retain=0.7)
    graph = gx.Graph({"y": gx.linear(y, gx.parameter("w", (4, 30)))})
    held = gx.compile(graph).init(seed=1)
    (layer, _) = viz.thinned(graph, held, x=np.ones((1, 30), "float32")).model["layers"]
    masks = [rule(stream, 1, 0, (1, 30), 0.7)[0] for stream in layer["stream"].split("+")]
    assert layer["dropped"] == np.flatnonzero(~(masks[0] & masks[1])).tolist()


def test_maps_alone_symbolic_sizes_and_a_sum_of_branches() -> None:
    x = gx.input("x", ("N", 2, "H", "W"))
    a = gx.conv2d(x, gx.parameter("w", (3, 2, 3, 3), init="kaiming_uniform"), padding="same")
    b = gx.conv2d(x, gx.parameter("v", (3, 2, 1, 1), init="kaiming_uniform"))
    graph = gx.Graph({"y": gx.mean(gx.dropout(a + b, retain=0.25), (2, 3))})
    held = gx.compile(graph).init(seed=6)
    figure = viz.thinned(graph, held, example=1, x=np.ones((2, 2, 5, 4), "float32"))
    (layer,) = figure.model["layers"]
    mask = rule(layer["stream"], 6, 0, (2, 3, 5, 4), 0.25)[1]
    assert (layer["shape"], layer["dropped"]) == ([3, 5, 4], np.flatnonzero(~mask).tolist())
    assert figure.model["edges"] == []
    assert "in a map, dark elements are dropped" in figure.svg


def test_a_very_large_layer_lists_what_is_drawn() -> None:
    x = gx.input("x", ("N", 70_000))
    graph = gx.Graph({"y": gx.dropout(x, retain=0.5)})
    held = gx.compile(graph).init(seed=6)
    figure = viz.thinned(graph, held, units=5, x=np.ones((1, 70_000), "float32"))
    (layer,) = figure.model["layers"]
    mask = rule(layer["stream"], 6, 0, (1, 70_000), 0.5)[0]
    assert layer["dropped"] == np.flatnonzero(~mask[:5]).tolist()
    assert layer["kept"] == mask.sum()


def test_dropped_weights_have_no_mask_of_an_example() -> None:
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (2, 3), init=0.5)
    graph = gx.Graph({"y": gx.linear(x, gx.dropout(w, retain=0.5))})
    with pytest.raises(gx.GraphError, match="no activation"):
        viz.thinned(graph, gx.compile(graph).init(), x=np.ones((1, 3), "float32"))


@pytest.mark.parametrize("make", [viz.thinned, viz.dropout])
def test_labels_captions_and_bytes(make: Any) -> None:
    graph = models.build("lenet-5").apply(passes.insert_dropout(retain=0.5))
    held = gx.compile(graph).init()
    x = np.zeros((1, 1, 28, 28), "float32")
    figure = make(graph, held, image=x)
    labels = labels_of(figure.svg)
    assert not overlapping(labels)
    assert all(label.size >= SMALLEST for label in labels)
    read = viz.Caption.parse(figure.caption.template, str(figure.caption))
    assert read == figure.caption.values
    assert (read["example"], read["seed"], read["step"], read["backend"]) == (0, 0, 0, "numpy")
    assert make(graph, held, image=x).svg == figure.svg


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g, v: viz.thinned(g, v, example=9, image=batch()[0]), "example=9, but the batch"),
        (lambda g, v: viz.thinned(g, v, units=0, image=batch()[0]), "units=0"),
        (lambda g, v: viz.thinned(g, v, step=-1, image=batch()[0]), "step=-1"),
        (lambda g, v: viz.thinned(g, v), "input 'image' is missing"),
        (lambda g, v: viz.thinned(g, v, img=1), "no input 'img'"),
        (lambda g, v: viz.thinned(g, {"step": 0}, image=batch()[0]), "hold no 'random/seed'"),
        (
            lambda g, v: viz.thinned(g.apply(passes.inference()), v, image=batch()[0]),
            r"no activation on the way(.|\n)*insert_dropout",
        ),
    ],
)
def test_mistakes_are_told(call: Any, message: str) -> None:
    graph = mlp()
    with pytest.raises(gx.GraphError, match=message):
        call(graph, gx.compile(graph).init())
