"""DDPM and AnoDDPM: images taken part of the way to noise, and back by a network that knows normal images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from unremarkable.methods import base
from unremarkable.methods.base import Method, Phase, Prediction, Update
from unremarkable.methods.checks import require_halving, require_positive
from unremarkable.methods.noise_levels import LEVELS, kept_shares, mix, step_down, stops
from unremarkable.methods.optimizers import clipped
from unremarkable.methods.simplex import draw_tables, fractal_noise
from unremarkable.networks.averaged import averaged, early_decay, follow
from unremarkable.networks.diffusion_unet import DiffusionUNet

#: published widths in units of 128 channels, by the largest side that they serve
_PUBLISHED = {64: (1, 2, 3, 4), 128: (1, 1, 2, 3, 4), 256: (1, 1, 2, 2, 4, 4)}


@dataclass(frozen=True)
class DDPMOptions(base.Options):
    """Options of DDPM."""

    start: int = field(default=250, metadata={"help": "noise level, of 1000, that an image is taken to and back from"})
    calls: int = field(default=25, metadata={"help": "passes through the network on the way back (paper: one a level)"})
    eta: float = field(
        default=0.0, metadata={"help": "share of the removed noise that is drawn anew on the way (paper: 1)"}
    )
    runs: int = field(default=1, metadata={"help": "ways there and back, whose reconstructions are averaged"})
    trained: int = field(
        default=1000, metadata={"help": "the lowest so many noise levels are trained; fewer than start are refused"}
    )
    widths: tuple[int, ...] | None = field(
        default=None, metadata={"help": "channels at each resolution; none: the published ones for the images' size"}
    )
    attention: tuple[int, ...] = field(
        default=(16, 8), metadata={"help": "resolutions with self-attention: their side in pixels, the shorter one"}
    )
    heads: int = field(default=2, metadata={"help": "heads of each attention"})
    blocks: int = field(default=2, metadata={"help": "residual blocks at each resolution"})
    ema: float = field(default=0.9999, metadata={"help": "decay of the running mean of the weights, which scores"})
    learning_rate: float = field(default=1e-4, metadata={"help": "AdamW's learning rate"})
    epochs: int = field(default=300, metadata={"help": "at most so many passes over the normals"})
    batch_size: int = field(default=8, metadata={"help": "images per step"})
    patience: int = field(default=30, metadata={"help": "epochs without improvement that end the training"})

    def __post_init__(self) -> None:
        require_positive(self, "start", "calls", "runs", "heads", "blocks", "epochs", "batch_size", "patience")
        if not self.calls <= self.start <= self.trained <= LEVELS:
            order = f"{self.calls}, {self.start} and {self.trained}"
            raise ValueError(f"calls, start and trained must not fall, and end at {LEVELS} at most; they are {order}")
        for name in ("eta", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        if self.ema == 1:
            raise ValueError("ema must be below 1, or the weights that score never move")
        if self.widths is not None and (not self.widths or any(w < 1 or w % self.heads for w in self.widths)):
            raise ValueError(f"widths are multiples of the {self.heads} heads, not {self.widths}")


class DDPM(Method):
    """Partial diffusion with Gaussian noise.

    A U-Net e is trained to tell the noise n that was mixed into normal images x, in [-1, 1], at a random level t:

        x_t = sqrt(a_t) x + sqrt(1 - a_t) n,    L = mean (e(x_t, t) - n)^2

    At scoring an image is taken to level `start` and led back in `calls` steps of `step_down`. The map is the squared
    difference in [-1, 1], averaged over channels; the score is its mean. The noise comes from seeds 0, 1, ... of `runs`
    and is the same for every image, so that a score depends on nothing but the image.

    Paper: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020; its use on anomalies is the
    baseline of Wyatt et al., "AnoDDPM", CVPR workshops 2022: 1000 levels, start 250, widths by multiples of 128, two
    residual blocks a resolution, attention of two heads at 16 and 8 pixels, AdamW at 1e-4, gradients clipped to 1, a
    running mean of the weights, images of 256 x 256. As published it has `calls=250`, `eta=1`, `batch_size=1`.

    Options: `start`, `calls`, `eta`, `runs`, `trained`, `widths`, `attention`, `heads`, `blocks`, `ema`,
    `learning_rate`, `epochs`, `batch_size`, `patience`; their help says what each does.

    Deviations and choices:
        - 25 calls instead of 250 lead back, without noise drawn on the way (Song et al., ICLR 2021), in a tenth of the
          time. `step_down` says when that is the authors' sampler: with `calls=250` and `eta=1`.
        - Batches of 8 instead of 1, and 300 passes at most instead of 3000, with an end after `patience` of them
          without a better estimate of the noise in held-out normals, at four fixed levels; the best weights are kept.
        - The decay of the running mean starts low, min(`ema`, (1 + steps) / (10 + steps)), or a short training would be
          scored by the random weights it began with.
        - The noise level is added within each residual block, as by Ho et al.; the authors' code may scale as well.
        - AdamW's weight decay is 0; that of the authors was not at hand.
        - Several runs average their reconstructions, and the map compares with that average.
    """

    name = "ddpm"
    paper = "Ho et al., Denoising diffusion probabilistic models, NeurIPS 2020; Wyatt et al., AnoDDPM, CVPRW 2022"
    family = "diffusion"
    reduction = "mean"
    default_size = 256
    Options = DDPMOptions

    options: DDPMOptions

    def __init__(self, options: DDPMOptions, size: tuple[int, int], channels: int) -> None:
        """Build the U-Net with random weights.

        Raises:
            UsageError: a side of `size` does not halve as often as the widths ask, or leaves less than two pixels.
        """
        super().__init__(options, size, channels)
        widths = options.widths or _published(size)
        require_halving(self.name, size, widths)
        attended = [level for level in range(len(widths)) if min(size) // 2**level in options.attention]
        self.network = DiffusionUNet(channels, widths, attended, options.blocks, options.heads)
        self.average = averaged(self.network)
        self.kept: Tensor
        self.register_buffer("kept", kept_shares(), persistent=False)

    def phases(self) -> list[Phase | base.Collect]:
        """One phase of telling the noise."""
        options = self.options
        return [
            Phase(
                "denoising",
                options.epochs,
                options.batch_size,
                self._optimizers,
                self._step,
                validate=self._held_out,
                patience=options.patience,
            )
        ]

    def predict(self, images: Tensor) -> Prediction:
        """Map, its mean, and reconstruction of `(N, C, H, W)` images in [0, 1]."""
        clean = 2 * images - 1
        rebuilt = torch.stack([self._restored(clean, seed) for seed in range(self.options.runs)]).mean(0)
        error = (clean - rebuilt).square().mean(1, keepdim=True)
        return Prediction(error, error.mean((1, 2, 3)), ((rebuilt + 1) / 2).clamp(0, 1))

    def draw(self, levels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise `(N, C, H, W)` for images at these levels `(N,)`, on their device."""
        return torch.randn(len(levels), self.channels, *self.size, device=levels.device, generator=generator)

    def _restored(self, clean: Tensor, seed: int) -> Tensor:
        """Images in [-1, 1], there and back."""
        options = self.options
        generator = torch.Generator().manual_seed(seed)
        start = torch.tensor([options.start])
        noisy = mix(clean, self.draw(start, generator).to(clean), self.kept[options.start])
        for now, then in pairwise(stops(options.start, options.calls)):
            fresh = None
            if options.eta > 0:
                fresh = self.draw(torch.tensor([then]), generator).to(clean)
            estimate = self._estimate(self.average, noisy, torch.full((len(noisy),), now, device=noisy.device))
            noisy = step_down(noisy, estimate, self.kept[now], self.kept[then], options.eta, fresh)
        return noisy

    def _estimate(self, network: nn.Module, noisy: Tensor, levels: Tensor) -> Tensor:
        noise: Tensor = network(noisy, levels - 1)  # the network counts from 0
        return noise.float()

    def _loss(self, network: nn.Module, images: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the estimated noise, per image `(N,)` (Ho et al., equation 14)."""
        noisy = mix(2 * images - 1, noise, self.kept[levels].view(-1, 1, 1, 1))
        return (self._estimate(network, noisy, levels) - noise).square().mean((1, 2, 3))

    def _optimizers(self) -> Mapping[str, Optimizer]:
        adam = AdamW(self.network.parameters(), lr=self.options.learning_rate, weight_decay=0.0, fused=True)
        return {"adam": clipped(adam, 1.0)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        levels = torch.randint(1, self.options.trained + 1, (len(images),), device=images.device)
        loss = self._loss(self.network, images, levels, self.draw(levels)).mean()
        update("adam", loss)
        follow(self.average, self.network, early_decay(self.options.ema, update.step))
        return {"noise": loss.detach()}

    def _held_out(self, images: Tensor) -> Tensor:
        """Mean loss of the weights that score, at four levels, with the same noise for every image."""
        generator = torch.Generator().manual_seed(0)
        losses = []
        for eighth in (1, 3, 5, 7):
            level = torch.tensor([math.ceil(self.options.trained * eighth / 8)])
            noise = self.draw(level, generator).to(images).expand(len(images), -1, -1, -1)
            losses.append(self._loss(self.average, images, level.to(images.device).expand(len(images)), noise))
        return torch.stack(losses).mean(0)


@dataclass(frozen=True)
class AnoDDPMOptions(DDPMOptions):
    """Options of AnoDDPM."""

    octaves: int = field(default=6, metadata={"help": "octaves of the noise, each twice as fine as the one before"})
    persistence: float = field(default=0.8, metadata={"help": "amplitude of each octave, in that of the one before"})
    frequency: float = field(default=64.0, metadata={"help": "side in pixels of the first octave's structures"})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "octaves")
        for name in ("persistence", "frequency"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")


class AnoDDPM(DDPM):
    """Partial diffusion with simplex noise, whose structures are as large as lesions.

    `ddpm` with another noise, in training and in scoring: a slice at depth t through 3-D simplex noise, the sum of
    `octaves` whose amplitude falls by `persistence` and whose structures halve from `frequency` pixels on. Each image
    and each channel has a noise of its own in training.

    Paper: Wyatt, Leach, Schmon and Willcocks, "AnoDDPM: Anomaly detection with denoising diffusion probabilistic models
    using simplex noise", CVPR workshops 2022.

    Options: those of `ddpm`, and `octaves`, `persistence`, `frequency`; their help says what each does.

    Deviations and choices, besides those of `ddpm`:
        - The way back. The sampler of Ho et al. is derived for Gaussian noise, whose sums are Gaussian again; the
          authors draw simplex noise in its place, and after a step the image holds a sum of two slices, which the
          network was not trained on. Without noise drawn on the way (`eta=0`) the estimated noise is only mixed in at
          a lower level, so that an image whose noise is estimated exactly stays one that the network was trained on,
          whatever the noise. What is lost is the second chance: what the first noise did not cover stays uncovered.
        - The noise is simplex noise in [-1, 1] an octave, with a standard deviation of 0.6 over six octaves. The
          authors' OpenSimplex noise has 0.5; at the same level, images here carry more noise by a fifth.
    """

    name = "anoddpm"
    paper = "Wyatt et al., AnoDDPM: Anomaly detection with DDPMs using simplex noise, CVPR workshops 2022"
    Options = AnoDDPMOptions

    options: AnoDDPMOptions

    def draw(self, levels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Simplex noise `(N, C, H, W)` for images at these levels `(N,)`, on their device."""
        options, count = self.options, len(levels) * self.channels
        tables = draw_tables(count, levels.device, generator)
        depth = levels.repeat_interleave(self.channels)
        noise = fractal_noise(tables, depth, self.size, options.octaves, options.persistence, options.frequency)
        return noise.unflatten(0, (len(levels), self.channels))


def _published(size: tuple[int, int]) -> tuple[int, ...]:
    """The published widths for images of this size."""
    fitting = [side for side in _PUBLISHED if side >= max(size)]
    return tuple(128 * multiple for multiple in _PUBLISHED[min(fitting, default=max(_PUBLISHED))])
