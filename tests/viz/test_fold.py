"""Folding: boxes that keep count, keep sharing visible, and keep large graphs small."""

from __future__ import annotations

import random

import pytest

import graphc as gx
from graphc import models, nn, passes, viz

from .conftest import TRAINING
from .labels import boxes as shapes
from .labels import overlaps, smallest


def boxes(drawing: viz.Drawing) -> dict[str, dict[str, object]]:
    return {n["name"]: n for n in drawing.model["nodes"] if n["kind"] == "box"}


def test_a_module_is_one_box_a_part(residual: gx.Graph) -> None:
    step = residual.apply(*TRAINING)
    drawing = viz.draw(step, fold="1*")
    found = boxes(drawing)
    assert set(found) == {"1", "backward of 1", "update of 1"}
    assert found["backward of 1"]["belongs_to"] == found["1"]["id"]
    assert "144 parameters" in found["1"]["label"]  # type: ignore[operator]
    assert "reads lr" in found["update of 1"]["label"]  # type: ignore[operator]
    names = {n["name"] for n in drawing.model["nodes"]}
    assert "1.branch.0.weight" not in names
    assert "2.branch.0.weight" in names
    assert "folded into 3 boxes" in drawing.model["folded"]
    assert "folded into 3 boxes" in drawing.dot
    assert "folded into 3 boxes" in drawing.svg


def test_edges_of_a_box_are_joined_and_counted(residual: gx.Graph) -> None:
    drawing = viz.draw(residual, fold="1*")
    box = boxes(drawing)["1"]["id"]
    into = [e for e in drawing.model["edges"] if e["target"] == box]
    # The block's input goes into its branch and around it.
    assert [(e["count"], e["label"]) for e in into] == [(2, "N×8")]
    assert ">N×8 (2×)</text>" in drawing.svg
    whole = viz.draw(residual).model
    inside = {
        n["id"]
        for n in whole["nodes"]
        if n["name"].startswith(("1.", "linear_1", "linear_2")) or n["name"] in ("relu", "add")
    }
    kept = sum(not {e["source"], e["target"]} <= inside for e in whole["edges"])
    assert sum(e["count"] for e in drawing.model["edges"]) == kept


def test_a_shared_parameter_is_never_swallowed() -> None:
    weight = gx.parameter("shared.weight", (4, 4))
    x = gx.input("x", ("N", 4))
    first = nn.Linear(4, 4, name="first")
    y = gx.relu(gx.linear(gx.tanh(gx.linear(first(x), weight)), weight))
    drawing = viz.draw(gx.Graph({"y": y}), fold=["first"])
    assert "shared.weight" in {n["name"] for n in drawing.model["nodes"]}
    # A parameter that two boxes read stays between them.
    tied = gx.parameter("a.table", (4, 4))
    g = gx.Graph({"y": gx.linear(gx.linear(first(x), tied), first.weight)})
    drawing = viz.draw(g, fold="*")
    names = {n["name"]: n for n in drawing.model["nodes"]}
    assert "first.weight" in names
    edges = [e for e in drawing.model["edges"] if e["source"] == names["first.weight"]["id"]]
    assert len(edges) == 2


def test_fold_true_gives_an_overview(residual: gx.Graph, training: gx.Graph) -> None:
    assert set(boxes(viz.draw(residual, fold=True))) == {"0", "1 … 2"}
    overview = viz.draw(training, fold=True)
    assert {"conv1", "backward of conv1", "update of conv1", "penalty"} <= set(boxes(overview))
    named = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), name="net")
    graph = gx.Graph({"y": named(gx.input("x", ("N", 8)))})
    # One module around all is no overview: its parts are.
    assert set(boxes(viz.draw(graph, fold=True))) == {"net.0 … net.1"}


def test_updates_fold_beside_their_parameter(training: gx.Graph) -> None:
    drawing = viz.draw(training, fold="update/*")
    found = boxes(drawing)
    assert len(found) == 10
    nodes = {n["id"]: n["name"] for n in drawing.model["nodes"]}
    assert nodes[str(found["update of fc3.bias"]["belongs_to"])] == "fc3.bias"


