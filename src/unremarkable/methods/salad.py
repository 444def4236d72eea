"""SALAD: images are translated to codes and back, twice; what does not come back as it was is anomalous."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from unremarkable.methods import base
from unremarkable.methods.autoencoder import ssim_map
from unremarkable.methods.base import Adversary, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_not_negative, require_positive
from unremarkable.methods.optimizers import dcgan_adam
from unremarkable.networks.dcgan import (
    Decoder,
    Discriminator,
    Encoder,
    discriminator_loss,
    frozen,
    initialise,
    require_side,
    signed,
    unsigned,
)

#: share of the way that the centre goes to the mean code of each batch
FOLLOW = 0.1


@dataclass(frozen=True)
class SALADOptions(base.Options):
    """Options of SALAD."""

    width: int = field(
        default=64, metadata={"help": "channels after the first halving of the side; each further one doubles them"}
    )
    latent_dim: int = field(default=128, metadata={"help": "length of the code"})
    reconstruction_weight: float = field(default=10.0, metadata={"help": "weight of the pixels' absolute error"})
    structure_weight: float = field(default=10.0, metadata={"help": "weight of the structure similarity loss"})
    consistency_weight: float = field(default=1.0, metadata={"help": "weight of the difference of the two codes"})
    centre_weight: float = field(default=0.1, metadata={"help": "weight of the centre constraint loss"})
    rotation_weight: float = field(default=1.0, metadata={"help": "weight of the self-supervised task"})
    adversarial_weight: float = field(default=0.1, metadata={"help": "weight of the discriminator's answer"})
    learning_rate: float = field(default=2e-4, metadata={"help": "Adam's learning rate"})
    epochs: int = field(default=200, metadata={"help": "passes over the normals"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        require_positive(self, "width", "latent_dim", "epochs", "batch_size")
        terms = ("reconstruction", "structure", "consistency", "centre", "rotation", "adversarial")
        require_not_negative(self, *(f"{name}_weight" for name in terms))
        if self.reconstruction_weight == self.consistency_weight == 0:
            raise ValueError("reconstruction_weight and consistency_weight are not both 0: the score is made of them")


class SALAD(Method):
    """SALAD: self-supervised and translation-consistent features for anomaly detection.

    An image is translated to a code, back to an image, and that to a code again: z = E(x), x' = G(z), z' = E(x').
    Against a discriminator D, with a centre c of the codes and a classifier R of rotations, E, G and R minimise

        w_rec mean |x - x'|  +  w_str mean (1 - SSIM(x, x'))  +  w_con mean (z - z')^2  +  w_cen mean (z - c)^2
        +  w_rot CE(R(E(x turned by k * 90 degrees)), k)  +  w_adv mean -log D(x')

    and D half the sum of the cross-entropies of real and rebuilt images. The score is what training asks of the two
    translations, w_rec mean |x - x'| + w_con mean (z - z')^2, the map |x - x'| averaged over channels. Images are in
    [-1, 1] inside (SSIM: in [0, 1]), map and reconstruction in [0, 1].

    Paper: Zhao, Li, He, Ma, Fang, Li, Zheng, "Anomaly detection for medical images using self-supervised and
    translation-consistent features", IEEE TMI 40(12), 2021. Two other methods share its name: Bozorgtabar et al.,
    MICCAI 2020, and a detector of logical anomalies, ICCV 2025.

    Options: `width`, `latent_dim`, `reconstruction_weight`, `structure_weight`, `consistency_weight`, `centre_weight`,
    `rotation_weight`, `adversarial_weight`, `learning_rate`, `epochs`, `batch_size`; their help says what each does.

    Deviations and choices: the paper's text was not at hand and no code of it is public, so figures of this method are
    not figures of the paper's. What is known of it:
        - From its abstract: normal data are learnt by an encode-and-reconstruct translation between image and latent
          space; a structure similarity loss and a centre constraint loss regulate the translation in image and in
          feature space; a self-supervised module learns from the raw normals; the score is made of the
          self-supervised and translation-consistent features.
        - From Lu et al. ("Hetero-AE", IEEE TIP 2024), who compare with it: it is an autoencoder with adversarial
          learning, and its heat maps are differences of pixels.
    What is inferred:
        - The formulas above: the mean of 1 - SSIM as the structure similarity loss, the squared distance of codes from
          a centre as the centre constraint, a term each for the pixels and for the consistency of the codes.
        - The centre: it starts as the first batch's mean code and goes a tenth of the way to each later one's.
        - The self-supervised task: which quarter turn an image was given (Gidaris et al., ICLR 2018), told from its
          code by one linear layer. Every fourth image of a batch, in random order, has the same turn.
        - The score. The abstract builds it on the features; the image's error stands beside that of the codes, since an
          encoder averages fine texture away: by its codes alone, white noise scored below scans after a short training.
          Rotations are not asked for when scoring.
        - The networks, those of DCGAN; size, optimiser, and weights: 10 for the two terms of the image, so that
          features cannot outweigh it, 1 for the others, and 0.1 for the centre, which would else shrink the codes, and
          for the discriminator, which would else win: at 1, two of four seeds rebuilt every image as one grey picture.
    Batch normalisation runs on its running statistics when scoring.
    """

    name = "salad"
    paper = "Zhao et al., Self-supervised and translation-consistent features, IEEE TMI 2021 (from its abstract)"
    family = "adversarial"
    reduction = "own"
    default_size = 64
    Options = SALADOptions

    options: SALADOptions
    centre: Tensor
    begun: Tensor

    def __init__(self, options: SALADOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder, generator, classifier of rotations and discriminator with random weights.

        Raises:
            UsageError: the size is not square with a side that is a power of two, at least 16.
        """
        super().__init__(options, size, channels)
        side = require_side(self.name, size)
        self.encoder = Encoder(side, channels, options.width, options.latent_dim)
        self.generator = Decoder(side, channels, options.width, options.latent_dim)
        self.rotation = nn.Linear(options.latent_dim, 4)
        self.discriminator = Discriminator(side, channels, options.width)
        initialise(self)
        self.register_buffer("centre", torch.zeros(options.latent_dim))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def phases(self) -> list[Phase | base.Collect]:
        """One phase, in which the discriminator and its opponents take turns."""
        options = self.options
        adversary = Adversary("discriminator", blind=math.log(2), sure=0.0)
        return [
            Phase("salad", options.epochs, options.batch_size, self._optimizers, self._step, adversaries=(adversary,))
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, score and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        real = signed(images)
        code, rebuilt, again = self._translate(real)
        reconstruction = unsigned(rebuilt)
        residual = (images - reconstruction).abs().mean(1, keepdim=True)
        pixels, codes = (real - rebuilt).abs().mean((1, 2, 3)), (code - again).square().mean(1)
        score = self.options.reconstruction_weight * pixels + self.options.consistency_weight * codes
        return Prediction(residual, score, reconstruction)

    def _translate(self, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of images in [-1, 1]: code, rebuilt images in [-1, 1], and their code; float32."""
        code = self.encoder(real).float()
        rebuilt = self.generator(code).float()
        return code, rebuilt, self.encoder(rebuilt).float()

    def _optimizers(self) -> Mapping[str, Optimizer]:
        generator = nn.ModuleList([self.encoder, self.generator, self.rotation])
        networks = {"discriminator": self.discriminator, "generator": generator}
        return dcgan_adam(networks, self.options.learning_rate)

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        real = signed(images)
        code, rebuilt, again = self._translate(real)
        discriminator = discriminator_loss(self.discriminator(real)[1], self.discriminator(rebuilt.detach())[1])
        update("discriminator", discriminator)
        self._follow(code.detach().mean(0))
        # A batch is in the order of the images' numbers, and a small set is one batch: without this each image would
        # have one turn for ever, to be known by heart.
        turned, turns = quarter_turns(real[torch.randperm(len(real), device=real.device)])
        with frozen(self.discriminator):
            losses = {
                "reconstruction": (real - rebuilt).abs().mean(),
                "structure": 1 - ssim_map(images, (rebuilt + 1) / 2).mean(),
                "consistency": (code - again).square().mean(),
                "centre": (code - self.centre).square().mean(),
                "rotation": F.cross_entropy(self.rotation(self.encoder(turned)).float(), turns),
                "adversarial": F.softplus(-self.discriminator(rebuilt)[1]).mean(),
            }
            weighted = [getattr(self.options, f"{name}_weight") * loss for name, loss in losses.items()]
            update("generator", torch.stack(weighted).sum())
        return {name: loss.detach() for name, loss in (losses | {"discriminator": discriminator}).items()}

    def _follow(self, mean: Tensor) -> None:
        """Move the centre towards a batch's mean code."""
        self.centre.copy_(torch.where(self.begun, self.centre.lerp(mean, FOLLOW), mean))
        self.begun.fill_(True)


def quarter_turns(images: Tensor) -> tuple[Tensor, Tensor]:
    """Square `(N, C, S, S)` images, the i-th turned by i quarter turns, and how many that are modulo 4, `(N,)`."""
    turned = images.clone()
    for turn in (1, 2, 3):
        turned[turn::4] = images[turn::4].rot90(turn, (2, 3))
    return turned, torch.arange(len(images), device=images.device) % 4
