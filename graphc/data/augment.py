"""Transformations of images that keep the label. All take and give uint8 (n, c, h, w).

What happens to an image depends on (seed, index) alone, never on the batch it came in, on the order
or on how many times one has drawn before: image i of a run is the same on every machine. ``index``
says which images these are: the first one's number (default 0), or one number for each image.

The bits are Philox's (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): word
j of image i under transformation ``t`` is word j of
``numpy.random.Philox(key=[seed, s], counter=[0, i, 0, 0])``, s being the first 8 bytes of
SHA-256("augment/t"), little end first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from graphc.data.dataset import Images
from graphc.ir.errors import GraphError

Index = int | Sequence[int] | npt.NDArray[Any]
Words = npt.NDArray[np.uint64]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def shift(
    images: Images, pixels: int = 2, *, seed: int, p: float = 1.0, index: Index = 0
) -> Images:
    """Each image moved by whole pixels, up to ±``pixels`` on either axis, zeros where it was not.

    ``p`` is the probability that an image is moved at all; then both distances are uniform on
    -pixels … pixels (0 included). Raises GraphError for images that are not uint8 (n, c, h, w) or
    arguments out of range.

    >>> import numpy as np
    >>> from graphc import data
    >>> images = data.load("mnist-mini", "test").images
    >>> moved = data.augment.shift(images, 2, seed=7)
    >>> bool(np.array_equal(data.augment.shift(images[5:6], 2, seed=7, index=5), moved[5:6]))
    True
    """
    height, width = _check(images)
    _whole("pixels", pixels, 0, min(height, width) - 1)
    words = _words("shift", seed, _numbers(index, len(images)))
    chosen = _chosen(words[:, 0], p)
    span = 2 * pixels + 1
    top = np.where(chosen, _below(words[:, 1], span), pixels)
    left = np.where(chosen, _below(words[:, 2], span), pixels)
    return _windows(_padded(images, pixels), top, left, height, width)


def flip(images: Images, *, seed: int, p: float = 0.5, index: Index = 0) -> Images:
    """Each image mirrored left to right with probability ``p``. Raises GraphError as ``shift``.

    >>> import numpy as np
    >>> from graphc import data
    >>> image = np.array([[[[1, 2, 3]]]], np.uint8)
    >>> data.augment.flip(image, seed=0, p=1.0).tolist()
    [[[[3, 2, 1]]]]
    """
    _check(images)
    chosen = _chosen(_words("flip", seed, _numbers(index, len(images)))[:, 0], p)
    return np.where(chosen[:, None, None, None], images[..., ::-1], images)


def random_crop(
    images: Images,
    size: int | tuple[int, int],
    padding: int = 0,
    *,
    seed: int,
    p: float = 1.0,
    index: Index = 0,
) -> Images:
    """A window of ``size`` (h, w) at a random place of each image with ``padding`` zeros around.

    With probability 1 - ``p`` it is the central window instead. CIFAR's usual crop is
    ``random_crop(images, 32, 4, seed=seed)``. Raises GraphError as ``shift``, and for a window that
    does not fit.

    >>> import numpy as np
    >>> from graphc import data
    >>> images = np.zeros((2, 3, 32, 32), np.uint8)
    >>> data.augment.random_crop(images, 28, seed=0).shape
    (2, 3, 28, 28)
    """
    height, width = _check(images)
    _whole("padding", padding, 0, max(height, width))
    height, width = height + 2 * padding, width + 2 * padding
    rows, columns = _size(size, height, width)
    words = _words("random_crop", seed, _numbers(index, len(images)))
    chosen = _chosen(words[:, 0], p)
    top = np.where(chosen, _below(words[:, 1], height - rows + 1), (height - rows) // 2)
    left = np.where(chosen, _below(words[:, 2], width - columns + 1), (width - columns) // 2)
    return _windows(_padded(images, padding), top, left, rows, columns)


def center_crop(
    images: Images, size: int | tuple[int, int], *, seed: int = 0, index: Index = 0
) -> Images:
    """The central window of ``size`` (h, w); of two central ones, the upper or left.

    Nothing is random: ``seed`` and ``index`` are there so that all transformations are called
    alike. Raises GraphError as ``random_crop``.

    >>> import numpy as np
    >>> from graphc import data
    >>> data.augment.center_crop(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4), 2).tolist()
    [[[[5, 6], [9, 10]]]]
    """
    height, width = _check(images)
    rows, columns = _size(size, height, width)
    _whole("seed", seed, 0, 2**64 - 1)
    _numbers(index, len(images))
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[:, :, top : top + rows, left : left + columns].copy()


def standardize_per_image(images: Images) -> npt.NDArray[np.float32]:
    """Each image less its mean, over its standard deviation: float32 (n, c, h, w).

    Mean and deviation are over all its pixels and channels (population), and the deviation counts
    as at least 1/sqrt(c·h·w), so that a flat image becomes zeros: TensorFlow's
    ``tf.image.per_image_standardization``. Raises GraphError as ``shift``.

    >>> import numpy as np
    >>> from graphc import data
    >>> data.augment.standardize_per_image(np.array([[[[0, 2]]]], np.uint8)).tolist()
    [[[[-1.0, 1.0]]]]
    """
    _check(images)
    axes, count = (1, 2, 3), math.prod(images.shape[1:])
    # Whole numbers up to here, so that the variance loses nothing to cancellation.
    total = images.sum(axes, dtype=np.int64, keepdims=True)
    squares = np.square(images, dtype=np.int64).sum(axes, keepdims=True)
    deviation = np.sqrt((count * squares - total * total) / (count * count))
    scale = np.maximum(deviation, 1 / np.sqrt(count))
    standard: npt.NDArray[np.float64] = (images - total / count) / scale
    return standard.astype(np.float32)


# What the transformations share: checks, windows, random words.


def _check(images: object) -> tuple[int, int]:
    """The height and width of the images, once they are images."""
    if not isinstance(images, np.ndarray):
        what = f"a {type(images).__name__}"
    elif images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape[1:]:
        what = f"{images.dtype}{list(images.shape)}"
    else:
        return images.shape[2], images.shape[3]
    raise GraphError(
        f"augmentation takes uint8 images (n, c, h, w), not {what}; augment a data set's .images "
        "before they become float32"
    )


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise GraphError(f"{name}={value!r} is not a whole number")
    if not low <= value <= high:
        raise GraphError(f"{name}={value} is not between {low} and {high}")


def _size(size: int | tuple[int, int], height: int, width: int) -> tuple[int, int]:
    pair = size if isinstance(size, tuple) else (size, size)
    if len(pair) != 2:
        raise GraphError(f"size={size!r} is neither a number nor a pair (h, w)")
    for value, limit in zip(pair, (height, width), strict=True):
        _whole("size", value, 1, limit)
    return pair


def _padded(images: Images, around: int) -> Images:
    return np.pad(images, ((0, 0), (0, 0), (around, around), (around, around)))


def _windows(
    images: Images,
    top: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
    height: int,
    width: int,
) -> Images:
    """From image i the window whose corner is (top[i], left[i])."""
    windows = sliding_window_view(images, (height, width), axis=(2, 3))
    return windows[np.arange(len(images)), :, top, left]


def _numbers(index: Index, count: int) -> Words:
    """One number for each image: ``index`` itself, or counted up from it."""
    numbers = np.asarray(index)
    if numbers.dtype.kind not in "iu" or numbers.shape not in ((), (count,)):
        raise GraphError(
            f"index is {numbers.dtype}{list(numbers.shape)}; it is the first image's number, or "
            f"whole numbers of shape [{count}], one for each image"
        )
    if numbers.size and int(numbers.min()) < 0:
        raise GraphError(f"index {int(numbers.min())} is negative; images are counted from 0")
    numbers = numbers.astype(np.uint64)
    return numbers if numbers.ndim else numbers + np.arange(count, dtype=np.uint64)


def _words(name: str, seed: int, numbers: Words) -> Words:
    """Four random words for each number, uint64 (n, 4); the module's docstring says which."""
    _whole("seed", seed, 0, 2**64 - 1)
    stream = hashlib.sha256(f"augment/{name}".encode()).digest()[:8]
    keys = [int(seed), int.from_bytes(stream, "little")]
    # NumPy's Philox counts up before it draws, so its first block is that of counter 1.
    block = [np.ones_like(numbers), numbers, np.zeros_like(numbers), np.zeros_like(numbers)]
    for _ in range(10):
        high0, low0 = _multiply(block[0], _MULTIPLIERS[0])
        high1, low1 = _multiply(block[2], _MULTIPLIERS[1])
        block = [
            high1 ^ block[1] ^ np.uint64(keys[0]),
            low1,
            high0 ^ block[3] ^ np.uint64(keys[1]),
            low0,
        ]
        keys = [(key + step) % 2**64 for key, step in zip(keys, _WEYL, strict=True)]
    return np.stack(block, axis=1)


def _multiply(a: Words, b: int) -> tuple[Words, Words]:
    """The high and low 64 bits of the 128-bit product, by halves of 32."""
    b_low, b_high = np.uint64(b & 0xFFFFFFFF), np.uint64(b >> 32)
    a_low, a_high = a & _LOW, a >> _HALF
    low = a_low * b_low
    middle = a_high * b_low + (low >> _HALF)
    other = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _HALF) + (other >> _HALF), a * np.uint64(b)


def _chosen(words: Words, p: object) -> npt.NDArray[np.bool_]:
    """True with probability p: a uniform number in [0, 1) of 53 bits, below p."""
    if isinstance(p, bool) or not isinstance(p, int | float | np.floating) or not 0 <= p <= 1:
        raise GraphError(f"p={p!r} is not a probability, a number from 0 to 1")
    return (words >> np.uint64(11)) * 2.0**-53 < p


def _below(words: Words, count: int) -> npt.NDArray[np.int64]:
    """Whole numbers from 0 to count - 1, uniform within count·2⁻³² (Lemire's multiply-shift)."""
    return (((words >> _HALF) * np.uint64(count)) >> _HALF).astype(np.int64)
