"""f-AnoGAN: a Wasserstein GAN of normal images, and an encoder that inverts it in one pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RMSprop

from unremarkable.methods import base
from unremarkable.methods.base import Adversary, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_positive
from unremarkable.networks.dcgan import frozen, require_side, signed
from unremarkable.networks.residual_gan import Downward, Generator, layer_norm


@dataclass(frozen=True)
class FAnoGANOptions(base.Options):
    """Options of f-AnoGAN."""

    dim: int = field(default=64, metadata={"help": "width of the networks; 16 suits a machine without a GPU"})
    latent_dim: int = field(default=128, metadata={"help": "length of the latent vector"})
    variant: Literal["izi_f", "izi", "ziz"] = field(
        default="izi_f", metadata={"help": "what trains the encoder: izi_f pixels and features, izi pixels, ziz codes"}
    )
    score: Literal["izi_f", "izi", "z"] = field(
        default="izi_f",
        metadata={"help": "izi_f pixels and the critic's features, izi pixels, z distance of the codes"},
    )
    n_critic: int = field(default=5, metadata={"help": "critic steps for each step of the generator"})
    gradient_penalty: float = field(default=10.0, metadata={"help": "weight of the critic's gradient penalty"})
    kappa: float = field(default=1.0, metadata={"help": "weight of the critic's features in loss and score"})
    gan_learning_rate: float = field(default=1e-4, metadata={"help": "Adam's rate for generator and critic"})
    encoder_learning_rate: float = field(default=5e-5, metadata={"help": "RMSprop's rate for the encoder"})
    gan_epochs: int = field(default=300, metadata={"help": "passes over the normals that train the GAN"})
    encoder_epochs: int = field(default=300, metadata={"help": "at most so many passes that train the encoder"})
    patience: int = field(default=20, metadata={"help": "epochs without improvement that end the encoder's training"})
    batch_size: int = field(default=64, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        require_positive(
            self, "dim", "latent_dim", "n_critic", "gan_epochs", "encoder_epochs", "patience", "batch_size"
        )


class FAnoGAN(Method):
    """f-AnoGAN with its three encoders: izi_f, izi and ziz.

    Phase 1 trains a WGAN-GP on normal images. Phase 2 freezes generator G and critic, and trains the encoder E, named
    by the way its loss goes between image and latent vector z, on

        izi_f: MSE(x, G(E(x))) + kappa * MSE(f(x), f(G(E(x))))    izi: the first term alone    ziz: MSE(z, E(G(z)))

    where f are the critic's last features. The score of an image is the izi_f loss itself, its first term, or the
    z-distance MSE(E(x), E(G(E(x)))). The map is |x - G(E(x))| averaged over channels. Images are scaled to [-1, 1]
    inside, and map and reconstruction back to [0, 1].

    Losses are logged under the names that Fig. 9 of Esmaeili et al., "Generative adversarial networks for anomaly
    detection in biomedical imaging", IEEE Access 2023, plots: `adversarial`, the generator's, and `encoder`, the whole
    of the encoder's; beside them their parts.

    Paper: Schlegl et al., "f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks",
    Medical Image Analysis 54 (2019); the residual networks are those of Gulrajani et al., "Improved training of
    Wasserstein GANs", NeurIPS 2017.

    Options: `dim`, `latent_dim`, `variant`, `score`, `n_critic`, `gradient_penalty`, `kappa`, `gan_learning_rate`,
    `encoder_learning_rate`, `gan_epochs`, `encoder_epochs`, `patience`, `batch_size`; their help says what each does.

    Deviations and choices:
        - The authors train by iterations on some 10^6 patches (50,000 for the encoder). Here `gan_epochs` and
          `encoder_epochs` count passes, and the encoder stops after `patience` epochs without improvement on held-out
          normals and keeps its best weights; nothing is chosen on labels.
        - Batch normalisation in generator and encoder runs on its running statistics at inference, as in the authors'
          code, so an image's score never depends on its batch; their decay is 0.9 instead of 0.99 for short training.
        - One batch serves one critic step; the generator moves at every `n_critic`-th.
        - Sides other than 64 add or drop a residual block; colour images have three channels in and out.
        - The encoder ends in tanh, as the authors have it for izi_f. For ziz it does not: it must find vectors drawn
          from N(0, 1), a third of whose numbers lie beyond tanh's reach. Held-out images are judged by izi there.
        - Convolutions before average pooling, and after upsampling, are one strided convolution with the same result.
    """

    name = "f-anogan"
    paper = "Schlegl et al., f-AnoGAN: Fast unsupervised anomaly detection with GANs, Medical Image Analysis 2019"
    family = "adversarial"
    reduction = "own"
    default_size = 64
    Options = FAnoGANOptions

    options: FAnoGANOptions

    def __init__(self, options: FAnoGANOptions, size: tuple[int, int], channels: int) -> None:
        """Build generator, critic and encoder with random weights.

        Raises:
            UsageError: the size is not square with a side that is a power of two, at least 32.
        """
        super().__init__(options, size, channels)
        side = require_side(self.name, size, least=32)
        blocks = int(math.log2(side)) - 2
        widths = [options.dim * min(2**i, 8) for i in range(blocks + 1)]
        self.generator = Generator(widths, options.latent_dim, channels)
        self.critic = Downward(widths, channels, outputs=1, norm=layer_norm)
        self.encoder = Downward(widths, channels, outputs=options.latent_dim, norm=nn.BatchNorm2d)

    def phases(self) -> list[Phase | base.Collect]:
        """The GAN, then the encoder."""
        options = self.options
        critic = Adversary("wasserstein", blind=0.0)
        return [
            Phase(
                "gan",
                options.gan_epochs,
                options.batch_size,
                self._gan_optimizers,
                self._gan_step,
                adversaries=(critic,),
            ),
            Phase(
                "encoder",
                options.encoder_epochs,
                options.batch_size,
                self._encoder_optimizers,
                self._invert_step if options.variant == "ziz" else self._encoder_step,
                validate=self._held_out_loss,
                patience=options.patience,
            ),
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, score and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        real = signed(images)
        code, rebuilt = self._rebuild(real)
        if self.options.score == "z":
            score = (code - self._encode(rebuilt)).square().mean(1)
        else:
            score = self._distance(real, rebuilt, features=self.options.score == "izi_f")
        reconstruction = (rebuilt + 1) / 2
        residual = (images - reconstruction).abs().mean(1, keepdim=True)
        return Prediction(residual, score, reconstruction)

    def _encode(self, real: Tensor) -> Tensor:
        """Latent vectors of images in [-1, 1], float32."""
        code = self.encoder(real).float()
        return code if self.options.variant == "ziz" else torch.tanh(code)

    def _rebuild(self, real: Tensor) -> tuple[Tensor, Tensor]:
        """Latent vectors, and the images that the generator makes of them, in [-1, 1]; float32."""
        code = self._encode(real)
        return code, self.generator(code).float()

    def _distance(self, real: Tensor, rebuilt: Tensor, *, features: bool) -> Tensor:
        """Per image, MSE of the pixels; with `features`, plus kappa times the MSE of the critic's features."""
        pixels = (real - rebuilt).square().mean((1, 2, 3))
        return pixels + self.options.kappa * self._feature_distance(real, rebuilt) if features else pixels

    def _feature_distance(self, real: Tensor, rebuilt: Tensor) -> Tensor:
        return (self.critic.features(real).float() - self.critic.features(rebuilt).float()).square().mean(1)

    def _gan_optimizers(self) -> Mapping[str, Optimizer]:
        rate = self.options.gan_learning_rate
        return {
            "critic": Adam(self.critic.parameters(), lr=rate, betas=(0.0, 0.9), fused=True),
            "generator": Adam(self.generator.parameters(), lr=rate, betas=(0.0, 0.9), fused=True),
        }

    def _gan_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        real = signed(images)
        with torch.no_grad():
            fake = self.generator(self._noise(real)).float()
        distance = self.critic(real).float().mean() - self.critic(fake).float().mean()
        penalty = self._penalty(real, fake)
        update("critic", self.options.gradient_penalty * penalty - distance)
        losses = {"wasserstein": distance.detach(), "penalty": penalty.detach()}
        if (update.step + 1) % self.options.n_critic == 0:
            with frozen(self.critic):
                loss = -self.critic(self.generator(self._noise(real))).float().mean()
                update("generator", loss)
            losses["adversarial"] = loss.detach()
        return losses

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(len(like), self.options.latent_dim, device=like.device, dtype=like.dtype)

    def _penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        """Squared distance from 1 of the critic's slope between real and generated images (Gulrajani, equation 3)."""
        share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
        between = torch.lerp(real, fake, share).requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(between).float().sum(), between, create_graph=True)
        return (gradient.float().flatten(1).norm(dim=1) - 1).square().mean()

    def _encoder_optimizers(self) -> Mapping[str, Optimizer]:
        # 0.9 is TensorFlow's default decay, which the authors left as it was; torch's is 0.99.
        return {"encoder": RMSprop(self.encoder.parameters(), lr=self.options.encoder_learning_rate, alpha=0.9)}

    def _encoder_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        """From image to image, for izi and izi_f."""
        self.generator.eval()
        real = signed(images)
        with frozen(self.generator, self.critic):
            _, rebuilt = self._rebuild(real)
            parts = {"izi": (real - rebuilt).square().mean()}
            loss = parts["izi"]
            if self.options.variant == "izi_f":
                parts["adv-fm"] = self._feature_distance(real, rebuilt).mean()
                loss = loss + self.options.kappa * parts["adv-fm"]
            update("encoder", loss)
        return {name: part.detach() for name, part in {"encoder": loss, **parts}.items()}

    def _invert_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        """From latent vector to latent vector, for ziz; of the images it uses only how many there are."""
        self.generator.eval()
        latent = self._noise(images)
        with torch.no_grad():
            generated = self.generator(latent).float()
        loss = (latent - self._encode(generated)).square().mean()
        update("encoder", loss)
        return {"encoder": loss.detach()}

    def _held_out_loss(self, images: Tensor) -> Tensor:
        real = signed(images)
        _, rebuilt = self._rebuild(real)
        return self._distance(real, rebuilt, features=self.options.variant == "izi_f")
