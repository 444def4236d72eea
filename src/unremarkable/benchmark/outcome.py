"""The figures of one cell: at both operating points, over all test cases and for each finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.detector import RATE
from unremarkable.errors import UsageError
from unremarkable.evaluation.evaluation import evaluate
from unremarkable.scoring.calibration import normals_needed
from unremarkable.scoring.thresholds import best_f1

if TYPE_CHECKING:
    from unremarkable.detector import Detector
    from unremarkable.scoring.scores import CaseScore

#: operating points: set by the calibration normals at a false-alarm rate of 5 %; chosen on the test labels, as the
#: papers do, for comparison with them alone
NORMALS, BEST_F1 = "normals", "best-f1"
#: what stands beside the operating points where there are masks, boxes or reconstructions
SECTIONS = ("pixel", "lesion", "reconstruction")


def assess(detector: Detector, rows: Sequence[CaseScore], localisation: Mapping[str, Any]) -> dict[str, Any]:
    """`counts`, `metrics` by operating point, `findings` with the same for each against all normals, and `curves`.

    Args:
        detector: fitted, for its calibration.
        rows: the scored test cases.
        localisation: what `Localisation.to_dict` found; its sections stand beside the operating points.

    Raises:
        UsageError: the scored cases are not both normal and abnormal.
    """
    labels = {row.case.label for row in rows}
    if labels != {NORMAL, ABNORMAL}:
        raise UsageError(f"{len(rows)} test cases could be scored, and not both normal and abnormal ones")
    whole = _evaluate(detector, rows, curves=True)
    names = sorted({row.case.finding for row in rows if row.case.label == ABNORMAL and row.case.finding})
    findings = {}
    for name in names if len(names) > 1 else ():
        mine = [row for row in rows if row.case.label == NORMAL or row.case.finding == name]
        findings[name] = _evaluate(detector, mine)
    whole["metrics"] |= {name: localisation[name] for name in SECTIONS if name in localisation}
    about = localisation.get("localisation")
    for name, found in (about or {}).get("by_finding", {}).items():
        findings.setdefault(name, {"metrics": {}})["metrics"]["lesion"] = found["metrics"]
    return {**whole, "findings": findings, "localisation": about}


def without_pictures(row: CaseScore) -> CaseScore:
    """The same row without its maps and pictures, of which a whole test set would fill the memory."""
    return replace(row, maps=np.empty((0, 0, 0), np.float32), picture=np.empty((0, 0), np.uint8), reconstruction=None)


def _evaluate(detector: Detector, rows: Sequence[CaseScore], *, curves: bool = False) -> dict[str, Any]:
    scores, labels = [row.score for row in rows], [row.case.label == ABNORMAL for row in rows]
    paths = [row.path for row in rows]
    points = {BEST_F1: best_f1(scores, labels, source="the test cases", cases=paths)}
    if normals_needed(RATE) <= len(detector.calibration_):
        points[NORMALS] = detector.calibration_.choose(RATE)
    results: dict[str, Any] = {"metrics": {}, "operating_points": {}}
    for name, point in points.items():
        found = evaluate(
            scores,
            labels,
            [row.case.group for row in rows],
            threshold=point,
            p_values=[row.p_value for row in rows],
            paths=paths,
        ).to_dict(curves=curves)
        results["metrics"][name] = found["metrics"]
        results["operating_points"][name] = found["operating_point"]
        results["counts"] = found["counts"]
        if curves:
            results["curves"] = found["curves"]
    return results
