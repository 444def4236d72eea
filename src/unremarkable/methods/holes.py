"""Masks of what an in-painting network is to fill: what is suspicious, and rectangles drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from unremarkable.methods.feature_maps import smooth

#: of the threshold, either way: where a mark goes from 0 to 1
_EDGE = 0.2
#: pixels of the Gaussian that widens a mark, and the level where it ends
_SIGMA, _LEVEL = 1.2, 0.1


def widened(suspicion: Tensor, threshold: Tensor) -> Tensor:
    """The mask `(N, 1, H, W)` in [0, 1] of what lies above the threshold, and of the pixels around it.

    PHANES marks what lies above, filters the mark with a Gaussian of 1.2 pixels and takes what is above 0.1. Both steps
    are ramps here, half up where the step is: from 0.8 to 1.2 of the threshold, and from 0 to 0.2. A step would turn a
    difference in the last bit into a pixel more or less.
    """
    edge = _EDGE * threshold.clamp_min(1e-6)
    marked = ((suspicion - threshold) / (2 * edge) + 0.5).clamp(0, 1)
    return (smooth(marked, _SIGMA) / (2 * _LEVEL)).clamp(0, 1)


def rectangles(images: Tensor, least: int, most: int) -> Tensor:
    """`(N, 1, H, W)` with a rectangle of ones for each of `(N, C, H, W)` images, drawn at random.

    It lies inside the image; its sides are drawn apart, each from `least` to `most` pixels.
    """
    inside = []
    for side in images.shape[2:]:
        length = torch.randint(least, most + 1, (len(images), 1), device=images.device)
        first = (torch.rand(len(images), 1, device=images.device) * (side - length + 1)).long()
        places = torch.arange(side, device=images.device)
        inside.append((places >= first) & (places < first + length))
    return (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).unsqueeze(1).to(images)