def test_the_digest_tells_what_is_inside(residual: gx.Graph) -> None:
    first, second = (boxes(viz.draw(residual, fold=True)) for _ in range(2))
    digests = [box["digest"] for box in first.values()]
    assert digests == [box["digest"] for box in second.values()]
    assert len(set(digests)) == len(digests)


def test_a_glob_that_fits_nothing_is_an_error(residual: gx.Graph) -> None:
    with pytest.raises(gx.GraphError, match=r"fold='layer9\*'.*no module or update"):
        viz.draw(residual, fold="layer9*")


def test_what_exceeds_the_limit_folds_from_the_inside(residual: gx.Graph) -> None:
    step = residual.apply(*TRAINING)
    whole = len(viz.draw(step).model["nodes"])
    assert whole == len(viz.draw(step, limit=whole).model["nodes"])
    seen = set()
    for limit in (whole - 1, 60, 40, 25):
        drawing = viz.draw(step, limit=limit)
        assert len(drawing.model["nodes"]) <= limit
        assert f"more than {limit} nodes" in drawing.model["folded"]
        assert gx.parse(drawing.dot) == step
        seen.add(len(drawing.model["nodes"]))
    assert len(seen) > 1
    assert len(viz.draw(step, fold=False, limit=10).model["nodes"]) == whole


def test_a_long_chain_without_modules_folds_into_runs() -> None:
    y = gx.input("x", ("N",))
    for _ in range(3000):
        y = gx.tanh(y)
    graph = gx.Graph({"loss": gx.sum(y)})
    drawing = viz.draw(graph)
    assert len(drawing.model["nodes"]) < 70
    assert sum(e["count"] for e in drawing.model["edges"]) == len(drawing.model["edges"])
    assert gx.parse(drawing.svg) == graph


def block(channels: int = 16) -> gx.Graph:
    """A residual block as in a ResNet: two convolutions, each with its normalization."""
    x = gx.input("x", ("N", channels, 14, 14))
    conv = lambda: nn.Conv2d(channels, channels, 3, padding=1, bias=False)  # noqa: E731
    norm = lambda: nn.BatchNorm2d(channels)  # noqa: E731
    branch = nn.Sequential(conv(), norm(), nn.ReLU(), conv(), norm())
    return gx.Graph({"y": gx.relu(nn.Residual(branch, name="block")(x))})


def projected() -> gx.Graph:
    """The first block of a stage: strided, a 1×1 convolution around it."""
    x = gx.input("x", ("N", 8, 14, 14))
    around = nn.Sequential(nn.Conv2d(8, 16, 1, stride=2, bias=False), nn.BatchNorm2d(16))
    branch = nn.Sequential(
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16),
    )  # fmt: skip
    return gx.Graph({"y": gx.relu(nn.Residual(branch, around, name="block")(x))})


@pytest.mark.parametrize(
    "graph",
    [models.build("lenet-5"), block(), projected(), block(512)],
    ids=["lenet-5", "block", "projected", "wide block"],
)
def test_a_small_network_fits_a_slide(graph: gx.Graph) -> None:
    drawing = viz.draw(graph)
    assert len(list(shapes(drawing.svg))) == len(drawing.model["nodes"]) <= 25
    # At 1600×900 no label below 9 pt, where a point is a pixel and where it is 4/3 of one.
    assert smallest(drawing.svg) >= 12
    assert overlaps(drawing.svg) == []
    # Every parameter is still there, once, with every use.
    found = [n["name"] for n in drawing.model["nodes"] if n["kind"] == "parameter"]
    assert sorted(found) == sorted(graph.parameters)
    assert gx.parse(drawing.svg) == graph


