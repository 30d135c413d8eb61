"""What a device is taken to be: the constants behind every choice and every prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...ir import dims
from ...ir.dims import Size
from ...ir.kernel import Gemm
from .segments import Tile, extent


@dataclass(frozen=True)
class Device:
    """Rates of a device. ``assumed``: the names of those that nobody has measured."""

    name: str
    bandwidth: float  # bytes a second
    library: float  # float32 flops a second of cuBLAS, without TF32
    kernel: float  # float32 flops a second of our tiled kernel
    launch: float  # seconds the host takes for one launch
    floor: float  # seconds that the shortest kernel takes
    graph_node: float  # seconds for each kernel of a captured graph
    multiprocessors: int
    assumed: tuple[str, ...] = ()


# Bandwidth is a reading of an H200; what is assumed stands until a device has run.
DEVICES = {
    "h200": Device(
        "NVIDIA H200", 4.3e12, 50e12, 15e12, 6.5e-6, 2e-6, 1e-6, 132,
        ("library", "kernel", "launch", "floor", "graph_node"),
    ),
    "h100": Device(
        "NVIDIA H100", 3.0e12, 50e12, 15e12, 6.5e-6, 2e-6, 1e-6, 132,
        ("bandwidth", "library", "kernel", "launch", "floor", "graph_node"),
    ),
    "a100": Device(
        "NVIDIA A100", 1.5e12, 17e12, 7e12, 6.5e-6, 2e-6, 1e-6, 108,
        ("bandwidth", "library", "kernel", "launch", "floor", "graph_node"),
    ),
}  # fmt: skip
TILES = (
    Tile(64, 64, 16, 4, 4), Tile(64, 32, 16, 4, 2), Tile(32, 64, 16, 2, 4), Tile(32, 32, 16, 2, 2),
    Tile(64, 16, 16, 4, 1), Tile(16, 64, 16, 1, 4), Tile(16, 16, 16, 1, 1),
)  # fmt: skip


class Products:
    """How each matrix product is computed, at the sizes that a graph is taken to run at."""

    def __init__(
        self, device: Device, sizes: Mapping[str, int], *, library: bool | None,
        possible: Callable[[Gemm], bool],
    ) -> None:  # fmt: skip
        self.device, self.sizes, self.library, self.possible = device, sizes, library, possible

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
        saved = flops / self.device.kernel - flops / self.device.library
        return saved > self.device.launch

    def tile(self, step: Gemm) -> tuple[Tile, int]:
        """How a product is cut, and into how many parts its sum is."""
        m, n, k, z = (self.size(extent(axes)) for axes in (step.m, step.n, step.k, step.batch))

        def cost(tile: Tile) -> float:
            blocks = -(-m // tile.rows) * -(-n // tile.columns) * z
            waves = -(-blocks // self.device.multiprocessors)
            # Products a block does, and what it loads for them, for each wave of blocks.
            each = tile.rows * tile.columns + 8 * (tile.rows + tile.columns)
            return max(waves, blocks / self.device.multiprocessors) * each

        best = min(TILES, key=cost)
        blocks = -(-m // best.rows) * -(-n // best.columns) * z
        parts = 1
        while parts < 32 and blocks * parts * 2 <= self.device.multiprocessors and (
            k // (parts * 2) >= 256
        ):  # fmt: skip
            parts *= 2
        return best, parts


__all__ = ["DEVICES", "Device", "Products"]
