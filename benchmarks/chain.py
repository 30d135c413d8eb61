"""A chain of relu nodes: build, differentiate, print, parse and compile in linear time.

    python benchmarks/chain.py [--nodes 100000]

prints the processor seconds of each step at a tenth of the nodes and at all of them, and the factor
between: 10 is linear, and the project promises less than 15.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import graphc as gx
from graphc import passes


def measure(count: int) -> dict[str, float]:
    """Processor seconds of each step for a chain of ``count`` nodes."""
    seconds: dict[str, float] = {}

    def timed(step: str, work: Callable[[], Any]) -> Any:
        gc.collect()
        start = time.process_time()
        result = work()
        seconds[step] = time.process_time() - start
        return result

    def chain() -> gx.Graph:
        node = gx.input("x", ("N",))
        for _ in range(count):
            # An interned relu(relu(x)) is still a new node: its input is another one.
            node = gx.relu(node)
        return gx.Graph({"loss": gx.sum(node)})

    graph = timed("build", chain)
    trained = timed("backward", lambda: graph.apply(passes.backward(wrt="x")))
    text = timed("print", lambda: str(trained))
    parsed = timed("parse", lambda: gx.parse(text))
    timed("compile", lambda: gx.compile(trained, backend="numpy"))
    if parsed != trained:
        raise SystemExit("the parsed graph is not the printed one")
    return seconds


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--nodes", type=int, default=100_000)
    count = options.parse_args().nodes
    small, large = measure(count // 10), measure(count)
    print(f"{'step':<10}{count // 10:>12,}{count:>12,}{'factor':>9}")
    for step, seconds in large.items():
        print(f"{step:<10}{small[step]:>11.2f}s{seconds:>11.2f}s{seconds / small[step]:>9.1f}")


if __name__ == "__main__":
    main()
