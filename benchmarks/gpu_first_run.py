"""What nobody could check without a device, in one run of under ten minutes, offline.

    python benchmarks/gpu_first_run.py [--out record.json]

Training steps and the table of ops against NumPy, the same bits in two runs, compute-sanitizer's
four tools, cuBLAS against the kernels of ours, and timings (beside PyTorch's, where it is
installed). Writes a dated JSON record with the device and all versions; the exit code is 0 where
every check passed. ``--backend emulated`` tries the script itself where no device is: it then times
nothing, and its record says so.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import graphc as gx
from graphc import models, passes

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
LIMIT = 1e-4  # of five steps


def trained(name: str, *, dropout: bool = False, **options: Any) -> gx.Graph:
    """The training step of a network of the zoo."""
    before = [passes.insert_dropout(retain=0.5, after="relu")] if dropout else []
    return models.build(name, **options).apply(
        *before, passes.weight_decay(5e-4), passes.backward(), passes.sgd(lr="lr", momentum=0.9)
    ).select("loss")  # fmt: skip


def batch(graph: gx.Graph, n: int, seed: int = 0) -> dict[str, Any]:
    """Random images and labels."""
    rng = np.random.default_rng(seed)
    shape = graph.inputs["image"].type.concrete({"N": n})
    image = rng.standard_normal(shape, dtype=np.float32)
    return {"image": image, "label": rng.integers(0, 10, n), "lr": 0.01}


def run(graph: gx.Graph, backend: str, n: int, steps: int, **options: Any) -> dict[str, Any]:
    """The variables after some steps, as NumPy arrays."""
    program = gx.compile(graph, backend=backend, **options)
    variables = program.init(seed=3)
    for step in range(steps):
        program(variables, batch(graph, n, seed=step))
    return {name: gx.to_numpy(array) for name, array in variables.items()}


def farthest(left: dict[str, Any], right: dict[str, Any]) -> float:
    """The largest of max|a - b| / max|a|; what is 0 but for rounding counts against 0.01."""
    found = 0.0
    for name, array in left.items():
        wide = array.astype(np.float64)
        scale = max(float(np.abs(wide).max(initial=0)), 1e-2)
        gap = np.abs(wide - right[name].astype(np.float64)).max(initial=0)
        found = max(found, float(gap) / scale)
    return found


# -- checks: each returns (passed, what was found) ------------------------------------------------


def steps_equal_numpys(backend: str) -> tuple[bool, Any]:
    """Five training steps, exact on both sides."""
    found = {}
    for name, dropout, n in (("lenet-5", True, 4), ("mlp-1x512", False, 8)):
        graph = trained(name, dropout=dropout)
        expected = run(graph, "numpy", n, 5, exact=True)
        found[name] = farthest(expected, run(graph, backend, n, 5, exact=True))
    return max(found.values()) < LIMIT, found


def rows_equal_the_interpreters(backend: str) -> tuple[bool, Any]:
    """Every row of the op table, with its first gradients. The table needs JAX to be read."""
    sys.path.insert(0, str(ROOT))
    try:
        from tests.ops import harness
    except ImportError as error:
        return True, f"not run: {error}"
    wrong = []
    rows = harness.all_rows()
    for row in rows if backend == "cupy" else rows[::20]:
        try:
            case, sample = harness.case(row, row.dtypes[0]), row.samples[-1]
            arrays = case.arrays(sample, case.whole)
            program = gx.compile(case.whole, backend=backend)
            held = harness.variables(case.whole)
            own = {name: program.backend.from_host(array) for name, array in held.items()}
            out = program(own, inputs=arrays)
            for name, value in gx.interpret(case.whole, held, inputs=arrays).items():
                case.compare(gx.to_numpy(out[name]), value, name)
        except (AssertionError, gx.BackendError, gx.GraphError) as error:
            wrong.append(f"{row.name}: {error}")
    return not wrong, {"rows": len(rows), "wrong": wrong}


def runs_are_the_same_bits(backend: str) -> tuple[bool, Any]:
    """Two runs, one captured as CUDA graphs, one launched kernel by kernel."""
    graph = trained("lenet-5", dropout=True)
    first, second = (run(graph, backend, 4, 4, capture=capture) for capture in (True, False))
    differ = [name for name in first if first[name].tobytes() != second[name].tobytes()]
    return not differ, {"differ": differ}


def library_against_ours(backend: str) -> tuple[bool, Any]:
    """Every plain product by cuBLAS against every product by our kernel; TF32 beside them."""
    graph = trained("mlp-1x512")
    ours = run(graph, backend, 8, 1, library=False)
    cublas = farthest(ours, run(graph, backend, 8, 1, library=True))
    tf32 = farthest(ours, run(graph, backend, 8, 1, library=True, tf32=True))
    return cublas < LIMIT and tf32 < 1e-2, {"cublas": cublas, "tf32": tf32}


def sanitizer(backend: str) -> tuple[bool, Any]:
    """compute-sanitizer's tools on one step of LeNet-5."""
    path = shutil.which("compute-sanitizer")
    if path is None or backend != "cupy":
        return True, "not run: " + ("emulated" if path else "compute-sanitizer is not installed")
    found = {}
    for tool in TOOLS:
        command = [
            path,
            f"--tool={tool}",
            "--error-exitcode=9",
            sys.executable,
            __file__,
            "--probe",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        found[tool] = done.returncode if done.returncode == 0 else done.stdout[-2000:]
    return all(code == 0 for code in found.values()), found


def timings(backend: str) -> tuple[bool, Any]:
    """Milliseconds a step, the median of 20, the device waited for at each."""
    if backend != "cupy":
        return True, "not run: an emulated device has no speed"
    found: dict[str, Any] = {}
    for name, n in (("lenet-5", 128), ("small-alexnet", 128), ("resnet-18", 32)):
        graph = trained(name)
        for capture in (True, False):
            program = gx.compile(graph, backend=backend, capture=capture, sizes={"N": n})
            variables, given = program.init(seed=0), batch(graph, n)
            found[f"{name}, {'graph' if capture else 'launches'}"] = _median(
                lambda p=program, v=variables, g=given: float(p(v, g)["loss"])
            )
        prediction = program.plan.predict("h200", captured=True)
        found[f"{name}, predicted for h200"] = prediction.seconds * 1e3
    with contextlib.suppress(ImportError):
        found["resnet-18, PyTorch"] = _torch()
    return True, found


def _median(step: Callable[[], Any]) -> float:
    for _ in range(5):
        step()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def _torch() -> float:
    """The same network and step by PyTorch, float32 without TF32."""
    import torch
    import torchvision

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    net = torchvision.models.resnet18().cuda()
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    x = torch.randn(32, 3, 224, 224, device="cuda")
    y = torch.randint(0, 10, (32,), device="cuda")

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return float(loss)

    return _median(step)


CHECKS = (
    steps_equal_numpys, rows_equal_the_interpreters, runs_are_the_same_bits, library_against_ours,
    sanitizer, timings,
)  # fmt: skip


def about(backend: str) -> dict[str, Any]:
    """The device, the driver and every version that matters."""
    versions = {}
    for package in ("graphc", "numpy", "cupy-cuda13x", "nvidia-cuda-nvrtc", "torch"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    found = {"backend": backend, "python": platform.python_version(), "versions": versions}
    if backend == "cupy":
        import cupy

        properties = cupy.cuda.runtime.getDeviceProperties(0)
        found["device"] = properties["name"].decode()
        found["driver"] = cupy.cuda.runtime.driverGetVersion()
    return found


def main() -> int:
    """Run every check; the exit code says whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the record goes")
    parser.add_argument("--backend", choices=("cupy", "emulated"), default="cupy")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.probe:  # what the sanitizer watches
        run(trained("lenet-5", dropout=True), given.backend, 2, 1, capture=False)
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    now = datetime.datetime.now(datetime.UTC)
    try:
        gx.compile(gx.Graph({"y": gx.input("x", ("N",)) * 2}), backend=given.backend)
    except gx.BackendError as error:
        print(error)
        return 2
    record: dict[str, Any] = {"date": now.isoformat(timespec="seconds"), **about(given.backend)}
    record["checks"] = {}
    passed = True
    for check in CHECKS:
        start = time.monotonic()
        try:
            good, found = check(given.backend)
        except Exception as error:  # one check that fails must not hide the others
            good, found = False, f"{type(error).__name__}: {error}"
        passed &= good
        seconds = round(time.monotonic() - start, 1)
        record["checks"][check.__name__] = {"passed": good, "seconds": seconds, "found": found}
        print(f"{'ok  ' if good else 'FAIL'} {check.__name__} ({seconds} s): {found}", flush=True)
    out = given.out or Path(f"gpu-{now:%Y-%m-%d}.json")
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
