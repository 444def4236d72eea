"""From the last features of a backbone to one number an image: pooled as they are, or after attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PooledHead(nn.Module):
    """`(N, C, h, w)` to `(N,)`: global average, dropout, one linear layer.

    The layer starts at zero: what it says of a feature is then learnt, and not left over from a random start, which a
    short fine-tuning would never forget and Grad-CAM would show.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        logit: Tensor = self.linear(self.dropout(features.mean((2, 3))))
        return logit.squeeze(1)


class SqueezeExciteHead(nn.Module):
    """A squeeze-and-excitation block, then a `PooledHead`.

    Hu, Shen and Sun, "Squeeze-and-excitation networks", CVPR 2018, equations 2 to 4: each channel is multiplied by
    s = sigmoid(W2 relu(W1 z)), z the channels' global averages. Both layers have a bias, as in the authors' code.
    """

    def __init__(self, channels: int, dropout: float, reduction: int) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, inner)
        self.excite = nn.Linear(inner, channels)
        self.pooled = PooledHead(channels, dropout)

    def forward(self, features: Tensor) -> Tensor:
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(features.mean((2, 3))))))
        logit: Tensor = self.pooled(features * scale[:, :, None, None])
        return logit


class TransformerHead(nn.Module):
    """Locations as tokens through transformer encoder layers, then a `PooledHead` over them.

    Vaswani et al., "Attention is all you need", NeurIPS 2017, with the normalisation first and GELU, as in Dosovitskiy
    et al., "An image is worth 16x16 words", ICLR 2021. Tokens are a 1x1 projection of the features plus `positions`.
    """

    def __init__(self, channels: int, dropout: float, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.pooled = PooledHead(width, dropout)

    def forward(self, features: Tensor) -> Tensor:
        grid = self.project(features)
        grid = grid + positions(grid.shape[1], grid.shape[2], grid.shape[3]).to(grid)
        tokens = self.encoder(grid.flatten(2).mT)
        logit: Tensor = self.pooled(tokens.mT.unflatten(2, grid.shape[2:]))
        return logit


def positions(width: int, rows: int, columns: int) -> Tensor:
    """Fixed sine and cosine positions `(width, rows, columns)`: half of the width for the row, half for the column.

    Vaswani et al., section 3.5, along each axis; `width` is a multiple of 4.
    """
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 4) / (width // 4))
    axes = [torch.arange(count)[:, None] * rates for count in (rows, columns)]
    row, column = (torch.cat([angles.sin(), angles.cos()], dim=1).mT for angles in axes)
    return torch.cat([row[:, :, None].expand(-1, -1, columns), column[:, None].expand(-1, rows, -1)])
