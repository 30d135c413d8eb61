"""``graphc demo``: LeNet-5 on the shipped digits, with and without shifts, and a page about it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import typer

from graphc import data, models, viz
from graphc.cli.page import Demo, write
from graphc.cli.recipe import Recipe, program, weights
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.train import History, save

NET, DIGITS = "lenet-5", "mnist-mini"
# The recipe's numbers were chosen on the last 1,000 of the training digits, with three seeds; the
# demo then trains on all 6,000.
RECIPE = Recipe(shift=2)
SHIFTS, PLAIN = "with shifts", "without shifts"


def train(
    seed: int, epochs: int | None = None
) -> tuple[Graph, dict[str, History], dict[str, Recipe]]:
    """Both runs of the demo. Only the training digits are read here."""
    graph = models.build(NET)
    recipe = RECIPE if epochs is None else replace(RECIPE, epochs=epochs)
    recipes = {SHIFTS: recipe, PLAIN: replace(recipe, shift=0)}
    runs = {}
    for name, own in recipes.items():
        typer.echo(
            f"training {name}: {own.epochs} epochs of {len(data.load(DIGITS, 'train')):,} digits"
        )
        start = time.perf_counter()
        runs[name] = own.fit(graph, DIGITS, seed=seed)
        seconds = time.perf_counter() - start
        typer.echo(f"  loss {runs[name].metrics['loss'][-1]:.4f} after {seconds:.0f} s")
    return graph, runs, recipes


def test(graph: Graph, runs: dict[str, History]) -> dict[str, float]:
    """The accuracy of each run on the test digits, which nothing has looked at before."""
    return {
        name: RECIPE.test(graph, run.variables, DIGITS)["accuracy"] for name, run in runs.items()
    }


def run(*, seed: int, out: Path, epochs: int | None) -> None:
    """The whole demo: train, test, save, draw, write the page, say where it is."""
    start = time.perf_counter()
    if epochs is not None and epochs < 1:
        raise GraphError(f"--epochs {epochs} is not at least 1")
    if out.exists() and not out.is_dir():
        raise GraphError(f"--out {out} is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    graph = models.build(NET)
    typer.echo(f"{graph}\n")
    typer.echo(f"{graph.summary()}\n")
    typer.echo(f"LeNet-5 has {graph.parameter_count():,} parameters.\n")
    graph, runs, recipes = train(seed, epochs)
    accuracy = test(graph, runs)
    digits = data.load(DIGITS, "test")
    typer.echo("")
    for name, value in accuracy.items():
        typer.echo(f"test accuracy {name:<15} {value:.2%} of {len(digits):,} digits")
    typer.echo("\ndrawing …")
    _files(out, graph, runs)
    write(
        out / "index.html",
        Demo(
            graph=graph,
            training=runs[SHIFTS].graph,
            accuracy=accuracy,
            recipe=recipes[SHIFTS],
            seed=seed,
            seconds=time.perf_counter() - start,
            source=(out / "step.py").read_text(encoding="utf-8"),
        ),
    )
    _goodbye(out, time.perf_counter() - start)


def _files(out: Path, graph: Graph, runs: dict[str, History]) -> None:
    """Weights, pictures and the generated program, each a file of its own."""
    trained = runs[SHIFTS]
    save(out / "lenet-5.safetensors", weights(graph, trained.variables), graph)
    plain = weights(graph, runs[PLAIN].variables)
    save(out / "lenet-5-without-shifts.safetensors", plain, graph)
    viz.draw(graph, title="LeNet-5").save(out / "forward.svg")
    viz.draw(trained.graph, title="one training step of LeNet-5").save(out / "training.svg")
    for layer, columns in (("conv1", 6), ("conv2", 12)):  # conv2 has 6 channels: two filters a row
        plate = viz.filters(graph, trained.variables, name=f"{layer}.weight", columns=columns)
        plate.save(out / f"filters-{layer}.png")
    for what in ("loss", "accuracy"):
        chart = viz.curves(
            {name: run.metrics[what] for name, run in runs.items()}, y=f"training {what}"
        )
        chart.save(out / f"{what}.svg")
    viz.report(trained.graph, out / "report.html", title="LeNet-5, trained", history=trained)
    source = program(trained.graph, RECIPE.batch_size).source
    (out / "step.py").write_text(source, encoding="utf-8")


def _goodbye(out: Path, seconds: float) -> None:
    typer.echo(f"done in {seconds:.0f} s\n")
    typer.echo("what to do next:")
    command = _activation()
    if command:
        typer.echo(f"  enter the environment:   {command}")
    typer.echo(f"  look at the page:        {(out / 'index.html').resolve().as_uri()}")
    typer.echo("  see the graph as text:   graphc show lenet-5")
    typer.echo("  draw a training step:    graphc draw lenet-5 --stage train -o step.svg")
    typer.echo("  train on your own terms: graphc train lenet-5 --shift 2 --epochs 30")


def _activation() -> str:
    """How to enter the virtual environment this runs in, as short as it can be said; "" if none."""
    if sys.prefix == sys.base_prefix or os.environ.get("VIRTUAL_ENV") == sys.prefix:
        return ""
    home = Path(sys.prefix)
    if home.is_relative_to(Path.cwd()):
        home = home.relative_to(Path.cwd())
    if sys.platform == "win32":
        return str(home / "Scripts" / "activate")
    return f"source {home / 'bin' / 'activate'}"
