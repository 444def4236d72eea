"""Skip-GANomaly: a U-Net rebuilds normal images so well that a discriminator cannot tell them from real ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from unremarkable.methods import base
from unremarkable.methods.base import Adversary, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_positive
from unremarkable.methods.optimizers import dcgan_adam
from unremarkable.networks.dcgan import (
    Discriminator,
    discriminator_loss,
    handed_on,
    initialise,
    require_side,
    restart_collapsed,
    signed,
    unsigned,
)
from unremarkable.networks.skip_generator import SkipGenerator


@dataclass(frozen=True)
class SkipGANomalyOptions(base.Options):
    """Options of skip-GANomaly."""

    generator_width: int = field(
        default=64, metadata={"help": "channels of the U-Net's finest features; they double up to eight times that"}
    )
    discriminator_width: int = field(
        default=64, metadata={"help": "channels of the discriminator's finest features; they double as the side halves"}
    )
    adversarial_weight: float = field(default=1.0, metadata={"help": "weight of the discriminator's answer"})
    contextual_weight: float = field(default=40.0, metadata={"help": "weight of the pixels' absolute error"})
    latent_weight: float = field(default=1.0, metadata={"help": "weight of the discriminator's features"})
    score_weight: float = field(
        default=0.9, metadata={"help": "lambda: share of the pixels' error in the score; the rest is the features'"}
    )
    learning_rate: float = field(default=2e-4, metadata={"help": "Adam's learning rate"})
    beta1: float = field(default=0.5, metadata={"help": "Adam's first decay"})
    epochs: int = field(default=100, metadata={"help": "passes over the normals (authors: 15, of far more images)"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        require_positive(self, "generator_width", "discriminator_width", "epochs", "batch_size")
        if not 0 <= self.score_weight <= 1:
            raise ValueError(f"score_weight lies between 0 and 1, not at {self.score_weight}")


class SkipGANomaly(Method):
    """A U-Net that rebuilds images, trained against a discriminator whose features judge as well.

    With x' = G(x), the discriminator's answer D and its last features f before that, the generator minimises

        w_adv * -log D(x')  +  w_con * mean |x - x'|  +  w_lat * mean (f(x) - f(x'))^2

    and after it the discriminator -log D(x) - log(1 - D(x')). The score is lambda * R + (1 - lambda) * L with
    R = mean |x - x'| and L = mean (f(x) - f(x'))^2; the map is |x - x'| averaged over channels. Images are scaled to
    [-1, 1] inside. Losses are logged without their weights, as `adversarial`, `contextual`, `latent`, `discriminator`.

    Paper: Akcay, Atapour-Abarghouei, Breckon, "Skip-GANomaly: Skip connected and adversarially trained encoder-decoder
    anomaly detection", IJCNN 2019.

    Options: `generator_width`, `discriminator_width`, `adversarial_weight`, `contextual_weight`, `latent_weight`,
    `score_weight`, `learning_rate`, `beta1`, `epochs`, `batch_size`; their help says what each does.

    Deviations and choices:
        - The paper was not at hand. Losses, score and lambda, and the weights 1, 40 and 1 are remembered from it; the
          authors' code agrees but for a weight of 50 in place of 40, and squared pixel errors in its score, where the
          paper has absolute ones. Rate and decay are the code's.
        - In the code the discriminator also minimises the latent loss. The paper's objective gives it the adversarial
          one alone, and so does this.
        - The score is not scaled by the smallest and largest one of the test set. Both parts are means, over pixels and
          over features, which lambda weighs as they are.
        - Batch normalisation scores with its running statistics, in both networks: a score never depends on the batch.
        - The generator descends -log D(x'), as in the code, and not log(1 - D(x')), whose gradient fades early on.
        - f are the last convolution's features, as in GANomaly. There is no map in the paper.
        - 128 x 128 pixels, batches of 32 and 100 epochs as for GANomaly here; the authors have 32 x 32, 64 and 15.
        - The discriminator starts anew where its loss falls below 1e-5, as in the code.
        - With its skips the generator can copy what it is given, lesions too; the look after training says so.
    """

    name = "skip-ganomaly"
    paper = "Akcay et al., Skip-GANomaly: Skip connected and adversarially trained encoder-decoder, IJCNN 2019"
    family = "adversarial"
    reduction = "own"
    default_size = 128
    Options = SkipGANomalyOptions

    options: SkipGANomalyOptions
    restarts: Tensor

    def __init__(self, options: SkipGANomalyOptions, size: tuple[int, int], channels: int) -> None:
        """Build generator and discriminator with random weights.

        Raises:
            UsageError: the size is not square with a side that is a power of two, at least 16.
        """
        super().__init__(options, size, channels)
        side = require_side(self.name, size)
        self.generator = SkipGenerator(side, channels, options.generator_width)
        self.discriminator = Discriminator(side, channels, options.discriminator_width)
        self.register_buffer("restarts", torch.zeros((), dtype=torch.long))
        initialise(self)

    def phases(self) -> list[Phase | base.Collect]:
        """One phase, in which the generator and the discriminator take turns."""
        options = self.options
        adversary = Adversary("discriminator", blind=2 * math.log(2), sure=0.0)
        return [
            Phase("gan", options.epochs, options.batch_size, self._optimizers, self._step, adversaries=(adversary,)),
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, score and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        real = signed(images)
        rebuilt = self.generator(real).float()
        features, _ = self.discriminator(real)
        again, _ = self.discriminator(rebuilt)
        share = self.options.score_weight
        pixels = (real - rebuilt).abs().mean((1, 2, 3))
        score = share * pixels + (1 - share) * (features - again).square().mean((1, 2, 3))
        reconstruction = unsigned(rebuilt)
        return Prediction((images - reconstruction).abs().mean(1, keepdim=True), score, reconstruction)

    def settled(self) -> dict[str, int]:
        """How often the discriminator started anew."""
        return {"discriminator restarts": int(self.restarts)}

    def _optimizers(self) -> Mapping[str, Optimizer]:
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return dcgan_adam(networks, self.options.learning_rate, self.options.beta1)

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        options, real = self.options, signed(images)
        rebuilt = self.generator(real).float()
        seen = rebuilt.detach().requires_grad_()  # one pass of the discriminator serves both steps
        features_real, logits_real = self.discriminator(real)
        features_fake, logits_fake = self.discriminator(seen)
        adversarial = F.softplus(-logits_fake).mean()
        latent = (features_real.detach() - features_fake).square().mean()
        contextual = (real - rebuilt).abs().mean()
        judged = options.adversarial_weight * adversarial + options.latent_weight * latent
        update("generator", options.contextual_weight * contextual + handed_on(judged, seen, rebuilt))
        discriminator = 2 * discriminator_loss(logits_real, logits_fake)
        update("discriminator", discriminator)
        restart_collapsed(self.discriminator, discriminator, self.restarts)
        losses = {
            "adversarial": adversarial,
            "contextual": contextual,
            "latent": latent,
            "discriminator": discriminator,
        }
        return {name: loss.detach() for name, loss in losses.items()}
