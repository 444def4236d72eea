"""MemAE: an autoencoder whose decoder sees only what a memory of normal prototypes gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from unremarkable.methods.base import Prediction
from unremarkable.methods.checks import require_not_negative
from unremarkable.methods.reconstruction import MedIAnomalyOptions, Reconstruction, squared_error
from unremarkable.networks.autoencoder import Bottleneck
from unremarkable.networks.memory import Memory, entropy


@dataclass(frozen=True)
class MemAEOptions(MedIAnomalyOptions):
    """Options of the memory-augmented autoencoder."""

    bottleneck: Bottleneck = field(
        default="spatial", metadata={"help": "what asks the memory: spatial, each 16x16 pixels; vector, the image"}
    )
    latent_dim: int = field(default=64, metadata={"help": "length of a query and of each prototype"})
    slots: int = field(default=500, metadata={"help": "prototypes in the memory"})
    shrink: float = field(
        default=1.0, metadata={"help": "weights below this multiple of their mean become zero; paper: 1 to 3"}
    )
    entropy_weight: float = field(default=2e-4, metadata={"help": "weight of the entropy of the memory's weights"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slots < 2:
            raise ValueError(f"slots must be at least 2, not {self.slots}")
        require_not_negative(self, "shrink", "entropy_weight")


class MemAE(Reconstruction):
    """Memory-augmented autoencoder.

    The code of an image is not decoded: it asks a memory of learnt prototypes, and the decoder sees the weighted sum of
    those that it resembles. The weights are the softmax of cosines, shrunk to zero where they are small. Trained on

        mean over pixels of (x - x^)^2 + entropy_weight * mean over queries of the entropy of their weights,

    pixels on [-1, 1]. The map is (x - x^)^2 averaged over channels, the score its mean.

    Paper: Gong et al., "Memorizing normality to detect anomaly: memory-augmented deep autoencoder for unsupervised
    anomaly detection", ICCV 2019, equations 3 to 10. 500 slots are those of its CIFAR-10 experiments. Network and
    training: Cai et al., "MedIAnomaly", Medical Image Analysis 2025, read in the authors' code.

    Options: `variant`, `bottleneck`, `latent_dim`, `hidden`, `widths`, `slots`, `shrink`, `entropy_weight`,
    `learning_rate`, `weight_decay`, `epochs`, `batch_size`, `patience`, `plateau`; their help says what each does.

    Deviations and choices:
        - Cosines, as the paper writes (equation 4); the authors' code takes inner products, which can single out a slot
          where cosines, between -1 and 1, cannot.
        - The paper's threshold lies between 1 and 3 times the mean weight 1 / slots. Here it is 1: with softmax weights
          of cosines, of which the largest is some 2.7 times the mean where the others are near 0, a higher one may
          leave no slot at all, and 1 always leaves one.
        - The error is a mean over pixels, as in the authors' code; the paper writes a sum, beside which its entropy
          weight would do nothing.
        - Each 16 x 16 pixels ask on their own; the paper allows that and one query for the image (`vector`).
        - The learning rate is that of the other autoencoders, 1e-3, and training stops early on held-out normals.
        - Reconstructions are clipped to [0, 1]; map and score are computed before.
    """

    name = "memae"
    paper = "Gong et al., Memorizing normality to detect anomaly: memory-augmented deep autoencoder, ICCV 2019"
    family = "reconstruction"
    reduction = "mean"
    default_size = 64
    Options = MemAEOptions

    options: MemAEOptions

    def __init__(self, options: MemAEOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder, memory and decoder with random weights.

        Raises:
            UsageError: a side of `size` is not a multiple of 16.
        """
        super().__init__(options, size, channels)
        self.memory = Memory(options.slots, options.latent_dim, options.shrink)

    def rebuild(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images `(N, C, H, W)` from the memory, not confined to [0, 1], and the entropy `(N,)` of its weights."""
        recalled, weights = self.memory(self.encoder(images))
        return self.decoder(recalled).float(), entropy(weights).reshape(len(images), -1).mean(1)

    def losses(self, images: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Error and weighted entropy, averaged over images; each is logged."""
        rebuilt, disorder = self.rebuild(images)
        error, disorder = squared_error(images, rebuilt).mean(), disorder.mean()
        return error + self.options.entropy_weight * disorder, {"reconstruction": error, "entropy": disorder}

    def held_out_loss(self, images: Tensor) -> Tensor:
        """The same of each image."""
        rebuilt, disorder = self.rebuild(images)
        return squared_error(images, rebuilt).mean((1, 2, 3)) + self.options.entropy_weight * disorder

    def predict(self, images: Tensor) -> Prediction:
        """Error map, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        rebuilt, _ = self.rebuild(images)
        error = squared_error(images, rebuilt)
        return Prediction(error, error.mean((1, 2, 3)), rebuilt.clamp(0, 1))
