"""The zoo's small networks once more, in JAX alone: what the graphs are compared with.

Each takes the parameters by name and an image, and gives the logits. Batch norm goes by the
statistics of the batch, or by the running ones where they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Params = Mapping[str, Any]
Net = Callable[[Params, Any], Any]
SAME = "SAME"


def conv(
    p: Params, layer: str, x: Any, stride: int = 1, padding: str | int | tuple[int, int] = SAME
) -> Any:
    pads = padding if isinstance(padding, str) else [(side, side) for side in both(padding)]
    y = lax.conv_general_dilated(x, p[f"{layer}.weight"], (stride, stride), pads)
    bias = p.get(f"{layer}.bias")
    return y if bias is None else y + bias[:, None, None]


def both(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def linear(p: Params, layer: str, x: Any) -> Any:
    return x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]


def batch_norm(p: Params, layer: str, x: Any, eps: float = 1e-5) -> Any:
    if f"{layer}.running_mean" in p:
        mean = p[f"{layer}.running_mean"][:, None, None]
        variance = p[f"{layer}.running_var"][:, None, None]
    else:
        mean = jnp.mean(x, (0, 2, 3), keepdims=True)
        variance = jnp.mean((x - mean) ** 2, (0, 2, 3), keepdims=True)
    scale = p.get(f"{layer}.weight", jnp.ones(x.shape[1], x.dtype))
    y = (x - mean) / jnp.sqrt(variance + eps)
    return y * scale[:, None, None] + p[f"{layer}.bias"][:, None, None]


def layer_norm(p: Params, layer: str, x: Any) -> Any:
    y = jax.nn.standardize(x, epsilon=1e-5)
    return y * p[f"{layer}.weight"] + p[f"{layer}.bias"]


def max_pool(x: Any, kernel: int, stride: int, padding: str | int = SAME) -> Any:
    pads: Any = padding if isinstance(padding, str) else [(0, 0)] * 2 + [(padding, padding)] * 2
    window, steps = (1, 1, kernel, kernel), (1, 1, stride, stride)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, steps, pads)


def response_norm(x: Any) -> Any:
    """Nine channels around, those outside as zeros; alpha 0.001 over the nine."""
    window = (1, 9, 1, 1)
    squares = lax.reduce_window(x**2, 0.0, lax.add, window, (1, 1, 1, 1), SAME)
    return x * (1 + 0.001 / 9 * squares) ** -0.75


def small_alexnet(p: Params, x: Any) -> Any:
    for layer in ("0", "4"):
        x = response_norm(max_pool(jax.nn.relu(conv(p, layer, x)), 3, 2))
    x = x.reshape(x.shape[0], -1)
    x = jax.nn.relu(linear(p, "9", x))
    x = jax.nn.relu(linear(p, "11", x))
    return linear(p, "13", x)


def small_inception(p: Params, x: Any) -> Any:
    def unit(layer: str, x: Any, stride: int = 1) -> Any:
        y = conv(p, f"{layer}.conv", x, stride)
        return jax.nn.relu(batch_norm(p, f"{layer}.norm", y) if f"{layer}.norm.bias" in p else y)

    x = unit("0", x)
    for i in range(1, 11):
        if i in (3, 8):
            x = jnp.concatenate([unit(f"{i}.conv", x, 2), max_pool(x, 3, 2)], 1)
        else:
            x = jnp.concatenate([unit(f"{i}.ones", x), unit(f"{i}.threes", x)], 1)
    return linear(p, "12", x.mean((2, 3)))


def cifar(depth: int, skip: bool) -> Net:
    def net(p: Params, x: Any) -> Any:
        x = jax.nn.relu(batch_norm(p, "bn1", conv(p, "conv1", x)))
        for stage in (1, 2, 3):
            for i in range((depth - 2) // 6):
                layer = f"layer{stage}.{i}"
                stride = 2 if stage > 1 and i == 0 else 1
                y = conv(p, f"{layer}.conv1", x, stride, 1)
                y = jax.nn.relu(batch_norm(p, f"{layer}.bn1", y))
                y = batch_norm(p, f"{layer}.bn2", conv(p, f"{layer}.conv2", y))
                if skip and stride == 2:
                    x = jnp.concatenate([x[:, :, ::2, ::2], 0 * x[:, :, ::2, ::2]], 1)
                x = jax.nn.relu(y + x if skip else y)
        return linear(p, "fc", x.mean((2, 3)))

    return net


def resnet(depths: tuple[int, ...], convolutions: int, *, skip: bool = True) -> Net:
    """torchvision's ResNet with blocks of two or three convolutions, with skips or without."""

    def net(p: Params, x: Any) -> Any:
        x = jax.nn.relu(batch_norm(p, "bn1", conv(p, "conv1", x, 2, 3)))
        x = max_pool(x, 3, 2, 1)
        for stage, count in enumerate(depths):
            for i in range(count):
                layer = f"layer{stage + 1}.{i}"
                stride = 2 if stage > 0 and i == 0 else 1
                y, strided = x, 1 if convolutions == 2 else 2
                for c in range(1, convolutions + 1):
                    step = stride if c == strided else 1
                    y = conv(
                        p, f"{layer}.conv{c}", y, step, p[f"{layer}.conv{c}.weight"].shape[2] // 2
                    )
                    y = batch_norm(p, f"{layer}.bn{c}", y)
                    y = y if c == convolutions else jax.nn.relu(y)
                if f"{layer}.downsample.0.weight" in p:
                    x = conv(p, f"{layer}.downsample.0", x, stride, 0)
                    x = batch_norm(p, f"{layer}.downsample.1", x)
                x = jax.nn.relu(x + y if skip else y)
        return linear(p, "fc", x.mean((2, 3)))

    return net


