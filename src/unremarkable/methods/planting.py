"""Synthetic anomalies planted in normal images: something to choose a method's scoring on without seeing a label.

The idea is that of pseudo-anomaly methods (foreign patch interpolation, Tan et al. 2020; CutPaste, Li et al. 2021),
used here to compare ways of scoring, never to train.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("foreign", "intensity", "texture")


def plant(images: Tensor, generator: torch.Generator) -> Tensor:
    """Copies of `(N, C, H, W)` images in [0, 1], each with one soft-edged elliptic anomaly; N of at least 2.

    The kinds take turns: tissue of another image from another place, a brighter or darker region (by 0.5 to 1.5 of the
    image's standard deviation), a region whose texture is smoothed away. Half-axes lie between 1/16 and 1/4 of the
    side, centres in the middle half of the image, and opacity between one half and one.
    """
    height, width = images.shape[-2:]
    grid_y, grid_x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    donors = images.roll(1, 0)
    planted = images.clone()
    for i, (image, donor) in enumerate(zip(images, donors, strict=True)):
        centre_y, centre_x, axis_y, axis_x, opacity, strength, side, shift_y, shift_x = torch.rand(
            9, generator=generator
        ).tolist()
        radius = torch.hypot(
            (grid_y - 0.25 - 0.5 * centre_y) / (0.0625 + 0.1875 * axis_y),
            (grid_x - 0.25 - 0.5 * centre_x) / (0.0625 + 0.1875 * axis_x),
        )
        mask = (4 * (1 - radius)).clamp(0, 1) * (0.5 + 0.5 * opacity)
        kind = KINDS[i % len(KINDS)]
        if kind == "foreign":
            changed = donor.roll((int(height * shift_y), int(width * shift_x)), (-2, -1))
        elif kind == "intensity":
            changed = image + math.copysign(0.5 + strength, side - 0.5) * image.std()
        else:
            changed = _smooth(image, height / 64)
        planted[i] = image + mask.to(image) * (changed - image)
    return planted.clamp(0, 1)


def separation(clean: Tensor, planted: Tensor) -> Tensor:
    """AUROC `(...,)` of scores `(..., n)` of clean and `(..., m)` of planted images, ties counted half."""
    difference = planted.unsqueeze(-1) - clean.unsqueeze(-2)
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean(dim=(-2, -1))


def _smooth(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of one `(C, H, W)` image, borders reflected."""
    radius = max(1, round(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).to(image) / sigma) ** 2)
    line = (line / line.sum()).expand(image.shape[0], 1, 1, -1)
    padded = F.pad(image.unsqueeze(0), (radius, radius, radius, radius), mode="reflect")
    across = F.conv2d(padded, line, groups=image.shape[0])
    return F.conv2d(across, line.transpose(2, 3), groups=image.shape[0]).squeeze(0)
