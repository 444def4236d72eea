"""Many vectors, few kept: a uniform sample of a stream, and the greedy k-centre coreset of what was sampled."""

from __future__ import annotations

import torch
from torch import Tensor

#: farthest points among which several are chosen before all distances are brought up to date
CANDIDATES = 1024
#: distances in one block of a matrix of them: 16 MB
BLOCK = 4_000_000


class Sample:
    """A uniform sample without replacement of at most `capacity` vectors of a stream, in one block of memory.

    Each vector draws a number from torch's global generator, and those with the smallest stay: which ones depends on
    the seed and on their order, not on how the stream is cut into batches.
    """

    def __init__(self, capacity: int) -> None:
        self.seen = 0
        self._capacity = capacity
        self._rows = torch.empty(0)
        self._keys = torch.empty(0, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """The next vectors `(n, D)` of the stream."""
        if self.seen == 0:
            # Memory that is not written to is not taken, so a short stream does not pay for the capacity. Torch fills
            # an empty tensor where it is to be deterministic, but not a storage.
            storage = torch.UntypedStorage(self._capacity * rows[0].nbytes, device=rows.device)
            self._rows = rows.new_empty(0).set_(storage, 0, (self._capacity, rows.shape[1]), (rows.shape[1], 1))
        self.seen += len(rows)
        keys = torch.rand(len(rows), dtype=torch.float64)
        count = len(self._keys)
        free = min(self._capacity - count, len(rows))
        self._rows[count : count + free] = rows[:free]
        self._keys = torch.cat([self._keys, keys[:free]])
        if free < len(rows):
            self._replace(rows[free:], keys[free:])

    def rows(self) -> Tensor:
        """The sample `(min(seen, capacity), D)`, the one with the smallest number first; not a copy."""
        rows = self._rows[: len(self._keys)]
        first = int(self._keys.argmin())
        rows[[0, first]] = rows[[first, 0]]
        self._keys[[0, first]] = self._keys[[first, 0]]
        return rows

    def _replace(self, rows: Tensor, keys: Tensor) -> None:
        better = torch.nonzero(keys < self._keys.max()).squeeze(1)
        both = torch.cat([self._keys, keys[better]])
        leaving = torch.zeros(len(both), dtype=torch.bool)
        leaving[both.topk(len(better)).indices] = True
        slots = torch.nonzero(leaving[: self._capacity]).squeeze(1)
        arriving = better[~leaving[self._capacity :]]
        self._rows[slots.to(rows.device)] = rows[arriving.to(rows.device)]
        self._keys[slots] = keys[arriving]


def greedy_coreset(points: Tensor, count: int) -> Tensor:
    """Indices of `count` of the `(n, D)` float32 points, each farthest from those before it; the first is the first.

    The greedy k-centre selection of Sener and Savarese (2018), exactly, but in blocks: among the points farthest from
    the chosen ones, the next choices are made by the distances between these candidates alone, for as long as one of
    them is farther than every point outside. Only then all points are measured against the new ones, in one product
    of matrices in place of one pass over memory for each choice. Points should be centred, for the rounding's sake.
    """
    norms = torch.linalg.vector_norm(points, dim=1).square_()
    nearest = torch.full_like(norms, torch.inf)  # squared distance to the nearest chosen one; -1 for a chosen one
    chosen = new = torch.zeros(1, dtype=torch.long, device=points.device)
    while True:
        _approach(nearest, points, norms, new)
        if len(chosen) == count:
            return chosen
        farthest = nearest.topk(min(CANDIDATES, len(points)))
        new = farthest.indices[_choose(points[farthest.indices], farthest.values, count - len(chosen))]
        chosen = torch.cat([chosen, new])


def _choose(candidates: Tensor, nearest: Tensor, count: int) -> Tensor:
    """At most `count` greedy choices among the candidates, at least one; `nearest` falls, its last is the bound."""
    norms = candidates.square().sum(1)
    between = torch.addmm(norms, candidates, candidates.mT, alpha=-2).add_(norms[:, None]).clamp_min_(0).cpu()
    bound, nearest = float(nearest[-1]), nearest.cpu()
    chosen: list[int] = []
    while len(chosen) < min(count, len(nearest)):
        farthest, index = nearest.max(0)
        if chosen and farthest < bound:
            break
        chosen.append(int(index))
        torch.minimum(nearest, between[chosen[-1]], out=nearest)
        nearest[chosen[-1]] = -1
    return torch.tensor(chosen, device=candidates.device)


def _approach(nearest: Tensor, points: Tensor, norms: Tensor, new: Tensor) -> None:
    """Bring the squared distances to the nearest chosen point up to date with newly chosen ones, in place."""
    others, shift = points[new].mT, norms[new]
    size = max(1, BLOCK // len(new))
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        closest = torch.addmm(shift, points[part], others, alpha=-2).amin(1).add_(norms[part]).clamp_min_(0)
        torch.minimum(nearest[part], closest, out=nearest[part])
    nearest[new] = -1
