"""The multi-scale sparse Transformer block of Hetero-AE and the hybrid module built around it.

Source: Lu et al., "Anomaly detection for medical images using heterogeneous auto-encoder", IEEE TIP 2024, III.B.2 and
III.C. What the text leaves open is settled here once, and said where it is settled.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: kind of each of the two parallel branches of a hybrid module
Branch = Literal["cnn", "transformer"]


class RegionalAttention(nn.Module):
    """Half of the heads: every location asks the patches of one scale (eq. 1–3).

    The patch embedding flattens each non-overlapping p × p patch and multiplies it by one matrix, which is what a
    convolution with kernel and stride p does.
    """

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, head_width: int, patch: int) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Conv2d(channels, channels, patch, stride=patch, bias=False)
        self.position = _position((grid[0] // patch) * (grid[1] // patch), channels)
        self.key = nn.Linear(channels, heads * head_width, bias=False)
        self.value = nn.Linear(channels, heads * head_width, bias=False)

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """`(N, H·W, heads · head_width)` from features `(N, C, H, W)` and queries `(N, heads, H·W, head_width)`."""
        region = _tokens(self.embed(features)) + self.position
        keys, values = (_split(w(region), self.heads) for w in (self.key, self.value))  # eq. 1
        attended = F.scaled_dot_product_attention(queries, keys, values)  # eq. 2; scaled by 1/√d_head
        return attended.transpose(1, 2).flatten(2)  # eq. 3


class MultiScaleSparseTransformer(nn.Module):
    """MSTB: full-resolution queries, keys and values from patches of two sizes; `(N, C, H, W)` in and out.

    The two groups of heads are concatenated to Z, and Z goes through layer norm and a multilayer perceptron (Fig. 3).
    The text names no residual connection, so there is none: this branch reaches the output only through attention over
    regions. Nor does it name an output projection of the attention. The perceptron is ViT's (one hidden layer, four
    times as wide, GELU), whose design the paper says it follows.

    Args:
        channels: C_i of the stage.
        grid: height and width of the features; both divisible by both patch sizes. The learnt positions fix it.
        heads: of both scales together; half of them belong to each.
        patches: p1 and p2 in locations.
    """

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, patches: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.position = _position(grid[0] * grid[1], channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.scales = nn.ModuleList(
            RegionalAttention(channels, grid, heads // 2, channels // heads, patch) for patch in patches
        )
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        local = _tokens(features) + self.position
        queries = _split(self.query(local), self.heads).chunk(2, dim=1)  # eq. 1
        z = torch.cat([scale(features, q) for scale, q in zip(self.scales, queries, strict=True)], dim=-1)
        return self.mlp(self.norm(z)).transpose(1, 2).unflatten(2, features.shape[-2:])


class HybridModule(nn.Module):
    """One decoder stage (Fig. 2c): two 1×1 convolutions → two branches side by side → 1×1 convolution → ×2.

    Each 3×3 convolution is followed by batch norm and ReLU, as in the encoder's ResNet; the 1×1 convolutions are bare.
    The upsampling is bilinear: the paper says only "an upsampling layer".

    Args:
        inputs: channels of the coarser stage.
        width: C_i, channels inside each branch.
        outputs: channels of the encoder's stage that this module imitates.
        grid: height and width of the input; the output has twice that.
        heads, patches: of the Transformer branch.
        branches: ("cnn", "transformer") is the paper's; twice the same gives the ablations of Table III.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        grid: tuple[int, int],
        heads: int,
        patches: tuple[int, int],
        branches: tuple[Branch, Branch] = ("cnn", "transformer"),
    ) -> None:
        super().__init__()

        def block(kind: Branch) -> nn.Module:
            if kind == "transformer":
                return MultiScaleSparseTransformer(width, grid, heads, patches)
            return nn.Sequential(*_conv_norm_relu(width), *_conv_norm_relu(width))

        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(inputs, width, 1), block(kind)) for kind in branches)
        self.fuse = nn.Conv2d(2 * width, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        fused = self.fuse(torch.cat([branch(features) for branch in self.branches], dim=1))
        return F.interpolate(fused, scale_factor=2, mode="bilinear", align_corners=False)


def _conv_norm_relu(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def _position(length: int, channels: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, length, channels), std=0.02))


def _tokens(features: Tensor) -> Tensor:
    """`(N, C, H, W)` → `(N, H·W, C)`, row by row."""
    return features.flatten(2).transpose(1, 2)


def _split(tokens: Tensor, heads: int) -> Tensor:
    """`(N, L, heads · d)` → `(N, heads, L, d)`."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)
