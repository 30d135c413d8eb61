"""How each matrix product is computed: by cuBLAS or by tiles, and by which."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphc.compiler.devices import Device

from ...ir import dims
from ...ir.dims import Size
from ...ir.kernel import Gemm
from .segments import Tile, extent

# What share of its peak a device attains, and how many multiprocessors: assumed until one has run.
LIBRARY, KERNEL = 0.75, 0.25
MULTIPROCESSORS = 132
TILES = (
    Tile(64, 64, 16, 4, 4), Tile(64, 32, 16, 4, 2), Tile(32, 64, 16, 2, 4), Tile(32, 32, 16, 2, 2),
    Tile(64, 16, 16, 4, 1), Tile(16, 64, 16, 1, 4), Tile(16, 16, 16, 1, 1),
)  # fmt: skip


class Products:
    """How each matrix product is computed, at the sizes that a graph is taken to run at."""

    def __init__(
        self, device: Device, sizes: Mapping[str, int], *, library: bool | None,
        possible: Callable[[Gemm], bool], tf32: bool = False,
    ) -> None:  # fmt: skip
        self.device, self.sizes, self.library, self.possible = device, sizes, library, possible
        self.tf32 = tf32

    def size(self, size: Size) -> int:
        """A size as a number."""
        return dims.evaluate(size, self.sizes)

    def flops(self, step: Gemm) -> int:
        """A multiply-add is two."""
        return 2 * self.size(extent((*step.batch, *step.m, *step.n, *step.k)))

    def choose(self, step: Gemm) -> bool:
        """Whether a product goes to cuBLAS (where its operands lie so that it can): only where what
        the faster kernel saves is more than a launch that no captured graph can hold costs."""
        if self.library is False or not self.possible(step):
            return False
        if self.library:
            return True
        flops = self.flops(step)
        single, fast = self.device.float32.value, self.device.float32.value
        if self.tf32:
            fast = self.device.tfloat32.value
        saved = flops / (KERNEL * single) - flops / (LIBRARY * fast)
        return saved > self.device.launch.value

    def tile(self, step: Gemm) -> tuple[Tile, int]:
        """How a product is cut, and into how many parts its sum is."""
        m, n, k, z = (self.size(extent(axes)) for axes in (step.m, step.n, step.k, step.batch))

        def cost(tile: Tile) -> float:
            blocks = -(-m // tile.rows) * -(-n // tile.columns) * z
            waves = -(-blocks // MULTIPROCESSORS)
            # Products a block does, and what it loads for them, for each wave of blocks.
            each = tile.rows * tile.columns + 8 * (tile.rows + tile.columns)
            return max(waves, blocks / MULTIPROCESSORS) * each

        best = min(TILES, key=cost)
        blocks = -(-m // best.rows) * -(-n // best.columns) * z
        parts = 1
        while parts < 32 and blocks * parts * 2 <= MULTIPROCESSORS and (
            k // (parts * 2) >= 256
        ):  # fmt: skip
            parts *= 2
        return best, parts


__all__ = ["Products"]
