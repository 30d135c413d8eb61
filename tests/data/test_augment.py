"""Augmentation against SciPy, NumPy and NumPy's own Philox; independence of the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage

from graphc.data import augment
from graphc.ir.errors import GraphError


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 3, 9, 12), dtype=np.uint8)


def words(name: str, seed: int, index: int) -> list[int]:
    """The four words of an image, from NumPy's generator."""
    stream = int.from_bytes(hashlib.sha256(f"augment/{name}".encode()).digest()[:8], "little")
    philox = np.random.Philox(
        key=np.array([seed, stream], np.uint64), counter=np.array([0, index, 0, 0], np.uint64)
    )
    return [int(word) for word in philox.random_raw(4)]


def below(word: int, count: int) -> int:
    return (word >> 32) * count >> 32


def unit(word: int) -> float:
    return (word >> 11) / 2**53


@pytest.mark.parametrize("seed", [0, 7, 2**63, 2**64 - 1])
@pytest.mark.parametrize(("pixels", "p"), [(0, 1.0), (1, 0.5), (2, 1.0), (8, 0.9)])
def test_shift_is_scipys(images: np.ndarray, seed: int, pixels: int, p: float) -> None:
    got = augment.shift(images, pixels, seed=seed, p=p)
    for i, image in enumerate(images):
        u, y, x, _ = words("shift", seed, i)
        move = [0, pixels - below(y, 2 * pixels + 1), pixels - below(x, 2 * pixels + 1)]
        if unit(u) >= p:
            move = [0, 0, 0]
        want = scipy.ndimage.shift(image, move, order=0, mode="constant", cval=0, prefilter=False)
        assert np.array_equal(got[i], want)


def test_shifts_are_uniform_over_all_places() -> None:
    dot = np.zeros((25_000, 1, 5, 5), np.uint8)
    dot[:, :, 2, 2] = 1
    counts = augment.shift(dot, 2, seed=3).sum((0, 1))
    assert counts.sum() == 25_000
    # Chi-square of 24 degrees of freedom: above 51.2 once in a thousand.
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 51.2


def test_flip_is_numpys(images: np.ndarray) -> None:
    got = augment.flip(images, seed=5)
    turned = [unit(words("flip", 5, i)[0]) < 0.5 for i in range(len(images))]
    assert 5 < sum(turned) < 35
    for image, result, turn in zip(images, got, turned, strict=True):
        assert np.array_equal(result, np.flip(image, 2) if turn else image)
    assert np.array_equal(augment.flip(images, seed=5, p=0.0), images)
    assert np.array_equal(augment.flip(images, seed=5, p=1.0), np.flip(images, 3))


@pytest.mark.parametrize(("size", "padding"), [((9, 12), 4), (5, 0), ((1, 12), 0), ((11, 3), 1)])
def test_random_crop_is_a_window(images: np.ndarray, size: Any, padding: int) -> None:
    rows, columns = size if isinstance(size, tuple) else (size, size)
    got = augment.random_crop(images, size, padding, seed=11, p=0.8)
    assert got.shape == (40, 3, rows, columns)
    wide = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    free = (wide.shape[2] - rows, wide.shape[3] - columns)
    for i in range(len(images)):
        u, y, x, _ = words("random_crop", 11, i)
        top, left = below(y, free[0] + 1), below(x, free[1] + 1)
        if unit(u) >= 0.8:
            top, left = free[0] // 2, free[1] // 2
        assert np.array_equal(got[i], wide[i, :, top : top + rows, left : left + columns])


def test_center_crop(images: np.ndarray) -> None:
    assert np.array_equal(augment.center_crop(images, (3, 4)), images[:, :, 3:6, 4:8])
    assert np.array_equal(augment.center_crop(images, (4, 3)), images[:, :, 2:6, 4:7])
    assert np.array_equal(augment.center_crop(images, (9, 12)), images)


def test_standardize_per_image(images: np.ndarray) -> None:
    flat = np.concatenate([images, np.full((1, 3, 9, 12), 255, np.uint8)])
    got = augment.standardize_per_image(flat)
    assert got.dtype == np.float32
    x = flat.astype(np.float64)
    floor = 1 / np.sqrt(3 * 9 * 12)
    want = (x - x.mean((1, 2, 3), keepdims=True)) / np.maximum(
        x.std((1, 2, 3), keepdims=True), floor
    )
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    assert not got[-1].any()
    assert augment.standardize_per_image(flat[:0]).shape == (0, 3, 9, 12)


