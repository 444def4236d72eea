"""How an anomaly map of several stages becomes a score, and the choice of it on planted anomalies, without a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

import torch
from torch import Tensor

from unremarkable.methods.planting import plant, separation

REDUCTIONS = ("max", "top1", "top10", "mean")
#: normals that anomalies are planted in, at most
PROBES = 256
#: stages, counted from 1, whose maps are summed; how the sum becomes a score
Rule = tuple[tuple[int, ...], str]


def rules(stages: tuple[int, ...]) -> list[Rule]:
    """Every subset of these stages with every reduction; first all stages with the maximum, so that it wins a tie."""
    subsets = (chosen for count in range(len(stages), 0, -1) for chosen in combinations(sorted(stages), count))
    return [(chosen, reduction) for chosen in subsets for reduction in REDUCTIONS]


def choose(stage_maps: Callable[[Tensor], Tensor], batches: Iterable[Tensor], candidates: list[Rule]) -> Rule:
    """The rule that best tells normals from the same normals with a planted anomaly, by AUROC.

    `stage_maps` makes `(N, stages, H, W)` of images.
    """
    generator = torch.Generator().manual_seed(0)
    clean = sample(batches, PROBES, generator)
    planted = plant(clean.cpu(), generator).to(clean)
    auroc = separation(_scores(stage_maps, clean, candidates), _scores(stage_maps, planted, candidates))
    return candidates[int(auroc.argmax())]


def apply_rule(maps: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """The map `(N, 1, H, W)` and the scores `(N,)` that a rule makes of `(N, stages, H, W)`."""
    stages, reduction = rule
    total = maps[:, [stage - 1 for stage in stages]].sum(dim=1, keepdim=True)
    return total, reduce(total, reduction)


def reduce(maps: Tensor, reduction: str) -> Tensor:
    """Image scores `(N,)` of maps `(N, 1, H, W)`: "max", "mean", or the mean of the "top1" or "top10" %."""
    flat = maps.flatten(1)
    if reduction == "max":
        return flat.amax(dim=1)
    if reduction == "mean":
        return flat.mean(dim=1)
    share = {"top1": 0.01, "top10": 0.1}[reduction]
    return flat.topk(max(1, round(share * flat.shape[1])), dim=1, sorted=False).values.mean(dim=1)


def sample(batches: Iterable[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """At most `count` images, each image of the batches as likely as any other (reservoir sampling)."""
    kept: list[Tensor] = []
    for seen, image in enumerate(image for batch in batches for image in batch):
        place = seen if seen < count else int(torch.randint(seen + 1, (), generator=generator))
        if place < count:
            kept[place : place + 1] = [image.clone()]
    return torch.stack(kept)


def _scores(stage_maps: Callable[[Tensor], Tensor], images: Tensor, candidates: list[Rule]) -> Tensor:
    """Scores `(rules, N)`."""
    parts = []
    for batch in images.split(16):
        maps = stage_maps(batch)
        parts.append(torch.stack([apply_rule(maps, rule)[1] for rule in candidates]))
    return torch.cat(parts, dim=1)
