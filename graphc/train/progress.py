"""A progress bar where somebody looks at a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """One line for a whole run: epochs, the last epoch's metrics, time left."""

    def __init__(self, epochs: int, done: int, steps: int) -> None:
        self.epochs, self.steps = epochs, steps
        self._progress: Progress | None = None
        if sys.stderr is None or not sys.stderr.isatty():
            return
        # Here and not above: a run that nobody watches does not pay for it.
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("epoch"),
            progress.MofNCompleteColumn(),
            progress.BarColumn(),
            progress.TextColumn("{task.description}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task: TaskID = self._progress.add_task("", total=epochs, completed=done)

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def step(self) -> None:
        """One batch is done."""
        if self._progress is not None:
            self._progress.advance(self._task, 1 / self.steps)

    def epoch(self, number: int, metrics: dict[str, list[float]]) -> None:
        """Epoch ``number`` (from 1) is done."""
        if self._progress is not None:
            said = "  ".join(f"{name} {row[-1]:.4f}" for name, row in metrics.items())
            self._progress.update(self._task, completed=number, description=said)
