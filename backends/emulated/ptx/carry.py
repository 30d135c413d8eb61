"""Integer sums of several words: instructions that hand a carry from one to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .flow import Step
from .frame import Frame
from .parser import Instruction
from .rounding import high_product
from .types import BOOL, TYPES, UNSIGNED, as_type

if TYPE_CHECKING:
    from .decode import Code

NAMES = ("add", "sub", "mad", "addc", "subc", "madc")


def step(code: Code, i: Instruction) -> Step | None:
    """``add.cc``, ``addc``, ``mad.lo.cc`` … ; None where the instruction has no carry."""
    name = i.opcode[0]
    if name not in NAMES or not (name.endswith("c") or "cc" in i.opcode):
        return None
    dtype = UNSIGNED[TYPES[i.opcode[-1]].itemsize]
    target = code.destination(i.operands[0], i.line)
    slots = [code.source(o, dtype, i.line) for o in i.operands[1:]]
    carry = code.constant("carry", BOOL)
    takes, gives = name.endswith("c"), "cc" in i.opcode
    base, high = name[:3], "hi" in i.opcode

    def run(frame: Frame) -> None:
        v = frame.values
        args = [as_type(v[slot], dtype) for slot in slots]
        if base == "mad":
            a, b, y = args
            x = high_product(a, b, dtype) if high else a * b
        else:
            x, y = args
        brought = v[carry].astype(dtype) if takes else dtype.type(0)
        if base == "sub":
            first = x - y
            total = first - brought
            over = (x < y) | (first < brought)
        else:
            first = x + y
            total = first + brought
            over = (first < x) | (total < first)
        v[target] = total
        if gives:
            v[carry] = over

    reads = (*slots, carry) if takes else tuple(slots)
    return Step(run, reads, (target, carry) if gives else (target,), i)