def resnet_v2(depths: tuple[int, ...]) -> Net:
    def net(p: Params, x: Any) -> Any:
        def normal(layer: str, x: Any) -> Any:
            return jax.nn.relu(batch_norm(p, layer, x))

        x = max_pool(normal("bn1", conv(p, "conv1", x, 2, 3)), 3, 2, 1)
        for stage, count in enumerate(depths):
            for i in range(count):
                layer = f"layer{stage + 1}.{i}"
                stride = 2 if stage > 0 and i == 0 else 1
                y = x if (stage, i) == (0, 0) else normal(f"{layer}.bn1", x)
                if i == 0:
                    x = conv(p, f"{layer}.downsample", y, stride, 0)
                y = conv(p, f"{layer}.conv1", y, 1, 0)
                y = conv(p, f"{layer}.conv2", normal(f"{layer}.bn2", y), stride, 1)
                x = x + conv(p, f"{layer}.conv3", normal(f"{layer}.bn3", y), 1, 0)
        return linear(p, "fc", normal("bn2", x).mean((2, 3)))

    return net


def unet(p: Params, x: Any) -> Any:
    def pair(layer: str, x: Any) -> Any:
        for first in (0, 3):
            y = conv(p, f"{layer}.layers.{first}", x)
            x = jax.nn.relu(batch_norm(p, f"{layer}.layers.{first + 1}", y))
        return x

    def twice(x: Any) -> Any:
        return jnp.repeat(jnp.repeat(x, 2, 2), 2, 3)

    large = pair("down1", x)
    middle = pair("down2", max_pool(large, 2, 2))
    small = pair("bottom", max_pool(middle, 2, 2))
    y = pair("up2", jnp.concatenate([middle, twice(small)], 1))
    return conv(p, "head", pair("up1", jnp.concatenate([large, twice(y)], 1)))


