"""f-AnoGAN: its networks, its two phases, and its score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from updates import Watcher

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.f_anogan import FAnoGAN, FAnoGANOptions


def small(size: int = 32, channels: int = 1, **options: float | str) -> FAnoGAN:
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
    assert ["adversarial" in loss for loss in losses] == [False, False, True, False, False, True, False]


def test_critic_and_generator_steps_move_one_network_each() -> None:
    method = small(n_critic=1)
    steps = Watcher(method)
    method.phases()[0].step(torch.rand(4, 1, 32, 32), steps)
    assert steps.order == ["critic", "generator"]
    assert steps.moved == {"critic": {"critic"}, "generator": {"generator"}}


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


def test_critic_and_generator_losses_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    method, images = small(n_critic=1).train(), torch.rand(4, 1, 32, 32)
    drawn = list(torch.randn(2, 4, 6))
    left = iter(drawn)
    monkeypatch.setattr(method, "_noise", lambda like: next(left))
    monkeypatch.setattr(method, "_penalty", lambda real, fake: torch.tensor(0.25))
    with torch.no_grad():
        real = method.critic(2 * images - 1).numpy()
        fake = method.critic(method.generator(drawn[0])).numpy()
    seen: dict[str, float] = {}

    class Noting:
        step = 0

        def __call__(self, optimizer: str, loss: Tensor) -> None:
            seen[optimizer] = float(loss.detach())  # and nothing moves

    losses = method._gan_step(images, Noting())
    with torch.no_grad():
        again = method.critic(method.generator(drawn[1])).numpy()
    assert float(losses["wasserstein"]) == pytest.approx(real.mean() - fake.mean(), abs=1e-5)
    assert seen["critic"] == pytest.approx(fake.mean() - real.mean() + 10 * 0.25, abs=1e-5)
    assert seen["generator"] == float(losses["adversarial"]) == pytest.approx(-again.mean(), abs=1e-4)


@pytest.mark.parametrize("variant", ["izi_f", "izi", "ziz"])
def test_encoder_phase_leaves_generator_and_critic_bit_for_bit(variant: str) -> None:
    method = small(variant=variant).train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    Recorder(method, 1).run(torch.rand(4, 1, 32, 32), 2)
    changed = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert {key.split(".")[0] for key in changed} == {"encoder"}
    assert all(p.requires_grad for p in method.parameters()), "freezing ends with the step"


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


@pytest.mark.parametrize("variant", ["izi_f", "izi"])
def test_encoder_losses_by_hand(variant: str) -> None:
    method, images = small(variant=variant, kappa=0.5), torch.rand(4, 1, 32, 32)
    x = 2 * images - 1
    with torch.no_grad():
        method.eval()
        method.encoder.train()
        rebuilt = method.generator(torch.tanh(method.encoder(x)))
        features = [method.critic.features(part).numpy() for part in (x, rebuilt)]
    losses = {key: float(loss) for key, loss in Recorder(method.train(), 1).run(images, 1)[0].items()}
    izi = ((x.numpy() - rebuilt.numpy()) ** 2).mean()
    matched = ((features[0] - features[1]) ** 2).mean()
    expected = {"encoder": izi, "izi": izi}
    if variant == "izi_f":
        expected = {"encoder": izi + 0.5 * matched, "izi": izi, "adv-fm": matched}
    assert losses == pytest.approx(expected, rel=1e-4)


def test_ziz_goes_from_code_to_code_and_looks_at_no_image() -> None:
    losses = []
    for images in (torch.rand(4, 1, 32, 32), torch.zeros(4, 1, 32, 32)):
        method = small(variant="ziz").train()
        torch.manual_seed(5)
        losses.append(Recorder(method, 1).run(images, 1)[0]["encoder"])
    assert torch.equal(losses[0], losses[1])
    method = small(variant="ziz").eval()
    torch.manual_seed(5)
    latent = torch.randn(4, 6)
    with torch.no_grad():
        generated = method.generator(latent)
        code = method.encoder.train()(generated)
    assert float(losses[0]) == pytest.approx(((latent - code).numpy() ** 2).mean(), rel=1e-4)


def test_scores_of_pixels_and_of_codes_by_hand() -> None:
    images = torch.rand(3, 1, 32, 32)
    for score in ("izi", "z"):
        method = small(score=score, kappa=3.0).eval()
        with torch.no_grad():
            prediction = method.predict(images)
            x, rebuilt = 2 * images - 1, 2 * prediction.reconstruction - 1
            codes = [torch.tanh(method.encoder(part)).numpy() for part in (x, rebuilt)]
        if score == "izi":
            expected = ((x.numpy() - rebuilt.numpy()) ** 2).mean((1, 2, 3))
        else:
            expected = ((codes[0] - codes[1]) ** 2).mean(1)
        np.testing.assert_allclose(prediction.score.numpy(), expected, rtol=1e-3, atol=1e-6)


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
    assert losses[-1]["izi"] < losses[0]["izi"]
