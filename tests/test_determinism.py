"""The same graph, built, printed, compiled and drawn in other processes, is the same bytes.

Python's hashes of strings differ from process to process, and so do addresses: nothing that is
printed may follow the order of a set or an id.
"""

from __future__ import annotations

import os
import subprocess
import sys

import graphc as gx
from graphc import models, nn, passes, viz
from tests.house import ROOT
from tests.random_graphs import sample

SEEDS = (1, 4, 9, 16)


def texts() -> dict[str, str]:
    """Everything that is printed of some graphs, by what it is."""
    x = gx.input("x", ("N", 1, 8, 8))
    label = gx.input("label", ("N",), dtype="int64")
    layer = nn.Conv2d(1, 1, 3, padding=1)
    net = nn.Sequential(layer, nn.ReLU(), layer, nn.Flatten(), nn.Linear(64, 4))
    graphs = {
        "shared": gx.Graph({"loss": gx.cross_entropy(net(x), label)}),
        "lenet": models.build("lenet-5"),
        **{f"random {seed}": sample(seed).graph for seed in SEEDS},
    }
    found: dict[str, str] = {}
    for name, graph in graphs.items():
        trained = graph.apply(
            passes.weight_decay(0.01), passes.backward(), passes.sgd("lr", momentum=0.9)
        )
        found[f"{name}: graph"] = str(graph)
        found[f"{name}: training graph"] = str(trained)
        found[f"{name}: summary"] = graph.summary()
        program = gx.compile(trained, backend="numpy")
        found[f"{name}: source"] = program.source
        found[f"{name}: plan"] = str(program.plan)
        found[f"{name}: drawing"] = drawn(graph)
        found[f"{name}: training drawing"] = drawn(trained)
    return found


def drawn(graph: gx.Graph) -> str:
    """The drawing's DOT and model."""
    drawing = viz.draw(graph)
    return f"{drawing.dot}\n{drawing.model}"


SCRIPT = """
import sys
from tests.test_determinism import texts
for name, text in texts().items():
    sys.stdout.write(f"== {name}\\n{text}\\n")
"""


def in_a_process(hash_seed: str) -> list[str]:
    """What another process prints, as lines."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_two_processes_print_the_same_bytes() -> None:
    first, second = in_a_process("1"), in_a_process("271828")
    assert len(first) > 1000
    assert first == second


def test_building_again_gives_equal_graphs() -> None:
    for seed in SEEDS:
        assert sample(seed).graph == sample(seed).graph
        assert sample(seed).graph.text() == sample(seed).graph.text()