def transformer(p: Params, x: Any) -> Any:
    n, c, h, w = x.shape
    patches = x.reshape(n, c, h // 4, 4, w // 4, 4).transpose(0, 2, 4, 1, 3, 5)
    tokens = patches.reshape(n, -1, 16 * c) @ p["patches.weight"].reshape(64, -1).T
    x = tokens + p["patches.bias"] + p["place"]
    y = layer_norm(p, "block.norm1", x)
    joined = y @ p["block.self_attn.in_proj_weight"].T + p["block.self_attn.in_proj_bias"]
    heads = []
    for head in range(4):
        here = [slice(64 * part + 16 * head, 64 * part + 16 * head + 16) for part in range(3)]
        q, k, v = (joined[:, :, which] for which in here)
        heads.append(jax.nn.softmax(q @ k.transpose(0, 2, 1) / 4) @ v)
    x = x + linear(p, "block.self_attn.out_proj", jnp.concatenate(heads, 2))
    y = jax.nn.relu(linear(p, "block.linear1", layer_norm(p, "block.norm2", x)))
    x = x + linear(p, "block.linear2", y)
    return linear(p, "head", layer_norm(p, "norm", x).mean(1))


class InceptionV3:
    """Blocks by the figures of Szegedy et al. 2016, sizes by torchvision's."""

    def __init__(self, p: Params) -> None:
        self.p = p

    def unit(self, layer: str, x: Any, stride: int = 1, padding: int | tuple[int, int] = 0) -> Any:
        y = conv(self.p, f"{layer}.conv", x, stride, padding)
        return jax.nn.relu(batch_norm(self.p, f"{layer}.bn", y, 0.001))

    def branch(self, layer: str, x: Any, *steps: tuple[int, Any]) -> Any:
        """Units ``layer`` + 1, 2, … with these (stride, padding)."""
        for i, (stride, padding) in enumerate(steps, 1):
            x = self.unit(f"{layer}_{i}", x, stride, padding)
        return x

    def pooled(self, layer: str, x: Any) -> Any:
        ones = [(0, 0), (0, 0), (1, 1), (1, 1)]
        sums = lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 3), (1, 1, 1, 1), ones)
        return self.unit(f"{layer}.branch_pool", sums / 9)

    def block(self, name: str, kind: str, x: Any) -> Any:
        one, same, half = (1, 0), (1, 1), (2, 0)
        across, down = (1, (0, 3)), (1, (3, 0))
        parts: list[Any] = []
        if kind in "ACE":
            parts.append(self.unit(f"{name}.branch1x1", x))
        if kind == "A":
            parts.append(self.branch(f"{name}.branch5x5", x, one, (1, 2)))
            parts.append(self.branch(f"{name}.branch3x3dbl", x, one, same, same))
        if kind == "B":
            parts.append(self.unit(f"{name}.branch3x3", x, 2))
            parts.append(self.branch(f"{name}.branch3x3dbl", x, one, same, half))
        if kind == "C":
            parts.append(self.branch(f"{name}.branch7x7", x, one, across, down))
            dbl = self.branch(f"{name}.branch7x7dbl", x, one, down, across, down, across)
            parts.append(dbl)
        if kind == "D":
            parts.append(self.branch(f"{name}.branch3x3", x, one, half))
            parts.append(self.branch(f"{name}.branch7x7x3", x, one, across, down, half))
        if kind == "E":
            for layer, last, steps in (("3x3", 2, [one]), ("3x3dbl", 3, [one, same])):
                y = self.branch(f"{name}.branch{layer}", x, *steps)
                parts.append(self.unit(f"{name}.branch{layer}_{last}a", y, 1, (0, 1)))
                parts.append(self.unit(f"{name}.branch{layer}_{last}b", y, 1, (1, 0)))
        parts.append(max_pool(x, 3, 2, 0) if kind in "BD" else self.pooled(name, x))
        return jnp.concatenate(parts, 1)

    def logits(self, x: Any) -> Any:
        x = self.unit("Conv2d_1a_3x3", x, 2)
        x = self.unit("Conv2d_2b_3x3", self.unit("Conv2d_2a_3x3", x), 1, 1)
        x = self.unit("Conv2d_3b_1x1", max_pool(x, 3, 2, 0))
        x = max_pool(self.unit("Conv2d_4a_3x3", x), 3, 2, 0)
        for name, kind in zip(
            ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"), "AAABCCCCDEE",
            strict=True,
        ):  # fmt: skip
            x = self.block(f"Mixed_{name}", kind, x)
        return linear(self.p, "fc", x.mean((2, 3)))

    def auxiliary(self, x: Any) -> Any:
        sums = lax.reduce_window(x, 0.0, lax.add, (1, 1, 5, 5), (1, 1, 3, 3), "VALID")
        x = self.unit("conv1", self.unit("conv0", sums / 25))
        return linear(self.p, "fc", x.mean((2, 3)))
