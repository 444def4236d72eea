"""The networks of ALAD beside its generator: an encoder, and discriminators of three kinds of pairs.

Zenati et al., "Adversarially learned anomaly detection", ICDM 2018, as the authors' code has them where the widest
convolution has 512 channels: 32 x 32 pixels with `width` 128, or 64 x 64 with 64. The discriminators' other layers grow
with it. Each discriminator gives features `(N, F)` and logits `(N,)`, float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unremarkable.networks import dcgan
from unremarkable.networks.spectral import normalise_spectrally


class Encoder(dcgan.Encoder):
    """`(N, channels, side, side)` to codes `(N, latent)`; normalised spectrally but for the last layer."""

    def __init__(self, side: int, channels: int, width: int, latent: int) -> None:
        super().__init__(side, channels, width, latent)
        self.blocks.insert(1, nn.BatchNorm2d(width))
        dcgan.initialise(self)
        normalise_spectrally(self.blocks)


class _Discriminator(nn.Module):
    """What the three have in common: layers under spectral normalisation, and one without it that answers."""

    def __init__(self, layers: nn.Module, features: int) -> None:
        super().__init__()
        self.layers = layers
        self.last = nn.Linear(features, 1)
        dcgan.initialise(self)
        normalise_spectrally(self.layers)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of pairs, from one pass."""
        features = self.layers(torch.cat([first, second], 1))
        return features.float(), self.last(features).float().squeeze(1)


class ImageCodePairs(_Discriminator):
    """Tells (x, E(x)) from (G(z), z): images `(N, channels, side, side)` and codes `(N, latent)`."""

    def __init__(self, side: int, channels: int, width: int, latent: int) -> None:
        widest = dcgan.pyramid(side, width)[-1]
        super().__init__(nn.Sequential(*_linear(widest * (dcgan.GRID**2 + 1), 2 * widest)), 2 * widest)
        self.images = nn.Sequential(dcgan.Encoder(side, channels, width, 1).blocks, nn.Flatten())
        self.codes = nn.Sequential(*_linear(latent, widest), *_linear(widest, widest))
        for part in (self.images, self.codes):
            dcgan.initialise(part)
            normalise_spectrally(part)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of pairs, from one pass."""
        return super().forward(self.images(first), self.codes(second))


class ImagePairs(_Discriminator):
    """Tells (x, x) from (x, G(E(x))): images `(N, channels, side, side)`."""

    def __init__(self, side: int, channels: int, width: int) -> None:
        first, second = (max(1, dcgan.pyramid(side, width)[-1] // share) for share in (8, 4))
        layers: list[nn.Module] = []
        for a, b in ((2 * channels, first), (first, second)):
            layers += [nn.Conv2d(a, b, 5, stride=2, padding=2), nn.LeakyReLU(0.2), nn.Dropout(0.2)]
        super().__init__(nn.Sequential(*layers, nn.Flatten()), second * (side // 4) ** 2)


class CodePairs(_Discriminator):
    """Tells (z, z) from (z, E(G(z))): codes `(N, latent)`."""

    def __init__(self, side: int, width: int, latent: int) -> None:
        first, second = (max(1, dcgan.pyramid(side, width)[-1] // share) for share in (8, 16))
        super().__init__(nn.Sequential(*_linear(2 * latent, first), *_linear(first, second)), second)


def _linear(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.LeakyReLU(0.2), nn.Dropout(0.2)
