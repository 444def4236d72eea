"""Angles between features: location by location for maps, whole stages at once for training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cosine_distance(encoded: Tensor, decoded: Tensor) -> Tensor:
    """1 - cosine at each location, `(N, h, w)` in [0, 2], of features `(N, C, h, w)`."""
    return 1 - F.cosine_similarity(encoded, decoded, dim=1)


def global_cosine(encoded: Tensor, decoded: Tensor) -> Tensor:
    """1 - cosine of the flattened features of each image, `(N,)` in [0, 2]; no gradient reaches `encoded`."""
    return 1 - F.cosine_similarity(encoded.detach().flatten(1), decoded.flatten(1), dim=1)
