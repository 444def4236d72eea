"""MAE: its masks in training and in scoring, its loss, its map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.autoencoder import ssim_map
from unremarkable.methods.mae import MAE, MAEOptions
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings

SMALL = {"patch": 4, "width": 16, "depth": 1, "heads": 2, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}


def small(size: tuple[int, int] = (16, 16), channels: int = 1, **options: object) -> MAE:
    torch.manual_seed(0)
    return MAE(MAEOptions(**SMALL | options), size, channels)


class Constant(nn.Module):
    """Stands for the network: rebuilds every patch as one value, another one in each pass, and notes what it is shown.

    What was shown comes back as 99, so that a test sees where it is used.
    """

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values, self.shown = list(values), []

    def forward(self, patches: Tensor, shown: Tensor) -> Tensor:
        out = torch.full_like(patches, self.values[len(self.shown) % len(self.values)])
        self.shown.append(shown)
        return out.scatter(1, shown.unsqueeze(2).expand(-1, -1, patches.shape[2]), 99)


class Update:
    """Takes a loss and moves nothing."""

    step = 0

    def __call__(self, optimizer: str, loss: Tensor) -> None:
        self.loss = loss


def patch(images: Tensor, index: int, side: int = 4) -> Tensor:
    """Of one-channel images `(N, 1, H, W)`, the patches `(N, side, side)` of one place, counted row by row."""
    row, column = divmod(index, images.shape[3] // side)
    return images[:, 0, row * side : (row + 1) * side, column * side : (column + 1) * side]


@pytest.mark.parametrize(("ratio", "passes"), [(0.5, 2), (0.75, 4), (0.85, 8), (0.94, 16)])
def test_scoring_hides_every_patch_in_all_passes_but_one(ratio: float, passes: int) -> None:
    method = small(mask_ratio=ratio)
    method.network = Constant(0.0)
    method.predict(torch.rand(2, 1, 16, 16))
    assert len(method.network.shown) == passes
    shown = torch.cat([indices[0] for indices in method.network.shown])
    assert sorted(shown.tolist()) == list(range(16)), "each patch is shown once"
    for indices in method.network.shown:
        assert torch.equal(indices[0], indices[1]), "all images share the masks"
        assert abs(indices.shape[1] - method.shown) <= 1, "and a pass shows as much as training does"


def test_no_patch_of_the_reconstruction_is_copied_and_passes_are_averaged() -> None:
    method = small()
    method.network = Constant(-0.8, -0.4, 0.0, 0.4)  # -0.2 in the mean, in [-1, 1]
    prediction = method.predict(torch.zeros(1, 1, 16, 16))
    for index in range(16):
        own = [-0.8, -0.4, 0.0, 0.4][int(method.groups[index])]  # of the pass that showed it
        expected = ((-0.8 - own) / 3 + 1) / 2
        torch.testing.assert_close(patch(prediction.reconstruction, index), torch.full((1, 4, 4), expected))
    torch.testing.assert_close(prediction.map, prediction.reconstruction)
    torch.testing.assert_close(prediction.score, prediction.map.mean((1, 2, 3)))


def test_masks_are_the_same_in_every_model_and_travel_with_it() -> None:
    one, two = small(), small()
    torch.rand(3)
    assert torch.equal(one.groups, MAE(one.options, (16, 16), 1).groups)
    one.groups.fill_(0)
    two.load_weights(one.state_dict())
    assert not two.groups.any()


def test_a_hidden_patch_cannot_rebuild_itself() -> None:
    method = small(mask_ratio=0.5).eval()
    images = torch.rand(1, 1, 16, 16)
    lesion = images.clone()
    patch(lesion, 5)[:] = 1 - patch(lesion, 5)
    with torch.no_grad():
        before, after = method.predict(images).reconstruction, method.predict(lesion).reconstruction
    torch.testing.assert_close(patch(before, 5), patch(after, 5), atol=0, rtol=0)
    assert not torch.equal(before, after), "its neighbours are rebuilt from it"


@pytest.mark.parametrize("norm_pix", [False, True])
def test_loss_is_the_squared_error_of_hidden_patches(norm_pix: bool) -> None:
    method = small(norm_pix=norm_pix)
    method.network = Constant(0.3)
    images, update = torch.rand(3, 1, 16, 16), Update()
    losses = method.phases()[0].step(images, update)
    errors = []
    (shown,) = method.network.shown
    assert shown.shape == (3, 4), "a quarter of 16"
    assert len({tuple(sorted(row)) for row in shown.tolist()}) == 3, "each image has masks of its own"
    for image in range(3):
        for index in set(range(16)) - set(shown[image].tolist()):
            target = 2 * patch(images, index)[image].double().numpy() - 1
            if norm_pix:
                target = (target - target.mean()) / np.sqrt(target.var() + 1e-6)
            errors.append(((0.3 - target) ** 2).mean())
    assert float(update.loss) == pytest.approx(np.mean(errors), rel=1e-5)
    assert float(losses["mse"]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_held_out_loss_is_that_loss_under_the_masks_of_scoring() -> None:
    method = small()
    method.network = Constant(0.0, 0.1, 0.2, 0.3)
    images = torch.rand(2, 1, 16, 16)
    ours = method.phases()[0].validate(images)
    for image in range(2):
        passes = []
        for number, value in enumerate((0.0, 0.1, 0.2, 0.3)):
            hidden = [i for i in range(16) if method.groups[i] != number]
            passes.append(np.mean([((value - (2 * patch(images, i)[image].numpy() - 1)) ** 2).mean() for i in hidden]))
        assert float(ours[image]) == pytest.approx(np.mean(passes), rel=1e-5)


def test_norm_pix_rebuilds_up_to_each_patchs_mean_and_deviation() -> None:
    method = small(norm_pix=True)
    method.network = Constant(0.5)
    images = 0.25 + 0.5 * torch.rand(1, 1, 16, 16)
    rebuilt = method.predict(images).reconstruction
    for index in range(16):
        own = patch(images, index)[0].double().numpy()
        deviation = np.sqrt(own.var() + 1e-6 / 4)  # in [0, 1] everything is half as large
        np.testing.assert_allclose(patch(rebuilt, index)[0], np.full((4, 4), own.mean() + 0.5 * deviation), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_go_back_where_they_came_from(channels: int) -> None:
    method = small((8, 12), channels)
    images = torch.rand(2, channels, 8, 12)

    class Perfect(nn.Module):
        def forward(self, patches: Tensor, shown: Tensor) -> Tensor:
            return patches

    method.network = Perfect()
    prediction = method.predict(images)
    torch.testing.assert_close(prediction.reconstruction, images)
    assert prediction.map.max() < 1e-6


def test_map_is_the_chosen_error() -> None:
    images = torch.rand(2, 3, 16, 16)
    for error in ("l1", "ssim"):
        method = small(channels=3, error=error).eval()
        with torch.no_grad():
            prediction = method.predict(images)
        rebuilt = prediction.reconstruction
        expected = (images - rebuilt).abs() if error == "l1" else 1 - ssim_map(images, rebuilt)
        torch.testing.assert_close(prediction.map, expected.mean(1, keepdim=True))


def test_published_training_settings() -> None:
    method = small(batch_size=64, epochs=1600)
    (phase,) = method.phases()
    (adamw,) = phase.optimizers().values()
    assert isinstance(adamw, torch.optim.AdamW)
    matrices, vectors = adamw.param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.05, 0)
    assert matrices["betas"] == (0.9, 0.95)
    assert matrices["lr"] == vectors["lr"] == pytest.approx(1.5e-4 / 4)
    assert {p.ndim for p in vectors["params"]} == {1}
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(method.parameters()))
    steps = 1600 * 10
    assert phase.rate(399, steps) == 1, "40 epochs of 10 steps"
    assert phase.rate(199, steps) == 0.5
    assert phase.rate(400 + (steps - 400) // 2, steps) == pytest.approx(0.5)
    assert 0 < phase.rate(steps - 1, steps) < 1e-6
    defaults = MAEOptions()
    assert (defaults.width, defaults.depth, defaults.heads, defaults.mask_ratio) == (768, 12, 12, 0.75)
    assert (defaults.decoder_width, defaults.decoder_depth, defaults.decoder_heads) == (512, 8, 16)


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (30, 32), (16, 16), (0, 32)])
def test_sizes_that_patches_do_not_fill_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiples of its patch of 16"):
        small(size, patch=16)


def test_two_patches_are_enough() -> None:
    prediction = small((16, 32), patch=16).eval().predict(torch.rand(1, 1, 16, 32))
    assert prediction.score.isfinite().all()


@pytest.mark.parametrize(
    "text",
    [
        {"patch": "0"},
        {"width": "30"},
        {"width": "20", "heads": "3"},
        {"decoder_heads": "5"},
        {"mask_ratio": "0.4"},
        {"mask_ratio": "1"},
        {"error": "mse"},
        {"base_learning_rate": "0"},
        {"weight_decay": "-1"},
        {"warm_up": "-1"},
        {"patience": "0"},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(MAE, text)


def bars(count: int, seed: int = 0) -> np.ndarray:
    """A bright bar somewhere, so that a few patches tell all the others."""
    centre = np.random.default_rng(seed).uniform(4, 12, (count, 1, 1, 1))
    return np.exp(-((np.arange(16) - centre) ** 2) / 8).repeat(16, 2).astype(np.float32)


def test_it_learns_to_fill_in_what_is_hidden() -> None:
    method = small(width=32, epochs=45, batch_size=16, base_learning_rate=0.05)
    train(method, bars(96), bars(16, 1), TrainSettings(device="cpu", precision="32"))
    test = torch.from_numpy(bars(16, 2))
    with torch.no_grad():
        rebuilt = method.predict(test).reconstruction
    mean_image = torch.from_numpy(bars(96).mean(0))
    assert (rebuilt - test).square().mean() < 0.5 * (mean_image - test).square().mean()


def test_an_interrupted_fit_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainSettings(device="cpu", precision="bf16")
    whole, broken = small(epochs=4, batch_size=4), small(epochs=4, batch_size=4)
    train(whole, bars(8), bars(4, 1), settings)
    step, calls = broken._step, []

    def stop_in_third_epoch(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(broken, "_step", stop_in_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(broken, bars(8), bars(4, 1), settings, run=tmp_path)
    again = small(epochs=4, batch_size=4)
    train(again, bars(8), bars(4, 1), settings, run=tmp_path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in whole.state_dict().items())
