"""The denoising autoencoder: its noise, its loss, its map, and that it takes out what it has not learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.dae import DAE, DAEOptions, eroded, median_filter
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings


class Fixed(nn.Module):
    """Gives one image whatever it is given, and remembers that."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image, self.weight = image, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return self.weight * self.image.expand_as(x)


def small(size: tuple[int, int] = (32, 32), channels: int = 1, **options: object) -> DAE:
    torch.manual_seed(0)
    return DAE(DAEOptions(widths=(4, 8), **options), size, channels).eval()


def disc(side: int = 32) -> Tensor:
    """One bright disc on black, `(1, 1, side, side)`."""
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return torch.from_numpy(0.6 * (rows**2 + columns**2 < 0.6)).float()[None, None]


def by_hand_bilinear(coarse: np.ndarray, side: int) -> np.ndarray:
    """Enlarged so that the corners fall on the corners."""
    steps = np.linspace(0, len(coarse) - 1, side)
    tents = np.maximum(0, 1 - np.abs(steps[:, None] - np.arange(len(coarse))))
    return tents @ coarse @ tents.T


def test_noise_is_gaussian_on_a_lattice_enlarged_and_shifted() -> None:
    method = small(grid=5, noise=0.3)
    torch.manual_seed(3)
    noise = method._noise(2, torch.zeros(2, 1, 32, 32))
    torch.manual_seed(3)
    coarse = torch.randn(2, 1, 5, 5).numpy()
    shift = int(torch.randint(32, ())), int(torch.randint(32, ()))
    assert shift != (0, 0)
    for ours, lattice in zip(noise, coarse, strict=True):
        expected = np.roll(0.3 * by_hand_bilinear(lattice[0], 32), shift, (0, 1))
        np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-6)


def test_noise_has_its_standard_deviation_at_the_points_of_the_lattice() -> None:
    method = small(size=(16, 16), grid=16, channels=3)
    torch.manual_seed(0)
    noise = method._noise(64, torch.zeros(64, 3, 16, 16))  # as many points as pixels: nothing is enlarged
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert np.corrcoef(noise[:, 0].flatten(), noise[:, 1].flatten())[0, 1] == pytest.approx(0, abs=0.03)


def test_noise_is_added_to_the_foreground_only() -> None:
    method = small()
    images = disc().repeat(3, 1, 1, 1)
    method.network = Fixed(disc())
    method._loss(images, method._noise(3, images))
    given, inside = method.network.seen, (images > 0)
    assert torch.equal(given[~inside], images[~inside])
    assert (given[inside] != images[inside]).float().mean() > 0.99


def test_loss_is_the_mean_squared_error_of_the_foreground() -> None:
    method = small(channels=3)
    generator = torch.Generator().manual_seed(1)
    images = disc() * torch.rand(2, 3, 32, 32, generator=generator)
    images[1, :, 10:] = 0  # a smaller foreground counts as much
    rebuilt = torch.rand(1, 3, 32, 32, generator=generator)
    method.network = Fixed(rebuilt)
    loss = method._loss(images, torch.zeros(()))
    for i in range(2):
        x, y = images[i].numpy().astype(np.float64), rebuilt[0].numpy()
        inside = x.sum(0) > 0.01
        assert loss[i].item() == pytest.approx(((x - y) ** 2)[:, inside].mean(), rel=1e-5)


def test_an_image_without_foreground_has_no_loss() -> None:
    method = small()
    assert method._loss(torch.zeros(2, 1, 32, 32), method._noise(2, torch.zeros(1))).tolist() == [0, 0]


def test_foreground_and_its_erosion() -> None:
    image = torch.zeros(1, 2, 12, 12)
    image[0, 0, 2:10, 2:10] = 0.006
    image[0, 1, 2:10, 2:10] = 0.005  # together more than 0.01
    image[0, 0, 0, 0] = 0.01
    seen = small(size=(12, 12), channels=2)._foreground(image)
    expected = np.zeros((12, 12), bool)
    expected[2:10, 2:10] = True
    assert np.array_equal(seen[0, 0].numpy(), expected)
    inner = np.zeros((12, 12))
    inner[4:8, 4:8] = 1  # 24 of 25 are more than 95 %: but a border takes five at once
    np.testing.assert_array_equal(eroded(seen)[0, 0].numpy(), inner)
    seen[0, 0, 5, 5] = False
    np.testing.assert_array_equal(eroded(seen)[0, 0].numpy(), inner)
    seen[0, 0, 5, 6] = False
    assert eroded(seen)[0, 0].sum() == 0


