"""GANomaly: an image is encoded, rebuilt and encoded again; where the two codes differ, it is anomalous."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unremarkable.methods import base
from unremarkable.methods.base import Adversary, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_positive
from unremarkable.methods.optimizers import dcgan_adam
from unremarkable.networks.dcgan import (
    Decoder,
    Discriminator,
    Encoder,
    discriminator_loss,
    handed_on,
    initialise,
    require_side,
    restart_collapsed,
    signed,
    unsigned,
)


@dataclass(frozen=True)
class GANomalyOptions(base.Options):
    """Options of GANomaly."""

    generator_width: int = field(
        default=64, metadata={"help": "channels of the generator's finest layers; they double as the side halves"}
    )
    discriminator_width: int = field(default=64, metadata={"help": "the same of the discriminator"})
    latent_dim: int = field(default=100, metadata={"help": "length of the code"})
    adversarial_weight: float = field(default=1.0, metadata={"help": "weight of the discriminator's features"})
    contextual_weight: float = field(default=50.0, metadata={"help": "weight of the pixels' absolute error"})
    encoder_weight: float = field(default=1.0, metadata={"help": "weight of the difference of the two codes"})
    learning_rate: float = field(default=2e-4, metadata={"help": "Adam's learning rate"})
    beta1: float = field(default=0.5, metadata={"help": "Adam's first decay"})
    epochs: int = field(default=100, metadata={"help": "passes over the normals (authors: 15, of far more images)"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        require_positive(self, "generator_width", "discriminator_width", "latent_dim", "epochs", "batch_size")


class GANomaly(Method):
    """An encoder, a decoder and a second encoder, trained against a discriminator.

    With z = E1(x), x' = D(z), z' = E2(x') and f the discriminator's last features before its answer, the generator
    (E1, D, E2) minimises

        w_adv * mean (f(x) - f(x'))^2  +  w_con * mean |x - x'|  +  w_enc * mean (z - z')^2

    and after it the discriminator half the sum of the cross-entropies of real and rebuilt images. The score is
    mean (z - z')^2 over the code, the map |x - x'| averaged over channels. Images are scaled to [-1, 1] inside.

    Losses are logged as Fig. 9 of the study below plots them: `adversarial`, `encoder` and `contextual`, without their
    weights; beside them `discriminator`.

    Paper: Akcay, Atapour-Abarghouei, Breckon, "GANomaly: Semi-supervised anomaly detection via adversarial training",
    ACCV 2018. Size, batch and rate are those of the study of seven medical data sets by Esmaeili et al., "Generative
    adversarial networks for anomaly detection in biomedical imaging", IEEE Access 2023, section IV.C.

    Options: `generator_width`, `discriminator_width`, `latent_dim`, `adversarial_weight`, `contextual_weight`,
    `encoder_weight`, `learning_rate`, `beta1`, `epochs`, `batch_size`; their help says what each does.

    Deviations and choices:
        - The score is not scaled by the smallest and largest one of the test set, as the paper does: such a score needs
          all test images before it can judge the first. Ranks are the same, and p-values come from held-out normals.
        - Batch normalisation scores with its running statistics. The authors' code scores in training mode, where an
          image's score depends on the images beside it.
        - The last epoch's weights are kept; the authors' code keeps those with the best AUROC on test labels.
        - There is no map in the paper; the absolute error of the pixels stands for one. The study writes norms where
          the authors' code has means of squares; the code's are used, in the score as well.
        - 100 epochs instead of 15: the authors count passes over tens of thousands of images.
        - The discriminator starts anew where its loss falls below 1e-5, as in the authors' code; how often is said by
          `settled`. It judges each batch once, and that serves both steps: the generator's step leaves it as it was.
    """

    name = "ganomaly"
    paper = "Akcay et al., GANomaly: Semi-supervised anomaly detection via adversarial training, ACCV 2018"
    family = "adversarial"
    reduction = "own"
    default_size = 128
    Options = GANomalyOptions

    options: GANomalyOptions
    restarts: Tensor

    def __init__(self, options: GANomalyOptions, size: tuple[int, int], channels: int) -> None:
        """Build the three parts of the generator, and the discriminator, with random weights.

        Raises:
            UsageError: the size is not square with a side that is a power of two, at least 16.
        """
        super().__init__(options, size, channels)
        side = require_side(self.name, size)
        width, latent = options.generator_width, options.latent_dim
        self.encoder = Encoder(side, channels, width, latent)
        self.decoder = Decoder(side, channels, width, latent)
        self.second_encoder = Encoder(side, channels, width, latent)
        self.discriminator = Discriminator(side, channels, options.discriminator_width)
        self.register_buffer("restarts", torch.zeros((), dtype=torch.long))
        initialise(self)

    def phases(self) -> list[Phase | base.Collect]:
        """One phase, in which the generator and the discriminator take turns."""
        options = self.options
        adversary = Adversary("discriminator", blind=math.log(2), sure=0.0)
        return [
            Phase("gan", options.epochs, options.batch_size, self._optimizers, self._step, adversaries=(adversary,)),
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, score and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        code, rebuilt, again = self._rebuild(signed(images))
        reconstruction = unsigned(rebuilt)
        residual = (images - reconstruction).abs().mean(1, keepdim=True)
        return Prediction(residual, (code - again).square().mean(1), reconstruction)

    def settled(self) -> dict[str, int]:
        """How often the discriminator started anew."""
        return {"discriminator restarts": int(self.restarts)}

    def _rebuild(self, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of images in [-1, 1]: code, rebuilt images in [-1, 1], and their code; float32."""
        code = self.encoder(real)
        rebuilt = self.decoder(code)
        return code.float(), rebuilt.float(), self.second_encoder(rebuilt).float()

    def _optimizers(self) -> Mapping[str, Optimizer]:
        generator = nn.ModuleList([self.encoder, self.decoder, self.second_encoder])
        networks = {"generator": generator, "discriminator": self.discriminator}
        return dcgan_adam(networks, self.options.learning_rate, self.options.beta1)

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        options, real = self.options, signed(images)
        code, rebuilt, again = self._rebuild(real)
        seen = rebuilt.detach().requires_grad_()  # one pass of the discriminator serves both steps
        features_real, logits_real = self.discriminator(real)
        features_fake, logits_fake = self.discriminator(seen)
        adversarial = (features_real.detach() - features_fake).square().mean()
        contextual = (real - rebuilt).abs().mean()
        encoder = (code - again).square().mean()
        weighted = options.contextual_weight * contextual + options.encoder_weight * encoder
        update("generator", weighted + options.adversarial_weight * handed_on(adversarial, seen, rebuilt))
        discriminator = discriminator_loss(logits_real, logits_fake)
        update("discriminator", discriminator)
        restart_collapsed(self.discriminator, discriminator, self.restarts)
        losses = {
            "adversarial": adversarial,
            "encoder": encoder,
            "contextual": contextual,
            "discriminator": discriminator,
        }
        return {name: loss.detach() for name, loss in losses.items()}
