"""DDPM: its loss, its way there and back, the running mean of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.diffusion import DDPM, DDPMOptions
from unremarkable.networks.averaged import averaged
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings


def small(size: tuple[int, int] = (16, 16), channels: int = 1, **options: object) -> DDPM:
    torch.manual_seed(0)
    return DDPM(DDPMOptions(**{"widths": (8, 16), "blocks": 1, "attention": (), **options}), size, channels).eval()


class Fixed(nn.Module):
    """Estimates the same noise for every image, and remembers what it was asked."""

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise, self.asked = noise, []

    def forward(self, noisy: Tensor, levels: Tensor) -> Tensor:
        self.asked.append((noisy.clone(), levels.tolist()))
        return self.noise.expand_as(noisy)


class Update:
    """What the loop gives to a step."""

    def __init__(self, optimizers: dict[str, torch.optim.Optimizer]) -> None:
        self.step, self.optimizers = 0, optimizers

    def __call__(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()


def kept(level: int) -> float:
    return float(np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:level]))


def test_loss_by_hand() -> None:
    method, generator = small(channels=2), torch.Generator().manual_seed(0)
    images, noise = torch.rand(2, 2, 2, 16, 16, generator=generator).unbind(0)
    network = Fixed(torch.full((1, 2, 16, 16), 0.3))
    loss = method._loss(network, images, torch.tensor([10, 900]), noise)
    ((noisy, levels),) = network.asked
    assert levels == [9, 899], "the network counts from 0"
    for i, level in enumerate((10, 900)):
        expected = kept(level) ** 0.5 * (2 * images[i] - 1) + (1 - kept(level)) ** 0.5 * noise[i]
        torch.testing.assert_close(noisy[i], expected, rtol=1e-4, atol=1e-5)
        assert loss[i].item() == pytest.approx(((0.3 - noise[i]) ** 2).mean().item(), rel=1e-5)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_there_and_back_by_hand(eta: float) -> None:
    method = small(start=20, calls=2, eta=eta, trained=20)
    method.average = Fixed(torch.full((1, 1, 16, 16), 0.1))
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        prediction = method.predict(images)
    generator = torch.Generator().manual_seed(0)
    noise, fresh = (torch.randn(1, 1, 16, 16, generator=generator).numpy() for _ in range(2))
    clean = 2 * images.numpy() - 1
    noisy = kept(20) ** 0.5 * clean + (1 - kept(20)) ** 0.5 * noise
    asked = method.average.asked
    assert [levels for _, levels in asked] == [[19] * 3, [9] * 3]
    np.testing.assert_allclose(asked[0][0].numpy(), noisy, atol=1e-5)
    for now, then in ((20, 10), (10, 0)):
        image = np.clip((noisy - (1 - kept(now)) ** 0.5 * 0.1) / kept(now) ** 0.5, -1, 1)
        rest = (noisy - kept(now) ** 0.5 * image) / (1 - kept(now)) ** 0.5
        sigma = eta * ((1 - kept(then)) / (1 - kept(now)) * (1 - kept(now) / kept(then))) ** 0.5
        noisy = kept(then) ** 0.5 * image + (1 - kept(then) - sigma**2) ** 0.5 * rest + sigma * fresh
    error = ((clean - noisy) ** 2).mean(1, keepdims=True)
    np.testing.assert_allclose(prediction.map.numpy(), error, atol=1e-4)
    np.testing.assert_allclose(prediction.score.numpy(), error.mean((1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(prediction.reconstruction.numpy(), (noisy + 1) / 2, atol=1e-5)


def test_runs_have_noises_of_their_own_and_are_averaged() -> None:
    method = small(start=100, calls=1, runs=2, trained=100)
    method.average = Fixed(torch.zeros(1, 1, 16, 16))
    images = torch.full((1, 1, 16, 16), 0.5)
    both = method.predict(images).reconstruction
    first, second = ((method._restored(2 * images - 1, seed) + 1) / 2 for seed in (0, 1))
    assert not torch.equal(first, second)
    torch.testing.assert_close(both, (first + second) / 2)


def test_a_network_that_knows_the_noise_gives_the_image_back() -> None:
    method = small(start=250, calls=5)
    method.average = Fixed(torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    images = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(method.predict(images).reconstruction, images, rtol=1e-3, atol=1e-4)


def test_levels_are_drawn_from_those_that_are_trained() -> None:
    method = small(trained=3, start=3, calls=1)
    method.network = Fixed(torch.zeros(1, 1, 16, 16, requires_grad=True))
    method.average = averaged(method.network)
    torch.manual_seed(0)
    for _ in range(10):
        method._step(torch.rand(8, 1, 16, 16), Update({"adam": torch.optim.SGD([method.network.noise], 0.0)}))
    assert {level for _, levels in method.network.asked for level in levels} == {0, 1, 2}


def test_the_running_mean_warms_up_and_is_what_scores() -> None:
    method = small(ema=0.3)
    update = Update(method._optimizers())
    before = method.average.start.weight.clone()
    for decay in (0.1, 2 / 11, 0.25, 0.3, 0.3):  # min(0.3, (1 + step) / (10 + step))
        old = method.average.end[2].weight.clone()
        method._step(torch.rand(4, 1, 16, 16), update)
        update.step += 1
        expected = decay * old + (1 - decay) * method.network.end[2].weight
        torch.testing.assert_close(method.average.end[2].weight, expected)
    assert not torch.equal(before, method.average.start.weight)
    first = method.predict(torch.full((1, 1, 16, 16), 0.4)).score
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.zero_()
    assert torch.equal(method.predict(torch.full((1, 1, 16, 16), 0.4)).score, first)


def test_training_settings() -> None:
    (phase,) = small().phases()
    (adam,) = phase.optimizers().values()
    assert isinstance(adam, torch.optim.AdamW)
    assert (adam.param_groups[0]["lr"], adam.param_groups[0]["weight_decay"]) == (1e-4, 0)
    (parameter, *_) = adam.param_groups[0]["params"]
    parameter.grad = torch.full_like(parameter, 1e3)
    adam.step()
    assert parameter.grad.norm().item() == pytest.approx(1, rel=1e-4), "gradients are clipped"


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (32, (1, 2, 3, 4)),
        (64, (1, 2, 3, 4)),
        (128, (1, 1, 2, 3, 4)),
        (256, (1, 1, 2, 2, 4, 4)),
        (512, (1, 1, 2, 2, 4, 4)),
    ],
)
def test_published_widths(size: int, widths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        network = DDPM(DDPMOptions(), (size, size), 1).network
    assert network.start.out_channels == 128
    found = [stage.conv1.out_channels // 128 for stage in network.down if stage.scale == 1][::2]
    assert tuple(found) == widths


def test_sizes_that_do_not_halve_are_refused() -> None:
    with pytest.raises(
        UsageError, match="ddpm with 2 widths takes sides that are multiples of 2, 4 at least; not 16x15"
    ):
        small(size=(16, 15))


@pytest.mark.parametrize(
    "text",
    [
        {"calls": "251"}, {"start": "0"}, {"start": "900", "trained": "800"}, {"trained": "1001"}, {"eta": "1.1"},
        {"ema": "1"}, {"widths": "5,8"}, {"widths": ""}, {"heads": "0"}, {"runs": "0"},
    ],
    ids=str,
)  # fmt: skip
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(DDPM, text)


def test_an_interrupted_training_goes_on_with_the_same_running_mean(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((6, 1, 16, 16), np.float32)
    settings = TrainSettings(device="cpu", precision="32")
    whole = small(epochs=2, batch_size=3)
    train(whole, images, None, settings)
    cut = small(epochs=2, batch_size=3)
    stop_in_epoch(cut, 2)
    with pytest.raises(KeyboardInterrupt):
        train(cut, images, None, settings, run=tmp_path)
    resumed = small(epochs=2, batch_size=3)
    train(resumed, images, None, settings, run=tmp_path)
    ours, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def stop_in_epoch(method: DDPM, epoch: int) -> None:
    """As if the user pressed Ctrl-C in the first step of that epoch; two steps an epoch."""
    step = method._step

    def interrupted(images: Tensor, update: Update) -> object:
        if update.step == 2 * (epoch - 1):
            raise KeyboardInterrupt
        return step(images, update)

    method._step = interrupted  # type: ignore[method-assign]
