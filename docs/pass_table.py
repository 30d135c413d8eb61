"""Writes docs/passes_shown.md, every pass before and after: ``python docs/pass_table.py``.

A test compares what stands in the file with what this makes, so the page cannot grow old.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import graphc as gx
from graphc import nn, passes

PAGE = Path(__file__).with_name("passes_shown.md")

HEAD = """# Every pass, before and after

What each pass of `graphc.passes` does to a graph that fits on a few lines, as the printed IR says
it. This page is written by `docs/pass_table.py` and checked by a test. How to write a pass of your
own: [passes.md](passes.md).
"""


def linear() -> gx.Graph:
    """A linear layer and relu."""
    x = gx.input("x", ("N", 3))
    w = gx.parameter("w", (2, 3))
    return gx.Graph({"loss": gx.mean(gx.relu(gx.linear(x, w)))})


def shared() -> gx.Graph:
    """One weight in two layers."""
    x, w = gx.input("x", ("N", 3)), gx.parameter("w", (3, 3))
    return gx.Graph({"loss": gx.sum(gx.linear(gx.linear(x, w), w))})


def convolution() -> gx.Graph:
    """A convolution along one line: two windows of two taps."""
    x, w = gx.input("x", (1, 1, 1, 3)), gx.parameter("w", (1, 1, 1, 2))
    return gx.Graph({"loss": gx.sum(gx.square(gx.conv2d(x, w)))})


def normalized() -> gx.Graph:
    """Convolution, batch norm, relu, dropout."""
    image = gx.input("image", ("N", 1, 4, 4))
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU())
    return gx.Graph({"y": nn.Dropout(retain=0.5)(net(image))})


def constants() -> gx.Graph:
    """What can be computed before anything runs."""
    x = gx.input("x", ("N", 3))
    return gx.Graph({"y": gx.exp(gx.constant(0.0)) * x + 0.0 * 2.0, "z": gx.neg(gx.neg(x))})


def chain() -> gx.Graph:
    """Four layers of tanh."""
    h = gx.input("x", ("N", 3))
    for number in range(4):
        h = gx.tanh(gx.linear(h, gx.parameter(f"w{number}", (3, 3))))
    return gx.Graph({"loss": gx.mean(h)})


# What each pass is shown on: a graph, passes that come first, the pass.
Shown = tuple[Callable[[], gx.Graph], list[passes.Pass], passes.Pass]
EXAMPLES: list[Shown] = [
    (linear, [], passes.insert_dropout(retain=0.5, after="relu")),
    (linear, [], passes.weight_decay(5e-4)),
    (linear, [], passes.backward()),
    (shared, [], passes.backward()),
    (shared, [], passes.unshare()),
    (shared, [passes.unshare(), passes.backward()], passes.share()),
    (convolution, [], passes.unshare(unroll=60)),
    (linear, [passes.backward()], passes.clip_gradients(1.0)),
    (linear, [passes.backward()], passes.sgd(lr="lr", momentum=0.9)),
    (linear, [passes.backward()], passes.adam(lr=1e-3)),
    (linear, [passes.backward()], passes.adamw(lr=1e-3, weight_decay=0.01)),
    (linear, [passes.backward()], passes.rmsprop(lr=1e-2)),
    (normalized, [], passes.inference()),
    (normalized, [passes.inference()], passes.fold_batch_norm()),
    (constants, [], passes.simplify()),
    (chain, [passes.backward()], passes.checkpoint(2)),
    (linear, [], passes.shard(2)),
    (linear, [passes.shard(2), passes.backward()], passes.accumulate()),
    (linear, [passes.backward()], passes.mixed_precision("float16")),
]


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for build, first, shown in EXAMPLES:
        before = build().apply(*first)
        after = before.apply(shown)
        came = f", behind `{', '.join(map(repr, first))}`" if first else ""
        parts += [
            f"## `{shown!r}`\n\nThe law: {shown.law.replace('`', '')}\n",
            f"Before{came}:\n\n```\n{before.text()}\n```\n",
            f"After:\n\n```\n{after.text()}\n```\n",
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
