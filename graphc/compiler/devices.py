"""What is known of devices: the constants that predictions are made from, each with its origin.

A number here is a reading, a data sheet's, or assumed, and says which; nothing that is computed
from it is ever shown as measured.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from graphc.ir.errors import GraphError
from graphc.ir.naming import suggest

Origin: TypeAlias = Literal["read", "data sheet", "assumed"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A number and where it is from: read (off such a device), its data sheet, or assumed."""

    value: float
    origin: Origin

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.origin})"


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the cost model sees it.

    Attributes: ``bandwidth`` (bytes a second of its memory), ``float64`` … ``bfloat16`` (operations
    a second, a multiply-add is two), ``kernel`` (seconds of the shortest kernel), ``launch``
    (seconds of the host to issue one launch), ``graph_node`` (seconds between the kernels of a
    captured graph).
    """

    name: str
    bandwidth: Constant
    float64: Constant
    float32: Constant
    tfloat32: Constant
    float16: Constant
    bfloat16: Constant
    kernel: Constant
    launch: Constant
    graph_node: Constant

    def constants(self) -> dict[str, Constant]:
        """Every constant, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}

    def assumed(self) -> tuple[str, ...]:
        """The names of those that nobody has read and no data sheet gives."""
        return tuple(n for n, constant in self.constants().items() if constant.origin == "assumed")


def _device(
    name: str,
    bandwidth: Constant,
    rates: tuple[float, float, float, float],
    bfloat16: Constant | None = None,
) -> Device:
    """``rates``: float64, float32, tfloat32 and 16 bits (dense), of the data sheet."""
    double, single, tensor, half = (Constant(rate, "data sheet") for rate in rates)
    return Device(
        name, bandwidth, double, single, tensor, half, bfloat16 or half,
        kernel=Constant(2.0e-6, "assumed"),
        launch=Constant(6.5e-6, "assumed"),
        graph_node=Constant(1.0e-6, "assumed"),
    )  # fmt: skip


# The rates of the data sheets are peaks: what a kernel attains is less.
DEVICES = {
    device.name: device
    for device in (
        _device("a100", Constant(2.04e12, "data sheet"), (9.7e12, 19.5e12, 156e12, 312e12)),
        _device("h100", Constant(3.35e12, "data sheet"), (34e12, 67e12, 495e12, 989e12)),
        _device(
            "h200", Constant(4.3e12, "read"), (34e12, 67e12, 495e12, 989e12),
            Constant(788e12, "read"),
        ),
        _device("rtx-4090", Constant(1.01e12, "data sheet"), (1.3e12, 82.6e12, 82.6e12, 165e12)),
    )
}  # fmt: skip


def device_of(name: str) -> Device:
    """The device called ``name``. Raises GraphError for one that the table does not have."""
    if name not in DEVICES:
        raise GraphError(f"no device is called {name!r}{suggest(name, DEVICES)}")
    return DEVICES[name]
