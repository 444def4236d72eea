"""Hetero-AE: its equations by hand, what may move and what may not, and the label-free choice of scoring."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unremarkable.detector import Detector
from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Phase
from unremarkable.methods.hetero_ae import HeteroAE, HeteroAEOptions, stage_loss
from unremarkable.methods.registry import make_options, method_class
from unremarkable.methods.scoring_rule import REDUCTIONS, rules
from unremarkable.networks.feature_decoder import Decoder, Kind

SIDE = 64


def build(**options: Any) -> HeteroAE:
    torch.manual_seed(0)
    return HeteroAE(HeteroAEOptions(**options), (SIDE, SIDE), 1)


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


class Learn:
    """The loop's `Update` in three lines."""

    def __init__(self, phase: Phase) -> None:
        self.step, self.optimizers = 0, phase.optimizers()

    def __call__(self, optimizer: str, loss: torch.Tensor) -> None:
        self.optimizers[optimizer].zero_grad()
        loss.backward()
        self.optimizers[optimizer].step()


def training(method: HeteroAE) -> Phase:
    (phase,) = (phase for phase in method.phases() if isinstance(phase, Phase))
    return phase


def collecting(method: HeteroAE, name: str) -> Collect:
    """One of the phases that only look."""
    (phase,) = (phase for phase in method.phases() if isinstance(phase, Collect) and phase.name == name)
    return phase


def test_is_registered_and_reads_its_options_from_text() -> None:
    assert method_class("hetero-ae") is HeteroAE
    options = make_options(HeteroAE, {"stages": "2,3", "rule": "top10", "train-encoder": "false"})
    assert options == HeteroAEOptions(stages=(2, 3), rule="top10", train_encoder=False)


def test_no_option_is_named_as_a_setting_of_the_detector() -> None:
    """It could be neither given nor loaded: both go to the detector by name."""
    settings = set(inspect.signature(Detector.__init__).parameters)
    assert not settings & {field.name for field in dataclasses.fields(HeteroAEOptions)}


def test_loss_by_hand() -> None:
    """Eq. 4 in numpy, location by location."""
    rng = np.random.default_rng(0)
    e, d = rng.normal(size=(2, 5, 3, 4)), rng.normal(size=(2, 5, 3, 4))
    expected = np.zeros((2, 3, 4))
    for n, h, w in np.ndindex(2, 3, 4):
        a, b = e[n, :, h, w], d[n, :, h, w]
        cosine = a @ b / np.sqrt((a @ a) * (b @ b))
        expected[n, h, w] = -0.7 * cosine + 0.3 * np.mean((a - b) ** 2)
    np.testing.assert_allclose(stage_loss(torch.from_numpy(e), torch.from_numpy(d), 0.7), expected, rtol=1e-6)


def test_image_loss_sums_the_stages_means() -> None:
    """Eq. 5: each stage counts the same, whatever its resolution."""
    method = build().eval()
    batch = images(2)
    with torch.no_grad():
        encoded, decoded = method.features(batch)
        expected = sum(stage_loss(e, d, 0.7).flatten(1).mean(dim=1) for e, d in zip(encoded, decoded, strict=True))
        torch.testing.assert_close(method.loss(batch), expected)
    assert [e.shape[-1] for e in encoded] == [SIDE // 4, SIDE // 8, SIDE // 16]
    assert [d.shape for d in decoded] == [e.shape for e in encoded]


def test_map_and_score_by_hand() -> None:
    """Eq. 6–8 in numpy, apart from the bilinear resizing."""
    method = build(rule="max").eval()
    batch = images(2)
    with torch.no_grad():
        encoded, decoded = method.features(batch)
        prediction = method.predict(batch)
    total = np.zeros((2, 1, SIDE, SIDE))
    for e, d in zip(encoded, decoded, strict=True):
        a, b = e.numpy(), d.numpy()
        distance = 1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
        total += F.interpolate(torch.from_numpy(distance)[:, None], (SIDE, SIDE), mode="bilinear").numpy()
    np.testing.assert_allclose(prediction.map, total, atol=1e-5)
    np.testing.assert_allclose(prediction.score, total.reshape(2, -1).max(axis=1), atol=1e-5)
    assert prediction.reconstruction is None


def test_the_loss_never_reaches_the_encoder_through_its_targets() -> None:
    """With F_E^4 cut off as well, no gradient is left for the encoder; with it, there is one."""
    method = build().train()
    encoded, _ = method.features(images(2))
    assert not any(feature.requires_grad for feature in encoded)

    method.decoder.register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(),))
    method.loss(images(2)).mean().backward()
    assert all(p.grad is None for p in method.encoder.parameters())

    method = build().train()
    method.loss(images(2)).mean().backward()
    assert sum(float(p.grad.abs().sum()) for p in method.encoder.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize("trained", [False, True])
def test_what_a_step_moves(trained: bool) -> None:
    """A frozen encoder stays bit for bit, batch-norm buffers included; a trained one moves, those included."""
    method = build(train_encoder=trained).train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    phase = training(method)
    losses = phase.step(images(4), Learn(phase))
    assert set(losses) == {"loss"}
    assert not losses["loss"].requires_grad
    moved = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("decoder.") for key in moved)
    in_encoder = {key for key in moved if key.startswith("encoder.")}
    assert any("running_mean" in key for key in in_encoder) == trained
    assert any(key.endswith("weight") for key in in_encoder) == trained
    if not trained:
        assert not in_encoder


