"""One training step of LeNet-5 (momentum) beside JAX, and PyTorch where it is installed.

    python benchmarks/lenet_step.py [--batch 64] [--rounds 30]

All take the same weights and images in one process, by turns, so that the machine is the same for
all. It prints, for each, the median over the rounds of (its time / graphc's time): above 1, graphc
is faster. Times themselves are not printed: they are the machine's. JAX runs with as many threads
as it likes; its convolution is taken from the library, and written as a sum over the taps.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as gx
from graphc import models, passes

RATE, MOMENTUM = 0.05, 0.9
Arrays = dict[str, Any]
Step = Callable[[], float]  # runs one step, returns the loss


def ours(variables: Arrays, x: Any, y: Any) -> Step:
    """graphc on NumPy, one thread."""
    graph = models.build("lenet-5").apply(passes.backward(), passes.sgd(RATE, momentum=MOMENTUM))
    program = gx.compile(graph, backend="numpy", sizes={"N": len(y)})
    held = {**program.init(seed=0), **variables}
    return lambda: float(program(held, image=x, label=y)["loss"])


def in_jax(variables: Arrays, x: Any, y: Any, *, library: bool) -> Step:
    """The same step, compiled by XLA."""
    import jax
    import jax.numpy as jnp

    def conv(p: Arrays, layer: str, x: Any, padding: int) -> Any:
        w, b = p[f"{layer}.weight"], p[f"{layer}.bias"][:, None, None]
        sides = (padding, padding)
        if library:
            return jax.lax.conv_general_dilated(x, w, (1, 1), [sides, sides]) + b
        x = jnp.pad(x, ((0, 0), (0, 0), sides, sides))
        height, width = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
        taps = [x[:, :, i : i + height, j : j + width] for i in range(5) for j in range(5)]
        columns = jnp.stack(taps, axis=2).reshape(len(x), -1, height * width)
        return (w.reshape(len(w), -1) @ columns).reshape(len(x), len(w), height, width) + b

    def pool(x: Any) -> Any:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def loss(p: Arrays, x: Any, y: Any) -> Any:
        x = pool(jax.nn.relu(conv(p, "conv1", x, 2)))
        x = pool(jax.nn.relu(conv(p, "conv2", x, 0))).reshape(len(y), -1)
        for layer in ("fc1", "fc2"):
            x = jax.nn.relu(x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"])
        logits = x @ p["fc3.weight"].T + p["fc3.bias"]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

    @jax.jit
    def step(p: Arrays, v: Arrays, x: Any, y: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(p, x, y)
        v = {k: MOMENTUM * v[k] + gradients[k] for k in p}
        return value, {k: p[k] - RATE * v[k] for k in p}, v

    p = {name: jnp.asarray(array) for name, array in variables.items()}
    held = [p, {name: jnp.zeros_like(array) for name, array in p.items()}]

    def run() -> float:
        value, *held[:] = step(*held, x, y)
        jax.block_until_ready(held)  # type: ignore[no-untyped-call]
        return float(value)

    return run


def in_torch(variables: Arrays, x: Any, y: Any) -> Step:
    """The same step in PyTorch, one thread."""
    torch: Any = importlib.import_module("torch")
    f = torch.nn.functional

    torch.set_num_threads(1)
    p = {n: torch.tensor(a, requires_grad=True) for n, a in variables.items()}
    optimizer = torch.optim.SGD(p.values(), lr=RATE, momentum=MOMENTUM)
    image, label = torch.tensor(x), torch.tensor(y)

    def run() -> float:
        h = f.max_pool2d(f.relu(f.conv2d(image, p["conv1.weight"], p["conv1.bias"], padding=2)), 2)
        h = f.max_pool2d(f.relu(f.conv2d(h, p["conv2.weight"], p["conv2.bias"])), 2).flatten(1)
        for layer in ("fc1", "fc2"):
            h = f.relu(f.linear(h, p[f"{layer}.weight"], p[f"{layer}.bias"]))
        loss = f.cross_entropy(f.linear(h, p["fc3.weight"], p["fc3.bias"]), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    return run


def main() -> None:
    """Print the ratios."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--rounds", type=int, default=30)
    given = options.parse_args()
    graph = models.build("lenet-5")
    first = gx.compile(graph).init(seed=0)
    variables = {name: first[name] for name in graph.parameters}
    rng = np.random.default_rng(0)
    x = rng.random((given.batch, 1, 28, 28), dtype=np.float32)
    y = rng.integers(0, 10, given.batch)

    copies = lambda: {name: array.copy() for name, array in variables.items()}  # noqa: E731
    steps = {"graphc": ours(copies(), x, y)}
    if importlib.util.find_spec("jax"):
        steps["jax"] = in_jax(copies(), x, y, library=True)
        steps["jax, by taps"] = in_jax(copies(), x, y, library=False)
    if importlib.util.find_spec("torch"):
        steps["torch"] = in_torch(copies(), x, y)

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(given.rounds + 3):
        losses = {}
        for name, step in steps.items():
            start = time.perf_counter()
            losses[name] = step()
            if turn >= 3:  # the first turns compile and warm up
                seconds[name].append(time.perf_counter() - start)
        if max(losses.values()) - min(losses.values()) > 1e-3:
            raise SystemExit(f"these do not compute the same: {losses}")
    print(f"LeNet-5, batch {given.batch}, float32: time of a step / graphc's")
    for name, spent in seconds.items():
        ratios = [a / b for a, b in zip(spent, seconds["graphc"], strict=True)]
        print(f"  {name:<14}{statistics.median(ratios):6.2f}")


if __name__ == "__main__":
    main()
