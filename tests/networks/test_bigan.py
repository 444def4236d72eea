"""The networks of Efficient-GAN."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unremarkable.errors import UsageError
from unremarkable.networks.bigan import Decoder, Encoder, PairDiscriminator, halvings

#: 28 pixels halved twice, grey, width 32, 200 latent numbers: the authors' MNIST
MNIST = ((28, 28), 2, 1, 32, 200)


def weights(network: nn.Module) -> list[tuple[int, ...]]:
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    return [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, kinds)]


def test_networks_on_28_pixels_are_the_authors() -> None:
    assert weights(Encoder(*MNIST)) == [(32, 1, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (200, 7 * 7 * 128)]
    assert weights(Decoder(*MNIST)) == [(1024, 200), (7 * 7 * 128, 1024), (128, 64, 4, 4), (64, 1, 4, 4)]
    assert weights(PairDiscriminator(*MNIST)) == [
        (64, 1, 4, 4),
        (64, 64, 4, 4),
        (512, 200),
        (1024, 7 * 7 * 64 + 512),
        (1, 1024),
    ]


@pytest.mark.parametrize(("size", "count"), [((32, 32), 2), ((60, 60), 2), ((64, 96), 3), ((128, 128), 4)])
def test_larger_images_get_more_layers_and_the_same_grid(size: tuple[int, int], count: int) -> None:
    assert halvings("it", size) == count
    shape = (size, count, 3, 2, 5)
    images = torch.rand(2, 3, *size)
    code = Encoder(*shape).eval()(images)
    assert code.shape == (2, 5)
    assert Decoder(*shape).eval()(code).shape == images.shape
    features, logits = PairDiscriminator(*shape).eval()(images, code)
    assert (features.shape, logits.shape) == ((2, 64), (2,))


@pytest.mark.parametrize(
    ("size", "why"), [((28, 28), "at least 32 pixels"), ((50, 70), "multiples of 4"), ((0, 64), "at least 32 pixels")]
)
def test_sizes_that_do_not_halve_are_refused(size: tuple[int, int], why: str) -> None:
    with pytest.raises(UsageError, match=f"it needs sides that are {why}"):
        halvings("it", size)
