"""The folder that `score` or `evaluate` wrote, read back: everything that its page is made of.

`scores.csv` holds the cases, `metrics.json` the figures where there are labels, `run.json` what else the page needs,
and `gallery/` its pictures. See `record` for the way there.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.intervals import Interval
from unremarkable.report.gallery import GalleryItem, Picture
from unremarkable.scoring.calibration import Calibration

RECORD, METRICS, SCORES, GALLERY = "run.json", "metrics.json", "scores.csv", "gallery"
#: raised whenever an older version could misread `run.json`
FORMAT = 1


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What a run's folder holds.

    Attributes:
        record: `run.json`: "title", "simulated", "rate", "data", "model", "plan", "provenance", "operating_point",
            "calibration", "history", "shortcuts", "features" and "gallery"; see `record.make_record`.
        metrics: `metrics.json`, in the form of `Evaluation.to_dict(curves=True)`; None where nothing was evaluated.
        rows: the scored cases of `scores.csv`, in order, as text.
        gallery: the cases with pictures.
    """

    record: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    rows: tuple[dict[str, str], ...]
    gallery: tuple[GalleryItem, ...]

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """`(N,)` anomaly scores."""
        return np.array([float(row["score"]) for row in self.rows], dtype=np.float64)

    @cached_property
    def p_values(self) -> NDArray[np.float64]:
        """`(N,)` p-values."""
        return np.array([float(row["p_value"]) for row in self.rows], dtype=np.float64)

    @cached_property
    def abnormal(self) -> NDArray[np.bool_] | None:
        """`(N,)` labels; None where nothing was evaluated."""
        return None if self.metrics is None else np.array([row["label"] == "1" for row in self.rows], dtype=bool)

    @cached_property
    def flagged(self) -> NDArray[np.bool_] | None:
        """`(N,)` verdicts; None where there are none."""
        if any(not row["flagged"] for row in self.rows):
            return None
        return np.array([row["flagged"] == "True" for row in self.rows], dtype=bool)

    @cached_property
    def patients(self) -> list[str]:
        """`(N,)` what the intervals kept together: the patient, or the case itself."""
        return [row["patient"] or row["path"] for row in self.rows]

    @cached_property
    def calibration(self) -> Calibration:
        """The held-out normals."""
        return Calibration.from_dict(self.record["calibration"])

    @property
    def operating_point(self) -> Mapping[str, Any] | None:
        """Threshold ("value"), "rule", "rate" and "description"; None where there are no verdicts."""
        point: Mapping[str, Any] | None = (self.record if self.metrics is None else self.metrics)["operating_point"]
        return point

    @property
    def rate(self) -> float | None:
        """The false-alarm rate that the threshold was set for, or None where it was chosen otherwise."""
        point = self.operating_point
        return None if point is None or point["rule"] != "false-alarm rate" else point["rate"]

    def metric(self, name: str) -> Interval:
        """One of the metrics; undefined where nothing was evaluated or it was not measured."""
        found = (self.metrics or {}).get("metrics", {}).get(name)
        return Interval(None, None, None, "not measured") if found is None else interval(found)


def interval(values: Mapping[str, Any]) -> Interval:
    """An interval as `Interval.to_dict` writes it."""
    return Interval(values["value"], values["low"], values["high"], values.get("reason"))


def read_run(folder: Path) -> RunFolder:
    """Read what `score` or `evaluate` wrote.

    Raises:
        UsageError: no such folder, one that an older version wrote or that nothing of ours wrote, or a damaged one.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    if not (folder / SCORES).is_file():
        raise UsageError(f"{folder} was not written by score or evaluate: {SCORES} is missing")
    if not (folder / RECORD).is_file():
        raise UsageError(f"{folder} was written by an older version, without {RECORD}; run score or evaluate again")
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["format"] > FORMAT:
            raise UsageError(
                f"{folder} was written by a newer version of unremarkable; update with: pip install -U unremarkable"
            )
        metrics = None
        if record["evaluated"]:
            metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        with (folder / SCORES).open(newline="", encoding="utf-8") as file:
            rows = tuple(row for row in csv.DictReader(file) if not row["error"])
        gallery = tuple(_item(folder, item) for item in record["gallery"])
        run = RunFolder(record, metrics, rows, gallery)
        # Read here, where a damaged file can still be told from a mistake of ours.
        _ = run.scores, run.p_values, run.calibration, run.operating_point, run.patients, run.flagged
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} is damaged and cannot be read: {type(error).__name__}: {error}") from error
    return run


def _item(folder: Path, values: Mapping[str, Any]) -> GalleryItem:
    pictures = {}
    for name, file in values["files"].items():
        # Only a name in the gallery, whatever the record says.
        path = folder / GALLERY / Path(file).name
        pictures[name] = Picture(path.read_bytes(), path.suffix.removeprefix("."))
    rest = {name: value for name, value in values.items() if name != "files"}
    return GalleryItem(**{"reconstruction": None, **pictures, **rest})
