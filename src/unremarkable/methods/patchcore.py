"""patchcore: every patch of an image against a coreset of the patches of normals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Options, Phase, Prediction
from unremarkable.methods.checks import require_positive
from unremarkable.methods.coreset import BLOCK, CANDIDATES, Sample, greedy_coreset
from unremarkable.methods.feature_maps import enlarge, smooth
from unremarkable.methods.frozen import FrozenBackbone

_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class PatchCoreOptions(Options):
    """What `patchcore` can be told."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "pretrained network that gives the features"})
    stages: tuple[int, ...] = field(default=(1, 2), metadata={"help": "its stages that make a patch feature; 0 finest"})
    neighbourhood: int = field(default=3, metadata={"help": "features are averaged over so many locations squared"})
    dimensions: int = field(default=1024, metadata={"help": "of a patch feature at most; channels are averaged to it"})
    coreset: float = field(default=0.1, metadata={"help": "share of the normals' patches that is kept"})
    patches: int = field(default=10_000, metadata={"help": "patches kept at most: the time of scoring grows with them"})
    projection: int = field(
        default=128, metadata={"help": "random dimensions in which the coreset is chosen, if at most half of all"}
    )
    memory_megabytes: int = field(
        default=512, metadata={"help": "patches are drawn at random before the coreset if fitting would take more"}
    )
    neighbours: int = field(default=9, metadata={"help": "b: bank patches around the nearest that weight the score"})
    sigma: float = field(default=4.0, metadata={"help": "of the Gaussian over the map, in pixels; 0 for none"})
    batch_size: int = field(default=8, metadata={"help": "images that go through the network at once"})

    def __post_init__(self) -> None:
        require_positive(self, "dimensions", "patches", "projection", "memory_megabytes", "batch_size")
        if self.neighbourhood < 1 or self.neighbourhood % 2 == 0:
            raise ValueError(f"neighbourhood must be odd, not {self.neighbourhood}")
        if self.neighbours < 2:
            raise ValueError(f"neighbours must be at least 2, not {self.neighbours}: a patch is one of its own")
        if not 0 < self.coreset <= 1:
            raise ValueError(f"coreset is a share above 0 and at most 1, not {self.coreset}")
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"sigma must be 0 or more, not {self.sigma}")


