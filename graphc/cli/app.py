"""The commands. Each imports what it needs when it runs, so that ``graphc show`` starts at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from graphc.cli.recipe import Recipe, check_writable, predicting, program, weights
from graphc.ir.errors import BackendError, GraphError


class _Commands(TyperGroup):
    """A mistake of the user's is one message and exit code 2, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `graphc show … | head`: typer ends quietly
            raise
        except (GraphError, BackendError, OSError) as error:
            told = str(error)
            if isinstance(error, OSError) and error.filename and error.strerror:
                told = f"{error.filename}: {error.strerror.lower()}"
            typer.echo(f"graphc: {told}", err=True)
            raise typer.Exit(2) from None


main = typer.Typer(
    cls=_Commands,
    help="Declare, transform, compile, train and draw convolutional networks as graphs.",
    epilog="MODEL is a network of the zoo (lenet-5), file.py:function, where the function returns "
    "a gx.Graph, or a file that holds a printed graph, a drawing or saved weights.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Stage(StrEnum):
    """Which graph of a network is meant."""

    FORWARD = "forward"
    TRAIN = "train"
    PREDICT = "predict"


class Overlay(StrEnum):
    """What can be told of every graph."""

    FLOPS = "flops"
    BYTES = "bytes"
    PARAMETERS = "parameters"
    RECEPTIVE_FIELD = "receptive_field"


Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="zoo name, file.py:function, or printed graph")
]
StageOption = Annotated[
    Stage,
    typer.Option(help="the graph as declared, the whole training step, or what predicts"),
]
Seed = Annotated[int, typer.Option(help="of initial values, order, shifts")]


def _version(wanted: bool) -> None:
    if wanted:
        import graphc

        typer.echo(f"graphc {graphc.__version__}")
        raise typer.Exit


@main.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="print it and stop"),
    ] = False,
) -> None:
    pass


@main.command()
def demo(
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write")] = Path("demo"),
    epochs: Annotated[
        int | None, typer.Option(help="for a quicker look", show_default=str(Recipe.epochs))
    ] = None,
) -> None:
    """Train a LeNet-5 on the shipped digits, with and without shifts, and show all that it is."""
    from graphc.cli.demo import run

    run(seed=seed, out=out, epochs=epochs)


@main.command()
def show(model: Model, stage: StageOption = Stage.FORWARD) -> None:
    """Print the graph of MODEL and a table of its layers.

    The table stands in comments, so the whole text is a printed graph again.
    """
    graph = _graph(model, stage)
    typer.echo(graph)
    typer.echo("\n".join(f"# {line}".rstrip() for line in graph.summary().splitlines()))


@main.command()
def draw(
    model: Model,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help=".svg, .png, .pdf, .html, .dot or .json", show_default="MODEL.svg"
        ),
    ] = None,
    stage: StageOption = Stage.FORWARD,
    fold: Annotated[
        list[str] | None, typer.Option(help="modules to draw as one box, e.g. 'conv*'")
    ] = None,
    overlay: Annotated[
        list[Overlay] | None, typer.Option(help="what to write on the nodes, at a batch of 1")
    ] = None,
) -> None:
    """Draw the graph of MODEL."""
    from graphc import viz

    graph = _graph(model, stage)
    path = out or Path(f"{_stem(model)}.svg")
    overlays: dict[str, Any] = {each.value: True for each in overlay or ()}
    drawing = viz.draw(graph, fold=fold or None, **overlays)
    drawing.save(path)
    typer.echo(f"{path}: {len(drawing.model['nodes'])} nodes of {graph!r}")


@main.command()
def source(
    model: Model,
    stage: StageOption = Stage.TRAIN,
    batch_size: Annotated[int, typer.Option(help="the largest batch")] = Recipe.batch_size,
) -> None:
    """Print the generated program of MODEL: the training step, one file that needs NumPy alone."""
    typer.echo(program(_graph(model, stage), batch_size).source)


@main.command()
def profile(
    model: Model,
    stage: StageOption = Stage.TRAIN,
    batch_size: Annotated[int, typer.Option(help="examples a step")] = Recipe.batch_size,
    seed: Seed = 0,
    backend: Annotated[str | None, typer.Option(help="where it runs")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="a drawing with the times: .svg, .png, …")
    ] = None,
) -> None:
    """Time a step of MODEL, node by node and line by line of the model, on random inputs."""
    from graphc.cli.profile import run

    graph = _graph(model, stage)
    typer.echo(run(graph, batch_size=batch_size, seed=seed, backend=backend, out=out))


