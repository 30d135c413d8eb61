"""Images with labels: a value that can be cut, joined and turned into what a graph takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from graphc.ir.errors import GraphError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Indices = slice | Sequence[int] | npt.NDArray[Any]


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images. Fields: ``images``, ``labels``, ``classes``, ``name``, ``split``.

    ``images`` is uint8 (n, c, h, w), ``labels`` int64 (n,), ``classes[label]`` the label's name (by
    default its digits). Both arrays are read-only views of what was given, not copies.
    ``dataset[a:b]`` and ``dataset[indices]`` are data sets; ``dataset[i]`` is the pair
    (image, label), so a data set is also a sequence of pairs. Raises GraphError where the arrays
    are not that.

    >>> import numpy as np
    >>> from graphc import data
    >>> mine = data.Dataset(np.zeros((4, 3, 8, 8), np.uint8), np.array([0, 1, 1, 0]), name="mine")
    >>> mine[1:3], mine[[0, 3]].labels.tolist()
    (<Dataset mine: 2 images 3x8x8, 2 classes>, [0, 0])
    """

    images: Images
    labels: Labels
    classes: tuple[str, ...] = ()
    name: str = "dataset"
    split: str = ""

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise GraphError(
                f"images of {self.name!r} are {images.dtype}{list(images.shape)}; a data set holds "
                "uint8 images (n, c, h, w) with values 0 to 255"
            )
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise GraphError(
                f"labels of {self.name!r} are {labels.dtype}{list(labels.shape)}; {len(images)} "
                f"images take integer labels of shape [{len(images)}]"
            )
        classes = tuple(self.classes)
        low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, -1)
        if not classes:
            classes = tuple(str(label) for label in range(high + 1))
        if low < 0 or high >= len(classes):
            raise GraphError(
                f"labels of {self.name!r} go from {low} to {high}, but there are {len(classes)} "
                f"classes: a label is an index from 0 to {len(classes) - 1}"
            )
        for field, value in (
            ("images", _read_only(images)),
            ("labels", _read_only(labels.astype(np.int64, copy=False))),
            ("classes", classes),
        ):
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> tuple[Images, int]: ...
    @overload
    def __getitem__(self, index: Indices) -> Dataset: ...
    def __getitem__(self, index: int | Indices) -> tuple[Images, int] | Dataset:
        if isinstance(index, int | np.integer):
            return self.images[index], int(self.labels[index])
        if not isinstance(index, slice):
            index = np.asarray(index)
            if index.size == 0:  # NumPy makes an empty list a float array, which cannot index
                index = index.astype(np.int64)
        return self._with(self.images[index], self.labels[index])

    def __iter__(self) -> Iterator[tuple[Images, int]]:
        return ((image, int(label)) for image, label in zip(self.images, self.labels, strict=True))

    def __repr__(self) -> str:
        label = f"{self.name}/{self.split}" if self.split else self.name
        size = "x".join(map(str, self.images.shape[1:]))
        return f"<Dataset {label}: {len(self)} images {size}, {len(self.classes)} classes>"

    def arrays(self) -> tuple[npt.NDArray[np.float32], Labels]:
        """What a graph takes: float32 images in [0, 1] (pixel / 255) and int64 labels, both new.

        >>> from graphc import data
        >>> x, y = data.load("mnist-mini", "test").arrays()
        >>> float(x.min()), float(x.max())
        (0.0, 1.0)
        """
        return np.divide(self.images, np.float32(255), dtype=np.float32), self.labels.copy()

    def _with(self, images: Images, labels: Labels, name: str | None = None) -> Dataset:
        return Dataset(images, labels, self.classes, name or self.name, self.split)


def union(dataset: Dataset, tau: Callable[[Images], npt.ArrayLike]) -> Dataset:
    """S ∪ {(τ(x), y)}: the data set followed by its transformed copy, so twice as many images.

    ``tau`` takes all the images, uint8 (n, c, h, w), and gives as many of the same shape and dtype
    (its result is not checked for keeping the label: that is the claim one makes by choosing it).
    Raises GraphError for another shape or dtype. Source: the lecture, "Data augmentation".

    >>> from graphc import data
    >>> train = data.load("mnist-mini", "train")
    >>> data.union(train, lambda images: data.augment.shift(images, 2, seed=0))
    <Dataset mnist-mini+tau/train: 12000 images 1x28x28, 10 classes>
    """
    moved = np.asarray(tau(dataset.images))
    if moved.dtype != np.uint8 or moved.shape != dataset.images.shape:
        raise GraphError(
            f"tau gave {moved.dtype}{list(moved.shape)} for the images "
            f"uint8{list(dataset.images.shape)} of {dataset.name!r}; a union needs images of the "
            "same shape and dtype"
        )
    return dataset._with(
        np.concatenate([dataset.images, moved]),
        np.concatenate([dataset.labels, dataset.labels]),
        f"{dataset.name}+tau",
    )
