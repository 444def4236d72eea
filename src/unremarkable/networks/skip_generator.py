"""A generator that rebuilds images through a U-Net: what one side halves away reaches the other side directly."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class SkipGenerator(nn.Module):
    """`(N, channels, side, side)` in [-1, 1] to the same shape and range; `side` is a power of two.

    The generator of skip-GANomaly, after the U-Net of Isola et al., "Image-to-image translation with conditional
    adversarial networks", CVPR 2017: 4x4 convolutions of stride 2 down to one pixel, transposed ones back up, each of
    which is given the features of its size from the way down beside those from below. The width doubles from `width`
    to eight times that. No batch norm over the first features, nor over the single pixel.
    """

    def __init__(self, side: int, channels: int, width: int) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(side.bit_length() - 1)]
        self.down = nn.ModuleList([nn.Sequential(_down(channels, width), nn.LeakyReLU(0.2))])
        for a, b in pairwise(widths):
            innermost = len(self.down) == len(widths) - 1
            norm = [] if innermost else [nn.BatchNorm2d(b)]
            self.down.append(nn.Sequential(_down(a, b), *norm, nn.LeakyReLU(0.2)))
        self.up = nn.ModuleList()
        for b, a in pairwise(widths[::-1]):
            inputs = b if len(self.up) == 0 else 2 * b
            self.up.append(nn.Sequential(_up(inputs, a), nn.BatchNorm2d(a), nn.ReLU()))
        self.last = nn.Sequential(_up(2 * width, channels, bias=True), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        """The images, rebuilt."""
        kept, features = [], images
        for block in self.down:
            features = block(features)
            kept.append(features)
        features = kept.pop()
        for block in self.up:
            features = torch.cat([kept.pop(), block(features)], dim=1)
        return self.last(features)


def _down(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _up(inputs: int, outputs: int, *, bias: bool = False) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
