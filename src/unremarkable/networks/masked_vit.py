"""The asymmetric Vision Transformer of masked auto-encoders: the encoder sees the shown patches only.

He et al., "Masked autoencoders are scalable vision learners", CVPR 2022, section 3 and appendix A.1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from unremarkable.networks.transformer import Attention, Block


class Trunk(NamedTuple):
    """One stack of transformer blocks: numbers in a token, blocks, heads of each attention."""

    width: int
    depth: int
    heads: int


class MaskedViT(nn.Module):
    """Rebuilds all patches of an image from those that are shown.

    Args:
        grid: patches along the height and the width.
        numbers: in a patch, which are its pixels times its channels.
        encoder: works on the shown patches and one token that belongs to no patch.
        decoder: works on all of them, a learnt token in the place of each hidden one.
    """

    positions: Tensor
    decoder_positions: Tensor

    def __init__(self, grid: tuple[int, int], numbers: int, encoder: Trunk, decoder: Trunk) -> None:
        super().__init__()
        self.embed = nn.Linear(numbers, encoder.width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, encoder.width))
        self.blocks = _blocks(encoder)
        self.norm = nn.LayerNorm(encoder.width, eps=1e-6)
        self.decoder_embed = nn.Linear(encoder.width, decoder.width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder.width))
        self.decoder_blocks = _blocks(decoder)
        self.decoder_norm = nn.LayerNorm(decoder.width, eps=1e-6)
        self.head = nn.Linear(decoder.width, numbers)
        self.register_buffer("positions", sine_positions(grid, encoder.width), persistent=False)
        self.register_buffer("decoder_positions", sine_positions(grid, decoder.width), persistent=False)
        self.apply(_initialise)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, patches: Tensor, shown: Tensor) -> Tensor:
        """`(N, L, numbers)`, float32, rebuilt from the patches whose indices `shown` `(N, k)` holds.

        `patches` are `(N, L, numbers)`, row by row; what is not shown has no influence.
        """
        seen = self.embed(_take(patches, shown)) + self.positions[shown]
        tokens = self.blocks(torch.cat([self.cls_token.expand(len(seen), -1, -1), seen], dim=1))
        tokens = self.decoder_embed(self.norm(tokens))
        hidden = self.mask_token.to(tokens.dtype).expand(len(tokens), patches.shape[1], -1)
        places = shown.unsqueeze(2).expand(-1, -1, tokens.shape[2])
        whole = hidden.scatter(1, places, tokens[:, 1:]) + self.decoder_positions
        decoded = self.decoder_blocks(torch.cat([tokens[:, :1], whole], dim=1))
        rebuilt: Tensor = self.head(self.decoder_norm(decoded[:, 1:]))
        return rebuilt.float()


def sine_positions(grid: tuple[int, int], width: int) -> Tensor:
    """`(L, width)`: sines and cosines of a patch's row in the first half, of its column in the second.

    As Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5, write one axis; `width` is a multiple
    of 4.
    """
    frequencies = 10_000 ** -(torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    angles = [axis.flatten().unsqueeze(1) * frequencies for axis in (rows, columns)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


def _blocks(trunk: Trunk) -> nn.Sequential:
    return nn.Sequential(*(Block(trunk.width, Attention(trunk.width, trunk.heads)) for _ in range(trunk.depth)))


def _take(tokens: Tensor, indices: Tensor) -> Tensor:
    """Of `(N, L, C)`, those at `(N, k)`."""
    return tokens.gather(1, indices.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
