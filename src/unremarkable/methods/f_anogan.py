"""f-AnoGAN: a Wasserstein GAN of normal images, and an encoder that inverts it in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer, RMSprop

from unremarkable.errors import UsageError
from unremarkable.methods import base
from unremarkable.methods.base import Method, Phase, Prediction, Update

_Layer = TypeVar("_Layer", nn.Conv2d, nn.Linear)
_Norm = Callable[[int], nn.Module]


@dataclass(frozen=True)
class FAnoGANOptions(base.Options):
    """Options of f-AnoGAN."""

    dim: int = field(default=64, metadata={"help": "width of the networks; 16 suits a machine without a GPU"})
    latent_dim: int = field(default=128, metadata={"help": "length of the latent vector"})
    n_critic: int = field(default=5, metadata={"help": "critic steps for each step of the generator"})
    gradient_penalty: float = field(default=10.0, metadata={"help": "weight of the critic's gradient penalty"})
    kappa: float = field(default=1.0, metadata={"help": "weight of the critic's features in loss and score"})
    gan_learning_rate: float = field(default=1e-4, metadata={"help": "Adam's rate for generator and critic"})
    encoder_learning_rate: float = field(default=5e-5, metadata={"help": "RMSprop's rate for the encoder"})
    gan_epochs: int = field(default=300, metadata={"help": "passes over the normals that train the GAN"})
    encoder_epochs: int = field(default=300, metadata={"help": "at most so many passes that train the encoder"})
    patience: int = field(default=20, metadata={"help": "epochs without improvement that end the encoder's training"})
    batch_size: int = field(default=64, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        for name in ("dim", "latent_dim", "n_critic", "gan_epochs", "encoder_epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


class FAnoGAN(Method):
    """f-AnoGAN with the izi_f encoder.

    Phase 1 trains a WGAN-GP on normal images. Phase 2 freezes generator G and critic, and trains the encoder E on

        L = MSE(x, G(E(x))) + kappa * MSE(f(x), f(G(E(x))))

    where f are the critic's last features. The score of an image is L itself, the map |x - G(E(x))| averaged over
    channels. Images are scaled to [-1, 1] inside, and map and reconstruction back to [0, 1].

    Paper: Schlegl et al., "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks",
    Medical Image Analysis 54 (2019); the residual networks are those of Gulrajani et al., "Improved training of
    Wasserstein GANs", NeurIPS 2017.

    Options: `dim`, `latent_dim`, `n_critic`, `gradient_penalty`, `kappa`, `gan_learning_rate`,
    `encoder_learning_rate`, `gan_epochs`, `encoder_epochs`, `patience`, `batch_size`; their help says what each does.

    Deviations and choices:
        - The authors train by iterations on some 10^6 patches (50,000 for the encoder). Here `gan_epochs` and
          `encoder_epochs` count passes, and the encoder stops after `patience` epochs without improvement on held-out
          normals and keeps its best weights; nothing is chosen on labels.
        - Batch normalisation in generator and encoder runs on its running statistics at inference, as in the authors'
          code, so an image's score never depends on its batch; their decay is 0.9 instead of 0.99 for short training.
        - One batch serves one critic step; the generator moves at every `n_critic`-th.
        - Sides other than 64 add or drop a residual block; colour images have three channels in and out.
        - Convolutions before average pooling, and after upsampling, are one strided convolution with the same result.
    """

    name = "f-anogan"
    paper = "Schlegl et al., f-AnoGAN: Fast unsupervised anomaly detection with GANs, Medical Image Analysis 2019"
    family = "adversarial"
    reduction = "own"
    default_size = 64
    Options = FAnoGANOptions

    options: FAnoGANOptions

    def __init__(self, options: FAnoGANOptions, size: tuple[int, int], channels: int) -> None:
        """Build generator, critic and encoder with random weights.

        Raises:
            UsageError: the size is not square with a side that is a power of two, at least 32.
        """
        super().__init__(options, size, channels)
        side = size[0]
        if size[0] != size[1] or side < 32 or side & (side - 1):
            raise UsageError(f"f-anogan takes square images of side 32, 64, 128, ...; not {size[0]}x{size[1]}")
        blocks = int(math.log2(side)) - 2
        widths = [options.dim * min(2**i, 8) for i in range(blocks + 1)]
        self.generator = _Generator(widths, options.latent_dim, channels)
        self.critic = _Downward(widths, channels, outputs=1, norm=_layer_norm)
        self.encoder = _Downward(widths, channels, outputs=options.latent_dim, norm=nn.BatchNorm2d)

    def phases(self) -> list[Phase | base.Collect]:
        """The GAN, then the encoder."""
        options = self.options
        return [
            Phase("gan", options.gan_epochs, options.batch_size, self._gan_optimizers, self._gan_step),
            Phase(
                "encoder",
                options.encoder_epochs,
                options.batch_size,
                self._encoder_optimizers,
                self._encoder_step,
                validate=lambda images: self.predict(images).score,
                patience=options.patience,
            ),
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, izi_f score and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        image_loss, feature_loss, rebuilt = self._distances(images)
        reconstruction = (rebuilt + 1) / 2
        residual = (images - reconstruction).abs().mean(1, keepdim=True)
        return Prediction(residual, image_loss + feature_loss, reconstruction)

    def _distances(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Per image: MSE of the pixels, kappa times MSE of the critic's features; and the rebuilt images in [-1, 1]."""
        real = 2 * images - 1
        rebuilt = self.generator(torch.tanh(self.encoder(real))).float()
        image_loss = (real - rebuilt).square().mean((1, 2, 3))
        features = (self.critic.features(real).float() - self.critic.features(rebuilt).float()).square().mean(1)
        return image_loss, self.options.kappa * features, rebuilt

    def _gan_optimizers(self) -> Mapping[str, Optimizer]:
        rate = self.options.gan_learning_rate
        return {
            "critic": Adam(self.critic.parameters(), lr=rate, betas=(0.0, 0.9), fused=True),
            "generator": Adam(self.generator.parameters(), lr=rate, betas=(0.0, 0.9), fused=True),
        }

    def _gan_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        real = 2 * images - 1
        with torch.no_grad():
            fake = self.generator(self._noise(real)).float()
        distance = self.critic(real).float().mean() - self.critic(fake).float().mean()
        penalty = self._penalty(real, fake)
        update("critic", self.options.gradient_penalty * penalty - distance)
        losses = {"wasserstein": distance.detach(), "penalty": penalty.detach()}
        if (update.step + 1) % self.options.n_critic == 0:
            with _frozen(self.critic):
                loss = -self.critic(self.generator(self._noise(real))).float().mean()
                update("generator", loss)
            losses["generator"] = loss.detach()
        return losses

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(len(like), self.options.latent_dim, device=like.device, dtype=like.dtype)

    def _penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        """Squared distance from 1 of the critic's slope between real and generated images (Gulrajani, equation 3)."""
        share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
        between = torch.lerp(real, fake, share).requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(between).float().sum(), between, create_graph=True)
        return (gradient.float().flatten(1).norm(dim=1) - 1).square().mean()

    def _encoder_optimizers(self) -> Mapping[str, Optimizer]:
        # 0.9 is TensorFlow's default decay, which the authors left as it was; torch's is 0.99.
        return {"encoder": RMSprop(self.encoder.parameters(), lr=self.options.encoder_learning_rate, alpha=0.9)}

    def _encoder_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        self.generator.eval()
        with _frozen(self.generator, self.critic):
            image_loss, feature_loss, _ = self._distances(images)
            update("encoder", image_loss.mean() + feature_loss.mean())
        return {"image": image_loss.detach().mean(), "features": feature_loss.detach().mean()}


