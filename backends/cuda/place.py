"""Which block of its segment a thread is in."""

from __future__ import annotations

from ...ir.dims import Size
from .segments import BLOCK
from .writer import Writer


class Place:
    """Which block of a segment a thread is in: texts."""

    def __init__(self, block: str, blocks: str, cast: str) -> None:
        self.block, self.blocks, self.cast = block, blocks, cast

    def loop(self, writer: Writer, points: Size, inner: list[str]) -> list[str]:
        """A loop in which the segment's threads run through ``points`` as p, one each."""
        integer, bound = writer.integer, writer.size(points)
        start = f"{self.cast}{self.block} * {BLOCK} + (int)threadIdx.x"
        step = f"{self.cast}{self.blocks} * {BLOCK}"
        return [
            *writer.prologue,
            f"for ({integer} p = {start}; p < {bound}; p += {step}) {{",
            *(f"    {line}" for line in inner),
            "}",
        ]
