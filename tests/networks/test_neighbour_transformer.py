from __future__ import annotations

import math

import numpy as np
import torch

from unremarkable.networks.neighbour_transformer import Attention, DecoderLayer, NeighbourTransformer, neighbour_mask


def test_the_mask_leaves_out_the_square_around() -> None:
    mask = neighbour_mask((4, 5), 3).view(4, 5, 4, 5)
    for i, j, k, m in np.ndindex(4, 5, 4, 5):
        assert bool(mask[i, j, k, m]) == (abs(i - k) > 1 or abs(j - m) > 1)
    assert neighbour_mask((4, 4), 1).sum() == 16 * 15  # only itself


def test_attention_in_numpy() -> None:
    torch.manual_seed(0)
    attention = Attention(4, 2, 0.0).eval()
    q, k, v = torch.randn(3, 1, 3, 4)
    mask = torch.tensor([[False, True, True], [True, False, True], [True, True, False]])
    given = {name: value.detach().numpy() for name, value in attention.named_parameters()}
    queries, keys, values = (
        x[0].numpy() @ given[f"{name}.weight"].T + given[f"{name}.bias"]
        for name, x in (("query", q), ("key", k), ("value", v))
    )
    out = np.zeros((3, 4))
    for head in (slice(0, 2), slice(2, 4)):
        logits = queries[:, head] @ keys[:, head].T / math.sqrt(2)
        weights = np.exp(np.where(mask.numpy(), logits, -np.inf))
        out[:, head] = weights / weights.sum(1, keepdims=True) @ values[:, head]
    expected = out @ given["out.weight"].T + given["out.bias"]
    np.testing.assert_allclose(attention(q, k, v, mask).detach()[0], expected, atol=1e-6)


def test_a_location_does_not_see_itself_in_attention() -> None:
    attention, mask = Attention(8, 2, 0.0).eval(), neighbour_mask((4, 4), 3)
    x = torch.randn(1, 16, 8)
    changed = x.clone()
    changed[0, 5] += 10
    before, after = attention(x, x, x, mask), attention(x, changed, changed, mask)
    same = torch.isclose(before, after, atol=1e-6).all(dim=2)[0].view(4, 4)
    assert same[:3, :3].all()  # the neighbours of location (1, 1) and itself
    assert not same[3].any()
    assert not same[:, 3].any()


def test_every_decoder_layer_starts_from_its_own_query() -> None:
    """With attention that gives nothing, the output is made of queries alone, whatever comes in."""
    layer = DecoderLayer(4, 8, 2, 16, 0.0).eval()
    for attention in layer.attentions:
        torch.nn.init.zeros_(attention.out.weight)
        torch.nn.init.zeros_(attention.out.bias)
    mask, position = torch.ones(4, 4, dtype=torch.bool), torch.zeros(4, 8)
    one, two = (layer(torch.randn(1, 4, 8), torch.randn(1, 4, 8), position, mask) for _ in range(2))
    torch.testing.assert_close(one, two)


def test_positions_tell_rows_and_columns_apart() -> None:
    torch.manual_seed(0)
    network = NeighbourTransformer((3, 5), 16, 2, 1, 32, 1, 0.0).eval()
    out = network(torch.ones(2, 15, 16))
    assert out.shape == (2, 15, 16)
    assert out[0].detach().unique(dim=0).shape[0] == 15
    assert [p.shape[0] for p in (network.rows, network.columns)] == [3, 1]