@main.command()
def train(
    model: Model,
    data: Annotated[
        str, typer.Option(help="data set; its split 'train' is trained on")
    ] = "mnist-mini",
    epochs: Annotated[int, typer.Option(help="how often each example is used")] = Recipe.epochs,
    seed: Seed = 0,
    lr: Annotated[float, typer.Option(help="learning rate at the beginning")] = Recipe.lr,
    batch_size: Annotated[int, typer.Option(help="examples a step")] = Recipe.batch_size,
    decay: Annotated[float, typer.Option(help="weight decay")] = Recipe.decay,
    shift: Annotated[int, typer.Option(help="move each image by up to so many pixels")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="the file", show_default="MODEL.safetensors"),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="folder for a checkpoint after each epoch")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on from the folder's newest")
    ] = False,
) -> None:
    """Train MODEL, tell its accuracy on the test split, and save the weights.

    SGD with momentum 0.9; the rate falls in a straight line to 0. The test split is looked at once,
    after the last epoch.
    """
    from graphc.train import save

    graph = _graph(model, Stage.FORWARD)
    recipe = Recipe(epochs=epochs, batch_size=batch_size, lr=lr, decay=decay, shift=shift)
    path = out or Path(f"{_stem(model)}.safetensors")
    check_writable(path)
    history = recipe.fit(graph, data, seed=seed, checkpoint=checkpoint, resume=resume)
    found = recipe.test(graph, history.variables, data)
    save(path, weights(graph, history.variables), graph)
    measured = {name: row[-1] for name, row in history.metrics.items()}
    for split, values in (("train", measured), ("test", found)):
        said = (f"{n} {v:.2%}" if n == "accuracy" else f"{n} {v:.4f}" for n, v in values.items())
        typer.echo(f"{split} {', '.join(said)}")
    typer.echo(f"weights: {path}")


@main.command()
def score(
    model: Model,
    weights: Annotated[
        Path | None,
        typer.Option(help="saved weights", show_default="MODEL, a .safetensors with its graph"),
    ] = None,
    data: Annotated[str, typer.Option(help="data set")] = "mnist-mini",
    split: Annotated[str, typer.Option(help="of the data set")] = "test",
) -> None:
    """Tell the loss and accuracy of trained weights."""
    from graphc.cli import score

    typer.echo(score.score(model, weights, data, split))


@main.command()
def data(
    name: Annotated[str | None, typer.Argument(help="a data set to load, and to fetch")] = None,
) -> None:
    """List the data sets, or load one, which fetches what is missing and checks it."""
    from graphc.cli import score

    for line in score.sets(name):
        typer.echo(line)


@main.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="a MODEL")],
    b: Annotated[str, typer.Argument(metavar="B", help="another MODEL")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="a picture too: .svg, .html")
    ] = None,
    stage: StageOption = Stage.FORWARD,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="end with 1 where they differ")
    ] = False,
) -> None:
    """Tell what makes B of A, node by node: a name that moved is no difference."""
    from graphc.cli.diff import run

    same = run(_graph(a, stage), _graph(b, stage), (a, b), out)
    if exit_code and not same:
        raise typer.Exit(1)


@main.command()
def rf(
    model: Model,
    stage: StageOption = Stage.FORWARD,
    wrt: Annotated[
        str | None, typer.Option(help="the node that is looked at", show_default="the image")
    ] = None,
    size: Annotated[list[str] | None, typer.Option(help="a named dimension, e.g. H=224")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every node")] = False,
) -> None:
    """Print the receptive field of each layer: size, stride, padding, alignment, centre.

    Layers whose field is larger than the image are marked. Where two ways to a layer are centred
    differently, they are shown, with the padding that repairs it.
    """
    from graphc.cli.receptive import run

    typer.echo(run(_graph(model, stage), wrt, size or [], everything))


@main.command()
def report(
    model: Model,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="the page", show_default="MODEL.html")
    ] = None,
    stage: StageOption = Stage.TRAIN,
    image: Annotated[
        Path | None, typer.Option(help="a picture that the units look at, PNG or JPEG")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="examples a run")] = Recipe.batch_size,
    size: Annotated[
        list[str] | None, typer.Option(help="another named dimension, e.g. H=224")
    ] = None,
) -> None:
    """Write one page with everything about MODEL: graph, fields, passes, program, tables."""
    from graphc.cli.report import run

    graph = _graph(model, stage)
    path = out or Path(f"{_stem(model)}.html")
    run(graph, path, title=model, image=image, batch=batch_size, size=size or [])


@main.command()
def doctor() -> None:
    """Tell what this machine has, what is missing, and what to do about it."""
    from graphc.cli.doctor import report

    lines, sound = report()
    typer.echo("\n".join(lines))
    raise typer.Exit(0 if sound else 1)


def _graph(model: str, stage: Stage) -> Any:
    from graphc.cli.model import resolve

    graph = resolve(model)
    if stage is Stage.TRAIN:
        return Recipe().training(graph)
    if stage is Stage.PREDICT:
        return predicting(graph)
    return graph


def _stem(model: str) -> str:
    """What files made from MODEL are called: lenet-5, nets.py:small -> small, a/b.txt -> b."""
    return model.rpartition(":")[2] if ".py:" in model else Path(model).stem or "graph"