class _Generator(nn.Module):
    """`(N, latent)` to `(N, channels, H, W)` in [-1, 1]."""

    def __init__(self, widths: list[int], latent_dim: int, channels: int) -> None:
        super().__init__()
        wide = widths[::-1]
        self.first = _linear(latent_dim, wide[0] * 16)
        self.blocks = nn.Sequential(
            *(_Residual(a, b, nn.BatchNorm2d, up=True) for a, b in pairwise(wide)),
            nn.BatchNorm2d(wide[-1]),
            nn.ReLU(),
            _conv(wide[-1], channels, 3, gain=2),
            nn.Tanh(),
        )

    def forward(self, latent: Tensor) -> Tensor:
        return self.blocks(self.first(latent).unflatten(1, (-1, 4, 4)))


class _Downward(nn.Module):
    """`(N, channels, H, W)` to `(N, outputs)`: the critic, and with another norm the encoder."""

    def __init__(self, widths: list[int], channels: int, outputs: int, norm: _Norm) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            _conv(channels, widths[0], 3, gain=1),
            *(_Residual(a, b, norm, up=False) for a, b in pairwise(widths)),
        )
        self.last = _linear(widths[-1] * 16, outputs)

    def features(self, images: Tensor) -> Tensor:
        return self.blocks(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.features(images))


class _Residual(nn.Module):
    """Pre-activation residual block that halves or doubles the resolution."""

    def __init__(self, inputs: int, outputs: int, norm: _Norm, up: bool) -> None:
        super().__init__()
        self.up = up
        between = outputs if up else inputs
        self.norm1, self.norm2 = norm(inputs), norm(between)
        self.conv1 = _conv(inputs, between, 3, gain=2, bias=False)
        self.conv2 = _conv(between, outputs, 3, gain=2)
        self.shortcut = _conv(inputs, outputs, 1, gain=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x))
        y = _upsample_conv(y, self.conv1) if self.up else self.conv1(y)
        y = F.relu(self.norm2(y))
        if self.up:
            return self.conv2(y) + F.interpolate(self.shortcut(x), scale_factor=2)
        return _conv_pool(y, self.conv2) + self.shortcut(F.avg_pool2d(x, 2))


def _layer_norm(channels: int) -> nn.Module:
    """Over all of an image, with one scale and offset a channel."""
    return nn.GroupNorm(1, channels)


def _conv_pool(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`avg_pool2d(conv(x), 2)` of a 3x3 convolution, in less than half the multiplications."""
    return F.conv2d(x, _widened(conv.weight) / 4, conv.bias, stride=2, padding=1)


def _upsample_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`conv(interpolate(x, scale_factor=2))` of a 3x3 convolution, in less than half the multiplications."""
    weight = _widened(conv.weight.flip(2, 3)).transpose(0, 1)
    return F.conv_transpose2d(x, weight, conv.bias, stride=2, padding=1)


def _widened(weight: Tensor) -> Tensor:
    """The 4x4 kernel that does what a 3x3 kernel and a 2x2 box do one after the other."""
    return sum((F.pad(weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)), torch.zeros(()))


def _conv(inputs: int, outputs: int, kernel: int, gain: float, bias: bool = True) -> nn.Conv2d:
    return _initialised(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias), gain)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return _initialised(nn.Linear(inputs, outputs), gain=1)


def _initialised(layer: _Layer, gain: float) -> _Layer:
    """Uniform weights of variance `2 * gain / (fan in + fan out)`, and no bias, as Gulrajani et al. start them."""
    nn.init.xavier_uniform_(layer.weight, math.sqrt(gain))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


@contextmanager
def _frozen(*modules: nn.Module) -> Iterator[None]:
    """Leave out the gradients of weights that the step does not move."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)
