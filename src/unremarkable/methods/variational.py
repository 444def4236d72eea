"""What the variational autoencoders share: posterior, likelihood, and the maps that come from both."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unremarkable.methods.checks import require_not_negative
from unremarkable.methods.feature_maps import smooth
from unremarkable.methods.reconstruction import MedIAnomalyOptions, Reconstruction, squared_error
from unremarkable.networks.gaussian import kl_terms

#: no pixel is known better than to one of 256 grey levels: the smallest log-variance, on [-1, 1]
_LEAST_LOG_VARIANCE = 2 * math.log(2 / 255)


@dataclass(frozen=True)
class VariationalOptions(MedIAnomalyOptions):
    """Options of a variational autoencoder."""

    latent_dim: int = field(default=16, metadata={"help": "length of the bottleneck; smaller rebuilds less"})
    hidden: int = field(
        default=1024, metadata={"help": "units of a layer on either side of the bottleneck; 0 for none"}
    )
    variance: Literal["fixed", "learnt"] = field(
        default="fixed", metadata={"help": "of the pixels: the same for all, or given by the decoder for each"}
    )
    kl_weight: float = field(
        default=0.005, metadata={"help": "weight of the mean KL divergence beside the mean pixel error"}
    )
    gradient_sigma: float = field(
        default=3.0, metadata={"help": "pixels of the Gaussian that filters gradients before they are maps; 0 for none"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "kl_weight", "gradient_sigma")


class Variational(Reconstruction):
    """A Gaussian posterior over latent codes, a standard normal prior, and Gaussian pixels.

    Errors are measured with pixels scaled to [-1, 1], as the weight of the KL divergence was published for. Scoring
    decodes the mean of the posterior and never samples.
    """

    heads: ClassVar[int] = 2

    options: VariationalOptions

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, `(N, L)` or `(N, L, h, w)` each, float32."""
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latent: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean of each pixel, on [0, 1] though not confined to it, and its log-variance on [-1, 1]; float32.

        Both are `(N, C, H, W)`; there is no variance where it is fixed.
        """
        decoded = self.decoder(latent).float()
        if self.options.variance == "fixed":
            return decoded, None
        mean, raw = decoded.chunk(2, dim=1)
        return mean, _LEAST_LOG_VARIANCE + F.softplus(raw - _LEAST_LOG_VARIANCE)

    def negative_elbo(self, images: Tensor, pixels: tuple[Tensor, Tensor | None], kl: Tensor) -> Tensor:
        """The weighted loss `(N,)` of images, what was decoded, and the KL divergence of the posterior."""
        return unlikelihood(images, *pixels).mean((1, 2, 3)) + self.options.kl_weight * kl

    def held_out_loss(self, images: Tensor) -> Tensor:
        """The weighted negative ELBO of each image at the posterior's mean."""
        mean, log_variance = self.encode(images)
        return self.negative_elbo(images, self.decode(mean), kl_divergence(mean, log_variance))

    def kl_gradient(self, images: Tensor) -> Tensor:
        """|dKL/dx|, `(N, 1, H, W)`: averaged over channels and filtered; KL is an image's mean over latent numbers."""
        with torch.enable_grad():
            inputs = images.detach().requires_grad_()
            divergence = kl_divergence(*self.encode(inputs)).sum()
            (gradient,) = torch.autograd.grad(divergence, inputs)
        return smooth(gradient.float().abs().mean(1, keepdim=True), self.options.gradient_sigma)

    def _outputs(self) -> int:
        return self.channels if self.options.variance == "fixed" else 2 * self.channels


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence `(N,)` of the posterior from the standard normal, averaged over latent numbers.

    Kingma and Welling 2014, appendix B, there summed.
    """
    return kl_terms(mean, log_variance).flatten(1).mean(1)


def unregularised(images: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """`(N, 1, H, W)`: half the squared error in units of each pixel's variance, averaged over channels."""
    return (0.5 * (2 * (images - mean)).square() * torch.exp(-log_variance)).mean(1, keepdim=True)


def unlikelihood(images: Tensor, mean: Tensor, log_variance: Tensor | None) -> Tensor:
    """`(N, 1, H, W)`: negative log-likelihood of each pixel on [-1, 1], averaged over channels.

    Without a variance the squared error, which is that of a variance of 1/2 but for a constant.
    """
    if log_variance is None:
        return squared_error(images, mean)
    regularised = 0.5 * (log_variance + math.log(2 * math.pi)).mean(1, keepdim=True)
    return unregularised(images, mean, log_variance) + regularised
