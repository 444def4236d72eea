"""ALAD: its three games, who moves when, and its score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from updates import Watcher

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.alad import ALAD, ALADOptions
from unremarkable.networks.averaged import averaged


def small(channels: int = 1) -> ALAD:
    torch.manual_seed(0)
    return ALAD(ALADOptions(width=4, latent_dim=6), (16, 16), channels)


class Means(nn.Module):
    """A discriminator that can be worked out by hand: its logit weighs the means of the two it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, -1.5]))
        self.seen: list[np.ndarray] = []

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        pair = torch.stack([first.flatten(1).mean(1), second.flatten(1).mean(1)], 1)
        self.seen.append(pair.detach().double().numpy())
        return pair, pair @ self.weight


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.log(1 / (1 + np.exp(-x)))


def convolutions(module: nn.Module) -> list[tuple[int, int, int]]:
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    return [(layer.in_channels, layer.out_channels, layer.kernel_size[0]) for layer in layers]


def test_networks_at_32_are_the_authors() -> None:
    method = ALAD(ALADOptions(width=128), (32, 32), 3)
    down = [(3, 128, 4), (128, 256, 4), (256, 512, 4)]
    assert convolutions(method.encoder) == down
    assert convolutions(method.generator) == [(512, 256, 4), (256, 128, 4), (128, 3, 4)]
    xz, xx, zz = (method.discriminators[name] for name in ("xz", "xx", "zz"))
    assert convolutions(xz) == down
    assert convolutions(xx) == [(6, 64, 5), (64, 128, 5)]
    linear = [
        [(m.in_features, m.out_features) for m in judge.modules() if isinstance(m, nn.Linear)] for judge in (xz, xx, zz)
    ]
    assert sorted(linear[0]) == [(100, 512), (512, 512), (1024, 1), (8704, 1024)]
    assert linear[1] == [(8 * 8 * 128, 1)]
    assert linear[2] == [(200, 64), (64, 32), (32, 1)]


def test_discriminators_and_encoder_are_normalised_but_for_their_last_layers() -> None:
    method = small()
    for network in (method.encoder.blocks, *method.discriminators.values()):
        for name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                assert nn.utils.parametrize.is_parametrized(layer) == (name != "last"), name
    assert not nn.utils.parametrize.is_parametrized(method.encoder.last)
    assert not any(nn.utils.parametrize.is_parametrized(layer) for layer in method.generator.modules())


def test_the_games_are_those_of_the_paper() -> None:
    method = small().train()
    for name in method.discriminators:
        method.discriminators[name] = Means()
    method.average["xx"] = averaged(method.discriminators["xx"])
    update = Watcher(method)
    losses = method.phases()[0].step(torch.rand(4, 1, 16, 16), update)

    told, before = 0.0, np.array([2.0, -1.5])
    fooled = {}
    for name, judge in method.discriminators.items():
        true, false = judge.seen[:2]
        value = log_sigmoid(true @ before).mean() + log_sigmoid(-(false @ before)).mean()
        assert float(losses[f"discriminator {name}"]) == pytest.approx(-value / 2, rel=1e-5)
        told -= value / 2
        after = judge.weight.detach().double().numpy()
        assert not np.allclose(before, after)
        fooled[name] = -log_sigmoid(false @ after).mean()
    xz = method.discriminators["xz"]
    encoder = -log_sigmoid(-(xz.seen[0] @ xz.weight.detach().double().numpy())).mean()
    assert update.losses["discriminators"] == pytest.approx(told, rel=1e-5)
    assert update.losses["generator"] == pytest.approx(encoder + sum(fooled.values()), rel=1e-5)
    for name, loss in (("adversarial", "xz"), ("images", "xx"), ("codes", "zz")):
        assert float(losses[name]) == pytest.approx(fooled[loss], rel=1e-5)
    assert float(losses["encoder"]) == pytest.approx(encoder, rel=1e-5)

    # who is shown to whom: (x, x) and (z, z) are equal pairs, and D_xx's first image is D_xz's real one
    assert np.array_equal(method.discriminators["xx"].seen[0][:, 0], method.discriminators["xx"].seen[0][:, 1])
    assert np.array_equal(method.discriminators["zz"].seen[0][:, 0], method.discriminators["zz"].seen[0][:, 1])
    assert np.array_equal(method.discriminators["xx"].seen[1][:, 0], xz.seen[0][:, 0])
    assert np.array_equal(method.discriminators["zz"].seen[1][:, 0], xz.seen[1][:, 1])


