"""Random graphs, valid by construction: ``sample(seed)`` draws one over all public ops.

Made for every test that wants many graphs: printing and parsing, compilers against
``gx.interpret``, gradients against finite differences, passes, drawings. The same seed gives the
same graph in every process.

A ``Sample`` has a graph of 5 to 25 drawn ops with a symbolic batch (in a third of them symbolic
height and width too), the scalar output ``loss`` that depends on every drawn value, one to three
more outputs, shared parameters (in every second one at least), branches, tracked and freely updated
states, and for each of its ``runs`` (sizes) the arrays to call it with.

How it stays valid: every value carries bounds on its elements, found by interval arithmetic, so
that a logarithm is only taken of what is positive and nothing overflows; every size is known in
each of the runs, so that a window is only laid where it fits. No comparison is near a tie except
where both sides are exactly equal, so that two correct computations take the same branch.
"""

from __future__ import annotations

from tests import random_movement, random_values  # noqa: F401 - they register themselves
from tests.random_draw import CLASSES, Array, Draw, Sample, Sizes


def sample(seed: int, dtype: str = "float64") -> Sample:
    """The random graph number ``seed``."""
    return Draw(seed, dtype).run()


__all__ = ["CLASSES", "Array", "Sample", "Sizes", "sample"]
