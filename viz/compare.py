"""Training runs side by side, drawn by matplotlib (the extra ``graphc[viz]``).

One run's metrics are a ``Chart`` (``history.plot()``), which needs nothing beyond the plain
install; here are several runs, a panel for each metric, for a paper or for matplotlib's own tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graphc.ir.errors import BackendError, GraphError
from graphc.ir.naming import suggest
from graphc.train import History

from . import style
from .text import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colour, dash and marker of each run: told apart in grey too.
_PENS = (
    (style.BLUE, "-", "o"), (style.VERMILLION, "--", "s"), (style.GREEN, ":", "^"),
    (style.PURPLE, "-.", "D"), (style.ORANGE, (0, (8, 2)), "v"), (style.SKY, (0, (1, 1)), "P"),
)  # fmt: skip
_MOST = len(_PENS)
_WIDTH, _HEIGHT = 5.2, 3.6  # inches a panel


def compare(runs: Mapping[str, History], *metrics: str, title: str = "") -> Figure:
    """The same metrics of several training runs: a matplotlib Figure, one panel a metric.

    runs: {name: what ``gx.fit`` returned}, six at most. metrics: their names; left out, every loss
    and accuracy that all runs measured. The figure belongs to no window: ``.savefig("runs.pdf")``,
    or show it in a notebook.

    Raises GraphError: no runs, a metric that a run did not measure; BackendError: matplotlib is not
    installed.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc import viz
    >>> graph = gx.Graph({"loss": gx.parameter("w", ())})
    >>> def run(*losses):
    ...     return gx.History({}, {}, None, {"loss": np.array(losses)}, "loss", graph)
    >>> figure = viz.compare({"plain": run(2.0, 1.0), "with shifts": run(2.1, 0.8)})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss']
    """
    if not isinstance(runs, Mapping) or not runs:
        raise GraphError("viz.compare takes {name: history}, with one run or more")
    for name, history in runs.items():
        if not isinstance(history, History):
            raise GraphError(
                f"viz.compare: {name!r} is a {type(history).__name__}, not what gx.fit returned"
            )
    if len(runs) > _MOST:
        raise GraphError(f"viz.compare: {len(runs)} runs; more than {_MOST} cannot be told apart")
    chosen = metrics or _common(runs)
    for name, history in runs.items():
        for metric in chosen:
            if metric not in history.metrics:
                raise GraphError(
                    f"viz.compare: the run {name!r} did not measure {metric!r}"
                    f"{suggest(metric, history.metrics)}"
                )
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise BackendError(
            "viz.compare draws with matplotlib, which is not installed: pip install 'graphc[viz]'"
        ) from None
    figure = Figure(figsize=(_WIDTH * len(chosen), _HEIGHT), layout="constrained")
    panels = figure.subplots(1, len(chosen), squeeze=False)[0]
    for metric, panel in zip(chosen, panels, strict=True):
        for (name, history), (colour, dash, marker) in zip(runs.items(), _PENS, strict=False):
            values = history.metrics[metric]
            panel.plot(
                range(1, len(values) + 1), values, color=colour, linestyle=dash, marker=marker,
                markersize=4, markevery=max(len(values) // 12, 1), label=_plain(name),
            )  # fmt: skip
        panel.set_xlabel("epoch")
        panel.set_ylabel(_plain(metric))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    if title:
        figure.suptitle(_plain(title))
    return figure


def _plain(text: str) -> str:
    """A user's text as text: matplotlib would read what stands between dollars as a formula, and
    leave a label out that begins with an underscore."""
    said = clean(text, 60).replace("$", r"\$")
    return f"\u200b{said}" if said.startswith("_") else said


def _common(runs: Mapping[str, History]) -> tuple[str, ...]:
    """The losses and accuracies that all runs have, in the order of the first."""
    first, *others = runs.values()
    found = tuple(
        name
        for name in first.metrics
        if name.rpartition("/")[2] in ("loss", "accuracy")
        and all(name in history.metrics for history in others)
    )
    if not found:
        raise GraphError("viz.compare: the runs have no loss or accuracy in common; name a metric")
    return found
