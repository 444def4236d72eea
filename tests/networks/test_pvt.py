"""PVT's stage against the paper's equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unremarkable.networks.pvt import PvtStage

from .by_hand import array, disturb, layer_norm, linear, perceptron, softmax


def naive(stage: PvtStage, features: torch.Tensor) -> np.ndarray:
    """Positions, then per block x + SRA(LN(x)) and x + MLP(LN(x)), for one `(C, H, W)`."""
    channels, height, width = features.shape
    x = array(features).reshape(channels, -1).T + array(stage.position)[0]
    for norm, attention, mlp in zip(stage.norms, stage.attentions, stage.mlps, strict=True):
        r, heads = attention.reduction, attention.heads
        d = channels // heads
        y = layer_norm(norm, x)
        image = y.T.reshape(channels, height, width)
        image = np.pad(image, ((0, 0), (0, -height % r), (0, -width % r)))
        matrix = array(attention.reduce.weight).reshape(channels, -1)  # W^S, one column a number of the patch
        patches = [
            matrix @ image[:, i : i + r, j : j + r].reshape(-1) + array(attention.reduce.bias)
            for i in range(0, image.shape[1], r)
            for j in range(0, image.shape[2], r)
        ]
        reduced = layer_norm(attention.norm, np.stack(patches))
        q, k, v = linear(attention.query, y), linear(attention.key, reduced), linear(attention.value, reduced)
        cut = [slice(h * d, (h + 1) * d) for h in range(heads)]
        joined = np.concatenate([softmax(q[:, c] @ k[:, c].T / np.sqrt(d)) @ v[:, c] for c in cut], axis=1)
        x = x + linear(attention.project, joined)
        x = x + perceptron(mlp, x)
    return x.T.reshape(channels, height, width)


@pytest.mark.parametrize("grid", [(4, 6), (5, 3)])
def test_stage_is_the_paper_s(grid: tuple[int, int]) -> None:
    stage = disturb(PvtStage(8, grid, heads=2, reduction=2, expansion=3, depth=2))
    features = torch.randn(2, 8, *grid, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = stage(features)
    for image, given in zip(out, features, strict=True):
        np.testing.assert_allclose(image, naive(stage, given), rtol=1e-4, atol=1e-4)
