"""The networks of google-research/receptive_field's table, in TF-Slim's form: where strides stand,
which padding is "same" and which is none. One channel is enough: geometry is all that counts.

Each builder takes the image and returns its endpoints by TF-Slim's names, the input's path left
out (``block1`` for ``resnet_v1_50/block1``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import graphc as gx
from graphc.ir import Node

Ends = dict[str, Node]


class Slim:
    """Layers of one channel, with weights of their own."""

    def __init__(self) -> None:
        self.numbers = count()

    def conv(
        self, x: Node, kernel: Any, stride: Any = 1, padding: Any = "same", separable: bool = False
    ) -> Node:
        rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        channels = x.shape[1]
        groups = channels if separable else 1
        shape = (groups if separable else 1, channels // groups, rows, columns)
        w = gx.parameter(f"w{next(self.numbers)}", shape)
        return gx.relu(gx.conv2d(x, w, stride=stride, padding=padding, groups=groups))

    def chain(self, x: Node, *kernels: Any, last: tuple[Any, ...] = ()) -> Node:
        """Convolutions of stride 1 and "same" padding; ``last``: stride and padding of the last."""
        for kernel in kernels[:-1]:
            x = self.conv(x, kernel)
        return self.conv(x, kernels[-1], *last)

    def split(self, x: Node, *kernels: Any) -> Node:
        return gx.concat([self.conv(x, kernel) for kernel in kernels], 1)

    def pooled(self, x: Node, pool: Callable[..., Node] = gx.avg_pool2d) -> Node:
        return self.conv(pool(x, 3, 1, "same"), 1)

    def mixed(self, x: Node, *branches: tuple[Any, ...]) -> Node:
        """Branches of plain convolutions, and one of average pooling."""
        ways = [self.chain(x, *branch) for branch in branches]
        return gx.concat([*ways, self.pooled(x)], 1)

    def reduced(self, x: Node, padding: Any, *branches: tuple[Any, ...]) -> Node:
        """Branches whose last convolution has stride 2, and one of max pooling."""
        ways = [self.chain(x, *branch, last=(2, padding)) for branch in branches]
        return gx.concat([*ways, gx.max_pool2d(x, 3, 2, padding)], 1)


def alexnet_v2(x: Node) -> Ends:
    slim, ends = Slim(), {}
    ends["conv1"] = x = slim.conv(x, 11, 4, "valid")
    ends["pool1"] = x = gx.max_pool2d(x, 3, 2)
    ends["conv2"] = x = slim.conv(x, 5)
    ends["pool2"] = x = gx.max_pool2d(x, 3, 2)
    for name in ("conv3", "conv4", "conv5"):
        ends[name] = x = slim.conv(x, 3)
    ends["pool5"] = gx.max_pool2d(x, 3, 2)
    return ends


def vgg(x: Node, depths: tuple[int, ...]) -> Ends:
    slim, ends = Slim(), {}
    for block, depth in enumerate(depths, 1):
        for layer in range(1, depth + 1):
            ends[f"conv{block}/conv{block}_{layer}"] = x = slim.conv(x, 3)
        ends[f"pool{block}"] = x = gx.max_pool2d(x, 2)
    return ends


def mobilenet_v1(x: Node) -> Ends:
    slim, ends = Slim(), {}
    ends["Conv2d_0"] = x = slim.conv(x, 3, 2)
    for number, stride in enumerate((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1), 1):
        ends[f"Conv2d_{number}_depthwise"] = x = slim.conv(x, 3, stride, separable=True)
        ends[f"Conv2d_{number}_pointwise"] = x = slim.conv(x, 1)
    return ends


def inception_v2(x: Node, separable: bool = True) -> Ends:
    slim, ends = Slim(), {}
    x = slim.conv(x, 7, 2, separable=separable)
    ends["Conv2d_1a_7x7"] = x = slim.conv(x, 1) if separable else x
    ends["MaxPool_2a_3x3"] = x = gx.max_pool2d(x, 3, 2, "same")
    ends["Conv2d_2b_1x1"] = x = slim.conv(x, 1)
    ends["Conv2d_2c_3x3"] = x = slim.conv(x, 3)
    ends["MaxPool_3a_3x3"] = x = gx.max_pool2d(x, 3, 2, "same")
    for name in ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b", "5c"):
        if name in ("4a", "5a"):
            x = slim.reduced(x, "same", (1, 3), (1, 3, 3))
        else:
            x = slim.mixed(x, (1,), (1, 3), (1, 3, 3))
        ends[f"Mixed_{name}"] = x
    return ends


def _valid_stem(slim: Slim, ends: Ends, x: Node, padding: str = "valid") -> Node:
    ends["Conv2d_1a_3x3"] = x = slim.conv(x, 3, 2, padding)
    ends["Conv2d_2a_3x3"] = x = slim.conv(x, 3, 1, padding)
    ends["Conv2d_2b_3x3"] = x = slim.conv(x, 3)
    return x


def _second_stem(slim: Slim, ends: Ends, x: Node, padding: str = "valid") -> Node:
    ends["MaxPool_3a_3x3"] = x = gx.max_pool2d(x, 3, 2, padding)
    ends["Conv2d_3b_1x1"] = x = slim.conv(x, 1, 1, padding)
    ends["Conv2d_4a_3x3"] = x = slim.conv(x, 3, 1, padding)
    ends["MaxPool_5a_3x3"] = x = gx.max_pool2d(x, 3, 2, padding)
    return x


ACROSS, DOWN = (1, 7), (7, 1)


def inception_v3(x: Node) -> Ends:
    slim, ends = Slim(), {}
    x = _second_stem(slim, ends, _valid_stem(slim, ends, x))
    for name in ("5b", "5c", "5d"):
        ends[f"Mixed_{name}"] = x = slim.mixed(x, (1,), (1, 5), (1, 3, 3))
    ends["Mixed_6a"] = x = slim.reduced(x, "valid", (3,), (1, 3, 3))
    for name in ("6b", "6c", "6d", "6e"):
        x = slim.mixed(x, (1,), (1, ACROSS, DOWN), (1, DOWN, ACROSS, DOWN, ACROSS))
        ends[f"Mixed_{name}"] = x
    ends["Mixed_7a"] = x = slim.reduced(x, "valid", (1, 3), (1, ACROSS, DOWN, 3))
    for name in ("7b", "7c"):
        one = slim.split(slim.conv(x, 1), (1, 3), (3, 1))
        two = slim.split(slim.chain(x, 1, 3), (1, 3), (3, 1))
        x = gx.concat([slim.conv(x, 1), one, two, slim.pooled(x)], 1)
        ends[f"Mixed_{name}"] = x
    return ends


def inception_v4(x: Node) -> Ends:
    slim, ends = Slim(), {}
    x = _valid_stem(slim, ends, x)
    ends["Mixed_3a"] = x = slim.reduced(x, "valid", (3,))
    one = slim.chain(x, 1, 3, last=(1, "valid"))
    two = slim.chain(x, 1, ACROSS, DOWN, 3, last=(1, "valid"))
    ends["Mixed_4a"] = x = gx.concat([one, two], 1)
    ends["Mixed_5a"] = x = slim.reduced(x, "valid", (3,))
    for name in "bcde":
        ends[f"Mixed_5{name}"] = x = slim.mixed(x, (1,), (1, 3), (1, 3, 3))
    ends["Mixed_6a"] = x = slim.reduced(x, "valid", (3,), (1, 3, 3))
    for name in "bcdefgh":
        x = slim.mixed(x, (1,), (1, ACROSS, DOWN), (1, DOWN, ACROSS, DOWN, ACROSS))
        ends[f"Mixed_6{name}"] = x
    ends["Mixed_7a"] = x = slim.reduced(x, "valid", (1, 3), (1, ACROSS, DOWN, 3))
    for name in "bcd":
        one = slim.split(slim.conv(x, 1), (1, 3), (3, 1))
        two = slim.split(slim.chain(x, 1, (3, 1), (1, 3)), (1, 3), (3, 1))
        x = gx.concat([slim.conv(x, 1), one, two, slim.pooled(x)], 1)
        ends[f"Mixed_7{name}"] = x
    return ends


def inception_resnet_v2(x: Node, padding: str = "valid") -> Ends:
    """``padding="same"`` is TF-Slim's ``align_feature_maps``."""
    slim, ends = Slim(), {}
    x = _second_stem(slim, ends, _valid_stem(slim, ends, x, padding), padding)

    def residual(x: Node, *branches: tuple[Any, ...]) -> Node:
        mixed = gx.concat([slim.chain(x, *branch) for branch in branches], 1)
        return gx.relu(x + slim.conv(mixed, 1))

    ends["Mixed_5b"] = x = slim.mixed(x, (1,), (1, 5), (1, 3, 3))
    for _ in range(10):
        x = residual(x, (1,), (1, 3), (1, 3, 3))
    ends["Mixed_6a"] = x = slim.reduced(x, padding, (3,), (1, 3, 3))
    for _ in range(20):
        x = residual(x, (1,), (1, ACROSS, DOWN))
    ends["PreAuxLogits"] = x
    ends["Mixed_7a"] = x = slim.reduced(x, padding, (1, 3), (1, 3), (1, 3, 3))
    for _ in range(10):
        x = residual(x, (1,), (1, (1, 3), (3, 1)))
    ends["Conv2d_7b_1x1"] = slim.conv(x, 1)
    return ends


