"""``graphc rf``: the table of receptive fields."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

import graphc as gx
from graphc import analysis, models
from graphc.cli import main

NET = """
import graphc as gx

def net():
    x = gx.input("image", (1, 1, "H", "W"))
    one, three, last = (gx.parameter(n, (1, 1, k, k)) for n, k in (("a", 1), ("b", 3), ("c", 1)))
    y = gx.conv2d(gx.conv2d(x, three, stride=2, padding="same"), last, stride=2)
    return gx.Graph({"y": gx.conv2d(x, one, stride=4) + y})
"""


def rf(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["rf", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_net_of_the_zoo() -> None:
    lines = rf("resnet-34").splitlines()
    assert lines[0] == "receptive fields of image"
    rows = {line.split()[0]: line.split() for line in lines[2:]}
    assert rows["conv2d"][1:] == ["conv2d", "7", "2", "3", "yes", "0"]
    last = max(int(row[2]) for row in rows.values())
    assert last == 899
    assert "exceeded" in next(line for line in lines if " 899 " in line)
    assert not any(line.split()[1] == "batch_norm" for line in lines[2:])
    everything = rf("resnet-34", "--all").splitlines()
    assert len(everything) > len(lines)


def test_sizes_and_what_is_not_aligned(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    model = f"{tmp_path / 'net.py'}:net"
    told = rf(model)
    assert "by size" in told
    assert "they agree where H mod 2 = 1 and W mod 2 = 1" in told
    assert "not aligned" not in rf(model, "--size", "H=9", "--size", "W=9")
    eight = rf(model, "--size", "H=8", "--size", "W=8")
    assert "to repair: " in eight
    wrong = CliRunner().invoke(main, ["rf", model, "--size", "H"])
    assert wrong.exit_code == 2
    assert "--size H=224" in wrong.output


def test_the_table_as_data() -> None:
    graph = models.build("lenet-5")
    found = analysis.field_table(graph)
    row = found["max_pool2d_1"]
    assert (row.size, row.stride, row.padding, row.aligned) == ((16, 16), (4, 4), (2, 2), True)
    assert row.field.node is graph.node("max_pool2d_1")
    assert [row.name for row in found.exceeding] == []
    inner = analysis.field_table(graph, wrt="max_pool2d")
    assert inner["max_pool2d_1"].size == (6, 6)
    assert isinstance(gx.receptive_fields(graph)[row.node], analysis.ReceptiveField)
