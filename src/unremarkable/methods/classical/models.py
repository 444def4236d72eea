"""What a classical method learns of feature vectors: neighbours, a linear subspace, isolating trees."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: share of the largest variance below which a direction is only rounding
_NOTHING = 1e-10


class Model(nn.Module, ABC):
    """Scores feature vectors; what it learned lies in float32 and int32 buffers.

    It computes on the processor and in float64, wherever its buffers are: rounding then depends on no batch's size.
    """

    def __init__(self, *buffers: str) -> None:
        super().__init__()
        for name in buffers:
            self.register_buffer(name, torch.empty(0))

    @abstractmethod
    def learn(self, x: Tensor, abnormal: Tensor) -> None:
        """Learn from float32 vectors `(n, D)`; `abnormal` `(n,)` is 1 for those that are, which only `SVM` is given."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Scores `(N,)`, float64, of vectors `(N, D)`, float32; larger is more anomalous."""


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """`(N, n)` between the rows of float64 `a` and `b`."""
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)


def on_processor(buffer: Tensor) -> Tensor:
    """The values as float64 in the processor's memory."""
    return buffer.cpu().double()


class Neighbours(Model):
    """Mean Euclidean distance to the k nearest vectors seen, or to all where there are fewer."""

    bank: Tensor

    def __init__(self, k: int) -> None:
        super().__init__("bank")
        self._k = k

    def learn(self, x: Tensor, abnormal: Tensor) -> None:
        """Keep the vectors."""
        self.bank = x.clone()

    def forward(self, x: Tensor) -> Tensor:
        """Mean distances `(N,)`."""
        squares = squared_distances(x.double(), on_processor(self.bank))
        return squares.topk(min(self._k, squares.shape[1]), dim=1, largest=False).values.sqrt().mean(1)


class Subspace(Model):
    """Distance from the affine subspace of the principal components that hold a share of the variance."""

    mean: Tensor
    components: Tensor

    def __init__(self, variance: float) -> None:
        super().__init__("mean", "components")
        self._variance = variance

    def learn(self, x: Tensor, abnormal: Tensor) -> None:
        """Take as few leading components as hold that share."""
        mean = x.double().mean(0)
        centred = x.double() - mean
        # By the smaller of the two products, several times faster than by singular values.
        wide = centred.shape[0] < centred.shape[1]
        variances, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
        variances, vectors = variances.flip(0), vectors.flip(1)
        held = variances.cumsum(0)
        count = int((held < self._variance * held[-1]).sum()) + 1
        count = min(count, int((variances > _NOTHING * variances[0]).sum()))  # none where vectors are all alike
        directions = vectors[:, :count]
        if wide:
            directions = centred.T @ directions / variances[:count].sqrt()
        self.mean, self.components = mean.float(), directions.T.float()

    def forward(self, x: Tensor) -> Tensor:
        """Lengths `(N,)` of what the components cannot rebuild."""
        centred = x.double() - on_processor(self.mean)
        components = on_processor(self.components)
        return (centred - centred @ components.T @ components).norm(dim=1)


class IsolationForest(Model):
    """How few random cuts isolate a vector: 2^(-E[h] / c), from 0 to 1 (Liu, Ting and Zhou, 2008, eq. 1 and 2).

    The trees are grown by scikit-learn and kept as arrays `(trees, nodes)`; a leaf is its own child.
    """

    feature: Tensor
    threshold: Tensor
    below: Tensor
    length: Tensor
    typical: Tensor

    def __init__(self, trees: int, samples: int) -> None:
        super().__init__("feature", "threshold", "below", "length", "typical")
        self._trees, self._samples = trees, samples

    def learn(self, x: Tensor, abnormal: Tensor) -> None:
        """Grow the trees, each from `samples` vectors drawn without replacement."""
        from sklearn.ensemble import IsolationForest as Grown

        samples = min(self._samples, len(x))
        seed = int(torch.randint(2**31 - 1, ()))
        trees = [
            estimator.tree_
            for estimator in Grown(n_estimators=self._trees, max_samples=samples, random_state=seed).fit(x.numpy())
        ]
        nodes = max(tree.node_count for tree in trees)
        self.feature = torch.zeros(len(trees), nodes, dtype=torch.int32)
        self.threshold = torch.zeros(len(trees), nodes)
        self.below = torch.zeros(2, len(trees), nodes, dtype=torch.int32)
        self.length = torch.zeros(len(trees), nodes)
        for index, tree in enumerate(trees):
            self._keep(index, tree)
        self.typical = torch.tensor(_mean_path(np.array([samples]))).float()

    def forward(self, x: Tensor) -> Tensor:
        """Scores `(N,)`."""
        feature, below = self.feature.cpu().long(), self.below.cpu().long()
        threshold, length = self.threshold.cpu(), on_processor(self.length)
        trees = torch.arange(len(feature))
        at = torch.zeros(len(x), len(feature), dtype=torch.long)
        for _ in range(max(1, math.ceil(math.log2(self._samples)))):  # no tree is deeper
            values = x.gather(1, feature[trees, at])
            at = torch.where(values <= threshold[trees, at], below[0, trees, at], below[1, trees, at])
        return torch.exp2(-length[trees, at].mean(1) / on_processor(self.typical).clamp_min(1e-12))

    def _keep(self, index: int, tree: object) -> None:
        """One of scikit-learn's trees as a row of the arrays."""
        left, right, cut, feature, seen = (
            np.asarray(getattr(tree, name))
            for name in ("children_left", "children_right", "threshold", "feature", "n_node_samples")
        )
        nodes, leaf = np.arange(len(left)), left < 0
        depth = np.zeros(len(left))
        for node in nodes[~leaf]:  # a parent comes before its children
            depth[[left[node], right[node]]] = depth[node] + 1
        # The largest float32 that is not above the threshold cuts float32 values in the same place.
        rounded = cut.astype(np.float32)
        rounded = np.where(rounded > cut, np.nextafter(rounded, np.float32(-np.inf)), rounded)
        self.feature[index, nodes] = torch.from_numpy(np.where(leaf, 0, feature).astype(np.int32))
        self.threshold[index, nodes] = torch.from_numpy(rounded)
        for side, child in enumerate((left, right)):
            self.below[side, index, nodes] = torch.from_numpy(np.where(leaf, nodes, child).astype(np.int32))
        self.length[index, nodes] = torch.from_numpy((depth + _mean_path(seen)).astype(np.float32))


def _mean_path(count: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean length of an unsuccessful search in a binary search tree of so many items (eq. 1)."""
    items = np.maximum(count, 3).astype(np.float64)
    long = 2 * (np.log(items - 1) + np.euler_gamma) - 2 * (items - 1) / items
    return np.where(count > 2, long, np.where(count == 2, 1.0, 0.0))
