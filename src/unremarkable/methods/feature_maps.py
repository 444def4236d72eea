"""What methods that compare the features of two networks do to them and to the maps they make."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """`(N, h, w)` maps as `(N, 1, *size)`, bilinearly."""
    return F.interpolate(maps.unsqueeze(1), size, mode="bilinear", align_corners=False)


def cosine_distances(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine at each location of two `(N, C, h, w)` features, `(N, h, w)` in [0, 2]."""
    return 1 - F.cosine_similarity(a, b, dim=1)


def flat_cosine_distances(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of whole `(N, C, h, w)` features taken as one vector for each image, `(N,)` in [0, 2]."""
    return 1 - F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """`(N, 1, H, W)` float32 maps filtered by a Gaussian of `sigma` pixels, cut at four of them; 0 for none.

    Each border is mirrored, its own pixel repeated, so that a constant map stays constant.
    """
    if sigma == 0:
        return maps
    rows, columns = (_blur(side, sigma, maps) for side in maps.shape[-2:])
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps @ columns.T


def on_one_grid(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Features of several stages, fine to coarse, averaged onto the coarsest grid and laid side by side."""
    last = pairs[-1][0]
    grid = (last.shape[-2], last.shape[-1])
    pooled = [torch.cat([F.adaptive_avg_pool2d(f, grid) for f in side], dim=1) for side in zip(*pairs, strict=True)]
    return pooled[0], pooled[1]


def _blur(side: int, sigma: float, like: Tensor) -> Tensor:
    """The matrix `(side, side)` that filters a column of so many pixels."""
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, device=like.device)
    weights = torch.softmax(-0.5 * (offsets / sigma).square(), 0).to(like)
    places = torch.arange(side, device=like.device)
    seen = (places[:, None] + offsets) % (2 * side)
    seen = torch.minimum(seen, 2 * side - 1 - seen)
    return like.new_zeros(side, side).scatter_add_(1, seen, weights.expand(side, -1))
