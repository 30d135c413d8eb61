"""From a name to a data set: the folder, the files, the arrays."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from graphc.data.dataset import Dataset
from graphc.data.fetch import fetch
from graphc.data.idx import parse_idx
from graphc.data.sources import SOURCES, Source
from graphc.ir.errors import FormatError, GraphError


def folder() -> Path:
    """The folder that holds one folder for each data set.

    It is ``GRAPHC_DATA`` where that is set, else ``graphc`` in ``XDG_CACHE_HOME``, else
    ``~/.cache/graphc``. It need not exist.

    >>> import os
    >>> from graphc import data
    >>> os.environ["GRAPHC_DATA"] = "/data"
    >>> print(data.folder())
    /data
    >>> del os.environ["GRAPHC_DATA"]
    """
    if given := os.environ.get("GRAPHC_DATA"):
        return Path(given).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG base directory specification: a relative path there is to be ignored.
    return (cache if cache.is_absolute() else Path("~/.cache").expanduser()) / "graphc"


def load(name: str, split: str) -> Dataset:
    """A data set of official files, checked against their SHA-256 before anything is parsed.

    ``name``: ``"mnist-mini"`` (ships with graphc: the first 6,000 and 2,000 digits of MNIST),
    ``"mnist"``, ``"fashion-mnist"`` (uint8 (n, 1, 28, 28)) or ``"cifar-10"`` (the binary version,
    (n, 3, 32, 32)). ``split``: ``"train"`` or ``"test"``. Files are looked for in
    ``data.folder() / name`` and fetched from the official servers where they are missing.

    The images: MNIST, LeCun, Cortes and Burges (CC BY-SA 3.0); Fashion-MNIST, Xiao, Rasul and
    Vollgraf 2017 (MIT); CIFAR-10, Krizhevsky 2009.

    Raises GraphError for a name or split that does not exist and where files are missing and cannot
    be fetched; FormatError for a file that is damaged.

    >>> from graphc import data
    >>> test = data.load("mnist-mini", "test")
    >>> test, test.labels[:5].tolist()
    (<Dataset mnist-mini/test: 2000 images 1x28x28, 10 classes>, [7, 2, 1, 0, 4])
    """
    source = SOURCES.get(name)
    if source is None:
        raise GraphError(f"no data set is called {name!r}; there are {', '.join(SOURCES)}")
    if split not in source.splits:
        raise GraphError(f"{name} has no split {split!r}; it has {', '.join(source.splits)}")
    if source.name == "mnist-mini":
        from importlib.resources import as_file, files

        with as_file(files("graphc.data") / "mnist_mini") as home:
            return read(source, split, home)
    home = folder() / name
    if any(not (home / file.name).exists() for file in source.splits[split]):
        fetch(source, split, home)
    return read(source, split, home)


def read(source: Source, split: str, home: Path) -> Dataset:
    """The split of a source whose files lie in the folder ``home``. Raises as ``load`` does."""
    files = source.splits[split]
    try:
        contents = [file.read(home / file.name) for file in files]
    except FormatError as error:
        raise FormatError(
            f"{error.message}; delete it and load again, or bring a sound copy"
        ) from None
    if files[0].gzip:
        images, labels = (
            parse_idx(content, file.name) for content, file in zip(contents, files, strict=True)
        )
        images = images[:, None]
    else:
        records = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, 1 + 3072)
        labels = records[:, 0]
        images = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
    return Dataset(images, labels, source.classes, source.name, split)
