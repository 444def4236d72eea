from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.patchcore import PatchCore, PatchCoreOptions
from unremarkable.methods.registry import make_options

SIZE = (64, 72)


def images(count: int, seed: int = 0, channels: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    """Smooth random pictures: neighbouring pixels agree, as in scans."""
    coarse = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear")


def make(size: tuple[int, int] = SIZE, pretrained: bool = True, **options: object) -> PatchCore:
    torch.manual_seed(0)
    method = PatchCore(PatchCoreOptions(**options), size, 1).eval()  # type: ignore[arg-type]
    if pretrained:
        method.prepare()
    return method


@torch.no_grad()
def fit(method: PatchCore, normals: Tensor, batch: int = 7, seed: int = 1) -> PatchCore:
    torch.manual_seed(seed)
    (phase,) = method.phases()
    phase.collect(normals.split(batch))  # type: ignore[union-attr]
    return method


def neighbourhood_mean(stage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the 3 x 3 locations around each that exist."""
    out = np.empty_like(stage)
    for y in range(stage.shape[2]):
        for x in range(stage.shape[3]):
            out[:, :, y, x] = stage[:, :, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean((2, 3))
    return out


@torch.no_grad()
def patches(method: PatchCore, pictures: Tensor) -> NDArray[np.float64]:
    """Patch features `(N, h, w, D)`, written out; in float64."""
    fine, coarse = (neighbourhood_mean(stage.double().numpy()) for stage in method.backbone(pictures))
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(coarse), fine.shape[2:], mode="bilinear").numpy()
    return np.concatenate([fine, enlarged], 1).transpose(0, 2, 3, 1)


@torch.no_grad()
def test_bank_is_the_exact_greedy_selection_of_the_patches() -> None:
    normals = images(6)
    method = fit(make(coreset=0.05), normals)
    rows = patches(method, normals).reshape(6 * 8 * 9, -1)
    rows = (rows - rows.mean(0)) / np.sqrt((rows**2).mean())
    distances = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(2))
    chosen = [int(np.square(rows - method.bank[0].double().numpy()).sum(1).argmin())]  # the first is drawn at random
    while len(chosen) < 22:  # 5 % of 432, rounded up
        chosen.append(int(distances[:, chosen].min(1).argmax()))
    np.testing.assert_allclose(method.bank.numpy(), rows[chosen], atol=1e-4)


@torch.no_grad()
def test_score_and_map_are_those_of_the_equations() -> None:
    normals, others = images(8), images(5, seed=1)
    others[0, :, 20:40, 20:40] = 1 - others[0, :, 20:40, 20:40]
    method = fit(make(neighbours=4), normals)
    seen, tested = patches(method, normals), patches(method, others)
    scale = np.sqrt((seen**2).mean())
    centre = seen.reshape(-1, seen.shape[-1]).mean(0)
    bank = method.bank.double().numpy()
    prediction = method.predict(others)
    for i, image in enumerate(tested):
        rows = ((image - centre) / scale).reshape(-1, image.shape[-1])
        distances = np.sqrt(((rows[:, None] - bank[None]) ** 2).sum(2))
        nearest = distances.min(1)
        worst = int(nearest.argmax())  # eq. 6
        at = int(distances[worst].argmin())
        around = np.argsort(((bank - bank[at]) ** 2).sum(1))[:4]
        weight = 1 - np.exp(nearest[worst]) / np.exp(distances[worst][around]).sum()  # eq. 7
        assert prediction.score[i].item() == pytest.approx(weight * nearest[worst], rel=1e-4)
        small = torch.from_numpy(nearest.reshape(1, 1, 8, 9))
        large = torch.nn.functional.interpolate(small, SIZE, mode="bilinear")[0, 0].numpy()
        np.testing.assert_allclose(prediction.map[i, 0], gaussian_filter(large, 4, mode="reflect"), rtol=2e-4)


@torch.no_grad()
def test_the_weight_by_hand() -> None:
    """Bank 0, 3 and 10 on a line, test patch 5, b = 2: s* = 2 from 3, whose neighbours 3 and 0 lie 2 and 5 away."""
    method = make(pretrained=False, neighbours=2)
    method.bank = torch.tensor([[0.0], [3.0], [10.0]])
    score = method._weighted(torch.tensor([[[5.0], [0.5]]]), torch.tensor([[2.0, 0.5]]), torch.tensor([[1, 0]]))
    assert score.item() == pytest.approx((1 - np.exp(2) / (np.exp(2) + np.exp(5))) * 2, rel=1e-6)


@torch.no_grad()
def test_huge_distances_do_not_overflow() -> None:
    method = make(pretrained=False, neighbours=2)
    method.bank = torch.tensor([[0.0], [300.0]])
    score = method._weighted(torch.tensor([[[1000.0]]]), torch.tensor([[700.0]]), torch.tensor([[1]]))
    assert score.item() == pytest.approx(700)


@torch.no_grad()
def test_more_channels_than_dimensions_are_averaged_stage_by_stage() -> None:
    """20 dimensions for two stages of 40 and 112 channels: ten each, of four channels and of windows of eleven."""
    method, whole = make(dimensions=20), make()
    reduced, full = (m._features(images(2))[0].double().numpy() for m in (method, whole))
    assert reduced.shape == (2, 72, 20)
    expected = [full[..., 4 * i : 4 * i + 4].mean(-1) for i in range(10)]
    windows = [(int(np.floor(11.2 * i)), int(np.ceil(11.2 * (i + 1) - 1e-9))) for i in range(10)]
    expected += [full[..., 40 + a : 40 + b].mean(-1) for a, b in windows]
    np.testing.assert_allclose(reduced, np.stack(expected, -1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_projection_changes_who_is_chosen_and_nothing_else() -> None:
    normals = images(6)
    plain, projected = fit(make(), normals), fit(make(projection=64), normals)
    assert projected.bank.shape == plain.bank.shape == (44, 152)
    rows = (torch.from_numpy(patches(plain, normals)).flatten(0, 2).float() - plain.centre) / plain.scale
    assert torch.cdist(projected.bank, rows).amin(1).max() < 0.05
    assert not torch.allclose(plain.bank[1:5], projected.bank[1:5])


@torch.no_grad()
def test_a_random_projection_keeps_distances_roughly() -> None:
    method = make(pretrained=False, projection=64)
    rows = torch.randn(200, 152, generator=torch.Generator().manual_seed(5))
    ratio = torch.pdist(method._projected(rows)) / torch.pdist(rows)
    assert abs(ratio.mean() - 1) < 0.05
    assert ratio.std() < 1.5 / (2 * 64) ** 0.5


@torch.no_grad()
def test_bank_is_bounded_and_beyond_memory_the_patches_are_sampled() -> None:
    assert len(fit(make(patches=20), images(6)).bank) == 20
    assert len(fit(make(coreset=1.0), images(2)).bank) == 2 * 72
    method = make(coreset=1.0, memory_megabytes=83, patches=4000)
    capacity = method._capacity
    assert 2048 < capacity < 4000
    normals = images(60)
    assert len(fit(method, normals).bank) == capacity < 60 * 72
    rows = (torch.from_numpy(patches(method, normals)).flatten(0, 2).float() - method.centre) / method.scale
    assert torch.cdist(method.bank, rows).amin(1).max() < 0.05


def test_says_the_memory_before_it_starts() -> None:
    (small,) = make(pretrained=False).notes(50)
    assert small == (
        "memory: the bank takes at most 82 MB more while it is fitted; it keeps 360 patch features (1 MB) of all 3,600"
    )
    (large,) = make(size=(224, 224), pretrained=False).notes(1595)
    assert "at most 512 MB" in large
    assert "drawn at random from 1,250,480" in large
    assert "keeps 10,000 patch features (7 MB)" in large


@torch.no_grad()
def test_any_batch_size_gives_the_same() -> None:
    normals, others = images(30), images(32, seed=1)
    others[:4] = normals[:4]  # distances near zero are where rounding would show
    others[4] = 0
    method = fit(make(coreset=1.0), normals)
    whole = method.predict(others)
    single = [method.predict(image[None]) for image in others]
    torch.testing.assert_close(torch.cat([p.score for p in single]), whole.score, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(torch.cat([p.map for p in single]), whole.map, atol=1e-5, rtol=1e-5)
    assert whole.map[:4].max() < 1e-3
    again = fit(make(coreset=1.0), normals, batch=30)
    torch.testing.assert_close(again.predict(others).score, whole.score, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_nearest_is_that_of_another_library() -> None:
    method = fit(make(), images(10))
    queries = torch.randn(500, 152, generator=torch.Generator().manual_seed(2))
    distances, indices = method._nearest(queries)
    expected = NearestNeighbors(n_neighbors=1).fit(method.bank.numpy()).kneighbors(queries.numpy())
    np.testing.assert_allclose(distances, expected[0][:, 0], rtol=1e-5)
    assert (indices.numpy() == expected[1][:, 0]).mean() > 0.99


@torch.no_grad()
def test_what_is_odd_scores_higher_and_shows_where() -> None:
    size = (128, 128)
    method = fit(make(size=size), images(30, size=size))
    plain = images(8, seed=1, size=size)
    odd = plain.clone()
    odd[:, :, 16:48, 80:112] = torch.tensor([0.0, 1.0]).repeat(16)
    before, after = method.predict(plain), method.predict(odd)
    assert (after.score > before.score).all()
    row, column = divmod(int((after.map - before.map).mean(0).argmax()), 128)
    assert 16 <= row < 48
    assert 80 <= column < 112


@torch.no_grad()
def test_identical_and_single_normals_have_finite_scores() -> None:
    for normals in (images(1).repeat(4, 1, 1, 1), images(1), torch.zeros(2, 1, *SIZE)):
        prediction = fit(make(), normals).predict(torch.cat([images(2, seed=1), torch.zeros(1, 1, *SIZE)]))
        assert torch.isfinite(prediction.score).all()
        assert torch.isfinite(prediction.map).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coreset": "0"}, "coreset is a share"),
        ({"neighbourhood": "2"}, "must be odd"),
        ({"neighbours": "1"}, "at least 2"),
        ({"patches": "0"}, "patches must be at least 1"),
        ({"sigma": "-1"}, "sigma must be 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_options(PatchCore, options)


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(UsageError, match="features of 152 dimensions in 60 MB; raise memory_megabytes"):
        make(pretrained=False, memory_megabytes=60)


@torch.no_grad()
def test_scores_keep_their_meaning_in_bfloat16() -> None:
    normals, others = images(20), images(8, seed=1)
    plain = fit(make(), normals).predict(others)
    with torch.autocast("cpu", torch.bfloat16):
        half = fit(make(), normals).predict(others)
    for found, expected in ((half.score, plain.score), (half.map, plain.map)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.2, atol=0.05 * float(expected.mean()))
