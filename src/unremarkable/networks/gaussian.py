"""Gaussians over latent codes, each number with its mean and log-variance."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw through which gradients pass (Kingma and Welling 2014, equation 10); in the shape of both."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


def kl_terms(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence from N(0, 1) of each latent number, in the shape of both (the same, appendix B, before its sum)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
