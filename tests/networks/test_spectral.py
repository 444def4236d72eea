"""Spectral normalisation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from unremarkable.networks.spectral import SpectralNorm, normalise_spectrally


def largest(weight: Tensor) -> float:
    return float(np.linalg.svd(weight.detach().flatten(1).double().numpy(), compute_uv=False)[0])


def test_largest_singular_value_becomes_one() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 4), nn.LeakyReLU(), nn.Flatten(), nn.Linear(6, 5)).train()
    drawn = [network[0].weight.detach().clone(), network[3].weight.detach().clone()]
    normalise_spectrally(network)
    for _ in range(60):
        network(torch.rand(2, 3, 4, 4))
    for layer, before in zip((network[0], network[3]), drawn, strict=True):
        assert abs(largest(layer.weight) - 1) < 1e-3
        np.testing.assert_allclose(layer.weight.detach(), before / largest(before), rtol=1e-3, atol=1e-5)


def test_gradient_is_that_of_the_division() -> None:
    torch.manual_seed(0)
    norm = SpectralNorm(torch.rand(2, 3)).double().eval()
    weight = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, weight)


def test_eval_mode_leaves_the_vectors_and_autocast_the_precision() -> None:
    torch.manual_seed(0)
    weight = torch.rand(4, 6)
    norm = SpectralNorm(weight)
    norm.eval()
    before = norm.left.clone()
    exact = norm(weight)
    assert torch.equal(norm.left, before)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(norm(weight), exact)
    norm.train()
    norm(torch.rand(4, 6))
    assert not torch.equal(norm.left, before)


def test_two_passes_before_a_gradient() -> None:
    layer = nn.Linear(3, 3)
    normalise_spectrally(layer)
    (layer(torch.rand(1, 3)) + layer(torch.rand(1, 3))).sum().backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()
