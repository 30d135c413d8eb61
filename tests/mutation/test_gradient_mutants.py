"""Faults that a tool draws from the source of the gradient rules are found at their node alone."""

from __future__ import annotations

from functools import cache

import pytest

from tests.mutation.draw import Mutant, sample
from tests.mutation.gradients import Verdict, judge, rules
from tests.mutation.reasons import REASONS
from tests.mutation.report import PAGE, page, place, row

# As many as the faults written by hand in tests/analysis/test_gradient_check.py, and some more.
COUNT, SEED = 80, 20


@cache
def drawn() -> list[Mutant]:
    return rules()


@cache
def sampled() -> list[Verdict]:
    return [judge(mutant) for mutant in sample(drawn(), COUNT, SEED)]


def test_a_drawn_fault_is_found_at_its_node_and_only_there() -> None:
    found = [verdict for verdict in sampled() if verdict.fate == "found"]
    assert len(found) >= COUNT // 2
    for verdict in sampled():
        assert verdict.fate != "misplaced", f"{verdict.mutant.key}\n{verdict.said}"
        if verdict.fate not in ("found", "refused"):
            assert verdict.mutant.key in REASONS, f"{verdict.mutant.source}\n{verdict}"


def test_the_page_is_the_sample_s() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"| drawn | {len(drawn())} |" in text, "run: python -m tests.mutation"
    for verdict in sampled():
        lives = verdict.fate not in ("found", "refused")
        assert row(verdict) in text if lives else place(verdict) not in text, verdict


def test_every_reason_is_of_a_mutant() -> None:
    assert set(REASONS) <= {mutant.key for mutant in drawn()}


def test_the_sample_is_spread_over_the_rules_and_the_seed_s() -> None:
    one, again = (sample(drawn(), COUNT, SEED) for _ in range(2))
    assert one == again != sample(drawn(), COUNT, SEED + 1)
    places = {(mutant.module.__name__, mutant.where) for mutant in drawn()}
    assert len({(mutant.module.__name__, mutant.where) for mutant in one}) == min(
        len(places), COUNT
    )
    assert len(sample(drawn(), 10**6, 0)) == len(drawn())


@pytest.mark.slow
def test_all_of_them() -> None:
    verdicts = [judge(mutant) for mutant in drawn()]
    assert not [verdict for verdict in verdicts if verdict.fate == "misplaced"]
    living = {v.mutant.key for v in verdicts if v.fate not in ("found", "refused")}
    assert living == set(REASONS)
    assert page(verdicts) == PAGE.read_text(encoding="utf-8"), "run: python -m tests.mutation"
