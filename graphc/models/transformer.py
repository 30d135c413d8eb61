"""One transformer block between patches and classes: skips in a transformer (Vaswani et al. 2017;
patches as tokens: Dosovitskiy et al. 2021)."""

from __future__ import annotations

from graphc import nn
from graphc.ir import Node, parameter
from graphc.models.registry import register
from graphc.ops import mean, relu, reshape, transpose

PATCH, WIDTH, HEADS, HIDDEN = 4, 64, 4, 128


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): PyTorch's TransformerEncoderLayer, its names,
    with ``norm_first=True`` and without dropout."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Node) -> Node:
        """x: (N, T, width)."""
        x = x + self.self_attn(self.norm1(x))
        x = x + self.linear2(relu(self.linear1(self.norm2(x))))
        return x


class PatchClassifier(nn.Module):
    """Patches of 4×4 pixels to tokens, a learned place for each, one block, the mean, classes."""

    def __init__(self, image: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = image
        self.patches = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
        self.tokens = (height // PATCH) * (width // PATCH)
        places = (self.tokens, WIDTH)
        self.place = parameter("place", places, init=nn.init.Normal(std=0.02))
        self.block = TransformerBlock(WIDTH, HEADS, HIDDEN)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: Node) -> Node:
        """x: (N, channels, H, W)."""
        maps = self.patches(x)
        tokens = transpose(reshape(maps, (maps.shape[0], WIDTH, self.tokens)), (0, 2, 1))
        y = self.norm(self.block(tokens + self.place))
        return self.head(mean(y, 1))  # type: ignore[no-any-return]


@register("transformer-block", image=(3, 32, 32), classes=10)
def transformer_block(image: tuple[int, int, int], classes: int) -> nn.Module:
    """64 tokens of 64 numbers, 4 heads, an MLP of 128."""
    return PatchClassifier(image, classes)
