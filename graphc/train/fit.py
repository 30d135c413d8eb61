"""The training loop."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from graphc.compiler.program import compile
from graphc.data.dataset import Dataset
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph, Pass
from graphc.ir.naming import suggest
from graphc.ir.node import describe
from graphc.train.evaluate import Evaluator, correct
from graphc.train.feed import RATE, Augment, Feeder, batch_sizes, check_dataset, check_inputs
from graphc.train.folder import Folder, State, fingerprint
from graphc.train.history import History, better
from graphc.train.progress import Bar

Schedule = Callable[[float], float]
Rate = float | Schedule | None

ACCURACY, LOSS, LOGITS = "accuracy", "loss", "logits"
HELD_OUT = "validation/"


def fit(
    graph: Graph,
    dataset: Dataset,
    *,
    epochs: int,
    batch_size: int,
    passes: Sequence[Pass],
    lr: Rate,
    backend: str | None = None,
    seed: int = 0,
    augment: Augment | None = None,
    validation: Dataset | None = None,
    metrics: Sequence[str] = (ACCURACY,),
    keep: Literal["last", "best"] = "last",
    monitor: str = HELD_OUT + ACCURACY,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> History:
    """Train ``graph`` on ``dataset`` and return its ``History``.

    graph: declared, with inputs ``image`` (N, c, h, w) and ``label`` (N,), an output ``loss`` that
    is a mean over the batch and, for the accuracy, ``logits`` (N, classes); nothing else but
    ``lr``. passes: the whole list that makes the training step of it, backward and optimizer too.

    epochs, batch_size: each epoch takes every example once; its last batch may be smaller.
    lr: feeds the input ``lr`` (``passes.sgd(lr="lr", …)``), a number or a schedule: a function of
    the epochs done so far, steps as fractions (at step s of S an epoch, ``lr(s / S)``), so
    ``lambda epoch: 0.05 * (1 - epoch / 20)`` falls at every step. None: the passes have the rate.
    seed: of the initial values, the order of the examples, and every random op.
    augment: a function of uint8 images (n, c, h, w) that keeps labels, run on every batch. It is
    called with those of ``seed`` and ``index`` (the examples' numbers, anew in each epoch) that it
    takes by name, as ``data.augment`` has them. uint8 images are then divided by 255, floating
    ones given as they are.

    metrics: ``"accuracy"``, or scalar outputs of the training graph such as ``"penalty"``; the loss
    always. Both are those of the training batches, while the weights move. With ``validation``, a
    data set, also ``"validation/loss"`` and ``"validation/accuracy"``, by the inference graph after
    each epoch. keep: ``"best"`` returns the variables of the epoch with the best ``monitor``.

    checkpoint: a folder that gets ``step-<n>.safetensors`` after each epoch. resume: go on from its
    newest file, to the same bits as a run that was not stopped; an empty folder starts anew, a
    finished run returns. Schedule, augmentation and validation must be given as before.

    On a terminal a progress bar shows; elsewhere nothing is printed. Raises GraphError (and its
    kinds) for whatever does not fit, before training starts, and where the loss stops being finite.

    >>> import graphc as gx
    >>> from graphc import data, models, passes
    >>> digits = data.load("mnist-mini", "train")
    >>> history = gx.fit(
    ...     models.build("lenet-5"), digits[:256], epochs=2, batch_size=64, lr=0.05,
    ...     passes=[passes.backward(), passes.sgd(lr="lr", momentum=0.9)],
    ...     augment=data.augment.shift, validation=digits[5900:],
    ... )
    >>> list(history.metrics)
    ['loss', 'accuracy', 'validation/loss', 'validation/accuracy']
    >>> history.metrics["loss"].shape
    (2,)
    """
    _check_numbers(epochs=epochs, batch_size=batch_size)
    if keep not in ("last", "best"):
        raise GraphError(f"keep={keep!r} is neither 'last' nor 'best'")
    check_dataset(dataset, "the data set")
    if validation is not None:
        check_dataset(validation, "validation")
    run = _Run(graph, dataset, validation, passes, lr, backend, seed, augment, metrics, batch_size)
    run.watch(monitor, keep)
    folder = None
    if checkpoint is not None:
        settings = {"seed": seed, "batch_size": batch_size, "dataset": fingerprint(dataset)}
        folder = Folder(checkpoint, run.graph, settings)
        folder.prepare(resume=resume)
    elif resume:
        raise GraphError("resume=True needs the folder to resume from: checkpoint='runs/lenet'")
    state = run.start(folder.latest(epochs * run.feeder.steps) if folder is not None else None)
    with Bar(epochs, state.epoch, run.feeder.steps) as bar:
        while state.epoch < epochs:
            run.train(state, bar)
            if folder is not None:
                folder.save(state.epoch * run.feeder.steps, state)
    best = state.best if keep == "best" else None
    return History(
        variables=state.variables if best is None else best,
        last=state.variables,
        best=best,
        metrics={name: np.array(row, np.float64) for name, row in state.metrics.items()},
        monitor=monitor,
        graph=run.graph,
    )


def _check_numbers(**numbers: object) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise GraphError(f"{name}={value!r} is not a whole number of at least 1")


class _Run:
    """Everything about a run that does not change while it goes on."""

    def __init__(
        self,
        graph: Graph,
        dataset: Dataset,
        validation: Dataset | None,
        passes: Sequence[Pass],
        lr: Rate,
        backend: str | None,
        seed: int,
        augment: Augment | None,
        metrics: Sequence[str],
        batch_size: int,
    ) -> None:
        if not isinstance(graph, Graph):
            raise GraphError(f"fit takes a gx.Graph, not a {type(graph).__name__}")
        if LOSS not in graph.outputs:
            raise GraphError(
                f"the graph has no output {LOSS!r} to make small{suggest(LOSS, graph.outputs)}\n"
                "  to fix: gx.Graph({'logits': logits, 'loss': gx.cross_entropy(logits, label)})"
            )
        self.graph = _training(graph, passes, lr)
        check_inputs(self.graph, RATE)
        self.lr, self.seed = lr, seed
        self.feeder = Feeder(self.graph, dataset, batch_size, augment, seed)
        self.metrics = _chosen(metrics, self.graph)
        fetched = dict.fromkeys((LOSS, *self.metrics))
        fetched = {LOGITS if name == ACCURACY else name: None for name in fetched}
        step = self.graph.select(*fetched)
        # Planned for the full batch from the start, so that no run plans differently than another.
        self.program = compile(step, backend, sizes=batch_sizes(step, batch_size))
        self.validation = validation
        if validation is not None:
            wanted = (LOSS, LOGITS) if ACCURACY in self.metrics else (LOSS,)
            self.evaluator = Evaluator(graph, backend, wanted=wanted)
            self.evaluator.check(validation, "validation")
        self.monitor = ""

    @property
    def measured(self) -> list[str]:
        """The names of the metrics, in the order of the history."""
        names = [LOSS, *self.metrics]
        if self.validation is not None:
            names += [HELD_OUT + name for name in (LOSS, ACCURACY) if name in names]
        return names

    def watch(self, monitor: str, keep: str) -> None:
        """Keep the variables of the epoch with the best ``monitor``, where that is asked for."""
        if keep != "best":
            return
        if monitor not in self.measured:
            need = "pass validation=, a data set, or " if self.validation is None else ""
            raise GraphError(
                f"keep='best' needs the metric {monitor!r}, which is not measured"
                f"{suggest(monitor, self.measured)}\n  to fix: {need}monitor one that is"
            )
        self.monitor = monitor

    def start(self, saved: State | None) -> State:
        """The state to go on from: a checkpoint's, or a fresh one."""
        variables = self.program.init(self.seed)
        if saved is None:
            return State(variables, {name: [] for name in self.measured})
        if list(saved.metrics) != self.measured:
            raise GraphError(
                f"the checkpoint measured {', '.join(saved.metrics)}, this run "
                f"{', '.join(self.measured)}: resume with the same metrics and validation"
            )
        if self.monitor and saved.best is None:
            raise GraphError("the checkpoint kept no best variables: resume with keep='last'")
        own = self.program.backend.from_host
        saved.variables = {name: own(array) for name, array in saved.variables.items()}
        if saved.best is not None:
            saved.best = {name: own(array) for name, array in saved.best.items()}
        return saved

    def _host(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """Outputs as NumPy arrays: a device is waited for once."""
        return {name: self.program.backend.to_host(array) for name, array in outputs.items()}

    def train(self, state: State, bar: Bar) -> None:
        """One epoch more."""
        sums, right, count = dict.fromkeys((LOSS, *self.metrics), 0.0), 0, 0
        for batch, (feed, labels) in enumerate(self.feeder.epoch(state.epoch)):
            rate = self._rate(state.epoch + batch / self.feeder.steps)
            if rate is not None:
                feed[RATE] = np.asarray(rate)
            out = self._host(self.program(state.variables, feed))
            if not math.isfinite(out[LOSS]):
                step = state.epoch * self.feeder.steps + batch
                raise GraphError(
                    f"the loss became {float(out[LOSS])} at step {step} (epoch {state.epoch + 1})"
                    f"{'' if rate is None else f', with lr={rate:g}'}: a smaller rate may help"
                )
            for name in sums:
                if name == ACCURACY:
                    right += correct(out[LOGITS], labels)
                else:
                    sums[name] += float(out[name]) * len(labels)
            count += len(labels)
            bar.step()
        found = {k: (right if k == ACCURACY else v) / count for k, v in sums.items()}
        if self.validation is not None:
            held_out = self.evaluator.run(state.variables, self.validation)
            found |= {HELD_OUT + name: value for name, value in held_out.items()}
        if self.monitor:
            known = state.metrics[self.monitor]
            value = found[self.monitor]
            if state.best is None or all(better(self.monitor, value, other) for other in known):
                copy = self.program.backend.copy
                state.best = {name: copy(array) for name, array in state.variables.items()}
        for name, row in state.metrics.items():
            row.append(found[name])
        state.epoch += 1
        bar.epoch(state.epoch, state.metrics)

    def _rate(self, epoch: float) -> float | None:
        if self.lr is None:
            return None
        rate = self.lr(epoch) if callable(self.lr) else self.lr
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.number):
            raise GraphError(f"lr at epoch {epoch:g} is {rate!r}, not a number")
        if not (math.isfinite(rate) and rate >= 0):
            raise GraphError(f"lr at epoch {epoch:g} is {rate}: it must be finite and at least 0")
        return float(rate)


def _training(graph: Graph, passes: Sequence[Pass], lr: Rate) -> Graph:
    """The training step, once it updates parameters at the rate that is given."""
    if callable(passes):
        passes = [passes]
    train = graph.apply(*passes)
    if not any(name in train.parameters for name in train.updates):
        raise GraphError(
            "these passes update no parameter, so nothing would be learned: end the list with "
            "passes.backward(), passes.sgd(lr='lr', momentum=0.9)"
        )
    if lr is not None and RATE not in train.inputs:
        raise GraphError(
            f"lr={lr!r} has nowhere to go: no pass made an input {RATE!r}\n  to fix: write "
            "passes.sgd(lr='lr'), or fit(…, lr=None) if the rate is in the passes"
        )
    if lr is None and RATE in train.inputs:
        raise GraphError(
            f"the input {RATE!r} needs a value, and lr is None: pass a number or a schedule: "
            f"{describe(train.inputs[RATE])}"
        )
    return train


def _chosen(metrics: Sequence[str], train: Graph) -> list[str]:
    """The metrics of the training batches, without the loss. Raises GraphError."""
    names = [metrics] if isinstance(metrics, str) else list(dict.fromkeys(metrics))
    if ACCURACY in names:
        logits = train.outputs.get(LOGITS)
        if logits is None or logits.ndim != 2:
            what = "there is none" if logits is None else f"it is {describe(logits)}"
            raise GraphError(
                f"the accuracy needs an output {LOGITS!r} of shape (N, classes), and {what}: "
                "name it so in gx.Graph({…}), or pass metrics=()"
            )
    scalars = [name for name, node in train.outputs.items() if node.shape == ()]
    for name in names:
        if name != ACCURACY and name not in scalars:
            raise GraphError(
                f"metrics: {name!r} is neither 'accuracy' nor a scalar output of the training "
                f"graph{suggest(str(name), [ACCURACY, *scalars])}"
            )
    return [name for name in names if name != LOSS]
