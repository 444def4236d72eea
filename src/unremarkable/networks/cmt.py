"""CMT blocks: local perception unit, lightweight attention, inverted residual feed-forward network.

Source: Guo et al., "CMT: convolutional neural networks meet vision transformers", CVPR 2022, 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.networks.efficientnet_lite import SameConv2d
from unremarkable.networks.tokens import initialise, join_heads, patch_grid, split_heads, to_grid, to_tokens


class LightweightAttention(nn.Module):
    """LMHSA: depthwise k × k convolutions of stride k shorten keys and values; each head has its own learnt bias B."""

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.grid = heads, grid
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.reduce_key = SameConv2d(channels, channels, reduction, reduction, groups=channels)
        self.reduce_value = SameConv2d(channels, channels, reduction, reduction, groups=channels)
        rows, columns = patch_grid(grid, reduction)
        self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(heads, grid[0] * grid[1], rows * columns), std=0.02))

    def forward(self, tokens: Tensor) -> Tensor:
        """softmax(Q K'ᵀ / √d + B) V' of `(N, H·W, C)`, projected."""
        key = to_tokens(self.reduce_key(to_grid(self.key(tokens), self.grid)))
        value = to_tokens(self.reduce_value(to_grid(self.value(tokens), self.grid)))
        query, key, value = (split_heads(x, self.heads) for x in (self.query(tokens), key, value))
        return self.project(join_heads(F.scaled_dot_product_attention(query, key, value, self.bias)))


class InvertedResidualFeedForward(nn.Module):
    """IRFFN(X) = Conv(F(Conv(X))) with F(X) = DWConv(X) + X; GELU and batch norm follow the first two convolutions.

    The last one is followed by batch norm alone. `(N, C, H, W)` in and out.
    """

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        inner = round(expansion * channels)
        self.expand = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.GELU(), nn.BatchNorm2d(inner))
        self.depthwise = SameConv2d(inner, inner, 3, 1, groups=inner)
        self.activate = nn.Sequential(nn.GELU(), nn.BatchNorm2d(inner))
        self.shrink = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        x = self.expand(features)
        return self.shrink(self.activate(self.depthwise(x) + x))


class CmtBlock(nn.Module):
    """LPU, LMHSA and IRFFN, each with its residual, the last two behind a layer norm. `(N, C, H, W)` in and out.

    The depthwise convolutions have no bias: a norm or a projection with one follows.
    """

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, reduction: int, expansion: float) -> None:
        super().__init__()
        self.grid = grid
        self.local = SameConv2d(channels, channels, 3, 1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.attention = LightweightAttention(channels, grid, heads, reduction)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = InvertedResidualFeedForward(channels, expansion)
        self.apply(initialise)

    def forward(self, features: Tensor) -> Tensor:
        y = to_tokens(self.local(features) + features)  # LPU
        z = self.attention(self.norm(y)) + y
        return self.mlp(to_grid(self.mlp_norm(z), self.grid)) + to_grid(z, self.grid)
