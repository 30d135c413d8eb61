"""Runs side by side by matplotlib, and the progress line of a run in a terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import viz
from graphc.train.progress import Bar

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install graphc[viz]")


def run(**metrics: list[float]) -> gx.History:
    graph = gx.Graph({"loss": gx.parameter("w", ())})
    read = {name.replace("_", "/"): np.array(row) for name, row in metrics.items()}
    return gx.History({}, {}, None, read, "loss", graph)


def test_each_panel_holds_the_numbers(tmp_path: Path) -> None:
    runs = {
        "plain": run(loss=[2.0, 1.0, 0.5], accuracy=[0.1, 0.5, 0.9], seconds=[1.0, 1.0, 1.0]),
        "_dollars $x^$": run(loss=[2.5, 0.7], accuracy=[0.2, 0.8]),
    }
    figure = viz.compare(runs, title="$\\frac")
    assert [panel.get_ylabel() for panel in figure.axes] == ["loss", "accuracy"]
    for panel in figure.axes:
        lines = panel.get_lines()
        assert [list(line.get_ydata()) for line in lines] == [
            list(history.metrics[panel.get_ylabel()]) for history in runs.values()
        ]
        assert [list(line.get_xdata()) for line in lines] == [[1, 2, 3], [1, 2]]
        looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}
        assert len({look[1:] for look in looks}) == 2  # told apart without the colour
        assert len(panel.get_legend().get_texts()) == 2
    for ending in ("png", "pdf", "svg"):
        figure.savefig(tmp_path / f"runs.{ending}")
    assert [p.get_ylabel() for p in viz.compare(runs, "accuracy").axes] == ["accuracy"]


def test_mistakes_say_what_is_there() -> None:
    one = run(loss=[1.0])
    with pytest.raises(gx.GraphError, match="one run or more"):
        viz.compare({})
    with pytest.raises(gx.GraphError, match="not what gx.fit returned"):
        viz.compare({"a": [1.0]})  # type: ignore[dict-item]
    with pytest.raises(gx.GraphError, match="'a' did not measure 'los'.*did you mean 'loss'"):
        viz.compare({"a": one}, "los")
    with pytest.raises(gx.GraphError, match="7 runs"):
        viz.compare({f"{i}": one for i in range(7)})
    with pytest.raises(gx.GraphError, match="in common"):
        viz.compare({"a": one, "b": run(accuracy=[1.0])})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_run_in_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Bar(epochs=3, done=0, steps=2) as bar:
        for epoch in (1, 2, 3):
            bar.step()
            bar.step()
            bar.epoch(epoch, {"loss": [2.0 / epoch]})
    said = terminal.getvalue()
    assert "3/3" in said
    assert "loss 0.6667" in said
    silent = io.StringIO()
    monkeypatch.setattr(sys, "stderr", silent)
    with Bar(epochs=1, done=0, steps=1) as bar:
        bar.step()
        bar.epoch(1, {"loss": [1.0]})
    assert silent.getvalue() == ""
