"""STFPM: the paper's distances by hand, and what may move and what may not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Phase
from unremarkable.methods.registry import make_options, method_class
from unremarkable.methods.stfpm import STFPM, STFPMOptions, distances

SIDE = 64


def build(size: tuple[int, int] = (SIDE, SIDE), **options: Any) -> STFPM:
    torch.manual_seed(0)
    return STFPM(STFPMOptions(**options), size, 1)


def images(count: int) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def by_hand(taught: Tensor, learnt: Tensor) -> np.ndarray:
    """The paper's l(I) at each location, in float64."""
    t, s = taught.double().numpy(), learnt.double().numpy()
    t /= np.sqrt((t**2).sum(1, keepdims=True))
    s /= np.sqrt((s**2).sum(1, keepdims=True))
    return 0.5 * ((t - s) ** 2).sum(1)


@torch.no_grad()
def stage_distances(method: STFPM, batch: Tensor) -> list[np.ndarray]:
    return [by_hand(t, s) for t, s in zip(method.teacher(batch), method.student(batch), strict=True)]


def test_is_registered_and_reads_its_options_from_text() -> None:
    assert method_class("stfpm") is STFPM
    assert make_options(STFPM, {"stages": "1,2", "combine": "sum"}) == STFPMOptions(stages=(1, 2), combine="sum")


def test_distances_of_vectors_worked_out_on_paper() -> None:
    """(3, 4) and (6, 8) point the same way; (1, 0) and (0, 1) are half of 2 apart; opposite ones half of 4."""
    a = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0]]).view(3, 2, 1, 1)
    b = torch.tensor([[6.0, 8.0], [0.0, 2.0], [-5.0, 0.0]]).view(3, 2, 1, 1)
    torch.testing.assert_close(distances(a, b).flatten(), torch.tensor([0.0, 1.0, 2.0]))


def test_loss_is_the_mean_over_locations_summed_over_stages() -> None:
    method = build().eval()
    batch = images(2)
    expected = sum(d.mean((1, 2)) for d in stage_distances(method, batch))
    with torch.no_grad():
        np.testing.assert_allclose(method.loss(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("combine", ["product", "sum"])
def test_map_and_score_by_hand(combine: str) -> None:
    method = build(combine=combine).eval()
    batch = images(2)
    maps = [
        F.interpolate(torch.from_numpy(d)[:, None], (SIDE, SIDE), mode="bilinear").numpy()
        for d in stage_distances(method, batch)
    ]
    expected = maps[0] * maps[1] * maps[2] if combine == "product" else maps[0] + maps[1] + maps[2]
    with torch.no_grad():
        prediction = method.predict(batch)
    np.testing.assert_allclose(prediction.map, expected, rtol=1e-4)
    np.testing.assert_allclose(prediction.score, expected.reshape(2, -1).max(1), rtol=1e-4)
    assert prediction.reconstruction is None


def test_a_student_that_knows_everything_finds_nothing() -> None:
    method = build().eval()
    method.student.load_state_dict(method.teacher.state_dict())
    with torch.no_grad():
        assert method.predict(images(2)).map.max() < 1e-6


def test_the_student_is_built_as_the_teacher_and_alone_learns() -> None:
    method = build().train()
    taught = {key: value.clone() for key, value in method.teacher.state_dict().items()}
    shapes = {key: value.shape for key, value in taught.items()}
    assert shapes == {key: value.shape for key, value in method.student.state_dict().items()}
    assert any(not torch.equal(taught[key], value) for key, value in method.student.state_dict().items())

    (phase,) = method.phases()
    assert isinstance(phase, Phase)
    (optimizer,) = phase.optimizers().values()
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.4, 0.9, 1e-4)
    losses = []

    def update(_: str, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    for _ in range(4):
        phase.step(images(4), update)  # type: ignore[arg-type]
    assert losses[-1] < losses[0]
    assert not method.teacher.training
    assert all(torch.equal(taught[key], value) for key, value in method.teacher.state_dict().items())


def test_features_for_figures_share_a_grid() -> None:
    method = build(backbone="resnet18").eval()
    with torch.no_grad():
        taught, learnt = method.feature_pairs(images(2))
    assert taught.shape == learnt.shape == (2, 64 + 128 + 256, 4, 4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"combine": "maximum"}, "unknown combine"),
        ({"epochs": 0}, "epochs must be positive"),
        ({"momentum": 1.0}, "momentum"),
        ({"stages": (7,)}, "has stages 0 to 3"),
        ({"stages": ()}, "at least one"),
        ({"backbone": "alexnet"}, "unknown backbone"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build(**options)


def test_images_too_small_for_the_coarsest_stage_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 32 × 32"):
        build(size=(16, 64))
