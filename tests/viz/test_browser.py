"""The pages in a browser: opened from the disk, used with mouse and keyboard, light and dark, on a
desk and on a phone, with scripts and without.

On a machine without a Chromium all of this is skipped, for one reason that names it; what can be
told without one (structure, escaping, sizes) is in test_report.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gx
from graphc import viz

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install it")

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
     if (found := shutil.which(name))),
    None,
)  # fmt: skip
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def net() -> gx.Graph:
    """A net whose fields have holes (dilation), borders and a branch, in modules to fold."""
    from graphc import nn, passes

    image, label = gx.input("image", ("N", 1, 20, 28)), gx.input("label", ("N",), dtype="int64")
    x = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), name="stem")(image)
    branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=2), nn.ReLU(), name="branch")
    x = gx.max_pool2d(x, 2)
    x = x + branch(x)[:, :, 2:, 2:]
    w = gx.parameter("wide", (4, 4, 3, 3))
    x = gx.conv2d(x, w, dilation=2, padding=2)
    logits = nn.Linear(560, 3, name="head")(nn.Flatten()(x))
    graph = gx.Graph({"logits": logits, "loss": gx.cross_entropy(logits, label)})
    return graph.apply(
        passes.insert_dropout(retain=0.5), passes.weight_decay(1e-3), passes.backward(),
        passes.sgd(lr="lr", momentum=0.9),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(net: gx.Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    losses = {"loss": np.array([2.0, 1.0, 0.5]), "validation/loss": np.array([2.1, 1.2, 0.9])}
    history = gx.History({}, {}, None, losses, "validation/loss", net)
    return viz.report(net, tmp_path_factory.mktemp("report") / "page.html", history=history)


class Tab:
    """A page opened from the disk; it must stay silent and ask for nothing."""

    def __init__(self, browser: Any, path: Path, size: dict[str, int], **given: Any) -> None:
        self.context = browser.new_context(viewport=size, reduced_motion="reduce", **given)
        self.page = self.context.new_page()
        self.page.set_default_timeout(8000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()
        if error[0] is None:
            assert self.said == []
            assert all(url.startswith(("file:", "data:", "blob:")) for url in self.asked)


def violations(page: Any) -> list[str]:
    """What axe-core calls serious or worse."""
    import axe_playwright_python

    page.evaluate(Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text())
    # Rows of one list are alike; their contrast alone would take ten seconds.
    page.evaluate("""for (const list of document.querySelectorAll('ol, tbody'))
        for (const row of [...list.children].slice(12)) row.remove()""")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def shapes(page: Any) -> int:
    return int(page.locator("#graph-picture [data-shape]").count())


def box(page: Any) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right) of the highlighted box."""
    mark = page.locator("#field-box")
    if not mark.count():
        return None
    x, y, w, h = (int(mark.get_attribute(name)) for name in ("x", "y", "width", "height"))
    return y, x, y + h - 1, x + w - 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_page_is_used(
    chromium: Any, page: Path, net: gx.Graph, scheme: str, size: dict[str, int]
) -> None:
    given = {"color_scheme": scheme, "has_touch": size is PHONE}
    with Tab(chromium, page, size, **given) as tab:
        folds_and_unfolds(tab)
        the_slider_moves(tab, net)
        a_unit_shows_its_field(tab, net)
        assert tab.evaluate("document.documentElement.scrollWidth") <= size["width"]
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark == ("rgb(22, 24, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
        assert violations(tab) == []


def folds_and_unfolds(tab: Any) -> None:
    start = shapes(tab)
    tab.click("#graph-fold")
    folded = shapes(tab)
    assert folded < start
    box = tab.locator('#graph-picture [data-cluster][aria-expanded="false"]').first
    cluster = box.get_attribute("data-cluster")
    box.focus()
    tab.keyboard.press("Enter")
    assert shapes(tab) > folded
    frame = tab.locator(f'#graph-picture [data-cluster="{cluster}"][aria-expanded="true"]')
    frame.focus()
    tab.keyboard.press("Enter")
    assert shapes(tab) == folded
    tab.click("#graph-unfold")
    assert shapes(tab) == start


def the_slider_moves(tab: Any, net: gx.Graph) -> None:
    graphs = (*net.history, net)
    tab.locator("#film summary", has_text="printed graph").click()
    for number in (3, 0, 4, 1):
        tab.locator("#film-slider").fill(f"{number}")
        assert tab.locator("#film-strip > li:visible").count() == 1
        assert graphs[number].made_by in tab.locator("#film-said").inner_text()
        # The page replays the edits itself.
        assert tab.locator("#film-ir").text_content() == str(graphs[number])
    tab.locator("#film-slider").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#film-ir").text_content() == str(graphs[2])


def a_unit_shows_its_field(tab: Any, net: gx.Graph) -> None:
    options = tab.locator("#field-node option").all_inner_texts()
    for option in (options[0], options[-1]):
        tab.select_option("#field-node", label=option)
        node = net.node(option.split()[0])
        height, width = (int(extent) for extent in node.shape[-2:])
        field = gx.receptive_field(node)
        units = tab.locator("#field-units")
        units.scroll_into_view_if_needed()
        for y, x in ((0, 0), (height - 1, width - 1), (height // 2, 1)):
            place = units.evaluate(
                """(element, [y, x]) => {
                  const unit = new DOMPoint(x + 0.5, y + 0.5);
                  const point = unit.matrixTransform(element.getScreenCTM());
                  return [point.x, point.y];
                }""",
                [y, x],
            )
            tab.mouse.move(*place)
            assert box(tab) == field.box(y, x)
        units.focus()
        tab.keyboard.press("ArrowRight")
        assert box(tab) == field.box(height // 2, 2)


def test_nodes_are_found_and_beside_their_lines(chromium: Any, page: Path) -> None:
    with Tab(chromium, page, DESK) as tab:
        tab.fill("#graph-search", "conv2d_weight_grad")
        tab.keyboard.press("Enter")
        assert "conv2d_weight_grad" in tab.locator("#graph-side h3").inner_text()
        focused = tab.evaluate("document.activeElement.dataset.node")
        assert focused == "conv2d_weight_grad"
        marked = tab.locator("#source-lines li.chosen")
        assert marked.count() > 0
        assert all("conv2d_weight_grad" in said for said in marked.all_inner_texts())
        link = tab.locator("#source-lines a[data-of]", has_text="relu").first
        name = link.get_attribute("data-of")
        link.click()
        assert tab.locator("#graph-side h3").inner_text() == name
        tab.fill("#graph-search", "no such thing")
        assert tab.locator("#graph-count").inner_text() == "nothing found"


def test_the_graph_moves_zooms_and_is_walked(chromium: Any, page: Path) -> None:
    with Tab(chromium, page, DESK) as tab:
        picture = tab.locator("#graph-picture")
        view = lambda: [float(n) for n in picture.get_attribute("viewBox").split()]  # noqa: E731
        start = view()
        tab.click("#graph-in")
        assert view()[2] < start[2]
        frame = picture.bounding_box()
        middle = (frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
        before = view()
        tab.mouse.move(*middle)
        tab.mouse.down()
        tab.mouse.move(middle[0] - 60, middle[1] - 40, steps=4)
        tab.mouse.up()
        assert view()[0] > before[0]
        assert view()[1] > before[1]
        tab.click("#graph-fit")
        assert view() == pytest.approx(start)
        tab.locator('#graph-picture [data-node="image"]').focus()
        tab.keyboard.press("ArrowDown")
        below = tab.evaluate("document.activeElement.dataset.shape")
        assert below != "image"
        tab.keyboard.press("ArrowUp")
        assert tab.evaluate("document.activeElement.dataset.shape") == "image"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_without_scripts_it_is_figures(
    chromium: Any, page: Path, net: gx.Graph, size: dict[str, int], scheme: str
) -> None:
    given = {"color_scheme": scheme, "java_script_enabled": False}
    with Tab(chromium, page, size, **given) as tab:
        assert tab.locator("#graph .static svg").is_visible()
        assert tab.locator("#fields .static svg").is_visible()
        frames = tab.locator("#film-strip > li")
        assert frames.count() == len(net.history) + 1
        assert all(frames.nth(i).is_visible() for i in range(frames.count()))
        # Nothing is offered that cannot work.
        assert tab.locator("button:visible, input:visible, select:visible").count() == 0
        assert tab.locator("#source-lines li").count() > 100


@pytest.mark.parametrize("name", ["film", "diff"])
def test_the_smaller_pages(chromium: Any, net: gx.Graph, tmp_path: Path, name: str) -> None:
    picture = viz.film(net) if name == "film" else viz.diff(net.history[0], net.history[1])
    with Tab(chromium, picture.save(tmp_path / "page.html"), DESK) as tab:
        if name == "film":
            tab.locator("#film-next").click()
            assert "insert_dropout" in tab.locator("#film-said").inner_text()
        assert tab.locator("svg use:visible").count() > 10
        assert violations(tab) == []


def test_a_page_of_five_thousand_nodes(chromium: Any, tmp_path: Path) -> None:
    x = gx.input("x", (4,))
    for _ in range(1667):
        x = gx.tanh(gx.relu(x) * 2.0)
    path = viz.report(gx.Graph({"y": x}), tmp_path / "page.html")
    assert path.stat().st_size < 8_000_000
    with Tab(chromium, path, DESK) as tab:
        assert 1 < shapes(tab) <= 60
        tab.click("#graph-unfold")
        assert shapes(tab) <= 600
        assert "too many" in tab.locator("#graph-note").inner_text()
        tab.fill("#graph-search", "tanh_1234")
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.dataset.node") == "tanh_1234"


def test_hostile_names_stay_text(chromium: Any, tmp_path: Path) -> None:
    x = gx.input("x", ("N", 1, 8, 8))
    graph = gx.Graph({"y": gx.relu(gx.conv2d(x, gx.parameter("w", (1, 1, 3, 3))))})
    title = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u202e & \" ' \u2028"
    path = viz.report(graph, tmp_path / "page.html", title=title)
    with Tab(chromium, path, DESK) as tab:
        said = tab.locator("h1").inner_text()
        assert said.startswith("</script><script>alert(1)</script><img src=x onerror=alert(2)>")
        assert tab.locator("img").count() == 0
        data = json.loads(tab.locator("#data").text_content())
        assert {node["name"] for node in data["graph"]["nodes"]} == {"x", "w", "conv2d", "relu"}
