"""Features as token sequences: what every Transformer block here shares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def to_tokens(features: Tensor) -> Tensor:
    """`(N, C, H, W)` → `(N, H·W, C)`, row by row."""
    return features.flatten(2).transpose(1, 2)


def to_grid(tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
    """`(N, H·W, C)` → `(N, C, H, W)`; the inverse of `to_tokens`."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """`(N, L, heads · d)` → `(N, heads, L, d)`."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def join_heads(attended: Tensor) -> Tensor:
    """`(N, heads, L, d)` → `(N, L, heads · d)`."""
    return attended.transpose(1, 2).flatten(2)


def patch_grid(grid: tuple[int, int], patch: int) -> tuple[int, int]:
    """How many `patch` × `patch` patches cover a grid; the last of a row or column may reach beyond it."""
    return -(-grid[0] // patch), -(-grid[1] // patch)


def pad_to_patches(features: Tensor, patch: int) -> Tensor:
    """`(N, C, H, W)` with zeros below and to the right, so that `patch` divides both sides."""
    below, right = -features.shape[2] % patch, -features.shape[3] % patch
    return F.pad(features, (0, right, 0, below)) if below or right else features


def position(length: int, channels: int) -> nn.Parameter:
    """Learnt positions `(1, length, channels)`."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, length, channels), std=0.02))


def perceptron(channels: int, expansion: int) -> nn.Sequential:
    """ViT's: one hidden layer `expansion` times as wide, GELU."""
    return nn.Sequential(
        nn.Linear(channels, expansion * channels), nn.GELU(), nn.Linear(expansion * channels, channels)
    )


def initialise(module: nn.Module) -> None:
    """For `Module.apply`: linear layers start as in ViT, normal with a deviation of 0.02, biases at zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
