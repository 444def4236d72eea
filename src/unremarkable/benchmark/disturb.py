"""One case in every condition: untouched, and with each artefact at each strength."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets.artefacts import Altered, add_artefact, case_seed, check_kind, check_level
from unremarkable.errors import UsageError
from unremarkable.scoring.scorer import BATCH, Predictor

#: the kind of the condition without an artefact
UNTOUCHED = "untouched"


def conditions(kinds: Sequence[str], levels: Sequence[int]) -> list[tuple[str, int]]:
    """Kind and level of each condition: the untouched one, then every kind by growing strength.

    Raises:
        UsageError: an unknown kind or level, or nothing but the untouched one.
    """
    for kind in kinds:
        check_kind(kind)
    for level in levels:
        check_level(level)
    strengths = sorted({level for level in levels if level})
    if not kinds or not strengths:
        raise UsageError("name at least one artefact and one strength above 0")
    return [(UNTOUCHED, 0), *((kind, level) for kind in dict.fromkeys(kinds) for level in strengths)]


def score_conditions(
    predict: Predictor, inputs: NDArray[np.float32], asked: Sequence[tuple[str, int]], seed: int
) -> NDArray[np.float64]:
    """One case, `(N, C, H, W)`, in every condition: `(conditions, 3)`.

    The columns: the score; 1 where the map's peak lies on the artefact, else 0; the share of the map's places that do.
    The last two are NaN for kinds without a mask. Of a volume they are those of its most anomalous slice.
    """
    place = case_seed(inputs, seed)
    altered = (
        Altered(image, None) if kind == UNTOUCHED else add_artefact(image, kind, level, place)
        for kind, level in asked
        for image in inputs
    )
    found: list[tuple[float, float, float]] = []
    while batch := list(islice(altered, BATCH)):
        maps, scores, _ = predict(np.stack([one.image for one in batch]))
        for one, heat, score in zip(batch, maps, scores, strict=True):
            found.append((float(score), *((np.nan, np.nan) if one.mask is None else _peak(heat, one.mask))))
    by_condition = np.array(found).reshape(len(asked), len(inputs), 3)
    # The first slice of the highest score, as when scoring; NaN counts as highest and so is not hidden.
    return by_condition[np.arange(len(asked)), by_condition[:, :, 0].argmax(axis=1)]


def _peak(heat: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Whether the map's largest value lies on the mask, and the share of the map's places that do."""
    rows, columns = np.nonzero(mask)
    touched = np.zeros(heat.shape, np.bool_)
    touched[rows * heat.shape[0] // mask.shape[0], columns * heat.shape[1] // mask.shape[1]] = True
    return float(touched.ravel()[heat.argmax()]), float(touched.mean())
