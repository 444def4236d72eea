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


class Gradient(Method):
    """A score that is the gradient of 8 x 8 by 8 x 2 numbers, as that of a search through a latent space."""

    name, paper, family, reduction = "gradient", "2026", "test", "own"

    def __init__(self, options: Options, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.layer = torch.nn.Linear(8, 2, bias=False)

    def phases(self) -> list[Phase]:
        return []

    def predict(self, images: Tensor) -> Prediction:
        with torch.enable_grad():
            inputs = images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.layer(inputs).sum(), inputs)
        return Prediction(gradient, gradient.mean((1, 2, 3)))


def test_a_gradient_within_a_score_counts() -> None:
    # There and back: a product of 8 x 8 by 8 x 2 and one of 8 x 2 by 2 x 8. The weights' own gradient is not asked for.
    assert flops(Gradient(Options(), (8, 8), 1)) == 2 * (2 * 8 * 8 * 2)
