"""Skip-GANomaly: its networks, its losses and its score by hand, and who moves when."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from updates import Watcher

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.skip_ganomaly import SkipGANomaly, SkipGANomalyOptions
from unremarkable.networks.skip_generator import SkipGenerator


def small(channels: int = 1, **options: float) -> SkipGANomaly:
    torch.manual_seed(0)
    chosen = {"generator_width": 3, "discriminator_width": 4} | options
    return SkipGANomaly(SkipGANomalyOptions(**chosen), (32, 32), channels)


def outputs(method: SkipGANomaly, images: Tensor) -> dict[str, np.ndarray]:
    """What the networks, as they are, make of the images; in their mode, on a copy."""
    m = copy.deepcopy(method)
    with torch.no_grad():
        x = 2 * images - 1
        rebuilt = m.generator(x)
        f_real, real = m.discriminator(x)
        f_fake, fake = m.discriminator(rebuilt)
    values = {"x": x, "rebuilt": rebuilt, "f_real": f_real, "f_fake": f_fake, "real": real, "fake": fake}
    return {key: value.double().numpy() for key, value in values.items()}


@pytest.mark.parametrize("side", [16, 32, 64])
def test_the_u_net_goes_down_to_one_pixel_and_back(side: int) -> None:
    network = SkipGenerator(side, 2, 3)
    sides: list[int] = []
    for block in (*network.down, *network.up):
        block.register_forward_hook(lambda _, __, output: sides.append(output.shape[-1]))
    images = torch.rand(2, 2, side, side)
    rebuilt = network(images)
    assert rebuilt.shape == images.shape
    assert rebuilt.abs().max() <= 1
    down = [side // 2**i for i in range(1, side.bit_length())]
    assert sides == [*down, *down[-2::-1]]


def test_each_step_up_is_given_the_features_of_its_size() -> None:
    network = SkipGenerator(16, 1, 2).eval()
    seen: list[Tensor] = []
    for block in network.down:
        block.register_forward_hook(lambda _, __, output: seen.append(output))
    given: list[Tensor] = []
    for block in (*network.up[1:], network.last):
        block.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.no_grad():
        network(torch.rand(1, 1, 16, 16))
    for skip, features in zip(seen[-2::-1], given, strict=True):
        assert features.shape[1] == 2 * skip.shape[1]
        assert torch.equal(features[:, : skip.shape[1]], skip)


def test_losses_by_hand() -> None:
    method, images = small(channels=3).train(), torch.rand(4, 3, 32, 32)
    seen = outputs(method, images)
    losses = method._step(images, Watcher(method))
    believed = 1 / (1 + np.exp(-seen["real"])), 1 / (1 + np.exp(-seen["fake"]))
    expected = {
        "adversarial": -np.log(believed[1]).mean(),
        "contextual": np.abs(seen["x"] - seen["rebuilt"]).mean(),
        "latent": ((seen["f_real"] - seen["f_fake"]) ** 2).mean(),
        "discriminator": -np.log(believed[0]).mean() - np.log(1 - believed[1]).mean(),
    }
    assert {key: float(loss) for key, loss in losses.items()} == pytest.approx(expected, rel=1e-4)


def test_each_network_gets_the_gradient_of_its_own_objective() -> None:
    method = small(adversarial_weight=3.0, contextual_weight=7.0, latent_weight=2.0).train()
    images = torch.rand(4, 1, 32, 32)
    plain, x = copy.deepcopy(method), 2 * images - 1
    rebuilt = plain.generator(x)
    features, _ = plain.discriminator(x)
    others, fake = plain.discriminator(rebuilt)
    entropy = nn.BCEWithLogitsLoss()
    loss = 3 * entropy(fake, torch.ones(4)) + 7 * (x - rebuilt).abs().mean()
    (loss + 2 * (features.detach() - others).square().mean()).backward()
    wanted = {k: p.grad.clone() for k, p in plain.named_parameters() if k.startswith("generator")}
    plain.zero_grad()
    with torch.no_grad():
        rebuilt = copy.deepcopy(method).generator(x)
    _, real = plain.discriminator(x)
    _, fake = plain.discriminator(rebuilt)
    (entropy(real, torch.ones(4)) + entropy(fake, torch.zeros(4))).backward()
    wanted |= {k: p.grad for k, p in plain.named_parameters() if k.startswith("discriminator")}

    steps = Watcher(method, move=False)
    method._step(images, steps)
    for name in ("generator", "discriminator"):
        assert {key.split(".")[0] for key in steps.gradients[name]} == {name}
        for key, gradient in steps.gradients[name].items():
            torch.testing.assert_close(gradient, wanted[key], rtol=1e-3, atol=1e-6)


def test_the_generator_moves_first_and_each_moves_alone() -> None:
    method = small().train()
    steps = Watcher(method)
    method._step(torch.rand(4, 1, 32, 32), steps)
    assert steps.order == ["generator", "discriminator"]
    assert steps.moved == {"generator": {"generator"}, "discriminator": {"discriminator"}}


@pytest.mark.parametrize("share", [0.9, 0.0, 1.0])
def test_score_and_map_by_hand(share: float) -> None:
    method = small(channels=3, score_weight=share).eval()
    images = torch.rand(3, 3, 32, 32)
    seen = outputs(method, images)
    with torch.no_grad():
        prediction = method.predict(images)
    pixels = np.abs(seen["x"] - seen["rebuilt"])
    features = ((seen["f_real"] - seen["f_fake"]) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(prediction.score.numpy(), share * pixels.mean((1, 2, 3)) + (1 - share) * features, 1e-4)
    np.testing.assert_allclose(prediction.map.numpy(), pixels.mean(1, keepdims=True) / 2, atol=1e-6)
    np.testing.assert_allclose(prediction.reconstruction.numpy(), (seen["rebuilt"] + 1) / 2, atol=1e-6)


def test_options_out_of_range_and_other_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="skip-ganomaly: score_weight lies between 0 and 1, not at"):
        make_options(SkipGANomaly, {"score_weight": "1.5"})
    with pytest.raises(UsageError, match="skip-ganomaly takes square images of side 16, 32, 64"):
        SkipGANomaly(SkipGANomalyOptions(generator_width=2), (64, 32), 1)
