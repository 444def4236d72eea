from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import Adam
from training_toys import AutoencoderToy, GanToy, make, pictures, same

from unremarkable.errors import UsageError
from unremarkable.methods.base import Phase, Update
from unremarkable.training.learner import Learner
from unremarkable.training.machine import Machine, arrange, make_fabric

CPU = Machine("cpu", "32")
BF16 = Machine("cpu", "bf16")
IMAGES = pictures(10)


def learner_of(method: AutoencoderToy | GanToy, machine: Machine = CPU, phase: int = 0) -> Learner:
    chosen = method.phases()[phase]
    assert isinstance(chosen, Phase)
    return Learner(method, chosen, machine, make_fabric(machine))


def heard(images: int, losses: Mapping[str, float] | None) -> None:
    """A listener that says nothing."""


def test_an_epoch_is_what_a_plain_loop_does() -> None:
    method, plain = make(AutoencoderToy), make(AutoencoderToy)
    batches = [np.arange(0, 4), np.arange(4, 10)]
    torch.manual_seed(0)
    losses = learner_of(method).epoch(1, IMAGES, batches, None, heard)

    torch.manual_seed(0)
    optimizer, seen = Adam(plain.parameters(), lr=0.01), []
    plain.train()
    for rows in batches:
        loss = plain.loss(torch.from_numpy(IMAGES[rows])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert same(method, plain)
    assert losses == {"mse": pytest.approx((4 * seen[0] + 6 * seen[1]) / 10)}  # a mean over images, not over batches


def test_held_out_loss_is_the_mean_over_images_in_eval_mode() -> None:
    method = make(AutoencoderToy, batch_size=4)
    loss = learner_of(method).held_out_loss(IMAGES)
    method.eval()
    with torch.no_grad():
        assert loss == pytest.approx(float(method.loss(torch.from_numpy(IMAGES)).mean()), rel=1e-5)
    assert set(method.modes) == {("validate", False)}


@pytest.mark.parametrize("machine", [CPU, BF16])
def test_gradient_penalties_train_a_critic(machine: Machine) -> None:
    method = make(GanToy, lr=0.01)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    arrange(method, machine.layout)
    torch.manual_seed(0)
    learner = learner_of(method, machine)
    penalties = [
        learner.epoch(number, IMAGES, [np.arange(5), np.arange(5, 10)], None, heard)["penalty"]
        for number in range(1, 16)
    ]
    assert penalties[-1] < 0.3 * penalties[0]
    assert all(value.dtype == torch.float32 for value in method.parameters())
    changed = {
        name.split(".")[0] for name, value in method.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"generator", "critic"}
    assert method.steps[:5] == [(0, False), (1, True), (2, False), (3, True), (4, False)]


def test_a_critic_never_uses_the_gradients_that_its_generator_left() -> None:
    method = make(GanToy)
    learner = learner_of(method)
    method.critic.requires_grad_(True)
    torch.manual_seed(0)
    learner.step(torch.from_numpy(IMAGES))
    for parameter in method.critic.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)  # what a generator's loss might leave
    clean = make(GanToy)
    twin = learner_of(clean)
    torch.manual_seed(0)
    twin.step(torch.from_numpy(IMAGES))
    for each in (learner, twin):
        torch.manual_seed(1)
        each.step(torch.from_numpy(IMAGES))
    assert same(method, clean)


def test_learning_rate_falls_after_epochs_without_improvement() -> None:
    learner = learner_of(make(AutoencoderToy, lr=0.1, plateau=1))
    rates = []
    for loss in [3.0, 2.0, 2.0, 2.0, 1.9999, 2.5, 2.5]:
        learner.settle(loss)
        rates.append(learner.lr["adam"])
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001])
    constant = learner_of(make(AutoencoderToy, lr=0.1))
    for loss in [1.0, 2.0, 3.0, 4.0]:
        constant.settle(loss)
    assert constant.lr == {"adam": 0.1}


def test_a_loss_that_diverges_is_one_line() -> None:
    method = make(AutoencoderToy)
    with pytest.raises(UsageError, match=r"phase 'autoencoder' diverged in epoch 3: loss 'mse' is nan; try a lower"):
        learner_of(method).epoch(3, np.full_like(IMAGES, np.nan), [np.arange(4)], None, heard)
    with pytest.raises(UsageError, match=r"the held-out loss is (inf|nan)"):
        learner_of(method).held_out_loss(np.full_like(IMAGES, 3e38))


def test_a_weight_that_diverges_is_one_line_even_if_no_loss_shows_it() -> None:
    method = make(AutoencoderToy)
    learner = learner_of(method, BF16)
    learner.settle(None)
    with torch.no_grad():
        method.decoder.weight[0, 0, 0, 0] = float("inf")
    with pytest.raises(UsageError, match="a weight is nan; try a lower learning rate or precision 32"):
        learner.settle(None)


def test_losses_that_not_every_step_reports_are_averaged_over_those_that_do() -> None:
    method = make(AutoencoderToy)

    def step(images: Tensor, update: Update) -> Mapping[str, Tensor]:
        value = torch.tensor(float(update.step))
        return {"always": value} | ({"odd": value} if update.step % 2 else {})

    phase = Phase("toy", 1, 2, lambda: {"adam": Adam(method.parameters())}, step)
    learner = Learner(method, phase, CPU, make_fabric(CPU))
    batches = [np.arange(start, start + 2) for start in range(0, 8, 2)]
    assert learner.epoch(1, IMAGES, batches, None, heard) == {"always": 1.5, "odd": 2.0}


def test_progress_hears_every_image_and_the_last_means() -> None:
    said: list[tuple[int, Mapping[str, float] | None]] = []
    batches = [np.array([n % 10, (n + 1) % 10]) for n in range(45)]
    losses = learner_of(make(AutoencoderToy)).epoch(
        1, IMAGES, batches, None, lambda images, means: said.append((images, means))
    )
    assert sum(images for images, _ in said) == 90
    assert [number for number, (_, means) in enumerate(said, start=1) if means] == [20, 40, 45]
    assert said[-1][1] == losses
