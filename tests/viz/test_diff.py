"""Diffs of two graphs: the text, the picture, and the command."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

import graphc as gx
from graphc import models, passes, viz
from graphc.cli.app import main


def signs(diff: viz.Diff) -> list[str]:
    return [line for line in diff.text.splitlines()[2:] if line[0] in "+-"]


def test_equal_graphs_have_no_difference(lenet: gx.Graph) -> None:
    for other in (lenet, models.build("lenet-5"), gx.parse(str(lenet))):
        diff = viz.diff(lenet, other)
        assert diff.same
        assert diff.text == ""
        assert diff.counts == {"add": 0, "remove": 0, "rewire": 0, "change": 0}
        assert "are equal" in str(diff.caption)
        ET.fromstring(diff.svg)


def test_what_a_picture_says_of_two_graphs(lenet: gx.Graph) -> None:
    step = lenet.apply(passes.backward())
    diff = viz.diff(lenet, step, names=("plain net", "<b>&"))
    counts = {"added": diff.counts["add"], "removed": 0, "rewired": 0, "changed": 0}
    said = viz.Caption.parse(diff.caption.template, str(diff.caption))
    assert said == {"a": "plain net", "b": "<b>&", **counts}
    root = ET.fromstring(diff.svg)
    svg = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{svg}title") == str(diff.caption)
    # The nodes in topological order, for who does not see them.
    rows = [e.get("aria-label", "") for e in root.iter() if e.get("role") == "listitem"]
    assert [row.partition(". ")[0] for row in rows] == [str(1 + n) for n in range(len(rows))]
    names = [row.partition(". ")[2].partition(":")[0] for row in rows]
    place = {name: number for number, name in enumerate(names)}
    assert {step.name(n) for n in step.nodes if n.inputs and n.ndim} <= place.keys()
    for node in step.nodes:
        for source in node.inputs:
            if {step.name(node), step.name(source)} <= place.keys():
                assert place[step.name(source)] < place[step.name(node)]


def test_a_new_name_is_no_difference() -> None:
    x = gx.input("x", (2,))
    a = gx.Graph({"y": gx.relu(x) * 2.0})
    b = gx.Graph({"first": gx.tanh(x) * 3.0, "y": gx.relu(x) * 2.0})
    assert a.name(a.outputs["y"]) != b.name(b.outputs["y"])
    assert signs(viz.diff(a, b)) == [
        "+ %tanh: f32[2] = tanh(%x)",
        "+ %constant: f32[] = constant() value=3.0",
        "+ %mul: f32[2] = mul(%tanh, %constant)",
        "+ return first=%mul",
    ]


def test_what_was_inserted_is_all_that_is_told(lenet: gx.Graph) -> None:
    dropped = lenet.apply(passes.insert_dropout(retain=0.5, after="max_pool2d"))
    for a, b in ((lenet, dropped), (gx.parse(lenet.text()), gx.parse(dropped.text()))):
        lines = signs(viz.diff(a, b))
        assert sum(line.startswith("+ %dropout") for line in lines) == 2
        assert sum(line.startswith("-") for line in lines) == 2  # the readers, as they were
        back = signs(viz.diff(b, a))
        assert sorted(line[1:] for line in back) == sorted(line[1:] for line in lines)


def test_a_deeper_net_adds_its_blocks_and_nothing_else() -> None:
    diff = viz.diff(models.build("resnet-18"), models.build("resnet-34"))
    assert diff.counts["remove"] == 0
    assert diff.counts["change"] == 0
    added = [e["row"]["name"] for e in diff.edits if e["edit"] == "add"]
    weights = set(models.build("resnet-34").parameters) - set(models.build("resnet-18").parameters)
    assert weights <= set(added)


def test_the_picture_shows_both(lenet: gx.Graph, tmp_path: Path) -> None:
    dropped = lenet.apply(passes.insert_dropout(retain=0.5))
    diff = viz.diff(dropped, lenet, names=("<a>", "b & c"))
    root = ET.fromstring(diff.svg)
    uses = [use.get("href", "") for use in root.iter("{http://www.w3.org/2000/svg}use")]
    assert uses.count("#diff-removed") == 4 + 1  # four dropouts and the legend
    assert uses.count("#diff-changed") == 4 + 1
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    assert all(use[1:] in ids for use in uses)
    assert 'from "<a>" to "b & c": 0 added, 12 removed, 4 rewired, 0 changed' in "".join(
        root.itertext()
    )
    html = diff.save(tmp_path / "d.html").read_text("utf-8")
    assert "http" not in html
    assert (diff.save(tmp_path / "d.diff")).read_text("utf-8") == diff.text
    with pytest.raises(gx.GraphError, match="is saved as"):
        diff.save(tmp_path / "d.bmp")


def test_it_takes_graphs_alone(lenet: gx.Graph) -> None:
    with pytest.raises(gx.GraphError, match="takes two graphs"):
        viz.diff(lenet, lenet.outputs["loss"])  # type: ignore[arg-type]


def test_the_command(tmp_path: Path) -> None:
    run = CliRunner().invoke
    same = run(main, ["diff", "lenet-5", "lenet-5", "--exit-code"])
    assert (same.exit_code, same.stdout) == (0, "no difference\n")
    printed = tmp_path / "net.txt"
    printed.write_text(str(models.build("lenet-5")), encoding="utf-8")
    assert run(main, ["diff", "lenet-5", str(printed)]).stdout == "no difference\n"
    picture = tmp_path / "d.svg"
    other = run(main, ["diff", "lenet-5", "vgg-11", "-o", str(picture), "--exit-code"])
    assert other.exit_code == 1
    assert other.stdout.startswith("--- lenet-5\n+++ vgg-11\n")
    ET.fromstring(picture.read_bytes())
    assert run(main, ["diff", "lenet-5", "nonesuch"]).exit_code == 2


def test_the_report_command(tmp_path: Path) -> None:
    run = CliRunner().invoke
    page = tmp_path / "page.html"
    done = run(main, ["report", "lenet-5", "-o", str(page), "--batch-size", "4"])
    assert done.exit_code == 0, done.output
    text = page.read_text("utf-8")
    assert "http" not in text
    assert 'data-pass="sgd"' in text
    wrong = run(main, ["report", "lenet-5", "-o", str(page), "--size", "H"])
    assert wrong.exit_code == 2
    assert "--size H=224" in wrong.output
    assert run(main, ["report", "lenet-5", "-o", str(tmp_path / "no" / "x.html")]).exit_code == 2