def test_a_trained_encoder_has_its_own_rate() -> None:
    optimizer = training(build()).optimizers()["adam"]
    assert [group["lr"] for group in optimizer.param_groups] == [
        HeteroAEOptions().learning_rate,
        HeteroAEOptions().encoder_learning_rate,
    ]
    assert len(training(build(train_encoder=False)).optimizers()["adam"].param_groups) == 1


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_decoder_learns(kind: Any) -> None:
    method = build(decoder=kind, learning_rate=3e-3, train_encoder=False).train()
    phase = training(method)
    update, batch = Learn(phase), images(4)
    losses = [float(phase.step(batch, update)["loss"]) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_scores_do_not_depend_on_the_batch() -> None:
    method = build().eval()
    batch = images(6)
    with torch.no_grad():
        together = method.predict(batch)
        alone = [method.predict(image.unsqueeze(0)) for image in batch]
    torch.testing.assert_close(together.score, torch.cat([p.score for p in alone]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.map, torch.cat([p.map for p in alone]), rtol=1e-5, atol=1e-5)


def test_stages_option_selects_what_enters_the_map() -> None:
    with torch.no_grad():
        everything = build(rule="mean").eval().stage_maps(images(2))
        chosen = build(rule="mean", stages=(2, 3)).eval().predict(images(2))
    torch.testing.assert_close(chosen.map, everything[:, 1:].sum(dim=1, keepdim=True))
    torch.testing.assert_close(chosen.score, chosen.map.mean(dim=(1, 2, 3)))


def test_the_rule_prefers_what_separates_planted_anomalies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage 2 alone answers to planted anomalies, everywhere a little; stages 1 and 3 hold a bright random spot."""
    method = build().eval()
    clean = images(40)
    known = {image.numpy().tobytes() for image in clean}
    noise = torch.Generator().manual_seed(1)

    def maps(batch: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(len(batch), 3, SIDE, SIDE)
        out[:, (0, 2), 3, 3] = 100 * torch.rand(len(batch), 2, generator=noise)
        out[:, (0, 2)] += 50 * torch.rand(len(batch), 2, 1, 1, generator=noise)
        anomalous = [image.numpy().tobytes() not in known for image in batch]
        out[:, 1] = torch.tensor(anomalous).float().view(-1, 1, 1) + 0.1
        out[:, 1, 5, 5] = 10 * torch.rand(len(batch), generator=noise)
        return out

    monkeypatch.setattr(method, "stage_maps", maps)
    rule = collecting(method, "scoring rule")
    assert rule.held_out  # on normals that the network was not trained on
    rule.collect(iter(clean.split(7)))
    assert method.stages.tolist() == [False, True, False]
    assert REDUCTIONS[int(method.reducer)] != "max"
    assert method.settled() == {"stages": [2], "reduction": method.rule[1]}

    loaded = build()
    loaded.load_weights(method.state_dict())
    assert torch.equal(loaded.stages, method.stages)
    assert torch.equal(loaded.reducer, method.reducer)


def test_a_tie_goes_to_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    method = build().eval()
    monkeypatch.setattr(method, "stage_maps", lambda batch: torch.ones(len(batch), 3, SIDE, SIDE))
    collecting(method, "scoring rule").collect(iter([images(5)]))
    assert rules((1, 2, 3))[0] == ((1, 2, 3), "max") == method.rule
    assert method.stages.all()
    assert REDUCTIONS[int(method.reducer)] == "max"


def test_a_named_reduction_needs_no_choice() -> None:
    assert [phase.name for phase in build(rule="max").phases()] == ["feature scale", "features"]
    assert [phase.name for phase in build().phases()] == ["feature scale", "features", "scoring rule"]
    assert HeteroAE.reduction == "max"


def test_targets_are_brought_to_unit_scale_and_the_map_does_not_notice() -> None:
    method = build().eval()
    batch = images(8)
    with torch.no_grad():
        before, _ = method.features(batch)
        maps = method.stage_maps(batch)
        collecting(method, "feature scale").collect(iter(batch.split(2)))
        after, _ = method.features(batch)
        torch.testing.assert_close(method.stage_maps(batch), maps, rtol=1e-4, atol=1e-5)
    for raw, scaled, factor in zip(before, after, method.scale, strict=True):
        assert float(scaled.square().mean()) == pytest.approx(1, rel=1e-4)
        assert float(factor) == pytest.approx(1 / float(raw.square().mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "size", "message"),
    [
        ({}, (208, 208), "32 divides, not 208 × 208"),
        ({"encoder": "vgg16"}, (72, 64), "16 divides, not 72 × 64"),
        ({"stages": (0, 1)}, (SIDE, SIDE), "stages"),
        ({"stages": ()}, (SIDE, SIDE), "stages"),
        ({"alpha": 1.5}, (SIDE, SIDE), "alpha"),
        ({"epochs": 0}, (SIDE, SIDE), "epochs"),
        ({"encoder": "efficientnet-lite9"}, (SIDE, SIDE), "efficientnet-lite"),
        ({"decoder": "swim"}, (SIDE, SIDE), "did you mean 'swin'"),
        ({"compare": "voxels"}, (SIDE, SIDE), "did you mean 'pixels'"),
        ({"compare": "pixels", "stages": (1, 2)}, (SIDE, SIDE), "with compare=pixels there is one map"),
        ({"rule": "median"}, (SIDE, SIDE), "rule"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], size: tuple[int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HeteroAE(HeteroAEOptions(**options), size, 1)


def test_parameter_count_with_the_paper_s_encoder() -> None:
    """Decoder channels are the paper's when the encoder is a ResNet-18; the paper counts 17.3 million in all."""
    method = HeteroAE(HeteroAEOptions(encoder="resnet18"), (256, 256), 3)
    assert [stage.fuse.out_channels for stage in method.decoder.stages] == [64, 128, 256]
    assert sum(p.numel() for p in method.encoder.parameters()) == 11_176_512
    decoder = sum(p.numel() for p in method.decoder.parameters())
    grids = tuple((256 // stride, 256 // stride) for stride in (4, 8, 16, 32))
    assert decoder == sum(p.numel() for p in Decoder((64, 128, 256, 512), grids, "hybrid").parameters())
    assert 4.0e6 < decoder < 4.5e6


def test_comparing_pixels_by_hand() -> None:
    """Table IV: the squared error of the pixels is the loss, the map and, by its maximum, the score."""
    method = build(compare="pixels", rule="max").eval()
    batch = images(3)
    with torch.no_grad():
        rebuilt = method.rebuild(batch)
        prediction, loss = method.predict(batch), method.loss(batch)
    error = (batch.numpy() - rebuilt.numpy()) ** 2
    np.testing.assert_allclose(loss, error.reshape(3, -1).mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(prediction.map, error, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(prediction.score, error.reshape(3, -1).max(axis=1), rtol=1e-5)
    assert prediction.reconstruction is not None
    assert torch.equal(prediction.reconstruction, rebuilt)
    assert method.feature_pairs(batch) is None


def test_colour_counts_as_the_mean_over_channels() -> None:
    method = HeteroAE(HeteroAEOptions(compare="pixels", rule="max"), (SIDE, SIDE), 3).eval()
    batch = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        prediction = method.predict(batch)
    assert prediction.reconstruction is not None
    expected = ((batch - prediction.reconstruction) ** 2).sum(1, keepdim=True) / 3
    torch.testing.assert_close(prediction.map, expected)


def test_pixels_train_everything_and_need_no_scale() -> None:
    method = build(compare="pixels").train()
    assert [phase.name for phase in method.phases()] == ["pixels", "scoring rule"]
    method.loss(images(2)).mean().backward()
    assert all(p.grad is not None for p in method.decoder.stages[0].parameters())
    assert method.head is not None
    assert all(p.grad is not None for p in method.head.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.encoder.parameters())
    phase = training(method)
    held = {id(p) for group in phase.optimizers()["adam"].param_groups for p in group["params"]}
    assert held == {id(p) for p in method.parameters()}


def test_the_rule_for_pixels_chooses_a_reduction_only() -> None:
    method = build(compare="pixels").eval()
    with torch.no_grad():
        collecting(method, "scoring rule").collect(iter([images(6)]))
    assert method.rule[0] == (1,)
    assert method.settled() == {"reduction": method.rule[1]}


@pytest.mark.parametrize("encoder", ["hybrid", "transformer"])
def test_an_encoder_without_pretrained_weights_learns_at_the_decoder_s_rate(encoder: str) -> None:
    method = build(encoder=encoder, decoder=encoder).train()
    method.prepare()  # nothing is looked for
    phase = training(method)
    rates = [group["lr"] for group in phase.optimizers()["adam"].param_groups]
    assert rates == [HeteroAEOptions().learning_rate] * 2
    phase.step(images(2), Learn(phase))
    frozen = build(encoder=encoder, train_encoder=False)
    assert len(training(frozen).optimizers()["adam"].param_groups) == 1


@pytest.mark.parametrize(("encoder", "strides"), [("vgg16", (2, 4, 8, 16)), ("resnet50", (4, 8, 16, 32))])
def test_any_backbone_with_four_halvings_encodes(encoder: str, strides: tuple[int, ...]) -> None:
    method = HeteroAE(HeteroAEOptions(encoder=encoder), (32, 64), 1).eval()
    with torch.no_grad():
        encoded, decoded = method.features(torch.rand(1, 1, 32, 64))
        assert method.predict(torch.rand(1, 1, 32, 64)).map.shape == (1, 1, 32, 64)
    assert [f.shape[2] for f in encoded] == [32 // stride for stride in strides[:3]]
    assert [f.shape for f in decoded] == [f.shape for f in encoded]
