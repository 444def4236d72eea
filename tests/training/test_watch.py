"""The look after training: each failure is found in a method that has it, and in no other."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import SGD
from training_toys import Options, Toy, make

from unremarkable.methods.autoencoder import Autoencoder, AutoencoderOptions
from unremarkable.methods.base import Adversary, Collect, Phase, Prediction, Update
from unremarkable.training.batches import Labelled
from unremarkable.training.history import History
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings
from unremarkable.training.watch import scrambled

SETTINGS = TrainSettings(seed=1, device="cpu", precision="32")


def scans(count: int, seed: int = 0, side: int = 16) -> NDArray[np.float32]:
    """Bright ellipses on black, no two the same."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    height, width, level = rng.uniform(0.5, 0.9, (3, count, 1, 1))
    inside = ((rows / height) ** 2 + (columns / width) ** 2 < 1) * level
    return np.clip(inside + rng.normal(0, 0.02, inside.shape), 0, 1)[:, None].astype(np.float32)


class Rebuilding(Toy):
    """Learns nothing, and rebuilds images as `rebuild` says."""

    name = "toy-rebuilding"

    def __init__(self, options: Options, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.register_buffer("mean", torch.from_numpy(scans(32)).mean(0))

    def phases(self) -> list[Phase | Collect]:
        return [Collect("look", 4, lambda batches: None)]

    def rebuild(self, images: Tensor) -> Tensor:
        """Ellipses come back without their noise; what is no ellipse comes back as one."""
        level = images.amax((1, 2, 3), keepdim=True)
        return 0.5 * (self.mean > 0.3) * level + 0.5 * images.round() * level

    def predict(self, images: Tensor) -> Prediction:
        rebuilt = self.rebuild(images)
        error = (images - rebuilt).square()
        return Prediction(error, error.mean((1, 2, 3)), rebuilt)


class Constant(Rebuilding):
    def rebuild(self, images: Tensor) -> Tensor:
        """The mean picture, and a hundredth of what tells the image from it."""
        return self.mean + 0.01 * (images - self.mean)


class Copying(Rebuilding):
    def rebuild(self, images: Tensor) -> Tensor:
        return 0.98 * images


class Blurring(Rebuilding):
    def rebuild(self, images: Tensor) -> Tensor:
        """Copies, but for the finest detail; around the corner, as the spectrum has it."""
        return (images + images.roll(1, -1) + images.roll(1, -2) + images.roll((1, 1), (-2, -1))) / 4


class Poor(Rebuilding):
    def rebuild(self, images: Tensor) -> Tensor:
        """As far from any image as from a texture."""
        return 1 - images


class Broken(Rebuilding):
    def rebuild(self, images: Tensor) -> Tensor:
        return torch.full_like(images, float("nan"))


def warnings_of(cls: type[Toy], images: object = None, held_out: object = None) -> list[str]:
    history = train(make(cls), scans(12) if images is None else images, held_out, SETTINGS)
    return history.warnings


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Constant, "one and the same picture (they differ by 1.0% of what the images do)"),
        (Copying, "a texture that shows nothing is rebuilt as well as a normal image"),
        (Blurring, "a texture that shows nothing is rebuilt as well as a normal image"),
        (Poor, "normal images are rebuilt worse than by their mean picture"),
        (Broken, "not finite numbers"),
    ],
)
def test_each_failure_is_said_with_what_to_try(cls: type[Rebuilding], said: str) -> None:
    (warning,) = warnings_of(cls)
    assert said in warning
    assert "; try " in warning
    assert "\n" not in warning


def test_a_method_without_reconstructions_is_not_accused() -> None:
    class Plain(Rebuilding):
        def predict(self, images: Tensor) -> Prediction:
            return Prediction(images, images.mean((1, 2, 3)))

    assert warnings_of(Plain) == []


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_equal_images_accuse_nobody(count: int) -> None:
    assert warnings_of(Copying, np.repeat(scans(1), count, axis=0)) == []


