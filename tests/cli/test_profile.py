"""``graphc profile`` and the overlays of ``graphc draw``."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import graphc as gx
from graphc.cli import main


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(words))
    return result.exit_code, result.output


def test_a_table_of_the_step_and_its_drawing(tmp_path: Path) -> None:
    out = tmp_path / "time.svg"
    code, said = run("profile", "lenet-5", "--batch-size", "2", "--out", str(out))
    assert code == 0, said
    rows = said.splitlines()
    assert rows[0].split() == ["node", "ms", "share", "calls", "line"]
    assert any(row.startswith("conv2d") and "lenet.py:" in row for row in rows)
    assert any(row.startswith("whole step, fastest of") for row in rows)
    assert "the graph of the step, coloured by time" in rows[-1]
    assert "fastest of" in out.read_text(encoding="utf-8")


def test_a_size_that_nobody_gives(tmp_path: Path) -> None:
    graph = gx.Graph({"y": gx.relu(gx.input("x", ("N", "H")))})
    path = tmp_path / "net.txt"
    path.write_text(str(graph), encoding="utf-8")
    code, said = run("profile", str(path), "--stage", "forward")
    assert code == 2
    assert "the input x has the dimension H, and only N has a size here" in said


@pytest.mark.parametrize("overlay", ["flops", "bytes", "parameters", "receptive_field"])
def test_draw_writes_on_the_nodes(overlay: str, tmp_path: Path) -> None:
    out = tmp_path / "net.dot"
    code, said = run("draw", "lenet-5", "--overlay", overlay, "-o", str(out))
    assert code == 0, said
    assert "level5" in out.read_text(encoding="utf-8")


def test_draw_knows_its_overlays(tmp_path: Path) -> None:
    code, said = run("draw", "lenet-5", "--overlay", "fold", "-o", str(tmp_path / "a.dot"))
    assert code == 2
    assert "'fold' is not one of" in said
