"""Simplex noise against the formula written down a second time, point by point."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unremarkable.methods.simplex import draw_tables, fractal_noise, simplex_noise

EDGES = [
    (-1, -1, 0), (-1, 0, -1), (-1, 0, 1), (-1, 1, 0), (0, -1, -1), (0, -1, 1),
    (0, 1, -1), (0, 1, 1), (1, -1, 0), (1, 0, -1), (1, 0, 1), (1, 1, 0),
]  # fmt: skip


def tables(count: int, seed: int = 0) -> torch.Tensor:
    return draw_tables(count, torch.device("cpu"), torch.Generator().manual_seed(seed))


def by_hand(table: np.ndarray, point: np.ndarray) -> float:
    """One point of the noise: walk from the first corner of its simplex along the axes, the longest offset first."""
    base = np.floor(point + point.sum() / 3).astype(int)
    offset = point - (base - base.sum() / 6)
    corner, total = base.copy(), 0.0
    for axis in [None, *np.argsort(-offset, kind="stable")]:
        if axis is not None:
            corner[axis] += 1
        d = point - (corner - corner.sum() / 6)
        i, j, k = corner % 256
        edge = EDGES[table[(i + table[(j + table[k]) % 256]) % 256] % 12]
        total += max(0.0, 0.5 - d @ d) ** 4 * (np.array(edge) @ d)
    return 76.88 * total


def test_noise_is_the_formula() -> None:
    table = tables(2)
    points = np.random.default_rng(0).uniform(-40, 300, (2, 3, 60))
    ours = simplex_noise(table, *torch.from_numpy(points).unbind(1))
    for n in range(2):
        expected = [by_hand(table[n].numpy(), point) for point in points[n].T]
        np.testing.assert_allclose(ours[n].numpy(), expected, atol=1e-6)


def test_noise_is_0_at_the_points_of_the_lattice() -> None:
    lattice = torch.randint(-50, 50, (3, 100), generator=torch.Generator().manual_seed(0)).double()
    x, y, z = lattice - lattice.sum(0) / 6
    assert simplex_noise(tables(1), x[None], y[None], z[None]).abs().max() < 1e-9


def test_noise_is_continuous_across_its_simplices() -> None:
    generator = torch.Generator().manual_seed(1)
    begin = 100 * torch.rand(3, 1, 1, generator=generator, dtype=torch.float64)
    along = torch.nn.functional.normalize(torch.rand(3, 1, 1, generator=generator, dtype=torch.float64), dim=0)
    line = begin + along * torch.linspace(0, 20, 20_001, dtype=torch.float64)  # crosses some 60 boundaries
    noise = simplex_noise(tables(1), *line.unbind(0))[0]
    assert noise.diff().abs().max() < 5e-3  # no jump; the slope is nowhere above 5 in a unit
    assert noise.diff().diff().abs().max() < 1e-4  # nor is there a kink


def test_mean_range_and_deviation() -> None:
    points = 200 * torch.rand(3, 32, 4000, generator=torch.Generator().manual_seed(2))
    noise = simplex_noise(tables(32), *points.unbind(0))
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.std().item() == pytest.approx(0.39, abs=0.01)
    assert 0.9 < noise.abs().max() <= 1


def test_octaves_are_summed() -> None:
    table, depth = tables(2), torch.tensor([3, 700])
    noise = fractal_noise(table, depth, (5, 7), octaves=3, persistence=0.8, frequency=10.0)
    assert noise.shape == (2, 5, 7)
    for n, row, column in [(0, 0, 0), (0, 4, 6), (1, 2, 5)]:
        point = np.array([column, row, depth[n].item()])
        expected = sum(0.8**i * by_hand(table[n].numpy(), point * 2**i / 10) for i in range(3))
        assert noise[n, row, column].item() == pytest.approx(expected, abs=1e-4)


def test_structures_are_as_large_as_asked() -> None:
    noise = fractal_noise(tables(64), torch.arange(64) * 13, (64, 64), 1, 0.8, 32.0).flatten(1)
    noise = noise.unflatten(1, (64, 64))
    near = np.corrcoef(noise[:, :, 2:].flatten(), noise[:, :, :-2].flatten())[0, 1]
    far = np.corrcoef(noise[:, :, 40:].flatten(), noise[:, :, :-40].flatten())[0, 1]
    assert near > 0.9
    assert abs(far) < 0.2


def test_tables_are_permutations_and_noises_of_different_tables_have_nothing_in_common() -> None:
    table = tables(40)
    assert torch.equal(table.sort(1).values, torch.arange(256).expand(40, -1))
    noise = fractal_noise(table, torch.full((40,), 100), (32, 32), 6, 0.8, 16.0).flatten(1)
    mutual = np.corrcoef(noise.numpy())[~np.eye(40, dtype=bool)]
    assert abs(mutual.mean()) < 0.02
    assert np.abs(mutual).max() < 0.6
    assert torch.equal(noise, fractal_noise(tables(40), torch.full((40,), 100), (32, 32), 6, 0.8, 16.0).flatten(1))


def test_neighbouring_slices_are_alike() -> None:
    table = tables(1).expand(3, -1).contiguous()
    a, b, c = fractal_noise(table, torch.tensor([100, 101, 160]), (64, 64), 1, 0.8, 64.0)
    assert (a - b).abs().mean() < 0.2 * (a - c).abs().mean()
