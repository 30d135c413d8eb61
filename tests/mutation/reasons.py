"""Why a mutant of a gradient rule may live: said here for each of them, published in docs.

A mutant that neither dies nor stands here fails the tests: it shows a weakness of
gx.gradient_check, or of the rows of tests/ops, which is then to be mended.
"""

from __future__ import annotations

SAME_SET = "axes are a set: `sum` orders them"
SYMMETRIC = "equality is symmetric"
WINNER = "where one operand is the larger, y equals it; where they tie, y equals both"
SHORTCUT = (
    "the branch for a constant exponent is a shortcut: the general rule gives the same values"
)
ONE_INPUT = "an op of one input: the last is the first"
INTEGERS = "backward asks for no gradient of an integer, and drops what it is given"
UNCHOSEN = (
    "stands where nothing is chosen; at 0.0 second derivatives are NaN, which row `pow-0` holds"
)
TIE = (
    "at a tie the two one-sided slopes differ, and gradient_check takes any slope between them; "
    "that ties split evenly is a convention, which the rows `maximum-ties` and `minimum-ties` hold "
    "against JAX"
)

REASONS: dict[str, str] = {
    "Cast.slope: cast(g, x.dtype) if is_float(x.dtype) else None -> cast(g, x.dtype)": INTEGERS,
    "Cast.slope: is_float(x.dtype) -> x.dtype": INTEGERS,
    "Cast.slope: x -> y": INTEGERS,
    "Conv2d.grad: (0, 2, 3) -> (2, 0, 3)": SAME_SET,
    "Conv2d.grad: (0, 2, 3) -> (0, 3, 2)": SAME_SET,
    "BatchNorm.grad: (0, *range(2, x.ndim)) -> (*range(2, x.ndim), 0)": SAME_SET,
    "Pow.slopes: b -> y": SHORTCUT,
    "Pow.slopes: b -> y (2)": SHORTCUT,
    "Pow.slopes: 0 -> -1": SHORTCUT,
    "Pow.slopes: float(b.op.value) -> b.op.value": (
        "an exponent as a NumPy scalar makes the same constants"
    ),
    "Pow.slopes: equal(b, 0) -> equal(0, b)": SYMMETRIC,
    "Pow.slopes: equal(a, 0) -> equal(0, a)": SYMMETRIC,
    "Pow.slopes: 1.0 -> 2.0": UNCHOSEN,
    "Pow.slopes: 1.0 -> 2.0 (2)": UNCHOSEN,
    "Pow.slopes: 1.0 -> 0.0": UNCHOSEN,
    "Pow.slopes: 1.0 -> 0.0 (2)": UNCHOSEN,
    "Maximum.slopes: a > b -> a >= b": TIE,
    "Maximum.slopes: b > a -> b >= a": TIE,
    "Maximum.slopes: equal(a, b) -> equal(b, a)": SYMMETRIC,
    "Maximum.slopes: equal(a, b) -> equal(b, a) (2)": SYMMETRIC,
    "Maximum.slopes: b -> y (2)": WINNER,
    "Maximum.slopes: b -> y (3)": WINNER,
    "Minimum.slopes: a < b -> a <= b": TIE,
    "Minimum.slopes: b < a -> b <= a": TIE,
    "Minimum.slopes: equal(a, b) -> equal(b, a)": SYMMETRIC,
    "Minimum.slopes: equal(a, b) -> equal(b, a) (2)": SYMMETRIC,
    "Minimum.slopes: b -> y (2)": WINNER,
    "Minimum.slopes: b -> y (3)": WINNER,
    "Linear.grad: sum(rows, 0) -> rows": "backward sums over what a bias was repeated along",
    "Unary.grad: 0 -> -1": ONE_INPUT,
    "AvgPool2d.grad: 0 -> -1": ONE_INPUT,
    "Reshape.grad: 0 -> -1": ONE_INPUT,
    "Pad.grad: 0 -> -1": ONE_INPUT,
    "Extremum.grad: equal(x, self.stretched(x, node)) -> equal(self.stretched(x, node), x)": (
        SYMMETRIC
    ),
    "Extremum.grad: x -> winners (4)": "both have the operand's shape, which is all that is read",
    "Concat.grad: node -> gradient": "a gradient has as many axes as its node",
    "Slice.grad: zip(x.shape, self.along(x.ndim), strict=True) -> "
    "zip(x.shape, self.along(x.ndim))": "the two are of one length",
    "Slice.grad: True -> False": "the two are of one length",
}
