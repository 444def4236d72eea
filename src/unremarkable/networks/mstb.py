"""The multi-scale sparse Transformer block of Hetero-AE and the hybrid module built around it.

Source: Lu et al., "Anomaly detection for medical images using heterogeneous auto-encoder", IEEE TIP 2024, III.B.2 and
III.C. What the text leaves open is settled here once, and said where it is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.networks.tokens import (
    join_heads,
    pad_to_patches,
    patch_grid,
    perceptron,
    position,
    split_heads,
    to_grid,
    to_tokens,
)


class RegionalAttention(nn.Module):
    """Half of the heads: every location asks the patches of one scale (eq. 1–3).

    The patch embedding flattens each non-overlapping p × p patch and multiplies it by one matrix, which is what a
    convolution with kernel and stride p does. A grid that p does not divide is filled up with zeros.
    """

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, head_width: int, patch: int) -> None:
        super().__init__()
        self.heads, self.patch = heads, patch
        self.embed = nn.Conv2d(channels, channels, patch, stride=patch, bias=False)
        rows, columns = patch_grid(grid, patch)
        self.position = position(rows * columns, channels)
        self.key = nn.Linear(channels, heads * head_width, bias=False)
        self.value = nn.Linear(channels, heads * head_width, bias=False)

    def forward(self, features: Tensor, queries: Tensor) -> Tensor:
        """`(N, H·W, heads · head_width)` from features `(N, C, H, W)` and queries `(N, heads, H·W, head_width)`."""
        region = to_tokens(self.embed(pad_to_patches(features, self.patch))) + self.position
        keys, values = (split_heads(w(region), self.heads) for w in (self.key, self.value))  # eq. 1
        attended = F.scaled_dot_product_attention(queries, keys, values)  # eq. 2; scaled by 1/√d_head
        return join_heads(attended)  # eq. 3


class MultiScaleSparseTransformer(nn.Module):
    """MSTB: full-resolution queries, keys and values from patches of two sizes; `(N, C, H, W)` in and out.

    The two groups of heads are concatenated to Z, and Z goes through layer norm and a multilayer perceptron (Fig. 3).
    The text names no residual connection, so there is none: this branch reaches the output only through attention over
    regions. Nor does it name an output projection of the attention. The perceptron is ViT's (one hidden layer, four
    times as wide, GELU), whose design the paper says it follows.

    Args:
        channels: C_i of the stage.
        grid: height and width of the features; the learnt positions fix it.
        heads: of both scales together; half of them belong to each.
        patches: p1 and p2 in locations.
    """

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, patches: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.position = position(grid[0] * grid[1], channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.scales = nn.ModuleList(
            RegionalAttention(channels, grid, heads // 2, channels // heads, patch) for patch in patches
        )
        self.norm = nn.LayerNorm(channels)
        self.mlp = perceptron(channels, 4)

    def forward(self, features: Tensor) -> Tensor:
        return to_grid(self.mlp(self.norm(self.attend(features))), features.shape[-2:])

    def attend(self, features: Tensor) -> Tensor:
        """Z `(N, H·W, C)` of features `(N, C, H, W)`: the attention alone."""
        local = to_tokens(features) + self.position
        queries = split_heads(self.query(local), self.heads).chunk(2, dim=1)  # eq. 1
        return torch.cat([scale(features, q) for scale, q in zip(self.scales, queries, strict=True)], dim=-1)


class HybridModule(nn.Module):
    """One decoder stage (Fig. 2c): 1×1 convolutions → branches side by side → 1×1 convolution → ×2.

    The 1×1 convolutions are bare. The upsampling is bilinear: the paper says only "an upsampling layer". An encoder
    stage of the ablations is its mirror image, which begins by halving the resolution with the mean of 2 × 2.

    Args:
        inputs: channels that come in.
        width: C_i, channels inside each branch.
        outputs: channels that go out.
        blocks: what makes the block of each branch, `(N, width, H, W)` in and out.
        resample: "up" makes the output twice as large as the input, "down" half as large.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        blocks: Sequence[Callable[[], nn.Module]],
        resample: Literal["up", "down"] = "up",
    ) -> None:
        super().__init__()
        self.resample = resample
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(inputs, width, 1), make()) for make in blocks)
        self.fuse = nn.Conv2d(len(blocks) * width, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        if self.resample == "down":
            features = F.avg_pool2d(features, 2)
        fused = self.fuse(torch.cat([branch(features) for branch in self.branches], dim=1))
        if self.resample == "down":
            return fused
        return F.interpolate(fused, scale_factor=2, mode="bilinear", align_corners=False)


def conv_block(width: int) -> nn.Sequential:
    """The convolution block: two 3×3 convolutions, each followed by batch norm and ReLU as in the encoder's ResNet."""
    return nn.Sequential(*conv_norm_relu(width, width), *conv_norm_relu(width, width))


def conv_norm_relu(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3×3 convolution with what follows it."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
