from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from unremarkable.networks.heads import PooledHead, SqueezeExciteHead, TransformerHead, positions


def features(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def opinionated(head: nn.Module, last: nn.Linear) -> nn.Module:
    """With a last layer that is no longer zero, as it starts."""
    assert not last.weight.any()
    assert not last.bias.any()
    last.reset_parameters()
    return head.eval()


def test_the_pooled_head_by_hand() -> None:
    head = PooledHead(2, dropout=0.5).eval()
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[2.0, -1.0]]))
        head.linear.bias.fill_(0.25)
        x = torch.tensor([[[[1.0, 3.0]], [[4.0, 0.0]]]])
        assert head(x).tolist() == [2 * 2 - 2 + 0.25]


def test_dropout_only_in_training() -> None:
    head, x = PooledHead(64, dropout=0.5), features(3, 64, 2, 2)
    opinionated(head, head.linear)
    with torch.no_grad():
        assert torch.equal(head.eval()(x), head(x))
        head.train()
        assert not torch.equal(head(x), head(x))


def test_squeeze_and_excitation_is_equations_2_to_4() -> None:
    head, x = SqueezeExciteHead(8, dropout=0.0, reduction=4), features(2, 8, 3, 3)
    opinionated(head, head.pooled.linear)
    w1, b1, w2, b2 = (p.detach().numpy() for p in (*head.squeeze.parameters(), *head.excite.parameters()))
    assert w1.shape == (2, 8)
    z = x.numpy().mean((2, 3))
    s = 1 / (1 + np.exp(-(np.maximum(z @ w1.T + b1, 0) @ w2.T + b2)))
    pooled = (x.numpy() * s[:, :, None, None]).mean((2, 3))
    linear = head.pooled.linear
    expected = pooled @ linear.weight.detach().numpy().T[:, 0] + linear.bias.item()
    np.testing.assert_allclose(head(x).detach().numpy(), expected, rtol=1e-5)


def test_the_transformer_is_written_down_again() -> None:
    torch.manual_seed(0)
    head, x = TransformerHead(6, 0.3, width=8, layers=1, heads=2), features(2, 6, 2, 3)
    opinionated(head, head.pooled.linear)
    state = {key: value.double().numpy() for key, value in head.state_dict().items()}

    def normed(t: np.ndarray, name: str) -> np.ndarray:
        t = (t - t.mean(-1, keepdims=True)) / np.sqrt(t.var(-1, keepdims=True) + 1e-5)
        return t * state[f"{name}.weight"] + state[f"{name}.bias"]

    def dense(t: np.ndarray, name: str, kind: str = ".") -> np.ndarray:
        return t @ state[f"{name}{kind}weight"].T + state[f"{name}{kind}bias"]

    layer = "encoder.layers.0"
    grid = np.einsum("oc,nchw->nohw", state["project.weight"][:, :, 0, 0], x.double().numpy())
    grid += state["project.bias"][:, None, None] + positions(8, 2, 3).numpy()
    t = grid.reshape(2, 8, 6).transpose(0, 2, 1)
    q, k, v = np.split(dense(normed(t, f"{layer}.norm1"), f"{layer}.self_attn.in_proj", "_"), 3, axis=2)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        logits = q[..., part] @ k[..., part].transpose(0, 2, 1) / 2
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        heads.append(shares @ v[..., part])
    t = t + dense(np.concatenate(heads, axis=2), f"{layer}.self_attn.out_proj")
    inner = dense(normed(t, f"{layer}.norm2"), f"{layer}.linear1")
    inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / np.sqrt(2)))
    t = t + dense(inner, f"{layer}.linear2")
    expected = dense(normed(t, "encoder.norm").mean(1), "pooled.linear")[:, 0]
    np.testing.assert_allclose(head(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_positions_by_hand() -> None:
    found = positions(8, 3, 2)
    assert found.shape == (8, 3, 2)
    row, column = 2, 1
    rates = [1.0, 1 / 100]  # 10000^(-i / 2), two of each
    expected = [math.sin(row * r) for r in rates] + [math.cos(row * r) for r in rates]
    expected += [math.sin(column * r) for r in rates] + [math.cos(column * r) for r in rates]
    np.testing.assert_allclose(found[:, row, column].numpy(), expected, rtol=1e-6)
