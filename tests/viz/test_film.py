"""The film: edits that replay to every graph of the history, and where each new node comes from."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

import graphc as gx
from graphc import models, passes, viz
from graphc.ir.summary import numbers
from graphc.viz.edits import Snapshot, Step, printed, replay, track
from graphc.viz.matching import match
from tests.passes.test_random_pass_lists import draw

LISTS = 32


def replayed(graphs: Sequence[gx.Graph]) -> tuple[Step, ...]:
    """Replay the edits, sent through JSON, and compare with every graph's own text."""
    first, steps, _ = track(graphs)
    state = Snapshot(**json.loads(json.dumps(first.as_dict())))
    assert printed(state) == str(graphs[0])
    for step, graph in zip(steps, graphs[1:], strict=True):
        state = replay(state, json.loads(json.dumps(step.as_dict()))["edits"])
        assert printed(state) == str(graph)
        assert printed(state, comments=False) == graph.text()
        assert gx.parse(printed(state)) == graph
    return steps


def history(graph: gx.Graph) -> tuple[gx.Graph, ...]:
    return (*graph.history, graph)


def test_a_training_step_replays(training: gx.Graph) -> None:
    steps = replayed(history(training))
    assert [step.made_by for step in steps] == [
        "insert_dropout", "weight_decay", "backward", "sgd",
    ]  # fmt: skip
    counts = [step.counts() for step in steps]
    # Four dropouts, each with its stream; the seed; the step, a 1 and their sum. What read a relu
    # reads its dropout now, and nothing is lost.
    assert counts[0] == {"add": 12, "remove": 0, "rewire": 4, "change": 0}
    assert all(count["remove"] == count["rewire"] == 0 for count in counts[1:])


