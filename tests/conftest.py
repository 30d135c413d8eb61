"""What every test shares: thread limits, hypothesis settings, minutes per folder at the end."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two pytest workers on two cores: one thread each, or they fight. NumPy and JAX read these when
# first imported, which is after this file; xdist's workers inherit them.
for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",  # the oracle in float64; float32 arrays stay float32
    "MPLBACKEND": "agg",
    "GRAPHC_VERIFY_PLAN": "1",  # every plan of every test goes through verify_plan
}.items():
    os.environ.setdefault(_name, _value)

from graphc.testing import backend  # noqa: E402 - it imports NumPy

__all__ = ["backend"]

# The same examples on every machine: a red test is red for everybody. `make soak` widens them.
settings.register_profile(
    "graphc",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("graphc")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print minutes of test time per folder, slowest first, where more than one was run."""
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                parts = Path(report.nodeid.split("::")[0]).parts
                seconds["/".join(parts[:-1][:2])] += report.duration
    if len(seconds) > 1:
        terminalreporter.section("minutes per folder, summed over the workers", sep="-")
        for folder, spent in sorted(seconds.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{spent / 60:6.2f}  {folder}")
