"""Diffusion: how much of an image each noise level keeps, and the way back from level to level."""

from __future__ import annotations

import torch
from torch import Tensor

#: levels from the clean image to nothing but noise
LEVELS = 1000


def kept_shares() -> Tensor:
    """The share of the image in the variance at levels 0 to 1000, `(1001,)`, 1 at level 0: the product of 1 - beta.

    Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020, section 4: beta rises linearly from 1e-4 to
    0.02.
    """
    beta = torch.linspace(1e-4, 0.02, LEVELS, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)]).float()


def mix(images: Tensor, noise: Tensor, kept: Tensor) -> Tensor:
    """Images in [-1, 1] with noise, at the level that keeps the share `kept` (Ho et al., equation 4)."""
    return kept.sqrt() * images + (1 - kept).sqrt() * noise


def stops(start: int, calls: int) -> list[int]:
    """Levels from `start` down to 0 in `calls` steps as even as whole numbers allow; `calls` <= `start`."""
    return [round(start * (calls - i) / calls) for i in range(calls + 1)]


def step_down(
    noisy: Tensor, estimate: Tensor, kept: Tensor, then: Tensor, eta: float = 0.0, fresh: Tensor | None = None
) -> Tensor:
    """From the level that keeps the share `kept` to a lower one that keeps `then`.

    Song et al., "Denoising diffusion implicit models", ICLR 2021, equations 12 and 16. The estimated image is clipped
    to [-1, 1], and the noise is what then remains of `noisy`. With `eta` 1 and neighbouring levels this is the sampler
    of Ho et al. (equation 7); with `eta` 0 no noise is drawn.

    Args:
        noisy: images at the level left.
        estimate: the network's estimate of the noise in them.
        kept: share of the image in the variance before.
        then: and after.
        eta: share of the removed noise that is drawn anew.
        fresh: the noise that is drawn, where `eta` is not 0.
    """
    image = ((noisy - (1 - kept).sqrt() * estimate) / kept.sqrt()).clamp(-1, 1)
    noise = (noisy - kept.sqrt() * image) / (1 - kept).sqrt()
    sigma = eta * ((1 - then) / (1 - kept)).sqrt() * (1 - kept / then).sqrt()
    lower = then.sqrt() * image + (1 - then - sigma.square()).clamp_min(0).sqrt() * noise
    return lower if fresh is None else lower + sigma * fresh