def resnet(x: Node, units: tuple[int, ...], second: bool = False) -> Ends:
    """Strides stand in the last unit of a block; strided convolutions pad by hand.

    ``second``: version 2, activation before convolution.
    """
    slim, ends = Slim(), {}

    def same(x: Node, kernel: int, stride: int) -> Node:
        if stride == 1:
            return slim.conv(x, kernel)
        before = (kernel - 1) // 2
        sides = (before, kernel - 1 - before)
        return slim.conv(gx.pad(x, ((0, 0), (0, 0), sides, sides)), kernel, stride, "valid")

    x = gx.max_pool2d(same(x, 7, 2), 3, 2, "same")
    for block, (depth, stride) in enumerate(zip(units, (2, 2, 2, 1), strict=True), 1):
        for unit in range(depth):
            step = stride if unit == depth - 1 else 1
            entry = gx.relu(x) if second else x
            if unit == 0:
                skip = slim.conv(entry, 1, step)
            else:
                skip = gx.max_pool2d(x, 1, step) if step > 1 else x
            x = skip + slim.conv(same(slim.conv(entry, 1), 3, step), 1)
            x = x if second else gx.relu(x)
        ends[f"block{block}"] = x
    return ends


def _resnets() -> dict[str, Callable[[Node], Ends]]:
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}
    return {
        f"resnet_v{version}_{depth}": partial(resnet, units=units, second=version == 2)
        for depth, units in depths.items()
        for version in (1, 2)
    }


