"""What a run over cases with masks or boxes is measured by besides their scores: pixels, lesions, reconstructions."""

from __future__ import annotations

from typing import Any

from unremarkable.datasets.case import NORMAL
from unremarkable.datasets.masks import load_truth
from unremarkable.errors import InputError
from unremarkable.evaluation.intervals import Interval
from unremarkable.evaluation.lesions import MIN_IOU, LesionMetrics, lesion_metrics
from unremarkable.evaluation.map_store import MapStore
from unremarkable.evaluation.pixels import ON_TEST_LABELS, PixelMetrics, pixel_metrics
from unremarkable.evaluation.reconstruction import Fidelity
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.scoring.calibration import MAP_RATE
from unremarkable.scoring.scores import CaseScore


class Localisation:
    """Takes scored cases one by one and measures them at the end; use it in a `with` block.

    Args:
        preprocess: of the detector, to bring its maps back to the image's grid.
        threshold: map value above which a pixel is flagged, from the calibration normals.
        annotated: whether the data set has masks or boxes at all; if not, only reconstructions are measured.

    After the last case: `unannotated` counts the abnormal cases without mask or box, `left_out` pairs the cases whose
    masks or maps cannot be used with the reason.
    """

    def __init__(self, preprocess: Preprocess, threshold: float, *, annotated: bool) -> None:
        self.unannotated = 0
        self.left_out: list[tuple[str, str]] = []
        self._threshold = threshold
        self._store = MapStore(preprocess) if annotated else None
        self._fidelity = Fidelity()

    def __enter__(self) -> Localisation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()

    def add(self, row: CaseScore) -> None:
        """Take one scored case; a mask that cannot be used leaves it out of the pixel and lesion metrics."""
        if row.reconstruction is not None and row.case.label == NORMAL:
            self._fidelity.add(row.picture, row.reconstruction, row.case.group)
        if self._store is None:
            return
        try:
            truth = load_truth(row.case, row.geometry)
            if truth is None:
                self.unannotated += 1
            else:
                self._store.add(row, truth)
        except InputError as error:
            self.left_out.append((error.source, error.reason))

    def notes(self) -> tuple[str, ...]:
        """Lines for the reader: what the pixel and lesion metrics leave out."""
        lines = []
        if self._store is not None and self.unannotated:
            lines.append(
                f"{self.unannotated} cases that are not labelled normal have no mask or box, or an empty one, and are "
                "left out of the pixel and lesion metrics"
            )
        if self.left_out:
            path, reason = self.left_out[0]
            lines.append(
                f"{len(self.left_out)} cases are left out of the pixel and lesion metrics; the first: {path}: {reason}"
            )
        return tuple(lines)

    def to_dict(self, *, replicates: int = 2000, seed: int = 0, level: float = 0.95) -> dict[str, Any] | None:
        """JSON-compatible: sections "pixel", "lesion", "reconstruction" of `{metric: {"value", "low", "high"}}`, as far
        as there is anything to measure, and "localisation", which says how; None where there is nothing.

        Args:
            replicates: of the intervals, resampled by patient; 0 for none.
            seed: of the resampling.
            level: of the intervals.
        """
        settings: dict[str, Any] = {"replicates": replicates, "seed": seed, "level": level}
        found: dict[str, Any] = {}
        if self._store is not None and len(self._store):
            pixel = pixel_metrics(self._store, self._threshold, **settings)
            lesion = lesion_metrics(self._store, pixel.alarm_levels, self._threshold, **settings)
            found["pixel"] = _section(pixel.metrics)
            found["lesion"] = _section(lesion.metrics)
            found["localisation"] = self._about(self._store, pixel, lesion) | {
                "by_finding": self._by_finding(self._store, settings)
            }
        if fidelity := self._fidelity.metrics(**settings):
            found["reconstruction"] = _section(fidelity)
        return found or None

    def _about(self, store: MapStore, pixel: PixelMetrics, lesion: LesionMetrics) -> dict[str, Any]:
        return {
            "counts": {
                "cases": len(store),
                "normal": len(store) - store.abnormal,
                "abnormal": store.abnormal,
                "unannotated": self.unannotated,
                **lesion.counts,
            },
            "left_out": [{"path": path, "reason": reason} for path, reason in self.left_out],
            "threshold": {
                "value": self._threshold,
                "rule": "map value that this share of the calibration normals' pixels exceeds",
                "rate": MAP_RATE,
            },
            "chosen_on_test_labels": {name: pixel.thresholds.get(name) for name in ON_TEST_LABELS},
            "hit_rule": f"intersection over union of component and lesion ≥ {MIN_IOU}",
            "froc": {
                "thresholds": lesion.froc.thresholds.tolist(),
                "false_positives": lesion.froc.false_positives.tolist(),
                "sensitivity": lesion.froc.sensitivity.tolist(),
            },
            "auroc_error": pixel.auroc_error,
        }

    def _by_finding(self, store: MapStore, settings: dict[str, Any]) -> dict[str, Any]:
        """Lesion metrics at the threshold of each finding's cases, as the tables of Bercea et al. give them."""
        result = {}
        for name, positions in sorted(store.findings().items()):
            lesion = lesion_metrics(store.only(positions), (), self._threshold, **settings)
            result[name] = {"cases": len(positions), **lesion.counts, "metrics": _section(lesion.metrics)}
        return result


def _section(metrics: dict[str, Interval]) -> dict[str, Any]:
    return {name: interval.to_dict() for name, interval in metrics.items()}
