"""Initializers, as objects: ``nn.Linear(784, 10, init=nn.init.XavierNormal())``.

Each also has a name (``init="xavier_normal"``, ``init="normal(std=0.01)"``), and a number is short
for a constant.
"""

from graphc.ir.initializers import (
    Constant,
    Initializer,
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    Normal,
    Ones,
    Uniform,
    XavierNormal,
    XavierUniform,
    Zeros,
)

__all__ = [
    "Constant",
    "Initializer",
    "KaimingNormal",
    "KaimingUniform",
    "LecunNormal",
    "Normal",
    "Ones",
    "Uniform",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
]
