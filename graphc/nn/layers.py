"""The layers: thin modules over the ops; argument order and weight shapes are PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self, overload

from graphc.ir import GraphError, Node, ShapeError
from graphc.ir.leaves import parameter, stream
from graphc.ir.node import describe
from graphc.nn.init import Initializer
from graphc.nn.module import Module
from graphc.ops.conv import conv2d
from graphc.ops.elementwise import relu, sigmoid, tanh
from graphc.ops.linear import linear
from graphc.ops.pool import avg_pool2d, max_pool2d
from graphc.ops.random import checked_retain, dropout
from graphc.ops.reduce import mean
from graphc.ops.shape import flatten
from graphc.ops.softmax import softmax

Init = str | float | Initializer

# -- layers with weights --------------------------------------------------------------------------


class Weighted(Module):
    """Base of the layers with weights, which are made at the first call if a size is None.

    Attributes: ``weight`` (a parameter node), ``bias`` (one, or None).
    """

    weight: Node
    bias: Node | None

    def __init__(self, bias: bool, init: Init, name: str | None) -> None:
        super().__init__(name=name)
        self._bias, self._init = bool(bias), init

    def _declare(self, shape: tuple[int, ...]) -> None:
        self.weight = parameter("weight", shape, init=self._init)
        self.bias = parameter("bias", shape[:1], role="bias") if self._bias else None

    def __getattr__(self, key: str) -> Any:
        if key in ("weight", "bias"):
            raise AttributeError(
                f"{self!r} has no {key} yet: the size given as None is inferred by the first call"
            )
        return super().__getattr__(key)

    def _inferred(self, x: Node, axis: int, what: str) -> int:
        """The size of an axis of the first operand, which a weight's shape needs as a number."""
        if x.ndim < abs(axis) + (axis >= 0) or not isinstance(x.shape[axis], int):
            raise ShapeError(
                f"{what}=None of {type(self).__name__} is the size of axis {axis}, which is not a "
                f"number here:\n  {describe(x)}\n  to fix: say {what}, or declare that size",
                nodes=[x],
            )
        return int(x.shape[axis])  # type: ignore[arg-type]


class Linear(Weighted):
    """y = x·Wᵀ + b over the last axis: (…, in_features) -> (…, out_features).

    ``weight`` is (out_features, in_features), ``bias`` (out_features,); ``in_features=None`` is
    inferred at the first call. init: an initializer's name, a number, or an ``nn.init`` object, for
    the weight (He et al. 2015 by default); the bias starts at 0. Raises GraphError for a size that
    is not a positive int, ShapeError where x does not fit.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> layer = nn.Linear(3, 2)
    >>> layer(gx.input("x", ("N", 3))).shape, layer.weight.shape
    ((Dim('N'), 2), (2, 3))
    """

    _kind: ClassVar[str] = "linear"

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        *,
        init: Init = "kaiming_uniform",
        name: str | None = None,
    ) -> None:
        super().__init__(bias, init, name)
        self.in_features = in_features
        self.out_features = positive(self, "out_features", out_features)
        if in_features is not None:
            self._declare((out_features, positive(self, "in_features", in_features)))

    def forward(self, x: Node) -> Node:
        """x: (…, in_features)."""
        if self.in_features is None:
            self.in_features = self._inferred(x, -1, "in_features")
            self._declare((self.out_features, self.in_features))
        return linear(x, self.weight, self.bias)


