from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Prediction
from unremarkable.methods.classical import Classical, ClassicalOptions
from unremarkable.methods.classical.features import describe
from unremarkable.methods.registry import make_options

SIZE = (48, 64)
QUICK = {"patch": 16, "features": ("glcm", "wavelet"), "trees": 20}
MODELS = ("one-class-svm", "svdd", "knn", "isolation-forest", "pca", "svm")
every_model = pytest.mark.parametrize("model", MODELS)


def images(count: int, seed: int = 0, channels: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    """Smooth random pictures with a little noise, as scans have it."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    noise = torch.rand(count, channels, *size, generator=generator)
    return 0.9 * F.interpolate(coarse, size, mode="bilinear") + 0.1 * noise


def make(size: tuple[int, int] = SIZE, channels: int = 1, **options: Any) -> Classical:
    return Classical(ClassicalOptions(**(QUICK | options)), size, channels).eval()


@torch.no_grad()
def fit(method: Classical, normals: Tensor, batch: int = 7, abnormal: Tensor | None = None) -> Classical:
    """On normals; where the model needs labels, on these abnormal images too, by default on noise."""
    torch.manual_seed(0)
    (phase,) = method.phases()
    assert isinstance(phase, Collect)
    if not method.options.needs_labels:
        phase.collect(normals.split(batch))
        return method
    others = torch.rand(len(normals) // 2, *normals.shape[1:]) if abnormal is None else abnormal
    labels = torch.cat([torch.zeros(len(normals)), torch.ones(len(others))])
    phase.collect(zip(torch.cat([normals, others]).split(batch), labels.split(batch), strict=True))
    return method


@torch.no_grad()
def predict(method: Classical, pictures: Tensor) -> Prediction:
    return method.predict(pictures)


def standardised(normals: Tensor, others: Tensor) -> NDArray[np.float64]:
    """Of `others`, `(N, P, d)`, as the page says it, in float64: each family's share of the variance is the same."""
    families = []
    for family in ("glcm", "wavelet"):
        x, z = (np.stack([describe(one, [family], 16)[0] for one in p.numpy()]) for p in (normals, others))  # type: ignore[list-item]
        sd = x.std(0)
        sd = np.maximum(sd, 0.1 * sd.mean(0))
        families.append((z - x.mean(0)) / sd / np.sqrt(x.shape[2] * 2))
    return np.concatenate(families, axis=2)


def test_score_and_patch_map_are_distances_of_standardised_features() -> None:
    normals, others = images(20), images(4, 1)
    found = predict(fit(make(model="knn", k=2), normals), others)
    x, z = standardised(normals, normals), standardised(normals, others)
    whole = np.linalg.norm((z[:, None] - x) / np.sqrt(12), axis=(2, 3))
    np.testing.assert_allclose(found.score.numpy(), np.sort(whole, 1)[:, :2].mean(1), rtol=1e-4)
    patches = np.linalg.norm(z[:, :, None] - x.reshape(-1, x.shape[2]), axis=3)
    np.testing.assert_allclose(
        found.map.numpy(), np.sort(patches, 2)[:, :, :2].mean(2).reshape(4, 1, 3, 4), rtol=1e-3, atol=1e-4
    )
    assert np.square(x / np.sqrt(12)).sum((1, 2)).mean() <= 1 + 1e-9  # the kernels' unit


@every_model
def test_occlusion_is_the_fall_of_the_score_when_pixels_are_replaced(model: str) -> None:
    normals, other = images(20), images(1, 1)
    method = fit(make(model=model, map="occlusion"), normals)
    found = predict(method, other)
    typical = normals.double().mean(0).float()
    falls = []
    for row in range(3):
        for column in range(4):
            changed = other.clone()
            at = np.s_[..., 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            changed[at] = typical[at]
            falls.append(float(found.score - predict(method, changed).score))
    np.testing.assert_allclose(found.map.flatten().numpy(), falls, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("way", ["patches", "occlusion"])
@every_model
def test_a_planted_patch_raises_the_score_and_shows_where(model: str, way: str) -> None:
    if (model, way) == ("svm", "patches"):
        pytest.skip("refused")
    normals = images(40)
    plain = images(8, 1)
    odd = plain.clone()
    odd[..., 16:32, 32:48] = torch.tensor([0.0, 1.0]).repeat(8)  # fine lines in the third of the second row
    abnormal = images(20, 2)
    abnormal[..., 16:32, 32:48] = torch.tensor([0.0, 1.0]).repeat(8)
    method = fit(make(model=model, map=way), normals, abnormal=abnormal)
    before, after = predict(method, plain), predict(method, odd)
    assert (after.score > before.score).all()
    assert divmod(int((after.map - before.map).mean(0).argmax()), 4) == (1, 2)


@every_model
def test_any_batch_size_and_a_saved_model_give_the_same(model: str) -> None:
    method = fit(make(model=model), images(30))
    others = torch.cat([images(8, 1), images(30)[:2], torch.zeros(1, 1, *SIZE)])
    whole = predict(method, others)
    single = [predict(method, one) for one in others.split(1)]
    torch.testing.assert_close(torch.cat([p.score for p in single]), whole.score, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.cat([p.map for p in single]), whole.map, rtol=1e-6, atol=1e-6)
    fresh = make(model=model)
    fresh.load_weights(method.state_dict())
    again = predict(fresh, others)
    assert torch.equal(again.score, whole.score)
    assert torch.equal(again.map, whole.map)


def test_collecting_does_not_depend_on_the_batch_size() -> None:
    one = fit(make(), images(20), batch=1).state_dict()
    other = fit(make(), images(20), batch=20).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_large_set_is_thinned_evenly() -> None:
    normals = images(45)
    method = fit(make(model="knn", limit=10), normals)
    # 45 > 10: every second, then every fourth, then every eighth is kept
    kept = fit(make(model="knn"), normals[::8])
    assert method.whole.bank.shape[0] == 6  # type: ignore[union-attr, operator]
    assert torch.equal(method.whole.bank, kept.whole.bank)  # type: ignore[arg-type]
    assert method.local is not None
    assert method.local.bank.shape[0] <= 10  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("family", ["hog", "glcm", "wavelet", "lbp", "first-order"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_family_alone(family: str, channels: int) -> None:
    method = fit(make(channels=channels, features=(family,), patch=32), images(8, channels=channels))
    found = predict(method, torch.cat([images(2, 1, channels), torch.ones(1, channels, *SIZE)]))
    assert found.map.shape == (3, 1, 2, 2)
    assert found.score.isfinite().all()


@pytest.mark.parametrize(("size", "grid"), [((16, 16), (1, 1)), ((50, 70), (3, 4)), ((57, 39), (4, 2))])
def test_sides_that_are_no_multiple_of_the_patch(size: tuple[int, int], grid: tuple[int, int]) -> None:
    found = predict(fit(make(size), images(6, size=size)), images(2, 1, size=size))
    assert found.map.shape == (2, 1, *grid)
    assert found.map.isfinite().all()


def test_a_patch_as_large_as_the_image_describes_it_as_a_whole() -> None:
    method = fit(make((48, 48), patch=48), images(6, size=(48, 48)))
    assert method.mean.shape == (1, 20)
    assert predict(method, images(2, 1, size=(48, 48))).map.shape == (2, 1, 1, 1)


def test_few_normals_or_all_the_same() -> None:
    for model in MODELS[:-1]:
        for normals in (images(1), images(1).repeat(4, 1, 1, 1)):
            found = predict(fit(make(model=model), normals), torch.cat([images(2, 1), torch.zeros(1, 1, *SIZE)]))
            assert found.score.isfinite().all()
            assert found.map.isfinite().all()


def test_only_the_supervised_svm_asks_for_labels() -> None:
    assert [ClassicalOptions(model=model).needs_labels for model in MODELS] == [False] * 5 + [True]  # type: ignore[arg-type]


def test_the_supervised_svm_standardises_by_the_normals() -> None:
    normals = images(20)
    method, alone = fit(make(model="svm"), normals), fit(make(), normals)
    assert torch.equal(method.mean, alone.mean)
    assert torch.equal(method.scale, alone.scale)
    assert torch.equal(method.replacement, alone.replacement)


@pytest.mark.parametrize("labels", [torch.zeros(6), torch.ones(6)])
def test_the_supervised_svm_needs_both_classes(labels: Tensor) -> None:
    with pytest.raises(UsageError, match="needs normal and abnormal images"):
        make(model="svm").phases()[0].collect([(images(6), labels)])  # type: ignore[union-attr]


def test_too_small_images_are_refused() -> None:
    with pytest.raises(UsageError, match="patch = 32 needs images of that side at least, not 31 x 40"):
        make((31, 40), patch=32)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("features", "", "features must be"),
        ("features", "hog,hog", "different ones of hog, glcm, wavelet, lbp, first-order"),
        ("features", "sift", "sift"),
        ("patch", "8", "at least 16"),
        ("patch", "20", "multiple of 8"),
        ("nu", "0", "above 0"),
        ("nu", "nan", "above 0"),
        ("variance", "1.5", "at most 1"),
        ("gamma", "-1", "positive"),
        ("c", "inf", "positive"),
        ("k", "0", "at least 1"),
        ("degree", "0", "at least 1"),
        ("trees", "0", "at least 1"),
        ("samples", "1", "at least 2"),
        ("limit", "1", "at least 2"),
        ("kernel", "linear", "use kernel=rbf, or svdd"),
    ],
)
def test_options_that_make_no_sense_are_refused(option: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_options(Classical, {option: value})


def test_a_patch_map_of_the_supervised_svm_is_refused() -> None:
    with pytest.raises(UsageError, match="use map=occlusion"):
        make_options(Classical, {"model": "svm", "map": "patches"})