class PatchCore(FrozenBackbone):
    """PatchCore: the distance of each patch to the nearest of a coreset of normal patches.

    Patch features (section 3.1): the stages' features averaged over 3 x 3 neighbourhoods, brought to the finest
    stage's grid and concatenated, each stage averaged to its share of `dimensions` channels where it has more; with a
    Wide ResNet-50 these are the published 1024. Coreset (3.2, Algorithm 1): greedy k-centre selection, in a random
    projection where that halves the dimensions. Score: eq. 6 and 7. Map (3.3): eq. 6 at every patch, enlarged and
    smoothed.

    Deviations, each for a reason that holds before any label is seen:
    - the backbone is the one that comes with the installation (paper: Wide ResNet-50), whose stages of stride 8 and 16
      have 152 channels together; fewer channels than `dimensions` are left as they are;
    - the bank holds 10 % of the patches, as the paper's PatchCore-10 %, but never more than `patches`, which on a
      thousand images is its PatchCore-1 %;
    - of more patches than `memory_megabytes` allows, a uniform random sample stands for all before the coreset;
    - a neighbourhood at the border is averaged over the locations that exist, where zeros would mark the border;
    - distances are divided by the root mean square of the normals' features. This changes no neighbour, but eq. 7
      takes the exponential of a distance, and so would depend on the unit of a backbone's features.

    The paper leaves b, the neighbours of eq. 7, open; a bank patch counts as one of its own.
    """

    name = "patchcore"
    paper = (
        "Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler: Towards Total Recall in Industrial Anomaly Detection, CVPR 2022"
    )
    family = "memory bank"
    reduction = "own"
    default_size = 224
    half_precision = True
    Options = PatchCoreOptions

    bank: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, options: PatchCoreOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.options: PatchCoreOptions = options
        self._take(options, options.stages)
        share = max(1, options.dimensions // len(self.backbone.stages))
        self._widths = tuple(min(stage.channels, share) for stage in self.backbone.stages)
        for name in ("bank", "centre", "scale"):
            self.register_buffer(name, torch.empty(0))
        if self._capacity < 2 * CANDIDATES:
            raise UsageError(
                f"patchcore cannot choose among features of {sum(self._widths)} dimensions in"
                f" {options.memory_megabytes} MB; raise memory_megabytes or lower patches"
            )

    def phases(self) -> list[Phase | Collect]:
        """One pass over the normals, and the coreset of what it saw."""
        return [Collect("patch features", self.options.batch_size, self._collect)]

    def notes(self, images: int) -> tuple[str, ...]:
        """The memory that fitting on so many images takes, and what is left out for it."""
        seen = images * math.prod(-(-side // self.backbone.stages[0].stride) for side in self.size)
        looked = min(seen, self._capacity)
        kept = self._kept(seen, looked)
        drawn = f"{looked:,} drawn at random from {seen:,}" if looked < seen else f"all {seen:,}"
        return (
            f"memory: the bank takes at most {math.ceil(self._bytes(looked, kept) / _MEGABYTE):,} MB more while it is"
            f" fitted; it keeps {kept:,} patch features ({math.ceil(self._vector * kept / _MEGABYTE)} MB) of {drawn}",
        )

    def predict(self, images: Tensor) -> Prediction:
        """Score: eq. 7. Map: distance of each patch to the bank, enlarged to the images' size and smoothed."""
        features, grid = self._features(images)
        with torch.autocast(images.device.type, enabled=False):
            patches = (features - self.centre) / self.scale
            distances, indices = self._nearest(patches.flatten(0, 1))
            distances, indices = (found.view(len(images), -1) for found in (distances, indices))
            score = self._weighted(patches, distances, indices)
            anomaly_map = smooth(enlarge(distances.view(-1, *grid), self.size), self.options.sigma)
        return Prediction(map=anomaly_map, score=score)

    def _features(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Patch features `(N, h * w, D)`, and the grid `(h, w)` that they lie on."""
        reach = self.options.neighbourhood // 2
        stages = self.stages(images)
        grid = (stages[0].shape[-2], stages[0].shape[-1])
        parts = []
        for stage, width in zip(stages, self._widths, strict=True):
            around = F.avg_pool2d(stage, self.options.neighbourhood, 1, reach, count_include_pad=False)
            if width < stage.shape[1]:
                around = F.adaptive_avg_pool1d(around.flatten(2).mT, width).mT.unflatten(2, stage.shape[2:])
            parts.append(F.interpolate(around, grid, mode="bilinear", align_corners=False))
        return torch.cat(parts, dim=1).flatten(2).mT, grid

    def _collect(self, batches: Iterable[Tensor]) -> None:
        sample = Sample(self._capacity)
        for images in batches:
            sample.add(self._features(images)[0].flatten(0, 1))
        rows = sample.rows()
        with torch.autocast(rows.device.type, enabled=False):
            spread = torch.linalg.vector_norm(rows) / rows.numel() ** 0.5
            self.scale = torch.where(spread > 0, spread, 1.0)
            self.centre = rows.mean(0)
            rows.sub_(self.centre).div_(self.scale)
            self.bank = rows[greedy_coreset(self._projected(rows), self._kept(sample.seen, len(rows)))]

    def _projected(self, rows: Tensor) -> Tensor:
        """In fewer random dimensions, which keeps distances roughly (Johnson and Lindenstrauss), where that pays."""
        if not self._projects:
            return rows
        directions = torch.randn(rows.shape[1], self.options.projection) / self.options.projection**0.5
        return rows @ directions.to(rows)

    def _nearest(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Distance of each of `(n, D)` patches to its nearest in the bank, and which one that is (eq. 6)."""
        norms = self.bank.square().sum(1)
        # The product finds the neighbour fast; its distance is then taken by difference, because the rounding of the
        # product, which depends on the batch's size, would show in a small one.
        parts = patches.split(max(1, BLOCK // len(self.bank)))
        found = [torch.addmm(norms, part, self.bank.mT, alpha=-2).min(1).indices for part in parts]
        distances = [(part - self.bank[at]).square().sum(1).sqrt() for part, at in zip(parts, found, strict=True)]
        return torch.cat(distances), torch.cat(found)

    def _weighted(self, patches: Tensor, distances: Tensor, indices: Tensor) -> Tensor:
        """Eq. 7: the largest distance, less the more its bank patch is at home in its surroundings."""
        largest, place = distances.max(1)
        images = torch.arange(len(patches), device=patches.device)
        test, nearest = patches[images, place], self.bank[indices[images, place]]
        count = min(self.options.neighbours, len(self.bank))
        away = torch.cdist(nearest, self.bank, compute_mode="donot_use_mm_for_euclid_dist")
        around = self.bank[away.topk(count, largest=False).indices]
        exponents = (test[:, None] - around).square().sum(2).sqrt()
        return (1 - (largest - exponents.logsumexp(1)).exp()) * largest

    # -- how many, in how much memory -----------------------------------------------------------------------------

    @property
    def _projects(self) -> bool:
        return 2 * self.options.projection <= sum(self._widths)

    @property
    def _vector(self) -> int:
        """Bytes of one patch feature."""
        return 4 * sum(self._widths)

    @property
    def _each(self) -> int:
        """Bytes for each patch that the coreset is chosen from: itself, projection, key, norm, distance, ranking."""
        return self._vector + 4 * self.options.projection * self._projects + 48

    def _bytes(self, looked: int, kept: int) -> int:
        """What fitting takes at most: the patches, the bank, a block of distances and those between candidates."""
        return looked * self._each + kept * self._vector + 16 * BLOCK + 3 * CANDIDATES * (4 * CANDIDATES + self._vector)

    @property
    def _capacity(self) -> int:
        room = self.options.memory_megabytes * _MEGABYTE - self._bytes(0, self.options.patches)
        return max(0, room // self._each)

    def _kept(self, seen: int, looked: int) -> int:
        wanted = max(math.ceil(self.options.coreset * seen), self.options.neighbours)
        return min(wanted, self.options.patches, looked)
