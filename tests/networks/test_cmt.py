"""CMT's block against the paper's equations."""

from __future__ import annotations

import numpy as np
import torch

from unremarkable.networks.cmt import CmtBlock

from .by_hand import array, batch_norm, depthwise, disturb, gelu, layer_norm, linear, softmax, tokens


def naive(block: CmtBlock, features: torch.Tensor, reduction: int) -> np.ndarray:
    """Y = LPU(X), Z = LMHSA(LN(Y)) + Y, IRFFN(LN(Z)) + Z, for one `(C, H, W)`."""
    x = array(features)
    channels, height, width = x.shape
    y = tokens(depthwise(block.local.weight, x, 1) + x)
    attention = block.attention
    heads = attention.heads
    d = channels // heads
    normed = layer_norm(block.norm, y)
    q, k, v = (linear(layer, normed) for layer in (attention.query, attention.key, attention.value))
    grid = (channels, height, width)
    k = tokens(depthwise(attention.reduce_key.weight, k.T.reshape(grid), reduction))
    v = tokens(depthwise(attention.reduce_value.weight, v.T.reshape(grid), reduction))
    bias = array(attention.bias)
    cut = [slice(h * d, (h + 1) * d) for h in range(heads)]
    joined = [softmax(q[:, c] @ k[:, c].T / np.sqrt(d) + bias[h]) @ v[:, c] for h, c in enumerate(cut)]
    z = linear(attention.project, np.concatenate(joined, axis=1)) + y

    def pointwise(layer: torch.nn.Module, image: np.ndarray) -> np.ndarray:
        out = np.einsum("oi,ihw->ohw", array(layer.weight)[:, :, 0, 0], image)
        return out if layer.bias is None else out + array(layer.bias)[:, None, None]

    feed = block.mlp
    inner = layer_norm(block.mlp_norm, z).T.reshape(grid)
    inner = batch_norm(feed.expand[2], gelu(pointwise(feed.expand[0], inner)))
    inner = depthwise(feed.depthwise.weight, inner, 1) + inner
    inner = batch_norm(feed.activate[1], gelu(inner))
    return batch_norm(feed.shrink[1], pointwise(feed.shrink[0], inner)) + z.T.reshape(grid)


def test_block_is_the_paper_s() -> None:
    block = disturb(CmtBlock(8, (4, 6), heads=2, reduction=2, expansion=1.5))
    features = torch.randn(2, 8, 4, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = block(features)
    for image, given in zip(out, features, strict=True):
        np.testing.assert_allclose(image, naive(block, given, 2), rtol=1e-4, atol=1e-4)
    assert block.mlp.expand[0].out_channels == 12


def test_a_grid_that_k_does_not_divide_has_a_part_patch_more() -> None:
    block = CmtBlock(8, (7, 7), heads=2, reduction=2, expansion=2)
    assert block.attention.bias.shape == (2, 49, 16)
    assert block(torch.randn(2, 8, 7, 7)).shape == (2, 8, 7, 7)
