"""A memory of prototypes that every query is rebuilt from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: added to a weight before its logarithm, and put for a sum of weights that are all zero
_EPS = 1e-12


class Memory(nn.Module):
    """Memory with attention by cosine and hard shrinkage.

    Gong et al., "Memorizing normality to detect anomaly", ICCV 2019, equations 3 to 7: the weights of the slots are the
    softmax of their cosine with the query; those of at most the threshold become zero, the others are scaled to sum to
    1, and what is recalled is the sum of the slots so weighted.

    Args:
        slots: how many prototypes.
        dim: length of each, and of a query.
        shrink: the threshold, in multiples of 1 / `slots`, which is the mean weight. Up to 1, some slot is always left.
    """

    def __init__(self, slots: int, dim: int, shrink: float) -> None:
        super().__init__()
        self.threshold = shrink / slots
        bound = dim**-0.5
        self.slots = nn.Parameter(torch.empty(slots, dim).uniform_(-bound, bound))

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """What is recalled for `(N, dim)` or `(N, dim, h, w)`, in that shape, and the weights `(N, [h, w,] slots)`."""
        with torch.autocast(queries.device.type, enabled=False):
            rows = queries.float().movedim(1, -1)
            cosines = F.normalize(rows, dim=-1) @ F.normalize(self.slots, dim=1).T
            weights = F.threshold(cosines.softmax(-1), self.threshold, 0.0)
            weights = F.normalize(weights, p=1, dim=-1, eps=_EPS)
            return (weights @ self.slots).movedim(-1, 1), weights


def entropy(weights: Tensor) -> Tensor:
    """Entropy in nats of weights along the last axis (equation 9)."""
    return -(weights * (weights + _EPS).log()).sum(-1)
