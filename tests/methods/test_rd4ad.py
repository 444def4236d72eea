"""RD4AD: its equations by hand, and what may move and what may not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Phase
from unremarkable.methods.rd4ad import RD4AD, RD4ADOptions
from unremarkable.methods.registry import make_options, method_class

SIDE = 64


def build(size: tuple[int, int] = (SIDE, SIDE), **options: Any) -> RD4AD:
    torch.manual_seed(0)
    return RD4AD(RD4ADOptions(**options), size, 1)


def images(count: int) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def pairs(method: RD4AD, batch: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    taught = method.teacher(batch)
    learnt = method.student(method.bottleneck(taught))
    return [(t.double().numpy(), s.double().numpy()) for t, s in zip(taught, learnt, strict=True)]


def equation_1(t: np.ndarray, s: np.ndarray) -> np.ndarray:
    return 1 - (t * s).sum(1) / np.sqrt((t**2).sum(1) * (s**2).sum(1))


def test_is_registered_and_reads_its_options_from_text() -> None:
    assert method_class("rd4ad") is RD4AD
    assert make_options(RD4AD, {"loss": "global", "sigma": "0"}) == RD4ADOptions(loss="global", sigma=0.0)


def test_loss_by_hand() -> None:
    """Eq. 2: the mean of eq. 1 over locations, summed over stages."""
    method = build().eval()
    batch = images(2)
    expected = sum(equation_1(t, s).mean((1, 2)) for t, s in pairs(method, batch))
    with torch.no_grad():
        np.testing.assert_allclose(method.loss(batch), expected, rtol=1e-5)


def test_global_loss_by_hand() -> None:
    """The authors' code: each stage of an image is one vector."""
    method = build(loss="global").eval()
    batch = images(2)
    expected = sum(equation_1(t.reshape(2, -1), s.reshape(2, -1)) for t, s in pairs(method, batch))
    with torch.no_grad():
        np.testing.assert_allclose(method.loss(batch), expected, rtol=1e-5)


@pytest.mark.parametrize("stages", [(1, 2, 3), (3,)], ids=str)
def test_map_and_score_by_hand(stages: tuple[int, ...]) -> None:
    """Eq. 3, smoothed, and its maximum."""
    method = build(stages=stages).eval()
    batch = images(2)
    total = np.zeros((2, SIDE, SIDE))
    for number, (t, s) in enumerate(pairs(method, batch), start=1):
        if number in stages:
            distance = torch.from_numpy(equation_1(t, s))[:, None]
            total += F.interpolate(distance, (SIDE, SIDE), mode="bilinear").numpy()[:, 0]
    expected = np.stack([gaussian_filter(each, 4) for each in total])
    with torch.no_grad():
        prediction = method.predict(batch)
    np.testing.assert_allclose(prediction.map[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(prediction.score, expected.max((1, 2)), atol=1e-5)
    assert prediction.reconstruction is None


def test_bottleneck_and_student_learn_and_the_teacher_does_not() -> None:
    method = build().train()
    assert not method.teacher.training
    before = {key: value.clone() for key, value in method.state_dict().items()}
    (phase,) = method.phases()
    assert isinstance(phase, Phase)
    (optimizer,) = phase.optimizers().values()
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"]) == (0.005, (0.5, 0.999))

    def update(_: str, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(2):
        phase.step(images(4), update)  # type: ignore[arg-type]
    still = {key for key, value in method.state_dict().items() if torch.equal(value, before[key])}
    assert {key for key in before if key.startswith("teacher.")} <= still
    moving = {key for key in before if not key.startswith("teacher.")}
    assert not moving & still, "every parameter and every batch norm's statistics take part"


def test_features_for_figures_share_a_grid() -> None:
    method = build().eval()
    with torch.no_grad():
        taught, learnt = method.feature_pairs(images(2))
    assert taught.shape == learnt.shape == (2, 24 + 40 + 112, 4, 4)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"loss": "euclidean"}, "unknown loss"),
        ({"stages": ()}, "among 1, 2 and 3"),
        ({"stages": (0, 1)}, "among 1, 2 and 3"),
        ({"sigma": -1.0}, "sigma"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"backbone": "timm:resnet26"}, "has no mirror"),
        ({"size": (32, 64)}, "at least 64"),
        ({"size": (80, 96)}, "that 32 divides"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build(**options)
