"""Transformer blocks, with the parameter names of timm's; attention with softmax and without."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm residual block: attention, then a perceptron four times as wide with GELU.

    Args:
        width: numbers in a token.
        attention: maps `(N, L, width)` to the same.
        scaled: whether each branch has a learnt scale, 1 at first.
        eps: of the layer norms.
    """

    def __init__(self, width: int, attention: nn.Module, scaled: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = attention
        self.ls1 = LayerScale(width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width)
        self.ls2 = LayerScale(width) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Softmax attention of all tokens to all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries, keys and values `(N, heads, L, d)` to `(N, heads, L, d)`."""
        return F.scaled_dot_product_attention(q, k, v)


class LayerScale(nn.Module):
    """One learnt factor for each number of a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class MLP(nn.Module):
    """One hidden layer, four times as wide; `dropout` strikes its input, its hidden layer and its output."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(self.drop(x))))))


class LinearAttention(Attention):
    """Attention without softmax: φ(q) Σ φ(k)ᵀ v / φ(q) Σ φ(k)ᵀ with φ(x) = elu(x) + 1, linear in the tokens.

    Katharopoulos et al., "Transformers are RNNs", ICML 2020, equations 5 to 7. In float32 even under autocast: the sums
    run over all tokens.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            q, k = F.elu(q.float()) + 1, F.elu(k.float()) + 1
            weights = q @ k.sum(dim=2, keepdim=True).transpose(2, 3)
            return q @ (k.transpose(2, 3) @ v.float()) / weights
