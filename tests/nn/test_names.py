"""Names are PyTorch's state_dict keys: the path from a leaf's topmost owner."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import graphc as gx
from graphc import nn
from graphc.ir import Node


def vector(size: int = 4, name: str = "x") -> Node:
    return gx.input(name, ("N", size))


def names(*outputs: Node) -> list[str]:
    return list(gx.Graph({f"y{i}": node for i, node in enumerate(outputs)}).parameters)


class Block(nn.Module):
    def __init__(self, size: int = 4, **more: Any) -> None:
        super().__init__(**more)
        self.fc = nn.Linear(size, size)
        self.gain = gx.parameter("whatever", (size,), init=1.0, role="scale")

    def forward(self, x: Node) -> Node:
        return gx.relu(self.fc(x)) * self.gain


class Net(nn.Module):
    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))

    def forward(self, x: Node) -> Node:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


NET = [
    "blocks.0.fc.weight", "blocks.0.fc.bias", "blocks.0.gain",
    "blocks.1.fc.weight", "blocks.1.fc.bias", "blocks.1.gain",
    "head.0.weight", "head.0.bias", "head.2.weight",
]  # fmt: skip


def test_the_path_from_the_topmost_owner() -> None:
    assert names(Net()(vector())) == NET
    seq = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert names(seq(vector())) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_name_of_a_root_is_the_prefix_and_of_an_owned_module_is_not() -> None:
    assert names(Net(name="net")(vector())) == [f"net.{name}" for name in NET]
    assert names(nn.Linear(4, 2, name="head")(vector())) == ["head.weight", "head.bias"]
    inner = nn.Sequential(nn.Linear(4, 4, name="ignored"), name="ignored")
    assert names(nn.Sequential(inner, name="outer")(vector())) == [
        "outer.0.0.weight",
        "outer.0.0.bias",
    ]


def test_bare_layers_are_numbered_in_node_order_not_in_order_of_declaration() -> None:
    x = vector()
    late, early = nn.Linear(4, 4), nn.Linear(4, 4)
    y = late(gx.relu(early(x)))
    graph = gx.Graph({"y": y})
    assert list(graph.parameters) == [
        "linear.weight", "linear.bias", "linear_1.weight", "linear_1.bias",
    ]  # fmt: skip
    assert graph.name(early.weight) == "linear.weight"
    assert graph.name(late.weight) == "linear_1.weight"
    image = gx.input("image", ("N", 1, 8, 8))
    assert names(nn.Conv2d(1, 2, 3)(image)) == ["conv2d.weight", "conv2d.bias"]


def test_a_bare_layer_owned_by_a_module_without_a_kind_keeps_its_attribute() -> None:
    assert names(Block()(vector())) == ["fc.weight", "fc.bias", "gain"]


def test_the_first_owner_counts() -> None:
    shared = nn.Linear(4, 4)
    first = nn.Sequential(shared)
    second = nn.Sequential(nn.ReLU(), shared, name="second")
    assert names(second(vector()), first(vector(name="z"))) == ["0.weight", "0.bias"]


def test_tied_weights_take_their_first_path() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(4, 4)
            self.decoder = nn.Linear(4, 4)
            self.decoder.weight = self.encoder.weight

        def forward(self, x: Node) -> Node:
            return self.decoder(self.encoder(x))

    net = Tied()
    graph = gx.Graph({"y": net(vector())})
    assert list(graph.parameters) == ["encoder.weight", "encoder.bias", "decoder.bias"]
    assert len(graph.users(net.encoder.weight)) == 2
    copied = copy.deepcopy(net)
    assert copied.encoder.weight is copied.decoder.weight
    # Also where the decoder, the second owner, is copied first.
    net.__dict__["encoder"] = net.__dict__.pop("encoder")
    again = copy.deepcopy(net)
    assert names(again(vector())) == ["encoder.weight", "encoder.bias", "decoder.bias"]


def test_a_leaf_keeps_the_name_of_the_first_graph_that_holds_it() -> None:
    x = vector()
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    assert names(two(x)) == ["linear.weight", "linear.bias"]
    # Numbering per graph would now call `one` linear, and load its weights into `two`.
    assert names(two(one(x))) == [
        "linear_1.weight", "linear_1.bias", "linear.weight", "linear.bias",
    ]  # fmt: skip
    owner = nn.Sequential(one, two)
    assert names(owner(x))[0] == "linear_1.weight"


def test_a_parameter_used_before_it_is_owned_keeps_its_own_name() -> None:
    w = gx.parameter("w", (4,))
    assert names(vector() * w) == ["w"]

    class Owner(nn.Module):
        def __init__(self) -> None:
            self.scale = w

        def forward(self, x: Node) -> Node:
            return x * self.scale

    assert names(Owner()(vector())) == ["w"]


def test_a_clash_names_both_lines_and_says_name() -> None:
    x = vector()
    a = nn.Sequential(nn.Linear(4, 4))
    b = nn.Sequential(nn.Linear(4, 4))
    y = b(a(x))
    with pytest.raises(gx.GraphError, match=r"name=") as caught:
        gx.Graph({"y": y})
    assert len(set(caught.value.lines)) == 3  # the two layers and gx.Graph
    assert all(line in str(caught.value) for line in caught.value.lines)
    assert "'0.weight'" in str(caught.value)


def test_two_graphs_of_bare_layers_that_meet_clash() -> None:
    x = vector()
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    names(one(x))
    names(two(x))
    with pytest.raises(gx.GraphError, match=r"linear\.weight"):
        names(one(two(x)))


def test_building_twice_gives_equal_graphs() -> None:
    assert gx.Graph({"y": Net()(vector())}) == gx.Graph({"y": Net()(vector())})


def test_a_layer_called_twice_shares_and_on_the_same_value_is_one_node() -> None:
    layer = nn.Linear(4, 4)
    x = vector()
    once, again = layer(x), layer(x)
    assert once is again
    graph = gx.Graph({"y": layer(layer(x)) + once})
    assert list(graph.parameters) == ["linear.weight", "linear.bias"]
    assert [user.op.name for user in graph.users(layer.weight)] == ["linear", "linear"]


def test_two_equal_unnamed_layers_are_two_weights() -> None:
    x = vector()
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    assert a(x) is not b(x)
    assert gx.Graph({"y": a(x) + b(x)}).parameter_count() == 2 * 20


def test_deepcopy_makes_fresh_leaves() -> None:
    net = Net(name="net")
    fresh = copy.deepcopy(net)
    x = vector()
    assert names(net(x)) == names(fresh(x))
    originals = set(net.parameters())
    assert len(originals) == 9
    assert not originals & set(fresh.parameters())
    assert [p.role for p in net.parameters()] == [p.role for p in fresh.parameters()]
    assert [p.op.init for p in net.parameters()] == [p.op.init for p in fresh.parameters()]


def test_deepcopies_in_a_list_are_siblings() -> None:
    block = Block()
    stack = nn.ModuleList([block, copy.deepcopy(block), copy.deepcopy(block)])
    x = vector()
    for item in stack:
        x = item(x)
    assert names(x)[::3] == ["0.fc.weight", "1.fc.weight", "2.fc.weight"]


def test_the_copy_of_a_numbered_layer_is_numbered_anew() -> None:
    layer = nn.Linear(4, 4)
    x = vector()
    names(layer(x))
    fresh = copy.deepcopy(layer)
    assert names(fresh(layer(x)))[::2] == ["linear.weight", "linear_1.weight"]


def test_streams_are_named_by_their_layers_path() -> None:
    x = vector()
    drop = nn.Dropout(retain=0.5)
    net = nn.Sequential(nn.Linear(4, 4), drop)
    graph = gx.Graph({"y": drop(gx.relu(net(x)))})
    assert sorted(graph.stream_names.values()) == ["1", "1_1"]
    bare = nn.Dropout(retain=0.5)
    assert list(gx.Graph({"y": bare(x)}).stream_names.values()) == ["dropout"]


def test_paths_leave_out_modules_that_own_no_leaf_of_the_graph() -> None:
    x = vector()
    activation = nn.ReLU()
    net = nn.Sequential(nn.Linear(4, 4), activation, name="net")
    stray = nn.Sequential(nn.ReLU(), name="stray")
    y = net(x)
    stray(net[0](x))  # the same relu of the same value, from another module
    graph = gx.Graph({"y": y})
    assert graph.paths(y) == ("net.1",)
    assert len(y.lines) == 2


def test_named_parameters_are_relative_and_each_once() -> None:
    net = Net(name="net")
    # A module's own before its children's, as in PyTorch.
    own_first = [NET[2], *NET[:2], NET[5], *NET[3:5], *NET[6:]]
    assert [name for name, _ in net.named_parameters()] == own_first
    assert [name for name, _ in net.head.named_parameters()] == ["0.weight", "0.bias", "2.weight"]
    shared = nn.Linear(4, 4)
    assert [n for n, _ in nn.Sequential(shared, shared).named_parameters()] == [
        "0.weight",
        "0.bias",
    ]


def test_parsed_and_pickled_graphs_keep_the_names() -> None:
    graph = gx.Graph({"y": Net(name="net")(vector())})
    assert gx.parse(str(graph)) == graph
    assert list(pickle.loads(pickle.dumps(graph)).parameters) == list(graph.parameters)


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(gx.GraphError, match="'a b'"):
        nn.Linear(2, 2, name="a b")
    module = nn.Module()
    with pytest.raises(gx.GraphError, match="'ä'"):
        module.ä = nn.Linear(2, 2)
