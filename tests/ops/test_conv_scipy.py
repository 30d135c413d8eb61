"""Single-channel convolution and correlation against SciPy, and the lecture's examples by hand."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from scipy import signal

import graphc as gx

IMAGE = np.array(
    [[1, 0, 1, 1, 0], [1, 1, 0, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0], [1, 1, 1, 0, 1]], float
)
MASK = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1]], float)
POOLED = np.array(
    [[3, 5, 8, 10, 9, 4], [7, 10, 2, 6, 2, 8], [7, 3, 5, 1, 7, 0],
     [1, 2, 6, 1, 9, 2], [3, 1, 2, 2, 5, 4], [4, 8, 2, 1, 4, 3]], float
)  # fmt: skip
MODES: list[Literal["valid", "same", "full"]] = ["valid", "same", "full"]
SIZES = [(3, 3), (2, 2), (1, 4), (4, 3), (5, 2), (1, 1)]


def run(function: Any, *planes: np.ndarray[Any, Any], **settings: Any) -> np.ndarray[Any, Any]:
    """``function`` of one-channel images, in float64."""
    nodes = [gx.input(f"x{i}", (1, 1, *p.shape), dtype="float64") for i, p in enumerate(planes)]
    graph = gx.Graph({"y": function(*nodes, **settings)})
    inputs = {f"x{i}": plane[None, None] for i, plane in enumerate(planes)}
    found: np.ndarray[Any, Any] = gx.interpret(graph, {}, inputs=inputs)["y"]
    return found[0, 0]  # type: ignore[no-any-return]


@pytest.fixture
def image() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).normal(size=(6, 7))


def filters(size: tuple[int, int]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(2).normal(size=size)


# -- the lecture, row 3 and row 9 ------------------------------------------------------------------


def test_the_worked_example_as_correlation() -> None:
    assert run(gx.conv2d, IMAGE, MASK).tolist() == [[3, 3, 2], [2, 1, 3], [2, 3, 3]]


def test_the_worked_example_by_the_formula() -> None:
    assert run(gx.convolve2d, IMAGE, MASK).tolist() == [[2, 2, 4], [3, 4, 1], [3, 2, 1]]


def test_the_pooling_example() -> None:
    largest = run(gx.max_pool2d, POOLED, kernel=2)
    mean = run(gx.avg_pool2d, POOLED, kernel=2)
    assert largest.tolist() == [[10, 10, 9], [7, 6, 9], [8, 2, 5]]
    assert mean.tolist() == [[6.25, 6.5, 5.75], [3.25, 3.25, 4.5], [4, 1.75, 4]]


def test_odd_sizes_pool_by_floor_and_same_by_ceil() -> None:
    odd = POOLED[:5, :5]
    assert run(gx.max_pool2d, odd, kernel=2).tolist() == [[10, 10], [7, 6]]
    assert run(gx.max_pool2d, odd, kernel=2, padding="same").tolist() == [
        [10, 10, 9], [7, 6, 9], [3, 2, 5],
    ]  # fmt: skip
    # Divided by the pixels inside: the corner is the mean of one.
    assert run(gx.avg_pool2d, odd, kernel=2, padding="same")[2].tolist() == [2, 2, 5]


# -- row 2 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_convolve2d_is_scipys(
    image: np.ndarray[Any, Any], size: tuple[int, int], mode: Literal["valid", "same", "full"]
) -> None:
    expected = signal.convolve2d(image, filters(size), mode=mode)
    found = run(gx.convolve2d, image, filters(size), padding=mode)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_conv2d_is_scipys_correlation(image: np.ndarray[Any, Any], size: tuple[int, int]) -> None:
    valid = signal.correlate2d(image, filters(size), mode="valid")
    np.testing.assert_allclose(run(gx.conv2d, image, filters(size)), valid, rtol=0, atol=1e-13)
    # At stride 1 TensorFlow's "same" is SciPy's: the odd pixel after.
    same = signal.correlate2d(image, filters(size), mode="same")
    found = run(gx.conv2d, image, filters(size), padding="same")
    np.testing.assert_allclose(found, same, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_formula_with_indices_running_negative_too(size: tuple[int, int]) -> None:
    """x1[n,m] = Σ f[k,l]·x0[n-k, m-l], f indexed from its origin (K-1)//2."""
    x0, f = np.random.default_rng(3).normal(size=(4, 5)), filters(size)
    origin = [(k - 1) // 2 for k in size]
    expected = np.zeros(x0.shape)
    for n, m in np.ndindex(x0.shape):
        for k in range(-origin[0], size[0] - origin[0]):
            for m_back in range(-origin[1], size[1] - origin[1]):
                row, column = n - k, m - m_back
                if 0 <= row < 4 and 0 <= column < 5:
                    weight = f[k + origin[0], m_back + origin[1]]
                    expected[n, m] += weight * x0[row, column]
    np.testing.assert_allclose(run(gx.convolve2d, x0, f, padding="same"), expected, atol=1e-13)


def test_a_stride_takes_every_second_pixel_of_same(image: np.ndarray[Any, Any]) -> None:
    f = filters((4, 3))
    every = signal.convolve2d(image, f, mode="same")
    found = run(gx.convolve2d, image, f, padding="same", stride=2)
    np.testing.assert_allclose(found, every[::2, ::2], atol=1e-13)


def test_dilation_is_a_filter_with_holes(image: np.ndarray[Any, Any]) -> None:
    f, holes = filters((2, 3)), np.zeros((2, 5))
    holes[:, ::2] = f
    for mode in MODES:
        found = run(gx.convolve2d, image, f, padding=mode, dilation=(1, 2))
        np.testing.assert_allclose(found, signal.convolve2d(image, holes, mode=mode), atol=1e-13)