@pytest.mark.parametrize("block", range(4))
def test_random_lists_of_passes_replay(block: int) -> None:
    for seed in range(7000 + block * LISTS // 4, 7000 + (block + 1) * LISTS // 4):
        case = draw(seed)
        graph = case.graph
        for step in case.steps:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    graph = graph.apply(step)
                except gx.GraphError:  # a pass may refuse; what was done until then is a film too
                    continue
        replayed(history(graph))


def test_unrelated_graphs_replay_as_well(lenet: gx.Graph, residual: gx.Graph) -> None:
    x = gx.input("x", (1,))
    single = gx.Graph({"x": x})
    replayed([lenet, residual, single, lenet, models.build("resnet-18"), single])


def test_a_pass_that_changes_nothing_is_an_empty_frame(lenet: gx.Graph) -> None:
    (_, step, _) = replayed(
        history(lenet.apply(passes.simplify(), passes.simplify(), passes.simplify()))
    )
    assert step.edits == ()


def test_each_new_node_says_where_it_comes_from(training: gx.Graph) -> None:
    graphs = history(training)
    _, steps, ids = track(graphs)
    for step, graph, own in zip(steps, graphs[1:], ids[1:], strict=True):
        known = {id: node for node, id in own.items()}
        added = [edit for edit in step.edits if edit["edit"] == "add"]
        assert added
        for edit in added:
            assert edit["how"] in ("made from", "gradient of", "update of", "read by", "reads")
            assert edit["from"] in known
            assert edit["from"] != edit["id"]
        shared = numbers(graph)  # one such node serves all whose gradient it is
        for node, gradient in graph.gradients.items():
            if gradient in shared:
                continue
            told = [e for e in added if known[e["id"]] is gradient]
            assert all(e["how"] == "gradient of" for e in told)
            assert all(graph.gradients.get(known[e["from"]]) is gradient for e in told)
            assert node in graph.nodes
    dropped = [e for e in steps[0].edits if e["edit"] == "add" and e["row"]["op"] == "dropout"]
    names = {id: graphs[1].name(node) for node, id in ids[1].items()}
    assert [names[e["from"]] for e in dropped] == ["relu", "relu_1", "relu_2", "relu_3"]


def test_nodes_that_a_pass_rebuilds_are_matched(lenet: gx.Graph) -> None:
    dropped = lenet.apply(passes.insert_dropout(retain=0.5))
    found = match(lenet, dropped)
    new = [n.op.name for n in dropped.nodes if n not in found and n.inputs]
    assert sorted(new) == ["add"] + ["dropout"] * 4
    assert set(found.values()) == set(lenet.nodes)


def test_parsed_graphs_are_matched_by_structure(lenet: gx.Graph) -> None:
    dropped = lenet.apply(passes.insert_dropout(retain=0.5))
    a, b = gx.parse(lenet.text()), gx.parse(dropped.text())
    found = match(a, b)
    assert set(found.values()) == set(a.nodes)
    names = {b.name(new): a.name(old) for new, old in found.items()}
    assert all(new == old for new, old in names.items())
    assert match(b, a).keys() == set(a.nodes)
    (step,) = replayed([b, a])
    assert step.counts() == {"add": 0, "remove": 12, "rewire": 4, "change": 0}


def test_a_changed_attribute_is_a_change_and_no_new_node() -> None:
    def net(padding: int) -> gx.Graph:
        x, w = gx.input("x", ("N", 1, 8, 8)), gx.parameter("w", (2, 1, 3, 3))
        return gx.Graph({"y": gx.tanh(gx.conv2d(x, w, padding=padding))})

    (step,) = replayed([net(0), net(1)])
    assert step.counts() == {"add": 0, "remove": 0, "rewire": 0, "change": 2}
    change = next(e for e in step.edits if "text" in e["to"])
    assert change["to"] == {"text": " padding=1", "type": "f32[N,2,8,8]"} | (
        {"note": change["to"]["note"]} if "note" in change["to"] else {}
    )


def test_names_that_move_are_renames(lenet: gx.Graph) -> None:
    x = lenet.inputs["image"]
    twice = lenet.rebuild({"first": gx.relu(x * 2.0), **lenet.outputs})
    (step,) = replayed([lenet, twice])
    kinds = {edit["edit"] for edit in step.edits}
    assert "rename" in kinds
    assert kinds <= {"add", "move", "rename", "outputs"}


def test_the_film_is_a_page(training: gx.Graph, tmp_path: Path) -> None:
    film = viz.film(training)
    graphs = history(training)
    assert [film.replay(i) for i in range(len(graphs))] == [str(graph) for graph in graphs]
    html = film.save(tmp_path / "film.html").read_text("utf-8")
    assert "http" not in html
    assert [f'data-pass="{graph.made_by}"' in html for graph in graphs] == [True] * 5
    saved = json.loads(film.save(tmp_path / "film.json").read_text("utf-8"))
    state = Snapshot(**saved["first"])
    for step in saved["steps"]:
        state = replay(state, step["edits"])
    assert printed(state) == str(training)
    with pytest.raises(gx.GraphError, match="frames 0 to 4"):
        film.replay(5)
    with pytest.raises(gx.GraphError, match="saved as"):
        film.save(tmp_path / "film.gif")
    with pytest.raises(gx.GraphError, match="takes a Graph"):
        viz.film(training.outputs["loss"])  # type: ignore[arg-type]


def test_survivors_keep_their_places_and_the_rest_has_its_badge(training: gx.Graph) -> None:
    html = viz.film(training).html
    strip = html[html.index('id="film-strip"') :]
    frames = strip.split("<li data-pass=")[1:]
    drawn = [set(re.findall(r'href="#film-(s\d+)"', frame)) for frame in frames]
    # One shape has one place: a frame points at shapes and moves none.
    assert all(a < b for a, b in pairwise(drawn))
    assert not re.search(r'<use href="#film-[scl]\d+"[^/]* (x|y|transform)=', strip)
    added = [frame.count('href="#film-added"') for frame in frames]
    assert added[0] == 0
    assert added[1:] == [len(b - a) for a, b in pairwise(drawn)]
    assert [frame.count('href="#film-changed"') for frame in frames] == [0, 4, 0, 0, 0]
    gone = viz.film(training.select("logits").apply(passes.inference())).html
    last = gone.split("<li data-pass=")[-1]
    assert last.count('href="#film-removed"') > 4
    assert "changes nothing" in viz.film(training.apply(passes.simplify(), passes.simplify())).html


def test_a_layout_that_takes_too_long_leaves_the_words(training: gx.Graph) -> None:
    html = viz.film(training, seconds=1e-3).html
    assert "No pictures here: the layout" in html
    assert html.count("<li data-pass=") == 5


def test_a_film_of_one_graph(lenet: gx.Graph) -> None:
    film = viz.film(lenet)
    assert film.steps == ()
    assert 'max="0"' in film.html