def test_statistics_of_normalization_fold_and_the_picture_says_so() -> None:
    drawing = viz.draw(block())
    assert "statistics of normalization (fold=False draws all)" in drawing.svg
    folded = [n for n in drawing.model["nodes"] if n["kind"] == "box"]
    assert [n["name"] for n in folded] == ["block.branch.1", "block.branch.4"]
    whole = viz.draw(block(), fold=False)
    inside = {name for n in folded for name in n["inside"]}
    drawn = {n["name"] for n in drawing.model["nodes"]} - {n["name"] for n in folded}
    assert inside | drawn == {n["name"] for n in whole.model["nodes"]}
    assert not inside & drawn


def chain(*modules: nn.Module) -> gx.Graph:
    return gx.Graph({"loss": gx.sum(nn.Sequential(*modules)(gx.input("x", ("N", 8))))})


def residual_block(width: int = 8) -> nn.Module:
    return nn.Residual(nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 8)))


def test_repeated_blocks_are_one_box_with_their_number() -> None:
    same, other = [residual_block() for _ in range(4)], residual_block(16)
    drawing = viz.draw(chain(*same, other, residual_block()), fold=True)
    found = {n["name"]: (n["repeats"], n["digest"]) for n in drawing.model["nodes"] if n["inside"]}
    assert {name: count for name, (count, _) in found.items()} == {"0 … 3": 4, "4": 1, "5": 1}
    assert "×4: " in drawing.svg
    # The hash is of one block: alike where the blocks are, and only there.
    assert found["0 … 3"][1] == found["5"][1] != found["4"][1]
    step = viz.draw(chain(*same).apply(*TRAINING), fold=True)
    # The first block passes no gradient on, so its backward part is another.
    assert {n["part"] for n in step.model["nodes"] if n["repeats"] == 4} >= {"forward", "update"}


def test_blocks_that_read_what_lies_between_are_not_one() -> None:
    x = gx.input("x", ("N", 8))
    net = nn.Module(name="net")
    net.a, net.b = nn.Linear(8, 8), nn.Linear(8, 8)
    graph = gx.Graph({"y": net.b(gx.tanh(net.a(x)))})
    drawing = viz.draw(graph, fold=True)
    assert {n["name"] for n in drawing.model["nodes"] if n["inside"]} == {"net.a", "net.b"}
    shared = nn.Linear(8, 8, name="one")
    twice = gx.Graph({"y": shared(gx.tanh(shared(x)))})
    assert not any(n["repeats"] > 1 for n in viz.draw(twice, fold=True).model["nodes"])


def test_a_predicate_chooses(residual: gx.Graph) -> None:
    chosen = viz.draw(residual, fold=lambda path: path.endswith("branch"))
    assert set(boxes(chosen)) == {"1.branch", "2.branch"}
    assert chosen.model == viz.draw(residual, fold=["1.branch", "2.branch"]).model
    with pytest.raises(gx.GraphError, match="true of no module or update.*first paths are '0'"):
        viz.draw(residual, fold=lambda path: False)


def test_large_graphs_fold_by_themselves() -> None:
    step = models.build("resnet-34").apply(*TRAINING)
    drawing = viz.draw(step)
    model = drawing.model
    assert len(step.nodes) > 2000
    assert len(model["nodes"]) <= 150
    assert "more than 2,000 nodes" in drawing.svg
    assert {n["name"]: n["repeats"] for n in model["nodes"] if n["part"] == "forward"}.items() >= {
        "layer1.0 … layer1.2": 3, "layer2.1 … layer2.3": 3, "layer3.1 … layer3.5": 5,
        "layer4.1 … layer4.2": 2,
    }.items()  # fmt: skip
    assert gx.parse(drawing.dot) == step
    # What the boxes swallowed and what is drawn is the whole.
    whole = viz.draw(step, fold=False).model
    inside = [name for n in model["nodes"] for name in n["inside"]]
    drawn = [n["name"] for n in model["nodes"] if not n["inside"]]
    assert sorted([*inside, *drawn]) == sorted(n["name"] for n in whole["nodes"])


