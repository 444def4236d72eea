"""AnoGAN: a GAN of normal images, and for every image a search for the latent vector that comes nearest to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from unremarkable.methods import base
from unremarkable.methods.base import Adversary, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_positive
from unremarkable.methods.optimizers import dcgan_adam
from unremarkable.networks import dcgan


@dataclass(frozen=True)
class AnoGANOptions(base.Options):
    """Options of AnoGAN."""

    width: int = field(
        default=64, metadata={"help": "channels after the first halving of the side; each further one doubles them"}
    )
    latent_dim: int = field(default=100, metadata={"help": "length of the latent vector"})
    feature_weight: float = field(
        default=0.1, metadata={"help": "lambda: the discriminator's share in search and score, from 0 to 1"}
    )
    search_steps: int = field(default=500, metadata={"help": "steps of the search through the latent space, an image"})
    search_rate: float = field(default=0.01, metadata={"help": "Adam's learning rate in that search"})
    learning_rate: float = field(default=2e-4, metadata={"help": "Adam's learning rate for both networks"})
    epochs: int = field(default=300, metadata={"help": "passes over the normals"})
    batch_size: int = field(default=64, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        require_positive(self, "width", "latent_dim", "search_steps", "epochs", "batch_size")
        if not 0 <= self.feature_weight <= 1:
            raise ValueError(f"feature_weight lies between 0 and 1, not at {self.feature_weight}")


class AnoGAN(Method):
    """AnoGAN.

    Training: generator G and discriminator D of a DCGAN play their game on the normals (equation 1). Scoring: for an
    image x, gradient descent through G looks for the latent z that makes smallest (equation 5)

        L(z) = (1 - lambda) * sum |x - G(z)| + lambda * sum |f(x) - f(G(z))|

    where f are the discriminator's last features (equations 2 and 4). The score is L at the end of the search (equation
    6), the map |x - G(z)| averaged over channels. Images are in [-1, 1] inside, map and reconstruction in [0, 1].

    Paper: Schlegl, Seeböck, Waldstein, Schmidt-Erfurth, Langs, "Unsupervised anomaly detection with generative
    adversarial networks to guide marker discovery", IPMI 2017. The networks are those of Radford et al., "Unsupervised
    representation learning with deep convolutional generative adversarial networks", ICLR 2016, half as wide as there.

    Options: `width`, `latent_dim`, `feature_weight`, `search_steps`, `search_rate`, `learning_rate`, `epochs`,
    `batch_size`; their help says what each does.

    Deviations and choices:
        - The paper starts each search at a random z. Here one z, drawn when the method is built and kept with it,
          starts them all, so that an image's score is the same at any time and in any company.
        - Each image is searched for alone: the sums of a convolution over a batch depend on its size in their last
          bits, and hundreds of steps over absolute values make something of that.
        - The paper names gradient descent and no step. Adam at 0.01 can cross the latent cube in half of the steps.
        - z is kept in [-1, 1], the cube it is drawn from in training: elsewhere, G was never asked for a normal image.
        - The paper trains 20 epochs on a million patches; 300 epochs are meant for a thousand normals.
        - Latent length, start and learning rate are DCGAN's, the discriminator's loss is halved as in `ganomaly`
          (which Adam does not notice), and f are the features before its last layer: the paper leaves them open.
        - Batch normalisation runs on its running statistics when scoring. Sides other than 64 add or drop a layer.
    """

    name = "anogan"
    paper = "Schlegl et al., Unsupervised anomaly detection with GANs to guide marker discovery, IPMI 2017"
    family = "adversarial"
    reduction = "own"
    default_size = 64
    Options = AnoGANOptions

    options: AnoGANOptions
    start: Tensor

    def __init__(self, options: AnoGANOptions, size: tuple[int, int], channels: int) -> None:
        """Build generator and discriminator with random weights, and draw where searches start.

        Raises:
            UsageError: the size is not square with a side that is a power of two, at least 16.
        """
        super().__init__(options, size, channels)
        side = dcgan.require_side(self.name, size)
        self.generator = dcgan.Decoder(side, channels, options.width, options.latent_dim)
        self.discriminator = dcgan.Discriminator(side, channels, options.width)
        dcgan.initialise(self)
        self.register_buffer("start", _uniform(torch.empty(1, options.latent_dim)))

    def notes(self, images: int) -> tuple[str, ...]:
        """That scoring takes its time, calibration with it."""
        steps = self.options.search_steps
        return (
            f"scoring searches {steps} steps for every image, those for calibration too: without a GPU, be patient",
        )

    def phases(self) -> list[Phase | base.Collect]:
        """One phase: the GAN."""
        options = self.options
        adversary = Adversary("discriminator", blind=math.log(2), sure=0.0)
        return [
            Phase("gan", options.epochs, options.batch_size, self._optimizers, self._step, adversaries=(adversary,))
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, score and nearest normal image of `(N, C, H, W)` images in [0, 1]."""
        found = [self._search(image) for image in dcgan.signed(images).split(1)]
        reconstruction = torch.cat([dcgan.unsigned(nearest) for nearest, _ in found])
        residual = (images - reconstruction).abs().mean(1, keepdim=True)
        return Prediction(residual, torch.cat([distance for _, distance in found]), reconstruction)

    def _search(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The generator's nearest image to `(1, C, H, W)` in [-1, 1], and how far it is, `(1,)`."""
        features = self.discriminator.features(image)
        latent = self.start.clone().requires_grad_()
        optimizer = Adam([latent], lr=self.options.search_rate)
        for _ in range(self.options.search_steps):
            with torch.enable_grad():
                distance = self._distance(image, features, self.generator(latent)).sum()
            (latent.grad,) = torch.autograd.grad(distance, latent)
            optimizer.step()
            with torch.no_grad():
                latent.clamp_(-1, 1)
        with torch.no_grad():
            nearest = self.generator(latent)
            return nearest, self._distance(image, features, nearest)

    def _distance(self, images: Tensor, features: Tensor, generated: Tensor) -> Tensor:
        """Residual and discrimination loss, weighed and added, `(N,)` (equation 5)."""
        share = self.options.feature_weight
        residual = (images - generated).abs().sum((1, 2, 3))
        discrimination = (features - self.discriminator.features(generated)).abs().sum((1, 2, 3))
        return (1 - share) * residual + share * discrimination

    def _optimizers(self) -> Mapping[str, Optimizer]:
        networks = {"discriminator": self.discriminator, "generator": self.generator}
        return dcgan_adam(networks, self.options.learning_rate)

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        latent = _uniform(torch.empty(len(images), self.options.latent_dim, device=images.device))
        fake = self.generator(latent)
        real_logits = self.discriminator(dcgan.signed(images))[1]
        discriminator = dcgan.discriminator_loss(real_logits, self.discriminator(fake.detach())[1])
        update("discriminator", discriminator)
        with dcgan.frozen(self.discriminator):
            adversarial = F.softplus(-self.discriminator(fake)[1]).mean()
            update("generator", adversarial)
        return {"discriminator": discriminator.detach(), "adversarial": adversarial.detach()}


def _uniform(latent: Tensor) -> Tensor:
    """Fill with draws from the cube that the generator's latent vectors come from."""
    return latent.uniform_(-1, 1)
