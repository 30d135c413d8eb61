"""``graphc demo``, one short epoch: every file it promises, a page that stands alone."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import graphc as gx
from graphc import data, models
from graphc.cli import demo, main
from graphc.train import evaluate

FILES = {
    "index.html", "forward.svg", "training.svg", "filters-conv1.png", "filters-conv2.png",
    "loss.svg", "accuracy.svg", "step.py", "report.html", "lenet-5.safetensors",
    "lenet-5-without-shifts.safetensors",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder, and what was printed."""
    out = tmp_path_factory.mktemp("demo") / "made"
    loads: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHC_VERIFY_PLAN", "")  # plans are checked elsewhere
        load = data.load

        def watched(name: str, split: str) -> data.Dataset:
            loads.append(split)
            return load(name, split)[:640]

        patch.setattr(data, "load", watched)
        result = CliRunner().invoke(main, ["demo", "--epochs", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    # The test digits are looked at when both runs are over, and not before.
    assert loads.index("test") > max(i for i, split in enumerate(loads) if split == "train")
    return out, result.stdout


def test_every_file_is_there(made: tuple[Path, str]) -> None:
    out, _ = made
    assert {path.name for path in out.iterdir()} == FILES
    assert gx.parse((out / "forward.svg").read_text(encoding="utf-8")) == models.build("lenet-5")
    training = gx.parse((out / "training.svg").read_text(encoding="utf-8"))
    assert training == demo.RECIPE.training(models.build("lenet-5"))
    # Data and decay meet in one sum for each of the five weights, and each is marked.
    assert sum(node.op.name == "grad_sum" for node in training.nodes) == 5
    drawn = (out / "training.svg").read_text(encoding="utf-8")
    assert all(f"Σ grad of {n}.weight" in drawn for n in ("conv1", "conv2", "fc1", "fc2", "fc3"))
    for name in ("loss", "accuracy"):
        ET.parse(out / f"{name}.svg")
    for name in ("conv1", "conv2"):
        with Image.open(out / f"filters-{name}.png") as image:
            image.verify()
    ast.parse((out / "step.py").read_text(encoding="utf-8"))


def test_what_is_printed(made: tuple[Path, str]) -> None:
    out, said = made
    assert gx.parse(said[: said.index("\n}\n") + 3]) == models.build("lenet-5")
    assert "61,706 parameters" in said
    variables, graph = gx.load(out / "lenet-5.safetensors")
    assert graph == models.build("lenet-5")
    found = evaluate(graph, variables, data.load("mnist-mini", "test")[:640])
    assert f"test accuracy with shifts     {found['accuracy']:.2%}" in said
    last = said.splitlines()[-6:]
    assert any((out / "index.html").as_uri() in line for line in last)
    assert any("graphc show lenet-5" in line for line in last)


class Page(HTMLParser):
    """Tags in balance; what is referred to; the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.used: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        given = dict(attrs)
        self.used += [value for key in ("href", "src") if (value := given.get(key))]
        self.ids += [value for key in ("id",) if (value := given.get(key))]
        assert tag not in ("script", "link", "iframe")
        if tag == "img":
            self.images += 1
            assert given.get("alt")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone(made: tuple[Path, str]) -> None:
    out, _ = made
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    for used in page.used:
        target = used.removeprefix("#")
        assert target in (page.ids if used.startswith("#") else FILES), used
    assert page.images == 6
    assert "http" not in text
    assert "prefers-color-scheme: dark" in text
    assert '<meta charset="utf-8">' in text
    assert "61,706 parameters" in page.text
    assert (out / "step.py").read_text(encoding="utf-8").strip() in page.text
    assert "$" not in text.replace((out / "step.py").read_text(encoding="utf-8"), "")


def test_the_weights_are_those_that_were_learned(made: tuple[Path, str]) -> None:
    out, _ = made
    first, _ = gx.load(out / "lenet-5.safetensors")
    second, _ = gx.load(out / "lenet-5-without-shifts.safetensors")
    start = gx.compile(models.build("lenet-5")).init(0)
    for name, array in first.items():
        assert not np.array_equal(array, second[name])
        assert not np.array_equal(array, start[name])
