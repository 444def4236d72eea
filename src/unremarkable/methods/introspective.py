"""Introspective training: an autoencoder whose encoder tells real images from generated ones, and whose decoder learns
to deceive it (Daniel and Tamar, "Soft-IntroVAE", CVPR 2021). What `si-vae`, `ra` and `phanes` share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods import base
from unremarkable.methods.base import Adversary, Method, Phase, Update
from unremarkable.methods.checks import require_not_negative, require_positive
from unremarkable.networks.introspective import Code, Decoder, Encoder, unmoved, unrecorded

#: alpha of the papers' equations: how sharply the encoder's loss on generated images falls with their divergence
_ALPHA = 2.0


@dataclass(frozen=True)
class IntrospectiveOptions(base.Options):
    """What every introspective method can be told."""

    widths: tuple[int, ...] = field(
        default=(64, 128, 256, 512, 512), metadata={"help": "channels after each halving of the resolution"}
    )
    latent_dim: int = field(default=128, metadata={"help": "length of the latent vector"})
    beta_rec: float = field(default=0.5, metadata={"help": "weight of the squared error"})
    beta_kl: float = field(default=1.0, metadata={"help": "weight of the KL divergence of real images"})
    beta_neg: float = field(
        default=128.0, metadata={"help": "weight of the KL divergence by which the encoder knows generated images"}
    )
    gamma_r: float = field(
        default=1e-8, metadata={"help": "weight of rebuilding generated images, in the decoder's loss; 0 saves time"}
    )
    learning_rate: float = field(default=2e-4, metadata={"help": "Adam's rate for encoder and decoder"})
    epochs: int = field(default=250, metadata={"help": "at most so many passes over the normals"})
    patience: int = field(default=100, metadata={"help": "epochs without improvement that end the training"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths are one or more numbers of channels, not {self.widths}")
        require_positive(self, "latent_dim", "epochs", "patience", "batch_size")
        require_not_negative(self, "beta_rec", "beta_kl", "beta_neg", "gamma_r")


class Introspective(Method):
    """A variational autoencoder trained introspectively, encoder E and decoder D in turn on each batch.

    With s = 1 / (C H W), the squared error R summed over the pixels and the divergence K of an image's code from
    N(0, 1), real images x, their reconstructions x_r = D(E(x)) and images x_f = D(z) of noise z from N(0, 1), the
    encoder minimises (equation 2 of the reversed autoencoder's paper, with the signs of a loss)

        s (beta_rec R(x) + beta_kl K(x)) + 1/alpha * mean over x_r and x_f of exp(-alpha s (beta_rec R + beta_neg K))

    and the decoder, whose target images x_r and x_f are held fixed in R,

        s (beta_rec R(x) + mean over x_r and x_f of (beta_kl K + gamma_r beta_rec R))

    alpha is 2. The betas weigh sums over pixels and latent numbers, so that what balances them depends on the number of
    pixels. Each step leaves the weights and running statistics of the other network alone.
    """

    options: IntrospectiveOptions

    def __init__(self, options: IntrospectiveOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder and decoder with random weights.

        Raises:
            UsageError: a side of `size` is not a multiple of 2 to the number of widths, or no more than that.
        """
        super().__init__(options, size, channels)
        factor = 2 ** len(options.widths)
        if any(side < 2 * factor or side % factor for side in size):
            raise UsageError(
                f"{self.name} with {len(options.widths)} widths takes sides that are multiples of {factor}, at least"
                f" {2 * factor}; not {size[0]}x{size[1]} (fewer widths take smaller images)"
            )
        self.encoder = Encoder(options.widths, options.latent_dim, size, channels)
        self.decoder = Decoder(options.widths, options.latent_dim, size, channels)

    def phases(self) -> list[Phase | base.Collect]:
        """One phase, which keeps the weights that rebuild held-out normals best."""
        options = self.options
        return [
            Phase(
                "introspection",
                options.epochs,
                options.batch_size,
                self._optimizers,
                self._step,
                validate=lambda images: (images - self.rebuild(images)).square().mean((1, 2, 3)),
                patience=options.patience,
                # The encoder is the discriminator: it must see a larger divergence in what is generated than in images.
                adversaries=(Adversary("told apart", blind=0.0),),
            )
        ]

    def rebuild(self, images: Tensor) -> Tensor:
        """What the decoder makes of the mean code of `(N, C, H, W)` images: `(N, C, H, W)` in [0, 1]."""
        rebuilt: Tensor = self.decoder(self.encoder(images).mean)
        return rebuilt

    def _optimizers(self) -> Mapping[str, Optimizer]:
        rate = self.options.learning_rate
        return {
            "encoder": Adam(self.encoder.parameters(), lr=rate, fused=True),
            "decoder": Adam(self.decoder.parameters(), lr=rate, fused=True),
        }

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        noise = torch.randn(len(images), self.options.latent_dim, device=images.device)
        with unmoved(self.decoder):
            loss, latent, losses = self._encoder_loss(images, noise)
            update("encoder", loss)
        with unmoved(self.encoder):
            loss, more = self._decoder_loss(images, latent, noise)
            update("decoder", loss)
        return losses | more

    def _encoder_loss(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The loss, the latent vectors that were drawn for the images, and what to log."""
        options, scale = self.options, 1 / images[0].numel()
        code: Code = self.encoder(images)
        latent = code.sample()
        rebuilt = self.decoder(latent)
        error, divergence = _squared_error(images, rebuilt).mean(), code.divergence().mean()
        loss = scale * (options.beta_rec * error + options.beta_kl * divergence)
        losses = {"reconstruction": scale * error, "kl": divergence}

        with torch.no_grad():
            generated = {"reconstructed": rebuilt, "generated": self.decoder(noise)}
        codes = {}
        # At scoring the encoder sees real images alone, so its running statistics come from these.
        with unrecorded(self.encoder):
            for name, image in generated.items():
                codes[name] = self.encoder(image.detach())
                again = _squared_error(image.detach(), self.decoder(codes[name].sample()))
                negative_elbo = scale * (options.beta_rec * again + options.beta_neg * codes[name].divergence())
                loss = loss + 0.5 * torch.exp(-_ALPHA * negative_elbo).mean() / _ALPHA
                losses[f"kl_{name}"] = codes[name].divergence().mean()
        losses["told apart"] = (losses["kl_reconstructed"] + losses["kl_generated"]) / 2 - divergence
        extra, named = self._encoder_extra(code, codes["reconstructed"])
        return loss + extra, latent.detach(), losses | named

    def _encoder_extra(self, real: Code, reconstructed: Code) -> tuple[Tensor, dict[str, Tensor]]:
        """What a method adds to the encoder's loss, and what to log of it."""
        return real.mean.new_zeros(()), {}

    def _decoder_loss(self, images: Tensor, latent: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, given the latent vectors of the images, and what to log."""
        options, scale = self.options, 1 / images[0].numel()
        rebuilt = self.decoder(latent)
        loss = options.beta_rec * _squared_error(images, rebuilt).mean()
        # At scoring the decoder sees codes of real images alone.
        with unrecorded(self.decoder):
            for image in (rebuilt, self.decoder(noise)):
                code: Code = self.encoder(image)
                loss = loss + 0.5 * options.beta_kl * code.divergence().mean()
                if options.gamma_r > 0:
                    again = self.decoder(code.sample().detach())
                    error = _squared_error(image.detach(), again).mean()
                    loss = loss + 0.5 * options.gamma_r * options.beta_rec * error
        return scale * loss, {"decoder": scale * loss}


def _squared_error(images: Tensor, others: Tensor) -> Tensor:
    """Summed over each image's pixels and channels, `(N,)`."""
    return (images - others).square().sum((1, 2, 3))
