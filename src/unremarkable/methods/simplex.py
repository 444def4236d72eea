"""Simplex noise: smooth random fields, summed over octaves, many slices at once."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

#: the lattice repeats after so many points along each axis
PERIOD = 256
#: from the centre of a cube to the middles of its edges
_EDGES = [edge for edge in product((-1.0, 0.0, 1.0), repeat=3) if sum(map(abs, edge)) == 2]
#: one over the largest sum of four contributions that any choice of gradients can give
_SCALE = 76.88
#: shifts from the first corner of a simplex to each of its four, per unit of the lattice, once it is unskewed
_UNSKEW = 1 / 6


def draw_tables(count: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Random permutations `(count, 256)` of the lattice, each the seed of one noise."""
    return torch.rand(count, PERIOD, device=device, generator=generator).argsort(1)


def fractal_noise(
    tables: Tensor, depth: Tensor, size: tuple[int, int], octaves: int, persistence: float, frequency: float
) -> Tensor:
    """Slices `(N, H, W)` through 3-D simplex noise: sum over i < octaves of persistence^i * noise(2^i p / frequency).

    p is the pixel (column, row, depth), so `frequency` is the side in pixels of the largest structures. Each octave
    lies in [-1, 1] and has mean 0.

    Args:
        tables: `(N, 256)` of `draw_tables`, one for each slice.
        depth: `(N,)`, where each slice lies along the third axis.
        size: H and W.
        octaves: terms of the sum.
        persistence: amplitude of each octave, in that of the one before.
        frequency: pixels in a unit of the first octave.
    """
    rows = torch.arange(size[0], device=tables.device, dtype=torch.float32)[:, None]
    columns = torch.arange(size[1], device=tables.device, dtype=torch.float32)
    depth = depth.to(torch.float32)[:, None, None]
    total = torch.zeros((), device=tables.device)
    for octave in range(octaves):
        unit = 2**octave / frequency
        total = total + persistence**octave * simplex_noise(tables, columns * unit, rows * unit, depth * unit)
    return total


def simplex_noise(tables: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Noise `(N, ...)` in [-1, 1] at points whose coordinates broadcast to that shape; 0 at the lattice's points.

    Perlin, "Noise hardware", SIGGRAPH course notes 2001, with the kernel (1/2 - r^2)^4, whose support ends where the
    neighbouring simplices do, so that the noise is continuous: sum over the four corners of the simplex around the
    point of max(0, 1/2 - r^2)^4 * gradient . offset, where a corner's gradient is one of twelve, by its hash.

    Args:
        tables: `(N, 256)` permutations, one for each entry of the first axis.
        x: first coordinate.
        y: second coordinate.
        z: third coordinate.
    """
    x, y, z = torch.broadcast_tensors(x, y, z)
    skew = (x + y + z) / 3
    i, j, k = ((axis + skew).floor() for axis in (x, y, z))
    back = (i + j + k) * _UNSKEW
    x, y, z = x - i + back, y - j + back, z - k + back
    xy, xz, yz = x >= y, x >= z, y >= z
    # From the first corner to the last, one axis after the other, the longest offset first.
    second = (xy & xz, ~xy & yz, ~xz & ~yz)
    third = (xy | xz, ~xy | yz, ~xz | ~yz)
    first, last = torch.zeros_like(xy), torch.ones_like(xy)
    gradients = _Gradients(tables, x.dim())
    lattice = [axis.long() for axis in (i, j, k)]
    total = torch.zeros((), device=x.device)
    for number, steps in enumerate(((first,) * 3, second, third, (last,) * 3)):
        dx, dy, dz = (axis - step.to(x.dtype) + number * _UNSKEW for axis, step in zip((x, y, z), steps, strict=True))
        gx, gy, gz = gradients(*(axis + step for axis, step in zip(lattice, steps, strict=True)))
        near = (0.5 - dx * dx - dy * dy - dz * dz).clamp_min(0)
        along = gx * dx + gy * dy + gz * dz
        total = total + near.square().square() * along
    return _SCALE * total


class _Gradients:
    """Gradient at points of the lattice, by the tables of each entry of the first axis."""

    def __init__(self, tables: Tensor, axes: int) -> None:
        edges = torch.tensor(_EDGES, device=tables.device)
        self._hash = tables.flatten()
        self._edges = [edges[:, axis][self._hash % len(_EDGES)] for axis in range(3)]
        start = torch.arange(len(tables), device=tables.device) * PERIOD
        self._start = start.view(-1, *(1,) * (axes - 1))

    def __call__(self, i: Tensor, j: Tensor, k: Tensor) -> list[Tensor]:
        place = self._start + k % PERIOD
        for axis in (j, i):
            place = self._start + (self._hash.take(place) + axis) % PERIOD
        return [edge.take(place) for edge in self._edges]
