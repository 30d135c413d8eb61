"""docs/mutants.md: what became of the mutants, and why those that live may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.gradients import Verdict
from tests.mutation.reasons import REASONS

CUDA = "# Wrong CUDA, and who finds it"  # where the part of cuda_report.py begins
PAGE = Path(__file__).parents[2] / "docs" / "mutants.md"

HEAD = """# Wrong gradient rules, and who finds them

`gx.gradient_check` says which node of a graph has a wrong gradient rule. To know how well, the
rules are broken on purpose: a tool (`tests/mutation`) reads their source, makes every small change
it knows of (another operator or sign, a factor or an argument dropped, operands exchanged, a
constant, a comparison or an axis changed, another variable), injects each at one node of a graph
that uses the rule, and asks for the verdict. The graphs are those of the op tests, and their
gradients.

This page is written by `python -m tests.mutation`, which tries them all; the tests try a seeded
sample of them, and `make soak` all again.

"""

FATES = {
    "found": "found by `gx.gradient_check` at its node, and only there",
    "refused": "refused: the rule builds no graph, and the error names the node",
    "equal": "other nodes, the same values",
    "same": "the same nodes",
    "survived": "not found",
}


def page(verdicts: Sequence[Verdict]) -> str:
    """The page, its part on CUDA as it is. Raises KeyError for one that lives without a reason."""
    count = Counter(verdict.fate for verdict in verdicts)
    lines = ["| of all mutants | |", "|---|---|", f"| drawn | {len(verdicts)} |"]
    lines += [f"| {text} | {count[fate]} |" for fate, text in FATES.items()]  # type: ignore[index]
    kinds = Counter(verdict.mutant.kind for verdict in verdicts)
    dead = Counter(v.mutant.kind for v in verdicts if v.fate in ("found", "refused"))
    lines += ["", "| kind of change | drawn | found or refused |", "|---|---|---|"]
    lines += [f"| {kind} | {kinds[kind]} | {dead[kind]} |" for kind in sorted(kinds)]
    for title, fates in (
        ("Not found", ("survived",)),
        ("No faults: the gradients are the same", ("equal", "same")),
    ):
        living = [verdict for verdict in verdicts if verdict.fate in fates]
        lines += ["", f"## {title}", "", "| rule | before | after | why |", "|---|---|---|---|"]
        lines += [row(verdict) for verdict in living]
    _, begins, rest = PAGE.read_text(encoding="utf-8").partition(CUDA)
    return HEAD + "\n".join(lines) + "\n" + (f"\n{begins}{rest}" if begins else "")


def row(verdict: Verdict) -> str:
    """One that lives, as the page has it."""
    return f"{place(verdict)} {REASONS[verdict.mutant.key]} |"


def place(verdict: Verdict) -> str:
    """Rule, before and after: the beginning of a row, which no other has."""
    mutant = verdict.mutant
    plain = f"{mutant.where}: {mutant.before} -> {mutant.after}"
    again = mutant.key.removeprefix(plain)
    before, after = (text.replace("|", "\\|") for text in (mutant.before, mutant.after))
    return f"| `{mutant.where}` | `{before}`{again} | `{after}` |"
