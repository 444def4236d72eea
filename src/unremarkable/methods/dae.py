"""DAE: a U-Net that takes coarse noise out of normal images takes out what looks like it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods import base
from unremarkable.methods.base import Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_halving, require_positive
from unremarkable.networks.unet import UNet

#: published steps between the largest learning rate and the smallest
_HALF_PERIOD = 100 * 32


@dataclass(frozen=True)
class DAEOptions(base.Options):
    """Options of the denoising autoencoder."""

    noise: float = field(default=0.2, metadata={"help": "standard deviation of the coarse noise"})
    grid: int = field(default=16, metadata={"help": "points of the coarse noise along each side of the image"})
    foreground: float = field(
        default=0.01, metadata={"help": "sum of its channels above which a pixel is foreground; below 0: all are"}
    )
    widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512),
        metadata={"help": "channels at each resolution; 16,32,64,128 suits a machine without a GPU"},
    )
    median: int = field(default=5, metadata={"help": "side of the median filter over the map, odd; 1 for none"})
    learning_rate: float = field(default=1e-4, metadata={"help": "Adam's largest learning rate"})
    weight_decay: float = field(default=1e-5, metadata={"help": "Adam's weight decay"})
    epochs: int = field(default=300, metadata={"help": "at most so many passes over the normals"})
    batch_size: int = field(default=16, metadata={"help": "images per step"})
    patience: int = field(default=30, metadata={"help": "epochs without improvement that end the training"})

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths are two or more numbers of channels, not {self.widths}")
        require_positive(self, "epochs", "batch_size", "patience", "median")
        if self.median % 2 == 0:
            raise ValueError(f"median must be odd, not {self.median}")
        if self.grid < 2:
            raise ValueError(f"grid must be at least 2, not {self.grid}")
        if self.noise <= 0:
            raise ValueError(f"noise must be above 0, not {self.noise}")


class DAE(Method):
    """Denoising autoencoder with coarse noise.

    Normal images get Gaussian noise of standard deviation `noise`, drawn on a `grid` x `grid` lattice for each channel,
    enlarged bilinearly, shifted in a circle by a random number of rows and columns, and added to the foreground F (the
    pixels whose channels sum to more than `foreground`). A U-Net f is trained to take it out again:

        L = mean over F of (f(x + n) - x)^2

    At scoring nothing is added. The map is |x - f(x)| averaged over channels, 0 outside of the eroded foreground (where
    more than 95 % of the 5x5 neighbourhood is foreground), under a median filter of 5x5; the score is its mean.

    Paper: Kascenas, Pugeault and O'Neil, "Denoising autoencoders for unsupervised anomaly detection in brain MRI", MIDL
    2022: noise 0.2 on 16 x 16 points at 128 x 128 pixels; widths 64 to 512; Adam with AMSGrad at 1e-4, weight decay
    1e-5; batches of 16; 67,200 steps under a cosine.

    Options: `noise`, `grid`, `foreground`, `widths`, `median`, `learning_rate`, `weight_decay`, `epochs`, `batch_size`,
    `patience`; their help says what each does.

    Deviations and choices:
        - The authors score pixels only. The image's score is the mean of its map.
        - Passes over the normals, 300 at most, instead of 67,200 steps, and an end after `patience` epochs without a
          better denoising of held-out normals; the best weights are kept. The published rate falls and rises again
          every 3,200 steps and ends low; so it does here, with the nearest odd number of such stretches, one at least.
        - The median filter is 2-D, as are the images; the authors' volumes, and their removal of small connected
          components, are left to whoever thresholds the map.
        - Intensities are those of the preprocessing, not divided by the 99th percentile of the foreground.
        - Pixels beyond the border neither erode the foreground nor enter the median, which mirrors the map: the body
          may run out of a radiograph. The publication's brains do not touch the border.
        - Outside of the foreground, where the network is not trained, the reconstruction is the image itself; it is
          clipped to [0, 1].
        - Each image's share of the loss is the same, however large its foreground.
        - One shift a batch. In the validation, one noise for every image, so that its loss does not depend on a batch.
    """

    name = "dae"
    paper = "Kascenas et al., Denoising autoencoders for unsupervised anomaly detection in brain MRI, MIDL 2022"
    family = "reconstruction"
    reduction = "mean"
    default_size = 128
    Options = DAEOptions

    options: DAEOptions

    def __init__(self, options: DAEOptions, size: tuple[int, int], channels: int) -> None:
        """Build the U-Net with random weights.

        Raises:
            UsageError: a side of `size` does not halve as often as `widths` asks, or leaves less than two pixels.
        """
        super().__init__(options, size, channels)
        require_halving(self.name, size, options.widths)
        if options.median // 2 >= min(size):
            raise UsageError(f"dae's median filter of {options.median} pixels is too wide for {size[0]}x{size[1]}")
        self.network = UNet(channels, options.widths)

    def phases(self) -> list[Phase | base.Collect]:
        """One phase of denoising."""
        options = self.options
        return [
            Phase(
                "denoising",
                options.epochs,
                options.batch_size,
                self._optimizers,
                self._step,
                validate=self._held_out,
                patience=options.patience,
                rate=_rate,
            )
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        seen = self._foreground(images)
        cleaned = torch.where(seen, self.network(images).float().clamp(0, 1), images)
        error = ((images - cleaned).abs() * eroded(seen)).mean(1, keepdim=True)
        error = median_filter(error, self.options.median)
        return Prediction(error, error.mean((1, 2, 3)), cleaned)

    def _loss(self, images: Tensor, noise: Tensor) -> Tensor:
        """Per image `(N,)`: mean squared error over the foreground, once `noise` was added there."""
        seen = self._foreground(images).to(images.dtype)
        error = (self.network(images + noise * seen).float() - images).square().mean(1, keepdim=True)
        return (error * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp_min(1)

    def _foreground(self, images: Tensor) -> Tensor:
        """Where `(N, C, H, W)` images show something, `(N, 1, H, W)`, True or False."""
        return images.sum(1, keepdim=True) > self.options.foreground

    def _noise(self, count: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Coarse noise `(count, C, H, W)`."""
        options, (height, width) = self.options, self.size
        device = like.device if generator is None else generator.device
        coarse = torch.randn(count, self.channels, options.grid, options.grid, device=device, generator=generator)
        rows, columns = (int(torch.randint(side, (), generator=generator)) for side in (height, width))
        fine = F.interpolate(options.noise * coarse.to(like), (height, width), mode="bilinear", align_corners=True)
        return fine.roll((rows, columns), (2, 3))

    def _optimizers(self) -> Mapping[str, Optimizer]:
        options = self.options
        return {
            "adam": Adam(
                self.network.parameters(),
                lr=options.learning_rate,
                weight_decay=options.weight_decay,
                amsgrad=True,
                fused=True,
            )
        }

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self._loss(images, self._noise(len(images), images)).mean()
        update("adam", loss)
        return {"denoising": loss.detach()}

    def _held_out(self, images: Tensor) -> Tensor:
        return self._loss(images, self._noise(1, images, torch.Generator().manual_seed(0)))


def eroded(mask: Tensor) -> Tensor:
    """1.0 where more than 95 % of the 5x5 pixels around are in the mask `(N, 1, H, W)`, else 0.0."""
    share = F.avg_pool2d(mask.float(), 5, stride=1, padding=2, count_include_pad=False)
    return (share > 0.95).float()


def median_filter(maps: Tensor, side: int) -> Tensor:
    """Median of the `side` x `side` pixels around each pixel of `(N, 1, H, W)` maps, mirrored at their borders."""
    if side == 1:
        return maps
    padded = F.pad(maps, (side // 2,) * 4, mode="reflect")
    return padded.unfold(2, side, 1).unfold(3, side, 1).flatten(4).median(4).values


def _rate(step: int, steps: int) -> float:
    """Cosine that falls and rises every `_HALF_PERIOD` steps, as near to that as lets it end low."""
    stretches = 2 * round((steps / _HALF_PERIOD - 1) / 2) + 1
    return 0.5 + 0.5 * math.cos(math.pi * stretches * step / steps)
