"""Members of an ensemble: their descriptions as text, and what they are fed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from unremarkable.errors import UsageError
from unremarkable.imaging.preprocess import resize
from unremarkable.methods import make_options, method_class, method_names
from unremarkable.methods.base import Prediction
from unremarkable.methods.feature_maps import smooth
from unremarkable.methods.members import Member, Spec
from unremarkable.methods.scoring_rule import reduce
from unremarkable.scoring.reduction import reduce_map


def test_a_name_alone_has_the_method_s_defaults() -> None:
    knn = method_class("knn")
    assert Spec.parse("knn") == Spec("knn", knn.Options())


def test_options_and_settings_are_read_by_type() -> None:
    spec = Spec.parse(
        "knn: grid=1; k=5; stages=-1; stages=-2; @size=96x64; @channels=1; @reduction=top1; @smoothing=1.5"
    )
    assert spec.options == make_options(method_class("knn"), {"grid": 1, "k": 5, "stages": (-1, -2)})
    assert (spec.size, spec.channels, spec.reduction, spec.smoothing) == ((96, 64), 1, "top1", 1.5)
    assert Spec.parse("knn:@size=96").size == (96, 96)
    assert Spec.parse("knn:stages=-1,-2").options == Spec.parse("knn:stages=-1;stages=-2").options


@pytest.mark.parametrize("name", [name for name in method_names() if name != "ensemble"])
def test_every_method_can_be_written_down_and_read_back(name: str) -> None:
    spec = Spec(name, method_class(name).Options(), (64, 96), 3, "max", 0.1)
    assert Spec.parse(spec.text()) == spec


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("knm", "did you mean 'knn'"),
        ("knn:kk=3", "unknown option"),
        ("knn:k", "not understood"),
        ("knn:k=0", "at least 1"),
        ("knn:@size=big", "@size is 224"),
        ("knn:@size=1x2x3", "@size is 224"),
        ("knn:@smoothing=-1", "@smoothing a number"),
        ("knn:@channels=2", "@channels 1 or 3"),
        ("knn:@reduction=most", "unknown reduction"),
        ("knn:@side=3", "unknown setting"),
        ("models/knn", "unremarkable ensemble MODEL"),
        ("ensemble", "cannot be a member"),
    ],
)
def test_nonsense_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        Spec.parse(text)
    assert "\n" not in str(caught.value)


def test_images_are_fed_as_preprocess_would_have_made_them() -> None:
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.random((9, 9)).astype(np.float32)).resize((128, 128)))
    images = torch.from_numpy(smooth.clip(0, 1))[None, None]
    fed = member("knn:@size=64;@channels=3", channels=1).fed(images)
    assert fed.shape == (1, 3, 64, 64)
    for channel in fed[0]:
        np.testing.assert_allclose(channel, resize(images[0, 0].numpy(), (64, 64)), atol=2e-3)


def test_colour_becomes_luminance() -> None:
    colours = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    fed = member("knn:@channels=1", channels=3).fed(colours)
    assert fed.shape == (1, 1, 64, 64)
    assert fed.unique().tolist() == pytest.approx([0.299 + 0.587 * 0.5 + 0.114 * 0.25])


@pytest.mark.parametrize("sigma", [0.0, 0.7, 3.0, 9.0])
def test_maps_are_smoothed_as_scoring_does_it(sigma: float) -> None:
    maps = np.random.default_rng(0).random((2, 1, 13, 8)).astype(np.float32)
    expected = gaussian_filter(maps, (0, 0, sigma, sigma), mode="reflect") if sigma else maps
    np.testing.assert_allclose(smooth(torch.from_numpy(maps), sigma), expected, atol=1e-5)


@pytest.mark.parametrize("how", ["max", "mean", "top1", "top10"])
def test_maps_are_reduced_as_scoring_does_it(how: str) -> None:
    maps = np.random.default_rng(0).random((3, 1, 17, 20)).astype(np.float32)
    np.testing.assert_allclose(reduce(torch.from_numpy(maps), how), reduce_map(maps[:, 0], how), rtol=1e-5)


def test_a_chosen_reduction_stands_in_for_the_published_score(monkeypatch: pytest.MonkeyPatch) -> None:
    one = member("knn:@reduction=mean", channels=1)
    maps = torch.rand(2, 1, 4, 4)
    monkeypatch.setattr(one.method, "predict", lambda images: Prediction(maps, torch.tensor([7.0, 8.0])))
    _, score = one.predict(torch.zeros(2, 1, 64, 64))
    torch.testing.assert_close(score, maps.mean(dim=(1, 2, 3)))


def member(text: str, channels: int) -> Member:
    return Member(Spec.parse(text), 1, (64, 64), channels)
