"""The sparse Transformer block against the paper's equations written out in loops, and the hybrid module's shape."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unremarkable.networks.mstb import HybridModule, MultiScaleSparseTransformer, conv_block


def matrix(layer: nn.Module) -> NDArray[np.float64]:
    """The layer's matrix as the paper writes it: row vectors are multiplied from the left."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().double().numpy().T


def naive(block: MultiScaleSparseTransformer, features: Tensor) -> Tensor:
    """Eq. 1–3, layer norm and perceptron for one image `(C, H, W)`, location by location and head by head."""
    channels, height, width = features.shape
    image = features.double().numpy()
    heads = block.heads
    d_head = channels // heads
    local = np.stack([image[:, y, x] for y in range(height) for x in range(width)])  # F¹
    local = local + block.position[0].detach().double().numpy()

    query = matrix(block.query)
    z: list[NDArray[np.float64]] = []
    for scale_index, scale in enumerate(block.scales):
        patch = scale.embed.kernel_size[0]
        projection = scale.embed.weight.detach().double().numpy()  # (C, C, p, p): E, one matrix per patch
        rows = []
        for top in range(0, height, patch):
            for left in range(0, width, patch):
                flat = image[:, top : top + patch, left : left + patch].reshape(-1)
                rows.append(projection.reshape(channels, -1) @ flat)
        region = np.stack(rows) + scale.position[0].detach().double().numpy()
        key, value = matrix(scale.key), matrix(scale.value)
        for j in range(heads // 2):
            columns = slice((scale_index * heads // 2 + j) * d_head, (scale_index * heads // 2 + j + 1) * d_head)
            own = slice(j * d_head, (j + 1) * d_head)
            q, k, v = local @ query[:, columns], region @ key[:, own], region @ value[:, own]
            head = np.zeros((len(q), d_head))
            for i in range(len(q)):
                logits = np.array([q[i] @ k[n] for n in range(len(k))]) / np.sqrt(d_head)
                weights = np.exp(logits - logits.max())
                head[i] = (weights / weights.sum()) @ v
            z.append(head)
    joined = torch.from_numpy(np.concatenate(z, axis=1)).float()
    tokens = block.mlp(block.norm(joined))
    return tokens.T.reshape(channels, height, width)


@pytest.mark.parametrize(("grid", "patches"), [((4, 4), (1, 2)), ((8, 4), (2, 4))])
def test_block_is_the_paper_s_attention(grid: tuple[int, int], patches: tuple[int, int]) -> None:
    torch.manual_seed(3)
    block = MultiScaleSparseTransformer(channels=8, grid=grid, heads=4, patches=patches).eval()
    with torch.no_grad():
        for parameter in block.parameters():  # far from the near-uniform attention of a fresh block
            parameter.add_(0.5 * torch.randn_like(parameter))
        features = torch.randn(2, 8, *grid)
        expected = torch.stack([naive(block, image) for image in features])
        torch.testing.assert_close(block(features), expected, rtol=1e-4, atol=1e-4)


def test_keys_are_fewer_than_queries() -> None:
    """Stage 1 at 256 × 256: HW/16 and HW/64 keys (III.C)."""
    block = MultiScaleSparseTransformer(64, (32, 32), heads=2, patches=(4, 8))
    assert [scale.position.shape[1] for scale in block.scales] == [32 * 32 // 16, 32 * 32 // 64]


def test_each_scale_owns_half_of_the_heads() -> None:
    """Without the values of one scale, only that half of Z vanishes."""
    block = MultiScaleSparseTransformer(8, (4, 4), heads=4, patches=(1, 2))
    block.norm, block.mlp = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    nn.init.zeros_(block.scales[1].value.weight)
    with torch.no_grad():
        z = block(torch.randn(1, 8, 4, 4))
    assert z[:, :4].abs().min() > 0
    assert z[:, 4:].abs().max() == 0


def test_a_grid_that_the_patches_do_not_divide_is_filled_up() -> None:
    """As if the features had zeros below and to the right: the keys of the filled grid are the same."""
    block = MultiScaleSparseTransformer(8, (7, 7), heads=4, patches=(1, 2))
    assert [scale.position.shape[1] for scale in block.scales] == [49, 16]
    features = torch.randn(2, 8, 7, 7)
    filled = torch.zeros(2, 8, 8, 8)
    filled[:, :, :7, :7] = features
    queries = torch.randn(2, 2, 49, 2)
    torch.testing.assert_close(block.scales[1](features, queries), block.scales[1](filled, queries))


@pytest.mark.parametrize("kinds", ["ct", "cc", "tt", "c"])
@pytest.mark.parametrize("grid", [(8, 8), (4, 12)])
def test_hybrid_module_doubles_the_grid(kinds: str, grid: tuple[int, int]) -> None:
    make = {
        "c": partial(conv_block, 16),
        "t": partial(MultiScaleSparseTransformer, 16, grid, 2, (2, 4)),
    }
    module = HybridModule(20, 16, 12, [make[kind] for kind in kinds])
    features = torch.randn(2, 20, *grid, requires_grad=True)
    out = module(features)
    assert out.shape == (2, 12, 2 * grid[0], 2 * grid[1])
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    found = {type(m) for m in module.modules()}
    assert (MultiScaleSparseTransformer in found) == ("t" in kinds)
    assert (nn.BatchNorm2d in found) == ("c" in kinds)


def test_downwards_the_module_begins_with_the_mean_of_two_by_two() -> None:
    module = HybridModule(4, 4, 4, [nn.Identity], "down")
    features = torch.randn(1, 4, 6, 4)
    mean = features.unflatten(3, (2, 2)).unflatten(2, (3, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(module(features), module.fuse(module.branches[0][0](mean)))


def test_memory_format_does_not_change_the_values() -> None:
    module = HybridModule(
        8, 8, 8, [partial(conv_block, 8), partial(MultiScaleSparseTransformer, 8, (8, 8), 2, (2, 4))]
    ).eval()
    features = torch.randn(2, 8, 8, 8)
    with torch.no_grad():
        plain = module(features)
        last = module.to(memory_format=torch.channels_last)(features.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, rtol=1e-5, atol=1e-5)
