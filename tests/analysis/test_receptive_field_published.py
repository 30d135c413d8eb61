"""Every row of the published tables, from nets in TF-Slim's form.

google-research/receptive_field@f12ae8e, RECEPTIVE_FIELD_TABLE.md, README.md and the unit tests
beside them (Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural Networks,
Distill 2019). A row without a resolution holds for every size: the image's height and width are
symbolic.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import graphc as gx
from graphc.analysis.alignment import Certificate, Counterexample
from graphc.ir import Node
from tests.analysis.slim_nets import COMPUTED, NETS, unit_network

TABLE = Path(__file__).with_name("receptive_fields_published.csv").read_text(encoding="utf-8")
ROWS = list(csv.DictReader(TABLE.splitlines()))
NUMBERED = re.compile(r"unit_network_(\d)")
# The last endpoint of each net and its size, stride and padding at 224 (the README's summary).
SUMMARY = {
    "alexnet_v2": (195, 32, 64), "vgg_a": (150, 32, 59), "vgg_16": (212, 32, 90),
    "inception_v2": (699, 32, 318), "inception_v3": (1311, 32, 618),
    "inception_v4": (2071, 32, 998), "inception_resnet_v2": (3039, 32, 1482),
    "mobilenet_v1": (315, 32, 126), "mobilenet_v1_075": (315, 32, 126),
    **{
        f"resnet_v{version}_{depth}": (size, 32, size // 2 - 2)
        for version in (1, 2)
        for depth, size in ((50, 483), (101, 1027), (152, 1507), (200, 1763))
    },
}  # fmt: skip


@cache
def image(side: int | str) -> Node:
    return gx.input("image", (1, 1, side, side) if isinstance(side, int) else (1, 1, "H", "W"))


@cache
def ends(net: str, side: int | str) -> tuple[dict[str, Node], Any]:
    """The endpoints of a net and the fields of all its nodes, by one sweep."""
    found = NETS[net](image(side))
    graph = gx.Graph({re.sub(r"\W", "_", name): node for name, node in found.items()})
    return found, gx.receptive_fields(graph)


def resolution(row: dict[str, str]) -> int | str:
    match = re.search(r"resolution=(\d+)", row["note"])
    return int(match.group(1)) if match else "any"


def expected(row: dict[str, str]) -> tuple[int, int, int, int | None]:
    padding = int(row["padding"]) if row["padding"] else None
    return int(row["rf_y"]), int(row["rf_x"]), int(row["stride"]), padding


def agrees(field: Any, row: dict[str, str]) -> None:
    height, width, stride, padding = expected(row)
    assert field.size == (height, width)
    assert field.stride == (stride, stride)
    if padding is not None:
        assert field.padding == (padding, padding)
        assert field.aligned is True


@pytest.mark.parametrize("row", [r for r in ROWS if r["network"] in NETS], ids=lambda r: (
    f"{r['network']}-{r['endpoint'].rpartition('/')[2]}-{resolution(r)}"
))  # fmt: skip
def test_table(row: dict[str, str]) -> None:
    net = row["network"]
    summary = "README" in row["note"]
    found, fields = ends(net, 224 if summary else resolution(row))
    name = list(found)[-1] if summary else row["endpoint"].removeprefix(f"{net}/")
    agrees(fields[found[name]], row)


@pytest.mark.parametrize("net", SUMMARY)
def test_summary(net: str) -> None:
    found, fields = ends(net, 224)
    field = fields[list(found.values())[-1]]
    size, stride, padding = SUMMARY[net]
    assert (field.size, field.stride) == ((size, size), (stride, stride))
    assert field.padding == (padding, padding)
    assert isinstance(field.alignment, Certificate)
    assert field.alignment.holds()


@pytest.mark.parametrize("net", NETS)
def test_padding_of_every_size_is_that_of_each(net: str) -> None:
    """The symbolic padding, put in numbers, is what the net of that size has."""
    found, fields = ends(net, "any")
    last = list(found)[-1]
    for side in (321, 257):
        own = ends(net, side)[0][last]
        there = gx.receptive_field(own)
        here = gx.receptive_field(found[last], size={"H": side, "W": side})
        assert (here.size, here.stride, here.padding) == (there.size, there.stride, there.padding)
        symbolic = fields[found[last]]
        assert symbolic.aligned
        padding = [p if isinstance(p, int) else p.evaluate({"H": side, "W": side})
                   for p in symbolic.padding]  # fmt: skip
        assert tuple(padding) == there.padding


@pytest.mark.parametrize(
    "row",
    [r for r in ROWS if NUMBERED.match(r["network"])],
    ids=lambda r: r["network"] + r["note"][-24:],
)
def test_unit_networks(row: dict[str, str]) -> None:
    number = int(NUMBERED.match(row["network"])[1])
    side = next((n for n in (8, 9) if f"{n}x{n}" in row["note"]), "any")
    field = gx.receptive_field(unit_network(image(side), number))
    if "MISALIGNED" not in row["note"]:
        agrees(field, row)
        return
    assert (field.aligned, field.stride, field.padding) == (False, None, None)
    assert isinstance(field.alignment, Counterexample)
    assert len(set(field.paths)) == 2


@pytest.mark.parametrize(("number", "side"), [(8, 32), (9, 41)])
def test_an_addition_inside(number: int, side: int) -> None:
    field = gx.receptive_field(unit_network(image(side), number))
    assert (field.size, field.stride, field.padding) == ((11, 11), (8, 8), (5, 5))
    assert len(field.rows(2)) == 9  # of 11: two are holes


def test_unit_network_4_where_it_fails() -> None:
    refused = gx.receptive_field(unit_network(image(8), 4)).alignment
    assert refused.kind == "centre"
    assert refused.offset == (1, 1)
    assert (refused.size, refused.unit) == ((2, 2), (0, 0))
    assert refused.boxes == ((0, 0, 0, 0), (0, 0, 2, 2))
    assert "padding=((1, 0), (1, 0)) instead of 'same'" in refused.repair
    repaired = gx.receptive_field(gx.repair(unit_network(image(8), 4)))
    assert (repaired.aligned, repaired.size, repaired.padding) == (True, (3, 3), (1, 1))
    drifts = gx.receptive_field(unit_network(image(8), 3)).alignment
    assert (drifts.kind, drifts.repair) == ("stride", None)
    assert "strides of the two ways differ" in drifts.reason
    with pytest.raises(gx.GraphError, match="strides of the two ways differ"):
        gx.repair(unit_network(image(8), 3))


@pytest.mark.parametrize(
    "row", [r for r in ROWS if r["network"] in COMPUTED], ids=lambda r: r["network"]
)
def test_computed_rows(row: dict[str, str]) -> None:
    build, side = COMPUTED[row["network"]]
    agrees(gx.receptive_field(build(image(side))[row["endpoint"]]), row)


def line(*size: int) -> Node:
    return gx.input("x", (1, 1, *size))


def sets(name: str) -> Any:
    """The fields of the rows ``set_…``, on an image of one row."""
    x = node = line(1, 8 if "net3" in name else 64)

    def conv(x: Node, taps: int, **settings: Any) -> Node:
        return gx.conv2d(x, gx.parameter("w", (1, 1, 1, taps)), **settings)

    if name == "set_net3_misaligned":
        node = conv(x, 5, stride=(1, 2), padding=((0, 0), (2, 1))) + conv(conv(x, 3), 3)
    elif name == "set_gridding_d2x3":
        for _ in range(3):
            node = conv(node, 3, dilation=2, padding=(0, 2))
    elif name == "set_hdc_d1_2_5":
        for dilation in (1, 2, 5):
            node = conv(node, 3, dilation=dilation, padding=(0, dilation))
    elif name == "set_conv1x1s2_conv3":
        node = conv(conv(x, 1, stride=(1, 2)), 3, padding=(0, 1))
    else:
        taps = int(re.search(r"_k(\d)", name)[1])
        w = gx.parameter("w", (1, 1, 1, taps))
        node = gx.conv_transpose2d(x, w, stride=(1, 2), padding=(0, 1))
    return gx.receptive_field(node)


@pytest.mark.parametrize(
    "row",
    [r for r in ROWS if r["network"].startswith("set_")],
    ids=lambda r: r["network"] + r["endpoint"],
)
def test_sets(row: dict[str, str]) -> None:
    field = sets(row["network"])
    size, note = int(row["rf_x"]), row["note"]
    if row["network"].startswith("set_tconv"):
        units = {"o even": (10, 12), "o odd": (11, 13), "any o": (10, 11, 12)}[row["endpoint"]]
        assert all(len(field.columns(o)) == size for o in units)
        return
    unit = int(row["endpoint"].removeprefix("o="))
    box = field.box(0, unit, clip=False)
    assert box[3] - box[1] + 1 == size
    if "support" in note:
        first, last = map(int, re.search(r"support (-?\d+)\.\.(-?\d+)", note).groups())
        assert (box[1], box[3]) == (first, last)
    if "used" in note:
        middle = field.columns(20)  # far from the border
        assert len(middle) == int(re.search(r"(\d+)(?: positions)? used", note)[1])
        assert middle[-1] - middle[0] + 1 == size
    if row["padding"]:
        assert field.padding[1] == int(row["padding"])
        assert field.stride[1] == int(row["stride"])
