"""A folder of checkpoints, ``step-<n>.safetensors``: how a run goes on where it was killed."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphc.data.dataset import Dataset
from graphc.ir.errors import GraphError
from graphc.ir.graph import Graph
from graphc.train.checkpoint import load, save

Array = np.ndarray[Any, np.dtype[Any]]

_FILE = re.compile(r"step-(\d+)\.safetensors")
# What a run keeps beside the variables has names under this one.
_OURS = "fit/"
_METRIC, _BEST, _SETTING = "fit/metric/", "fit/best/", "fit/setting/"


@dataclass
class State:
    """All that a run carries from one epoch to the next."""

    variables: dict[str, Array]
    metrics: dict[str, list[float]]
    best: dict[str, Array] | None = None
    epoch: int = field(default=0)  # epochs done


def fingerprint(dataset: Dataset) -> int:
    """64 bits of the SHA-256 of the images and labels."""
    digest = hashlib.sha256(np.ascontiguousarray(dataset.images).data)
    digest.update(np.ascontiguousarray(dataset.labels).data)
    return int.from_bytes(digest.digest()[:8], "little")


class Folder:
    """The checkpoints of one run: of one graph, data set, batch size and seed."""

    def __init__(
        self, path: str | os.PathLike[str], graph: Graph, settings: dict[str, int]
    ) -> None:
        self.path = Path(path)
        self.graph = graph
        self.settings = settings

    def files(self) -> dict[int, Path]:
        """The checkpoints by their number of steps, in that order."""
        if self.path.exists() and not self.path.is_dir():
            raise GraphError(f"checkpoint={str(self.path)!r} is a file; name a folder")
        found = ((_FILE.fullmatch(p.name), p) for p in self.path.glob("step-*.safetensors"))
        return dict(sorted((int(match[1]), path) for match, path in found if match))

    def prepare(self, *, resume: bool) -> None:
        """Make the folder; one that holds another run's checkpoints is an error."""
        files = self.files()
        if files and not resume:
            raise GraphError(
                f"checkpoint={str(self.path)!r} already holds a run, up to "
                f"{[*files.values()][-1].name}: pass resume=True to go on with it, or name another "
                "folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, state: State) -> None:
        """Write ``step-<step>.safetensors``, whole or not at all."""
        content: dict[str, Any] = {**state.variables, "fit/epoch": np.int64(state.epoch)}
        content |= {_SETTING + name: np.uint64(value) for name, value in self.settings.items()}
        content |= {_METRIC + name: np.array(row) for name, row in state.metrics.items()}
        content |= {_BEST + name: array for name, array in (state.best or {}).items()}
        save(self.path / f"step-{step}.safetensors", content, self.graph)

    def latest(self, most: int) -> State | None:
        """The last checkpoint of at most ``most`` steps, None where the folder is empty.

        Raises GraphError where it is another run's, FormatError where the file is damaged.
        """
        files = self.files()
        within = [step for step in files if step <= most]
        if not files:
            return None
        if not within:
            raise GraphError(
                f"{self.path} holds only checkpoints beyond the {most} steps asked for: ask for "
                "more epochs, or name another folder"
            )
        path = files[within[-1]]
        content, graph = load(path)
        self._check(path, content, graph)
        metrics = {k.removeprefix(_METRIC): v for k, v in content.items() if k.startswith(_METRIC)}
        best = {k.removeprefix(_BEST): v for k, v in content.items() if k.startswith(_BEST)}
        return State(
            {name: array for name, array in content.items() if not name.startswith(_OURS)},
            {name: row.tolist() for name, row in metrics.items()},
            best or None,
            int(content["fit/epoch"]),
        )

    def _check(self, path: Path, content: dict[str, Array], graph: Graph | None) -> None:
        """The checkpoint is of this very run: resuming another would give a third."""
        for name, value in self.settings.items():
            kept = content.get(_SETTING + name)
            if kept is None:
                raise GraphError(f"{path} is no checkpoint of gx.fit: it does not say its {name}")
            if int(kept) != value:
                told = "another" if name == "dataset" else f"{name}={int(kept)}"
                raise GraphError(
                    f"{path} is of a run with {told}, not "
                    f"{'this data set' if name == 'dataset' else f'{name}={value}'}: resume with "
                    "what that run had, or name another folder"
                )
        if graph != self.graph:
            raise GraphError(
                f"{path} is of another graph ({graph!r}, now {self.graph!r}): resume with the same "
                "network and passes, or name another folder"
            )
