"""The networks that the adversarial methods share."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unremarkable.errors import UsageError
from unremarkable.networks.dcgan import (
    Decoder,
    Discriminator,
    Encoder,
    _down,
    discriminator_loss,
    frozen,
    initialise,
    pyramid,
    require_side,
    signed,
    unsigned,
)


@pytest.mark.parametrize(("side", "widths"), [(16, [3, 6]), (64, [3, 6, 12, 24]), (256, [3, 6, 12, 24, 48, 96])])
def test_the_width_doubles_until_the_side_is_four(side: int, widths: list[int]) -> None:
    assert pyramid(side, 3) == widths
    encoder, decoder = Encoder(side, 2, 3, 5), Decoder(side, 2, 3, 5)
    images = torch.rand(2, 2, side, side)
    assert encoder.features(images).shape == (2, widths[-1], 4, 4)
    assert encoder(images).shape == (2, 5)
    convolutions = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
    mirrored = [layer for layer in decoder.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert [c.out_channels for c in convolutions] == widths
    assert [c.in_channels for c in mirrored] == widths[::-1]
    assert all(c.kernel_size == (4, 4) and c.stride == (2, 2) and c.bias is None for c in convolutions + mirrored)
    rebuilt = decoder(torch.randn(2, 5))
    assert rebuilt.shape == images.shape
    assert rebuilt.abs().max() <= 1


def test_batch_norm_is_everywhere_but_in_the_first_layer_of_the_encoder() -> None:
    down = type(_down(1, 1))
    kinds = [type(layer) for layer in Encoder(32, 1, 4, 6).blocks]
    assert kinds == [down, nn.LeakyReLU, *2 * [down, nn.BatchNorm2d, nn.LeakyReLU]]
    kinds = [type(layer) for layer in Decoder(32, 1, 4, 6).blocks]
    layers = [nn.BatchNorm2d, nn.ReLU, *2 * [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]]
    assert kinds == [*layers, nn.ConvTranspose2d, nn.Tanh]


def test_the_linear_ends_are_the_four_by_four_convolutions_of_the_paper() -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(16, 1, 3, 5).double().eval(), Decoder(16, 1, 3, 5).double().eval()
    images, latent = torch.rand(2, 1, 16, 16, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    kernel = encoder.last.weight.view(5, 6, 4, 4)
    torch.testing.assert_close(F.conv2d(encoder.features(images), kernel).flatten(1), encoder(images))
    kernel = decoder.first.weight.T.reshape(5, 6, 4, 4)
    grid = F.conv_transpose2d(latent.view(2, 5, 1, 1), kernel)
    torch.testing.assert_close(decoder.blocks(grid), decoder(latent))


def test_a_discriminator_gives_features_and_logits_in_float32_from_one_pass() -> None:
    discriminator = Discriminator(32, 1, 4)
    images = torch.rand(3, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        features, logits = discriminator(images)
    assert features.shape == (3, 16, 4, 4)
    assert logits.shape == (3,)
    assert features.dtype == logits.dtype == torch.float32
    features, logits = discriminator.eval()(images)
    torch.testing.assert_close(logits, features.flatten(1) @ discriminator.last.weight[0])


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    encoder = Encoder(32, 1, 32, 50)
    nn.init.ones_(encoder.blocks[3].bias)
    initialise(encoder)
    for weight in (encoder.blocks[2].weight.detach(), encoder.last.weight.detach()):
        assert abs(float(weight.mean())) < 1e-3
        assert float(weight.std()) == pytest.approx(0.02, rel=0.03)
    norm = encoder.blocks[6]
    assert float(norm.weight.detach().mean()) == pytest.approx(1, abs=0.01)
    assert float(norm.weight.detach().std()) == pytest.approx(0.02, rel=0.3)
    assert not encoder.blocks[3].bias.any()


def test_cross_entropy_by_hand() -> None:
    real, fake = np.array([0.3, -1.2, 40.0]), np.array([-0.7, 2.0, -40.0])

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    expected = 0.5 * (-np.log(sigmoid(real)).mean() - np.log(sigmoid(-fake)).mean())
    assert float(discriminator_loss(torch.from_numpy(real), torch.from_numpy(fake))) == pytest.approx(
        expected, rel=1e-12
    )
    assert float(discriminator_loss(torch.zeros(4), torch.zeros(4))) == pytest.approx(np.log(2))
    assert torch.isfinite(discriminator_loss(torch.tensor([-1e4]), torch.tensor([1e4])))


def test_frozen_weights_get_no_gradient_but_let_it_through() -> None:
    layer, x = nn.Linear(2, 2), torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    with suppress(RuntimeError), frozen(layer):
        raise RuntimeError
    assert layer.weight.requires_grad, "freezing ends with an error too"


def test_ranges() -> None:
    images = torch.tensor([0.0, 0.25, 1.0])
    assert signed(images).tolist() == [-1.0, -0.5, 1.0]
    assert unsigned(signed(images)).tolist() == images.tolist()
    assert unsigned(torch.tensor([-1.0, 1.0], dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("size", [(8, 8), (48, 48), (64, 32), (0, 0), (100, 100)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="some-gan takes square images of side 16, 32, 64"):
        require_side("some-gan", size)
    assert require_side("some-gan", (256, 256)) == 256


@pytest.mark.parametrize("side", [4, 8, 16])
def test_the_matrix_product_on_small_grids_is_the_convolution(side: int) -> None:
    torch.manual_seed(0)
    layer = _down(3, 5)
    images = torch.randn(2, 3, side, side, requires_grad=True)
    slow = F.conv2d(images, layer.weight, stride=2, padding=1)
    weights = torch.randn_like(slow)
    wanted = torch.autograd.grad((slow * weights).sum(), (images, layer.weight))
    fast = layer(images)
    got = torch.autograd.grad((fast * weights).sum(), (images, layer.weight))
    torch.testing.assert_close(fast, slow)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)
