from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from unremarkable.methods.feature_maps import cosine_distances, enlarge, flat_cosine_distances, on_one_grid, smooth


@pytest.mark.parametrize("shape", [(40, 33), (7, 5)], ids=str)
def test_smoothing_is_scipys(shape: tuple[int, int]) -> None:
    """The small map is narrower than the filter, so that its mirror image is mirrored again."""
    maps = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    expected = np.stack([gaussian_filter(m[0].numpy(), 4.0, mode="reflect") for m in maps])
    np.testing.assert_allclose(smooth(maps, 4.0)[:, 0], expected, atol=2e-6)


def test_smoothing_leaves_constant_maps_and_none_asked_for_alone() -> None:
    maps = torch.full((1, 1, 9, 9), 0.25)
    torch.testing.assert_close(smooth(maps, 2.0), maps)
    assert smooth(maps, 0) is maps


def test_cosine_distances_by_hand() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 3, 4)), rng.normal(size=(2, 5, 3, 4))
    local = 1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    axes = (1, 2, 3)
    whole = 1 - (a * b).sum(axes) / np.sqrt((a**2).sum(axes) * (b**2).sum(axes))
    np.testing.assert_allclose(cosine_distances(torch.from_numpy(a), torch.from_numpy(b)), local, rtol=1e-6)
    np.testing.assert_allclose(flat_cosine_distances(torch.from_numpy(a), torch.from_numpy(b)), whole, rtol=1e-6)


def test_enlarging_interpolates_between_the_centres_of_pixels() -> None:
    enlarged = enlarge(torch.tensor([[[0.0, 4.0]]]), (1, 4))
    assert enlarged.flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


def test_features_meet_on_the_coarsest_grid() -> None:
    fine, coarse = torch.arange(16.0).view(1, 1, 4, 4), torch.ones(1, 3, 2, 2)
    left, right = on_one_grid([(fine, 2 * fine), (coarse, 0 * coarse)])
    assert left.shape == right.shape == (1, 4, 2, 2)
    assert left[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    torch.testing.assert_close(right[:, :1], 2 * left[:, :1])
