"""Planted anomalies: where they lie, that the seed decides them, and the AUROC that compares ways of scoring."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from unremarkable.methods.planting import KINDS, plant, separation


def textured(count: int, channels: int = 1, side: int = 64) -> torch.Tensor:
    return 0.2 + 0.6 * torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_changes_in_one_region_only(channels: int) -> None:
    images = textured(9, channels)
    planted = plant(images, torch.Generator().manual_seed(0))
    assert planted.shape == images.shape
    assert planted.min() >= 0
    assert planted.max() <= 1
    changed = (planted != images).any(dim=1)
    share = changed.flatten(1).float().mean(dim=1)
    assert (share > 0.005).all()
    assert (share < 0.25).all()
    rows, columns = changed.any(dim=2), changed.any(dim=1)
    for line in (*rows, *columns):  # no gap: one region, not several
        inside = line.nonzero().flatten()
        assert len(inside) >= 0.9 * (inside[-1] - inside[0] + 1)


def test_kinds_take_turns() -> None:
    images = textured(3)
    foreign, intensity, texture = plant(images, torch.Generator().manual_seed(0)) - images
    assert len(KINDS) == 3
    lifted = intensity[intensity != 0]
    assert (lifted > 0).all() or (lifted < 0).all()
    assert (foreign > 0).any()
    assert (foreign < 0).any()
    assert abs(texture.sum()) < 0.1 * texture.abs().sum()  # smoothing keeps the local mean


def test_the_seed_decides() -> None:
    images = textured(4)
    first, again, other = (plant(images, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_separation_is_auroc_with_ties() -> None:
    generator = torch.Generator().manual_seed(2)
    clean = torch.randint(0, 6, (3, 20), generator=generator).float()
    planted = torch.randint(2, 8, (3, 15), generator=generator).float()
    expected = [roc_auc_score([0] * 20 + [1] * 15, torch.cat([c, p])) for c, p in zip(clean, planted, strict=True)]
    assert separation(clean, planted).tolist() == pytest.approx(expected)
    assert separation(torch.ones(4), torch.ones(5)).item() == 0.5
