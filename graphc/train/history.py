"""What a training run leaves: the variables, and the metrics of every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.ir.errors import BackendError, GraphError
from graphc.ir.graph import Graph
from graphc.ir.naming import suggest

Array = np.ndarray[Any, np.dtype[Any]]
Metrics = dict[str, npt.NDArray[np.float64]]


def better(metric: str, value: float, than: float) -> bool:
    """Whether ``value`` of ``metric`` beats ``than``: more of an accuracy, less of all else.

    The first of equal values stays the best; a NaN never is.
    """
    if math.isnan(value):
        return False
    if math.isnan(than):
        return True
    return value > than if metric.rpartition("/")[2] == "accuracy" else value < than


@dataclass(frozen=True, eq=False, repr=False)
class History:
    """What ``gx.fit`` returns.

    ``variables``: name to array, after the last epoch (``keep="last"``) or after the best one
    (``keep="best"``), ready for a program or ``gx.save``. ``last``: those after the last epoch,
    whatever was kept. ``best``: those after the epoch with the best ``monitor``, None where they
    were not kept. ``metrics``: name to a float64 array, one number an epoch. ``monitor``: the
    metric that says what is best. ``graph``: the graph that was trained, after all passes.
    """

    variables: dict[str, Array]
    last: dict[str, Array]
    best: dict[str, Array] | None
    metrics: Metrics
    monitor: str
    graph: Graph

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.metrics["loss"])

    @property
    def best_epoch(self) -> int | None:
        """The index of the epoch with the best ``monitor``; None where that was not measured."""
        best: int | None = None
        values = self.metrics.get(self.monitor, np.empty(0))
        for epoch, value in enumerate(values):
            if better(self.monitor, value, math.nan if best is None else values[best]):
                best = epoch
        return best

    def plot(self, *names: str) -> Any:
        """A line chart of these metrics, by epoch; left out, of every loss.

        It shows itself in a notebook; elsewhere ``.save("curves.svg")``. Raises GraphError for a
        metric that was not measured, BackendError where the drawing package is not installed.

        >>> import numpy as np
        >>> import graphc as gx
        >>> graph = gx.Graph({"loss": gx.parameter("w", ())})
        >>> metrics = {"loss": np.array([2.0, 0.5]), "validation/loss": np.array([1.9, 0.8])}
        >>> gx.History({}, {}, None, metrics, "validation/loss", graph).plot()
        <graphc.viz.Chart of loss, validation/loss>
        """
        losses = [name for name in self.metrics if name.rpartition("/")[2] == "loss"]
        for name in names:
            if name not in self.metrics:
                raise GraphError(f"no metric {name!r} was measured{suggest(name, self.metrics)}")
        chosen = names or losses
        what = {name.rpartition("/")[2] for name in chosen}
        curves = _curves()
        return curves(
            {name: self.metrics[name] for name in chosen},
            y=what.pop() if len(what) == 1 else "",
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: the losses as a chart, where one can be made."""
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        try:
            bundle["image/svg+xml"] = self.plot().svg
        except (BackendError, GraphError, ImportError):  # no drawing package, no epoch: text alone
            return bundle
        return bundle

    def __repr__(self) -> str:
        ends = ", ".join(f"{k} {v[-1]:.4g}" for k, v in self.metrics.items() if len(v))
        return f"<graphc.History of {self.epochs} epochs: {ends}>"


def _curves() -> Any:
    """The chart function, by its entry point: training imports no picture."""
    for point in entry_points(group="graphc.display", name="curves"):
        return point.load()
    raise BackendError(
        "nothing draws curves here: graphc's entry points are missing; install it with pip "
        "(pip install -e . in a checkout)"
    )
