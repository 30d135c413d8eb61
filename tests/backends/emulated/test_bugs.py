"""Bugs that people write into kernels are noticed: by a refusal, or by a wrong value."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.backends.emulated import DeviceFault
from tests.backends.emulated.bugs import BUGS, SOURCE, Bug, Case, cases
from tests.backends.emulated.cuda import run

CASES = {case.kernel: case for case in cases()}


def correct(source: str, case: Case) -> bool:
    args = [a.copy() if isinstance(a, np.ndarray) else a for a in case.args]
    # Only the sum reads what it adds to.
    fresh = () if case.kernel == "total" else (case.out,)
    run(source, case.kernel, case.grid, case.block, *args, uninitialised=fresh)
    return np.allclose(args[case.out], case.want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", CASES)
def test_without_a_bug(kernel: str) -> None:
    assert correct(SOURCE, CASES[kernel])


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_noticed(bug: Bug) -> None:
    try:
        found = not correct(bug.source(), CASES[bug.kernel])
    except DeviceFault:
        found = True
    assert found
