"""What a person with a GPU runs once: ``python benchmarks/gpu_first_run.py``.

Everything that was executed on an emulated device is executed again on the real one, and what no
emulator can tell is measured: the tests unfaked, compute-sanitizer's four tools, the same bits from
two runs, cuBLAS beside our own products, times beside PyTorch's where that is installed. It needs
no network, takes less than ten minutes, and writes a dated JSON record with the device and the
versions. The exit code is 0 where everything that could be checked held; what could not be checked
(no compute-sanitizer, no PyTorch) is named in the record, and is no failure.

``--backend emulated`` rehearses the script where no GPU is: the record says so, and its times mean
nothing.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import graphc as gx
from graphc import models, passes

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
PACKAGES = ("graphc", "numpy", "cupy-cuda13x", "nvidia-cuda-nvrtc", "nvidia-cublas", "torch")
# Each part stops here, so that the whole stays under ten minutes.
SUITE_SECONDS, TOOL_SECONDS = 240, 45
NETS = {"lenet-5": (1, 28, 28), "small-alexnet": (3, 28, 28), "resnet-18": (3, 64, 64)}

Section = dict[str, Any]


def training(name: str) -> gx.Graph:
    """The step that everything here runs: decay, gradients, SGD with momentum."""
    return models.build(name, classes=10, image=NETS[name]).apply(
        passes.weight_decay(5e-4), passes.backward(), passes.sgd(lr="lr", momentum=0.9)
    )


def batch(name: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Random images with their labels."""
    random = np.random.default_rng(seed)
    image = random.random((count, *NETS[name]), np.float32)
    return {"image": image, "label": random.integers(0, 10, count), "lr": 0.05}


def run(
    name: str, backend: str, *, steps: int, count: int, **options: Any
) -> tuple[dict[str, np.ndarray[Any, Any]], float]:
    """The variables after some steps from one seed, and the last loss."""
    step = gx.compile(training(name), backend=backend, **options)
    variables = step.init(seed=0)
    loss = float("nan")
    for number in range(steps):
        out = step(variables, **batch(name, count, number))
        loss = float(gx.to_numpy(out["loss"]))
    return {key: gx.to_numpy(value) for key, value in variables.items()}, loss


def digest(variables: dict[str, np.ndarray[Any, Any]]) -> str:
    """One word for all bits."""
    found = hashlib.sha256()
    for key in sorted(variables):
        found.update(key.encode() + variables[key].tobytes())
    return found.hexdigest()[:16]


def gap(found: dict[str, Any], wanted: dict[str, Any]) -> float:
    """The largest difference of a variable, over its largest element."""
    return max(
        float(np.max(np.abs(found[k] - wanted[k])) / max(np.max(np.abs(wanted[k])), 1e-30))
        for k in wanted
        if wanted[k].dtype.kind == "f" and wanted[k].size
    )


# -- the parts ------------------------------------------------------------------------------------


