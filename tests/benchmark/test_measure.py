"""What a cell costs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unremarkable.benchmark.measure import flops
from unremarkable.methods.base import Method, Options, Phase, Prediction


class Attention(Method):
    """8 tokens of 8 numbers that look at each other."""

    name, paper, family, reduction = "attention", "2026", "test", "max"

    def phases(self) -> list[Phase]:
        return []

    def predict(self, images: Tensor) -> Prediction:
        tokens = images.reshape(1, 1, 8, 8)
        return Prediction(F.scaled_dot_product_attention(tokens, tokens, tokens), torch.zeros(1))


def test_attention_counts() -> None:
    # Two products of 8 x 8 by 8 x 8, a multiplication and an addition each.
    assert flops(Attention(Options(), (8, 8), 1)) == 2 * 2 * 8 * 8 * 8
