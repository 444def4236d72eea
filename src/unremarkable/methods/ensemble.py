"""ensemble: several detectors, their scores brought to one scale by p-values, and combined."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods.base import Collect, Method, Options, Phase, Prediction
from unremarkable.methods.combining import Combination, combine
from unremarkable.methods.members import Member, Spec

#: reference normals that are scored at once; what is kept does not depend on it
_BATCH = 8
#: pixels of a reference map that are kept while the scale is made
_PIXELS = 256
#: quantiles of these that stay: one of sixteen pixels, because how far two single ones lie apart is chance, and may be
#: so little that a rounding error crosses it; within these bounds
_EACH, _FEWEST, _MOST = 16, 64, 1023


@dataclass(frozen=True)
class EnsembleOptions(Options):
    """What `ensemble` can be told."""

    members: tuple[str, ...] = field(
        default=("knn", "mahalanobis"),
        metadata={"help": "methods to combine, each as NAME or NAME:option=value;option=value"},
    )
    combine: Combination = field(default="z", metadata={"help": "fisher, cauchy, minimum or z (the mean of z-scores)"})

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise UsageError(f"an ensemble combines two members or more, not {len(self.members)}")
        if self.combine not in get_args(Combination):
            raise unknown_name("value of combine", self.combine, get_args(Combination))
        for text in self.members:
            Spec.parse(text)


class Ensemble(Method):
    """Several detectors as one: each score becomes a p-value among normals that its member has not seen.

    The members are fitted one after the other. Then each scores the normals that are held out for early stopping, and
    keeps these reference scores, and quantiles of its map's pixels. In scoring, every member's score becomes a p-value
    by its references, and the p-values one, by Fisher's, Tippett's, Stouffer's or the Cauchy combination; so does, by
    its own references, every pixel of the maps, which are brought to the finest member's resolution.

    Score and map are -log10 of the combined p-value: 0 for what is as normal as can be, 3 for what one normal in a
    thousand would show if the members erred independently. They do not, which is why the score is calibrated again, on
    normals that are among nobody's references.

    The default members compare whole images in two ways: with single normals, and with a Gaussian of all of them.

    Deviations from the papers, each for a reason that holds before any label is seen:
    - p-values come from a finite number of normals. They are made continuous between two references, and follow an
      exponential tail beyond the last, so that no two scores tie; `combining.Scale` has the definition;
    - p-values of 1 - 1e-6 and more count as that in "cauchy" and "z", where 1 would outweigh everything;
    - the members' p-values are dependent. Fisher, Tippett and Stouffer assume that they are not; ranking and verdicts
      do not rest on that, the unit of the score does.
    """

    name = "ensemble"
    paper = (
        "Fisher: Statistical Methods for Research Workers, 4th ed., 1932; Tippett: The Methods of Statistics, 1931; "
        "Stouffer et al.: The American Soldier, 1949; Liu, Xie: Cauchy Combination Test, Journal of the American "
        "Statistical Association, 2020"
    )
    family = "ensemble"
    reduction = "own"
    default_size = 224
    half_precision = True  # each member decides for itself; what they say is combined in float32
    Options = EnsembleOptions

    def __init__(self, options: EnsembleOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.options: EnsembleOptions = options
        try:
            specs = enumerate((Spec.parse(text) for text in options.members), start=1)
            self.members = nn.ModuleList(Member(spec, number, size, channels) for number, spec in specs)
        except UsageError as error:
            raise UsageError(f"ensemble: {error}") from error
        self._adopted = False

    def prepare(self) -> None:
        """Load the members' pretrained weights.

        Raises:
            UsageError: weights are missing, or a member learns from labels, which an ensemble is not given.
        """
        for member in self._members():
            if member.spec.options.needs_labels:
                raise UsageError(
                    f"{member.spec.method} learns from labels: fit it alone, and join the fitted models by:"
                    " unremarkable ensemble MODEL MODEL --data NORMALS"
                )
            member.method.prepare()

    def adopt(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Take the weights of fitted members, in order; all that is then left to do is to look at references."""
        for member, state in zip(self._members(), weights, strict=True):
            member.method.load_weights(state)
        self._adopted = True

    def phases(self) -> list[Phase | Collect]:
        """The members' phases, then one pass over normals that none of them has learned from."""
        if self._adopted:
            return [Collect("reference scores", _BATCH, self._refer)]
        own = [phase for member in self._members() for phase in member.phases()]
        return [*own, Collect("reference scores", _BATCH, self._refer, held_out=True)]

    def notes(self, images: int) -> tuple[str, ...]:
        """What the members say."""
        return tuple(f"{each.label}: {note}" for each in self._members() for note in each.method.notes(images))

    def predict(self, images: Tensor) -> Prediction:
        """Map `(N, 1, h, w)` and score `(N,)`, each -log10 of a combined p-value."""
        evidence = [member.evidence(images) for member in self._members()]
        sides = [max(log_p.shape[axis] for log_p, _ in evidence) for axis in (2, 3)]
        finest = [min(side, own) for side, own in zip(sides, self.size, strict=True)]
        with torch.autocast(images.device.type, enabled=False):
            maps = torch.stack([F.interpolate(log_p, finest, mode="bilinear") for log_p, _ in evidence])
            scores = torch.stack([log_p for _, log_p in evidence])
            how = self.options.combine
            return Prediction(map=_surprise(combine(maps, how)), score=_surprise(combine(scores, how)))

    def settled(self) -> dict[str, Any]:
        """How many normals the p-values go by, and what the members settled."""
        members = list(self._members())
        own = {member.label: said for member in members if (said := member.method.settled())}
        return {"reference normals": len(members[0].scores.references), **own}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """As always; each method takes its own part in its own way."""
        rest = dict(state)
        for number, member in enumerate(self._members()):
            start = f"members.{number}.method."
            member.method.load_weights({k.removeprefix(start): rest[k] for k in state if k.startswith(start)})
        super().load_weights(rest)

    def _members(self) -> Iterable[Member]:
        return (member for member in self.members if isinstance(member, Member))

    def _refer(self, batches: Iterable[Tensor]) -> None:
        """Keep every member's scores of these normals, and quantiles of its maps' pixels."""
        seen = [[_sampled(member, images) for member in self._members()] for images in batches]
        for member, parts in zip(self._members(), zip(*seen, strict=True), strict=True):
            scores = torch.cat([score for _, score in parts])
            if len(scores) < 2:
                raise UsageError("ensemble needs two held-out normals or more to compare scores with; give more images")
            pixels = torch.cat([some for some, _ in parts])
            if not (scores.isfinite().all() and pixels.isfinite().all()):
                raise UsageError(f"ensemble: {member.spec.method} gave a score that is not a number")
            member.scores.fit(scores)
            member.maps.fit(pixels, most=min(max(len(pixels) // _EACH, _FEWEST), _MOST))


def _sampled(member: Member, images: Tensor) -> tuple[Tensor, Tensor]:
    """Some pixels of the member's maps, the same of every map, and its scores.

    They are drawn once: evenly spaced ones could all lie in a few columns.
    """
    maps, scores = member.predict(images)
    flat = maps.flatten(1)
    drawn = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0))[:_PIXELS]
    return flat[:, drawn.to(flat.device)].flatten(), scores


def _surprise(log_p: Tensor) -> Tensor:
    return -log_p / math.log(10)
