"""Spectral normalisation: a layer's weight divided by its largest singular value.

Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization


def normalise_spectrally(module: nn.Module) -> None:
    """Put every convolution and linear layer in `module` under it; to be done after their weights are drawn."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            register_parametrization(layer, "weight", SpectralNorm(layer.weight))


class SpectralNorm(nn.Module):
    """Divides a weight `(outputs, ...)`, as a matrix, by its largest singular value.

    The singular vectors are followed by one step of power iteration a pass in training, and stay still in eval mode.
    In float32 under autocast too, unlike torch's own, which multiplies in bfloat16 there on a GPU.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("left", F.normalize(torch.randn(rows), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(columns), dim=0))
        for _ in range(10):
            self._follow(weight.detach().flatten(1))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight whose largest singular value is 1, as far as the vectors are right."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                self._follow(matrix.detach())
            # copies: the next pass moves the vectors before this one's gradient is asked for
            return weight / torch.dot(self.left.clone(), matrix @ self.right.clone())

    @torch.no_grad()
    def _follow(self, matrix: Tensor) -> None:
        self.right.copy_(F.normalize(matrix.T @ self.left, dim=0))
        self.left.copy_(F.normalize(matrix @ self.right, dim=0))
