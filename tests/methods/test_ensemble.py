"""The ensemble as a method: what it shows its members, what it keeps of them, what it makes of their answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options, members, method_class
from unremarkable.methods.base import Collect, Method, Options, Phase, Prediction, Update
from unremarkable.methods.ensemble import Ensemble
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings


class Brightness(Method):
    """Scores an image by its mean, which it learns nothing for but a weight that a phase moves."""

    name: ClassVar[str] = "brightness"
    half_precision: ClassVar[bool] = False

    def __init__(self, options: Options, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.empty(0))
        self.shapes: list[tuple[int, ...]] = []

    def phases(self) -> list[Phase | Collect]:
        learn = Phase("learn", 2, 4, self._optimizers, self._step, validate=lambda x: x.mean(dim=(1, 2, 3)))
        return [learn, Collect("look", 4, self._look)]

    def predict(self, images: Tensor) -> Prediction:
        return Prediction(images.mean(dim=1, keepdim=True), images.mean(dim=(1, 2, 3)))

    def _optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"sgd": torch.optim.SGD([self.weight], lr=0.1)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        self.shapes.append(tuple(images.shape[1:]))
        loss = self.weight * images.mean()
        update("sgd", loss)
        return {"loss": loss}

    def _look(self, batches: Iterable[Tensor]) -> None:
        assert not torch.is_autocast_enabled("cpu"), "this method does not keep its meaning in bfloat16"
        self.seen = torch.cat([images.mean(dim=(1, 2, 3)) for images in batches])


class Darkness(Brightness):
    """The opposite, on a coarser map."""

    name: ClassVar[str] = "darkness"

    def predict(self, images: Tensor) -> Prediction:
        coarse = nn.functional.avg_pool2d(1 - images.mean(dim=1, keepdim=True), 2)
        return Prediction(coarse, 1 - images.mean(dim=(1, 2, 3)))


class Taught(Options):
    """Options of a method that needs labels."""

    needs_labels = True


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {"brightness": Brightness, "darkness": Darkness}
    monkeypatch.setattr(members, "method_class", lambda name: known.get(name) or method_class(name))


def ensemble(*specs: str, combine: str = "fisher", size: tuple[int, int] = (8, 8), channels: int = 1) -> Ensemble:
    return Ensemble(make_options(Ensemble, {"members": specs, "combine": combine}), size, channels)


def flat(*levels: float, side: int = 8) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, side, side)


def fit(method: Ensemble, references: Tensor) -> Ensemble:
    settings = TrainSettings(device="cpu", precision="32")
    train(method, flat(0.1, 0.9, 0.3, 0.3).numpy(), references.numpy(), settings)
    return method


@pytest.mark.usefixtures("toys")
def test_members_are_fitted_in_turn_and_then_look_at_the_held_out() -> None:
    method = ensemble("brightness", "darkness:@size=4x6;@channels=3")
    names = [phase.name for phase in method.phases()]
    assert names == [
        "1 brightness: learn",
        "1 brightness: look",
        "2 darkness: learn",
        "2 darkness: look",
        "reference scores",
    ]
    fit(method, flat(0.2, 0.4, 0.5))
    one, two = (each.method for each in method._members())
    assert set(one.shapes) == {(1, 8, 8)}
    assert set(two.shapes) == {(3, 4, 6)}
    assert one.weight < 1
    assert two.weight < 1
    torch.testing.assert_close(one.seen, torch.tensor([0.1, 0.9, 0.3, 0.3]))  # the training images
    assert one.seen.dtype == torch.float32
    scores = [each.scores.references for each in method._members()]
    torch.testing.assert_close(scores[0], torch.tensor([0.2, 0.4, 0.5]))  # the held-out ones
    torch.testing.assert_close(scores[1], torch.tensor([0.5, 0.6, 0.8]))


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(("combine", "theirs"), [("fisher", "fisher"), ("minimum", "tippett"), ("z", "stouffer")])
def test_the_score_is_minus_log10_of_the_combined_p_value(combine: str, theirs: str) -> None:
    method = fit(ensemble("brightness", "darkness", combine=combine), flat(0.2, 0.4, 0.5))
    # 0.45 lies midway between second and third of the brightnesses, 0.55 between first and second of the others.
    p = [(2 / 4 + 1 / 4) / 2, (3 / 4 + 2 / 4) / 2]
    expected = -math.log10(scipy.stats.combine_pvalues(p, method=theirs).pvalue)
    assert method.eval().predict(flat(0.45)).score.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("toys")
def test_maps_are_combined_place_by_place_at_the_finest_resolution() -> None:
    method = ensemble("brightness", "darkness")
    references = torch.from_numpy(np.random.default_rng(0).uniform(0.4, 0.6, (40, 1, 8, 8)).astype(np.float32))
    fit(method, references)
    image = torch.full((1, 1, 8, 8), 0.5)
    image[..., 2:4, 4:6] = 0.9
    found = method.predict(image).map
    assert found.shape == (1, 1, 8, 8)
    peak = found.flatten().topk(4).indices.sort().values
    assert peak.tolist() == [2 * 8 + 4, 2 * 8 + 5, 3 * 8 + 4, 3 * 8 + 5]
    one, two = method._members()
    p = [one.maps(torch.tensor([0.5])).exp().item(), two.maps(torch.tensor([0.5])).exp().item()]
    expected = -math.log10(scipy.stats.combine_pvalues(p, method="fisher").pvalue)
    assert found[0, 0, 7, 0].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("toys")
def test_a_member_that_learns_from_labels_is_refused_only_where_it_would_be_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Brightness, "Options", Taught)
    method = ensemble("brightness", "darkness")
    with pytest.raises(UsageError, match="brightness learns from labels: fit it alone"):
        method.prepare()
    method.adopt([Brightness(Taught(), (8, 8), 1).state_dict()] * 2)
    assert [phase.name for phase in method.phases()] == ["reference scores"]


@pytest.mark.usefixtures("toys")
def test_references_that_are_too_few_or_broken_are_refused() -> None:
    method = ensemble("brightness", "darkness")
    (*_, refer) = method.phases()
    with pytest.raises(UsageError, match="two held-out normals or more"):
        refer.collect([flat(0.5)])
    with pytest.raises(UsageError, match="brightness gave a score that is not a number"):
        refer.collect([flat(0.5, math.nan)])


def test_what_it_is_told_is_checked() -> None:
    with pytest.raises(UsageError, match="two members or more, not 1"):
        make_options(Ensemble, {"members": "knn"})
    with pytest.raises(UsageError, match="did you mean 'fisher'"):
        make_options(Ensemble, {"combine": "fischer"})
    with pytest.raises(UsageError, match="unknown method"):
        make_options(Ensemble, {"members": "knn,nearest"})
    with pytest.raises(UsageError, match="ensemble: knn needs images of at least 32"):
        ensemble("knn", "knn", size=(16, 16))
