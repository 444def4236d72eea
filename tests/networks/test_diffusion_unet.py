"""The U-Net of diffusion models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from unremarkable.networks.diffusion_unet import DiffusionUNet, _Attention, embed_levels


def waken(network: nn.Module) -> nn.Module:
    """Small random numbers for the weights that begin as 0."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def test_embedding_by_hand() -> None:
    levels = torch.tensor([0, 7])
    ours = embed_levels(levels, 7).numpy()
    for row, level in zip(ours, (0, 7), strict=True):
        rates = [1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)]
        expected = [*(np.cos(level * r) for r in rates), *(np.sin(level * r) for r in rates), 0]
        np.testing.assert_allclose(row, expected, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 24), (8, 8)])
def test_what_goes_in_comes_out(size: tuple[int, int]) -> None:
    network = waken(DiffusionUNet(3, (4, 8, 8), attended=(2,), blocks=1))
    x = torch.rand(2, 3, *size)
    out = network(x, torch.tensor([0, 500]))
    assert out.shape == x.shape
    assert not torch.equal(network(x, torch.tensor([1, 500]))[0], out[0]), "the level matters"
    torch.testing.assert_close(network(x[1:], torch.tensor([500])), out[1:])


def test_it_says_0_before_training() -> None:
    assert not DiffusionUNet(1, (4, 8), attended=())(torch.rand(1, 1, 8, 8), torch.tensor([3])).any()


def test_every_weight_learns() -> None:
    network = waken(DiffusionUNet(1, (4, 8), attended=(0, 1), blocks=2))
    network(torch.rand(2, 1, 8, 8), torch.tensor([3, 900])).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert {name for name, p in network.named_parameters() if not p.grad.any()} == set()


def test_attention_by_hand() -> None:
    layer = waken(_Attention(4, heads=2))
    x = torch.randn(1, 4, 2, 3)
    with torch.no_grad():
        flat = layer.qkv(layer.norm(x))[0].flatten(1).numpy()  # 12 channels, 6 places
        heads = []
        for head in range(2):
            q, k, v = (flat[4 * part + 2 * head : 4 * part + 2 * head + 2] for part in range(3))
            weights = np.exp(q.T @ k / np.sqrt(2))
            heads.append(v @ (weights / weights.sum(1, keepdims=True)).T)
        mixed = torch.from_numpy(np.concatenate(heads)).float().reshape(1, 4, 2, 3)
        torch.testing.assert_close(layer(x), x + layer.proj(mixed), rtol=1e-4, atol=1e-5)


def test_published_network_has_its_blocks() -> None:
    with torch.device("meta"):
        network = DiffusionUNet(1, (128, 128, 256, 256, 512, 512), attended=(4, 5))
    assert len(network.down) == 6 * 2 + 5
    assert [len(stages) for stages in network.up] == [1, 1, 2] * 5 + [1, 1, 1]
    assert sum(isinstance(m, _Attention) for m in network.modules()) == 2 * 2 + 1 + 2 * 3
    assert {m.heads for m in network.modules() if isinstance(m, _Attention)} == {2}
