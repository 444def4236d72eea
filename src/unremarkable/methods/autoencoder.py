"""Autoencoder: what cannot be rebuilt through a narrow bottleneck, learnt from normals, is anomalous."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from unremarkable.errors import UsageError
from unremarkable.methods.base import Prediction
from unremarkable.methods.reconstruction import NetworkOptions, Reconstruction
from unremarkable.networks.perceptual import Perceptual, PerceptualName


@dataclass(frozen=True)
class AutoencoderOptions(NetworkOptions):
    """Options of the autoencoder."""

    loss: Literal["mse", "l1", "ssim", "perceptual"] = field(
        default="mse", metadata={"help": "error that is trained on, and that the map shows"}
    )
    perceptual: PerceptualName = field(
        default="efficientnet-lite0", metadata={"help": "network that loss=perceptual compares images through"}
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Adam's learning rate (paper: 1e-4)"})


class Autoencoder(Reconstruction):
    """Convolutional autoencoder.

    Trained to rebuild normal images. The map is the error of each pixel, averaged over channels; the score is the mean
    of the map. The error is the one that was trained on: squared (`mse`), absolute (`l1`), 1 - SSIM (`ssim`), or the
    distance of features of a pretrained network (`perceptual`; Zhang et al. 2018, equation 1).

    Paper: "Anomaly detection in medical imaging", IJARSCT 5(3), 2025, sections IV and VI.3-5: four convolutions with
    ReLU and max-pooling, a fully connected bottleneck, four transposed convolutions; MSE; Adam at 1e-4; batches of 32;
    50 to 100 epochs, stopped after 10 without improvement; ReduceLROnPlateau; 224 x 224 pixels in [0, 1].
    `variant="strided"` is the network of Bergmann et al., "Improving unsupervised defect segmentation by applying
    structural similarity to autoencoders", VISAPP 2019, table 1. As published it has `loss="ssim"`, `latent_dim=100`,
    `widths=(32, 32, 64, 128)`, `learning_rate=2e-4`, `weight_decay=1e-5`, `epochs=200` and 128 x 128 pixels.
    `variant="normed"` is the network of Cai et al., "MedIAnomaly: a comparative study of anomaly detection in medical
    images", Medical Image Analysis 2025, read in the authors' code. As published it has `latent_dim=16`, `hidden=1024`,
    `widths=(16, 32, 64, 64)`, `batch_size=64`, `epochs=250` and 64 x 64 pixels; there `bottleneck="spatial"` is called
    AE-Spatial.

    Options: `variant`, `bottleneck`, `loss`, `perceptual`, `latent_dim`, `hidden`, `widths`, `learning_rate`,
    `weight_decay`, `epochs`, `batch_size`, `patience`, `plateau`; their help says what each does.

    Deviations and choices:
        - The learning rate is 1e-3. At the paper's 1e-4 the first epochs on a thousand normals bring little.
        - Images are 128 x 128 by default, for a third of the cost.
        - The paper leaves open widths, kernels, latent size and the last activation. Here: 3x3 convolutions, 4x4
          transposed convolutions of stride 2, `widths` doubling from 16, 128 latent numbers, a sigmoid at the end.
        - Weights start as He et al. (2015) draw them; the paper is silent, and from torch's own start the first
          epochs learn no more than the mean image. `normed`, whose layers are normalised, starts as torch does.
        - It names dropout against overfitting and not where; none is used, early stopping does that work.
        - It leaves open the plateau's length; 5 epochs, so that the rate falls before the training stops at 10.
        - The score is the mean of the per-pixel error; the paper does not say how pixels become an image's score.
        - `strided` has a fully connected bottleneck where the original has an 8x8 convolution over the whole 8x8 grid:
          the same thing at 128 pixels, and defined at other sizes too. Its table was not at hand; the numbers are
          remembered, and an independent implementation agrees on kernels, strides and latent size.
        - `normed` has no batch normalisation beside its hidden layers, which one image could not be trained through;
          the authors scale images to [-1, 1], which its first normalisation undoes but for the padding.
        - The perceptual loss of the MedIAnomaly study is a relative L1 distance at one layer of VGG-19; here it is the
          formula of LPIPS, by default on the features of the backbone that works offline, and not called so.
        - Reconstructions are clipped to [0, 1] when predicting, where `strided` and `normed` have no last activation.
    """

    name = "autoencoder"
    paper = "Anomaly detection in medical imaging, IJARSCT 5(3), 2025, section VI.3; Bergmann et al., VISAPP 2019"
    family = "reconstruction"
    reduction = "mean"
    default_size = 128
    Options = AutoencoderOptions

    options: AutoencoderOptions

    def __init__(self, options: AutoencoderOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder, decoder and, where the loss needs it, the perceptual distance, with random weights.

        Raises:
            UsageError: a side of `size` is not a multiple of 16, or below 32 with the perceptual loss.
        """
        super().__init__(options, size, channels)
        self.distance: Perceptual | None = None
        if options.loss == "perceptual":
            if min(size) < 32:
                raise UsageError(f"autoencoder needs sides of at least 32 for loss=perceptual; not {size[0]}x{size[1]}")
            self.distance = Perceptual(options.perceptual)

    def prepare(self) -> None:
        """Load the weights of the perceptual distance, where the loss needs it."""
        if self.distance is not None:
            self.distance.load_pretrained()

    def losses(self, images: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The error, averaged over pixels and images."""
        loss = self.held_out_loss(images).mean()
        return loss, {self.options.loss: loss}

    def held_out_loss(self, images: Tensor) -> Tensor:
        """The error of each image, averaged over its pixels."""
        return self._error(images, self._rebuild(images)).mean((1, 2, 3))

    def predict(self, images: Tensor) -> Prediction:
        """Error map, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        reconstruction = self._rebuild(images).clamp(0, 1)
        error = self._error(images, reconstruction)
        return Prediction(error, error.mean((1, 2, 3)), reconstruction)

    def _rebuild(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images)).float()

    def _error(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """`(N, 1, H, W)`: the error of each pixel, averaged over channels."""
        if self.distance is not None:
            return self.distance.maps(images, reconstruction)
        if self.options.loss == "ssim":
            error = 1 - ssim_map(images, reconstruction)
        elif self.options.loss == "l1":
            error = (images - reconstruction).abs()
        else:
            error = (images - reconstruction).square()
        return error.mean(1, keepdim=True)


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