NETS: dict[str, Callable[[Node], Ends]] = {
    "alexnet_v2": alexnet_v2,
    "vgg_a": partial(vgg, depths=(1, 1, 2, 2, 2)),
    "vgg_16": partial(vgg, depths=(2, 2, 3, 3, 3)),
    "inception_v2": inception_v2,
    "inception_v2-no-separable-conv": partial(inception_v2, separable=False),
    "inception_v3": inception_v3,
    "inception_v4": inception_v4,
    "inception_resnet_v2": inception_resnet_v2,
    "inception_resnet_v2-same": partial(inception_resnet_v2, padding="same"),
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_075": mobilenet_v1,
    **_resnets(),
}

# The units of receptive_field_computation_test.py: the image to the output.


def unit_network(x: Node, number: int) -> Node:
    """``test_network_<number>`` of google-research/receptive_field."""
    slim = Slim()
    above = ((1, 0), (1, 0))

    def below(x: Node) -> Node:
        return slim.conv(gx.pad(x, ((0, 0), (0, 0), *above)), 3, 2, "valid")

    match number:
        case 1:
            return slim.conv(x, 1, 4, "valid") + slim.conv(below(x), 1, 2, "valid")
        case 2:
            right = gx.max_pool2d(gx.pad(x, ((0, 0), (0, 0), *above)), 3, 2)
            return gx.max_pool2d(x, 1, 4) + gx.max_pool2d(right, 1, 2)
        case 3:
            left = slim.conv(gx.pad(x, ((0, 0), (0, 0), (2, 1), (2, 1))), 5, 2, "valid")
            return left + slim.conv(slim.conv(x, 3, 1, "valid"), 3, 1, "valid")
        case 4:
            return slim.conv(x, 1, 4, "valid") + slim.conv(slim.conv(x, 3, 2), 1, 2, "valid")
        case 5:
            return slim.conv(slim.conv(x, (3, 5), 2, "valid"), (3, 1), 2, "valid")
        case 6:
            right = slim.conv(below(x), 1, 2, "valid")
            return slim.conv(x, 1, 4, "valid") + gx.dropout(right, retain=0.5)
        case 8:
            x = gx.relu(unit_network(x, 1))
            return slim.conv(x, 1, 2, "valid") + below(x)
        case 9:
            x = gx.relu(slim.conv(x, 1, 4) + slim.conv(slim.conv(x, 3, 2), 1, 2))
            return slim.conv(x, 1, 2) + slim.conv(x, 3, 2)
        case _:
            raise ValueError(f"there is no unit network {number} here")


