"""What the emulator counts: kernels' work, and the driver calls of a program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from ..cuda.nvrtc import COMPILATIONS


@dataclass
class KernelCounts:
    """The work of kernels: of one launch, of all launches of one kernel, or of all kernels.

    ``bytes_read`` and ``bytes_written`` are what threads ask of global memory, each access counted.
    ``sectors`` are the 32-byte sectors that each warp touches in each access, and
    ``distinct_sectors`` those of a launch, each once: what a cache without limits would move. Both
    stay 0 unless traffic is counted.
    """

    launches: int = 0
    instructions: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    sectors: int = 0
    distinct_sectors: int = 0
    shared_bytes: int = 0
    barriers: int = 0
    atomics: int = 0
    float_atomics: int = 0
    write_conflicts: int = 0  # stores of different values at one address by one instruction

    def add(self, other: KernelCounts) -> None:
        """Add the counts of another launch."""
        for name in _WORK:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_WORK = tuple(f.name for f in fields(KernelCounts))


@dataclass
class Counts(KernelCounts):
    """What happened on the emulated device while :func:`counting`.

    ``launches`` are those the host made one by one, ``graph_kernels`` those that ran from a
    captured graph. ``operations`` counts everything that a fault can hit.
    """

    traffic: bool = False
    kernels: dict[str, KernelCounts] = field(default_factory=dict)
    graph_launches: int = 0
    graph_kernels: int = 0
    gemms: int = 0
    gemm_bytes: int = 0
    gemm_flops: int = 0
    allocations: int = 0
    allocated_bytes: int = 0
    frees: int = 0
    pinned_allocations: int = 0
    synchronisations: int = 0
    host_to_device: int = 0
    host_to_device_bytes: int = 0
    device_to_host: int = 0
    device_to_host_bytes: int = 0
    device_to_device: int = 0
    device_to_device_bytes: int = 0
    memsets: int = 0
    module_loads: int = 0
    compilations: int = 0
    operations: int = 0

    def kernel(self, name: str, work: KernelCounts, *, from_graph: bool) -> None:
        """Take in one finished launch."""
        self.kernels.setdefault(name, KernelCounts()).add(work)
        self.add(work)
        if from_graph:
            self.launches -= work.launches
            self.graph_kernels += work.launches


_active: list[Counts] = []


@contextmanager
def counting(*, traffic: bool = False) -> Iterator[Counts]:
    """Count what happens on the emulated device inside the block.

    ``traffic`` also counts sectors, which slows memory accesses down. Blocks may be nested; each
    counts for itself.

    >>> from graphc.backends.emulated import counting
    >>> with counting() as counts:
    ...     pass
    >>> counts.launches, counts.allocations
    (0, 0)
    """
    counts = Counts(traffic=traffic)
    before = len(COMPILATIONS)
    _active.append(counts)
    try:
        yield counts
    finally:
        counts.compilations += len(COMPILATIONS) - before  # ours; CuPy's own are counted at once
        # By identity: equal counts are not the same counts.
        _active[:] = [other for other in _active if other is not counts]


def active() -> list[Counts]:
    """Who counts at the moment."""
    return _active


def count(name: str, by: int = 1) -> None:
    """Add to a field of everybody who counts."""
    for counts in _active:
        setattr(counts, name, getattr(counts, name) + by)
