"""UniAD's reconstruction network: attention that may not look near itself, and a query for every decoder layer.

Source: You et al., "A unified model for multi-class anomaly detection", NeurIPS 2022, section 3.2 and figure 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def neighbour_mask(grid: tuple[int, int], side: int) -> Tensor:
    """`(L, L)`, true where location i may look at location j: not within the `side` x `side` square around it.

    A side of 0 leaves out nothing.
    """
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    near = [(axis.flatten()[:, None] - axis.flatten()).abs() <= (side - 1) // 2 for axis in (rows, columns)]
    return ~(near[0] & near[1])


class NeighbourTransformer(nn.Module):
    """Tokens `(N, L, width)` of a grid, rebuilt.

    Args:
        grid: locations along height and width.
        width: numbers in a token.
        heads: of each attention.
        layers: of the encoder, and as many of the decoder.
        hidden: width of the perceptrons' hidden layer.
        neighbours: odd side of the masked square, or 0; some location must lie outside of it for every other.
        dropout: in attention, perceptrons and branches.
    """

    mask: Tensor

    def __init__(
        self, grid: tuple[int, int], width: int, heads: int, layers: int, hidden: int, neighbours: int, dropout: float
    ) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.rand(grid[0], 1, width // 2))
        self.columns = nn.Parameter(torch.rand(1, grid[1], width // 2))
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, hidden, dropout) for _ in range(layers))
        length = grid[0] * grid[1]
        self.decoder = nn.ModuleList(DecoderLayer(length, width, heads, hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mask", neighbour_mask(grid, neighbours), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        grid = (self.rows.shape[0], self.columns.shape[1])
        position = torch.cat([self.columns.expand(*grid, -1), self.rows.expand(*grid, -1)], dim=2).flatten(0, 1)
        for layer in self.encoder:
            tokens = layer(tokens, position, self.mask)
        rebuilt = tokens
        for layer in self.decoder:
            rebuilt = layer(rebuilt, tokens, position, self.mask)
        return self.norm(rebuilt)


class Attention(nn.Module):
    """Multi-head attention `(N, L, width)` from queries, keys and values of their own, where `mask` is true."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            linear(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for linear, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        dropped = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropped)
        return self.out(attended.transpose(1, 2).flatten(2))


class Perceptron(nn.Sequential):
    """One hidden layer with ReLU."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class EncoderLayer(nn.Module):
    """Masked self-attention and a perceptron, each followed by its norm."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.perceptron = Perceptron(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        placed = x + position
        x = self.norms[0](x + self.drop(self.attention(placed, placed, x, mask)))
        return self.norms[1](x + self.drop(self.perceptron(x)))


class DecoderLayer(nn.Module):
    """A learnt query asks the encoder's output, then the layer before: what comes in never reaches the residual."""

    def __init__(self, length: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(length, width))
        self.attentions = nn.ModuleList(Attention(width, heads, dropout) for _ in range(2))
        self.perceptron = Perceptron(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def forward(self, before: Tensor, memory: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        x = self.queries.expand(len(memory), -1, -1)
        for attention, norm, source in zip(self.attentions, self.norms, (memory, before), strict=False):
            x = norm(x + self.drop(attention(x + position, source + position, source, mask)))
        return self.norms[2](x + self.drop(self.perceptron(x)))
