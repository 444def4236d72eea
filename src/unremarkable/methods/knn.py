"""knn: distance to the nearest normals in the feature space of a pretrained network. Nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.methods.base import Collect, Options, Phase, Prediction
from unremarkable.methods.checks import require_positive
from unremarkable.methods.frozen import FrozenBackbone

#: places whose distances are computed at once: bounds the memory of scoring
_CHUNK = 16


@dataclass(frozen=True)
class KNNOptions(Options):
    """What `knn` can be told."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "pretrained network that gives the features"})
    stages: tuple[int, ...] = field(default=(-1,), metadata={"help": "its stages that the score compares; -1 the last"})
    grid: int = field(
        default=2, metadata={"help": "features are averaged over grid x grid areas; 1 for global pooling"}
    )
    distance: Literal["euclidean", "cosine"] = field(
        default="euclidean", metadata={"help": "euclidean, each feature standardised by the normals; or cosine"}
    )
    k: int = field(default=3, metadata={"help": "score: mean distance to so many nearest normals; to all where fewer"})
    map_stage: int = field(default=-2, metadata={"help": "the stage whose locations make the map"})
    map_megabytes: int = field(
        default=64, metadata={"help": "normals are thinned for the map to this size; not for the score"}
    )
    # On a processor core Lite0 takes 20 images/s by eight and 14 by 32, whose activations leave cache and allocator.
    batch_size: int = field(default=8, metadata={"help": "images that go through the network at once"})

    def __post_init__(self) -> None:
        require_positive(self, "grid", "k", "map_megabytes", "batch_size")


