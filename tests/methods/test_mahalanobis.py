from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.mahalanobis import Mahalanobis, MahalanobisOptions, _fit, ledoit_wolf
from unremarkable.methods.registry import make_options

SIZE = (64, 72)


def images(count: int, seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    """Smooth random pictures: neighbouring pixels agree, as in scans."""
    coarse = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size, mode="bilinear")


def make(size: tuple[int, int] = SIZE, pretrained: bool = True, **options: object) -> Mahalanobis:
    torch.manual_seed(0)
    method = Mahalanobis(MahalanobisOptions(**options), size, 1).eval()  # type: ignore[arg-type]
    if pretrained:
        method.prepare()
    return method


@torch.no_grad()
def fit(method: Mahalanobis, normals: Tensor, batch: int = 7) -> Mahalanobis:
    (phase,) = method.phases()
    phase.collect(normals.split(batch))  # type: ignore[union-attr]
    return method


@torch.no_grad()
def stages(method: Mahalanobis, pictures: Tensor) -> list[NDArray[np.float64]]:
    return [stage.double().numpy() for stage in method.backbone(pictures)]


def distance(
    rows: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    away = rows - mean
    return np.sqrt(np.einsum("...i,ij,...j->...", away, np.linalg.inv(covariance), away))


@pytest.mark.parametrize("count", [12, 80])
@torch.no_grad()
def test_score_is_the_sum_of_the_stages_distances(count: int) -> None:
    normals, others = images(count), images(5, seed=1)
    method = fit(make(), normals)
    expected = np.zeros(5)
    for seen, tested in zip(stages(method, normals), stages(method, others), strict=True):
        model = LedoitWolf().fit(seen.mean((2, 3)))
        expected += distance(tested.mean((2, 3)), model.location_, model.covariance_)
    np.testing.assert_allclose(method.predict(others).score, expected, rtol=2e-3)


@torch.no_grad()
def test_map_is_the_sum_of_the_stages_distances_at_each_location() -> None:
    normals, others = images(20), images(3, seed=1)
    method = fit(make(stages=(1, 2)), normals)
    total = np.zeros((3, 1, 8, 9))
    for seen, tested in zip(stages(method, normals), stages(method, others), strict=True):
        rows = seen.transpose(0, 2, 3, 1).reshape(-1, seen.shape[1])
        covariance = np.cov(rows.T, ddof=0)
        covariance = 0.99 * covariance + 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        found = torch.from_numpy(distance(tested.transpose(0, 2, 3, 1), rows.mean(0), covariance))[:, None]
        total += F.interpolate(found, (8, 9), mode="bilinear").numpy()
    np.testing.assert_allclose(method.predict(others).map, total, rtol=2e-3)


@pytest.mark.parametrize(("count", "dimensions"), [(5, 40), (40, 40), (2000, 3)])
def test_covariance_is_that_of_another_library(count: int, dimensions: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, rng.uniform(0.1, 3, dimensions), (count, dimensions))
    rows -= rows.mean(0)
    expected = LedoitWolf(assume_centered=True).fit(rows).covariance_
    np.testing.assert_allclose(ledoit_wolf(torch.from_numpy(rows)), expected, rtol=1e-9, atol=1e-12)


def test_covariance_by_hand() -> None:
    """Rows (±2, 0), (0, ±1): S = diag(2, 1/2), m = 5/4, d² = 2 (3/4)² = 9/8; Σ ‖x‖⁴ = 34, so b̄² = (34/4 - 17/4) / 4.

    b̄² = 17/16 of d² = 18/16: the identity weighs 17/18.
    """
    rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    expected = np.diag([2.0, 0.5]) / 18 + 17 / 18 * 1.25 * np.eye(2)
    np.testing.assert_allclose(ledoit_wolf(rows), expected)


@pytest.mark.parametrize(("components", "kept"), [("pca", [0, 1]), ("npca", [2, 3])])
def test_components_are_those_that_vary_most_or_least(components: str, kept: list[int]) -> None:
    """Variances of about 100, 10, 1 and 0.1: of 111.1 in all the first makes 90 %, the first two 99 %."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, np.sqrt([100, 10, 1, 0.1]), (5000, 4))
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    mean, whitening = _fit(torch.from_numpy(rows @ rotation.T + 7), components, 0.98)  # type: ignore[arg-type]
    assert whitening.shape == (4, 2)
    tested = rng.normal(0, 3, (6, 4))
    found = np.linalg.norm((tested @ rotation.T + 7 - mean.numpy()) @ whitening.numpy(), axis=1)
    part, seen = (tested - rows.mean(0))[:, kept], rows[:, kept]
    model = LedoitWolf().fit(seen)
    np.testing.assert_allclose(found, distance(part, np.zeros(2), model.covariance_), rtol=0.02)


def test_at_least_one_component_is_kept() -> None:
    rows = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert _fit(rows, "npca", 0.99)[1].shape == (2, 1)
    assert _fit(rows, "pca", 0.01)[1].shape == (2, 1)


@torch.no_grad()
def test_any_batch_size_gives_the_same() -> None:
    normals, others = images(30), images(32, seed=1)
    others[:4], others[4] = normals[:4], 0
    method, again = fit(make(), normals), fit(make(), normals, batch=30)
    whole = method.predict(others)
    single = [method.predict(image[None]) for image in others]
    torch.testing.assert_close(torch.cat([p.score for p in single]), whole.score, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(torch.cat([p.map for p in single]), whole.map, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(again.predict(others).score, whole.score, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(again.predict(others).map, whole.map, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_what_is_odd_scores_higher_and_shows_where() -> None:
    size = (128, 128)
    method = fit(make(size), images(40, size=size))
    plain = images(8, 1, size)
    odd = plain.clone()
    odd[:, :, 16:48, 80:112] = torch.tensor([0.0, 1.0]).repeat(16)
    before, after = method.predict(plain), method.predict(odd)
    assert (after.score > before.score).all()
    row, column = divmod(int((after.map - before.map).mean(0).argmax()), 32)
    assert 4 <= row < 12
    assert 20 <= column < 28


@pytest.mark.parametrize("components", ["all", "pca", "npca"])
@torch.no_grad()
def test_identical_normals_have_finite_scores(components: str) -> None:
    for normals in (images(1).repeat(4, 1, 1, 1), torch.zeros(3, 1, *SIZE)):
        method = fit(make(components=components), normals)
        prediction = method.predict(torch.cat([normals[:1], images(1, seed=1)]))
        assert torch.isfinite(prediction.score).all()
        assert torch.isfinite(prediction.map).all()
        assert prediction.score[0] < prediction.score[1]


def test_one_normal_is_refused() -> None:
    with pytest.raises(UsageError, match="mahalanobis needs at least 2 normals"):
        fit(make(pretrained=False), images(1))


def test_options_are_read_from_text_and_refused_where_they_make_no_sense() -> None:
    assert make_options(Mahalanobis, {"stages": "-1"}).stages == (-1,)  # type: ignore[attr-defined]
    assert make_options(Mahalanobis, {"stages": "none"}) == MahalanobisOptions()
    for option in ({"components": "some"}, {"variance": "1"}, {"batch_size": "0"}):
        with pytest.raises(UsageError, match=next(iter(option))):
            make_options(Mahalanobis, option)  # type: ignore[arg-type]


@torch.no_grad()
def test_scores_keep_their_meaning_in_bfloat16() -> None:
    normals, others = images(20), images(8, seed=1)
    plain = fit(make(), normals).predict(others)
    with torch.autocast("cpu", torch.bfloat16):
        half = fit(make(), normals).predict(others)
    for found, expected in ((half.score, plain.score), (half.map, plain.map)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.2, atol=0.05 * float(expected.mean()))
