"""The U-Net of diffusion models: residual blocks that know the noise level, attention at coarse resolutions."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DiffusionUNet(nn.Module):
    """Images `(N, channels, H, W)` and noise levels `(N,)` to `(N, channels, H, W)`; 0 before training.

    Ho et al., NeurIPS 2020, appendix B, with residual blocks that resample and attention of several heads at several
    resolutions (Dhariwal and Nichol, "Diffusion models beat GANs on image synthesis", NeurIPS 2021, section 3).

    Args:
        channels: of the images.
        widths: channels at each resolution, the finest first; each halves the one before.
        attended: which of them, counted from 0, have attention after every block; below the last there always is one.
        blocks: residual blocks at each resolution on the way down; on the way up there is one more.
        heads: of each attention; a divisor of the widths.
    """

    def __init__(
        self, channels: int, widths: Sequence[int], attended: Collection[int], blocks: int = 2, heads: int = 2
    ) -> None:
        super().__init__()
        first, last = widths[0], len(widths) - 1
        emb = 4 * first
        self.embed = nn.Sequential(nn.Linear(first, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.width = first
        self.start = nn.Conv2d(channels, first, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skipped, now = [first], first
        for level, width in enumerate(widths):
            for _ in range(blocks):
                self.down.append(_Stage(now, width, emb, heads if level in attended else 0))
                now = width
                skipped.append(now)
            if level < last:
                self.down.append(_Stage(now, now, emb, 0, scale=0.5))
                skipped.append(now)
        self.middle = nn.ModuleList([_Stage(now, now, emb, heads), _Stage(now, now, emb, 0)])
        for level, width in reversed(list(enumerate(widths))):
            for block in range(blocks + 1):
                stage = _Stage(now + skipped.pop(), width, emb, heads if level in attended else 0)
                now = width
                rise = _Stage(now, now, emb, 0, scale=2.0) if level > 0 and block == blocks else None
                self.up.append(nn.ModuleList([stage] if rise is None else [stage, rise]))
        self.end = nn.Sequential(_norm(first), nn.SiLU(), _silent(nn.Conv2d(first, channels, 3, padding=1)))

    def forward(self, x: Tensor, levels: Tensor) -> Tensor:
        emb = F.silu(self.embed(embed_levels(levels, self.width)))
        x = self.start(x)
        skipped = [x]
        for stage in self.down:
            x = stage(x, emb)
            skipped.append(x)
        for stage in self.middle:
            x = stage(x, emb)
        for stages in self.up:
            assert isinstance(stages, nn.ModuleList)
            x = torch.cat([x, skipped.pop()], 1)
            for stage in stages:
                x = stage(x, emb)
        return self.end(x)


def embed_levels(levels: Tensor, width: int) -> Tensor:
    """Cosines and sines `(N, width)` of levels `(N,)`, of periods rising geometrically from 2 pi to 10,000 times that.

    Vaswani et al., NeurIPS 2017, section 3.5. An odd width ends with a 0.
    """
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=levels.device) / half)
    angles = levels.float()[:, None] * rates
    return F.pad(torch.cat([angles.cos(), angles.sin()], 1), (0, width % 2))


class _Stage(nn.Module):
    """A residual block, which may halve (`scale` 0.5) or double the resolution, and attention where `heads` > 0."""

    def __init__(self, inputs: int, outputs: int, emb: int, heads: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.norm1, self.norm2 = _norm(inputs), _norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = _silent(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.level = nn.Linear(emb, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = _Attention(outputs, heads) if heads else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        y = self.conv1(self._resample(F.silu(self.norm1(x)))) + self.level(emb)[:, :, None, None]
        y = self.conv2(F.silu(self.norm2(y)))
        return self.attention(self.shortcut(self._resample(x)) + y)

    def _resample(self, x: Tensor) -> Tensor:
        if self.scale == 1:
            return x
        return F.avg_pool2d(x, 2) if self.scale < 1 else F.interpolate(x, scale_factor=2)


class _Attention(nn.Module):
    """Residual self-attention of all places to all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.proj = _silent(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        # (N, 3 heads d, H, W) to q, k and v, each (N, heads, H W, d)
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(3, 4).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj(y.transpose(2, 3).reshape(x.shape))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, width), width)


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The same layer, which gives 0 until it has learnt: each block starts as its shortcut."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
