"""The masked auto-encoder's network, against its description written down with numpy."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from unremarkable.networks.masked_vit import MaskedViT, Trunk, sine_positions
from unremarkable.networks.transformer import Block

from .by_hand import Array, array, disturb, gelu, layer_norm, linear, softmax


def small() -> MaskedViT:
    torch.manual_seed(0)
    network = MaskedViT((2, 3), 5, Trunk(8, 2, 2), Trunk(12, 1, 3))
    return disturb(network)


def position(row: int, column: int, width: int) -> list[float]:
    """Sines and cosines of the row, then of the column, from the highest frequency down."""
    quarter = width // 4
    return [
        wave(place / 10_000 ** (i / quarter))
        for place in (row, column)
        for wave in (math.sin, math.cos)
        for i in range(quarter)
    ]


def block(layer: Block, x: Array) -> Array:
    """One image's tokens `(L, width)` through a pre-norm block."""
    q, k, v = np.split(linear(layer.attn.qkv, layer_norm(layer.norm1, x)), 3, axis=1)
    each = x.shape[1] // layer.attn.heads
    heads = []
    for h in range(layer.attn.heads):
        cut = slice(h * each, (h + 1) * each)
        heads.append(softmax(q[:, cut] @ k[:, cut].T / math.sqrt(each)) @ v[:, cut])
    x = x + linear(layer.attn.proj, np.concatenate(heads, axis=1))
    return x + linear(layer.mlp.fc2, gelu(linear(layer.mlp.fc1, layer_norm(layer.norm2, x))))


def rebuilt(network: MaskedViT, patches: Array, shown: list[int]) -> Array:
    """One image's patches `(L, numbers)`."""
    places = [(i // 3, i % 3) for i in range(6)]
    tokens = [array(network.cls_token)[0, 0]]
    tokens += [linear(network.embed, patches[i : i + 1])[0] + position(*places[i], 8) for i in shown]
    x = np.stack(tokens)
    for layer in network.blocks:
        x = block(layer, x)
    x = linear(network.decoder_embed, layer_norm(network.norm, x))
    whole = [x[0]]
    for i, place in enumerate(places):
        own = x[1 + shown.index(i)] if i in shown else array(network.mask_token)[0, 0]
        whole.append(own + position(*place, 12))
    x = np.stack(whole)
    for layer in network.decoder_blocks:
        x = block(layer, x)
    return linear(network.head, layer_norm(network.decoder_norm, x))[1:]


def test_positions_are_sines_of_row_and_column() -> None:
    expected = [position(row, column, 8) for row in range(2) for column in range(3)]
    np.testing.assert_allclose(sine_positions((2, 3), 8), expected, atol=1e-6)


def test_the_network_is_its_description() -> None:
    network, patches = small(), torch.rand(2, 6, 5)
    shown = [[4, 1], [0, 5]]  # each image its own, in any order
    with torch.no_grad():
        ours = network(patches, torch.tensor(shown))
    for image in range(2):
        np.testing.assert_allclose(ours[image], rebuilt(network, array(patches[image]), shown[image]), atol=1e-4)


def test_hidden_patches_have_no_influence_and_shown_ones_have() -> None:
    network, patches, shown = small(), torch.rand(1, 6, 5), torch.tensor([[1, 4]])
    changed = patches.clone()
    changed[:, [0, 2, 3, 5]] = 9
    with torch.no_grad():
        assert torch.equal(network(patches, shown), network(changed, shown))
        changed[:, 1] = 9
        assert not torch.equal(network(patches, shown), network(changed, shown))


def test_every_parameter_learns_and_the_output_is_float32_under_autocast() -> None:
    network, patches = small(), torch.rand(2, 6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out: Tensor = network(patches, torch.tensor([[0, 1], [2, 3]]))
    assert out.dtype == torch.float32
    out.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_published_sizes() -> None:
    """ViT-B/16 has 85.8 million parameters (Dosovitskiy et al., table 1: 86); its positions are not learnt here."""
    with torch.device("meta"):
        network = MaskedViT((14, 14), 768, Trunk(768, 12, 12), Trunk(512, 8, 16))
    encoder = [network.embed, network.blocks, network.norm]
    block_of = {width: 12 * width**2 + 13 * width for width in (768, 512)}
    assert sum(p.numel() for part in encoder for p in part.parameters()) == 12 * block_of[768] + 768 * 769 + 2 * 768
    assert sum(p.numel() for p in network.decoder_blocks.parameters()) == 8 * block_of[512]