def test_a_tangle_is_folded_before_it_is_laid_out() -> None:
    rng = random.Random(0)
    rows = [gx.input("x", ("N",))]
    while len(rows) < 1800:
        rows.append(gx.tanh(rng.choice(rows[-40:])) * rng.choice(rows))
    graph = gx.Graph({"loss": gx.sum(sum(rows[1:], rows[0]))})
    drawing = viz.draw(graph, seconds=20)
    assert len(drawing.model["edges"]) <= 250
    assert gx.parse(drawing.svg) == graph
    small = gx.Graph({"loss": gx.sum(sum(rows[1:200], rows[0]))})
    assert len(small.nodes) < 2000
    assert "lines would cross too often" in viz.draw(small, seconds=20).svg


def test_a_parsed_graph_folds_as_the_declared_one() -> None:
    """The printed text has no modules: the names of the states tell what a normalization is."""

    def conv(channels: int, filters: int, size: int) -> nn.Conv2d:
        return nn.Conv2d(channels, filters, size, padding=size // 2, bias=False)

    steps = [conv(64, 16, 1), conv(16, 16, 3), conv(16, 64, 1)]
    norms = [nn.BatchNorm2d(16), nn.BatchNorm2d(16), nn.BatchNorm2d(64)]
    branch = [layer for pair in zip(steps, norms, strict=True) for layer in (*pair, nn.ReLU())]
    before = nn.BatchNorm2d(64, name="before")
    x = gx.input("x", ("N", 64, "H", "W"))
    block = nn.Residual(nn.Sequential(*branch[:-1]), name="block")
    graph = gx.Graph({"y": block(gx.relu(before(gx.relu(x))))})
    one, two = (viz.draw(g).model["nodes"] for g in (graph, gx.parse(str(graph))))
    assert [(n["name"], n["kind"], len(n["inside"])) for n in one] == [
        (n["name"], n["kind"], len(n["inside"])) for n in two
    ]
    assert sum(n["kind"] == "box" for n in two) == 4
    assert len(two) <= 25


def test_a_box_does_not_read_what_is_in_it() -> None:
    """Of four normalizations of one size, the count that all of them read is in the first box."""
    x = h = gx.input("x", ("N", 4, 8, 8))
    for _ in range(4):
        h = gx.relu(nn.BatchNorm2d(4)(h))
    model = viz.draw(gx.Graph({"y": h, "x": x})).model
    found = [n for n in model["nodes"] if n["kind"] == "box"]
    assert len(found) == 4
    assert not [row for n in found for row in n["label"] if row.startswith("reads ")]


def test_what_joins_all_gradients_is_one_box() -> None:
    """The norm of a clip has an addition a parameter and stands in no module: drawn one by one,
    these chains kept a folded ResNet-34 in the layout for over a minute."""
    clip = [passes.backward(), passes.clip_gradients(1.0)]
    graph = models.build("resnet-18")
    for step in (graph.apply(*clip), graph.apply(*clip, passes.sgd(lr="lr"))):
        drawing = viz.draw(step, fold=True)
        assert len(drawing.model["nodes"]) <= 60
        (norm,) = [n for n in drawing.model["nodes"] if n["id"].startswith("box:joint:")]
        inside = set(norm["inside"])
        assert {n.op.name for n in step.nodes if step.name(n) in inside} >= {"add", "sqrt"}
        assert gx.parse(drawing.dot) == step
    short = viz.draw(models.build("mlp-1x512").apply(*clip), fold=True).model["nodes"]
    assert not [n for n in short if n["id"].startswith("box:joint:")]


def test_folding_a_large_graph_without_modules_cuts_it() -> None:
    h = gx.input("x", ("N", 2))
    for _ in range(1100):
        h = gx.relu(gx.exp(h))
    drawing = viz.draw(gx.Graph({"y": h}), fold=True)
    assert len(drawing.model["nodes"]) <= 61
    assert "more than 2,000 nodes" in drawing.model["folded"]
    few = viz.draw(gx.Graph({"y": gx.relu(gx.exp(gx.input("x", ("N", 2))))}), fold=True)
    assert len(few.model["nodes"]) == 3
