from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from unremarkable.methods import coreset
from unremarkable.methods.coreset import Sample, greedy_coreset


def exact_greedy(points: NDArray[np.float64], count: int) -> list[int]:
    """Algorithm 1 of PatchCore as it is written, beginning with the first point: all distances, again each time."""
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(2))
    chosen = [0]
    while len(chosen) < count:
        to_chosen = distances[:, chosen].min(1)
        to_chosen[chosen] = -np.inf
        chosen.append(int(to_chosen.argmax()))
    return chosen


def points(count: int, dimensions: int, seed: int = 0) -> Tensor:
    """Clusters of unequal size and spread, as patches form."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 3, (6, dimensions))
    which = rng.choice(6, count, p=[0.5, 0.2, 0.15, 0.1, 0.04, 0.01])
    return torch.from_numpy(centres[which] + rng.normal(0, 1, (count, dimensions)) * (1 + which[:, None])).float()


def resident() -> int:
    """Bytes of memory that this process occupies."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("the system does not say how much memory a process takes")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("candidates", [1, 7, 40, 1024])
@pytest.mark.parametrize(("count", "dimensions"), [(60, 2), (300, 20)])
def test_is_the_exact_greedy_selection(
    monkeypatch: pytest.MonkeyPatch, candidates: int, count: int, dimensions: int
) -> None:
    monkeypatch.setattr(coreset, "CANDIDATES", candidates)
    rows = points(count, dimensions)
    for wanted in (1, 2, 17, count):
        assert greedy_coreset(rows, wanted).tolist() == exact_greedy(rows.double().numpy(), wanted)


def test_is_exact_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = points(200, 5)
    monkeypatch.setattr(coreset, "BLOCK", 64)
    assert greedy_coreset(rows, 50).tolist() == exact_greedy(rows.double().numpy(), 50)


def test_by_hand() -> None:
    """On a line, from 0: 10 is farthest; then 5, the middle; then 7 (2 away from 5), before 1 (1 away from 0)."""
    rows = torch.tensor([[0.0], [1.0], [5.0], [7.0], [10.0]])
    assert greedy_coreset(rows, 5).tolist() == [0, 4, 2, 3, 1]


def test_copies_are_chosen_last_and_each_once() -> None:
    rows = torch.cat([torch.zeros(30, 3), torch.eye(3)])
    chosen = greedy_coreset(rows, 10).tolist()
    assert set(chosen[:4]) == {0, 30, 31, 32}
    assert len(set(chosen)) == 10


def test_a_sample_is_all_there_is_while_there_is_room() -> None:
    sample = Sample(100)
    for part in points(60, 4).split(7):
        sample.add(part)
    assert sample.seen == 60
    assert sorted(sample.rows()[:, 0].tolist()) == sorted(points(60, 4)[:, 0].tolist())


@pytest.mark.parametrize("capacity", [1, 10, 64])
def test_a_sample_does_not_depend_on_how_the_stream_is_cut(capacity: int) -> None:
    kept = []
    for size in (1, 9, 500):
        torch.manual_seed(3)
        sample = Sample(capacity)
        for part in torch.arange(500.0)[:, None].split(size):
            sample.add(part)
        rows = sample.rows().squeeze(1)
        kept.append((float(rows[0]), sorted(rows.tolist())))
        assert len(set(rows.tolist())) == capacity
    assert kept[0] == kept[1] == kept[2]


def test_a_sample_is_uniform() -> None:
    """Each of 40 is in one of four samples: over 400 samples in 100, with a standard deviation of 8.7."""
    torch.manual_seed(0)
    counts = torch.zeros(40)
    for _ in range(400):
        sample = Sample(10)
        for part in torch.arange(40)[:, None].split(6):
            sample.add(part.float())
        counts[sample.rows().long().squeeze(1)] += 1
    assert (counts - 100).abs().max() < 4.5 * 8.7
    assert abs(float(counts[:10].sum() - counts[30:].sum())) < 4 * 30


def test_a_sample_takes_no_memory_that_it_does_not_fill() -> None:
    """Also where torch, to be deterministic, fills what it allocates."""
    before = resident()
    torch.set_deterministic_debug_mode("warn")
    try:
        sample = Sample(2**24)  # 8 GB at 128 dimensions
        sample.add(torch.ones(3, 128))
    finally:
        torch.set_deterministic_debug_mode("default")
    assert sample.rows().shape == (3, 128)
    assert resident() - before < 500_000_000