def test_each_step_moves_its_own_networks() -> None:
    method = small().train()
    update = Watcher(method)
    method.phases()[0].step(torch.rand(4, 1, 16, 16), update)
    assert update.moved["discriminators"] == {"discriminators"}
    assert {name.split(".")[1] for name in update.weights["discriminators"]} == {"xz", "xx", "zz"}
    assert update.moved["generator"] == {"encoder", "generator"}
    assert all(parameter.requires_grad for parameter in method.parameters()), "freezing ends with the step"


def test_averages_follow_the_networks_that_score() -> None:
    method = small().train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method.phases()[0].step(torch.rand(4, 1, 16, 16), Watcher(method))
    now = method.state_dict()
    for name, network in (("encoder", "encoder"), ("generator", "generator"), ("xx", "discriminators.xx")):
        for key, parameter in method.get_submodule(network).named_parameters():
            average = f"average.{name}.{key}"
            # at its first step the decay is 1 / 10
            torch.testing.assert_close(now[average], 0.1 * before[average] + 0.9 * parameter.detach())
            assert not torch.equal(now[average], before[average])
        for key, statistics in method.get_submodule(network).named_buffers():
            assert torch.equal(now[f"average.{name}.{key}"], statistics)


def test_encoder_and_generator_learn_from_their_own_half_of_the_first_game() -> None:
    method = small().train()
    real, latent = torch.rand(4, 1, 16, 16), torch.randn(4, 6)
    code, fake = method.encoder(real), method.generator(latent)
    method._ask("xz", {"xz": (real, code)}, detach=False).sum().backward()
    assert method.encoder.last.weight.grad is not None
    assert method.generator.first.weight.grad is None
    method.zero_grad()
    method._ask("xz", {"xz": (fake, latent)}, detach=False).sum().backward()
    assert method.encoder.last.weight.grad is None
    assert method.generator.first.weight.grad is not None


def test_score_is_the_papers() -> None:
    method = small(channels=3).train()
    images = torch.rand(4, 3, 16, 16)
    for _ in range(3):
        method.phases()[0].step(images, Watcher(method))
    method.eval()
    with torch.no_grad():
        prediction = method.predict(images)
        for i in range(4):
            x = 2 * images[i : i + 1] - 1
            rebuilt = method.average["generator"](method.average["encoder"](x))
            torch.testing.assert_close(prediction.reconstruction[i : i + 1], (rebuilt + 1) / 2)
            same, other = (method.average["xx"](x, y)[0].double().numpy() for y in (x, rebuilt))
            assert same.shape == (1, 2 * 4 * 4)
            assert float(prediction.score[i]) == pytest.approx(np.abs(same - other).sum(), rel=1e-3)
    torch.testing.assert_close(prediction.map, (images - prediction.reconstruction).abs().mean(1, keepdim=True))


def test_published_settings() -> None:
    options = ALADOptions()
    assert (options.latent_dim, options.learning_rate, options.batch_size) == (100, 2e-4, 32)
    (phase,) = small().phases()
    assert phase.validate is None
    for optimizer in phase.optimizers().values():
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.999)


@pytest.mark.parametrize("size", [(8, 8), (48, 48), (64, 32)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="alad takes square images"):
        ALAD(ALADOptions(width=4), size, 1)


@pytest.mark.parametrize("name", ["width", "latent_dim", "epochs", "batch_size"])
def test_options_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"alad: {name} must be at least 1"):
        make_options(ALAD, {name: "0"})
