"""AOT-GAN's networks: the block by hand, borders, and sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

from unremarkable.networks.aot import AOTBlock, Inpainter, PatchDiscriminator, Reflected

from .by_hand import Array, array


def convolved(layer: Reflected, x: Array) -> Array:
    """Of `(C, H, W)`: 3 x 3 taps, some pixels apart, borders mirrored without repeating the border pixel."""
    rate = layer.dilation[0]
    out = np.zeros((layer.out_channels, *x.shape[1:]))
    for o, kernels in enumerate(array(layer.weight)):
        for channel, kernel in zip(x, kernels, strict=True):
            spread = np.zeros((2 * rate + 1, 2 * rate + 1))
            spread[::rate, ::rate] = kernel
            out[o] += correlate(channel, spread, mode="mirror")
    return out + array(layer.bias)[:, None, None]


def test_the_block_by_hand() -> None:
    torch.manual_seed(0)
    block, x = AOTBlock(4, (1, 3)), torch.randn(2, 4, 9, 7)
    with torch.no_grad():
        found = block(x)
    for image, result in zip(array(x), array(found), strict=True):
        reached = np.concatenate([np.maximum(convolved(layer, image), 0) for layer in block.reach])
        gate = convolved(block.gate, image)
        score = (gate - gate.mean((1, 2), keepdims=True)) / (gate.std((1, 2), keepdims=True, ddof=1) + 1e-4)
        gate = 1 / (1 + np.exp(-(10 * score - 5)))
        np.testing.assert_allclose(
            result, (1 - gate) * image + gate * convolved(block.fuse, reached), rtol=1e-3, atol=1e-4
        )


def test_borders_are_those_of_torchs_reflection() -> None:
    torch.manual_seed(0)
    own = Reflected(2, 3, 7, padding=3)
    theirs = torch.nn.Conv2d(2, 3, 7, padding=3, padding_mode="reflect")
    theirs.load_state_dict(own.state_dict())
    x = torch.randn(1, 2, 8, 6)
    torch.testing.assert_close(own(x), theirs(x))


def test_published_sizes() -> None:
    generator, discriminator = Inpainter(1, 64, 8, (1, 2, 4, 8)), PatchDiscriminator(1, 64)
    assert generator.encoder[0].weight.shape == (64, 2, 7, 7)
    assert len(generator.middle) == 8
    assert [layer.weight.shape[0] for layer in generator.middle[0].reach] == [64] * 4
    assert [layer.dilation[0] for layer in generator.middle[0].reach] == [1, 2, 4, 8]
    layers = [layer for layer in discriminator.body if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in layers] == [64, 128, 256, 512]
    assert [layer.stride[0] for layer in layers] == [2, 2, 2, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_ranges(channels: int) -> None:
    torch.manual_seed(0)
    images, mask = torch.rand(2, channels, 40, 48), torch.rand(2, 1, 40, 48)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        filled = Inpainter(channels, 4, 1, (1, 8))(images, mask)
        answers = PatchDiscriminator(channels, 4)(images)
    assert filled.shape == images.shape
    assert filled.abs().max() < 1
    assert answers.shape == mask.shape
    assert filled.dtype == answers.dtype == torch.float32


def test_every_spectrum_but_the_last_is_normalised() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, 4)
    for _ in range(30):  # the singular vectors are followed step by step
        discriminator(torch.rand(1, 1, 32, 32))

    def largest(weight: Tensor) -> float:
        return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))

    for layer in discriminator.eval().body:
        if isinstance(layer, torch.nn.Conv2d):
            assert largest(layer.weight) == pytest.approx(1, abs=0.02)
    assert largest(discriminator.last.weight) < 0.9


def test_a_constant_image_opens_no_gate() -> None:
    torch.manual_seed(0)
    block = AOTBlock(4, (1, 2))
    x = torch.full((1, 4, 8, 8), 0.3)
    closed = torch.sigmoid(torch.tensor(-5.0))
    with torch.no_grad():
        found = block(x)
        fused = block.fuse(torch.cat([torch.relu(layer(x)) for layer in block.reach], dim=1))
    torch.testing.assert_close(found, x + closed * (fused - x), rtol=1e-3, atol=1e-3)
