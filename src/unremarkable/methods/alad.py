"""ALAD: a GAN with an encoder, made consistent by discriminators that compare images and codes with their rebuilt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from unremarkable.methods import base
from unremarkable.methods.base import Adversary, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_positive
from unremarkable.methods.optimizers import dcgan_adam
from unremarkable.networks import dcgan
from unremarkable.networks.alad import CodePairs, Encoder, ImageCodePairs, ImagePairs
from unremarkable.networks.averaged import averaged, early_decay, follow

#: of the moving average of the weights that score
DECAY = 0.999


@dataclass(frozen=True)
class ALADOptions(base.Options):
    """Options of ALAD."""

    width: int = field(
        default=64, metadata={"help": "channels after the first halving of the side; each further one doubles them"}
    )
    latent_dim: int = field(default=100, metadata={"help": "length of the code"})
    learning_rate: float = field(default=2e-4, metadata={"help": "Adam's learning rate"})
    epochs: int = field(default=300, metadata={"help": "passes over the normals"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        require_positive(self, "width", "latent_dim", "epochs", "batch_size")


class ALAD(Method):
    """ALAD: adversarially learned anomaly detection.

    Encoder E and generator G play against three discriminators at once, each with the usual game of cross-entropies:
    D_xz tells (x, E(x)) from (G(z), z), as in `efficient-gan`; D_xx tells (x, x) from (x, G(E(x))), and D_zz (z, z)
    from (z, E(G(z))), which ties images and codes to what is rebuilt of them. Discriminators and encoder are normalised
    spectrally. The score is

        A(x) = sum |f(x, x) - f(x, G(E(x)))|

    where f are the last features of D_xx. The map is |x - G(E(x))| averaged over channels. Images are in [-1, 1]
    inside, map and reconstruction in [0, 1].

    Paper: Zenati, Romain, Foo, Lecouat, Chandrasekhar, "Adversarially learned anomaly detection", ICDM 2018; the game
    is that of Li et al., "ALICE: Towards understanding adversarial learning for joint distribution matching", NeurIPS
    2017. Numbers and networks are those of the authors' code for CIFAR-10.

    Options: `width`, `latent_dim`, `learning_rate`, `epochs`, `batch_size`; their help says what each does.

    Deviations and choices:
        - D_xx sees both images as channels of one. The authors' code puts one below the other, where its convolutions
          never see both at once, and its answer is a sum of what it makes of each: it cannot compare them.
        - The authors stop early by the score of held-out normals, which also falls when the features of D_xx fade. Here
          the game is played to the end; 300 epochs are meant for a thousand normals.
        - Images are 64 x 64 and the networks half as wide, so that the widest layer has 512 channels as at the
          authors' 32 x 32.
        - One batch serves the discriminators' step and the one that follows; the authors draw another one for that.
        - As in the authors' code, moving averages of the weights score, at a decay of 0.999; here the first updates
          count more, or a short training would score with the weights it began with.
        - Weights start as in DCGAN, N(0, 0.02), instead of N(0, 0.01); spectral normalisation undoes the difference.
        - Batch normalisation runs on its running statistics when scoring, and no unit is dropped then.
    """

    name = "alad"
    paper = "Zenati et al., Adversarially learned anomaly detection, ICDM 2018"
    family = "adversarial"
    reduction = "own"
    default_size = 64
    Options = ALADOptions

    options: ALADOptions

    def __init__(self, options: ALADOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder, generator and the three discriminators with random weights.

        Raises:
            UsageError: the size is not square with a side that is a power of two, at least 16.
        """
        super().__init__(options, size, channels)
        side = dcgan.require_side(self.name, size)
        width, latent = options.width, options.latent_dim
        self.encoder = Encoder(side, channels, width, latent)
        self.generator = dcgan.Decoder(side, channels, width, latent)
        dcgan.initialise(self.generator)
        self.discriminators = nn.ModuleDict(
            {
                "xz": ImageCodePairs(side, channels, width, latent),
                "xx": ImagePairs(side, channels, width),
                "zz": CodePairs(side, width, latent),
            }
        )
        self.average = nn.ModuleDict({name: averaged(network) for name, network in self._scoring().items()})

    def phases(self) -> list[Phase | base.Collect]:
        """One phase, in which the discriminators and their two opponents take turns."""
        options = self.options
        adversaries = tuple(
            Adversary(f"discriminator {name}", blind=math.log(2), sure=0.0) for name in self.discriminators
        )
        return [
            Phase("alad", options.epochs, options.batch_size, self._optimizers, self._step, adversaries=adversaries)
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, score and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        real = dcgan.signed(images)
        rebuilt = self.average["generator"](self.average["encoder"](real))
        features, wanted = (self.average["xx"](real, other)[0] for other in (rebuilt, real))
        reconstruction = dcgan.unsigned(rebuilt)
        residual = (images - reconstruction).abs().mean(1, keepdim=True)
        return Prediction(residual, (features - wanted).abs().sum(1), reconstruction)

    def _scoring(self) -> dict[str, nn.Module]:
        """The networks that `predict` needs."""
        return {"encoder": self.encoder, "generator": self.generator, "xx": self.discriminators["xx"]}

    def _optimizers(self) -> Mapping[str, Optimizer]:
        moved = {"discriminators": self.discriminators, "generator": nn.ModuleList([self.encoder, self.generator])}
        return dcgan_adam(moved, self.options.learning_rate)

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        real = dcgan.signed(images)
        latent = torch.randn(len(real), self.options.latent_dim, device=real.device)
        code, fake = self.encoder(real), self.generator(latent)
        true = {"xz": (real, code), "xx": (real, real), "zz": (latent, latent)}
        false = {"xz": (fake, latent), "xx": (real, self.generator(code)), "zz": (latent, self.encoder(fake))}
        losses = {
            name: dcgan.discriminator_loss(self._ask(name, true), self._ask(name, false))
            for name in self.discriminators
        }
        update("discriminators", torch.stack(list(losses.values())).sum())
        with dcgan.frozen(self.discriminators):
            sought = {name: F.softplus(-self._ask(name, false, detach=False)).mean() for name in self.discriminators}
            encoder = F.softplus(self._ask("xz", true, detach=False)).mean()
            # D_xz's two terms reach one network each, and the others both, so one sum serves both networks.
            update("generator", torch.stack([encoder, *sought.values()]).sum())
        for name, network in self._scoring().items():
            follow(self.average[name], network, early_decay(DECAY, update.step))
        losses = {f"discriminator {name}": loss for name, loss in losses.items()}
        losses |= {"adversarial": sought["xz"], "encoder": encoder, "images": sought["xx"], "codes": sought["zz"]}
        return {name: loss.detach() for name, loss in losses.items()}

    def _ask(self, name: str, pairs: Mapping[str, tuple[Tensor, Tensor]], *, detach: bool = True) -> Tensor:
        """A discriminator's logits for its pairs; detached pairs leave the networks that made them alone."""
        first, second = pairs[name]
        if detach:
            first, second = first.detach(), second.detach()
        logits: Tensor = self.discriminators[name](first, second)[1]
        return logits
