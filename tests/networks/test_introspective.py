"""Encoder and decoder of introspective autoencoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from unremarkable.networks.introspective import Code, Decoder, Encoder, unmoved, unrecorded


@pytest.mark.parametrize(("size", "channels"), [((32, 32), 1), ((48, 32), 3)])
def test_shapes(size: tuple[int, int], channels: int) -> None:
    encoder, decoder = Encoder((4, 6, 8), 5, size, channels), Decoder((4, 6, 8), 5, size, channels)
    code = encoder(torch.rand(2, channels, *size))
    assert code.mean.shape == code.log_variance.shape == (2, 5)
    assert [tuple(e.shape[1:]) for e in code.embeddings] == [
        (width, size[0] // 2**i, size[1] // 2**i) for i, width in enumerate((4, 6, 8), start=1)
    ]
    images = decoder(code.mean)
    assert images.shape == (2, channels, *size)
    assert images.min() >= 0
    assert images.max() <= 1


def test_published_networks() -> None:
    widths = (64, 128, 256, 512, 512)
    encoder, decoder = Encoder(widths, 128, (128, 128), 1), Decoder(widths, 128, (128, 128), 1)
    assert encoder.project.weight.shape == (256, 512 * 4 * 4)
    kernels = [(c.in_channels, c.out_channels) for c in encoder.modules() if isinstance(c, nn.Conv2d)]
    # a shortcut where the width changes, then two convolutions
    assert kernels[:4] == [(1, 64), (64, 128), (64, 128), (128, 128)]
    assert kernels[-4:] == [(512, 512)] * 4
    kernels = [(c.in_channels, c.out_channels) for c in decoder.modules() if isinstance(c, nn.Conv2d)]
    assert kernels[-6:] == [(128, 64), (128, 64), (64, 64), (64, 64), (64, 64), (64, 1)]


def test_divergence_by_hand() -> None:
    code = Code(torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.tensor([[0.0, np.log(4.0)], [0.0, 0.0]]), ())
    # 1/2 (1 + 1 - 0 - 1) + 1/2 (4 + 4 - log 4 - 1); and nothing for the standard normal
    torch.testing.assert_close(code.divergence(), torch.tensor([0.5 + 3.5 - 0.5 * np.log(4.0), 0.0]))


def test_samples_have_the_code_s_mean_and_variance() -> None:
    torch.manual_seed(0)
    code = Code(torch.tensor([3.0, -1.0]).repeat(20000, 1), torch.log(torch.tensor([4.0, 0.25])).repeat(20000, 1), ())
    drawn = code.sample()
    torch.testing.assert_close(drawn.mean(0), torch.tensor([3.0, -1.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.var(0), torch.tensor([4.0, 0.25]), atol=0.1, rtol=0)


def test_unrecorded_normalises_by_the_batch_and_keeps_the_statistics() -> None:
    norm, x = nn.BatchNorm2d(2), 3 * torch.rand(4, 2, 5, 5) + 1
    with unrecorded(norm):
        y = norm(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    assert norm.running_mean.eq(0).all()
    assert norm.num_batches_tracked == 0
    norm(x)
    assert norm.num_batches_tracked == 1


def test_unmoved_lets_gradients_through_and_ends_with_its_block() -> None:
    layer, x = nn.Linear(2, 1), torch.rand(3, 2, requires_grad=True)
    with unmoved(layer):
        layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    assert layer.weight.requires_grad
