from __future__ import annotations

import numpy as np
import torch

from unremarkable.networks.tokens import join_heads, pad_to_patches, patch_grid, split_heads, to_grid, to_tokens


def test_tokens_are_read_row_by_row_and_put_back() -> None:
    features = torch.arange(2 * 3 * 2 * 4.0).view(2, 3, 2, 4)
    tokens = to_tokens(features)
    assert tokens.shape == (2, 8, 3)
    assert torch.equal(tokens[1, 5], features[1, :, 1, 1])
    assert torch.equal(to_grid(tokens, (2, 4)), features)


def test_heads_are_consecutive_channels() -> None:
    tokens = torch.randn(2, 5, 6)
    heads = split_heads(tokens, 3)
    assert torch.equal(heads[:, 1], tokens[:, :, 2:4])
    assert torch.equal(join_heads(heads), tokens)


def test_padding_covers_the_grid_with_zeros_below_and_to_the_right() -> None:
    features = torch.ones(1, 1, 7, 4)
    padded = pad_to_patches(features, 4)
    assert padded.shape[2:] == (8, 4)
    assert patch_grid((7, 4), 4) == (2, 1)
    np.testing.assert_array_equal(padded[0, 0, 7], 0)
    assert float(padded.sum()) == 28
    assert pad_to_patches(features[:, :, :4], 2).data_ptr() == features.data_ptr()
