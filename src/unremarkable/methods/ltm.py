"""LTM: images as tokens, a transformer that knows how normal ones follow each other, and the unlikely ones replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_positive
from unremarkable.networks.image_tokens import TokenCodec, TokenPrior


@dataclass(frozen=True)
class LTMOptions(base.Options):
    """Options of `LTM`."""

    width: int = field(default=256, metadata={"help": "channels of the VQ-VAE"})
    levels: int = field(default=2, metadata={"help": "times that the VQ-VAE halves the resolution (paper: 3)"})
    residuals: int = field(default=2, metadata={"help": "residual units at each level of the VQ-VAE"})
    codes: int = field(default=16, metadata={"help": "tokens there are (paper: 32)"})
    code_width: int = field(default=64, metadata={"help": "numbers in a code (paper: 256)"})
    decay: float = field(default=0.5, metadata={"help": "of the moving means that the codes follow"})
    codec_learning_rate: float = field(default=5e-4, metadata={"help": "Adam's rate for the VQ-VAE"})
    codec_epochs: int = field(default=100, metadata={"help": "at most so many passes that train the VQ-VAE"})
    transformer_width: int = field(default=128, metadata={"help": "numbers that stand for a token in the transformer"})
    transformer_depth: int = field(default=16, metadata={"help": "blocks of the transformer"})
    transformer_heads: int = field(default=16, metadata={"help": "heads of the transformer's attention"})
    transformer_learning_rate: float = field(default=1e-4, metadata={"help": "Adam's rate for the transformer"})
    transformer_epochs: int = field(default=100, metadata={"help": "at most so many passes that train the transformer"})
    patience: int = field(default=10, metadata={"help": "epochs without improvement that end either training"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})
    unlikely: float = field(default=0.03, metadata={"help": "share of the tokens of normals that would be replaced"})

    def __post_init__(self) -> None:
        require_positive(self, "width", "levels", "residuals", "code_width", "codec_epochs", "patience", "batch_size")
        require_positive(self, "transformer_width", "transformer_depth", "transformer_heads", "transformer_epochs")
        if self.codes < 2:
            raise ValueError(f"codes must be at least 2, not {self.codes}")
        if self.transformer_width % self.transformer_heads:
            raise ValueError(f"transformer_heads ({self.transformer_heads}) must divide transformer_width")
        if not 0 <= self.decay < 1 or not 0 < self.unlikely < 1:
            raise ValueError("decay lies between 0 and below 1, unlikely between 0 and 1")
        if min(self.codec_learning_rate, self.transformer_learning_rate) <= 0:
            raise ValueError("learning rates are positive")


class LTM(Method):
    """Latent transformer: a VQ-VAE turns images into tokens, a transformer says how likely each is, and heals.

    Phase 1 trains the VQ-VAE on |x - x_hat| + 0.25 |z - e|^2, the codes e following the features z as moving means.
    Phase 2 freezes it and trains a decoder-only transformer on the cross entropy of each token given those before it,
    row by row. Phase 3 sets the threshold: the `unlikely` quantile of the log-likelihoods of held-out normals' tokens.

    The score is -sum log p(token | those before), in nats. Tokens below the threshold are replaced, from left to
    right, by the transformer's likeliest; what the decoder makes of the result is the reconstruction. The map is
    |x - x_hat|, averaged over channels, where a token was below the threshold, and zero elsewhere.

    Paper: Pinaya et al., "Unsupervised brain imaging 3D anomaly detection and segmentation with transformers", Medical
    Image Analysis 79 (2022). VQ-VAE: van den Oord et al., NeurIPS 2017.

    Options: `width`, `levels`, `residuals`, `codes`, `code_width`, `decay`, `codec_learning_rate`, `codec_epochs`,
    `transformer_width`, `transformer_depth`, `transformer_heads`, `transformer_learning_rate`, `transformer_epochs`,
    `patience`, `batch_size`, `unlikely`; their help says what each does.

    Deviations and choices:
        - Sizes and rates are those of the tutorial that the authors' group published with MONAI, at 64 x 64 pixels. The
          paper's (resolution halved three times, 32 codes of 256 numbers, a Performer) are remembered, not looked up;
          the options reach them but for the Performer, in whose place full attention stands.
        - Both trainings stop after `patience` epochs without improvement on held-out normals and keep their best
          weights; the tutorial trains 20 epochs on a larger set.
        - The VQ-VAE is MONAI's; the transformer is built of this package's blocks, as MONAI's own needs a further
          library, einops.
        - One threshold for all images, from held-out normals. The tutorial takes the quantile in each image, so that
          3 % of every normal one are replaced; the paper takes p = 0.005 (remembered).
        - One order of the tokens, row by row, where the paper averages several; one healing, by the likeliest token,
          where the paper draws several. Nothing is drawn in scoring.
        - Codes that nothing is near to, at first all, are put on features of the batch drawn at random. MONAI draws
          them far from all features, which then share one code. Their moving means decay by 0.5, as in the tutorial.
    """

    name = "ltm"
    paper = "Pinaya et al., Unsupervised brain imaging 3D anomaly detection with transformers, MedIA 2022"
    family = "reconstruction"
    reduction = "own"
    default_size = 64
    Options = LTMOptions

    options: LTMOptions
    threshold: Tensor
    usage: Tensor

    def __init__(self, options: LTMOptions, size: tuple[int, int], channels: int) -> None:
        """Build VQ-VAE and transformer with random weights.

        Raises:
            UsageError: a side cannot be halved `levels` times.
        """
        super().__init__(options, size, channels)
        self.factor = 2**options.levels
        if any(side < self.factor or side % self.factor for side in size):
            raise UsageError(
                f"ltm with levels={options.levels} takes sides that are multiples of {self.factor};"
                f" not {size[0]}x{size[1]}"
            )
        self.grid = (size[0] // self.factor, size[1] // self.factor)
        self.codec = TokenCodec(
            channels,
            options.width,
            options.levels,
            options.residuals,
            options.codes,
            options.code_width,
            options.decay,
        )
        self.prior = TokenPrior(
            options.codes,
            self.grid[0] * self.grid[1],
            options.transformer_width,
            options.transformer_depth,
            options.transformer_heads,
        )
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("usage", torch.zeros(options.codes, dtype=torch.int64))

    def phases(self) -> list[Phase | Collect]:
        """VQ-VAE, transformer on its tokens, threshold."""
        options = self.options
        return [
            Phase(
                "vq-vae",
                options.codec_epochs,
                options.batch_size,
                lambda: {"codec": Adam(self.codec.parameters(), lr=options.codec_learning_rate, fused=True)},
                self._codec_step,
                validate=self.codec.held_out_loss,
                patience=options.patience,
            ),
            Phase(
                "transformer",
                options.transformer_epochs,
                options.batch_size,
                self._prior_optimizers,
                self._prior_step,
                validate=lambda images: -self._likelihoods(self._tokens(images)).mean(1),
                patience=options.patience,
            ),
            Collect("threshold", options.batch_size, self._settle, held_out=True),
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Where unlikely tokens were replaced, the difference to their healing; -log-likelihood; and the healed image.

        `images` are `(N, C, H, W)` in [0, 1].
        """
        tokens = self._tokens(images)
        likelihoods = self._likelihoods(tokens)
        flagged = likelihoods < self.threshold
        healed = self.prior.heal(tokens, flagged)
        reconstruction = self.codec.decode(healed.unflatten(1, self.grid)).clamp(0, 1)
        mask = flagged.float().unflatten(1, (1, *self.grid))
        shown = F.interpolate(mask, scale_factor=float(self.factor), mode="nearest")
        residual = (images - reconstruction).abs().mean(1, keepdim=True)
        return Prediction(residual * shown, -likelihoods.sum(1), reconstruction)

    def settled(self) -> dict[str, Any]:
        """Codes that normals use, and the log-likelihood below which a token is replaced."""
        return {"codes used": int((self.usage > 0).sum()), "replaced below": float(self.threshold)}

    def _tokens(self, images: Tensor) -> Tensor:
        """`(N, L)`, row by row."""
        with torch.no_grad():
            return self.codec.tokens(images).flatten(1)

    def _likelihoods(self, tokens: Tensor) -> Tensor:
        """Log p `(N, L)` of each token given those before it."""
        return self.prior(tokens).log_softmax(2).gather(2, tokens.unsqueeze(2)).squeeze(2)

    def _codec_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        rebuilt, commitment = self.codec(images)
        error = (rebuilt - images).abs().mean()
        update("codec", error + commitment)
        return {"l1": error.detach(), "commitment": commitment.detach()}

    def _prior_optimizers(self) -> Mapping[str, Optimizer]:
        return {"transformer": Adam(self.prior.parameters(), lr=self.options.transformer_learning_rate, fused=True)}

    def _prior_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = -self._likelihoods(self._tokens(images)).mean()
        update("transformer", loss)
        return {"cross entropy": loss.detach()}

    def _settle(self, batches: Iterable[Tensor]) -> None:
        """Set the threshold, and see that the codebook has not collapsed.

        Raises:
            UsageError: every token of every image is the same, so that all images would have one score.
        """
        usage, values = torch.zeros_like(self.usage), []
        for images in batches:
            tokens = self._tokens(images)
            usage += torch.bincount(tokens.flatten(), minlength=self.options.codes)
            values.append(self._likelihoods(tokens).flatten().cpu())
        if (usage > 0).sum() < 2:
            raise UsageError(
                "ltm: the VQ-VAE's codebook has collapsed, every token is the same;"
                " try more codec_epochs, or another codec_learning_rate"
            )
        self.usage = usage
        # torch.quantile takes no more than 16 million values
        quantile = np.quantile(torch.cat(values).numpy(), self.options.unlikely)
        self.threshold = self.threshold.new_tensor(float(quantile))
