"""Masks: what is above the threshold and around it, and random rectangles."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from unremarkable.methods.holes import rectangles, widened


def test_widened_mask_by_hand() -> None:
    torch.manual_seed(0)
    suspicion, threshold = torch.rand(2, 1, 20, 24) ** 4, torch.tensor(0.4)
    found = widened(suspicion, threshold).numpy()
    for image, mask in zip(suspicion[:, 0].double().numpy(), found[:, 0], strict=True):
        marked = np.interp(image, [0.32, 0.48], [0, 1])
        blurred = gaussian_filter(marked, 1.2, mode="reflect", truncate=4)
        np.testing.assert_allclose(mask, np.interp(blurred, [0, 0.2], [0, 1]), atol=1e-5)


def test_far_from_its_edges_it_is_the_published_mask() -> None:
    suspicion = torch.zeros(1, 1, 32, 32)
    suspicion[:, :, 10:20, 8:16] = 1
    published = gaussian_filter((suspicion > 0.5).double().numpy()[0, 0], 1.2, mode="reflect") > 0.1
    mask = widened(suspicion, torch.tensor(0.5))[0, 0]
    assert torch.equal(mask > 0.5, torch.from_numpy(published))
    assert mask[8:22, 6:18].sum() > suspicion.sum()


def test_a_small_change_of_the_suspicion_is_a_small_change_of_the_mask() -> None:
    """No pixel may depend on the last bit: a map of the threshold itself is the worst there is."""
    threshold = torch.tensor(0.05)
    suspicion = torch.full((1, 1, 32, 32), 0.05) + 0.004 * torch.rand(1, 1, 32, 32)
    changed = widened(suspicion * (1 + 1e-6), threshold) - widened(suspicion, threshold)
    assert changed.abs().max() < 1e-3


def test_no_threshold_marks_what_is_above_nothing() -> None:
    mask = widened(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(-1, -1, 32, 32), torch.tensor(0.0))
    assert mask.isfinite().all()
    assert (mask[1] == 1).all()


def test_rectangles_lie_inside_and_have_their_sides() -> None:
    torch.manual_seed(0)
    masks = rectangles(torch.rand(400, 3, 24, 30), 5, 9)
    assert masks.shape == (400, 1, 24, 30)
    heights, widths = masks.amax(3).sum(2).flatten(), masks.amax(2).sum(2).flatten()
    assert torch.equal(masks.sum((1, 2, 3)), heights * widths), "full rectangles"
    assert set(heights.tolist()) == set(widths.tolist()) == {5, 6, 7, 8, 9}
    assert masks.amax((0, 1, 2)).min() == masks.amax((0, 1, 3)).min() == 1, "every row and column is reached"
