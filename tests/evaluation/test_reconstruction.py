"""Fidelity of reconstructions, against scikit-image and by hand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unremarkable.errors import UsageError
from unremarkable.evaluation import reconstruction
from unremarkable.evaluation.reconstruction import LPIPS, PERCEPTUAL, Fidelity, PerceptualDistance, l1, psnr, ssim
from unremarkable.networks import weights
from unremarkable.networks.perceptual import Perceptual


def pair(seed: int = 0, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, shape or (40, 30), dtype=np.uint8)
    return image, np.clip(image + rng.normal(0, 20, image.shape), 0, 255).astype(np.uint8)


def test_against_scikit_image() -> None:
    image, rebuilt = pair()
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert ssim(image, rebuilt) == pytest.approx(structural_similarity(image, rebuilt, **settings))
    assert psnr(image, rebuilt) == pytest.approx(peak_signal_noise_ratio(image, rebuilt))
    colour, other = pair(1, 40, 30, 3)
    each = [ssim(colour[..., channel], other[..., channel]) for channel in range(3)]
    assert ssim(colour, other) == pytest.approx(np.mean(each))


def test_by_hand() -> None:
    black, white = np.zeros((12, 12), np.uint8), np.full((12, 12), 255, np.uint8)
    assert l1(black, white) == 1
    assert psnr(black, white) == 0
    assert psnr(black, np.full((12, 12), 51, np.uint8)) == pytest.approx(20 * np.log10(5))
    assert l1(white, np.full((12, 12), 204, np.uint8)) == pytest.approx(0.2)
    # Constant images: variances vanish, and C1 / (1 + C1) is left.
    assert ssim(black, white) == pytest.approx(1e-4 / (1 + 1e-4))
    assert ssim(white, white) == 1
    assert np.isnan(psnr(white, white))
    assert np.isnan(ssim(black[:10], black[:10]))


def test_perceptual_distance() -> None:
    image, rebuilt = pair(2, 64, 64)
    distance = PerceptualDistance()
    assert distance(image, image) == 0
    near = np.clip(image.astype(int) + 3, 0, 255).astype(np.uint8)
    assert 0 < distance(image, near) < distance(image, rebuilt)
    assert distance(image, rebuilt) == pytest.approx(distance(rebuilt, image), rel=1e-4)
    colour = np.repeat(image[..., None], 3, axis=-1)
    assert distance(colour, np.repeat(rebuilt[..., None], 3, axis=-1)) == pytest.approx(distance(image, rebuilt))
    assert "lpips" not in PERCEPTUAL


def test_means_over_cases_with_intervals() -> None:
    fidelity = Fidelity()
    assert fidelity.metrics() == {}
    pairs = [pair(seed) for seed in range(6)]
    for index, (image, rebuilt) in enumerate(pairs):
        fidelity.add(image, rebuilt, f"patient {index}")
    found = fidelity.metrics(replicates=200)
    assert set(found) == {"ssim", "psnr", "l1", PERCEPTUAL}
    for name, measure in (("ssim", ssim), ("psnr", psnr), ("l1", l1)):
        assert found[name].value == pytest.approx(np.mean([measure(*one) for one in pairs]))
        assert found[name].low < found[name].value < found[name].high
    fidelity.add(pairs[0][0], pairs[0][0], "perfect")
    assert fidelity.metrics(replicates=0)["psnr"].value is None
    json.dumps({name: one.to_dict() for name, one in found.items()}, allow_nan=False)


def test_without_weights_the_perceptual_distance_is_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(metric: str) -> None:
        raise UsageError("the weights are not on this machine")

    monkeypatch.setattr(reconstruction, "PerceptualDistance", absent)
    fidelity = Fidelity()
    fidelity.add(*pair(), "a")
    found = fidelity.metrics(replicates=0)
    assert found[PERCEPTUAL].value is None
    assert found[PERCEPTUAL].reason == "the weights are not on this machine"
    assert found["l1"].value is not None


@pytest.fixture
def lpips_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Perceptual:
    """LPIPS of random weights, in files that pass for the published ones."""
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    published = Perceptual("lpips-alex")
    lins = {f"lin{i}.model.1.weight": torch.rand_like(layer.weight) for i, layer in enumerate(published.weigh)}
    for name, state in (("alexnet-owt", published.trunk.state_dict()), ("lpips-alex", lins)):
        path = tmp_path / weights._FILES[name].file
        path.parent.mkdir(exist_ok=True)
        torch.save(state, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setitem(weights._FILES, name, replace(weights._FILES[name], sha256=digest))
    published.load_pretrained()
    return published


def test_lpips_is_measured_where_its_files_are(lpips_files: Perceptual) -> None:
    fidelity = Fidelity()
    pairs = [pair(seed, 31, 40) for seed in range(3)]
    for index, (image, rebuilt) in enumerate(pairs):
        fidelity.add(image, rebuilt, f"patient {index}")
    batches = (torch.from_numpy(np.stack(side)[:, None]).float() / 255 for side in zip(*pairs, strict=True))
    with torch.no_grad():
        expected = lpips_files(*batches).mean().item()
    assert fidelity.metrics(replicates=0)[LPIPS].value == pytest.approx(expected, rel=1e-5)


def test_images_too_small_for_lpips_have_none(lpips_files: Perceptual) -> None:
    fidelity = Fidelity()
    fidelity.add(*pair(0, 30, 40), "a")
    found = fidelity.metrics(replicates=0)
    assert found[LPIPS].value is None
    assert "31 × 31" in (found[LPIPS].reason or "")
    assert found["l1"].value is not None


def test_a_damaged_file_of_lpips_is_named(lpips_files: Perceptual, tmp_path: Path) -> None:
    damaged = tmp_path / weights._FILES["lpips-alex"].file
    damaged.write_bytes(b"half")
    fidelity = Fidelity()
    fidelity.add(*pair(), "a")
    found = fidelity.metrics(replicates=0)
    assert found[LPIPS].value is None
    assert str(damaged) in (found[LPIPS].reason or "")
    assert found[PERCEPTUAL].value is not None
