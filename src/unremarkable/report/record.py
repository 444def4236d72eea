"""Into the folder of a run, what its page needs besides the scores and the figures: `run.json` and `gallery/`."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from unremarkable import __version__
from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.load import load_case
from unremarkable.detector import Detector
from unremarkable.report.folder import FORMAT, GALLERY, RECORD
from unremarkable.scoring.scores import CaseScore
from unremarkable.scoring.thresholds import ThresholdChoice

if TYPE_CHECKING:
    from unremarkable.report.run import Run

_PARTS = ("training", "validation", "calibration")


def write_record(
    folder: Path,
    title: str,
    detector: Detector,
    dataset: Dataset,
    cases: Sequence[Case],
    run: Run,
    point: ThresholdChoice | None = None,
) -> None:
    """Write `run.json` and the gallery's pictures into `folder`, which exists.

    Args:
        folder: of the run.
        title: heading of the page.
        detector, dataset, cases, run: what scored what, and what came of it.
        point: the operating point of a run without labels; an evaluation's is in its figures.
    """
    (folder / GALLERY).mkdir(exist_ok=True)
    record = make_record(title, detector, dataset, cases, run, point)
    record["gallery"] = []
    for number, item in enumerate(run.kept.items({row["path"]: row["flagged"] for row in run.records})):
        files = {}
        for name in ("image", "overlay", "reconstruction"):
            if picture := getattr(item, name):
                files[name] = f"{number:02d}-{name}.{picture.kind}"
                (folder / GALLERY / files[name]).write_bytes(picture.data)
        fields = ("title", "score", "p_value", "flagged", "label", "finding", "note")
        record["gallery"].append({field: getattr(item, field) for field in fields} | {"files": files})
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def make_record(
    title: str,
    detector: Detector,
    dataset: Dataset,
    cases: Sequence[Case],
    run: Run,
    point: ThresholdChoice | None,
) -> dict[str, Any]:
    """`run.json` without its gallery, as JSON takes it; arguments as for `write_record`."""
    counts: dict[str, dict[str, int]] = {}
    for (split, finding), n in sorted(Counter((c.split or "all", c.finding or "unlabelled") for c in cases).items()):
        counts.setdefault(split, {})[finding] = n
    evaluated = run.evaluation is not None
    return {
        "format": FORMAT,
        "evaluated": evaluated,
        "title": title,
        "simulated": all(Path(case.path).name.startswith("simulated_") for case in cases),
        "data": {
            "name": dataset.name,
            "folder": str(dataset.root),
            "recognised as": dataset.layout,
            "counts": counts,
            "skipped": [*run.failures, *run.left_out],
            "failed": len(run.failures),
            "notes": [*dataset.notes, *run.notes],
        },
        "model": _model(detector),
        "plan": detector.plan_.lines(),
        "scored_with": f"unremarkable {__version__}, Python {platform.python_version()}",
        "operating_point": None if point is None else {**point.to_dict(), "description": point.describe()},
        "calibration": detector.calibration_.to_dict(),
        "history": detector.history_.to_dict(),
        "shortcuts": run.kept.shortcuts(),
        "features": _features(detector, run.kept.example) if evaluated else None,
    }


def _model(detector: Detector) -> dict[str, Any]:
    manifest = detector.manifest_
    data = manifest["data"]
    method = detector.method_
    return {
        "method": detector.method,
        "paper": method.paper,
        "family": method.family,
        "options": detector.plan_.to_dict()["options"],
        "parameters": sum(parameter.numel() for parameter in method.parameters()),
        "preprocess": detector.preprocess_.to_dict(),
        "intensity_reason": detector.plan_.intensity_reason,
        "reduction": detector.reduction if detector.reduction != "published" else method.reduction,
        "smoothing": detector.smoothing,
        "data": {key: data[key] for key in ("name", "layout", "split")},
        "selection": detector.plan_.selection,
        "supervised": detector.options.needs_labels,
        "settled": detector.method_.settled(),
        "parts": {part: {"cases": len(data[part]), "sha256": fingerprint(data[part])} for part in _PARTS},
        "failures": len(data["failures"]),
        **{key: manifest[key] for key in ("labels", "seed", "versions", "machine")},
    }


def fingerprint(digests: Sequence[str]) -> str:
    """One sha256 for a set of cases: of their sha256s in ascending order, one a line."""
    return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(digests)).encode()).hexdigest()


def _features(detector: Detector, row: CaseScore | None) -> dict[str, Any] | None:
    """Encoder and decoder features of one case in two dimensions, for methods that have both; else None."""
    from unremarkable.explain.features import embed_pairs, patch_pairs

    if row is None:
        return None
    found = patch_pairs(detector.method_, detector.preprocess_(load_case(row.case))[row.top])
    if found is None or len(found[0]) < 3:
        return None
    encoder, decoder, grid = found
    distances = np.asarray(Image.fromarray(row.map).resize(grid[::-1], Image.Resampling.BOX)).ravel()
    return {
        "path": row.path,
        "embedding": embed_pairs(encoder, decoder).round(3).tolist(),
        "distances": distances.astype(np.float64).tolist(),
    }
