from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.padim import PaDiM, PaDiMOptions
from unremarkable.methods.registry import make_options

SIZE = (32, 40)


def images(count: int, seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    """Smooth random pictures: neighbouring pixels agree, as in scans."""
    coarse = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear")


def make(size: tuple[int, int] = SIZE, pretrained: bool = True, seed: int = 0, **options: object) -> PaDiM:
    torch.manual_seed(seed)
    method = PaDiM(PaDiMOptions(**options), size, 1).eval()  # type: ignore[arg-type]
    if pretrained:
        method.prepare()
    return method


@torch.no_grad()
def fit(method: PaDiM, normals: Tensor, batch: int = 7) -> PaDiM:
    (phase,) = method.phases()
    phase.collect(normals.split(batch))  # type: ignore[union-attr]
    return method


@torch.no_grad()
def embedding(method: PaDiM, pictures: Tensor) -> NDArray[np.float64]:
    """`(N, h, w, d)`: each location with the coarser ones over it, then the drawn channels; in float64."""
    first, *coarser = (stage.double().numpy() for stage in method.backbone(pictures))
    parts = [first]
    for stage in coarser:
        factor = first.shape[2] // stage.shape[2]
        parts.append(stage.repeat(factor, 2).repeat(factor, 3)[:, :, : first.shape[2], : first.shape[3]])
    return np.concatenate(parts, 1)[:, method.chosen.numpy()].transpose(0, 2, 3, 1)


@pytest.mark.parametrize("count", [8, 60])
@torch.no_grad()
def test_map_and_score_are_those_of_the_equations(count: int) -> None:
    """With fewer normals than dimensions, and with more."""
    size = (32, 64)
    normals, others = images(count, size=size), images(3, 1, size)
    method = fit(make(size, dimensions=30), normals)
    seen, tested = embedding(method, normals), embedding(method, others)
    unit = np.sqrt((seen**2).mean())
    seen, tested = seen / unit, tested / unit
    expected = np.empty(tested.shape[:3])
    for y in range(8):
        for x in range(16):
            covariance = np.cov(seen[:, y, x].T, ddof=1) + 0.01 * np.eye(30)  # eq. 1
            away = tested[:, y, x] - seen[:, y, x].mean(0)
            expected[:, y, x] = np.sqrt(np.einsum("nd,de,ne->n", away, np.linalg.inv(covariance), away))  # eq. 2
    large = torch.nn.functional.interpolate(torch.from_numpy(expected)[:, None], size, mode="bilinear")[:, 0].numpy()
    smooth = np.stack([gaussian_filter(one, 4, mode="reflect") for one in large])
    prediction = method.predict(others)
    np.testing.assert_allclose(prediction.map[:, 0], smooth, rtol=1e-3)
    np.testing.assert_allclose(prediction.score, smooth.max((1, 2)), rtol=1e-3)


@torch.no_grad()
def test_by_hand() -> None:
    """One location, two dimensions: normals (0,0), (2,0), (0,2), (2,2) have mean (1,1) and covariance 4/3 I."""
    method = make(pretrained=False, dimensions=2, epsilon=0.5)
    rows = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]])
    shift = rows[:, :1] - 5
    away = rows - shift
    method._settle(shift, away.mean(1, keepdim=True), away.mT @ away, 4)
    # The mean square is 2: at unit scale the variances are 2/3 + 1/2 = 7/6, and (1,3), (0,2) away, lies (0, √2) away.
    white = (torch.tensor([1.0, 3.0]) - method.mean) @ method.whitening[0].T
    assert white.norm().item() == pytest.approx(np.sqrt(2 / (7 / 6)), rel=1e-6)


@torch.no_grad()
def test_the_unit_of_the_features_does_not_matter() -> None:
    """Their size enters neither the distance nor what epsilon means."""
    distances = []
    for factor in (1.0, 1000.0):
        method = make(pretrained=False, dimensions=20)
        rows = factor * (3 + torch.randn(4, 50, 20, generator=torch.Generator().manual_seed(0)))
        shift = rows[:, :1]
        away = rows - shift
        method._settle(shift, away.mean(1, keepdim=True), away.mT @ away, 50)
        distances.append(((rows - method.mean) @ method.whitening.mT).norm(dim=2))
    torch.testing.assert_close(*distances, rtol=1e-3, atol=0)


def test_channels_are_drawn_by_the_seed_and_saved() -> None:
    one, same, other = (make(pretrained=False, seed=seed).chosen for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len(one.unique()) == 100
    assert 0 <= int(one.min()) < int(one.max()) < 24 + 40 + 112
    assert "chosen" in make(pretrained=False).state_dict()
    assert make(pretrained=False, dimensions=1000).chosen.tolist() == list(range(176))


@torch.no_grad()
def test_any_batch_size_gives_the_same() -> None:
    normals, others = images(30), images(32, seed=1)
    others[:4], others[4] = normals[:4], 0
    method, again = fit(make(dimensions=40), normals), fit(make(dimensions=40), normals, batch=30)
    whole = method.predict(others)
    single = [method.predict(image[None]) for image in others]
    torch.testing.assert_close(torch.cat([p.map for p in single]), whole.map, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.predict(others).map, whole.map, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_what_is_odd_scores_higher_and_shows_where() -> None:
    size = (128, 128)
    method = fit(make(size, dimensions=30), images(40, size=size))
    plain = images(8, 1, size)
    odd = plain.clone()
    odd[:, :, 16:48, 80:112] = torch.tensor([0.0, 1.0]).repeat(16)
    before, after = method.predict(plain), method.predict(odd)
    assert (after.score > before.score).all()
    row, column = divmod(int((after.map - before.map).mean(0).argmax()), 128)
    assert 16 <= row < 48
    assert 80 <= column < 112


@torch.no_grad()
def test_identical_normals_have_finite_scores() -> None:
    for normals in (images(1).repeat(4, 1, 1, 1), torch.zeros(3, 1, *SIZE)):
        prediction = fit(make(dimensions=20), normals).predict(torch.cat([normals[:1], images(1, seed=1)]))
        assert torch.isfinite(prediction.map).all()
        assert prediction.score[0] < 0.1 < prediction.score[1]


def test_one_normal_is_refused() -> None:
    with pytest.raises(UsageError, match="padim needs at least 2 normals"):
        fit(make(pretrained=False, dimensions=5), images(1))


def test_memory_is_said_and_bounded() -> None:
    assert make((224, 224), pretrained=False).notes(1000) == (
        "memory: the covariances take 126 MB, while fitted and in the model",
    )
    with pytest.raises(UsageError, match=r"take 2,622 MB, and memory_megabytes is 1024; use fewer dimensions"):
        make((1024, 1024), pretrained=False)


@pytest.mark.parametrize("option", [{"epsilon": "0"}, {"dimensions": "0"}, {"sigma": "-1"}])
def test_options_that_make_no_sense_are_refused(option: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        make_options(PaDiM, option)


@torch.no_grad()
def test_scores_keep_their_meaning_in_bfloat16() -> None:
    normals, others = images(20), images(8, seed=1)
    plain = fit(make(dimensions=20), normals).predict(others)
    with torch.autocast("cpu", torch.bfloat16):
        half = fit(make(dimensions=20), normals).predict(others)
    for found, expected in ((half.score, plain.score), (half.map, plain.map)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.2, atol=0.05 * float(expected.mean()))
