"""The picture of a memory plan: lifetimes and the peak against the plan itself, line by line."""

from __future__ import annotations

import pytest

import graphc as gx
from graphc import models, viz
from graphc.viz.canvas import labels_of, overlapping


def brute_force(program: gx.Program) -> list[int]:
    """Bytes of the arena in use at each line: the union of the places of what is alive, counted by
    64-byte cells, from the instructions alone."""
    plan = program.plan
    touched: dict[int, list[int]] = {}
    for at, instruction in enumerate(plan.instructions):
        for number in instruction.buffers():
            touched.setdefault(plan.buffers[number].root, []).append(at)
    wanted = [n for _, n in (*plan.schedule.outputs, *plan.schedule.copies)]
    for number in wanted:
        touched.setdefault(plan.buffers[number].root, []).append(len(plan.instructions))
    found = []
    for at in range(len(plan.instructions)):
        cells: dict[int, int] = {}
        for root, when in touched.items():
            place = plan.places[root]
            if place.space == "arena" and min(when) <= at <= max(when):
                size = plan.buffers[root].bytes(plan.capacity)
                cells[place.offset] = max(size, cells.get(place.offset, 0))
        found.append(sum(cells.values()))
    return found


@pytest.mark.parametrize("batch", [1, 32])
def test_the_peak_is_the_plan_s(training: gx.Graph, batch: int) -> None:
    program = gx.compile(training, sizes={"N": batch})
    figure = viz.memory(program)
    live = brute_force(program)
    model = figure.model
    assert model["live"] == live
    assert model["peak_bytes"] == max(live)
    assert model["peak_at"] == live.index(max(live))
    assert model["arena_bytes"] == program.plan.peak_bytes >= max(live)
    at = program.plan.instructions[model["peak_at"]]
    assert model["peak_node"] == at.label
    alive = {b["buffer"] for b in model["buffers"] if b["born"] <= model["peak_at"] <= b["gone"]}
    assert set(model["at_peak"]) == alive
    sizes = {b["buffer"]: b["bytes"] for b in model["buffers"]}
    assert [sizes[b] for b in model["at_peak"]] == sorted((sizes[b] for b in alive), reverse=True)
    assert model["peak_line"].startswith(("lenet.py:", "conftest.py:", "test_"))


def test_what_it_says_reads_back(training: gx.Graph) -> None:
    figure = viz.memory(gx.compile(training), N=8)
    caption = figure.caption
    assert viz.Caption.parse(caption.template, str(caption)) == caption.values
    assert caption.values["peak"] == figure.model["peak_bytes"]
    assert caption.values["size_N"] == 8
    labels = labels_of(figure.svg)
    assert overlapping(labels) == []
    assert min(label.size for label in labels) >= 9
    said = {label.text for label in labels}
    assert {"forward", "backward", "update"} <= said
    largest = next(b for b in figure.model["buffers"] if b["buffer"] == figure.model["at_peak"][0])
    assert largest["node"] in said
    assert largest["line"] in said


def test_sizes_are_planned_for_and_the_program_stays() -> None:
    program = gx.compile(models.build("lenet-5"))
    before = program.plan.peak_bytes
    small, large = (viz.memory(program, N=n).model["peak_bytes"] for n in (2, 64))
    assert large > 16 * small
    assert program.plan.peak_bytes == before


def test_nothing_lives_where_nothing_is_computed() -> None:
    x = gx.input("x", ("N",))
    figure = viz.memory(gx.compile(gx.Graph({"y": x})))
    assert figure.model["buffers"] == []
    assert "0 buffers" in figure.svg


def test_mistakes() -> None:
    program = gx.compile(gx.Graph({"y": gx.relu(gx.input("x", ("N",)))}))
    with pytest.raises(gx.GraphError, match="no dimension 'M'"):
        viz.memory(program, M=3)
    with pytest.raises(gx.GraphError, match="N=0 must be an int of at least 1"):
        viz.memory(program, N=0)
    with pytest.raises(gx.GraphError, match=r"takes a program, gx\.compile\(graph\).*not Graph"):
        viz.memory(program.graph)  # type: ignore[arg-type]
    assert viz.memory(program.plan, program.graph).model["lines"] == 1
