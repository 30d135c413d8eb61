"""The part of docs/mutants.md on faults of the CUDA backend."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence

from tests.mutation.cuda import (
    CAUGHT,
    FUSION,
    PRINTER,
    Verdict,
    drawn,
    judge_drawn,
    judge_fault,
    key,
)
from tests.mutation.cuda_faults import FAULTS, Fault
from tests.mutation.cuda_reasons import REASONS
from tests.mutation.draw import Mutant, sample
from tests.mutation.report import CUDA, PAGE

COUNTS, SEED = {PRINTER: 120, FUSION: 24}, 20  # how many of all that can be drawn are tried

HEAD = f"""{CUDA}

The kernels of the CuPy backend are printed by functions of `backends/cuda`. They are broken on
purpose too, and small graphs (`tests/mutation/cuda_programs.py`: odd sizes, windows over the edge,
sums in parts, every type of number, 64-bit indices, elements chosen by the data, random numbers,
products by tiles and by the library) are run on the emulated device and compared with
`gx.interpret`. Some faults are written by hand, as edits of printed CUDA
(`tests/mutation/cuda_faults.py`); the others are drawn by the same tool as above: from the source
of the printer, and from that of what decides which descriptions become one kernel. There is no
fault of a lost atomic: the backend has none. Indices of 64 bits run at small sizes; that they are
where they must be (`large`) is read from the source.

This part is written by `python -m tests.mutation.cuda`; `make soak` tries it all again, the tests
try a few.

"""

# Whether a fault gives a wrong number or is refused may depend on what lay in memory before.
FATES = {
    ("value", "refused"): "caught: a wrong number; or refused by the device (bounds, races, "
    "barriers, memory that nothing has written) or by NVRTC",
    ("unprinted",): "caught: the printer fails",
    ("equal",): "another source, the same values",
    ("same",): "the same source",
}


def tried() -> tuple[list[Mutant], list[Mutant]]:
    """The drawn ones that are tried: of the printer, of the fusion."""
    printer, fusion = (sample(drawn(names), COUNTS[names], SEED) for names in (PRINTER, FUSION))
    return printer, fusion


def part(
    hand: Sequence[tuple[Fault, Verdict]], printer: Sequence[tuple[Mutant, Verdict]],
    fusion: Sequence[tuple[Mutant, Verdict]],
) -> str:  # fmt: skip
    """The whole part. Raises KeyError for one that lives without a reason."""
    columns = [Counter(v.fate for _, v in pairs) for pairs in (hand, printer, fusion)]
    lines = ["| | by hand | drawn: printer | drawn: fusion |", "|---|---|---|---|"]
    lines.append(f"| all | {len(hand)} | {len(printer)} | {len(fusion)} |")
    for fates, text in FATES.items():
        counts = " | ".join(str(sum(column[fate] for fate in fates)) for column in columns)
        lines.append(f"| {text} | {counts} |")
    lines += ["", "## Written by hand", ""]
    lines += ["| fault | graph | what becomes of it |", "|---|---|---|"]
    for fault, verdict in hand:
        told = "caught" if verdict.caught else f"not caught: {fault.lives}"
        lines.append(f"| {fault.name} | {', '.join(fault.graphs)} | {told} |")
    for title, pairs in (("the printer", printer), ("the fusion", fusion)):
        lines += ["", f"## Drawn from {title}, and not caught", ""]
        lines += ["| function | before | after | why |", "|---|---|---|---|"]
        for mutant, verdict in pairs:
            if verdict.fate not in CAUGHT:
                lines.append(_row(mutant))
    return HEAD + "\n".join(lines) + "\n"


def _row(mutant: Mutant) -> str:
    module = mutant.module.__name__.rpartition(".")[2]
    again = mutant.key.removeprefix(f"{mutant.where}: {mutant.before} -> {mutant.after}")
    where, before, after = map(_code, (f"{module}.{mutant.where}", mutant.before, mutant.after))
    return f"| {where} | {before}{again} | {after} | {REASONS[key(mutant)]} |"


def _code(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`"


def write(wanted: Sequence[str]) -> int:
    """Try all, print what becomes of each, write the part where every one that lives has a reason
    (``wanted``: words; only the faults with one of them in their name are tried, and nothing is
    written)."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAPHC_CACHE"] = folder
        return _write(wanted)


def _write(wanted: Sequence[str]) -> int:
    def chosen(name: str) -> bool:
        return not wanted or any(word in name for word in wanted)

    hand: list[tuple[Fault, Verdict]] = []
    for fault in FAULTS:
        if chosen(fault.name):
            hand.append((fault, judge_fault(fault)))
            _print(fault.name, hand[-1][1], fault.lives)
    pairs: list[list[tuple[Mutant, Verdict]]] = []
    for group in tried():
        pairs.append([])
        for mutant in group:
            if chosen(key(mutant)):
                pairs[-1].append((mutant, judge_drawn(mutant)))
                _print(key(mutant), pairs[-1][-1][1], REASONS.get(key(mutant), ""))
    if wanted:
        return 0
    before = PAGE.read_text(encoding="utf-8").partition(CUDA)[0].rstrip("\n")
    PAGE.write_text(f"{before}\n\n{part(hand, *pairs)}", encoding="utf-8")
    return 0


def _print(name: str, verdict: Verdict, reason: str) -> None:
    why = verdict.said if verdict.caught else reason or "NO REASON"
    sys.stdout.write(f"{verdict.fate:9} {name}\n          {why}\n")
    sys.stdout.flush()