RANDOM: dict[str, Callable[..., np.ndarray]] = {
    "shift": lambda x, **how: augment.shift(x, 2, **how),
    "flip": augment.flip,
    "random_crop": lambda x, **how: augment.random_crop(x, 6, 1, **how),
}


@pytest.mark.parametrize("name", RANDOM)
def test_an_image_does_not_know_its_batch(images: np.ndarray, name: str) -> None:
    """The same image under the same (seed, index) is the same, wherever it stands."""
    tau = RANDOM[name]
    whole = tau(images, seed=1)
    assert whole.dtype == np.uint8
    assert not np.array_equal(whole, tau(images, seed=2))
    for start in (0, 7, 39):
        assert np.array_equal(tau(images[start:], seed=1, index=start), whole[start:])
    order = np.random.default_rng(1).permutation(len(images))
    assert np.array_equal(tau(images[order], seed=1, index=order), whole[order])
    assert np.array_equal(
        tau(images[order[:3]], seed=1, index=order[:3].tolist()), whole[order[:3]]
    )
    assert np.array_equal(
        tau(np.ascontiguousarray(images[::2]), seed=1, index=order[::2] * 0 + 5),
        tau(images[::2], seed=1, index=np.full(20, 5)),
    )
    assert tau(images[:0], seed=1).shape == (0, *whole.shape[1:])


def test_the_first_images_are_fixed() -> None:
    """A change of the random numbers is a change for every user: say so in the change log."""
    ramp = np.arange(25, dtype=np.uint8).reshape(1, 1, 5, 5).repeat(4, 0)
    assert augment.shift(ramp, 2, seed=0)[:, 0, 2, 2].tolist() == [21, 13, 12, 13]


def test_inputs_are_left_alone(images: np.ndarray) -> None:
    before = images.copy()
    images.flags.writeable = False
    for tau in RANDOM.values():
        out = tau(images, seed=0, p=0.0)
        assert not np.shares_memory(out, images)
        out[:] = 0
    assert not np.shares_memory(augment.center_crop(images, 4), images)
    assert np.array_equal(images, before)


GOOD = np.zeros((4, 1, 8, 8), np.uint8)
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "float": (lambda: augment.shift(GOOD.astype(float), 2, seed=0), r"not float64\[4, 1, 8, 8\]"),
    "rank": (lambda: augment.flip(GOOD[0], seed=0), r"not uint8\[1, 8, 8\]"),
    "list": (lambda: augment.flip([[1]], seed=0), "not a list"),  # type: ignore[arg-type]
    "empty": (lambda: augment.standardize_per_image(GOOD[:, :, :0]), r"uint8\[4, 1, 0, 8\]"),
    "far": (lambda: augment.shift(GOOD, 8, seed=0), "pixels=8 is not between 0 and 7"),
    "negative": (lambda: augment.shift(GOOD, -1, seed=0), "pixels=-1"),
    "half": (lambda: augment.shift(GOOD, 1.5, seed=0), "pixels=1.5 is not a whole"),  # type: ignore[arg-type]
    "seed": (lambda: augment.shift(GOOD, 1, seed=2**64), "seed=18446744073709551616 is not"),
    "p": (lambda: augment.flip(GOOD, seed=0, p=1.1), "p=1.1 is not a probability"),
    "nan": (lambda: augment.flip(GOOD, seed=0, p=float("nan")), "p=nan"),
    "window": (lambda: augment.random_crop(GOOD, (8, 9), seed=0), "size=9 is not between 1 and 8"),
    "three": (lambda: augment.center_crop(GOOD, (1, 2, 3)), "nor a pair"),  # type: ignore[arg-type]
    "padding": (lambda: augment.random_crop(GOOD, 8, 9, seed=0), "padding=9"),
    "index": (lambda: augment.flip(GOOD, seed=0, index=-1), "index -1 is negative"),
    "indices": (lambda: augment.flip(GOOD, seed=0, index=[1, 2]), r"int64\[2\]; .* shape \[4\]"),
    "fraction": (lambda: augment.flip(GOOD, seed=0, index=1.5), "index is float64"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_what_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        call()
