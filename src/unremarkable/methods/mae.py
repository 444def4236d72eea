"""MAE: every patch is rebuilt from others while it is hidden itself, by a transformer that has only seen normals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW, Optimizer

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods import base
from unremarkable.methods.autoencoder import ssim_map
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_positive
from unremarkable.methods.optimizers import warm_cosine
from unremarkable.networks.masked_vit import MaskedViT, Trunk
from unremarkable.networks.tokens import to_grid, to_tokens


@dataclass(frozen=True)
class MAEOptions(base.Options):
    """Options of `MAE`; the defaults are ViT-B/16 and its training as published."""

    patch: int = field(default=16, metadata={"help": "side of a patch in pixels, which divides the image's"})
    width: int = field(default=768, metadata={"help": "numbers in a token of the encoder"})
    depth: int = field(default=12, metadata={"help": "blocks of the encoder"})
    heads: int = field(default=12, metadata={"help": "heads of the encoder's attention"})
    decoder_width: int = field(default=512, metadata={"help": "numbers in a token of the decoder"})
    decoder_depth: int = field(default=8, metadata={"help": "blocks of the decoder"})
    decoder_heads: int = field(default=16, metadata={"help": "heads of the decoder's attention"})
    mask_ratio: float = field(default=0.75, metadata={"help": "share of the patches that are hidden, 0.5 or more"})
    norm_pix: bool = field(
        default=False, metadata={"help": "rebuild each patch up to its own mean and deviation: texture alone counts"}
    )
    error: Literal["l1", "ssim"] = field(
        default="l1", metadata={"help": "the map: absolute difference, or 1 - SSIM, of image and reconstruction"}
    )
    base_learning_rate: float = field(
        default=1.5e-4, metadata={"help": "AdamW's for a batch of 256; batch_size / 256 of it is used"}
    )
    weight_decay: float = field(default=0.05, metadata={"help": "AdamW, decoupled; biases and norms are spared"})
    warm_up: int = field(default=40, metadata={"help": "epochs in which the learning rate rises, a tenth at most"})
    epochs: int = field(default=1600, metadata={"help": "at most so many passes over the normals"})
    patience: int = field(default=100, metadata={"help": "epochs without improvement that end the training"})
    batch_size: int = field(default=64, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        sizes = ("patch", "width", "depth", "heads", "decoder_width", "decoder_depth", "decoder_heads")
        require_positive(self, *sizes, "epochs", "patience", "batch_size")
        for width, heads in (("width", "heads"), ("decoder_width", "decoder_heads")):
            # 4: a sine and a cosine for each of two axes
            if getattr(self, width) % 4 or getattr(self, width) % getattr(self, heads):
                raise ValueError(f"{width} must be a multiple of 4 and of {heads}, not {getattr(self, width)}")
        if not 0.5 <= self.mask_ratio < 1:
            raise ValueError(f"mask_ratio lies between 0.5 and below 1, not {self.mask_ratio}")
        if self.error not in ("l1", "ssim"):
            raise unknown_name("error", self.error, ("l1", "ssim"))
        if self.base_learning_rate <= 0 or min(self.weight_decay, self.warm_up) < 0:
            raise ValueError("base_learning_rate is positive; weight_decay and warm_up are not negative")


class MAE(Method):
    """Masked auto-encoder: a ViT that rebuilds hidden patches from the few that it is shown.

    Training hides `mask_ratio` of the patches of each image, drawn anew at every step; the loss is the squared error of
    the hidden patches, mean over pixels and patches. For scoring, the patches are divided once and for all into groups
    as large as what training shows (four at 0.75), and each pass shows one group. Every patch is thus hidden in all
    passes but one, always from a network that sees as much as in training; its reconstruction is the mean of what
    these predict, and nothing is ever copied from the image. The map is |x - x_hat|, averaged over channels, or
    1 - SSIM; the score is its mean.

    Paper: He et al., "Masked autoencoders are scalable vision learners", CVPR 2022 (section 3, appendix A.1 and
    its table 8, remembered). In medical images: Georgescu, "Masked autoencoders for unsupervised anomaly detection in
    medical images", KES 2023, whose four averaged passes are the model of the scoring here.

    Options: `patch`, `width`, `depth`, `heads`, `decoder_width`, `decoder_depth`, `decoder_heads`, `mask_ratio`,
    `norm_pix`, `error`, `base_learning_rate`, `weight_decay`, `warm_up`, `epochs`, `patience`, `batch_size`; their help
    says what each does.

    Deviations and choices:
        - Georgescu's second stage is left out: a classifier of |x - x_hat| that is trained on pseudo-abnormal images,
          which this method is meant to do without.
        - Her masks are random and leave some patches unpredicted, where the image itself is pasted. Here they
          complement one another: no patch scores zero because it happened to be shown. They come from a seed of their
          own and are kept with the model.
        - Below a `mask_ratio` of 0.5 the groups would not complement one another; it is refused.
        - Batches of 64, hers, instead of 4,096; the published rule scales the learning rate with them. Training stops
          after `patience` epochs without improvement on held-out normals, whose masks are those of scoring, and
          keeps the best weights: a few hundred scans are soon known by heart.
        - Images go in as 2 x - 1, where the paper uses ImageNet's mean and deviation. They are not cropped at random.
        - `norm_pix` is off, though it gave He et al. their best features: it takes each patch's mean and deviation from
          the image itself, so that a lesion that is only brighter is invisible.
        - The network is built of this package's blocks. MONAI's `MaskedAutoEncoderViT` draws its masks inside its
          forward pass and takes none from outside, which scoring needs, and its attention is not fused.
    """

    name = "mae"
    paper = "He et al., Masked autoencoders are scalable vision learners, CVPR 2022; Georgescu, KES 2023"
    family = "reconstruction"
    reduction = "mean"
    default_size = 224
    Options = MAEOptions

    options: MAEOptions
    groups: Tensor

    def __init__(self, options: MAEOptions, size: tuple[int, int], channels: int) -> None:
        """Build the network with random weights, and divide the patches for scoring.

        Raises:
            UsageError: the patch does not divide both sides, or there is only one.
        """
        super().__init__(options, size, channels)
        self.grid = (size[0] // options.patch, size[1] // options.patch)
        count = self.grid[0] * self.grid[1]
        if any(side % options.patch for side in size) or count < 2:
            raise UsageError(
                f"mae takes sides that are multiples of its patch of {options.patch}, and at least two patches;"
                f" not {size[0]}x{size[1]}"
            )
        self.network = MaskedViT(
            self.grid,
            options.patch**2 * channels,
            Trunk(options.width, options.depth, options.heads),
            Trunk(options.decoder_width, options.decoder_depth, options.decoder_heads),
        )
        self.shown = max(1, round(count * (1 - options.mask_ratio)))
        self.passes = round(count / self.shown)
        drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        self.register_buffer("groups", drawn % self.passes)

    def phases(self) -> list[Phase | Collect]:
        """One phase, on the squared error of hidden patches."""
        options = self.options
        return [
            Phase(
                "masked reconstruction",
                options.epochs,
                options.batch_size,
                self._optimizers,
                self._step,
                validate=self._held_out_loss,
                patience=options.patience,
                rate=self._rate,
            )
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Error map, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        patches = self._patches(images)
        total = torch.zeros_like(patches)
        for rebuilt, hidden in self._complementary(patches):
            total[:, hidden] += rebuilt[:, hidden]
        rebuilt = total / (self.passes - 1)
        if self.options.norm_pix:
            mean, deviation = _moments(patches)
            rebuilt = rebuilt * deviation + mean
        pixels = F.pixel_shuffle(to_grid(rebuilt, self.grid), self.options.patch)
        reconstruction = ((pixels + 1) / 2).clamp(0, 1)
        error = self._error(images, reconstruction).mean(1, keepdim=True)
        return Prediction(error, error.mean((1, 2, 3)), reconstruction)

    def _error(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        if self.options.error == "ssim":
            return 1 - ssim_map(images, reconstruction)
        return (images - reconstruction).abs()

    def _patches(self, images: Tensor) -> Tensor:
        """`(N, L, numbers)` in [-1, 1]."""
        return to_tokens(F.pixel_unshuffle(2 * images - 1, self.options.patch))

    def _targets(self, patches: Tensor) -> Tensor:
        if not self.options.norm_pix:
            return patches
        mean, deviation = _moments(patches)
        return (patches - mean) / deviation

    def _complementary(self, patches: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each pass of scoring, the patches `(N, L, numbers)` as rebuilt and which of them `(L,)` were hidden."""
        for number in range(self.passes):
            hidden = self.groups != number
            shown = (~hidden).nonzero().flatten().expand(len(patches), -1)
            yield self.network(patches, shown), hidden

    def _held_out_loss(self, images: Tensor) -> Tensor:
        patches = self._patches(images)
        targets = self._targets(patches)
        passes = self._complementary(patches)
        return torch.stack([_squared(rebuilt, targets)[:, hidden].mean(1) for rebuilt, hidden in passes]).mean(0)

    def _optimizers(self) -> Mapping[str, Optimizer]:
        options = self.options
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim == 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        rate = options.base_learning_rate * options.batch_size / 256
        return {"adamw": AdamW(groups, lr=rate, betas=(0.9, 0.95), weight_decay=options.weight_decay, fused=True)}

    def _rate(self, step: int, steps: int) -> float:
        rising = round(steps * self.options.warm_up / self.options.epochs)
        return warm_cosine(step, steps, warm_up=rising, end=0.0)

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        patches = self._patches(images)
        order = torch.rand(patches.shape[:2], device=patches.device).argsort(dim=1)
        shown, hidden = order[:, : self.shown], order[:, self.shown :]
        errors = _squared(self.network(patches, shown), self._targets(patches))
        loss = errors.gather(1, hidden).mean()
        update("adamw", loss)
        return {"mse": loss.detach()}


def _squared(rebuilt: Tensor, targets: Tensor) -> Tensor:
    """Squared error `(N, L)` of each patch, mean over its pixels."""
    return (rebuilt - targets).square().mean(2)


def _moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation `(N, L, 1)` of each patch; a flat one's deviation is a thousandth, not zero."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True, correction=0)
    return mean, (variance + 1e-6).sqrt()
