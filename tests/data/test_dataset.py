"""Dataset as a value: cutting, pairs, arrays, checks; the union of the lecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc import data
from graphc.ir.errors import GraphError


@pytest.fixture(scope="module")
def small() -> data.Dataset:
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 5, 4), dtype=np.uint8)
    return data.Dataset(images, np.arange(10) % 4, ("a", "b", "c", "d"), "small", "train")


def test_arrays_are_pixels_over_255_and_new(small: data.Dataset) -> None:
    x, y = small.arrays()
    assert (x.dtype.name, y.dtype.name, x.shape) == ("float32", "int64", (10, 3, 5, 4))
    assert np.array_equal(x, (small.images.astype(np.float64) / 255).astype(np.float32))
    assert np.array_equal(x, small.images.astype("float32") / 255)
    x[:] = 0
    y[:] = 9
    assert small.images.any()
    assert small.labels.max() == 3


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(2, 5),
        slice(None, None, -3),
        slice(50, 60),
        [3, 3, 0],
        [],
        np.array([9, 1]),
        np.arange(10) % 2 == 0,
        np.random.default_rng(0).permutation(10),
    ],
    ids=str,
)
def test_cut_as_numpy_cuts(small: data.Dataset, index: Any) -> None:
    part = small[index]
    if isinstance(index, list):
        index = np.array(index, int)
    assert np.array_equal(part.images, small.images[index])
    assert np.array_equal(part.labels, small.labels[index])
    assert len(part) == len(part.labels)
    assert (part.name, part.split, part.classes) == (small.name, small.split, small.classes)


def test_a_sequence_of_pairs(small: data.Dataset) -> None:
    image, label = small[-1]
    assert np.array_equal(image, small.images[9])
    assert label == 1
    assert [label for _, label in small] == small.labels.tolist()
    assert all(np.array_equal(a, b) for (a, _), b in zip(small, small.images, strict=True))
    with pytest.raises(IndexError):
        small[10]


def test_repr_says_what_it_is(small: data.Dataset) -> None:
    assert repr(small) == "<Dataset small/train: 10 images 3x5x4, 4 classes>"
    assert repr(data.Dataset(small.images, small.labels)) == (
        "<Dataset dataset: 10 images 3x5x4, 4 classes>"
    )


def test_it_cannot_be_changed(small: data.Dataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        small.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        small[2:4].labels[0] = 0
    with pytest.raises(AttributeError):
        small.name = "other"  # type: ignore[misc]


def test_narrow_labels_widen() -> None:
    labels = np.array([0, 2], np.uint8)
    one = data.Dataset(np.zeros((2, 1, 2, 2), np.uint8), labels)
    assert one.labels.dtype == np.int64
    assert one.classes == ("0", "1", "2")


IMAGES = np.zeros((3, 1, 2, 2), np.uint8)
WRONG = [
    (IMAGES.astype("float32"), [0, 0, 0], (), r"images of 'dataset' are float32\[3, 1, 2, 2\]"),
    (IMAGES[:, 0], [0, 0, 0], (), r"uint8\[3, 2, 2\]; a data set holds uint8 images"),
    (IMAGES, [0, 0], (), r"labels of 'dataset' are int64\[2\]; 3 images take"),
    (IMAGES, [0.0, 0.0, 0.0], (), r"labels of 'dataset' are float64\[3\]"),
    (IMAGES, [[0], [0], [0]], (), r"int64\[3, 1\]"),
    (IMAGES, [0, -1, 1], (), r"go from -1 to 1, but there are 2 classes"),
    (IMAGES, [0, 1, 2], ("cat", "dog"), r"from 0 to 2, .* 2 classes: .* index from 0 to 1"),
]


@pytest.mark.parametrize(("images", "labels", "classes", "message"), WRONG)
def test_what_is_no_data_set(images: Any, labels: Any, classes: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        data.Dataset(images, labels, classes)


def test_union_doubles(small: data.Dataset) -> None:
    both = data.union(small, lambda images: images[..., ::-1])
    assert len(both) == 2 * len(small)
    assert np.array_equal(both.images[:10], small.images)
    assert np.array_equal(both.images[10:], np.flip(small.images, 3))
    assert np.array_equal(both.labels, np.tile(small.labels, 2))
    assert (both.classes, both.split) == (small.classes, small.split)
    assert len(data.union(both, lambda images: data.augment.shift(images, 1, seed=0))) == 40


@pytest.mark.parametrize(
    "tau",
    [lambda x: x / np.float32(255), lambda x: x[:, :, 1:], lambda x: x[1:]],
    ids=["dtype", "size", "count"],
)
def test_union_refuses_other_images(small: data.Dataset, tau: Any) -> None:
    with pytest.raises(GraphError, match=r"tau gave .* for the images uint8\[10, 3, 5, 4\]"):
        data.union(small, tau)
