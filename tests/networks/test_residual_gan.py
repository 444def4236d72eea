"""The convolutions that f-AnoGAN's networks compute faster than they are written."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unremarkable.networks.residual_gan import conv, conv_pool, upsample_conv


def test_fast_convolutions_are_the_plain_ones() -> None:
    torch.manual_seed(0)
    layer, x = conv(3, 5, 3, gain=2).double(), torch.randn(2, 3, 8, 12, dtype=torch.float64)
    nn.init.normal_(layer.bias)
    torch.testing.assert_close(conv_pool(x, layer), F.avg_pool2d(layer(x), 2))
    torch.testing.assert_close(upsample_conv(x, layer), layer(F.interpolate(x, scale_factor=2)))