class KNN(FrozenBackbone):
    """Deep nearest neighbours.

    Score: Bergman, Cohen and Hoshen (2020), section 3: the mean distance from an image's features to its k nearest
    among the normals. Map: after Cohen and Hoshen (2020), section 3.3: for every location of a finer stage, the
    distance to the nearest feature of a normal.

    Distances are root mean squares over the features' dimensions: 1 where an image differs from its neighbour by one
    standard deviation of the normals in each. Cosine distances are 1 - cosine.

    Deviations, each for a reason that holds before any label is seen:
    - the backbone is the one that comes with the installation (papers: larger ResNets);
    - features are averaged over 2 x 2 areas and not over the whole image, because medical images are taken in standard
      positions, so that where a feature occurs means something; `grid=1` is the paper's pooling;
    - features are standardised by the normals' mean and standard deviation, so that none weighs more for its unit;
    - distances are averaged, not their squares, so that the score has the map's unit;
    - k is 3 (first paper: 2), to lean less on single normals that lie apart;
    - the map compares a location with the same one of every normal, and not with all locations of the 50 nearest
      normals, for the same reason as the grid; and in one stage, of stride 16, not in three at once. A normal takes
      44 kB at 224 pixels; of more normals than `map_megabytes` holds, evenly spaced ones are kept.
    """

    name = "knn"
    paper = (
        "Bergman, Cohen, Hoshen: Deep Nearest Neighbor Anomaly Detection, 2020 (arXiv 2002.10445); map: "
        "Cohen, Hoshen: Sub-Image Anomaly Detection with Deep Pyramid Correspondences, 2020 (arXiv 2005.02357)"
    )
    family = "memory bank"
    reduction = "own"
    default_size = 224
    half_precision = True
    Options = KNNOptions

    def __init__(self, options: KNNOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.options: KNNOptions = options
        self._take(options, (*options.stages, options.map_stage))
        self._scored = [self.backbone.index_of(stage) for stage in options.stages]
        self._mapped = self.backbone.index_of(options.map_stage)
        self.whole = Memory(options.distance)
        self.local = Memory(options.distance)

    def phases(self) -> list[Phase | Collect]:
        """One pass over the normals."""
        return [Collect("features", self.options.batch_size, self._collect)]

    def predict(self, images: Tensor) -> Prediction:
        """Score: mean distance to the k nearest normals. Map: per location of `map_stage`, distance to the nearest."""
        pooled, local = self._features(images)
        score = self.whole.nearest(pooled, self.options.k).mean(dim=2).squeeze(0)
        anomaly_map = self.local.nearest(_by_location(local), 1).squeeze(2).T.reshape(-1, 1, *local.shape[2:])
        return Prediction(map=anomaly_map, score=score)

    def _collect(self, batches: Iterable[Tensor]) -> None:
        pooled: list[Tensor] = []
        local: list[Tensor] = []
        seen, step = 0, 1  # every step-th normal is kept for the map
        for images in batches:
            features, at_locations = self._features(images)
            pooled.append(features)
            # Copies: a view would keep its whole batch in memory after the others were dropped.
            local += [image.clone() for index, image in enumerate(at_locations, start=seen) if index % step == 0]
            seen += len(images)
            while len(local) > max(1, self.options.map_megabytes * 1_000_000 // (2 * local[0].numel())):
                local, step = local[::2], 2 * step
        with torch.autocast(pooled[0].device.type, enabled=False):
            self.whole.remember(torch.cat(pooled, dim=1))
            self.local.remember(_by_location(torch.stack(local)))

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the score compares `(1, N, D)`, and what the map compares `(N, C, h, w)`; float32 under autocast too."""
        stages = self.stages(images)
        pooled = [F.adaptive_avg_pool2d(stages[index], self.options.grid).flatten(1) for index in self._scored]
        return torch.cat(pooled, dim=1)[None], stages[self._mapped]


class Memory(nn.Module):
    """Features `(L, n, D)` of n normals at L places, and the distance from others to the nearest of the same place.

    Kept in float16, centred by place and scaled by dimension, with the squared norms.
    """

    bank: Tensor
    norms: Tensor
    mean: Tensor
    sd: Tensor

    def __init__(self, distance: Literal["euclidean", "cosine"]) -> None:
        super().__init__()
        self._cosine = distance == "cosine"
        for name in ("bank", "norms", "mean", "sd"):
            self.register_buffer(name, torch.empty(0))

    def remember(self, features: Tensor) -> None:
        """Keep float32 features `(L, n, D)` of the normals.

        A standard deviation, taken over normals and places, counts as at least a tenth of the average one: a dimension
        that hardly varies among the normals would outweigh all others, by the error of its own estimate.
        """
        self.mean = features.mean(dim=1, keepdim=True)
        variance = torch.stack([(at - mean).square().mean(0) for at, mean in zip(features, self.mean, strict=True)])
        sd = variance.mean(0).sqrt()
        floor = 0.1 * sd.mean()
        self.sd = sd.clamp_min(floor if floor > 0 else 1.0)
        self.bank = torch.stack([self._scaled(at, mean).half() for at, mean in zip(features, self.mean, strict=True)])
        self.norms = torch.stack([at.float().square().sum(1) for at in self.bank])

    def nearest(self, features: Tensor, k: int) -> Tensor:
        """Distances `(L, N, k)` from features `(L, N, D)` to the k nearest normals of the same place, or to all."""
        k = min(k, self.bank.shape[1])
        with torch.autocast(features.device.type, enabled=False):
            chunks = zip(
                *(t.split(_CHUNK) for t in (self._scaled(features, self.mean), self.bank, self.norms)), strict=True
            )
            return torch.cat([self._nearest(queries, bank.float(), norms, k) for queries, bank, norms in chunks])

    def _scaled(self, features: Tensor, mean: Tensor) -> Tensor:
        """Such that the Euclidean distance is the wanted one: RMS of standard deviations, or sqrt(2 (1 - cosine))."""
        if self._cosine:
            return F.normalize(features, dim=-1)
        return (features - mean) / (self.sd * features.shape[-1] ** 0.5)

    def _nearest(self, queries: Tensor, bank: Tensor, norms: Tensor, k: int) -> Tensor:
        # The product finds the neighbours fast; their distances are then taken by difference, because the rounding of
        # the product, which depends on the batch's size, would show in small ones.
        products = torch.baddbmm(norms[:, None], queries, bank.mT, alpha=-2)
        nearest = products.topk(k, dim=2, largest=False).indices
        places = torch.arange(len(bank), device=bank.device)[:, None, None]
        squares = (queries[:, :, None] - bank[places, nearest]).square().sum(dim=3)
        return squares / 2 if self._cosine else squares.sqrt()


def _by_location(features: Tensor) -> Tensor:
    """`(N, C, h, w)` as `(h * w, N, C)`."""
    return features.flatten(2).permute(2, 0, 1)
