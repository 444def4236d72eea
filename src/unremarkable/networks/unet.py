"""A U-Net of weight-standardised convolutions, group norms and Swish."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StandardisedConv2d(nn.Conv2d):
    """Convolution whose weights have mean 0 and variance 1 over the inputs of each output channel.

    Qiao et al., "Micro-batch training with batch-channel normalization and weight standardization", 2019, equation 8.
    """

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        weight = (self.weight - mean) / (variance + 1e-5).sqrt()
        return self._conv_forward(x, weight, self.bias)


class UNet(nn.Module):
    """`(N, channels, H, W)` to the same; H and W multiples of `2 ** (len(widths) - 1)`.

    Two convolutions at each resolution on the way down and on the way up, max-pooling between resolutions, transposed
    convolutions back (Ronneberger et al., MICCAI 2015); the last convolution is 1x1 and has no activation.

    Args:
        channels: of the images, in and out.
        widths: channels at each resolution, the finest first.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise((channels, *widths)))
        steps = list(pairwise(widths[::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in steps)
        self.merge = nn.ModuleList(_block(2 * b, b) for _, b in steps)
        self.last = nn.Conv2d(widths[0], channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        skipped = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skipped.append(x)
        for up, merge, skip in zip(self.up, self.merge, skipped[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.last(x)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a in (inputs, outputs):
        layers += [StandardisedConv2d(a, outputs, 3, padding=1), nn.GroupNorm(math.gcd(8, outputs), outputs), nn.SiLU()]
    return nn.Sequential(*layers)
