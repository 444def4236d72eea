"""VAE: a variational autoencoder of normal images, with the anomaly scores that papers take from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from unremarkable.methods.base import Prediction
from unremarkable.methods.reconstruction import squared_error
from unremarkable.methods.variational import Variational, VariationalOptions, kl_divergence, unlikelihood, unregularised
from unremarkable.networks.gaussian import sample


@dataclass(frozen=True)
class VAEOptions(VariationalOptions):
    """Options of the variational autoencoder."""

    score: Literal["reconstruction", "elbo", "kl-gradient", "combined", "unregularised"] = field(
        default="reconstruction", metadata={"help": "what map and score are made of; unregularised: variance=learnt"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.score == "unregularised" and self.variance == "fixed":
            raise ValueError("score=unregularised divides by the variance of each pixel: it needs variance=learnt")


class VAE(Variational):
    """Variational autoencoder.

    The encoder gives mean and variance of a Gaussian posterior over the latent vector z, the decoder rebuilds the image
    from a sample of it. Trained on

        L = mean over pixels of (x - x^)^2 + kl_weight * mean over latent numbers of KL(q(z|x) || N(0, 1)),

    pixels on [-1, 1]; with `variance="learnt"` the decoder gives the variance v of each pixel too, and the first term
    is the negative log-likelihood (x - x^)^2 / 2v + 1/2 log 2 pi v. `score` chooses the map; its mean is the score:

        - `reconstruction`: (x - x^)^2.
        - `elbo`: the first term of L at each pixel, and the second spread evenly over the image; the score is L.
        - `kl-gradient`: |dKL/dx|, how fast the posterior would leave the prior.
        - `combined`: `reconstruction` times `kl-gradient`.
        - `unregularised`: (x - x^)^2 / 2v; what is left of the negative ELBO without the KL divergence and the
          log-variance, both of which grow with an image's complexity, be it normal or not.

    Paper: Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014. The gradients: Zimmerer et al.,
    "Unsupervised anomaly localization using variational auto-encoders", MICCAI 2019. The unregularised score: Matsubara
    et al., "Deep generative model using unregularized score for anomaly detection with heterogeneous complexity", IEEE
    Transactions on Cybernetics 52(6), 2022, which the papers on medical images compare with as VAE. Network, training
    and KL weight: Cai et al., "MedIAnomaly", Medical Image Analysis 2025, read in the authors' code.

    Options: `variant`, `bottleneck`, `latent_dim`, `hidden`, `widths`, `variance`, `kl_weight`, `score`,
    `gradient_sigma`, `learning_rate`, `weight_decay`, `epochs`, `batch_size`, `patience`, `plateau`; their help says
    what each does.

    Deviations and choices:
        - Scoring decodes the posterior's mean, where the authors of some of these scores sample: a score that changes
          from run to run cannot be calibrated.
        - Training stops after `patience` epochs without improvement on held-out normals; MedIAnomaly trains to the end.
        - MedIAnomaly puts batch normalisation beside the hidden layers too; one image could not be trained through it.
        - Gradients are filtered by a Gaussian of 3 pixels, as in the code of Zimmerer et al., but of full width. They
          scale gradients to [0, 1] within each batch before multiplying; here nothing depends on the batch.
        - A learnt variance is kept above that of one grey level of 256, softly: on a background that never changes the
          likelihood would otherwise grow without end.
        - Of Matsubara et al. the abstract was at hand; that the term which is kept is the error over the variance
          follows from it and from the ELBO. Theirs is the ELBO itself, which `kl_weight` of latent numbers by pixels
          gives: 0.0039 for the defaults at 64 x 64.
        - Reconstructions are clipped to [0, 1]; map and score are computed before.
    """

    name = "vae"
    paper = "Kingma and Welling, ICLR 2014; Zimmerer et al., MICCAI 2019; Matsubara et al., IEEE T. Cybernetics 2022"
    family = "reconstruction"
    reduction = "mean"
    default_size = 64
    Options = VAEOptions

    options: VAEOptions

    def losses(self, images: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """L, averaged over images; the error of the pixels and the KL divergence are logged."""
        mean, log_variance = self.encode(images)
        pixels = self.decode(sample(mean, log_variance))
        kl = kl_divergence(mean, log_variance)
        loss = self.negative_elbo(images, pixels, kl).mean()
        return loss, {"loss": loss, "reconstruction": squared_error(images, pixels[0]).mean(), "kl": kl.mean()}

    def predict(self, images: Tensor) -> Prediction:
        """Map, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        mean, log_variance = self.encode(images)
        pixels, variance = self.decode(mean)
        if self.options.score == "elbo":
            share = self.options.kl_weight * kl_divergence(mean, log_variance)
            anomaly_map = unlikelihood(images, pixels, variance) + share.view(-1, 1, 1, 1)
        elif self.options.score == "unregularised":
            assert variance is not None  # the options see to it
            anomaly_map = unregularised(images, pixels, variance)
        elif self.options.score == "kl-gradient":
            anomaly_map = self.kl_gradient(images)
        else:
            anomaly_map = squared_error(images, pixels)
            if self.options.score == "combined":
                anomaly_map = anomaly_map * self.kl_gradient(images)
        return Prediction(anomaly_map, anomaly_map.mean((1, 2, 3)), pixels.clamp(0, 1))
