"""Wrong CUDA is caught: faults of printed kernels, and faults drawn from the printer's source.

They are those of docs/mutants.md (``tests/mutation``).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.mutation.cuda import PRINTER, drawn, judge_drawn, judge_fault, key, stages
from tests.mutation.cuda_faults import FAULTS, Fault
from tests.mutation.cuda_reasons import REASONS
from tests.mutation.cuda_report import CUDA, PAGE, part, tried
from tests.mutation.draw import sample

FEW, SEED = 8, 10  # faults of each kind that are tried by every run
SOME = random.Random(SEED).sample([fault for fault in FAULTS if not fault.lives], FEW)


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHC_CACHE", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.mark.slow
def test_nothing_is_caught_where_nothing_is_wrong() -> None:
    for stage in stages():
        assert not stage.trial.wrong(stage.trial.program(), stage.right)


@pytest.mark.parametrize("fault", SOME, ids=lambda fault: fault.name)
def test_a_fault_of_a_kernel_is_caught(fault: Fault) -> None:
    assert judge_fault(fault).caught


def test_most_faults_drawn_from_the_printer_are_caught() -> None:
    """Some that are drawn are none, and whether these are has not been looked at."""
    verdicts = {
        key(mutant): judge_drawn(mutant) for mutant in sample(drawn(PRINTER, FEW, SEED), FEW, SEED)
    }
    alive = [name for name, verdict in verdicts.items() if not verdict.caught]
    assert len(alive) <= FEW // 4, alive
    assert [verdict.fate for verdict in verdicts.values()].count("unprinted") < FEW


def test_each_fault_has_a_name_of_its_own_and_changes_what_it_says() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60
    texts = {stage.trial.name: stage.text for stage in stages()}
    for fault in FAULTS:
        assert any(fault.edit(texts[name]) != texts[name] for name in fault.graphs), fault.name


@pytest.mark.slow
def test_all_of_them_and_the_page() -> None:
    hand = [(fault, judge_fault(fault)) for fault in FAULTS]
    assert [f.name for f, verdict in hand if verdict.caught == bool(f.lives)] == []
    printer, fusion = ([(mutant, judge_drawn(mutant)) for mutant in group] for group in tried())
    alive = {key(mutant) for mutant, verdict in (*printer, *fusion) if not verdict.caught}
    # One that is new here is a weakness of the graphs (add one that catches it) or no fault (say
    # why): a changed printer has other faults.
    assert alive == set(REASONS)
    assert sum(verdict.fate in ("value", "refused") for _, verdict in printer) >= 30
    text = PAGE.read_text(encoding="utf-8")
    written = text[text.index(CUDA) :]
    assert written == part(hand, printer, fusion), "run: python -m tests.mutation.cuda"
