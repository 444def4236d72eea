"""SI-VAE: an introspective variational autoencoder; what it does not rebuild is anomalous."""

from __future__ import annotations

from torch import Tensor

from unremarkable.methods.base import Prediction
from unremarkable.methods.introspective import Introspective, IntrospectiveOptions


class SIVAE(Introspective):
    """Soft-IntroVAE: encoder and decoder trained against each other, as `Introspective` says.

    The map is the absolute error of each pixel, averaged over channels; the score is the mean of the map. The
    reconstruction is that of the mean code.

    Paper: Daniel and Tamar, "Soft-IntroVAE: Analyzing and improving the introspective variational autoencoder", CVPR
    2021, equation 5 and the authors' settings for images; used for anomaly detection, with this map, in Bercea et al.,
    "Towards universal unsupervised anomaly detection in medical imaging", 2024.

    Options: `widths`, `latent_dim`, `beta_rec`, `beta_kl`, `beta_neg`, `gamma_r`, `learning_rate`, `epochs`,
    `patience`, `batch_size`; their help says what each does.

    Deviations and choices:
        - The betas are those published for the reversed autoencoder on grey scans of 128 x 128, which has the same
          losses; the authors' own differ from one collection of photographs to the next.
        - The weights kept are those that rebuild held-out normals best, by squared error, and training ends after
          `patience` epochs without improvement; the authors keep the last.
        - Running statistics of batch norm come from real images and their codes alone, which is all that scoring
          sees; in the authors' code generated images enter them too.
        - The decoder ends in a sigmoid, as the reversed autoencoder's does, so that reconstructions lie in [0, 1].
        - The paper detects out-of-distribution images by likelihood; score and map here are those of its medical use.
    """

    name = "si-vae"
    paper = (
        "Daniel and Tamar, Soft-IntroVAE: Analyzing and improving the introspective variational autoencoder, CVPR 2021"
    )
    family = "adversarial"
    reduction = "mean"
    default_size = 128
    Options = IntrospectiveOptions

    def predict(self, images: Tensor) -> Prediction:
        """Absolute error, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        reconstruction = self.rebuild(images)
        error = (images - reconstruction).abs().mean(1, keepdim=True)
        return Prediction(error, error.mean((1, 2, 3)), reconstruction)
