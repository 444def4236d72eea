"""Residual networks for Wasserstein GANs, as f-AnoGAN has them: a generator, and a critic or encoder.

Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_Layer = TypeVar("_Layer", nn.Conv2d, nn.Linear)
_Norm = Callable[[int], nn.Module]


class Generator(nn.Module):
    """`(N, latent)` to `(N, channels, H, W)` in [-1, 1]."""

    def __init__(self, widths: list[int], latent_dim: int, channels: int) -> None:
        super().__init__()
        wide = widths[::-1]
        self.first = linear(latent_dim, wide[0] * 16)
        self.blocks = nn.Sequential(
            *(_Residual(a, b, nn.BatchNorm2d, up=True) for a, b in pairwise(wide)),
            nn.BatchNorm2d(wide[-1]),
            nn.ReLU(),
            conv(wide[-1], channels, 3, gain=2),
            nn.Tanh(),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """The images."""
        return self.blocks(self.first(latent).unflatten(1, (-1, 4, 4)))


class Downward(nn.Module):
    """`(N, channels, H, W)` to `(N, outputs)`: the critic, and with another norm the encoder."""

    def __init__(self, widths: list[int], channels: int, outputs: int, norm: _Norm) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            conv(channels, widths[0], 3, gain=1),
            *(_Residual(a, b, norm, up=False) for a, b in pairwise(widths)),
        )
        self.last = linear(widths[-1] * 16, outputs)

    def features(self, images: Tensor) -> Tensor:
        """`(N, F)`: what the last layer sees."""
        return self.blocks(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """The vectors."""
        return self.last(self.features(images))


class _Residual(nn.Module):
    """Pre-activation residual block that halves or doubles the resolution."""

    def __init__(self, inputs: int, outputs: int, norm: _Norm, up: bool) -> None:
        super().__init__()
        self.up = up
        between = outputs if up else inputs
        self.norm1, self.norm2 = norm(inputs), norm(between)
        self.conv1 = conv(inputs, between, 3, gain=2, bias=False)
        self.conv2 = conv(between, outputs, 3, gain=2)
        self.shortcut = conv(inputs, outputs, 1, gain=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x))
        y = upsample_conv(y, self.conv1) if self.up else self.conv1(y)
        y = F.relu(self.norm2(y))
        if self.up:
            return self.conv2(y) + F.interpolate(self.shortcut(x), scale_factor=2)
        return conv_pool(y, self.conv2) + self.shortcut(F.avg_pool2d(x, 2))


def layer_norm(channels: int) -> nn.Module:
    """Over all of an image, with one scale and offset a channel."""
    return nn.GroupNorm(1, channels)


def conv_pool(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`avg_pool2d(conv(x), 2)` of a 3x3 convolution, in less than half the multiplications."""
    return F.conv2d(x, _widened(conv.weight) / 4, conv.bias, stride=2, padding=1)


def upsample_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`conv(interpolate(x, scale_factor=2))` of a 3x3 convolution, in less than half the multiplications."""
    weight = _widened(conv.weight.flip(2, 3)).transpose(0, 1)
    return F.conv_transpose2d(x, weight, conv.bias, stride=2, padding=1)


def _widened(weight: Tensor) -> Tensor:
    """The 4x4 kernel that does what a 3x3 kernel and a 2x2 box do one after the other."""
    return sum((F.pad(weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)), torch.zeros(()))


def conv(inputs: int, outputs: int, kernel: int, gain: float, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size, its weights started for what follows it: gain 2 before ReLU, else 1."""
    return _initialised(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias), gain)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer, its weights started as those of `conv`."""
    return _initialised(nn.Linear(inputs, outputs), gain=1)


def _initialised(layer: _Layer, gain: float) -> _Layer:
    """Uniform weights of variance `2 * gain / (fan in + fan out)`, and no bias, as Gulrajani et al. start them."""
    nn.init.xavier_uniform_(layer.weight, math.sqrt(gain))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
