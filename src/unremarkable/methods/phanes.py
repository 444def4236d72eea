"""PHANES: what the reversed autoencoder finds suspicious is cut out, and filled anew from its surroundings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods.base import Adversary, Collect, Phase, Prediction, Update
from unremarkable.methods.checks import require_not_negative, require_positive
from unremarkable.methods.equalisation import equalise
from unremarkable.methods.feature_maps import smooth
from unremarkable.methods.holes import rectangles, widened
from unremarkable.methods.ra import RA, RAOptions
from unremarkable.networks.aot import Inpainter, PatchDiscriminator
from unremarkable.networks.dcgan import frozen
from unremarkable.networks.style import FeatureName, StyleLosses

#: share of an image's residuals that count as its largest
_LARGEST = 0.05
#: the authors' threshold in training, over theirs in scoring
_TRAINING = 0.1 / 0.153
#: pixels of the Gaussian over the discriminator's labels
_SOFT = 10.0


@dataclass(frozen=True)
class PHANESOptions(RAOptions):
    """Options of `PHANES`."""

    false_positives: float = field(
        default=0.05, metadata={"help": "share of the pixels of normals that may lie above the mask's threshold"}
    )
    holes: tuple[int, ...] = field(
        default=(20, 40), metadata={"help": "shortest and longest side of the hole cut in training, in pixels"}
    )
    width: int = field(default=64, metadata={"help": "channels of the in-painting networks' finest features"})
    blocks: int = field(default=8, metadata={"help": "AOT blocks of the generator that in-paints"})
    rates: tuple[int, ...] = field(
        default=(1, 2, 4, 8), metadata={"help": "dilations in an AOT block; their number divides 4 * width"}
    )
    style_weight: float = field(default=250.0, metadata={"help": "weight of the style loss"})
    content_weight: float = field(default=0.1, metadata={"help": "weight of the content (perceptual) loss"})
    adversarial_weight: float = field(default=0.01, metadata={"help": "weight of the discriminator's answer"})
    features: FeatureName = field(
        default="efficientnet-lite0",
        metadata={"help": "network of style and content loss; vgg19 is the paper's and needs its weight file"},
    )
    inpainting_learning_rate: float = field(
        default=5e-5, metadata={"help": "Adam's rate for the in-painting generator and its discriminator"}
    )
    inpainting_epochs: int = field(
        default=300, metadata={"help": "at most so many passes that train in-painting (authors: 1500)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "width", "blocks", "inpainting_epochs")
        if not 0 < self.false_positives < 1:
            raise ValueError(f"false_positives lies between 0 and 1, and is {self.false_positives}")
        if len(self.holes) != 2 or not 1 <= self.holes[0] <= self.holes[1]:
            raise ValueError(f"holes are the shortest and the longest side, not {self.holes}")
        if not self.rates or min(self.rates) < 1 or 4 * self.width % len(self.rates):
            raise ValueError(f"rates are at least 1 and their number divides 4 * width; not {self.rates}")
        require_not_negative(self, "style_weight", "content_weight", "adversarial_weight", "inpainting_learning_rate")


class PHANES(RA):
    """Pseudo-healthy generative networks: a reversed autoencoder marks, an AOT-GAN repairs, what is left is compared.

    Phase 1 trains the reversed autoencoder as `RA` does. With its reconstruction x_r of an image x,

        suspicion = min(1, |eq(x_r) - eq(x)| / its 95th percentile in the image) * P(x_r, x)

    eq being adaptive histogram equalisation and P the perceptual distance at each pixel, filtered by a Gaussian of 2
    pixels. Phase 2 sets the threshold: at most `false_positives` of the pixels of held-out normals lie above it. What
    does is marked, the mark widened (a Gaussian of 1.2 pixels, where it is above 0.1), and that is the mask m.

    Phase 3 trains generator G and discriminator D on normals whose mask holds a random rectangle as well. With
    y = G(x (1 - m) + m, m), a hyperbolic tangent, and z = (1 - m) x + m y, G minimises

        mean |y - x| + 250 style(y, x) + 0.1 content(y, x) + 0.01 * mean over m of (D(z) - 1)^2

    and D minimises mean (D(z) - s)^2 + mean (D(x) - 1)^2, s being 1 - m filtered by a Gaussian of 10 pixels.

    In scoring y is cut to [0, 1], the reconstruction is x_h = (1 - m) x + m y, the map |x_h - x| * P(x_h, x), the score
    its mean. Outside of the mask the map is 0; so is the score of an image without one.

    Paper: Bercea, Wiestler, Rueckert and Schnabel, "Reversing the abnormal: pseudo-healthy generative networks for
    anomaly detection", MICCAI 2023; in-painting: Zeng et al., "Aggregated contextual transformations for
    high-resolution image inpainting", TVCG 2022. What they leave out is as in the authors' code.

    Options: those of `RA`, where `epochs` and `learning_rate` are the autoencoder's, and `false_positives`, `holes`,
    `width`, `blocks`, `rates`, `style_weight`, `content_weight`, `adversarial_weight`, `features`,
    `inpainting_learning_rate`, `inpainting_epochs`; their help says what each does.

    Deviations and choices, beside those of `RA`:
        - A mask of zeros and ones would let the last bit of a map decide about a pixel, and so the batch about a score.
          Both steps to it are ramps: from 0.8 to 1.2 of the threshold, and from 0 to 0.2 of the widened mark. And the
          autoencoder takes images one by one, so that no batch reaches the mask.
        - The threshold comes from this model's held-out normals; the authors' is 0.153, from theirs. In training it is
          lower by the authors' ratio, 0.1 to 0.153, so that masks are larger.
        - The phases follow each other; the authors' code takes a step of all networks on each batch.
        - Style and content loss look through the backbone that works offline unless `features="vgg19"`. Its features
          are divided by the root mean square of the original's, for which the weights published for VGG-19 do.
        - The discriminator's labels are those of Zeng et al.'s paper and follow the whole mask. In the authors' code
          those of generated images are inverted, follow the random holes alone, and the generator's adversarial loss
          is computed but not minimised.
        - A random hole is one rectangle anywhere in the image, as the authors' settings describe it; the code published
          last draws ten small ellipses. It is in pixels, for images of 128 x 128.
        - Masks are widened image by image; the authors' filter also runs across a batch.
        - Kept are the in-painting weights that heal held-out normals best, by squared error of x_h alone.
    """

    name = "phanes"
    paper = (
        "Bercea et al., Reversing the abnormal: pseudo-healthy generative networks for anomaly detection, MICCAI 2023"
    )
    Options = PHANESOptions

    options: PHANESOptions
    threshold: Tensor

    def __init__(self, options: PHANESOptions, size: tuple[int, int], channels: int) -> None:
        """Build all networks with random weights.

        Raises:
            UsageError: as for `RA`; or a side of `size` is too small for `rates` or `holes`.
        """
        super().__init__(options, size, channels)
        least = max(4 * max(options.rates) + 4, options.holes[1])
        if min(size) < least:
            raise UsageError(
                f"{self.name} with rates up to {max(options.rates)} and holes up to {options.holes[1]} takes sides of"
                f" at least {least}; not {size[0]}x{size[1]} (smaller rates and holes take smaller images)"
            )
        self.inpainter = Inpainter(channels, options.width, options.blocks, options.rates)
        self.discriminator = PatchDiscriminator(channels, options.width)
        self.style = StyleLosses(options.features)
        self.register_buffer("threshold", torch.zeros(()))

    def prepare(self) -> None:
        """Load the weights of the perceptual distance and of the style loss's network."""
        super().prepare()
        self.style.load_pretrained()

    def phases(self) -> list[Phase | Collect]:
        """The reversed autoencoder, the threshold of its masks, in-painting."""
        options = self.options
        return [
            *super().phases(),
            Collect("threshold", options.batch_size, self._settle, held_out=True),
            Phase(
                "in-painting",
                options.inpainting_epochs,
                options.batch_size,
                self._inpainting_optimizers,
                self._inpainting_step,
                validate=lambda images: (images - self.heal(images)).square().mean((1, 2, 3)),
                patience=options.patience,
                adversaries=(Adversary("told apart", blind=0.0),),
            ),
        ]

    def settled(self) -> dict[str, Any]:
        """The suspicion above which a pixel is cut out."""
        return {"cut out above": float(self.threshold)}

    def predict(self, images: Tensor) -> Prediction:
        """Map, its mean, and pseudo-healthy image of `(N, C, H, W)` images in [0, 1]."""
        healed = self.heal(images)
        error = (healed - images).abs().mean(1, keepdim=True)
        anomaly = error * self._perceived(healed, images)
        return Prediction(anomaly, anomaly.mean((1, 2, 3)), healed)

    def heal(self, images: Tensor) -> Tensor:
        """The images with what is suspicious filled anew, `(N, C, H, W)` in [0, 1]."""
        mask = widened(self.suspicion(images), self.threshold)
        return torch.lerp(images, self._fill(images, mask).clamp(0, 1), mask)

    def suspicion(self, images: Tensor) -> Tensor:
        """How suspicious the reversed autoencoder finds each pixel, `(N, 1, H, W)`, float32, at least 0."""
        # One by one: the last bits of a batch's convolutions depend on its size, and what follows magnifies them.
        rebuilt = torch.cat([self.rebuild(image) for image in images.split(1)])
        residual = (equalise(rebuilt) - equalise(images)).abs().mean(1, keepdim=True)
        flat = residual.flatten(1)
        largest = flat.topk(max(1, round(_LARGEST * flat.shape[1])), dim=1).values[:, -1].clamp_min(1e-8)
        return (residual / largest.view(-1, 1, 1, 1)).clamp(max=1) * self._perceived(rebuilt, images)

    def _fill(self, images: Tensor, mask: Tensor) -> Tensor:
        filled: Tensor = self.inpainter(images * (1 - mask) + mask, mask)
        return filled

    def _settle(self, batches: Iterable[Tensor]) -> None:
        values = torch.cat([self.suspicion(images).flatten().cpu() for images in batches])
        # Of the values themselves, so that no more than the share lies above; torch.quantile takes 16 million at most.
        quantile = np.quantile(values.numpy(), 1 - self.options.false_positives, method="higher")
        self.threshold = self.threshold.new_tensor(float(quantile))

    def _inpainting_optimizers(self) -> Mapping[str, Optimizer]:
        rate = self.options.inpainting_learning_rate
        return {
            "inpainter": Adam(self.inpainter.parameters(), lr=rate, fused=True),
            "discriminator": Adam(self.discriminator.parameters(), lr=rate, fused=True),
        }

    def _inpainting_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        mask = self._training_mask(images)
        filled = self._fill(images, mask)
        composed = torch.lerp(images, filled, mask)
        with frozen(self.discriminator):
            loss, losses = self._inpainter_loss(images, filled, composed, mask)
            update("inpainter", loss)
        loss, told_apart = self._discriminator_loss(images, composed.detach(), mask)
        update("discriminator", loss)
        parts = losses | {"discriminator": loss, "told apart": told_apart}
        return {name: part.detach() for name, part in parts.items()}

    def _training_mask(self, images: Tensor) -> Tensor:
        """What is suspicious by the lower threshold, and a rectangle: `(N, 1, H, W)` in [0, 1]."""
        self.encoder.eval()  # it has learnt; its statistics stay
        self.decoder.eval()
        # in float32, as in scoring: a residual is a small difference
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            suspicious = widened(self.suspicion(images), _TRAINING * self.threshold)
        return torch.maximum(suspicious, rectangles(images, *self.options.holes))

    def _inpainter_loss(
        self, images: Tensor, filled: Tensor, composed: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's loss, and its parts as they are before weighing."""
        options = self.options
        content, style = self.style(filled, images)
        adversarial = (mask * (self.discriminator(composed) - 1).square()).sum() / mask.sum()
        parts = {"l1": (filled - images).abs().mean(), "style": style, "content": content, "adversarial": adversarial}
        loss = parts["l1"] + options.style_weight * style + options.content_weight * content
        return loss + options.adversarial_weight * adversarial, parts

    def _discriminator_loss(self, images: Tensor, composed: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's loss, and by how much it trusts what a hole hid more than what fills it."""
        real, fake = self.discriminator(images), self.discriminator(composed)
        loss = (fake - smooth(1 - mask, _SOFT)).square().mean() + (real - 1).square().mean()
        return loss, (mask * (real - fake)).sum() / mask.sum()