# The rows computed by hand.


def resnet_18_torch_style(x: Node) -> Ends:
    slim = Slim()
    x = gx.max_pool2d(slim.conv(x, 7, 2, 3), 3, 2, 1)
    for stage in range(4):
        for unit in range(2):
            step = 2 if stage and not unit else 1
            skip = slim.conv(x, 1, step) if step > 1 else x
            x = gx.relu(skip + slim.conv(slim.conv(x, 3, step, 1), 3, 1, 1))
    return {"last_conv": x}


def resnet_50_v1_5(x: Node) -> Ends:
    slim = Slim()
    x = gx.max_pool2d(slim.conv(x, 7, 2, 3), 3, 2, 1)
    for stage, units in enumerate((3, 4, 6, 3)):
        for unit in range(units):
            step = 2 if stage and not unit else 1
            skip = slim.conv(x, 1, step) if not unit else x
            x = gx.relu(skip + slim.conv(slim.conv(slim.conv(x, 1), 3, step, 1), 1))
    return {"last_conv": x}


def lenet_5(x: Node) -> Ends:
    slim = Slim()
    for _ in range(2):
        x = gx.avg_pool2d(slim.conv(x, 5, 1, "valid"), 2)
    return {"c5": slim.conv(x, 5, 1, "valid")}


def alexnet_caffe_pool5(x: Node) -> Ends:
    slim = Slim()
    x = gx.max_pool2d(slim.conv(x, 11, 4, "valid"), 3, 2)
    x = gx.max_pool2d(slim.conv(x, 5, 1, 2), 3, 2)
    for _ in range(3):
        x = slim.conv(x, 3, 1, 1)
    return {"pool5": gx.max_pool2d(x, 3, 2)}


COMPUTED: dict[str, tuple[Callable[[Node], Ends], int]] = {
    "resnet_18_torch_style": (resnet_18_torch_style, 224),
    "resnet_50_v1.5": (resnet_50_v1_5, 224),
    "lenet_5": (lenet_5, 32),
    "alexnet_caffe_pool5": (alexnet_caffe_pool5, 227),
}
