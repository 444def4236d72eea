"""GANomaly: its losses and its score by hand, and who moves when."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from updates import Watcher

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.ganomaly import GANomaly, GANomalyOptions

GENERATOR = {"encoder", "decoder", "second_encoder"}


def small(channels: int = 1, **options: float) -> GANomaly:
    torch.manual_seed(0)
    chosen = {"generator_width": 4, "discriminator_width": 6, "latent_dim": 5} | options
    return GANomaly(GANomalyOptions(**chosen), (32, 32), channels)


def outputs(method: GANomaly, images: Tensor) -> dict[str, np.ndarray]:
    """What the networks, as they are, make of the images; in training mode, on a copy."""
    m = copy.deepcopy(method)
    with torch.no_grad():
        x = 2 * images - 1
        z = m.encoder(x)
        rebuilt = m.decoder(z)
        again = m.second_encoder(rebuilt)
        f_real, real = m.discriminator(x)
        f_fake, fake = m.discriminator(rebuilt)
    values = {"x": x, "z": z, "rebuilt": rebuilt, "again": again}
    values |= {"f_real": f_real, "f_fake": f_fake, "real": real, "fake": fake}
    return {key: value.double().numpy() for key, value in values.items()}


def test_losses_by_hand() -> None:
    method, images = small(channels=3).train(), torch.rand(4, 3, 32, 32)
    seen = outputs(method, images)
    losses = method._step(images, Watcher(method))
    answers = np.concatenate([seen["real"], -seen["fake"]])
    expected = {
        "adversarial": ((seen["f_real"] - seen["f_fake"]) ** 2).mean(),
        "contextual": np.abs(seen["x"] - seen["rebuilt"]).mean(),
        "encoder": ((seen["z"] - seen["again"]) ** 2).mean(),
        "discriminator": np.log1p(np.exp(-answers)).mean(),
    }
    assert {key: float(loss) for key, loss in losses.items()} == pytest.approx(expected, rel=1e-4)


def test_the_generator_gets_the_gradient_of_the_weighted_sum() -> None:
    options = {"adversarial_weight": 3.0, "contextual_weight": 7.0, "encoder_weight": 2.0}
    method, images = small(**options).train(), torch.rand(4, 1, 32, 32)
    plain = copy.deepcopy(method)
    x = 2 * images - 1
    z = plain.encoder(x)
    rebuilt = plain.decoder(z)
    features, _ = plain.discriminator(x)
    others, _ = plain.discriminator(rebuilt)
    loss = 3 * (features.detach() - others).square().mean() + 7 * (x - rebuilt).abs().mean()
    (loss + 2 * (z - plain.second_encoder(rebuilt)).square().mean()).backward()
    steps = Watcher(method, move=False)
    method._step(images, steps)
    assert {key.split(".")[0] for key in steps.gradients["generator"]} == GENERATOR
    for key, gradient in steps.gradients["generator"].items():
        torch.testing.assert_close(gradient, plain.get_parameter(key).grad, rtol=1e-4, atol=1e-6)


def test_the_discriminator_gets_the_gradient_of_its_cross_entropy() -> None:
    method, images = small().train(), torch.rand(4, 1, 32, 32)
    plain = copy.deepcopy(method)
    with torch.no_grad():
        rebuilt = plain.decoder(plain.encoder(2 * images - 1))
    entropy = nn.BCELoss()
    _, real = plain.discriminator(2 * images - 1)
    _, fake = plain.discriminator(rebuilt)
    loss = entropy(real.sigmoid(), torch.ones(4)) + entropy(fake.sigmoid(), torch.zeros(4))
    (0.5 * loss).backward()
    steps = Watcher(method)
    method._step(images, steps)
    assert {key.split(".")[0] for key in steps.gradients["discriminator"]} == {"discriminator"}
    for key, gradient in steps.gradients["discriminator"].items():
        torch.testing.assert_close(gradient, plain.get_parameter(key).grad, rtol=1e-4, atol=1e-6)


def test_the_generator_moves_first_and_each_moves_alone() -> None:
    method = small().train()
    steps = Watcher(method)
    method._step(torch.rand(4, 1, 32, 32), steps)
    assert steps.order == ["generator", "discriminator"]
    assert steps.moved == {"generator": GENERATOR, "discriminator": {"discriminator"}}


class Sure(nn.Module):
    """A discriminator that answers as it is told: first for real images, then for rebuilt ones."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.layer, self.logit, self.calls = nn.Linear(1, 1), logit, 0

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        answer = self.layer(images.mean((1, 2, 3))[:, None])[:, 0]
        return answer, 0 * answer + (self.logit if self.calls % 2 else -self.logit)


@pytest.mark.parametrize(("logit", "restarts"), [(11.0, 0), (12.0, 1), (50.0, 1)])  # log(1 + exp(-11)) = 1.67e-5
def test_a_discriminator_that_is_sure_starts_anew(logit: float, restarts: int) -> None:
    method = small()
    method.discriminator = Sure(logit)
    before = method.discriminator.layer.weight.detach().clone()
    method.train()._step(torch.rand(4, 1, 32, 32), Watcher(method, move=False))
    assert method.settled() == {"discriminator restarts": restarts}
    assert torch.equal(method.discriminator.layer.weight, before) == (restarts == 0)
    assert method.discriminator.calls == 2, "each batch is judged once"


def test_score_and_map_by_hand() -> None:
    method = small(channels=3)
    for _ in range(3):
        method.train()._step(torch.rand(4, 3, 32, 32), Watcher(method))
    images = torch.rand(3, 3, 32, 32)
    seen = outputs(method.eval(), images)
    with torch.no_grad():
        prediction = method.predict(images)
    expected = ((seen["z"] - seen["again"]) ** 2).mean(1)
    np.testing.assert_allclose(prediction.score.numpy(), expected, rtol=1e-4)
    residual = np.abs(seen["x"] - seen["rebuilt"]).mean(1, keepdims=True) / 2
    np.testing.assert_allclose(prediction.map.numpy(), residual, atol=1e-6)
    np.testing.assert_allclose(prediction.reconstruction.numpy(), (seen["rebuilt"] + 1) / 2, atol=1e-6)


def test_published_settings_and_widths() -> None:
    options = GANomalyOptions()
    assert (options.generator_width, options.discriminator_width, options.latent_dim) == (64, 64, 100)
    assert (options.adversarial_weight, options.contextual_weight, options.encoder_weight) == (1, 50, 1)
    with torch.device("meta"):
        method = GANomaly(options, (256, 256), 3)
        (phase,) = method.phases()
        optimizers = phase.optimizers()
    assert method.encoder.last.weight.shape == (100, 2048 * 4 * 4)
    assert method.discriminator.last.weight.shape == (1, 2048 * 4 * 4)
    for optimizer in optimizers.values():
        assert optimizer.param_groups[0]["lr"] == 2e-4
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.999)
    assert phase.validate is None


def test_options_out_of_range_and_other_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="ganomaly: latent_dim must be at least 1, not 0"):
        make_options(GANomaly, {"latent_dim": "0"})
    with pytest.raises(UsageError, match="ganomaly takes square images of side 16, 32, 64"):
        GANomaly(GANomalyOptions(generator_width=2), (48, 48), 1)