class Conv2d(Weighted):
    """Correlation with a bank of filters: (N, in, H, W) -> (N, out, H', W'), as ``gx.conv2d``.

    ``weight`` is (out_channels, in_channels // groups, kh, kw), ``bias`` (out_channels,);
    ``in_channels=None`` is inferred at the first call. padding: an int, (h, w), ``"valid"``,
    ``"same"``, or ((top, bottom), (left, right)). init: as for ``Linear``. Raises GraphError for
    sizes that are not positive ints or channels that the groups do not divide, ShapeError where x
    does not fit.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> layer = nn.Conv2d(1, 16, 5, padding=2)
    >>> layer(gx.input("image", ("N", 1, 28, 28))).shape, layer.weight.shape
    ((Dim('N'), 16, 28, 28), (16, 1, 5, 5))
    """

    _kind: ClassVar[str] = "conv2d"

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Any = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: Init = "kaiming_uniform",
        name: str | None = None,
    ) -> None:
        super().__init__(bias, init, name)
        self.in_channels = in_channels
        self.out_channels = positive(self, "out_channels", out_channels)
        self.kernel_size = window(self, kernel_size)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups = positive(self, "groups", groups)
        if in_channels is not None:
            self._declare_filters(positive(self, "in_channels", in_channels))

    def _declare_filters(self, channels: int) -> None:
        for what, count in (("in_channels", channels), ("out_channels", self.out_channels)):
            if count % self.groups:
                raise GraphError(f"Conv2d: groups={self.groups} does not divide {what}={count}")
        self._declare((self.out_channels, channels // self.groups, *self.kernel_size))

    def forward(self, x: Node) -> Node:
        """x: (N, in_channels, H, W)."""
        if self.in_channels is None:
            channels = self._inferred(x, 1, "in_channels")
            self._declare_filters(channels)
            self.in_channels = channels
        return conv2d(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding,
            dilation=self.dilation, groups=self.groups,
        )  # fmt: skip


# -- layers without -------------------------------------------------------------------------------


class ReLU(Module):
    """max(x, 0), with slope 0 at 0."""

    _kind: ClassVar[str] = "relu"

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return relu(x)


class Tanh(Module):
    """tanh x."""

    _kind: ClassVar[str] = "tanh"

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    _kind: ClassVar[str] = "sigmoid"

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return sigmoid(x)


class Softmax(Module):
    """exp(x) / Σ exp(x) along one axis. For training use ``gx.cross_entropy``, on the logits."""

    _kind: ClassVar[str] = "softmax"

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.axis = axis

    def forward(self, x: Node) -> Node:
        """Any shape that has the axis."""
        return softmax(x, self.axis)


class MaxPool2d(Module):
    """The largest of each window: (N, C, H, W) -> (N, C, H', W'); stride defaults to the kernel.

    padding: every form that ``Conv2d`` takes; it counts as -∞.
    """

    _kind: ClassVar[str] = "max_pool2d"

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: Any = 0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.kernel_size, self.stride = window(self, kernel_size), stride
        self.padding = padding

    def forward(self, x: Node) -> Node:
        """x: (N, C, H, W)."""
        return max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(Module):
    """The mean of each window: (N, C, H, W) -> (N, C, H', W'); stride defaults to the kernel.

    The padding's zeros count, as in PyTorch, except for ``"same"``: there only pixels do.
    """

    _kind: ClassVar[str] = "avg_pool2d"

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: Any = 0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.kernel_size, self.stride = window(self, kernel_size), stride
        self.padding = padding

    def forward(self, x: Node) -> Node:
        """x: (N, C, H, W)."""
        return avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class GlobalAvgPool2d(Module):
    """The mean over each whole map: (N, C, H, W) -> (N, C), or (N, C, 1, 1) with ``keepdims``."""

    _kind: ClassVar[str] = "global_avg_pool2d"

    def __init__(self, keepdims: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.keepdims = keepdims

    def forward(self, x: Node) -> Node:
        """x: (N, C, H, W)."""
        if x.ndim != 4:
            raise ShapeError(f"GlobalAvgPool2d takes (N, C, H, W), not\n  {describe(x)}", nodes=[x])
        return mean(x, (2, 3), keepdims=self.keepdims)


class Flatten(Module):
    """One axis of all axes from ``start_dim`` on: (N, C, H, W) -> (N, C·H·W)."""

    _kind: ClassVar[str] = "flatten"

    def __init__(self, start_dim: int = 1, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.start_dim = start_dim

    def forward(self, x: Node) -> Node:
        """x: any shape that has the axis."""
        return flatten(x, self.start_dim)


class Dropout(Module):
    """Each element stays with probability ``retain``, else it is 0; a new mask at every call.

    retain: the probability to RETAIN (the lecture's p; PyTorch's ``p`` is the one to drop), in
    (0, 1], by keyword. scaling: ``"train"`` divides by it in training, ``"test"`` leaves it to
    ``passes.inference`` to multiply. Raises TypeError for a positional number, ``p=`` or ``rate=``.

    >>> from graphc import nn
    >>> nn.Dropout(retain=0.8)
    Dropout(retain=0.8, scaling='train')
    """

    _kind: ClassVar[str] = "dropout"

    def __init__(
        self,
        *rates: object,
        retain: float | None = None,
        scaling: Literal["train", "test"] = "train",
        name: str | None = None,
        **named: object,
    ) -> None:
        super().__init__(name=name)
        self.retain, self.scaling = checked_retain("nn.Dropout(…)", rates, retain, named), scaling
        if not 0 < self.retain <= 1:
            raise GraphError(
                f"nn.Dropout(retain={retain}): the probability to KEEP an element lies in (0, 1]"
            )

    def forward(self, x: Node) -> Node:
        """Any shape."""
        source = stream("dropout", self._scope)
        return dropout(x, retain=self.retain, scaling=self.scaling, stream=source)


class Identity(Module):
    """x."""

    _kind: ClassVar[str] = "identity"

    def forward(self, x: Node) -> Node:
        """Any shape."""
        return x


# -- containers -----------------------------------------------------------------------------------


class Residual(Module):
    """branch(x) + skip(x); the skip is x itself where none is given (He et al. 2016).

    >>> import graphc as gx
    >>> from graphc import nn
    >>> block = nn.Residual(nn.Linear(4, 4))
    >>> block(gx.input("x", ("N", 4))).op.name
    'add'
    """

    def __init__(
        self, branch: Module, skip: Module | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.branch = _module(self, branch)
        self.skip = None if skip is None else _module(self, skip)

    def forward(self, x: Any) -> Any:
        """x: what both the branch and the skip take."""
        return self.branch(x) + (x if self.skip is None else self.skip(x))


class ModuleList(Module):
    """A list of modules that belong to its owner, as ``0``, ``1``, …

    >>> from graphc import nn
    >>> [name for name, _ in nn.ModuleList([nn.Linear(2, 2)]).named_parameters()]
    ['0.weight', '0.bias']
    """

    def __init__(self, modules: Any = (), *, name: str | None = None) -> None:
        super().__init__(name=name)
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Self:
        """Add one at the end."""
        setattr(self, str(len(self)), _module(self, module))
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.children())

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> list[Module]: ...
    def __getitem__(self, index: int | slice) -> Module | list[Module]:
        return list(self)[index]


class Sequential(ModuleList):
    """Modules one after the other; their names are ``0``, ``1``, … as in PyTorch.

    >>> import graphc as gx
    >>> from graphc import nn
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> list(gx.Graph({"y": net(gx.input("x", ("N", 4)))}).parameters)
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *modules: Module, name: str | None = None) -> None:
        super().__init__(modules, name=name)

    def forward(self, x: Any) -> Any:
        """x: what the first module takes."""
        for module in self:
            x = module(x)
        return x


# -- checks ---------------------------------------------------------------------------------------


def positive(layer: Module, what: str, value: object) -> int:
    """``value``, which must be a positive int."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise GraphError(f"{type(layer).__name__}: {what} is a positive int, not {value!r}")
    return value


def window(layer: Module, value: object, what: str = "kernel_size") -> tuple[int, int]:
    """``value`` as (height, width): a positive int, or two."""
    sides = value if isinstance(value, (tuple, list)) else (value, value)
    if len(sides) != 2:
        raise GraphError(f"{type(layer).__name__}: {what} is an int or (h, w), not {value!r}")
    height, width = (positive(layer, what, side) for side in sides)
    return height, width


def _module(owner: Module, value: object) -> Module:
    if not isinstance(value, Module):
        raise GraphError(
            f"{type(owner).__name__} takes modules, not a {type(value).__name__}: write nn.ReLU() "
            "for gx.relu, or a class with nn.Module as base and a forward"
        )
    return value
