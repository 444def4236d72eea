"""Swin Transformer blocks: attention inside windows, which every second block shifts.

Source: Liu et al., "Swin Transformer: hierarchical vision transformer using shifted windows", ICCV 2021, 3.1–3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.networks.tokens import initialise, perceptron

#: side of a window, at most. Published: 7, which divides the grids of 224 pixels; 8 divides those of 256.
WINDOW = 8


class WindowAttention(nn.Module):
    """Multi-head self-attention within each window, with a bias by relative position (eq. 4)."""

    index: Tensor

    def __init__(self, channels: int, heads: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(heads, offsets), std=0.02))  # B̂
        self.register_buffer("index", _relative_index(window), persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """`(N, windows, L, C)` in and out; `mask` `(windows, 1, L, L)` is added to the logits."""
        query, key, value = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.bias[:, self.index]
        attended = F.scaled_dot_product_attention(query, key, value, bias if mask is None else bias + mask)
        return self.project(attended.transpose(2, 3).flatten(3))


class SwinBlock(nn.Module):
    """W-MSA or, `shifted`, SW-MSA, then a perceptron, each behind a layer norm and with a residual (eq. 3).

    A window is the largest divisor of the grid's side up to `WINDOW`, so that nothing is padded. Along an axis that
    one window covers nothing is shifted, as published. Stochastic depth, which is for training classifiers, is left
    out. `(N, C, H, W)` in and out.
    """

    mask: Tensor | None

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, shifted: bool) -> None:
        super().__init__()
        self.window = _window(grid[0]), _window(grid[1])
        self.shift = tuple(w // 2 if shifted and w < side else 0 for w, side in zip(self.window, grid, strict=True))
        self.norm = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, self.window)
        self.mlp = nn.Sequential(nn.LayerNorm(channels), *perceptron(channels, 4))
        mask = _shift_mask(grid, self.window, (self.shift[0], self.shift[1])) if any(self.shift) else None
        self.register_buffer("mask", mask, persistent=False)
        self.apply(initialise)

    def forward(self, features: Tensor) -> Tensor:
        x = features.permute(0, 2, 3, 1)
        back = tuple(-shift for shift in self.shift)
        windows = partition(self.norm(x).roll(back, (1, 2)), self.window)
        attended = unpartition(self.attention(windows, self.mask), self.window, (x.shape[1], x.shape[2]))
        x = x + attended.roll(self.shift, (1, 2))
        x = x + self.mlp(x)
        return x.permute(0, 3, 1, 2)


def partition(x: Tensor, window: tuple[int, int]) -> Tensor:
    """`(N, H, W, C)` → `(N, windows, window tokens, C)`, both row by row."""
    n, height, width, channels = x.shape
    cut = x.view(n, height // window[0], window[0], width // window[1], window[1], channels)
    return cut.transpose(2, 3).reshape(n, -1, window[0] * window[1], channels)


def unpartition(windows: Tensor, window: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The inverse of `partition`."""
    n, channels = windows.shape[0], windows.shape[-1]
    cut = windows.reshape(n, grid[0] // window[0], grid[1] // window[1], *window, channels)
    return cut.transpose(2, 3).reshape(n, *grid, channels)


def _window(side: int) -> int:
    return max(divisor for divisor in range(1, WINDOW + 1) if side % divisor == 0)


def _relative_index(window: tuple[int, int]) -> Tensor:
    """Where the bias of each pair of places in a window `(L, L)` stands among all offsets."""
    rows, columns = torch.meshgrid(torch.arange(window[0]), torch.arange(window[1]), indexing="ij")
    down = rows.flatten()[:, None] - rows.flatten() + window[0] - 1
    across = columns.flatten()[:, None] - columns.flatten() + window[1] - 1
    return down * (2 * window[1] - 1) + across


def _shift_mask(grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """-inf between places that only the cyclic shift has brought into one window, 0 elsewhere (Fig. 4)."""
    wrapped = [torch.arange(side) >= side - moved for side, moved in zip(grid, shift, strict=True)]
    region = (2 * wrapped[0].int()[:, None] + wrapped[1].int()).view(1, *grid, 1)
    labels = partition(region, window)[0, :, :, 0]
    apart = labels[:, :, None] != labels[:, None, :]
    return torch.zeros(apart.shape).masked_fill(apart, float("-inf")).unsqueeze(1)