def test_the_whole_image_can_be_foreground() -> None:
    method = small(foreground=-1)
    method.network = Fixed(torch.full((1, 1, 32, 32), 0.25))
    with torch.no_grad():
        prediction = method.predict(torch.zeros(1, 1, 32, 32))
    assert prediction.map.unique().tolist() == prediction.score.tolist() == [0.25]


def test_the_border_of_the_image_does_not_erode() -> None:
    assert eroded(torch.ones(1, 1, 9, 9)).min() == 1


@pytest.mark.parametrize("side", [1, 3, 5])
def test_median_filter_is_scipys(side: int) -> None:
    maps = torch.rand(2, 1, 11, 14, generator=torch.Generator().manual_seed(0))
    expected = ndimage.median_filter(maps.numpy(), (1, 1, side, side), mode="mirror")
    np.testing.assert_array_equal(median_filter(maps, side).numpy(), expected)


def test_map_score_and_reconstruction_by_hand() -> None:
    method = small(channels=2)
    generator = torch.Generator().manual_seed(2)
    images = disc() * torch.rand(3, 2, 32, 32, generator=generator)
    rebuilt = 1.4 * torch.rand(1, 2, 32, 32, generator=generator) - 0.2
    method.network = Fixed(rebuilt)
    with torch.no_grad():
        prediction = method.predict(images)
    clipped = np.clip(rebuilt[0].numpy(), 0, 1)
    for i, image in enumerate(images.numpy()):
        inside = image.sum(0) > 0.01
        inner = ndimage.uniform_filter(inside.astype(float), 5) > 0.95  # the disc does not reach the border
        error = (np.abs(image - clipped) * inner).mean(0)
        expected = ndimage.median_filter(error, 5, mode="mirror")
        np.testing.assert_allclose(prediction.map[i, 0].numpy(), expected, atol=1e-6)
        assert prediction.score[i].item() == pytest.approx(expected.mean(), rel=1e-5)
        np.testing.assert_array_equal(prediction.reconstruction[i].numpy(), np.where(inside, clipped, image))


def test_training_settings() -> None:
    (phase,) = small().phases()
    (adam,) = phase.optimizers().values()
    group = adam.param_groups[0]
    assert isinstance(adam, torch.optim.Adam)
    assert (group["lr"], group["weight_decay"], group["amsgrad"]) == (1e-4, 1e-5, True)
    assert phase.batch_size == 16


def test_rate_over_the_published_length_is_the_published_one() -> None:
    rate, steps = small().phases()[0].rate, 2100 * 32
    for step in (0, 1000, 3200, 5000, 6400, 50_000, steps):
        assert rate(step, steps) == pytest.approx((1 + np.cos(np.pi * step / 3200)) / 2, abs=1e-9)
    assert rate(steps, steps) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 100, 3200, 6400, 9000])
def test_rate_of_any_length_starts_full_and_ends_low(steps: int) -> None:
    rate = small().phases()[0].rate
    assert rate(0, steps) == 1
    assert rate(steps, steps) == pytest.approx(0, abs=1e-9)
    if steps <= 6400:
        assert all(rate(step + 1, steps) < rate(step, steps) for step in range(0, steps, 100))


@pytest.mark.parametrize("size", [(30, 32), (2, 32), (32, 33)])
def test_sizes_that_do_not_halve_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="dae with 3 widths takes sides that are multiples of 4"):
        DAE(DAEOptions(widths=(4, 4, 4)), size, 1)


@pytest.mark.parametrize(
    "text",
    [{"widths": "8"}, {"widths": "8,0"}, {"median": "4"}, {"median": "0"}, {"noise": "0"}, {"grid": "1"}],
    ids=str,
)
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(DAE, text)


def test_a_median_wider_than_the_image_is_refused() -> None:
    with pytest.raises(UsageError, match="too wide"):
        small(size=(8, 8), median=17)


def test_it_takes_out_a_spot_and_keeps_what_is_normal() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:32j, -1:1:32j]
    radius = rng.uniform(0.6, 0.9, (48, 1, 1))
    images = (0.6 * (rows**2 + columns**2 < radius**2))[:, None].astype(np.float32)
    method = small(learning_rate=1e-2, epochs=25, batch_size=8, grid=8)
    train(method, images[:40], images[40:], TrainSettings(device="cpu", precision="32"))
    normal = torch.from_numpy(images[40:])
    spot = normal.clone()
    spot[:, :, 12:18, 13:19] -= 0.3
    with torch.no_grad():
        kept, healed = method.predict(normal), method.predict(spot)
    assert kept.score.mean() < 0.5 * healed.score.mean()
    inside = (slice(None), slice(None), slice(12, 18), slice(13, 19))
    assert (healed.reconstruction - normal)[inside].abs().mean() < 0.5 * 0.3
    assert healed.map[inside].mean() > 5 * healed.map.mean()
