"""CeAE: an autoencoder that also learns to fill in what squares hide, so that context must explain each place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from unremarkable.methods.base import Prediction
from unremarkable.methods.reconstruction import squared_error
from unremarkable.methods.variational import Variational, VariationalOptions, kl_divergence, unlikelihood
from unremarkable.networks.gaussian import sample


@dataclass(frozen=True)
class CeAEOptions(VariationalOptions):
    """Options of the context-encoding autoencoder."""

    context_weight: float = field(
        default=0.5, metadata={"help": "share of the context encoder in the loss; 1: nothing else is learnt"}
    )
    squares: int = field(default=3, metadata={"help": "at most so many squares hide parts of a training image"})
    score: Literal["published", "reconstruction"] = field(
        default="published",
        metadata={"help": "published: error times KL gradient, and ELBO; reconstruction: error, its mean"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.squares < 1:
            raise ValueError(f"squares must be at least 1, not {self.squares}")
        if not 0 < self.context_weight <= 1:
            raise ValueError(f"context_weight must be above 0 and at most 1, not {self.context_weight}")
        if self.context_weight == 1 and self.score == "published":
            raise ValueError("context_weight=1 trains no posterior, so no KL gradient: use score=reconstruction")


class CeAE(Variational):
    """Context-encoding (variational) autoencoder.

    One pair of networks learns two things at once, with weights 1 - w and w (`context_weight`): to be a VAE of the
    images (as `vae`), and to be a context encoder, which rebuilds the whole image from the posterior's mean of a copy
    in which squares hide the content. With `context_weight=1` only the context encoder is left, a plain autoencoder.

    The published score of an image is its negative ELBO, and of a pixel (x - x^)^2 * |dKL/dx|; `score="reconstruction"`
    takes (x - x^)^2 and its mean.

    Paper: Zimmerer et al., "Context-encoding variational autoencoder for unsupervised anomaly detection", 2018
    (arXiv:1812.05941), after Pathak et al., "Context encoders", CVPR 2016. Masks as in the authors' code: up to three
    squares, each with a side of up to half of the image's and one grey value between the smallest and the largest of
    the batch. Network, training and KL weight as `vae`.

    Options: `context_weight`, `squares`, `score`, `variant`, `bottleneck`, `latent_dim`, `hidden`, `widths`,
    `variance`, `kl_weight`, `gradient_sigma`, `learning_rate`, `weight_decay`, `epochs`, `batch_size`, `patience`,
    `plateau`; their help says what each does.

    Deviations and choices:
        - Every image gets at least one square; the authors' code leaves some as they are, which the VAE's share of the
          loss does already.
        - Squares have the same value in all channels.
        - Images and their masked copies go through the encoder as one batch, so that batch normalisation scores by the
          statistics that it trained with.
        - Training stops by the loss of held-out images that are not masked; what is drawn at random would make one
          epoch's loss incomparable with the next.
        - As for `vae`: the posterior's mean at scoring, early stopping, gradients filtered but not scaled by the batch.
    """

    name = "ceae"
    paper = "Zimmerer et al., Context-encoding variational autoencoder for unsupervised anomaly detection, 2018"
    family = "reconstruction"
    reduction = "own"
    default_size = 64
    Options = CeAEOptions

    options: CeAEOptions

    def losses(self, images: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The weighted sum of both losses, averaged over images; each is logged."""
        share, count = self.options.context_weight, len(images)
        copies = 1 if share == 1 else 2
        mean, log_variance = self.encode(torch.cat([hide(images, self.options.squares), images][:copies]))
        latent = [mean[:count], sample(mean[count:], log_variance[count:])]
        pixels, variance = self.decode(torch.cat(latent))
        errors = unlikelihood(images.repeat(copies, 1, 1, 1), pixels, variance).mean((1, 2, 3))
        context = errors[:count].mean()
        if copies == 1:
            return context, {"context": context}
        kl = kl_divergence(mean[count:], log_variance[count:]).mean()
        elbo = errors[count:].mean() + self.options.kl_weight * kl
        loss = (1 - share) * elbo + share * context
        return loss, {"loss": loss, "vae": elbo, "kl": kl, "context": context}

    def held_out_loss(self, images: Tensor) -> Tensor:
        """As of a VAE; without the KL divergence where nothing trains it."""
        mean, log_variance = self.encode(images)
        pixels = self.decode(mean)
        if self.options.context_weight == 1:
            return unlikelihood(images, *pixels).mean((1, 2, 3))
        return self.negative_elbo(images, pixels, kl_divergence(mean, log_variance))

    def predict(self, images: Tensor) -> Prediction:
        """Map, score and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        mean, log_variance = self.encode(images)
        pixels = self.decode(mean)
        error = squared_error(images, pixels[0])
        rebuilt = pixels[0].clamp(0, 1)
        if self.options.score == "reconstruction":
            return Prediction(error, error.mean((1, 2, 3)), rebuilt)
        score = self.negative_elbo(images, pixels, kl_divergence(mean, log_variance))
        return Prediction(error * self.kl_gradient(images), score, rebuilt)


def hide(images: Tensor, most: int) -> Tensor:
    """Copies of `(N, C, H, W)` images with one to `most` squares of one value each, drawn for every image.

    The squares of an image have one side, from one pixel to half of the image's shorter side, and lie inside it; their
    values lie between the smallest and the largest of the batch.
    """
    count, _, height, width = images.shape
    device = images.device
    side = (torch.rand(count, 1, device=device) * (min(height, width) // 2)).long() + 1
    number = torch.randint(1, most + 1, (count,), device=device)
    top = (torch.rand(count, most, device=device) * (height - side + 1)).long()
    left = (torch.rand(count, most, device=device) * (width - side + 1)).long()
    low, high = images.aminmax()
    values = low + torch.rand(count, most, device=device) * (high - low)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    hidden = images
    for square in range(most):
        first, across = top[:, square, None], left[:, square, None]
        inside = ((rows >= first) & (rows < first + side)).unsqueeze(2)
        inside = inside & ((columns >= across) & (columns < across + side)).unsqueeze(1)
        inside = inside & (square < number).view(-1, 1, 1)
        hidden = torch.where(inside.unsqueeze(1), values[:, square].view(-1, 1, 1, 1), hidden)
    return hidden
