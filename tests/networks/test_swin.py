"""Swin blocks against the paper's equations, place by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unremarkable.networks import swin
from unremarkable.networks.swin import SwinBlock, partition, unpartition

from .by_hand import array, disturb, layer_norm, linear, perceptron, softmax


def naive(block: SwinBlock, features: torch.Tensor, window: int, shift: int) -> np.ndarray:
    """Eq. 3 and 4 for one `(C, H, W)`: every place attends to those that share its (shifted) window, found by index.

    Windows of a shifted block begin at `shift`, and those cut by the border stay cut, as before the cyclic shift
    that only makes them cheap (Fig. 4).
    """
    channels, height, width = features.shape
    heads = block.attention.heads
    d = channels // heads
    x = array(features).reshape(channels, -1).T
    qkv = linear(block.attention.qkv, layer_norm(block.norm, x))
    q, k, v = np.split(qkv, 3, axis=1)
    table = array(block.attention.bias).reshape(heads, 2 * window - 1, 2 * window - 1)
    place = [(i, j) for i in range(height) for j in range(width)]
    of = [((i - shift) // window, (j - shift) // window) for i, j in place]
    attended = np.zeros_like(x)
    for a, (i, j) in enumerate(place):
        others = [b for b in range(len(place)) if of[b] == of[a]]
        for h in range(heads):
            own = slice(h * d, (h + 1) * d)
            logits = [
                q[a, own] @ k[b, own] / np.sqrt(d)
                + table[h, i - place[b][0] + window - 1, j - place[b][1] + window - 1]
                for b in others
            ]
            attended[a, own] = softmax(np.array(logits)) @ v[others, own]
    x = x + linear(block.attention.project, attended)
    x = x + perceptron(block.mlp, x)
    return x.T.reshape(channels, height, width)


@pytest.mark.parametrize("shifted", [False, True])
def test_block_is_the_paper_s(shifted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swin, "WINDOW", 4)
    block = disturb(SwinBlock(8, (8, 12), heads=2, shifted=shifted))
    features = torch.randn(2, 8, 8, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = block(features)
    for image, expected in zip(out, features, strict=True):
        np.testing.assert_allclose(image, naive(block, expected, 4, 2 if shifted else 0), rtol=1e-4, atol=1e-4)


def test_partition_cuts_row_by_row_and_is_undone() -> None:
    x = torch.arange(2 * 4 * 6 * 1.0).view(2, 4, 6, 1)
    windows = partition(x, (2, 3))
    assert windows.shape == (2, 4, 6, 1)
    assert torch.equal(windows[0, 1, :, 0], x[0, :2, 3:, 0].flatten())
    assert torch.equal(unpartition(windows, (2, 3), (4, 6)), x)


@pytest.mark.parametrize(
    ("grid", "window", "shift"),
    [((32, 32), (8, 8), (4, 4)), ((8, 8), (8, 8), (0, 0)), ((7, 14), (7, 7), (0, 3)), ((2, 1), (2, 1), (0, 0))],
)
def test_windows_divide_the_grid_and_shift_only_where_there_are_several(
    grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> None:
    block = SwinBlock(8, grid, heads=2, shifted=True)
    assert block.window == window
    assert block.shift == shift
    assert (block.mask is not None) == (shift != (0, 0))
    assert block(torch.randn(1, 8, *grid)).isfinite().all()
    assert not any("mask" in key or "index" in key for key in block.state_dict())
