"""What a warm step does, counted by the emulated driver: launches, bytes, copies, allocations."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import graphc as gx
from graphc import models
from graphc.backends import emulated
from graphc.backends.cuda.segments import Product
from graphc.compiler.plan import View, region
from tests.backends.cupy.nets import batch, lenet, trained

NETS = {
    "lenet-5": (lenet, 4),
    "small-alexnet": (lambda: trained(models.build("small-alexnet")), 1),
}


@dataclass
class Measured:
    """A warm step: its program, what was counted, and for each kernel (tiled?, ideal bytes)."""

    program: Any
    counts: emulated.Counts
    kernels: dict[str, tuple[bool, int]]
    op_by_op: int


def kernels(program: Any, n: int) -> Iterator[tuple[str, bool, int]]:
    """(kernel, whether it is a tiled product, bytes of its operands and results) of each launch."""
    printed, plan = program._text(), program.plan
    rows = printed.source.splitlines()
    for line, number in printed.lines.items():
        name = re.match(r"\s+(k\d+)\(", rows[line - 1])
        if name is None:
            continue
        (call,) = plan.instructions[number].calls
        launch = dict(call.options)["launch"]
        ideal = 0
        for view in (*call.args, *call.outs):
            assert isinstance(view, View)
            buffer = plan.buffers[view.buffer]
            ideal += region(view, buffer, (), {"N": n}, {}).size * buffer.dtype.itemsize
        yield name[1], any(isinstance(s.step, Product) for s in launch.segments), ideal


@pytest.fixture(scope="module", params=NETS)
def measured(request: pytest.FixtureRequest) -> Measured:
    make, n = NETS[request.param]
    graph = make()
    program = gx.compile(graph, backend="emulated", sizes={"N": n})
    variables, given = program.init(seed=0), batch(graph, n)
    for _ in range(2):
        program(variables, given)
    with emulated.counting(traffic=True) as counts:
        out = program(variables, given)
        float(out["loss"])
    found: dict[str, tuple[bool, int]] = {}
    for name, tiled, ideal in kernels(program, n):
        found[name] = tiled, found.get(name, (tiled, 0))[1] + ideal
    alone = gx.compile(graph, backend="emulated", fused=False)
    return Measured(program, counts, found, alone.plan.launches)


def test_nothing_is_allocated_and_nobody_waits(measured: Measured) -> None:
    counts = measured.counts
    assert counts.allocations == counts.pinned_allocations == 0
    assert counts.device_to_host == 1  # the loss
    assert counts.synchronisations <= 1  # for the loss
    assert counts.compilations == counts.module_loads == 0
    assert counts.float_atomics == counts.write_conflicts == 0


def test_few_launches(measured: Measured) -> None:
    counts = measured.counts
    assert counts.launches + counts.graph_kernels + counts.gemms <= 0.4 * measured.op_by_op
    assert counts.graph_launches <= 2  # before the updates, and the updates


def test_bytes_moved(measured: Measured) -> None:
    # Each operand and each result of a launch once: what its caches cannot spare it.
    ideal = sum(size for _, size in measured.kernels.values())
    moved = 32 * sum(measured.counts.kernels[name].distinct_sectors for name in measured.kernels)
    assert 0.5 * ideal < moved <= 1.25 * ideal


def test_sectors(measured: Measured) -> None:
    asked, fetched = {True: 0, False: 0}, {True: 0, False: 0}
    printed = measured.program._text().cuda
    for name, (tiled, _) in measured.kernels.items():
        kernel = measured.counts.kernels[name]
        text = printed.partition(f" {name}(")[2].partition('extern "C"')[0]
        if not tiled and "for (int r = " in text:
            continue  # a reduction: neither elementwise nor tiled
        asked[tiled] += kernel.bytes_read + kernel.bytes_written
        fetched[tiled] += 32 * kernel.sectors
    assert fetched[False] <= 1.1 * asked[False]
    assert fetched[True] <= 1.5 * asked[True]


def test_the_arena_is_near_what_lives_at_once() -> None:
    from graphc.compiler.memory import lifetimes

    graph = trained(models.build("resnet-34"))
    plan = gx.compile(graph, backend="emulated", sizes={"N": 16}).plan
    first, last = lifetimes(plan.schedule)
    change: dict[int, int] = {}
    for number, begun in first.items():
        if plan.places[number].space == "arena":
            size = plan.buffers[number].bytes(plan.capacity)
            change[begun] = change.get(begun, 0) + size
            change[last[number] + 1] = change.get(last[number] + 1, 0) - size
    live = bound = 0
    for position in sorted(change):
        live += change[position]
        bound = max(bound, live)
    assert plan.peak_bytes <= 1.10 * bound
    assert bound > math.prod((16, 64, 112, 112)) * 4


PROCESS = """
import sys
import graphc as gx
from graphc.backends import emulated
from tests.backends.cupy.nets import batch, mlp
program = gx.compile(mlp(), backend="emulated")
with emulated.counting() as counts:
    program(program.init(seed=0), batch(program.graph, 3))
print(counts.compilations)
"""


def compilations(folder: Path) -> int:
    """How many compilations a process makes whose cache is this folder."""
    environment = {**os.environ, "GRAPHC_CACHE": str(folder), "PYTHONPATH": "."}
    command = [sys.executable, "-c", PROCESS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    assert [compilations(tmp_path) for _ in range(2)] == [1, 0]
    (kept,) = (tmp_path / "kernels").glob("*.ptx")
    kept.write_bytes(kept.read_bytes()[:-10])  # a damaged file is no file
    assert compilations(tmp_path) == 1
