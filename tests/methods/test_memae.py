"""The memory-augmented autoencoder: addressing, shrinkage and entropy from the paper's equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.memae import MemAE, MemAEOptions
from unremarkable.networks.memory import Memory, entropy

SMALL = {"widths": (4, 4, 8, 8), "latent_dim": 5, "slots": 7}


def recalled(queries: np.ndarray, slots: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Equations 3 to 7, one query at a time, with the paper's continuous shrinkage."""
    out, weights = [], []
    for z in queries:
        d = np.array([z @ m / (np.linalg.norm(z) * np.linalg.norm(m)) for m in slots])
        w = np.exp(d) / np.exp(d).sum()
        w = np.maximum(w - threshold, 0) * w / (np.abs(w - threshold) + 1e-15)
        w = w / w.sum()
        weights.append(w)
        out.append(w @ slots)
    return np.array(out), np.array(weights)


@pytest.mark.parametrize("shrink", [0.0, 1.0, 1.2])
def test_memory_by_hand(shrink: float) -> None:
    torch.manual_seed(0)
    memory = Memory(7, 5, shrink)
    queries = torch.randn(6, 5)
    expected, weights = recalled(queries.double().numpy(), memory.slots.detach().double().numpy(), shrink / 7)
    found, given = memory(queries)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(given.detach(), weights, rtol=1e-4, atol=1e-6)
    if shrink:
        assert (given == 0).any()
    expected_entropy = [-sum(w * np.log(w) for w in row if w > 0) for row in weights]
    np.testing.assert_allclose(entropy(given).detach(), expected_entropy, rtol=1e-4)


def test_each_place_asks_on_its_own() -> None:
    torch.manual_seed(0)
    memory = Memory(7, 5, 1.0)
    grid = torch.randn(2, 5, 3, 4)
    found, weights = memory(grid)
    assert found.shape == grid.shape
    assert weights.shape == (2, 3, 4, 7)
    alone, _ = memory(grid[1, :, 2, 3][None])
    torch.testing.assert_close(found[1, :, 2, 3], alone[0])
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 4))


def test_one_slot_is_always_left_and_nothing_breaks_where_none_is() -> None:
    torch.manual_seed(0)
    _, weights = Memory(50, 4, 1.0)(torch.randn(100, 4))
    assert (weights > 0).any(-1).all()
    memory = Memory(10, 4, 50.0)  # no weight can be this large
    queries = torch.randn(3, 4, requires_grad=True)
    found, weights = memory(queries)
    assert torch.equal(found, torch.zeros(3, 4))
    (found.sum() + entropy(weights).sum()).backward()
    assert queries.grad.isfinite().all()
    assert memory.slots.grad.isfinite().all()


@pytest.mark.parametrize("bottleneck", ["spatial", "vector"])
def test_loss_map_and_score(bottleneck: str) -> None:
    torch.manual_seed(0)
    method = MemAE(MemAEOptions(**SMALL, bottleneck=bottleneck, entropy_weight=0.3), (32, 32), 3).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        code = method.encoder(images)
        rows = code.movedim(1, -1).reshape(-1, 5).double().numpy()
        found, weights = recalled(rows, method.memory.slots.double().numpy(), 1 / 7)
        shaped = torch.from_numpy(found).float().view(*code.movedim(1, -1).shape).movedim(-1, 1)
        out = method.decoder(shaped)
        prediction = method.predict(images)
        loss, logged = method.losses(images)
        held_out = method.held_out_loss(images)
    error = (2 * images - 2 * out).square().mean(1, keepdim=True)
    torch.testing.assert_close(prediction.map, error, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(prediction.score, error.mean((1, 2, 3)), rtol=1e-3, atol=1e-5)
    disorder = np.mean([-sum(w * np.log(w) for w in row if w > 0) for row in weights])
    assert float(logged["entropy"]) == pytest.approx(disorder, rel=1e-4)
    assert float(loss) == pytest.approx(float(error.mean()) + 0.3 * disorder, rel=1e-4)
    assert float(held_out.mean()) == pytest.approx(float(loss), rel=1e-5)


def test_the_memory_learns_and_is_all_that_the_decoder_sees() -> None:
    torch.manual_seed(0)
    method = MemAE(MemAEOptions(**SMALL), (32, 32), 1)
    loss, _ = method.losses(torch.rand(4, 1, 32, 32))
    loss.backward()
    assert method.memory.slots.grad.abs().sum() > 0
    (optimizer,) = method.phases()[0].optimizers().values()
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in method.parameters()} == held
    with torch.no_grad():
        method.memory.slots.zero_()
        rebuilt, _ = method.eval().rebuild(torch.rand(3, 1, 32, 32))
    torch.testing.assert_close(rebuilt[0], rebuilt[2])


@pytest.mark.parametrize("text", [{"slots": "1"}, {"shrink": "-1"}, {"entropy_weight": "nan"}, {"hidden": "-1"}])
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(MemAE, text)


def test_defaults_are_the_papers() -> None:
    options = MemAEOptions()
    assert (options.slots, options.entropy_weight) == (500, 2e-4)
    assert 1 <= options.shrink <= 3
