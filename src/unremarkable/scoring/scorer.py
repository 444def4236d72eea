"""From cases to scores: read ahead, predict in batches, reduce, and turn into p-values and verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from unremarkable.datasets.case import Case
from unremarkable.datasets.load import stream
from unremarkable.datasets.parallel import default_workers, with_progress
from unremarkable.errors import InputError
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.methods.base import Method
from unremarkable.scoring.calibration import Calibration, normals_needed
from unremarkable.scoring.reduction import reduce_map, smooth
from unremarkable.scoring.scores import CaseScore, without_pixels
from unremarkable.training.machine import Machine, computes_in_bf16

#: images per forward pass; a score does not depend on it
BATCH = 32


@dataclass(frozen=True)
class Predictor:
    """A fitted method with the way from its map to a score.

    `reduction` is "published" (the method's own) or a name that `reduce_map` knows; `smoothing` is the standard
    deviation in map pixels of a Gaussian over the map before it is reduced. `precision` is the one it was fitted in:
    in "bf16" a method that allows it computes so here too, where the machine has it.
    """

    method: Method
    reduction: str = "published"
    smoothing: float = 0.0
    precision: str = "32"

    def __call__(
        self, images: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32] | None]:
        """Maps `(N, h, w)`, scores `(N,)` and reconstructions of `(N, C, H, W)`."""
        device = next((p.device for p in self.method.parameters()), torch.device("cpu"))
        machine = Machine(str(device), self.precision if computes_in_bf16(device.type) else "32")
        with torch.no_grad(), machine.scoring(self.method.half_precision):
            prediction = self.method.predict(torch.from_numpy(np.ascontiguousarray(images)).to(device))
        maps = prediction.map[:, 0].float().cpu().numpy()
        if self.smoothing > 0:
            maps = smooth(maps, self.smoothing)
        if self.reduction == "published":
            scores = prediction.score.double().cpu().numpy()
        else:
            scores = reduce_map(maps, self.reduction).astype(np.float64)
        rebuilt = prediction.reconstruction
        return maps, scores, None if rebuilt is None else rebuilt.float().cpu().numpy()


@dataclass(frozen=True)
class Scorer:
    """Everything between a case and its `CaseScore`."""

    predict: Predictor
    preprocess: Preprocess
    calibration: Calibration
    rate: float

    def stream(
        self, cases: Sequence[Case], *, batch: int = BATCH, workers: int | None = None, progress: bool = False
    ) -> Iterator[CaseScore | InputError]:
        """Score cases one after the other, in order; a case that cannot be scored comes as its error.

        The slices of several cases share a batch. `workers` threads read files ahead: half of the processors unless
        said otherwise, because many small reads on every one of them hold up the network.
        """
        waiting: list[_Read] = []
        slices = 0
        read = stream(cases, self.preprocess, workers=workers or max(1, default_workers() // 2))
        for case, image, array in with_progress(read, len(cases), "Scoring", progress):
            waiting.append(_Read(case, image and without_pixels(image), array))
            slices += 0 if isinstance(array, InputError) else len(array)
            if slices >= batch:
                yield from self._score(waiting, batch)
                waiting, slices = [], 0
        yield from self._score(waiting, batch)

    def _score(self, waiting: Sequence[_Read], batch: int) -> Iterator[CaseScore | InputError]:
        arrays = [read.array for read in waiting if not isinstance(read.array, InputError)]
        if arrays:
            images = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
            parts = [self.predict(images[start : start + batch]) for start in range(0, len(images), batch)]
            maps, scores = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
            rebuilt = None
            if parts[0][2] is not None:
                rebuilt = np.concatenate([cast(NDArray[np.float32], part[2]) for part in parts])
        start = 0
        for read in waiting:
            if isinstance(read.array, InputError):
                yield read.array
                continue
            span = slice(start, start + len(read.array))
            start = span.stop
            if not np.isfinite(scores[span]).all():
                yield InputError(read.case.path, "the method gave a score that is not a number")
                continue
            yield self._row(read, maps[span], scores[span], None if rebuilt is None else rebuilt[span])

    def _row(
        self,
        read: _Read,
        maps: NDArray[np.float32],
        scores: NDArray[np.float64],
        rebuilt: NDArray[np.float32] | None,
    ) -> CaseScore:
        assert read.geometry is not None
        assert not isinstance(read.array, InputError)
        top = int(scores.argmax())
        return CaseScore(
            case=read.case,
            score=float(scores[top]),
            p_value=float(self.calibration.p_values(scores[top : top + 1])[0]),
            flagged=self._verdict(scores[top : top + 1]),
            slice_scores=scores,
            maps=maps,
            top=top,
            picture=to_picture(read.array[top]),
            reconstruction=None if rebuilt is None else to_picture(rebuilt[top]),
            geometry=read.geometry,
        )

    def _verdict(self, score: NDArray[np.float64]) -> bool | None:
        if normals_needed(self.rate) > len(self.calibration):
            return None
        return bool(self.calibration.flag(score, self.rate)[0])


@dataclass(frozen=True)
class _Read:
    """A case as it came from its file: its model input, or why there is none."""

    case: Case
    geometry: Image | None
    array: NDArray[np.float32] | InputError


def calibrate(predict: Predictor, images: Sequence[NDArray[np.float32]], owner: NDArray[np.int64]) -> Calibration:
    """Calibration from batches of held-out normals; `owner` names the case that each image belongs to."""
    scores, pixels = [], []
    for batch in images:
        maps, values, _ = predict(batch)
        scores.append(values)
        # A colour scale needs no more than a sample of the pixels.
        stride = max(1, maps.shape[-1] // 64)
        pixels.append(maps[:, ::stride, ::stride].ravel())
    flat = np.concatenate(scores)
    by_case = np.array([flat[owner == case].max() for case in np.unique(owner)])
    calibration = Calibration.from_normals(by_case, np.concatenate(pixels))
    full = predict.method.map_full
    return calibration if full is None else replace(calibration, map_high=max(full, calibration.map_low))


def to_picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`(C, H, W)` in [0, 1] as uint8 `(H, W)` or `(H, W, 3)`."""
    pixels = (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
