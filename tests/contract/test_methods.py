"""One battery over every registered method: what `methods/base.py` promises, each method keeps."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unremarkable.benchmark.measure import flops
from unremarkable.detector import Detector
from unremarkable.errors import UsageError
from unremarkable.methods import make_options, method_class, method_names
from unremarkable.methods.base import Collect, Method, Options, Phase, Prediction
from unremarkable.training.batches import as_collected, load
from unremarkable.training.machine import Machine

from .conftest import SIZE, build, fit, learning, noise, scans

DOCS = Path(__file__).parents[2] / "docs" / "methods"
REDUCTIONS = {"max", "mean", "top1", "top10", "own"}
Fitted = Callable[[str, int], Method]

every_method = pytest.mark.parametrize("name", method_names())
every_channels = pytest.mark.parametrize("channels", [1, 3])


def predict(method: Method, images: Tensor) -> Prediction:
    method.eval()
    with torch.no_grad():
        return method.predict(images)


def normals(channels: int, count: int = 32) -> Tensor:
    return torch.from_numpy(scans(count, channels, seed=2))


def reduced(maps: Tensor, reduction: str) -> Tensor:
    """The image score that a reduction makes of `(N, 1, h, w)` maps, written down a second time and with numpy."""
    flat = np.sort(maps.flatten(1).double().numpy(), axis=1)[:, ::-1]
    share = {"max": 0.0, "top1": 0.01, "top10": 0.1, "mean": 1.0}[reduction]
    return torch.from_numpy(flat[:, : max(1, round(share * flat.shape[1]))].mean(1).copy())


def assert_same(a: Prediction, b: Prediction) -> None:
    """Bit for bit."""
    for field in dataclasses.fields(Prediction):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert (x is None and y is None) or torch.equal(x, y), field.name


# --- what a method says of itself ---


@every_method
def test_says_what_it_is(name: str) -> None:
    cls = method_class(name)
    assert issubclass(cls, Method)
    assert cls.name == name
    assert re.search(r"\b(19|20)\d\d\b", cls.paper), "the paper has a year"
    assert cls.family == cls.family.strip().lower() != ""
    assert cls.reduction in REDUCTIONS
    assert 32 <= cls.default_size <= 1024
    assert cls.__doc__
    assert "eviation" in cls.__doc__, "the docstring lists the deviations from the paper"
    assert list(inspect.signature(cls.__init__).parameters) == ["self", "options", "size", "channels"]


@every_method
def test_options_are_frozen_and_each_is_explained(name: str) -> None:
    cls = method_class(name)
    assert issubclass(cls.Options, Options)
    defaults = cls.Options()
    for field in dataclasses.fields(defaults):
        text = field.metadata.get("help", "")
        assert 0 < len(text) <= 100, f"{field.name} needs one line of help"
        assert "\n" not in text
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(defaults, field.name, None)


@every_method
def test_no_option_has_the_name_of_a_detector_argument(name: str) -> None:
    taken = set(inspect.signature(Detector).parameters) - {"options"}
    assert not taken & {field.name for field in dataclasses.fields(method_class(name).Options)}


@every_method
def test_every_default_can_be_written_on_the_command_line(name: str) -> None:
    cls = method_class(name)
    defaults = cls.Options()
    for field in dataclasses.fields(defaults):
        value = getattr(defaults, field.name)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert make_options(cls, {field.name.replace("_", "-"): text}) == defaults


@every_method
def test_its_page_tells_the_true_defaults(name: str) -> None:
    page = DOCS / f"{name}.md"
    assert page.is_file(), f"docs/methods/{name}.md is missing"
    text = page.read_text(encoding="utf-8")
    cls = method_class(name)
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? \|", text, re.M))
    for option, default in rows.items():
        assert make_options(cls, {option: default}) == cls.Options(), f"{page.name}: {option} is not {default}"
    missing = {field.name for field in dataclasses.fields(cls.Options)} - rows.keys()
    assert not missing or f"unremarkable methods {name}" in text, f"{page.name} leaves out {missing}"


@every_method
@every_channels
def test_builds_with_its_defaults_at_its_published_size(name: str, channels: int) -> None:
    cls = method_class(name)
    method = cls(cls.Options(), (cls.default_size, cls.default_size), channels)
    assert method.options == cls.Options()
    assert method.size == (cls.default_size, cls.default_size)
    assert method.channels == channels


@every_method
def test_building_draws_from_the_global_generator_only(name: str) -> None:
    one, two = build(name, seed=7).state_dict(), build(name, seed=7).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


@every_method
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (50, 70), (96, 64)], ids=str)
def test_unusual_sizes_work_or_are_refused(name: str, size: tuple[int, int]) -> None:
    refusal = None
    try:
        build(name, size=size)
    except UsageError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert name in refusal
        return
    prediction = predict(fit(name, size=size, count=4), torch.from_numpy(scans(3, 1, size)))
    assert prediction.map.shape[:2] == (3, 1)
    assert prediction.score.isfinite().all()


# --- how it is fitted ---


@every_method
def test_phases_are_well_formed(name: str) -> None:
    method = build(name)
    phases = method.phases()
    assert phases
    assert len({phase.name for phase in phases}) == len(phases)
    own = {id(parameter) for parameter in method.parameters()}
    for phase in phases:
        assert phase.batch_size >= 1
        if isinstance(phase, Collect):
            continue
        assert phase.epochs >= 1
        assert phase.validate or not (phase.patience or phase.plateau), "patience goes by held-out normals"
        optimizers = phase.optimizers()
        assert optimizers
        moved = [id(p) for o in optimizers.values() for group in o.param_groups for p in group["params"]]
        assert set(moved) <= own
        assert len(set(moved)) == len(moved), "no parameter belongs to two optimisers"


@every_method
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
def test_steps_move_what_their_optimisers_hold_and_nothing_else(name: str, bf16: bool) -> None:
    method = build(name, channels=1)
    method.prepare()
    batch = load(learning(method, 4, 1), np.arange(4 + 2 * method.options.needs_labels), Machine("cpu", "32"))
    for phase in method.phases():
        if isinstance(phase, Collect):
            with torch.no_grad():
                phase.collect(iter([as_collected(batch)]))
            continue
        optimizers = phase.optimizers()
        held = {id(p) for o in optimizers.values() for group in o.param_groups for p in group["params"]}
        before = {key: p.detach().clone() for key, p in method.named_parameters()}
        update = _Update(optimizers)
        method.train()
        for _ in range(6):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
                losses = phase.step(*batch, update)
            update.step += 1
            assert losses
            assert all(loss.numel() == 1 and loss.isfinite() for loss in losses.values())
            if update.used == set(optimizers):
                break
        assert update.used == set(optimizers), "every optimiser is used within a few steps"
        for key, parameter in method.named_parameters():
            assert parameter.isfinite().all(), key
            assert id(parameter) in held or torch.equal(parameter, before[key]), f"{phase.name} moved {key}"
        for optimizer in optimizers.values():
            ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
            assert any(id(p) in ids and not torch.equal(p, before[k]) for k, p in method.named_parameters())


@every_method
def test_held_out_loss_is_per_image(name: str, fitted: Fitted) -> None:
    method = copy.deepcopy(fitted(name, 1)).eval()
    images = normals(1, 5)
    labels = [torch.tensor([0.0, 1, 0, 1, 1])] if method.options.needs_labels else []
    for phase in method.phases():
        if isinstance(phase, Phase) and phase.validate:
            with torch.no_grad():
                together = phase.validate(images, *labels)
                ones = zip(*(tensor.split(1) for tensor in (images, *labels)), strict=True)
                alone = torch.cat([phase.validate(*one) for one in ones])
            assert together.shape == (5,)
            assert together.isfinite().all()
            torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@every_method
def test_one_seed_gives_one_set_of_weights(name: str, fitted: Fitted) -> None:
    torch.rand(5)  # what the caller drew before must not matter
    again, first = fit(name, 1).state_dict(), fitted(name, 1).state_dict()
    assert again.keys() == first.keys()
    assert [key for key in first if not torch.equal(first[key], again[key])] == []


@every_method
def test_fitting_leaves_nothing_outside_the_state_dict(name: str, fitted: Fitted) -> None:
    method = fitted(name, 1)
    fresh = build(name, seed=99)
    fresh.load_weights(method.state_dict())
    assert_same(predict(fresh, normals(1, 4)), predict(method, normals(1, 4)))


# --- what it predicts ---


@every_method
@every_channels
def test_prediction_has_the_promised_shapes(name: str, channels: int, fitted: Fitted) -> None:
    prediction = predict(fitted(name, channels), normals(channels, 3))
    assert prediction.map.shape[:2] == (3, 1)
    assert all(1 <= a <= b for a, b in zip(prediction.map.shape[2:], SIZE, strict=True))
    assert prediction.score.shape == (3,)
    for tensor in (prediction.map, prediction.score):
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
        assert not tensor.requires_grad
    if prediction.reconstruction is not None:
        assert prediction.reconstruction.shape == (3, channels, *SIZE)
        assert prediction.reconstruction.min() >= 0
        assert prediction.reconstruction.max() <= 1


@every_method
@every_channels
def test_batch_size_and_order_change_nothing(name: str, channels: int, fitted: Fitted) -> None:
    method = fitted(name, channels)
    images = normals(channels)
    together = predict(method, images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    shuffled = predict(method, images[order])
    alone = [predict(method, image) for image in images.split(1)]
    for field in ("map", "score"):
        whole = getattr(together, field)
        torch.testing.assert_close(getattr(shuffled, field), whole[order], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.cat([getattr(p, field) for p in alone]), whole, rtol=1e-5, atol=1e-5)


@every_method
def test_predicting_is_repeatable_and_leaves_no_trace(name: str, fitted: Fitted) -> None:
    method = fitted(name, 1)
    images = normals(1, 4)
    given, weights = images.clone(), {key: value.clone() for key, value in method.state_dict().items()}
    torch.manual_seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = predict(method, images)
    assert torch.equal(torch.get_rng_state(), states[0]), "predict draws random numbers"
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    torch.manual_seed(2)
    assert_same(predict(method, images), first)
    assert torch.equal(images, given), "predict changed its input"
    assert all(torch.equal(value, weights[key]) for key, value in method.state_dict().items())


@every_method
def test_what_scoring_costs_can_be_counted(name: str, fitted: Fitted) -> None:
    assert flops(fitted(name, 1)) > 0


@every_method
def test_score_is_the_declared_reduction_of_the_map(name: str, fitted: Fitted) -> None:
    method = fitted(name, 1)
    prediction = predict(method, normals(1, 8))
    if method.reduction != "own":
        torch.testing.assert_close(
            prediction.score.double(), reduced(prediction.map, method.reduction), rtol=1e-5, atol=1e-6
        )
    assert prediction.score.unique().numel() == 8, "images that differ have scores that differ"


@every_method
@every_channels
def test_larger_is_more_anomalous(name: str, channels: int, fitted: Fitted) -> None:
    method = fitted(name, channels)
    normal, abnormal = predict(method, normals(channels, 8)), predict(method, noise(8, channels))
    assert abnormal.score.mean() > normal.score.mean()
    assert abnormal.map.mean() > normal.map.mean()


@every_method
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_images_are_scored(name: str, level: float, fitted: Fitted) -> None:
    prediction = predict(fitted(name, 1), torch.full((2, 1, *SIZE), level))
    assert prediction.map.isfinite().all()
    assert prediction.score.isfinite().all()
    torch.testing.assert_close(prediction.score[0], prediction.score[1])


class _Update:
    """The smallest thing that keeps the `Update` protocol."""

    def __init__(self, optimizers: dict[str, torch.optim.Optimizer]) -> None:
        self.step = 0
        self.used: set[str] = set()
        self._optimizers = optimizers

    def __call__(self, optimizer: str, loss: Tensor) -> None:
        assert loss.dtype == torch.float32, "losses are summed in float32 even where the networks run in bfloat16"
        self.used.add(optimizer)
        self._optimizers[optimizer].zero_grad()
        loss.backward()
        self._optimizers[optimizer].step()
