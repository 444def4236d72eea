"""f-AnoGAN: its networks, its two phases, and its score."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.f_anogan import FAnoGAN, FAnoGANOptions, _conv, _conv_pool, _frozen, _upsample_conv


def small(size: int = 32, channels: int = 1, **options: float) -> FAnoGAN:
    torch.manual_seed(0)
    return FAnoGAN(FAnoGANOptions(**{"dim": 4, "latent_dim": 6} | options), (size, size), channels)


class Recorder:
    """An `Update` that notes which optimiser moved at which step."""

    def __init__(self, method: FAnoGAN, phase: int) -> None:
        self.phase = method.phases()[phase]
        self.optimizers = self.phase.optimizers()
        self.step, self.log = 0, []

    def __call__(self, optimizer: str, loss: Tensor) -> None:
        self.log.append((self.step, optimizer))
        self.optimizers[optimizer].zero_grad()
        loss.backward()
        self.optimizers[optimizer].step()

    def run(self, images: Tensor, steps: int) -> list[dict[str, Tensor]]:
        losses = []
        for _ in range(steps):
            losses.append(dict(self.phase.step(images, self)))
            self.step += 1
        return losses


def test_fast_convolutions_are_the_plain_ones() -> None:
    torch.manual_seed(0)
    conv, x = _conv(3, 5, 3, gain=2).double(), torch.randn(2, 3, 8, 12, dtype=torch.float64)
    nn.init.normal_(conv.bias)
    torch.testing.assert_close(_conv_pool(x, conv), F.avg_pool2d(conv(x), 2))
    torch.testing.assert_close(_upsample_conv(x, conv), conv(F.interpolate(x, scale_factor=2)))


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_fit_together(size: int, channels: int) -> None:
    method = small(size, channels).eval()
    images = torch.rand(2, channels, size, size)
    latent = method.encoder(images)
    assert latent.shape == (2, 6)
    assert method.generator(latent).shape == images.shape
    assert method.critic(images).shape == (2, 1)
    assert method.critic.features(images).shape == (2, 4 * 4 * 8 * 4)


def test_widths_at_64_are_the_authors() -> None:
    method = FAnoGAN(FAnoGANOptions(), (64, 64), 1)
    assert method.generator.first.weight.shape == (4 * 4 * 8 * 64, 128)
    blocks = [block for block in method.generator.blocks if hasattr(block, "shortcut")]
    assert [(b.shortcut.in_channels, b.shortcut.out_channels) for b in blocks] == [
        (512, 512),
        (512, 256),
        (256, 128),
        (128, 64),
    ]
    blocks = [block for block in method.critic.blocks if hasattr(block, "shortcut")]
    assert [(b.shortcut.in_channels, b.shortcut.out_channels) for b in blocks] == [
        (64, 128),
        (128, 256),
        (256, 512),
        (512, 512),
    ]
    assert not [m for m in method.critic.modules() if isinstance(m, nn.BatchNorm2d)], "the penalty is per image"
    assert [m for m in method.encoder.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("size", [(16, 16), (48, 48), (64, 32), (100, 100), (0, 0)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="f-anogan takes square images"):
        FAnoGAN(FAnoGANOptions(dim=4), size, 1)


@pytest.mark.parametrize("option", ["dim", "n_critic", "gan_epochs"])
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"f-anogan: {option} must be at least 1, not 0"):
        make_options(FAnoGAN, {option: "0"})


def test_published_training_settings() -> None:
    gan, encoder = FAnoGAN(FAnoGANOptions(), (64, 64), 1).phases()
    assert gan.validate is None
    for optimizer in gan.optimizers().values():
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.param_groups[0]["lr"] == 1e-4
        assert optimizer.param_groups[0]["betas"] == (0.0, 0.9)
    (rms,) = encoder.optimizers().values()
    assert isinstance(rms, torch.optim.RMSprop)
    assert (rms.param_groups[0]["lr"], rms.param_groups[0]["alpha"]) == (5e-5, 0.9)
    assert gan.batch_size == encoder.batch_size == 64


def test_the_generator_moves_once_for_n_critic_steps() -> None:
    method = small(n_critic=3)
    update = Recorder(method, 0)
    losses = update.run(torch.rand(4, 1, 32, 32), 7)
    assert [step for step, name in update.log if name == "generator"] == [2, 5]
    assert [step for step, name in update.log if name == "critic"] == list(range(7))
    assert ["generator" in loss for loss in losses] == [False, False, True, False, False, True, False]


def test_penalty_is_zero_for_a_critic_of_slope_one_and_known_for_others() -> None:
    method = small()
    real, fake = torch.rand(5, 1, 32, 32), torch.rand(5, 1, 32, 32)
    for slope, expected in ((1.0, 0.0), (3.0, 4.0)):
        direction = torch.full((1024,), slope / 32)

        class Linear(nn.Module):
            weight = direction

            def forward(self, images: Tensor) -> Tensor:
                return images.flatten(1) @ self.weight

        method.critic = Linear()
        torch.testing.assert_close(method._penalty(real, fake), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_penalty_teaches_the_critic() -> None:
    method = small()
    method._penalty(torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)).backward()
    gradients = [p.grad for p in method.critic.parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) for g in gradients) > 0
    assert all(g.isfinite().all() for g in gradients)
    assert all(p.grad is None for p in method.generator.parameters())


def test_encoder_phase_leaves_generator_and_critic_bit_for_bit() -> None:
    method = small().train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    Recorder(method, 1).run(torch.rand(4, 1, 32, 32), 2)
    changed = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert {key.split(".")[0] for key in changed} == {"encoder"}
    assert all(p.requires_grad for p in method.parameters()), "freezing ends with the step"


def test_frozen_is_undone_by_an_error_too() -> None:
    layer = nn.Linear(2, 2)
    with suppress(RuntimeError), _frozen(layer):
        assert not layer.weight.requires_grad
        raise RuntimeError
    assert layer.weight.requires_grad


@pytest.mark.parametrize("kappa", [0.0, 1.0, 2.5])
def test_score_is_the_izi_f_loss(kappa: float) -> None:
    method = small(channels=3, kappa=kappa).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        prediction = method.predict(images)
        real, rebuilt = 2 * images - 1, 2 * prediction.reconstruction - 1
        for i in range(3):
            pixels = F.mse_loss(rebuilt[i], real[i])
            features = F.mse_loss(method.critic.features(rebuilt[i : i + 1]), method.critic.features(real[i : i + 1]))
            torch.testing.assert_close(prediction.score[i], pixels + kappa * features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(method.phases()[1].validate(images), prediction.score)
    torch.testing.assert_close(prediction.map, (images - prediction.reconstruction).abs().mean(1, keepdim=True))


def test_latent_vectors_lie_within_one() -> None:
    method = small()
    seen: list[Tensor] = []
    method.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    method.eval().predict(100 * torch.rand(2, 1, 32, 32))
    assert seen[0].abs().max() <= 1


def test_encoder_phase_rebuilds_better_step_by_step() -> None:
    method = small(encoder_learning_rate=1e-3, kappa=0.0).train()
    images = F.interpolate(torch.rand(8, 1, 4, 4), scale_factor=8)
    losses = Recorder(method, 1).run(images, 25)
    assert losses[-1]["image"] < losses[0]["image"]