def test_an_autoencoder_that_has_learnt_is_not_accused() -> None:
    torch.manual_seed(0)
    options = AutoencoderOptions(
        widths=(4, 8, 8, 8), latent_dim=8, epochs=40, batch_size=8, learning_rate=1e-2, patience=40
    )
    method = Autoencoder(options, (32, 32), 1)
    assert train(method, scans(32, side=32), scans(6, seed=1, side=32), SETTINGS).warnings == []


def test_held_out_normals_are_looked_at_and_no_abnormal_image() -> None:
    seen: list[Tensor] = []

    class Noting(Rebuilding):
        def rebuild(self, images: Tensor) -> Tensor:
            seen.append(images)
            return super().rebuild(images)

    method, normals, abnormal = make(Noting), scans(5, seed=3), np.ones((4, 1, 16, 16), np.float32)
    train(method, scans(12), normals, SETTINGS)
    np.testing.assert_array_equal(seen[0].numpy(), normals)
    seen.clear()
    object.__setattr__(method, "options", _Labelled())
    both = Labelled(np.concatenate([abnormal, normals]), np.repeat(np.float32([1, 0]), [4, 5]))
    train(method, both, both, SETTINGS)
    np.testing.assert_array_equal(seen[0].numpy(), normals)


class _Labelled(Options):
    @property
    def needs_labels(self) -> bool:
        return True


class Playing(Toy):
    """An adversarial phase whose discriminator's loss runs as `losses` say, an epoch each."""

    name = "toy-playing"
    losses: tuple[float, ...] = ()
    adversary = Adversary("discriminator", blind=math.log(2), sure=0.0)

    def __init__(self, options: Options, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def phases(self) -> list[Phase | Collect]:
        def optimizers() -> Mapping[str, SGD]:
            return {"sgd": SGD([self.weight], lr=0.1)}

        return [Phase("gan", len(self.losses), 12, optimizers, self._step, adversaries=(self.adversary,))]

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        update("sgd", self.weight.square().sum())
        return {"discriminator": torch.tensor(self.losses[update.step])}


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ((0.69, 0.70, 0.693), "never told real images from generated ones"),
        ((0.69, 0.5, 0.693), None),  # it has told them apart once: this is the end of a good game
        ((0.5, 0.1, 0.0004), "the discriminator has won (phase 'gan', loss 'discriminator' at 0.0004)"),
        ((0.5, 0.0004, 0.4), None),
        ((0.6, 0.3), None),
    ],
)
def test_a_discriminator_that_is_blind_or_sure_is_named(losses: tuple[float, ...], said: str | None) -> None:
    cls = type("P", (Playing,), {"losses": losses})
    found = warnings_of(cls)
    assert (said is None and found == []) or (len(found) == 1 and said in found[0])


@pytest.mark.parametrize(("losses", "count"), [((0.002, -0.001), 1), ((3.0, 0.0), 0), ((40.0, 60.0), 0)])
def test_a_critic_that_sees_no_distance_is_named(losses: tuple[float, ...], count: int) -> None:
    cls = type("P", (Playing,), {"losses": losses, "adversary": Adversary("discriminator", blind=0.0)})
    assert len(warnings_of(cls)) == count


def test_a_texture_has_the_spectrum_of_its_image_and_is_always_the_same() -> None:
    images = torch.from_numpy(0.3 + 0.2 * scans(16, side=32))  # far from 0 and 1, so that nothing is clipped
    textures = scrambled(images)
    power = [np.abs(np.fft.fft2(part.double().numpy())) for part in (images, textures)]
    np.testing.assert_allclose(power[1], power[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(textures.mean((1, 2, 3)), images.mean((1, 2, 3)), rtol=1e-5)
    pairs = zip(images.flatten(1), textures.flatten(1), strict=True)
    assert abs(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs])) < 0.3, "nothing of the pictures is left"
    assert torch.equal(scrambled(images), textures)


def test_the_history_keeps_what_was_found() -> None:
    history = History(warnings=["something is wrong"])
    assert History.from_dict(history.to_dict()) == history
    assert History.from_dict({"phases": []}).warnings == []
