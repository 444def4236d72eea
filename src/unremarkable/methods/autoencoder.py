"""Autoencoder: what cannot be rebuilt through a narrow bottleneck, learnt from normals, is anomalous."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods import base
from unremarkable.methods.base import Method, Phase, Prediction, Update


@dataclass(frozen=True)
class AutoencoderOptions(base.Options):
    """Options of the autoencoder."""

    variant: Literal["pooled", "strided"] = field(
        default="pooled", metadata={"help": "pooled: convolutions and max-pooling; strided: Bergmann et al. 2019"}
    )
    loss: Literal["mse", "ssim", "l1"] = field(
        default="mse", metadata={"help": "error that is trained on, and that the map shows"}
    )
    latent_dim: int = field(default=128, metadata={"help": "length of the bottleneck; smaller rebuilds less"})
    widths: tuple[int, ...] = field(
        default=(16, 32, 64, 128), metadata={"help": "channels after each of the four halvings of the resolution"}
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Adam's learning rate (paper: 1e-4)"})
    weight_decay: float = field(default=0.0, metadata={"help": "Adam's weight decay"})
    epochs: int = field(default=100, metadata={"help": "at most so many passes over the normals"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})
    patience: int = field(default=10, metadata={"help": "epochs without improvement that end the training"})
    plateau: int = field(default=5, metadata={"help": "epochs without improvement that divide the learning rate by 10"})

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or min(self.widths) < 1:
            raise ValueError(f"widths are four numbers of channels, not {self.widths}")
        for name in ("latent_dim", "epochs", "batch_size", "patience", "plateau"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


class Autoencoder(Method):
    """Convolutional autoencoder with a fully connected bottleneck.

    Trained to rebuild normal images. The map is the error of each pixel, averaged over channels; the score is the mean
    of the map. The error is the one that was trained on: squared (`mse`), absolute (`l1`) or 1 - SSIM (`ssim`).

    Paper: "Anomaly detection in medical imaging", IJARSCT 5(3), 2025, sections IV and VI.3-5: four convolutions with
    ReLU and max-pooling, a fully connected bottleneck, four transposed convolutions; MSE; Adam at 1e-4; batches of 32;
    50 to 100 epochs, stopped after 10 without improvement; ReduceLROnPlateau; 224 x 224 pixels in [0, 1].
    `variant="strided"` is the network of Bergmann et al., "Improving unsupervised defect segmentation by applying
    structural similarity to autoencoders", VISAPP 2019, table 1. As published it has `loss="ssim"`, `latent_dim=100`,
    `widths=(32, 32, 64, 128)`, `learning_rate=2e-4`, `weight_decay=1e-5`, `epochs=200` and 128 x 128 pixels.

    Options: `variant`, `loss`, `latent_dim`, `widths`, `learning_rate`, `weight_decay`, `epochs`, `batch_size`,
    `patience`, `plateau`; their help says what each does.

    Deviations and choices:
        - The learning rate is 1e-3. At the paper's 1e-4 the first epochs on a thousand normals bring little.
        - Images are 128 x 128 by default, for a third of the cost.
        - The paper leaves open widths, kernels, latent size and the last activation. Here: 3x3 convolutions, 4x4
          transposed convolutions of stride 2, `widths` doubling from 16, 128 latent numbers, a sigmoid at the end.
        - Weights start as He et al. (2015) draw them; the paper is silent, and from torch's own start the first
          epochs learn no more than the mean image.
        - It names dropout against overfitting and not where; none is used, early stopping does that work.
        - It leaves open the plateau's length; 5 epochs, so that the rate falls before the training stops at 10.
        - The score is the mean of the per-pixel error; the paper does not say how pixels become an image's score.
        - `strided` has a fully connected bottleneck where the original has an 8x8 convolution over the whole 8x8 grid:
          the same thing at 128 pixels, and defined at other sizes too. Its table was not at hand; the numbers are
          remembered, and an independent implementation agrees on kernels, strides and latent size.
        - Reconstructions are clipped to [0, 1] when predicting, where `strided` has no last activation to do so.
    """

    name = "autoencoder"
    paper = "Anomaly detection in medical imaging, IJARSCT 5(3), 2025, section VI.3; Bergmann et al., VISAPP 2019"
    family = "reconstruction"
    reduction = "mean"
    default_size = 128
    Options = AutoencoderOptions

    options: AutoencoderOptions

    def __init__(self, options: AutoencoderOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder and decoder with random weights.

        Raises:
            UsageError: a side of `size` is not a multiple of 16.
        """
        super().__init__(options, size, channels)
        if any(side < 16 or side % 16 for side in size):
            raise UsageError(f"autoencoder takes sides that are multiples of 16; not {size[0]}x{size[1]}")
        build = _pooled if options.variant == "pooled" else _strided
        encoder, decoder, width = build(options.widths, channels)
        grid = (width, size[0] // 16, size[1] // 16)
        cells = grid[0] * grid[1] * grid[2]
        self.encoder = nn.Sequential(*encoder, nn.Flatten(), nn.Linear(cells, options.latent_dim))
        self.decoder = nn.Sequential(nn.Linear(options.latent_dim, cells), nn.Unflatten(1, grid), *decoder)
        self.apply(_initialise)

    def phases(self) -> list[Phase | base.Collect]:
        """One phase of training on the reconstruction error."""
        options = self.options
        return [
            Phase(
                "reconstruction",
                options.epochs,
                options.batch_size,
                self._optimizers,
                self._step,
                validate=lambda images: self._error(images, self._rebuild(images)).mean((1, 2, 3)),
                patience=options.patience,
                plateau=options.plateau,
            )
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Error map, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        reconstruction = self._rebuild(images).clamp(0, 1)
        error = self._error(images, reconstruction)
        return Prediction(error, error.mean((1, 2, 3)), reconstruction)

    def _rebuild(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images)).float()

    def _error(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """`(N, 1, H, W)`: the error of each pixel, averaged over channels."""
        if self.options.loss == "ssim":
            error = 1 - ssim_map(images, reconstruction)
        elif self.options.loss == "l1":
            error = (images - reconstruction).abs()
        else:
            error = (images - reconstruction).square()
        return error.mean(1, keepdim=True)

    def _optimizers(self) -> Mapping[str, Optimizer]:
        options = self.options
        return {
            "adam": Adam(self.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)
        }

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self._error(images, self._rebuild(images)).mean()
        update("adam", loss)
        return {self.options.loss: loss.detach()}


def _initialise(layer: nn.Module) -> None:
    """Weights as He et al. draw them: with torch's own, the signal fades over ten layers."""
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


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity in [-1, 1] at each pixel of two `(N, C, H, W)` batches with values in [0, 1].

    Gaussian window of 11 pixels, sigma 1.5 (Wang et al., "Image quality assessment: from error visibility to
    structural similarity", IEEE TIP 2004, equation 13); images are mirrored at their borders. Computed in float32 even
    under autocast: a variance is a small difference of large numbers.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        offsets = torch.arange(-5, 6, device=a.device, dtype=torch.float32)
        window = torch.softmax(-offsets.square() / (2 * 1.5**2), 0)

        moments = torch.stack([a, b, a * a, b * b, a * b])
        flat = F.pad(moments.flatten(0, 2).unsqueeze(1), (5, 5, 5, 5), mode="reflect")
        flat = F.conv2d(F.conv2d(flat, window.view(1, 1, 11, 1)), window.view(1, 1, 1, 11))
        mean_a, mean_b, square_a, square_b, product = flat.view(moments.shape)

        covariance = product - mean_a * mean_b
        variances = square_a - mean_a.square() + square_b - mean_b.square()
        c1, c2 = 0.01**2, 0.03**2
        luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
        return luminance * (2 * covariance + c2) / (variances + c2)


def _pooled(widths: tuple[int, ...], channels: int) -> tuple[list[nn.Module], list[nn.Module], int]:
    """Encoder and decoder of the paper, and the channels between them."""
    down = [channels, *widths]
    encoder: list[nn.Module] = []
    for a, b in pairwise(down):
        encoder += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    decoder: list[nn.Module] = [nn.ReLU()]
    for b, a in pairwise(down[::-1]):
        decoder += [nn.ConvTranspose2d(b, a, 4, stride=2, padding=1), nn.ReLU()]
    decoder[-1] = nn.Sigmoid()
    return encoder, decoder, widths[-1]


def _strided(widths: tuple[int, ...], channels: int) -> tuple[list[nn.Module], list[nn.Module], int]:
    """Encoder and decoder of Bergmann et al., and the channels between them."""
    w1, w2, w3, w4 = widths
    # in, out, stride; the decoder is the same list read backwards
    plan = [
        (channels, w1, 2),
        (w1, w2, 2),
        (w2, w2, 1),
        (w2, w3, 2),
        (w3, w3, 1),
        (w3, w4, 2),
        (w4, w3, 1),
        (w3, w2, 1),
    ]
    encoder: list[nn.Module] = []
    for a, b, stride in plan:
        encoder += [nn.Conv2d(a, b, stride + 2, stride, padding=1), nn.LeakyReLU(0.2)]
    decoder: list[nn.Module] = [nn.LeakyReLU(0.2)]
    for a, b, stride in plan[::-1]:
        decoder += [nn.ConvTranspose2d(b, a, stride + 2, stride, padding=1), nn.LeakyReLU(0.2)]
    return encoder, decoder[:-1], w2
