"""Pyramid Vision Transformer blocks: attention whose keys and values are spatially reduced.

Source: Wang et al., "Pyramid vision transformer: a versatile backbone for dense prediction without convolutions",
ICCV 2021, 3.2–3.3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.networks.tokens import (
    initialise,
    join_heads,
    pad_to_patches,
    perceptron,
    position,
    split_heads,
    to_grid,
    to_tokens,
)


class SpatialReductionAttention(nn.Module):
    """SRA (eq. 1–4): every location asks R × R patches, each projected to C channels and normalised.

    That projection of a flattened patch is a convolution with kernel and stride R.
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.query = nn.Linear(channels, channels)
        self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction)
        self.norm = nn.LayerNorm(channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """`(N, H·W, C)` in and out."""
        reduced = self.norm(to_tokens(self.reduce(pad_to_patches(to_grid(tokens, grid), self.reduction))))
        query, key, value = (
            split_heads(layer(x), self.heads)
            for layer, x in ((self.query, tokens), (self.key, reduced), (self.value, reduced))
        )
        return self.project(join_heads(F.scaled_dot_product_attention(query, key, value)))


class PvtStage(nn.Module):
    """Learnt positions, then `depth` blocks of SRA and perceptron, each behind a layer norm and with a residual.

    `(N, C, H, W)` in and out. Stochastic depth, which is for training classifiers, is left out.
    """

    def __init__(
        self, channels: int, grid: tuple[int, int], heads: int, reduction: int, expansion: int, depth: int
    ) -> None:
        super().__init__()
        self.grid = grid
        self.position = position(grid[0] * grid[1], channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(depth))
        self.attentions = nn.ModuleList(SpatialReductionAttention(channels, heads, reduction) for _ in range(depth))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(channels), *perceptron(channels, expansion)) for _ in range(depth)
        )
        self.apply(initialise)

    def forward(self, features: Tensor) -> Tensor:
        x = to_tokens(features) + self.position
        for norm, attention, mlp in zip(self.norms, self.attentions, self.mlps, strict=True):
            x = x + attention(norm(x), self.grid)
            x = x + mlp(x)
        return to_grid(x, self.grid)
