from __future__ import annotations

import numpy as np
import torch

from unremarkable.networks.transformer import MLP, Attention, Block, LinearAttention


def _projected(attention: Attention, x: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Queries, keys and values `(L, width)` of one image, in numpy."""
    weight, bias = attention.qkv.weight.detach().numpy(), attention.qkv.bias.detach().numpy()
    return tuple(np.split(x[0].numpy() @ weight.T + bias, 3, axis=1))


def _out(attention: Attention, attended: np.ndarray) -> np.ndarray:
    return attended @ attention.proj.weight.detach().numpy().T + attention.proj.bias.detach().numpy()


def test_softmax_attention_in_numpy() -> None:
    torch.manual_seed(0)
    attention, x = Attention(8, 2), torch.randn(1, 5, 8)
    q, k, v = _projected(attention, x)
    attended = np.zeros((5, 8))
    for head in (slice(0, 4), slice(4, 8)):
        weights = np.exp(q[:, head] @ k[:, head].T / 2)
        attended[:, head] = weights / weights.sum(1, keepdims=True) @ v[:, head]
    np.testing.assert_allclose(attention(x).detach()[0], _out(attention, attended), atol=1e-5)


def test_linear_attention_in_numpy() -> None:
    """Token by token, with the L x L weights that the fast form never makes."""
    torch.manual_seed(0)
    attention, x = LinearAttention(8, 2), torch.randn(1, 5, 8)
    q, k, v = _projected(attention, x)

    def phi(a: np.ndarray) -> np.ndarray:
        return np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1) + 1

    attended = np.zeros((5, 8))
    for head in (slice(0, 4), slice(4, 8)):
        weights = phi(q[:, head]) @ phi(k[:, head]).T
        attended[:, head] = weights / weights.sum(1, keepdims=True) @ v[:, head]
    np.testing.assert_allclose(attention(x).detach()[0], _out(attention, attended), atol=1e-5)


def test_linear_attention_stays_in_float32_under_autocast() -> None:
    attention = LinearAttention(8, 2)
    q, k, v = torch.randn(3, 1, 2, 5, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert attention.attend(q, k, v).dtype == torch.float32


def test_a_block_adds_to_what_it_gets() -> None:
    torch.manual_seed(0)
    block, x = Block(8, Attention(8, 2), scaled=True), torch.randn(1, 3, 8)
    torch.nn.init.zeros_(block.ls1.gamma)
    torch.nn.init.constant_(block.ls2.gamma, 2.0)
    torch.testing.assert_close(block(x), x + 2 * block.mlp(block.norm2(x)))


def test_dropout_strikes_three_times() -> None:
    torch.manual_seed(0)
    mlp = MLP(64, dropout=0.5).train()
    struck: list[float] = []
    mlp.drop.register_forward_hook(lambda _, __, out: struck.append(float((out == 0).float().mean())))
    mlp(torch.randn(1, 50, 64))
    assert len(struck) == 3
    assert all(abs(share - 0.5) < 0.05 for share in struck)
