"""The autoencoder: its networks, its three errors, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.autoencoder import Autoencoder, AutoencoderOptions, ssim_map
from unremarkable.networks.perceptual import Perceptual
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings


def pair(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Two batches that share their structure and differ by noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:48, 0:40] / 48
    a = np.stack([np.sin(7 * rows * (i + 1)) * columns for i in range(3 * channels)]).reshape(3, channels, 48, 40)
    a = (a - a.min()) / (a.max() - a.min())
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1)
    return torch.from_numpy(a).float(), torch.from_numpy(b).float()


def test_ssim_is_scikit_images() -> None:
    a, b = pair(channels=2)
    ours = ssim_map(a, b)
    for i in range(3):
        for c in range(2):
            mean, theirs = structural_similarity(
                a[i, c].double().numpy(),
                b[i, c].double().numpy(),
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                full=True,
            )
            inner = ours[i, c, 5:-5, 5:-5].numpy()  # at the borders, scipy repeats the last pixel and torch does not
            np.testing.assert_allclose(inner, theirs[5:-5, 5:-5], atol=1e-4)
            assert inner.mean() == pytest.approx(mean, abs=1e-5)


def test_ssim_of_equal_images_is_one_and_keeps_its_precision_under_autocast() -> None:
    a, b = pair()
    torch.testing.assert_close(ssim_map(a, a), torch.ones_like(a))
    flat = torch.full((1, 1, 16, 16), 0.5)
    torch.testing.assert_close(ssim_map(flat, flat), torch.ones_like(flat))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ssim_map(a, b), ssim_map(a, b).float())
        low = ssim_map(a, b)
    assert torch.equal(low, ssim_map(a, b))


def test_ssim_passes_gradients() -> None:
    a, b = pair()
    b.requires_grad_()
    ssim_map(a, b).mean().backward()
    assert b.grad is not None
    assert b.grad.isfinite().all()
    assert b.grad.abs().sum() > 0


def layers(module: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def test_pooled_is_the_papers_network() -> None:
    method = Autoencoder(AutoencoderOptions(), (64, 48), 3)
    assert len(layers(method.encoder, nn.Conv2d)) == len(layers(method.encoder, nn.MaxPool2d)) == 4
    assert len(layers(method.decoder, nn.ConvTranspose2d)) == 4
    assert [layer.out_features for layer in layers(method, nn.Linear)] == [128, 128 * 4 * 3]
    assert method.encoder(torch.rand(2, 3, 64, 48)).shape == (2, 128)
    assert method.decoder(torch.rand(2, 128)).shape == (2, 3, 64, 48)


def test_strided_is_the_network_of_bergmann() -> None:
    method = Autoencoder(AutoencoderOptions(variant="strided", latent_dim=100, widths=(32, 32, 64, 128)), (128, 128), 1)
    convolutions = layers(method.encoder, nn.Conv2d)
    assert [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == [
        (32, 4, 2),
        (32, 4, 2),
        (32, 3, 1),
        (64, 4, 2),
        (64, 3, 1),
        (128, 4, 2),
        (64, 3, 1),
        (32, 3, 1),
    ]
    assert {layer.negative_slope for layer in layers(method, nn.LeakyReLU)} == {0.2}
    assert not layers(method, nn.Sigmoid)
    # The ninth convolution of the original, 8x8 over the whole 8x8 grid, holds as many weights as this layer.
    assert layers(method.encoder, nn.Linear)[0].weight.numel() == 100 * 32 * 8 * 8
    assert method.decoder(torch.rand(2, 100)).shape == (2, 1, 128, 128)


def test_normed_is_the_network_of_cai() -> None:
    options = AutoencoderOptions(variant="normed", latent_dim=16, hidden=1024, widths=(16, 32, 64, 64))
    method = Autoencoder(options, (64, 64), 1)
    both = layers(method.encoder, nn.Conv2d) + layers(method.decoder, nn.ConvTranspose2d)
    assert [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in both] == [
        (channels, 4, 2) for channels in (16, 32, 64, 64, 64, 32, 16, 1)
    ]
    assert [layer.bias is None for layer in both] == [True] * 7 + [False]
    assert len(layers(method, nn.BatchNorm2d)) == 7
    assert [layer.out_features for layer in layers(method, nn.Linear)] == [1024, 16, 1024, 1024]


@pytest.mark.parametrize("hidden", [0, 12])
def test_spatial_bottleneck_is_a_convolution_of_one_pixel(hidden: int) -> None:
    method = Autoencoder(AutoencoderOptions(bottleneck="spatial", latent_dim=5, hidden=hidden), (64, 48), 1)
    ones = [c for c in layers(method, nn.Conv2d) if c.kernel_size == (1, 1)]
    assert [(c.in_channels, c.out_channels) for c in ones] == (
        [(128, 12), (12, 5), (5, 12), (12, 128)] if hidden else [(128, 5), (5, 128)]
    )
    assert not layers(method, nn.Linear)
    code = method.encoder(torch.rand(2, 1, 64, 48))
    assert code.shape == (2, 5, 4, 3)
    assert method.decoder(code).shape == (2, 1, 64, 48)


def test_perceptual_error_is_that_of_the_frozen_network() -> None:
    torch.manual_seed(0)
    method = Autoencoder(AutoencoderOptions(loss="perceptual", widths=(4, 4, 4, 4), latent_dim=4), (32, 32), 1)
    method.prepare()
    published = Perceptual()
    published.load_pretrained()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        prediction = method.eval().predict(images)
        expected = published.maps(images, prediction.reconstruction)
    torch.testing.assert_close(prediction.map, expected)
    torch.testing.assert_close(prediction.score, expected.mean((1, 2, 3)))
    (adam,) = method.phases()[0].optimizers().values()
    moved = {id(p) for group in adam.param_groups for p in group["params"]}
    assert moved == {id(p) for part in (method.encoder, method.decoder) for p in part.parameters()}
    loss, _ = method.train().losses(images)
    loss.backward()
    assert all(p.grad is None for p in method.distance.parameters())
    assert all(p.grad is not None for p in method.encoder.parameters())


def test_perceptual_error_needs_32_pixels() -> None:
    with pytest.raises(UsageError, match="at least 32"):
        Autoencoder(AutoencoderOptions(loss="perceptual"), (16, 32), 1)


@pytest.mark.parametrize("size", [(8, 8), (100, 96), (96, 100), (0, 16)])
def test_sizes_that_do_not_halve_four_times_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiples of 16"):
        Autoencoder(AutoencoderOptions(), size, 1)


@pytest.mark.parametrize(
    "text", [{"widths": "8,8"}, {"widths": "8,8,8,0"}, {"latent_dim": "0"}, {"loss": "mae"}, {"hidden": "-1"}]
)
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(Autoencoder, text)


def test_training_settings() -> None:
    (phase,) = Autoencoder(AutoencoderOptions(), (16, 16), 1).phases()
    (adam,) = phase.optimizers().values()
    assert isinstance(adam, torch.optim.Adam)
    assert adam.param_groups[0]["lr"] == 1e-3
    assert (phase.batch_size, phase.epochs, phase.patience) == (32, 100, 10)
    assert phase.plateau < phase.patience, "a rate that never falls before the end is no schedule"


@pytest.mark.parametrize("loss", ["mse", "ssim", "l1"])
def test_map_is_the_error_that_is_trained_on(loss: str) -> None:
    torch.manual_seed(0)
    method = Autoencoder(AutoencoderOptions(loss=loss), (32, 32), 3).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        prediction = method.predict(images)
        held_out = method.phases()[0].validate(images)
    difference = images - prediction.reconstruction
    expected = {
        "mse": difference.square(),
        "l1": difference.abs(),
        "ssim": 1 - ssim_map(images, prediction.reconstruction),
    }[loss]
    torch.testing.assert_close(prediction.map, expected.mean(1, keepdim=True))
    torch.testing.assert_close(prediction.score, prediction.map.mean((1, 2, 3)))
    torch.testing.assert_close(held_out, prediction.score)


@pytest.mark.parametrize("options", [{}, {"variant": "strided", "loss": "ssim"}], ids=str)
def test_it_learns_more_than_the_mean_image(options: dict[str, str]) -> None:
    rng = np.random.default_rng(0)
    columns = np.arange(32)
    centre = rng.uniform(8, 24, (64, 1, 1, 1))
    images = np.exp(-((columns - centre) ** 2) / 30).repeat(32, 2).astype(np.float32)  # a bar that wanders
    method = Autoencoder(
        AutoencoderOptions(
            **options, widths=(8, 16, 16, 16), latent_dim=8, learning_rate=3e-3, epochs=30, batch_size=16
        ),
        (32, 32),
        1,
    )
    train(method, images[:48], images[48:], TrainSettings(device="cpu", precision="32"))
    test = torch.from_numpy(images[48:])
    with torch.no_grad():
        rebuilt = method.predict(test).reconstruction
    mean_image = torch.from_numpy(images[:48].mean(0))
    assert (rebuilt - test).square().mean() < 0.3 * (mean_image - test).square().mean()
