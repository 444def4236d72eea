"""The U-Net of weight-standardised convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from unremarkable.networks.unet import StandardisedConv2d, UNet


def test_weights_are_standardised_over_the_inputs_of_each_output() -> None:
    torch.manual_seed(0)
    layer = StandardisedConv2d(3, 2, 3)
    x = torch.randn(1, 3, 3, 3)
    weight, bias = layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy()
    expected = []
    for kernel, offset in zip(weight, bias, strict=True):
        centred = kernel - kernel.mean()
        expected.append((centred / np.sqrt((centred**2).mean() + 1e-5) * x[0].numpy()).sum() + offset)
    np.testing.assert_allclose(layer(x).detach().numpy().ravel(), expected, rtol=1e-4)


def test_standardised_weights_do_not_feel_scale_and_offset() -> None:
    torch.manual_seed(0)
    layer, x = StandardisedConv2d(4, 4, 3), torch.randn(1, 4, 5, 5)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(7).add_(0.3)
    torch.testing.assert_close(layer(x), before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_goes_in_comes_out(channels: int) -> None:
    network = UNet(channels, (4, 8, 16))
    assert network(torch.randn(2, channels, 16, 24)).shape == (2, channels, 16, 24)


def test_layers_of_the_published_depth() -> None:
    network = UNet(4, (64, 128, 256, 512))
    layers = list(network.modules())
    convolutions = [layer for layer in layers if isinstance(layer, StandardisedConv2d)]
    down = [(4, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    up = [(512, 256), (256, 256), (256, 128), (128, 128), (128, 64), (64, 64)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == down + up
    assert sum(isinstance(layer, nn.GroupNorm) for layer in layers) == len(convolutions)
    assert sum(isinstance(layer, nn.SiLU) for layer in layers) == len(convolutions)
    assert [layer.stride for layer in layers if isinstance(layer, nn.ConvTranspose2d)] == [(2, 2)] * 3
    assert (network.last.kernel_size, network.last.out_channels) == ((1, 1), 4)


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    network = UNet(1, (4, 8))
    network(torch.randn(2, 1, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
