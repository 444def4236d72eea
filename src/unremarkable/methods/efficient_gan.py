"""Efficient-GAN: a GAN that learns an encoder together with its generator, so that scoring needs no search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods import base
from unremarkable.methods.base import Adversary, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_positive
from unremarkable.methods.optimizers import dcgan_adam
from unremarkable.networks.averaged import averaged, early_decay, follow
from unremarkable.networks.bigan import Decoder, Encoder, PairDiscriminator, halvings
from unremarkable.networks.dcgan import discriminator_loss, frozen, initialise, signed, unsigned

#: of the moving average of the weights that score
DECAY = 0.999


@dataclass(frozen=True)
class EfficientGANOptions(base.Options):
    """Options of Efficient-GAN."""

    width: int = field(default=32, metadata={"help": "channels of the encoder's first layer; the others follow"})
    latent_dim: int = field(default=200, metadata={"help": "length of the code"})
    alpha: float = field(default=0.9, metadata={"help": "the pixels' share in the score, from 0 to 1"})
    discriminator_score: Literal["features", "cross-entropy"] = field(
        default="features", metadata={"help": "the rest of the score: the discriminator's features, or its answer"}
    )
    learning_rate: float = field(default=2e-4, metadata={"help": "Adam's learning rate (authors: 1e-5)"})
    epochs: int = field(default=300, metadata={"help": "passes over the normals"})
    batch_size: int = field(default=32, metadata={"help": "images per step, 2 or more (authors: 100)"})

    def __post_init__(self) -> None:
        require_positive(self, "width", "latent_dim", "epochs")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 for batch normalisation, not {self.batch_size}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha lies between 0 and 1, not at {self.alpha}")


class EfficientGAN(Method):
    """Efficient-GAN: anomaly detection with a bidirectional GAN.

    A discriminator D learns to tell pairs (x, E(x)) of a normal image and its code from pairs (G(z), z) of a generated
    image and its latent vector; encoder E and generator G learn to make them alike, which makes E the inverse of G:

        min over G, E, max over D of  mean log D(x, E(x)) + mean log(1 - D(G(z), z)),  z ~ N(0, 1)

    The score is A(x) = alpha * L_G(x) + (1 - alpha) * L_D(x), where L_G = sum |x - G(E(x))| and L_D is
    sum |f(x, E(x)) - f(G(E(x)), E(x))| over D's last features f (`features`), or the cross-entropy of D's answer with
    "real", -log D(x, E(x)) (`cross-entropy`). The map is |x - G(E(x))| averaged over channels. Images are in [-1, 1]
    inside, map and reconstruction in [0, 1].

    Paper: Zenati, Foo, Lecouat, Manek, Chandrasekhar, "Efficient GAN-based anomaly detection", arXiv:1802.06222, 2018;
    the game is that of Donahue et al., "Adversarial feature learning", ICLR 2017. Numbers and networks are those of the
    authors' code for MNIST.

    Options: `width`, `latent_dim`, `alpha`, `discriminator_score`, `learning_rate`, `epochs`, `batch_size`; their help
    says what each does.

    Deviations and choices:
        - The authors take 1e-5 and batches of 100, for 60,000 steps on MNIST. A thousand normals give few steps, so
          rate and batch are those of the same authors' ALAD, 2e-4 and 32, and 300 epochs are meant for such a set.
        - Images are 64 x 64; the paper has 28 x 28. Larger images get more layers of the same width.
        - The cross-entropy is that of the paper's formula, of the pair (x, E(x)); the authors' code asks D about
          (G(E(x)), E(x)).
        - One batch serves the discriminator's step and the two that follow; the authors draw another one for those.
        - As in the authors' code, moving averages of the weights score, at a decay of 0.999; here the first updates
          count more, or a short training would score with the weights it began with.
        - Batch normalisation runs on its running statistics when scoring, and no unit is dropped then.
    """

    name = "efficient-gan"
    paper = "Zenati et al., Efficient GAN-based anomaly detection, arXiv:1802.06222, 2018"
    family = "adversarial"
    reduction = "own"
    default_size = 64
    Options = EfficientGANOptions

    options: EfficientGANOptions

    def __init__(self, options: EfficientGANOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder, generator and discriminator with random weights.

        Raises:
            UsageError: a side is below 32, or cannot be halved until the shorter one has 8 to 15 cells.
        """
        super().__init__(options, size, channels)
        shape = (size, halvings(self.name, size), channels, options.width, options.latent_dim)
        self.encoder = Encoder(*shape)
        self.generator = Decoder(*shape)
        self.discriminator = PairDiscriminator(*shape)
        initialise(self)
        self.average = nn.ModuleDict({name: averaged(network) for name, network in self._networks().items()})

    def phases(self) -> list[Phase | base.Collect]:
        """One phase, in which discriminator, generator and encoder take turns."""
        options = self.options
        adversary = Adversary("discriminator", blind=math.log(2), sure=0.0)
        return [
            Phase("bigan", options.epochs, options.batch_size, self._optimizers, self._step, adversaries=(adversary,))
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, score and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        real = signed(images)
        code = self.average["encoder"](real)
        rebuilt = self.average["generator"](code)
        features, logits = self.average["discriminator"](real, code)
        if self.options.discriminator_score == "features":
            judged = (features - self.average["discriminator"](rebuilt, code)[0]).abs().sum(1)
        else:
            judged = F.softplus(-logits)
        reconstruction = unsigned(rebuilt)
        residual = (images - reconstruction).abs().mean(1, keepdim=True)
        pixels, alpha = (real - rebuilt).abs().sum((1, 2, 3)), self.options.alpha
        return Prediction(residual, alpha * pixels + (1 - alpha) * judged, reconstruction)

    def _networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "generator": self.generator, "discriminator": self.discriminator}

    def _optimizers(self) -> Mapping[str, Optimizer]:
        return dcgan_adam(self._networks(), self.options.learning_rate)

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        if len(images) < 2:
            raise UsageError(f"{self.name} needs at least 2 images to learn from: batch normalisation compares them")
        real = signed(images)
        code = self.encoder(real)
        latent = torch.randn(len(real), self.options.latent_dim, device=real.device)
        fake = self.generator(latent)
        real_logits = self.discriminator(real, code.detach())[1]
        discriminator = discriminator_loss(real_logits, self.discriminator(fake.detach(), latent)[1])
        update("discriminator", discriminator)
        with frozen(self.discriminator):
            generator = F.softplus(-self.discriminator(fake, latent)[1]).mean()
            update("generator", generator)
            encoder = F.softplus(self.discriminator(real, code)[1]).mean()
            update("encoder", encoder)
        for name, network in self._networks().items():
            follow(self.average[name], network, early_decay(DECAY, update.step))
        losses = {"discriminator": discriminator, "adversarial": generator, "encoder": encoder}
        return {name: loss.detach() for name, loss in losses.items()}
