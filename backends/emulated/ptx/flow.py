"""Basic blocks of decoded steps, and which registers must survive each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .frame import Frame
from .parser import Instruction


@dataclass(frozen=True)
class Step:
    """One decoded instruction: what it does to a frame, and the slots that it uses."""

    run: Callable[[Frame], None]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    instruction: Instruction


@dataclass(frozen=True)
class End:
    """How a basic block ends."""

    kind: str  # "next", "branch", "return", "barrier", "warp"
    instruction: Instruction | None = None
    guard: int = -1
    negated: bool = False
    target: int = -1


@dataclass
class Block:
    """Steps that run one after the other; ``next`` is the block that follows in the text."""

    steps: list[Step]
    end: End
    next: int
    reads: tuple[int, ...] = ()  # slots read before they are written here
    outs: tuple[int, ...] = ()  # slots written here and read later
    live: set[int] = field(default_factory=set)


def analyse(blocks: Mapping[int, Block], kept: Sequence[int] = ()) -> None:
    """Fill in ``reads`` and ``outs``: backward data flow over the blocks.

    ``kept`` are slots that are read after the end.
    """
    uses: dict[int, set[int]] = {}
    writes: dict[int, set[int]] = {}
    for at, block in blocks.items():
        used: set[int] = set()
        written: set[int] = set()
        for step in block.steps:
            used.update(s for s in step.reads if s not in written)
            written.update(step.writes)
        if block.end.guard >= 0 and block.end.guard not in written:
            used.add(block.end.guard)
        uses[at], writes[at] = used, written
        block.live = set(used)  # live at the beginning
    out: dict[int, set[int]] = {}
    changed = True
    while changed:
        changed = False
        for at in sorted(blocks, reverse=True):
            block = blocks[at]
            after: set[int] = set(kept) if block.end.kind == "return" else set()
            for follower in _followers(block):
                if follower in blocks:
                    after |= blocks[follower].live
                else:
                    after |= set(kept)
            live = uses[at] | (after - writes[at])
            out[at] = after
            if live != block.live:
                block.live = live
                changed = True
    for at, block in blocks.items():
        block.reads = tuple(sorted(uses[at]))
        block.outs = tuple(sorted(writes[at] & out[at]))


def _followers(block: Block) -> tuple[int, ...]:
    end = block.end
    if end.kind == "branch":
        return (end.target,) if end.guard < 0 else (end.target, block.next)
    if end.kind == "return":
        return () if end.guard < 0 else (block.next,)
    return (block.next,)
