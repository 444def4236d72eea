"""Encoder and decoder of the convolutional autoencoders, with the bottleneck between them."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from unremarkable.errors import UsageError

#: convolutions with max-pooling; those of Bergmann et al. 2019; strided ones with batch normalisation (Cai et al. 2025)
Variant = Literal["pooled", "strided", "normed"]
#: a vector for the whole image, by linear layers; or one for every 16 x 16 pixels, by 1 x 1 convolutions
Bottleneck = Literal["vector", "spatial"]

_Parts = tuple[list[nn.Module], list[nn.Module], int]


def build_autoencoder(
    name: str,
    variant: Variant,
    bottleneck: Bottleneck,
    widths: tuple[int, ...],
    hidden: int,
    latent_dim: int,
    size: tuple[int, int],
    channels: int,
    *,
    heads: int = 1,
    outputs: int | None = None,
) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder and decoder with random weights, for images `(N, channels, H, W)` in [0, 1].

    Args:
        name: of the method, for the error.
        variant: which convolutions.
        bottleneck: which layers between them.
        widths: channels after each of the four halvings of the resolution.
        hidden: units, with ReLU, on either side of the bottleneck; 0 for none.
        latent_dim: length `L` of the latent vector, or of each of them.
        size: height and width of the images.
        channels: of the images.
        heads: how many latent codes the encoder gives, as one tensor `(N, heads · L)` or `(N, heads · L, H/16, W/16)`;
            the decoder takes one.
        outputs: channels that the decoder gives, `(N, outputs, H, W)`, where not as many as the images have; the first
            ones are the image, by "pooled" in [0, 1].

    Raises:
        UsageError: a side of `size` is not a multiple of 16.
    """
    if any(side < 16 or side % 16 for side in size):
        raise UsageError(f"{name} takes sides that are multiples of 16; not {size[0]}x{size[1]}")
    build = {"pooled": _pooled, "strided": _strided, "normed": _normed}[variant]
    down, up, width = build(widths, channels, outputs or channels)
    grid = (width, size[0] // 16, size[1] // 16)
    if bottleneck == "spatial":
        narrow, widen = _spatial(width, hidden, heads * latent_dim), _spatial(latent_dim, hidden, width)
    else:
        cells = grid[0] * grid[1] * grid[2]
        narrow = [nn.Flatten(), *_linear(cells, hidden, heads * latent_dim)]
        widen = [*_linear(latent_dim, hidden, cells), nn.Unflatten(1, grid)]
    encoder, decoder = nn.Sequential(*down, *narrow), nn.Sequential(*widen, *up)
    if variant != "normed":
        encoder.apply(_initialise)
        decoder.apply(_initialise)
    return encoder, decoder


class SigmoidImage(nn.Module):
    """The logistic function of the first `channels` channels; what follows them stays as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == self.channels:
            return x.sigmoid()
        return torch.cat([x[:, : self.channels].sigmoid(), x[:, self.channels :]], dim=1)


def _pooled(widths: tuple[int, ...], channels: int, outputs: int) -> _Parts:
    """Convolutions of both sides, and the channels between them."""
    encoder: list[nn.Module] = []
    for a, b in pairwise([channels, *widths]):
        encoder += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    decoder: list[nn.Module] = [nn.ReLU()]
    for b, a in pairwise([*widths[::-1], outputs]):
        decoder += [nn.ConvTranspose2d(b, a, 4, stride=2, padding=1), nn.ReLU()]
    decoder[-1] = SigmoidImage(channels)
    return encoder, decoder, widths[-1]


def _strided(widths: tuple[int, ...], channels: int, outputs: int) -> _Parts:
    """As `_pooled`; the numbers are those of Bergmann et al."""
    w1, w2, w3, w4 = widths
    # in, out, stride; the decoder is the same list read backwards
    plan = [(w1, w2, 2), (w2, w2, 1), (w2, w3, 2), (w3, w3, 1), (w3, w4, 2), (w4, w3, 1), (w3, w2, 1)]
    encoder: list[nn.Module] = []
    for a, b, stride in [(channels, w1, 2), *plan]:
        encoder += [nn.Conv2d(a, b, stride + 2, stride, padding=1), nn.LeakyReLU(0.2)]
    decoder: list[nn.Module] = [nn.LeakyReLU(0.2)]
    for a, b, stride in [*plan[::-1], (outputs, w1, 2)]:
        decoder += [nn.ConvTranspose2d(b, a, stride + 2, stride, padding=1), nn.LeakyReLU(0.2)]
    return encoder, decoder[:-1], w2


def _normed(widths: tuple[int, ...], channels: int, outputs: int) -> _Parts:
    """As `_pooled`; the numbers are those of Cai et al."""
    encoder: list[nn.Module] = []
    for a, b in pairwise([channels, *widths]):
        encoder += [nn.Conv2d(a, b, 4, 2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    decoder: list[nn.Module] = []
    for b, a in pairwise(widths[::-1]):
        decoder += [nn.ConvTranspose2d(b, a, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(a), nn.ReLU()]
    return encoder, [*decoder, nn.ConvTranspose2d(widths[0], outputs, 4, stride=2, padding=1)], widths[-1]


def _linear(inputs: int, hidden: int, outputs: int) -> list[nn.Module]:
    if not hidden:
        return [nn.Linear(inputs, outputs)]
    return [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]


def _spatial(inputs: int, hidden: int, outputs: int) -> list[nn.Module]:
    if not hidden:
        return [nn.Conv2d(inputs, outputs, 1)]
    return [nn.Conv2d(inputs, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1)]


def _initialise(layer: nn.Module) -> None:
    """Weights as He et al. draw them: with torch's own, the signal fades over ten layers that nothing normalises."""
    if isinstance(layer, nn.ConvTranspose2d):
        # Each output pixel sees 1 / stride^2 of the kernel, and the inputs are the first axis of these weights.
        fan_in = layer.weight[:, 0].numel() / (layer.stride[0] * layer.stride[1])
        nn.init.normal_(layer.weight, std=(2 / fan_in) ** 0.5)
    elif isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight)
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
