"""Encoder and decoder of introspective autoencoders, which Soft-IntroVAE and the reversed autoencoder share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unremarkable.networks.dcgan import frozen
from unremarkable.networks.gaussian import kl_terms, sample


class Code(NamedTuple):
    """What the encoder makes of `N` images: a Gaussian for each, and the features on the way there.

    Attributes:
        mean: `(N, latent)`.
        log_variance: `(N, latent)`.
        embeddings: `(N, F, h, w)` after each halving of the resolution, fine to coarse.
    """

    mean: Tensor
    log_variance: Tensor
    embeddings: tuple[Tensor, ...]

    def sample(self) -> Tensor:
        """A draw from each Gaussian, `(N, latent)`, through which gradients pass."""
        return sample(self.mean, self.log_variance)

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence of each Gaussian from N(0, 1), summed over the latent numbers: `(N,)`."""
        return kl_terms(self.mean, self.log_variance).sum(1)


class Encoder(nn.Module):
    """`(N, C, H, W)` images to their `Code`; one halving of the resolution for each of `widths`."""

    def __init__(self, widths: tuple[int, ...], latent_dim: int, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        first = nn.Sequential(
            nn.Conv2d(channels, widths[0], 5, padding=2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.LeakyReLU(0.2),
            nn.AvgPool2d(2),
        )
        stages = (nn.Sequential(_Residual(a, b), nn.AvgPool2d(2)) for a, b in pairwise(widths))
        self.stages = nn.ModuleList([first, *stages])
        self.last = _Residual(widths[-1], widths[-1])
        grid = _grid(widths, size)
        self.project = nn.Linear(grid[0] * grid[1] * grid[2], 2 * latent_dim)

    def forward(self, images: Tensor) -> Code:
        x, embeddings = images, []
        for stage in self.stages:
            x = stage(x)
            embeddings.append(x)
        mean, log_variance = self.project(self.last(x).flatten(1)).float().chunk(2, dim=1)
        return Code(mean, log_variance, tuple(embeddings))


class Decoder(nn.Module):
    """Latent vectors `(N, latent)` to float32 images `(N, C, H, W)` in [0, 1]."""

    def __init__(self, widths: tuple[int, ...], latent_dim: int, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        grid = _grid(widths, size)
        self.project = nn.Sequential(
            nn.Linear(latent_dim, grid[0] * grid[1] * grid[2]), nn.ReLU(), nn.Unflatten(1, grid)
        )
        wide = (widths[-1], *widths[::-1])
        blocks: list[nn.Module] = []
        for a, b in pairwise(wide):
            blocks += [_Residual(a, b), nn.Upsample(scale_factor=2, mode="nearest")]
        self.blocks = nn.Sequential(
            *blocks, _Residual(widths[0], widths[0]), nn.Conv2d(widths[0], channels, 5, padding=2)
        )

    def forward(self, latent: Tensor) -> Tensor:
        images: Tensor = self.blocks(self.project(latent))
        return torch.sigmoid(images.float())


class _Residual(nn.Module):
    """Two convolutions with batch norm beside a shortcut, which is a 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.2),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return result


def _grid(widths: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int, int]:
    """Channels, height and width of the coarsest features."""
    factor = 2 ** len(widths)
    return widths[-1], size[0] // factor, size[1] // factor


@contextmanager
def unrecorded(module: nn.Module) -> Iterator[None]:
    """Batch norm goes on normalising by its batch, but what passes here leaves no trace in its running statistics."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in norms:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in norms:
            layer.track_running_stats = True


@contextmanager
def unmoved(module: nn.Module) -> Iterator[None]:
    """Gradients pass through the module and stop at none of its weights; its running statistics stay as well."""
    with frozen(module), unrecorded(module):
        yield
