from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from unremarkable.datasets.phantom import make_phantom_dataset
from unremarkable.detector import Detector
from unremarkable.errors import UsageError
from unremarkable.methods.knn import KNN, KNNOptions, Memory
from unremarkable.methods.registry import make_options

SIZE = (64, 72)


def images(count: int, seed: int = 0, channels: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    """Smooth random pictures: neighbouring pixels agree, as in scans."""
    coarse = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear")


def make(channels: int = 1, size: tuple[int, int] = SIZE, pretrained: bool = True, **options: object) -> KNN:
    torch.manual_seed(0)
    method = KNN(KNNOptions(**options), size, channels).eval()  # type: ignore[arg-type]
    if pretrained:
        method.prepare()
    return method


@torch.no_grad()
def fit(method: KNN, normals: Tensor, batch: int = 7) -> KNN:
    (phase,) = method.phases()
    phase.collect(normals.split(batch))  # type: ignore[union-attr]
    return method


@torch.no_grad()
def features(method: KNN, pictures: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pooled by halves, written out, and at every location of stride 16; in float64."""
    local, last = (stage.double().numpy() for stage in method.backbone(pictures))
    rows, columns = last.shape[2:]
    parts = [
        last[:, :, y, x].mean((2, 3))
        for y in (slice(0, -(-rows // 2)), slice(rows // 2, rows))
        for x in (slice(0, -(-columns // 2)), slice(columns // 2, columns))
    ]
    # channel by channel, then place by place, as adaptive pooling flattens
    return np.stack(parts, 2).reshape(len(pictures), -1), local


def standardised(
    values: NDArray[np.float64], mean: NDArray[np.float64], sd: NDArray[np.float64]
) -> NDArray[np.float64]:
    return (values - mean) / np.maximum(sd, 0.1 * sd.mean()) / np.sqrt(values.shape[-1])


def test_score_is_the_mean_standardised_distance_to_the_three_nearest() -> None:
    normals, others = images(20), images(6, seed=1)
    method = fit(make(), normals)
    bank, queries = features(method, normals)[0], features(method, others)[0]
    mean, sd = bank.mean(0), bank.std(0)
    oracle = NearestNeighbors(n_neighbors=3).fit(standardised(bank, mean, sd))
    expected = oracle.kneighbors(standardised(queries, mean, sd))[0].mean(1)
    with torch.no_grad():
        np.testing.assert_allclose(method.predict(others).score.numpy(), expected, rtol=1e-3)


def test_cosine_score_is_one_minus_cosine() -> None:
    normals, others = images(20), images(6, seed=1)
    method = fit(make(distance="cosine", k=2), normals)
    bank, queries = features(method, normals)[0], features(method, others)[0]
    expected = NearestNeighbors(n_neighbors=2, metric="cosine").fit(bank).kneighbors(queries)[0].mean(1)
    with torch.no_grad():
        np.testing.assert_allclose(method.predict(others).score.numpy(), expected, atol=2e-5)


def test_map_is_the_distance_to_the_nearest_normal_at_the_same_location() -> None:
    normals, others = images(20), images(3, seed=1)
    method = fit(make(), normals)
    bank, queries = features(method, normals)[1], features(method, others)[1]
    sd = (bank - bank.mean(0)).std((0, 2, 3))
    sd = np.maximum(sd, 0.1 * sd.mean())
    expected = np.empty((3, 1, 4, 5))
    for row in range(4):
        for column in range(5):
            difference = (queries[:, None, :, row, column] - bank[None, :, :, row, column]) / sd
            expected[:, 0, row, column] = np.sqrt((difference**2).mean(2)).min(1)
    with torch.no_grad():
        np.testing.assert_allclose(method.predict(others).map.numpy(), expected, rtol=2e-3)


def test_a_grid_of_one_is_global_pooling() -> None:
    normals, others = images(20), images(6, seed=1)
    method = fit(make(grid=1), normals)
    with torch.no_grad():
        bank, queries = (method.backbone(x)[-1].double().mean((2, 3)).numpy() for x in (normals, others))
        score = method.predict(others).score
    mean, sd = bank.mean(0), bank.std(0)
    oracle = NearestNeighbors(n_neighbors=3).fit(standardised(bank, mean, sd))
    np.testing.assert_allclose(score, oracle.kneighbors(standardised(queries, mean, sd))[0].mean(1), rtol=1e-3)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_any_batch_size_gives_the_same(distance: str) -> None:
    normals, others = images(40), images(32, seed=1)
    others[:4] = normals[:4]  # distances near zero are where rounding would show
    others[4] = 0
    method = fit(make(distance=distance), normals)
    with torch.no_grad():
        whole = method.predict(others)
        single = [method.predict(image[None]) for image in others]
    torch.testing.assert_close(torch.cat([p.score for p in single]), whole.score, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([p.map for p in single]), whole.map, atol=1e-5, rtol=0)


def test_collecting_does_not_depend_on_the_batch_size() -> None:
    normals, others = images(30), images(4, seed=1)
    one, other = fit(make(), normals, batch=1), fit(make(), normals, batch=30)
    with torch.no_grad():
        torch.testing.assert_close(one.predict(others).score, other.predict(others).score, atol=1e-4, rtol=0)


def test_a_normal_that_was_seen_is_its_own_neighbour() -> None:
    normals = images(10)
    method = fit(make(k=1), normals)
    with torch.no_grad():
        seen, unseen = method.predict(normals), method.predict(images(10, seed=1))
    assert seen.score.max() < 1e-3 < unseen.score.min()
    assert seen.map.max() < 2e-3 < unseen.map.mean()


def test_what_is_odd_scores_higher_and_shows_where() -> None:
    method = fit(make(size=(128, 128)), images(40, size=(128, 128)))
    plain = images(8, seed=1, size=(128, 128))
    odd = plain.clone()
    odd[:, :, 16:48, 80:112] = torch.tensor([0.0, 1.0]).repeat(16)  # a grid of fine lines, upper right
    with torch.no_grad():
        before, after = method.predict(plain), method.predict(odd)
    assert (after.score > before.score).all()
    row, column = divmod(int((after.map - before.map).mean(0).argmax()), after.map.shape[3])
    assert (row, column) in {(r, c) for r in (1, 2) for c in (5, 6)}


@pytest.mark.parametrize(("channels", "size"), [(3, (64, 64)), (1, (50, 83)), (3, (33, 32))])
def test_channels_and_sizes(channels: int, size: tuple[int, int]) -> None:
    method = fit(make(channels, size), images(5, channels=channels, size=size))
    with torch.no_grad():
        prediction = method.predict(images(2, 1, channels, size))
    assert prediction.map.shape == (2, 1, -(-size[0] // 16), -(-size[1] // 16))
    assert prediction.score.shape == (2,)
    assert prediction.map.dtype == prediction.score.dtype == torch.float32
    assert torch.isfinite(prediction.map).all()
    assert prediction.reconstruction is None


def test_identical_normals_have_no_scale_but_finite_scores() -> None:
    method = fit(make(), images(1).repeat(4, 1, 1, 1))
    with torch.no_grad():
        prediction = method.predict(torch.cat([images(1), images(1, seed=1), torch.zeros(1, 1, *SIZE)]))
    assert torch.isfinite(prediction.score).all()
    assert torch.isfinite(prediction.map).all()
    assert prediction.score[0] < 1e-3 < prediction.score[1:].min()


def test_fewer_normals_than_k_are_all_used() -> None:
    few = fit(make(pretrained=False, k=20), images(4))
    all_of_them = fit(make(pretrained=False, k=4), images(4))
    with torch.no_grad():
        assert torch.equal(few.predict(images(3, seed=1)).score, all_of_them.predict(images(3, seed=1)).score)


def test_more_neighbours_than_the_estimate_of_time_looks_at(tmp_path: Path) -> None:
    make_phantom_dataset(tmp_path / "data", n_train=24, n_test_normal=1, n_test_abnormal=1, size=32, seed=0)
    assert Detector("knn", size=32, k=10).fit(tmp_path / "data").plan_.training_cases > 10


def test_too_small_images_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 32 x 32 pixels, not 31 x 40"):
        make(size=(31, 40), pretrained=False)


@pytest.mark.parametrize("option", ["k", "grid", "map_megabytes", "batch_size"])
def test_options_that_make_no_sense_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} must be at least 1"):
        make_options(KNN, {option: "0"})


def test_options_are_read_from_text() -> None:
    options = make_options(KNN, {"stages": "-2,-1", "distance": "cosine", "map-stage": "-1"})
    assert options == KNNOptions(stages=(-2, -1), distance="cosine", map_stage=-1)
    method = fit(KNN(options, SIZE, 1).eval(), images(4))  # type: ignore[arg-type]
    assert method.whole.bank.shape == (1, 4, 4 * (112 + 320))
    assert method.local.bank.shape == (2 * 3, 4, 320)


def test_normals_are_thinned_evenly_for_the_map_and_not_for_the_score() -> None:
    size = (128, 128)  # 32 x 32 locations of 24 float16 values: 20 normals in a megabyte
    method = fit(make(size=size, map_megabytes=1, map_stage=0), images(24, size=size), batch=5)
    assert method.local.bank.numel() * method.local.bank.element_size() <= 1_000_000
    assert method.local.bank.shape[1] == 12
    assert method.whole.bank.shape[1] == 24
    with torch.no_grad():
        nearest = method.predict(images(24, size=size)).map.flatten(1).amax(1)
    assert (nearest[::2] < 2e-3).all()
    assert (nearest[1::2] > 2e-3).all()


def test_a_saved_method_predicts_the_same(tmp_path: Path) -> None:
    method = fit(make(), images(10))
    save_file(method.state_dict(), tmp_path / "weights.safetensors")
    again = make(pretrained=False)
    again.load_weights(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        a, b = method.predict(images(3, seed=1)), again.eval().predict(images(3, seed=1))
    assert torch.equal(a.score, b.score)
    assert torch.equal(a.map, b.map)


def test_the_backbone_stays_as_it_is() -> None:
    method = make()
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
    fit(method.train(), images(10))
    assert all(torch.equal(value, before[key]) for key, value in method.backbone.state_dict().items())
    assert not any(p.requires_grad for p in method.parameters())


def test_distances_are_exact_under_autocast() -> None:
    memory = Memory("euclidean")
    memory.remember(torch.randn(20, 50, 30, generator=torch.Generator().manual_seed(0)))
    queries = torch.randn(20, 4, 30, generator=torch.Generator().manual_seed(1))
    plain = memory.nearest(queries, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(memory.nearest(queries, 2), plain)
