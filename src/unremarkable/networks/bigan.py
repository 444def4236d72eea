"""The networks of Efficient-GAN: an encoder, a decoder, and a discriminator of pairs of an image and its code.

Zenati et al., "Efficient GAN-based anomaly detection", 2018, as the authors' code has them for MNIST with `width` 32.
There, two convolutions of stride 2 take 28 pixels to a grid of 7 x 7; larger images get more of them, as wide as the
last, so that the grid keeps 8 to 15 cells a side and the linear layers their size.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from unremarkable.errors import UsageError


def halvings(name: str, size: tuple[int, int]) -> int:
    """How often an image of `size` is halved until its shorter side has 8 to 15 cells.

    Raises:
        UsageError: a side is below 32, or does not divide so often.
    """
    count = (min(size) // 8).bit_length() - 1
    if min(size) < 32 or any(side % 2**count for side in size):
        whole = f"multiples of {2**count}" if min(size) >= 32 else "at least 32 pixels"
        raise UsageError(f"{name} needs sides that are {whole}, such as 64x64; not {size[0]}x{size[1]}")
    return count


class Encoder(nn.Sequential):
    """`(N, channels, H, W)` to codes `(N, latent)`."""

    def __init__(self, size: tuple[int, int], halved: int, channels: int, width: int, latent: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        for a, b in pairwise([width, *_widths(halved, width)]):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), _leaky()]
        cells = (size[0] >> halved) * (size[1] >> halved)
        super().__init__(*layers, nn.Flatten(), nn.Linear(4 * width * cells, latent))


class Decoder(nn.Sequential):
    """Latent vectors `(N, latent)` to images `(N, channels, H, W)` in [-1, 1]."""

    def __init__(self, size: tuple[int, int], halved: int, channels: int, width: int, latent: int) -> None:
        grid = (4 * width, size[0] >> halved, size[1] >> halved)
        cells, hidden = grid[0] * grid[1] * grid[2], 32 * width
        layers: list[nn.Module] = [nn.Linear(latent, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        layers += [nn.Linear(hidden, cells, bias=False), nn.BatchNorm1d(cells), nn.ReLU(), nn.Unflatten(1, grid)]
        widths = _widths(halved, width)[::-1]
        for a, b in pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        super().__init__(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1), nn.Tanh())


class PairDiscriminator(nn.Module):
    """Features `(N, F)` and logits `(N,)` of images and codes, float32; a positive logit says image and its code."""

    def __init__(self, size: tuple[int, int], halved: int, channels: int, width: int, latent: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, 2 * width, 4, stride=2, padding=1), _leaky(), nn.Dropout(0.5)]
        for _ in range(halved - 1):
            layers += [nn.Conv2d(2 * width, 2 * width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * width)]
            layers += [_leaky(), nn.Dropout(0.5)]
        self.images = nn.Sequential(*layers, nn.Flatten())
        self.codes = nn.Sequential(nn.Linear(latent, 16 * width), _leaky(), nn.Dropout(0.5))
        joined = 2 * width * (size[0] >> halved) * (size[1] >> halved) + 16 * width
        self.pairs = nn.Sequential(nn.Linear(joined, 32 * width), _leaky(), nn.Dropout(0.5))
        self.last = nn.Linear(32 * width, 1)

    def forward(self, images: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits from one pass."""
        features = self.pairs(torch.cat([self.images(images), self.codes(codes)], 1))
        return features.float(), self.last(features).float().squeeze(1)


def _widths(halved: int, width: int) -> list[int]:
    """Channels after each halving."""
    return [2 * width, *[4 * width] * (halved - 1)]


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.1)
