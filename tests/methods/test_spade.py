from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods import spade
from unremarkable.methods.registry import make_options
from unremarkable.methods.spade import SPADE, SPADEOptions

SIZE = (64, 72)


def images(count: int, seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    """Smooth random pictures: neighbouring pixels agree, as in scans."""
    coarse = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size, mode="bilinear")


def make(size: tuple[int, int] = SIZE, pretrained: bool = True, **options: object) -> SPADE:
    torch.manual_seed(0)
    method = SPADE(SPADEOptions(**options), size, 1).eval()  # type: ignore[arg-type]
    if pretrained:
        method.prepare()
    return method


@torch.no_grad()
def fit(method: SPADE, normals: Tensor, batch: int = 7) -> SPADE:
    (phase,) = method.phases()
    phase.collect(normals.split(batch))  # type: ignore[union-attr]
    return method


@torch.no_grad()
def features(method: SPADE, pictures: Tensor, grid: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Globally pooled `(N, C)`, and the pyramid `(N, P, D)` on the grid; in float64."""
    *stages, last = (stage.double() for stage in method.backbone(pictures))
    parts = [
        F.adaptive_avg_pool2d(stage, grid) if stage.shape[2] > grid[0] else F.interpolate(stage, grid, mode="bilinear")
        for stage in stages
    ]
    return last.mean((2, 3)).numpy(), torch.cat(parts, 1).flatten(2).transpose(1, 2).numpy()


@pytest.mark.parametrize(("kappa", "stride", "grid"), [(1, 8, (8, 9)), (3, 16, (4, 5)), (2, 4, (16, 18))])
@torch.no_grad()
def test_score_and_map_are_those_of_the_equations(kappa: int, stride: int, grid: tuple[int, int]) -> None:
    normals, others = images(20), images(3, seed=1)
    method = fit(make(k=5, kappa=kappa, stride=stride), normals)
    (pooled, gallery), (wholes, pyramids) = features(method, normals, grid), features(method, others, grid)
    prediction = method.predict(others)
    for i in range(3):
        squares = ((pooled - wholes[i]) ** 2).sum(1)
        nearest = np.argsort(squares)[:5]
        assert prediction.score[i].item() == pytest.approx(squares[nearest].mean(), rel=1e-4)  # eq. 1
        bank = gallery[nearest].reshape(-1, gallery.shape[2])
        distances = ((pyramids[i][:, None] - bank[None]) ** 2).sum(2)
        small = np.sort(distances, 1)[:, :kappa].mean(1).reshape(1, 1, *grid)  # eq. 3
        large = F.interpolate(torch.from_numpy(small), SIZE, mode="bilinear")[0, 0].numpy()
        np.testing.assert_allclose(prediction.map[i, 0], gaussian_filter(large, 4, mode="reflect"), rtol=3e-3)


@torch.no_grad()
def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locations 0 and 4 on a line against 1, 6 and 3, 9: nearest 1 and 3, one away each; then 3 and 6."""
    monkeypatch.setattr(spade, "BLOCK", 4)  # one image at a time
    gallery = torch.tensor([[[1.0], [6.0]], [[3.0], [9.0]]]).half()
    locations = torch.tensor([[0.0], [4.0]])
    assert make(pretrained=False)._compare(locations, gallery).tolist() == [1, 1]
    assert make(pretrained=False, kappa=2)._compare(locations, gallery).tolist() == [(1 + 9) / 2, (1 + 4) / 2]


@torch.no_grad()
def test_fewer_normals_than_neighbours_are_all_neighbours() -> None:
    normals, others = images(4), images(2, seed=1)
    all_of_them, four = fit(make(), normals).predict(others), fit(make(k=4), normals).predict(others)
    assert torch.equal(all_of_them.score, four.score)
    assert torch.equal(all_of_them.map, four.map)


@torch.no_grad()
def test_normals_are_thinned_evenly_for_the_map_and_not_for_the_score() -> None:
    size = (96, 96)  # 12 x 12 locations of 176 values in float16: 19 normals in a megabyte
    normals = images(24, size=size)
    method = make(size, k=1, gallery_megabytes=1, sigma=0)
    (note,) = method.notes(24)
    assert note == "memory: the map's gallery holds 12 of 24 normals and takes 1 MB, twice while fitted"
    fit(method, normals, batch=5)
    assert method.shown.tolist() == list(range(0, 24, 2))
    assert method.gallery.shape == (12, 144, 176)
    assert len(method.whole) == 24
    prediction = method.predict(normals)
    assert prediction.score.max() < 1e-3
    assert prediction.map[::2].max() < 0.1 < prediction.map[1::2].amax((1, 2, 3)).min()


@torch.no_grad()
def test_any_batch_size_gives_the_same() -> None:
    normals, others = images(40), images(32, seed=1)
    others[:4], others[4] = normals[:4], 0  # distances near zero are where rounding would show
    method, again = fit(make(k=10), normals), fit(make(k=10), normals, batch=40)
    whole = method.predict(others)
    single = [method.predict(image[None]) for image in others]
    torch.testing.assert_close(torch.cat([p.score for p in single]), whole.score, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([p.map for p in single]), whole.map, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(again.predict(others).score, whole.score, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_what_is_odd_scores_higher_and_shows_where() -> None:
    size = (128, 128)
    method = fit(make(size), images(40, size=size))
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
    prediction = fit(make(), images(1).repeat(4, 1, 1, 1)).predict(torch.cat([images(1), images(1, seed=1)]))
    assert torch.isfinite(prediction.map).all()
    assert prediction.score[0] < 1e-3 < prediction.score[1]


@pytest.mark.parametrize("option", ["k", "kappa", "stride", "gallery_megabytes", "batch_size"])
def test_options_that_make_no_sense_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} must be at least 1"):
        make_options(SPADE, {option: "0"})


@torch.no_grad()
def test_scores_keep_their_meaning_in_bfloat16() -> None:
    """With all normals as neighbours, for rounding may change which are the nearest."""
    normals, others = images(20), images(8, seed=1)
    plain = fit(make(), normals).predict(others)
    with torch.autocast("cpu", torch.bfloat16):
        half = fit(make(), normals).predict(others)
    for found, expected in ((half.score, plain.score), (half.map, plain.map)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.2, atol=0.05 * float(expected.mean()))
