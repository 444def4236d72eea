"""Contrast-limited adaptive histogram equalisation of a whole batch at once, on its device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: tiles along each side
TILES = 8
BINS = 256
#: a bin holds at most this share of its tile's pixels; the rest is spread over all bins
CLIP = 0.01
#: parts into which a pixel is divided between two bins
_PARTS = 2**16
#: rounds of spreading what was clipped over the bins that have room, as Zuiderveld does; little is left after these
_PASSES = 12


def equalise(images: Tensor) -> Tensor:
    """Each channel of `(N, C, H, W)` images in [0, 1], equalised around each pixel: the same shape, in [0, 1].

    Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994: the cumulative histogram of
    each of 8 x 8 tiles, clipped, is the curve of its centre; between centres the curves are blended bilinearly, beyond
    the outer ones they go on. Tiles, bins and clip limit are scikit-image's defaults. Unlike there, no image is
    stretched to its own minimum and maximum before and after: two images stay comparable. And a pixel counts in both
    bins that it lies between, by its nearness, so that a difference in the last bit cannot move it to another.

    Raises:
        ValueError: a side is not a multiple of 8.
    """
    count, channels, height, width = images.shape
    if height % TILES or width % TILES:
        raise ValueError(f"equalise takes sides that are multiples of {TILES}, not {height}x{width}")
    with torch.autocast(images.device.type, enabled=False):
        levels = images.float().clamp(0, 1).flatten(0, 1) * (BINS - 1)
        curves = _curves(levels)
        rows, columns = (_centres(side, images.device) for side in (height, width))
        # A curve is the depth of a volume, and a tile's centre is where grid_sample has the centre of a cell.
        grid = torch.stack(
            [
                columns.expand_as(levels),
                rows[:, None].expand_as(levels),
                (2 * levels + 1) / BINS - 1,
            ],
            dim=-1,
        )
        equalised = F.grid_sample(curves, grid.unsqueeze(1), padding_mode="border", align_corners=False)
    return equalised.view(count, channels, height, width)


def _curves(levels: Tensor) -> Tensor:
    """What each level from 0 to 255 becomes in each tile, of levels `(M, H, W)`: `(M, 1, 256, 8, 8)` in [0, 1]."""
    count, height, width = levels.shape
    tiles = levels.view(count, TILES, height // TILES, TILES, width // TILES).transpose(2, 3).flatten(3).flatten(0, 2)
    below = tiles.floor().clamp(max=BINS - 2)
    # Whole numbers, because their sum is the same in whatever order a GPU adds them.
    upper = ((tiles - below) * _PARTS).round().int()
    histogram = torch.zeros(len(tiles), BINS, dtype=torch.int32, device=levels.device)
    histogram.scatter_add_(1, below.long(), _PARTS - upper).scatter_add_(1, below.long() + 1, upper)

    shares = histogram.float() / (_PARTS * tiles.shape[1])
    # Whole pixels, at least one, as scikit-image clips.
    limit = max(1, int(CLIP * tiles.shape[1])) / tiles.shape[1]
    kept = shares.clamp(max=limit)
    for _ in range(_PASSES):
        kept = (kept + (1 - kept.sum(1, keepdim=True)) / BINS).clamp(max=limit)
    return kept.cumsum(1).clamp(max=1).view(count, 1, TILES, TILES, BINS).permute(0, 1, 4, 2, 3)


def _centres(side: int, device: torch.device) -> Tensor:
    """Pixel centres along a side, from -1 to 1 at its ends."""
    return (2 * torch.arange(side, device=device) + 1) / side - 1
