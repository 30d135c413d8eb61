"""Layers: Python objects that own parameters and build nodes when they are called."""

from graphc.nn import init
from graphc.nn.activation import ELU, GELU, LeakyReLU, SiLU, Softplus
from graphc.nn.attention import MultiheadAttention
from graphc.nn.embedding import Embedding
from graphc.nn.layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Linear,
    MaxPool2d,
    ModuleList,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from graphc.nn.module import Module
from graphc.nn.norm import BatchNorm2d, GroupNorm, LayerNorm, LocalResponseNorm
from graphc.nn.upsampling import ConvTranspose2d, Upsample

__all__ = [
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "GELU",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Upsample",
    "init",
]
