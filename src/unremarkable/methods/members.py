"""The members of an ensemble: what describes one in a line of text, and the method it becomes inside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods.base import Collect, Method, Options, Phase, Update
from unremarkable.methods.combining import Scale
from unremarkable.methods.feature_maps import smooth
from unremarkable.methods.registry import make_options, method_class
from unremarkable.methods.scoring_rule import reduce

_REDUCTIONS = ("published", "max", "mean", "top1", "top10")
_SETTINGS = ("@size", "@channels", "@reduction", "@smoothing")
#: weights of red, green and blue in the grey that a one-channel member sees of colour, as in `Preprocess`
_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Spec:
    """One member: a method with its options and, where they differ from the ensemble's, its input and its score.

    As text: `METHOD`, or `METHOD:option=value;option=value`; an option that is a list is repeated. `@size=224` (or
    `224x192`), `@channels`, `@reduction` and `@smoothing` stand for what a detector is told beside the options.
    """

    method: str
    options: Options
    size: tuple[int, int] | None = None
    channels: int | None = None
    reduction: str = "published"
    smoothing: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read it from text.

        Raises:
            UsageError: an unknown method, option or setting, or a value that does not fit.
        """
        name, _, rest = text.partition(":")
        name = name.strip()
        if name == "ensemble":
            raise UsageError("an ensemble cannot be a member of another; name its members instead")
        if "/" in name or "\\" in name:
            raise UsageError(
                f"ensemble: the member {name!r} is not the name of a method; fitted models are joined by:"
                " unremarkable ensemble MODEL MODEL --data NORMALS"
            )
        given: dict[str, list[str]] = {}
        for pair in filter(None, (part.strip() for part in rest.split(";"))):
            key, separator, value = pair.partition("=")
            if not separator:
                raise UsageError(f"member {text!r} is not understood; write METHOD:option=value;option=value")
            given.setdefault(key.strip(), []).append(value.strip())
        values = {key: ",".join(several) for key, several in given.items()}
        settings = {key: values.pop(key) for key in list(values) if key.startswith("@")}
        return cls(name, make_options(method_class(name), values), **_settings(text, settings))

    def text(self) -> str:
        """What `parse` reads.

        Raises:
            UsageError: an option's value cannot be written as text.
        """
        parts = [f"{field.name}={_written(getattr(self.options, field.name))}" for field in fields(self.options)]
        if self.size is not None:
            parts.append(f"@size={self.size[0]}x{self.size[1]}")
        if self.channels is not None:
            parts.append(f"@channels={self.channels}")
        parts += [f"@reduction={self.reduction}", f"@smoothing={self.smoothing}"]
        text = f"{self.method}:{';'.join(parts)}"
        if Spec.parse(text) != self:
            raise UsageError(f"the options of this {self.method} cannot be written down for an ensemble: {text}")
        return text


class Member(nn.Module):
    """A method inside an ensemble of input `size` and `channels`, with the scales of its scores and of its map.

    Raises:
        UsageError: the method cannot take its size.
    """

    def __init__(self, spec: Spec, number: int, size: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.spec = spec
        self.label = f"{number} {spec.method}"
        self.method: Method = method_class(spec.method)(spec.options, spec.size or size, spec.channels or channels)
        self.scores = Scale()
        self.maps = Scale()

    def phases(self) -> Iterator[Phase | Collect]:
        """The method's own phases, shown the ensemble's images in the form that the method takes."""
        for phase in self.method.phases():
            name = f"{self.label}: {phase.name}"
            if isinstance(phase, Collect):
                yield replace(phase, name=name, collect=self._collect(phase))
            else:
                yield replace(phase, name=name, step=self._step(phase), validate=self._validate(phase))

    def evidence(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Log p-values of the map `(N, 1, h, w)` and of the score `(N,)`."""
        anomaly_map, score = self.predict(images)
        return self.maps(anomaly_map), self.scores(score)

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map and score of the ensemble's images, as the method's own detector would give them, in float32."""
        with self._precision(images):
            prediction = self.method.predict(self.fed(images))
        with torch.autocast(images.device.type, enabled=False):
            maps = smooth(prediction.map.float(), self.spec.smoothing)
            published = self.spec.reduction == "published"
            return maps, prediction.score.float() if published else reduce(maps, self.spec.reduction)

    def fed(self, images: Tensor) -> Tensor:
        """The ensemble's images `(N, C, H, W)` with the member's channels and size.

        Colour becomes luminance, grey is repeated; images are resized as `Preprocess` does it, averaging where they
        shrink.
        """
        if images.shape[1] > self.method.channels:
            images = (images * images.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        images = images.expand(-1, self.method.channels, -1, -1)
        if tuple(images.shape[2:]) == self.method.size:
            return images
        return F.interpolate(images, self.method.size, mode="bilinear", antialias=True).clamp(0, 1)

    def _precision(self, images: Tensor) -> torch.autocast:
        kind = images.device.type
        half = torch.is_autocast_enabled(kind) and self.method.half_precision
        return torch.autocast(kind, torch.bfloat16, enabled=half)

    def _collect(self, phase: Collect) -> Any:
        def collect(batches: Iterable[Tensor]) -> None:
            with self._precision(self.maps.references):
                phase.collect(self.fed(images) for images in batches)

        return collect

    def _step(self, phase: Phase) -> Any:
        def step(images: Tensor, update: Update) -> Mapping[str, Tensor]:
            return phase.step(self.fed(images), update)

        return step

    def _validate(self, phase: Phase) -> Any:
        if (own := phase.validate) is None:
            return None

        def validate(images: Tensor) -> Tensor:
            return own(self.fed(images))

        return validate


def _settings(text: str, given: Mapping[str, str]) -> dict[str, Any]:
    for key in given:
        if key not in _SETTINGS:
            raise unknown_name("setting of a member", key, _SETTINGS)
    found: dict[str, Any] = {}
    try:
        if "@size" in given:
            sides = [int(side) for side in given["@size"].split("x")]
            found["size"] = (sides[0], sides[-1])
            if len(sides) > 2 or min(sides) < 1:
                raise ValueError
        if "@channels" in given:
            found["channels"] = {"1": 1, "3": 3}[given["@channels"]]
        found["smoothing"] = float(given.get("@smoothing", 0))
        if not 0 <= found["smoothing"] < math.inf:
            raise ValueError
    except (ValueError, KeyError):
        raise UsageError(
            f"member {text!r}: @size is 224 or 224x192, @channels 1 or 3, @smoothing a number from 0"
        ) from None
    found["reduction"] = given.get("@reduction", "published")
    if found["reduction"] not in _REDUCTIONS:
        raise unknown_name("reduction", found["reduction"], _REDUCTIONS)
    return found


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
