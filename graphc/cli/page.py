"""The demo's page: one HTML file beside its pictures, which opens from the disk."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from graphc.cli.recipe import Recipe
from graphc.ir.graph import Graph


@dataclass(frozen=True)
class Demo:
    """What the page tells. The pictures are files in its own folder."""

    graph: Graph
    training: Graph
    accuracy: dict[str, float]  # name of the run -> on the test digits
    recipe: Recipe
    seed: int
    seconds: float
    source: str


def write(path: Path, demo: Demo) -> None:
    """Write the page. It has no script and asks nothing of any network."""
    path.write_text(page(demo), encoding="utf-8")


def page(demo: Demo) -> str:
    """The HTML text."""
    recipe = demo.recipe
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td>{value:.2%}</td></tr>'
        for name, value in demo.accuracy.items()
    )
    words = {
        "parameters": f"{demo.graph.parameter_count():,}",
        "epochs": recipe.epochs,
        "shift": recipe.shift,
        "rows": "\n".join(rows),
        "momentum": f"{recipe.momentum:g}",
        "batch": recipe.batch_size,
        "lr": f"{recipe.lr:g}",
        "decay": f"{recipe.decay:g}",
        "seed": demo.seed,
        "seconds": f"{demo.seconds:.0f}",
        "summary": escape(demo.graph.summary()),
        "printed": escape(str(demo.graph)),
        "sums": sum(node.op.name == "grad_sum" for node in demo.training.nodes),
        "source": escape(demo.source),
    }
    figures = {file.partition(".")[0].replace("-", "_"): _figure(file) for file in _FIGURES}
    return Template(_PAGE).substitute(words, style=_STYLE, **figures)


def _figure(file: str) -> str:
    alt, caption = _FIGURES[file]
    kind = ' class="pixels"' if file.endswith(".png") else ""
    return (
        f'<figure><a href="{file}"><img src="{file}" alt="{escape(alt)}"{kind}></a>\n'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


# File: what it shows, for those who do not see it; the caption.
_FIGURES = {
    "loss.svg": (
        "Training loss by epoch, with and without shifts",
        "Training loss by epoch. Without shifts it falls lower, and that is no success: the net "
        "learns these very digits by heart.",
    ),
    "accuracy.svg": (
        "Training accuracy by epoch, with and without shifts",
        "How many of the training digits were right, counted while the weights still move. The "
        "test digits are not here: they were looked at after the last epoch.",
    ),
    "forward.svg": (
        "The forward graph of LeNet-5",
        "Every node once. A weight is a node too, with one edge for each use.",
    ),
    "training.svg": (
        "The graph of a training step of LeNet-5, its gradient sums marked",
        "The whole step. Open it alone to zoom; there every node and edge says what it is when it "
        "is pointed at.",
    ),
    "filters-conv1.png": (
        "The 6 filters of the first layer",
        "First layer: 6 filters of 5×5 weights.",
    ),
    "filters-conv2.png": (
        "The 16 filters of the second layer",
        "Second layer: 16 filters, two in each row, over the 6 maps that the first layer makes.",
    ),
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>graphc demo: LeNet-5 on handwritten digits</title>
<style>$style</style>
</head>
<body>
<header>
<h1>A network you can see through</h1>
<p>LeNet-5: declared in Python, kept as a graph, transformed by passes, compiled to readable NumPy,
trained, drawn.</p>
<nav><a href="#result">What came out</a> <a href="#network">The network</a>
<a href="#training">One training step</a> <a href="#filters">What it learned</a>
<a href="#source">The program</a> <a href="report.html">The report</a>
<a href="#next">What to try next</a></nav>
</header>
<main>

<section id="result">
<h2>What came out</h2>
<p>A LeNet-5 of <strong>$parameters parameters</strong> saw 6,000 handwritten digits of MNIST
$epochs times, and was then asked about 2,000 others, once. It was trained twice from the same
initial values: on digits moved by up to $shift pixels, at random and anew each time, and on the
digits as they are.</p>
<table>
<thead><tr><th scope="col">trained</th><th scope="col">right on the test digits</th></tr></thead>
<tbody>
$rows
</tbody>
</table>
$loss
$accuracy
<p class="small">SGD with momentum $momentum, batches of $batch, learning rate $lr falling in a
straight line to 0, weight decay $decay, seed $seed; $seconds seconds for all of it. On one machine
the same seed gives the same weights, bit for bit.</p>
</section>

<section id="network">
<h2>The network, as declared</h2>
$forward
<pre tabindex="0">$summary</pre>
<details><summary>The printed graph: this text <em>is</em> the graph, gx.parse reads it
back</summary>
<pre tabindex="0">$printed</pre></details>
</section>

<section id="training">
<h2>One training step, as a graph</h2>
<p>Passes made this of the network above: the penalty of the weight decay, the gradients, the
updates. Nothing is hidden: beside each node stands its gradient. Where a weight gets gradients from
two places, here from the data and from the decay, they meet in one sum, a double ellipse; there are
$sums of them. A filter that is used twice gets its gradient in the same way, and that is all that
weight sharing asks of backpropagation.</p>
$training
<p><a href="report.html">The report</a> shows the same step to be explored: fold and search the
graph, point at a unit to see its receptive field, go through the passes one by one, read the
program beside the nodes.</p>
</section>

<section id="filters">
<h2>What it learned to look for</h2>
$filters_conv1
$filters_conv2
</section>

<section id="source">
<h2>The program that ran</h2>
<p>The step above, compiled: one Python file that needs NumPy and nothing else. Each line is one
array call, or one loop of them, and says for which node and which line of the model. It is
<a href="step.py">step.py</a>.</p>
<pre tabindex="0" class="tall">$source</pre>
</section>

<section id="next">
<h2>What to try next</h2>
<pre tabindex="0">graphc show lenet-5 --stage train      # the training step as text
graphc draw lenet-5 -o lenet.png       # a drawing of your own
graphc report resnet-18 -o page.html   # one page about any network
graphc source lenet-5                  # the program
graphc train lenet-5 --shift 2 --epochs 30 -o mine.safetensors
graphc doctor                          # what this machine has</pre>
<p>The weights of both runs lie beside this page,
<a href="lenet-5.safetensors">lenet-5.safetensors</a> and
<a href="lenet-5-without-shifts.safetensors">lenet-5-without-shifts.safetensors</a>, under PyTorch's
names and with the graph inside:</p>
<pre tabindex="0">import graphc as gx
from graphc import data, passes

variables, graph = gx.load("lenet-5.safetensors")
predict = gx.compile(graph.select("logits").apply(passes.inference()))
x, y = data.load("mnist-mini", "test")[:10].arrays()
print(predict(variables, image=x)["logits"].argmax(axis=1), y)</pre>
</section>

</main>
</body>
</html>
"""

_STYLE = """
:root { --ink: #1b1b1b; --faint: #5c5c5c; --paper: #ffffff; --panel: #f4f5f7; --line: #d5d8dd;
  --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink: #f0f0f0; --faint: #b0b0b0; --paper: #16181c;
  --panel: #20242a; --line: #3a3f47; --link: #7db8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, Helvetica, Arial, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 2.6rem 0 .6rem; font-size: 1.35rem; }
p { max-width: 44rem; }
a, summary { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: .6rem 0;
  border-block: 1px solid var(--line); }
.small, figcaption { color: var(--faint); font-size: .9rem; }
figure { margin: 1.2rem 0; }
figure a { display: block; max-height: 46rem; overflow: auto; border: 1px solid var(--line);
  border-radius: 6px; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.pixels { image-rendering: pixelated; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .4rem 1.2rem .4rem 0; text-align: left; border-bottom: 1px solid var(--line); }
td { font-variant-numeric: tabular-nums; font-weight: 600; }
pre { padding: .9rem; overflow: auto; background: var(--panel); border-radius: 6px;
  font: .82rem/1.45 ui-monospace, Menlo, Consolas, monospace; }
.tall { max-height: 38rem; }
summary { cursor: pointer; }
"""
