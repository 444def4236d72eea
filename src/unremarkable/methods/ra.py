"""RA, the reversed autoencoder: an introspective one whose encoder sees a reconstruction as it sees the original."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Prediction
from unremarkable.methods.checks import require_not_negative
from unremarkable.methods.equalisation import TILES, equalise
from unremarkable.methods.feature_maps import flat_cosine_distances, smooth
from unremarkable.methods.introspective import Introspective, IntrospectiveOptions
from unremarkable.networks.introspective import Code
from unremarkable.networks.perceptual import Perceptual, PerceptualName

#: pixels of the Gaussian that filters perceptual maps
_SIGMA = 2.0


@dataclass(frozen=True)
class RAOptions(IntrospectiveOptions):
    """Options of the reversed autoencoder."""

    embedding: float = field(
        default=0.005, metadata={"help": "weight of the reversed embedding loss, lambda in the paper"}
    )
    perceptual: PerceptualName = field(
        default="efficientnet-lite0",
        metadata={"help": "distance in the map; lpips-squeeze is the paper's and needs its weight files"},
    )
    learning_rate: float = field(default=5e-5, metadata={"help": "Adam's rate for encoder and decoder"})
    epochs: int = field(default=300, metadata={"help": "at most so many passes over the normals (authors: 1500)"})
    patience: int = field(
        default=100, metadata={"help": "epochs without improvement that end the training (authors: 500)"}
    )
    batch_size: int = field(default=8, metadata={"help": "images per step"})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "embedding")


class RA(Introspective):
    """The reversed autoencoder: introspective training as `Introspective` says, with one more loss for the encoder,

        embedding * sum over scales l of  (1 - cos(E_l(x), E_l(x_r))) + 1/2 MSE(E_l(x), E_l(x_r))     (equation 3)

    with E_l the encoder's features after each halving of the resolution, taken as one vector for the cosine, and x_r a
    reconstruction that is held fixed. The map is

        |eq(x_r) - eq(x)| * P(x_r, x) * P(eq(x_r), eq(x))                                              (equation 5)

    with eq adaptive histogram equalisation, P the perceptual distance at each pixel, filtered by a Gaussian of 2
    pixels, and x_r the reconstruction of the mean code. The score is the mean of the map.

    Paper: Bercea, Wiestler, Rueckert and Schnabel, "Towards universal unsupervised anomaly detection in medical
    imaging", 2024, sections 3 and 4; what it leaves out is as in the authors' code.

    Options: `widths`, `latent_dim`, `beta_rec`, `beta_kl`, `beta_neg`, `gamma_r`, `embedding`, `perceptual`,
    `learning_rate`, `epochs`, `patience`, `batch_size`; their help says what each does.

    Deviations and choices:
        - The perceptual distance is by default LPIPS' formula on the features of the backbone that works offline,
          which is not LPIPS, divided by the largest value it can have so that maps lie in [0, 1];
          `perceptual="lpips-squeeze"` is what the authors use.
        - Scoring takes the mean of a code; the authors' code draws from it, so that no two runs agree.
        - Equation 4 divides lambda by alpha; `embedding` weighs the loss itself, as in the authors' code.
        - Histograms are equalised on the common scale [0, 1]; the authors' function stretches each image to its own
          minimum and maximum before and after, which makes image and reconstruction differ where nothing else does.
        - 300 epochs and a patience of 100 instead of 1500 and 500, which for their 710 images are 130,000 steps. The
          weights kept are those that rebuild held-out normals best, by squared error, as in theirs.
        - Running statistics of batch norm come from real images and their codes alone, which is all that scoring
          sees; in the authors' code generated images enter them too.
        - Training images are turned, shifted, scaled and flipped only where `augment` asks for it.
    """

    name = "ra"
    paper = "Bercea et al., Towards universal unsupervised anomaly detection in medical imaging, arXiv, 2024"
    family = "adversarial"
    reduction = "mean"
    default_size = 128
    Options = RAOptions

    options: RAOptions

    def __init__(self, options: RAOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder, decoder and perceptual distance with random weights.

        Raises:
            UsageError: a side of `size` is less than 32 or not a multiple of 8, or the encoder cannot take it.
        """
        if any(side < 32 or side % TILES for side in size):
            raise UsageError(
                f"{self.name} takes sides that are multiples of {TILES}, at least 32; not {size[0]}x{size[1]}"
            )
        super().__init__(options, size, channels)
        self.perceptual = Perceptual(options.perceptual)
        # Two vectors of length 1 are at most 4 apart, squared, at each stage; LPIPS is weighted to a range like this.
        own = options.perceptual == "efficientnet-lite0"
        self._unit = 4.0 * len(self.perceptual.weigh) if own else 1.0

    def prepare(self) -> None:
        """Load the weights of the perceptual distance."""
        self.perceptual.load_pretrained()

    def predict(self, images: Tensor) -> Prediction:
        """Map of equation 5, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        reconstruction = self.rebuild(images)
        flat, flat_reconstruction = equalise(images), equalise(reconstruction)
        residual = (flat_reconstruction - flat).abs().mean(1, keepdim=True)
        perceived = self._perceived(reconstruction, images) * self._perceived(flat_reconstruction, flat)
        anomaly = residual * perceived
        return Prediction(anomaly, anomaly.mean((1, 2, 3)), reconstruction)

    def _perceived(self, images: Tensor, others: Tensor) -> Tensor:
        """Perceptual distance at each pixel, `(N, 1, H, W)`."""
        return smooth(self.perceptual.maps(images, others), _SIGMA) / self._unit

    def _encoder_extra(self, real: Code, reconstructed: Code) -> tuple[Tensor, dict[str, Tensor]]:
        pairs = zip(real.embeddings, reconstructed.embeddings, strict=True)
        reversed_loss = torch.stack([_reversed(a.float(), b.float()) for a, b in pairs]).sum()
        return self.options.embedding * reversed_loss, {"embedding": reversed_loss}


def _reversed(a: Tensor, b: Tensor) -> Tensor:
    """One scale of equation 3, averaged over the images."""
    return flat_cosine_distances(a, b).mean() + 0.5 * F.mse_loss(a, b)
