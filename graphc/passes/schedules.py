"""Learning rates as expressions of the step: for the ``lr`` of any optimizer.

They are ordinary nodes on ``gx.step()``, so they multiply, and the rate is in the drawn graph.
"""

from __future__ import annotations

import math

from graphc.ir import GraphError, Node
from graphc.ops.compare import cast
from graphc.ops.core import constant
from graphc.ops.elementwise import cos, maximum, minimum, pow
from graphc.ops.state import step
from graphc.passes.optimizer import checked_rate, number


def warmup(lr: float | Node, steps: int) -> Node:
    """``lr``·(t + 1)/``steps`` at step t from 0 on, until it is ``lr``.

    lr: a number, or a schedule. steps: how many of them the rate grows. Goyal et al. 2017.
    Raises GraphError for a negative rate or fewer steps than 1.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc.passes import schedules
    >>> rate = gx.Graph({"lr": schedules.warmup(0.5, 4)})
    >>> [float(gx.interpret(rate, {"step": np.array(t)})["lr"]) for t in range(6)]
    [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    """
    return minimum((step() + 1) / _steps(steps, "warmup"), 1.0) * _rate(lr, "warmup")


def step_decay(lr: float | Node, every: int, factor: float = 0.1) -> Node:
    """``lr``·``factor``ᵏ at step t, k = ⌊t / ``every``⌋.

    lr: a number, or a schedule. Raises GraphError for a negative rate or factor, or every < 1.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc.passes import schedules
    >>> rate = gx.Graph({"lr": schedules.step_decay(1.0, every=2, factor=0.5)})
    >>> [float(gx.interpret(rate, {"step": np.array(t)})["lr"]) for t in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """
    base = constant(number(factor, "step_decay(factor=…)"), "float32")
    times = cast(cast(step() / _steps(every, "step_decay"), "int64"), "float32")
    return pow(base, times) * _rate(lr, "step_decay")


def cosine(lr: float | Node, steps: int, *, start: int = 0, final: float = 0.0) -> Node:
    """From ``lr`` to ``final``·``lr`` along half a cosine, over ``steps`` steps from ``start`` on.

    lr: a number, or a schedule (``warmup(cosine(0.1, 9500, start=500), 500)``). Before ``start`` it
    is ``lr``, after the last step ``final``·``lr``. Loshchilov, Hutter 2017 (without restarts).
    Raises GraphError for a negative rate or start, final outside [0, 1], or fewer steps than 1.

    >>> import numpy as np
    >>> import graphc as gx
    >>> from graphc.passes import schedules
    >>> rate = gx.Graph({"lr": schedules.cosine(2.0, 4)})
    >>> [round(float(gx.interpret(rate, {"step": np.array(t)})["lr"]), 4) for t in range(6)]
    [2.0, 1.7071, 1.0, 0.2929, 0.0, 0.0]
    """
    low = number(final, "cosine(final=…)", high=1.0)
    first = int(number(start, "cosine(start=…)"))
    done = (step() - first) / _steps(steps, "cosine")
    wave = (cos(minimum(maximum(done, 0.0), 1.0) * math.pi) + 1) * ((1 - low) / 2) + low
    return wave * _rate(lr, "cosine")


def _rate(lr: float | Node, what: str) -> float | Node:
    rate = checked_rate(lr, f"{what}(lr)")
    if isinstance(rate, str):
        raise GraphError(f"{what}({lr!r}, …): the rate is a number or a schedule, not a name")
    return rate


def _steps(steps: int, what: str) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise GraphError(f"{what}: a number of steps is an int of at least 1, not {steps!r}")
    return steps


__all__ = ["cosine", "step_decay", "warmup"]
