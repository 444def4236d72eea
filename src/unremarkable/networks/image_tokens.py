"""Images as sequences of tokens (MONAI's VQ-VAE), and what tells how likely a sequence is.

van den Oord, Vinyals, Kavukcuoglu, "Neural discrete representation learning", NeurIPS 2017 (VQ-VAE).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.networks.tokens import initialise, position
from unremarkable.networks.transformer import Attention, Block

#: features a batch, in the moving mean, below which a code counts as unused
UNUSED = 0.01


class TokenCodec(nn.Module):
    """VQ-VAE: an image becomes a grid of tokens, numbers of the codes nearest to its features, and back.

    Args:
        channels: of the images.
        width: channels inside.
        levels: times that the resolution is halved.
        residuals: residual units at each level.
        codes: in the codebook.
        code_width: numbers in a code.
        decay: of the moving means that the codes follow.
    """

    def __init__(
        self, channels: int, width: int, levels: int, residuals: int, codes: int, code_width: int, decay: float
    ) -> None:
        super().__init__()
        from monai.networks.nets import VQVAE

        self.vqvae = VQVAE(
            spatial_dims=2,
            in_channels=channels,
            out_channels=channels,
            channels=(width,) * levels,
            num_res_channels=width,
            num_res_layers=residuals,
            downsample_parameters=(2, 4, 1, 1),
            upsample_parameters=(2, 4, 1, 1, 0),
            num_embeddings=codes,
            embedding_dim=code_width,
            commitment_cost=0.25,
            decay=decay,
            ddp_sync=False,
        )
        # MONAI holds the codebook as a parameter, but no optimiser moves it: its moving means do.
        book = self.quantizer.embedding
        weight = book.weight.detach()
        del book.weight
        book.register_buffer("weight", weight)

    @property
    def quantizer(self) -> Any:
        """MONAI's quantiser with its codebook; in training mode a call moves the codes."""
        return self.vqvae.quantizer.quantizer

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, C, H, W)` rebuilt, and the commitment loss; in training mode the codes follow what they stand for."""
        features = self._features(images)
        if self.training:
            self._restart(features.detach())
        with torch.autocast(images.device.type, enabled=False):
            quantised, commitment, _ = self.quantizer(features)
        return self.vqvae.decode(quantised).float(), commitment

    def held_out_loss(self, images: Tensor) -> Tensor:
        """Absolute error plus commitment loss `(N,)` of each image; the codes stay."""
        features = self._features(images)
        quantised = self.quantizer.embed(self._nearest(features))
        commitment = self.quantizer.commitment_cost * (quantised - features).square().mean((1, 2, 3))
        error: Tensor = (self.vqvae.decode(quantised).float() - images).abs().mean((1, 2, 3))
        return error + commitment

    def tokens(self, images: Tensor) -> Tensor:
        """`(N, h, w)` int64; the codes stay, in training mode too."""
        return self._nearest(self._features(images))

    def decode(self, tokens: Tensor) -> Tensor:
        """`(N, C, H, W)` of tokens `(N, h, w)`."""
        images: Tensor = self.vqvae.decode(self.quantizer.embed(tokens))
        return images.float()

    def _restart(self, features: Tensor) -> None:
        """Put codes that have stood for nothing of late, at first all, on features drawn at random.

        Random restarts as Dhariwal et al., "Jukebox: a generative model for music", 2020, section 3.1. Where MONAI
        starts them, all features have the same nearest code, which then stands for everything for many steps.
        """
        unused = (self.quantizer.ema_cluster_size < UNUSED).nonzero().flatten()
        if len(unused):
            cells = features.movedim(1, -1).flatten(0, 2)
            drawn = torch.randperm(len(cells), device=cells.device)
            codes = cells[drawn[torch.arange(len(unused), device=cells.device) % len(cells)]]
            self.quantizer.embedding.weight[unused] = codes
            self.quantizer.ema_w[unused] = codes
            self.quantizer.ema_cluster_size[unused] = 1.0

    def _features(self, images: Tensor) -> Tensor:
        features: Tensor = self.vqvae.encode(images)
        return features.float()

    def _nearest(self, features: Tensor) -> Tensor:
        # MONAI leaves autocast on everywhere but on CUDA: in bfloat16, neighbouring codes are as near as each other.
        with torch.autocast(features.device.type, enabled=False):
            indices: Tensor = self.quantizer.quantize(features)[2]
        return indices


class TokenPrior(nn.Module):
    """Decoder-only transformer: the logits of each token of a sequence, given those before it.

    Pre-norm blocks, learnt positions and a norm before the logits, as Radford et al., "Language models are unsupervised
    multitask learners", 2019 (GPT-2), section 2.3.

    Args:
        codes: tokens there are.
        length: of the sequences.
        width: numbers that stand for a token inside.
        depth: blocks.
        heads: of each attention.
    """

    def __init__(self, codes: int, length: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.codes = codes
        self.embedding = nn.Embedding(codes + 1, width)  # and one for the beginning
        self.positions = position(length, width)
        self.blocks = nn.Sequential(*(Block(width, _CausalAttention(width, heads)) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, codes)
        self.apply(initialise)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(N, L, codes)`, float32, of tokens `(N, L)`."""
        before = F.pad(tokens[:, :-1], (1, 0), value=self.codes)
        embedded = self.embedding(before) + self.positions[:, : tokens.shape[1]]
        logits: Tensor = self.head(self.norm(self.blocks(embedded)))
        return logits.float()

    def heal(self, tokens: Tensor, flagged: Tensor) -> Tensor:
        """Flagged tokens `(N, L)` replaced from left to right by the likeliest given all before, healed ones included.

        All flagged places are guessed at once and again, each time from the guesses before, until nothing changes: the
        first of them is right after one pass, the second after two, and most need far fewer. The fixed point is what
        going one by one arrives at (Jacobi's iteration: Song et al., "Accelerating feedforward computation via parallel
        nonlinear equation solving", ICML 2021).
        """
        healed = tokens.clone()
        rows = flagged.any(dim=1).nonzero().flatten()
        for _ in range(int(flagged.sum(dim=1).max())):
            likeliest = self(healed[rows]).argmax(dim=2)
            proposed = torch.where(flagged[rows], likeliest, healed[rows])
            changed = (proposed != healed[rows]).any(dim=1)
            healed[rows] = proposed
            rows = rows[changed]
            if len(rows) == 0:
                break
        return healed


class _CausalAttention(Attention):
    """Of each token to itself and those before it."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
