"""python -m tests.mutation: try every mutant of every gradient rule, and write docs/mutants.md."""

from __future__ import annotations

from tests.mutation.gradients import judge, rules
from tests.mutation.report import PAGE, page

if __name__ == "__main__":
    verdicts = [judge(mutant) for mutant in rules()]
    PAGE.write_text(page(verdicts), encoding="utf-8")
