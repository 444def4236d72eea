"""spade: the nearest normal images, and each location against all locations of those."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from unremarkable.methods.base import Collect, Options, Phase, Prediction
from unremarkable.methods.checks import require_positive
from unremarkable.methods.coreset import BLOCK
from unremarkable.methods.feature_maps import enlarge, smooth
from unremarkable.methods.frozen import FrozenBackbone


@dataclass(frozen=True)
class SPADEOptions(Options):
    """What `spade` can be told."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "pretrained network that gives the features"})
    stages: tuple[int, ...] = field(default=(0, 1, 2), metadata={"help": "its stages that make the map; 0 the finest"})
    k: int = field(default=50, metadata={"help": "nearest normals that score an image, and that its map looks in"})
    kappa: int = field(default=1, metadata={"help": "nearest locations of those that score a location"})
    stride: int = field(default=8, metadata={"help": "the map compares one location every so many pixels (paper: 4)"})
    gallery_megabytes: int = field(
        default=256, metadata={"help": "normals are thinned for the map to this size; not for the score"}
    )
    sigma: float = field(default=4.0, metadata={"help": "of the Gaussian over the map, in pixels; 0 for none"})
    batch_size: int = field(default=8, metadata={"help": "images that go through the network at once"})

    def __post_init__(self) -> None:
        require_positive(self, "k", "kappa", "stride", "gallery_megabytes", "batch_size")
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"sigma must be 0 or more, not {self.sigma}")


class SPADE(FrozenBackbone):
    """SPADE: semantic pyramid anomaly detection.

    Score: eq. 1, the mean squared distance of the image's globally pooled last features to the `k` nearest among the
    normals. Map: eq. 3, for each location the mean squared distance of its features, those of several stages side by
    side (section 3.4), to the `kappa` nearest among all locations of these normals; enlarged and smoothed.

    Deviations, each for a reason that holds before any label is seen:
    - the backbone is the one that comes with the installation (paper: Wide ResNet-50);
    - the map has one location every 8 pixels, not every 4, each the average of what lies in it: a sixteenth of the
      comparisons, which at 224 pixels are 31 million an image even so. `stride=4` is the paper's;
    - of more normals than `gallery_megabytes` holds, evenly spaced ones make the map; all of them make the score;
    - with fewer than `k` normals, all are neighbours.
    """

    name = "spade"
    paper = "Cohen, Hoshen: Sub-Image Anomaly Detection with Deep Pyramid Correspondences, 2020 (arXiv 2005.02357)"
    family = "memory bank"
    reduction = "own"
    default_size = 224
    half_precision = True
    Options = SPADEOptions

    whole: Tensor
    gallery: Tensor
    shown: Tensor
    centre: Tensor

    def __init__(self, options: SPADEOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.options: SPADEOptions = options
        self._take(options, (*options.stages, -1))
        self._mapped = sorted({self.backbone.index_of(stage) for stage in options.stages})
        self._grid = (-(-size[0] // options.stride), -(-size[1] // options.stride))
        for name in ("whole", "gallery", "centre"):
            self.register_buffer(name, torch.empty(0))
        self.register_buffer("shown", torch.empty(0, dtype=torch.long))

    def phases(self) -> list[Phase | Collect]:
        """One pass over the normals."""
        return [Collect("features", self.options.batch_size, self._collect)]

    def notes(self, images: int) -> tuple[str, ...]:
        """The memory that the gallery of so many images takes."""
        step = 1
        while -(-images // step) > self._most:
            step *= 2
        kept = -(-images // step)
        size = math.ceil(kept * self._bytes / 1_000_000)
        return (
            f"memory: the map's gallery holds {kept:,} of {images:,} normals and takes {size:,} MB, twice while fitted",
        )

    def predict(self, images: Tensor) -> Prediction:
        """Score: eq. 1. Map: eq. 3, enlarged to the images' size and smoothed."""
        pooled, pyramid = self._features(images)
        with torch.autocast(images.device.type, enabled=False):
            # By difference and not by product: which normals are the nearest must not depend on the batch's size.
            distances = torch.cdist(pooled, self.whole, compute_mode="donot_use_mm_for_euclid_dist").square()
            score = self._smallest(distances, self.options.k).mean(1)
            count = min(self.options.k, len(self.gallery))
            nearest = distances[:, self.shown].topk(count, largest=False).indices.sort(1).values
            maps = [
                self._compare(at - self.centre, self.gallery[which]) for at, which in zip(pyramid, nearest, strict=True)
            ]
            anomaly_map = smooth(enlarge(torch.stack(maps).view(-1, *self._grid), self.size), self.options.sigma)
        return Prediction(map=anomaly_map, score=score)

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the score compares `(N, C)`, and what the map compares `(N, h * w, D)`."""
        stages = self.stages(images)
        parts = []
        for stage in (stages[index] for index in self._mapped):
            finer = stage.shape[2] > self._grid[0] or stage.shape[3] > self._grid[1]
            parts.append(
                F.adaptive_avg_pool2d(stage, self._grid)
                if finer
                else F.interpolate(stage, self._grid, mode="bilinear", align_corners=False)
            )
        return stages[-1].mean((2, 3)), torch.cat(parts, dim=1).flatten(2).mT

    def _collect(self, batches: Iterable[Tensor]) -> None:
        pooled: list[Tensor] = []
        gallery: list[Tensor] = []
        seen, step = 0, 1  # every step-th normal is kept for the map
        for images in batches:
            whole, pyramid = self._features(images)
            pooled.append(whole)
            gallery += [one.half() for index, one in enumerate(pyramid, start=seen) if index % step == 0]
            seen += len(images)
            while len(gallery) > self._most:
                gallery, step = gallery[::2], 2 * step
        with torch.autocast(pooled[0].device.type, enabled=False):
            self.whole = torch.cat(pooled)
            self.shown = torch.arange(0, seen, step, device=self.whole.device)
            self.gallery = torch.stack(gallery)
            self.centre = torch.stack([one.float().mean(0) for one in self.gallery]).mean(0)
            for one in self.gallery:
                one.copy_(one.float() - self.centre)

    def _compare(self, locations: Tensor, gallery: Tensor) -> Tensor:
        """Mean squared distances `(P,)` of the locations `(P, D)` to the nearest of the gallery's `(K, P, D)`."""
        size = max(1, BLOCK // len(locations) ** 2)
        found = []
        for part in gallery.split(size):
            rows = part.flatten(0, 1).float()
            products = torch.addmm(rows.square().sum(1), locations, rows.mT, alpha=-2)
            count = min(self.options.kappa, len(rows))
            # For one, `min` takes half the time of `topk`.
            places = (
                products.min(1, keepdim=True).indices if count == 1 else products.topk(count, largest=False).indices
            )
            # The product finds the neighbours; its rounding would show in their distances where these are small.
            found.append((locations[:, None] - rows[places]).square().sum(2))
        return self._smallest(torch.cat(found, dim=1), self.options.kappa).mean(1)

    @staticmethod
    def _smallest(values: Tensor, count: int) -> Tensor:
        """The `count` smallest of each row, or all."""
        return values.topk(min(count, values.shape[1]), dim=1, largest=False).values

    @property
    def _bytes(self) -> int:
        """Of one normal in the gallery."""
        widths = sum(self.backbone.stages[index].channels for index in self._mapped)
        return 2 * widths * math.prod(self._grid)

    @property
    def _most(self) -> int:
        """Normals that the gallery holds at most."""
        return max(1, self.options.gallery_megabytes * 1_000_000 // self._bytes)