def device(backend: str) -> Section:
    """What this is run on."""
    # The emulated device must be there before CuPy is.
    gx.compile(gx.Graph({"y": gx.relu(gx.input("x", (1,)))}), backend=backend)
    cupy: Any = importlib.import_module("cupy")
    runtime = cupy.cuda.runtime
    found: Section = {"driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion()}
    if backend == "cupy":
        about = runtime.getDeviceProperties(0)
        found["name"] = about["name"].decode()
        found["capability"] = f"{about['major']}.{about['minor']}"
        found["memory"] = about["totalGlobalMem"]
    else:
        found["name"] = "emulated: no GPU"
    return found


def suite(backend: str) -> Section:
    """The tests that run on a device, unfaked."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/backends", "tests/ops", "-m",
               "not slow", "-p", "no:cacheprovider"]  # fmt: skip
    environment = os.environ | {"GRAPHC_BACKEND": backend}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True,
            timeout=SUITE_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"held": False, "why": f"longer than {SUITE_SECONDS} s"}
    return {"held": done.returncode == 0, "said": done.stdout.strip().splitlines()[-1:]}


def sanitizer(backend: str) -> Section:
    """One training step under each tool of compute-sanitizer."""
    program = shutil.which("compute-sanitizer")
    if program is None or backend != "cupy":
        return {"skipped": "compute-sanitizer is not on PATH" if not program else "no device"}
    found: Section = {"held": True}
    for tool in TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, __file__,
                   "--one-step"]  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=TOOL_SECONDS,
                check=False,
            )  # fmt: skip
            found[tool] = {"exit": done.returncode, "said": done.stdout.splitlines()[-3:]}
            found["held"] &= done.returncode == 0
        except subprocess.TimeoutExpired:
            found[tool] = {"skipped": f"longer than {TOOL_SECONDS} s"}
    return found


def agreement(backend: str, count: int) -> Section:
    """Against the NumPy backend, both exact: 1e-5 after one step, 1e-4 after five."""
    found: Section = {"held": True}
    for name in ("lenet-5", "small-alexnet"):
        for steps, limit in ((1, 1e-5), (5, 1e-4)):
            ours, _ = run(name, backend, steps=steps, count=count, exact=True)
            host, _ = run(name, "numpy", steps=steps, count=count, exact=True)
            off = gap(ours, host)
            found[f"{name}, {steps} steps"] = off
            found["held"] &= off <= limit
    return found


def determinism(backend: str, count: int) -> Section:
    """The same bits from two runs, and from a captured graph as from single launches."""
    first, again, single = (
        digest(run("lenet-5", backend, steps=4, count=count, capture=capture)[0])
        for capture in (True, True, False)
    )
    return {"held": first == again == single, "digests": [first, again, single]}


def products(backend: str) -> Section:
    """cuBLAS (a stand-in, where the device is emulated) and our own kernel beside float64, relative
    to the largest element."""
    cupy: Any = importlib.import_module("cupy")
    found: Section = {"held": True, "cuBLAS is": "cuBLAS" if backend == "cupy" else "a stand-in"}
    random = np.random.default_rng(0)
    for m, k, n in ((64, 400, 120), (33, 65, 17), (256, 1024, 256)):
        a = random.standard_normal((m, k), np.float32)
        b = random.standard_normal((k, n), np.float32)
        wanted = a.astype(np.float64) @ b.astype(np.float64)
        graph = gx.Graph({"y": gx.matmul(gx.input("a", (m, k)), gx.input("b", (k, n)))})
        ours = gx.compile(graph, backend=backend, exact=True)({}, a=a, b=b)["y"]
        theirs = cupy.matmul(cupy.asarray(a), cupy.asarray(b))
        for what, y in (("our kernel", ours), ("cuBLAS", theirs)):
            off = float(np.max(np.abs(gx.to_numpy(y) - wanted)) / np.max(np.abs(wanted)))
            found[f"{what}, {m}x{k}x{n}"] = off
            found["held"] &= off <= 1e-5
    return found


def seconds(work: Callable[[], Any], wait: Callable[[], Any], least: float) -> float:
    """Median time of a call once it is warm, each followed by ``wait``."""
    for _ in range(3):
        work()
    wait()
    measured: list[float] = []
    end = time.perf_counter() + least
    while len(measured) < 5 or (time.perf_counter() < end and len(measured) < 1000):
        start = time.perf_counter()
        work()
        wait()
        measured.append(time.perf_counter() - start)
    return float(np.median(measured))


def timings(backend: str, count: int, least: float) -> Section:
    """A training step of each net, and PyTorch's of the same LeNet-5 where it is installed."""
    cupy: Any = importlib.import_module("cupy")
    found: Section = {}
    for name in NETS if backend == "cupy" else ("lenet-5",):
        step = gx.compile(training(name), backend=backend)
        variables, given = step.init(seed=0), batch(name, count)
        took = seconds(
            lambda s=step, v=variables, g=given: s(v, **g),
            cupy.cuda.runtime.deviceSynchronize, least,
        )  # fmt: skip
        predicted = step.plan.predict("h200", captured=True).seconds
        found[name] = {"launches": step.plan.launches, "predicted for an h200": predicted}
        if backend == "cupy":
            found[name]["measured"] = took
    found["torch lenet-5"] = peer(count, least)
    return found


def peer(count: int, least: float) -> Section:
    """PyTorch's training step of LeNet-5."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return {"skipped": "PyTorch is not installed"}
    if not torch.cuda.is_available():
        return {"skipped": "this PyTorch sees no device"}
    layer = torch.nn
    net = layer.Sequential(
        layer.Conv2d(1, 6, 5, padding=2), layer.ReLU(), layer.MaxPool2d(2),
        layer.Conv2d(6, 16, 5), layer.ReLU(), layer.MaxPool2d(2), layer.Flatten(),
        layer.Linear(400, 120), layer.ReLU(), layer.Linear(120, 84), layer.ReLU(),
        layer.Linear(84, 10),
    ).cuda()  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    given = batch("lenet-5", count)
    image, label = torch.tensor(given["image"]).cuda(), torch.tensor(given["label"]).cuda()

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(image), label).backward()
        optimizer.step()

    return {"measured": seconds(step, torch.cuda.synchronize, least)}


# -- the record -----------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Of all that matters, where it is installed."""
    found = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--backend", choices=("cupy", "emulated"), default="cupy")
    parser.add_argument("--out", type=Path, default=None, help="the record")
    parser.add_argument("--no-suite", action="store_true", help="leave the tests out")
    parser.add_argument("--one-step", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one_step:
        run("lenet-5", chosen.backend, steps=1, count=4)
        return 0
    real = chosen.backend == "cupy"
    count, least = (64, 2.0) if real else (2, 0.0)
    day = datetime.datetime.now(datetime.UTC)
    record: dict[str, Any] = {
        "date": day.isoformat(timespec="seconds"), "backend": chosen.backend,
        "note": "measured on a device" if real else "a rehearsal on the emulator: no GPU, no times",
        "versions": versions(),
    }  # fmt: skip
    parts: dict[str, Callable[[], Section]] = {
        "device": lambda: device(chosen.backend),
        "agreement with numpy": lambda: agreement(chosen.backend, min(count, 16)),
        "determinism": lambda: determinism(chosen.backend, count),
        "products": lambda: products(chosen.backend),
        "timings": lambda: timings(chosen.backend, count, least),
        "sanitizer": lambda: sanitizer(chosen.backend),
        "suite": lambda: {"skipped": "--no-suite"} if chosen.no_suite else suite(chosen.backend),
    }
    failed = []
    for name, part in parts.items():
        start = time.perf_counter()
        try:
            found = part()
        except gx.BackendError as error:
            if name == "device":
                print(f"{error}", file=sys.stderr)
                return 2
            found = {"held": False, "why": str(error)}
        took = time.perf_counter() - start
        record[name] = found | {"seconds": round(took, 1)}
        failed += [name] if found.get("held") is False else []
        state = "FAILED" if name in failed else found.get("skipped", "ok")
        print(f"{name}: {state} ({took:.1f} s)", flush=True)
    record["failed"] = failed
    out = chosen.out or Path(f"gpu-first-run-{day:%Y-%m-%d}.json")
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"record: {out}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
