"""What a plan of the device says of a step: counted from its launches."""

from __future__ import annotations

import graphc as gx
from tests.backends.cupy.nets import mlp


def test_a_plan_predicts() -> None:
    plan = gx.compile(mlp(), backend="emulated", sizes={"N": 8}).plan
    found = plan.predict("h200", captured=True)
    assert plan.launches - 1 <= found.launches <= plan.launches  # a check of labels is no kernel
    # The forward's two products, and of the backward's four those that somebody needs.
    products = 2 * 8 * (2 * 12 * 7 + 3 * 7 * 10)
    assert products < found.flops < 2 * products
    weights = 12 * 7 + 7 * 10
    assert found.bytes > 4 * (5 * weights + 8 * 12)  # p, v and g read, p and v written
    assert "not measured" in str(found)
    alone = gx.compile(mlp(), backend="emulated", sizes={"N": 8}, fused=False).plan
    assert alone.predict("h200").launches > 2 * found.launches
    assert alone.predict("h200").bytes > found.bytes
