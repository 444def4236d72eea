"""A run's folder made of numbers, without a model, and names that try to be markup."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from unremarkable.evaluation import Evaluation, evaluate
from unremarkable.report.folder import FORMAT
from unremarkable.report.gallery import Picture
from unremarkable.scoring.calibration import Calibration
from unremarkable.scoring.scores import COLUMNS

EVIL = "<script>alert(1)</script>&\"'.png"
LABELS = np.repeat([0, 1], 30)
SCORES = np.random.default_rng(0).normal(size=60) + LABELS
CALIBRATION = Calibration.from_normals(np.random.default_rng(1).normal(size=99))
POINT = CALIBRATION.choose(0.05)
HISTORY = {
    "phases": [
        {
            "name": EVIL,
            "best_epoch": 2,
            "epochs": [{"epoch": e, "losses": {EVIL: 1.0 / e}, "held_out": 1.0} for e in (1, 2)],
        },
        {"name": "collect", "best_epoch": 1, "epochs": [{"epoch": 1, "losses": {}, "held_out": None}]},
    ]
}
MODEL: dict[str, Any] = {
    "method": "knn",
    "paper": "A, B: title, 2020",
    "family": "memory bank",
    "options": {"k": 3, EVIL: None},
    "parameters": 1234567,
    "preprocess": {"size": [64, 32], "channels": 1, "fit": "pad", "intensity": "dtype"},
    "intensity_reason": "8-bit images",
    "reduction": "own",
    "smoothing": 0.0,
    "data": {"name": EVIL, "layout": "folders", "split": "auto"},
    "selection": "60 normals",
    "parts": {
        "training": {"cases": 41, "sha256": "ab" * 32},
        "validation": {"cases": 0, "sha256": "00" * 32},
        "calibration": {"cases": 19, "sha256": "cd" * 32},
    },
    "failures": 2,
    "labels": {"training": "used to leave out", "calibration": "normals", "test": "none"},
    "seed": 7,
    "versions": {"unremarkable": "0.1.0", "torch": "2.13"},
    "machine": "Linux x86_64",
}


def made_evaluation(**changes: Any) -> Evaluation:
    """Sixty cases, half of them normal, of two findings."""
    given: dict[str, Any] = {
        "threshold": POINT,
        "p_values": CALIBRATION.p_values(SCORES),
        "findings": ["normal"] * 30 + [EVIL, "other"] * 15,
        "replicates": 100,
    }
    return evaluate(SCORES, LABELS, **(given | changes))


def write_run(
    folder: Path, evaluation: Evaluation | None, *, metrics: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """What score (without an evaluation) or evaluate leaves in a folder; `changes` are of run.json."""
    (folder / "gallery").mkdir(parents=True)
    scores = SCORES if evaluation is None else evaluation.scores
    labels = None if evaluation is None else evaluation.labels
    flagged = scores > POINT.value if evaluation is None else evaluation.flagged
    findings = ["normal"] * 30 + [EVIL, "other"] * 15
    paths = [f"{i}-{EVIL}" for i in range(len(scores))]
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        for i, score in enumerate(scores):
            rows.writerow(
                {
                    "path": paths[i],
                    "score": score,
                    "p_value": CALIBRATION.p_values([score])[0],
                    "flagged": None if flagged is None else bool(flagged[i]),
                    "label": None if labels is None else int(labels[i]),
                    "finding": None if labels is None or len(scores) != 60 else findings[i],
                }
            )
        rows.writerow({"path": EVIL, "error": "broken"})
    rng = np.random.default_rng(0)
    items = []
    for i in range(0, len(scores), 2):
        files = {}
        for name in ("image", "overlay", "reconstruction"):
            files[name] = f"{i:02d}-{name}.png"
            shape = (20, 20, 3) if name == "overlay" else (20, 20)
            picture = Picture.of(rng.integers(0, 256, shape, dtype=np.uint8))
            (folder / "gallery" / files[name]).write_bytes(picture.data)
        item = {"title": paths[i], "score": float(scores[i]), "p_value": 0.02, "note": "slice 3 of 9", "files": files}
        item["flagged"] = None if flagged is None else bool(flagged[i])
        item["label"] = None if labels is None else int(labels[i])
        item["finding"] = EVIL if labels is not None and i % 4 else None
        items.append(item)
    record: dict[str, Any] = {
        "format": FORMAT,
        "evaluated": evaluation is not None,
        "title": EVIL,
        "simulated": False,
        "data": {
            "name": EVIL,
            "folder": "/somewhere",
            "recognised as": "folders",
            "counts": {"train": {"normal": 5}, EVIL: {"normal": 3, EVIL: 4}},
            "skipped": [[EVIL, f"reason {i}"] for i in range(15)],
            "failed": 1,
            "notes": [EVIL],
        },
        "model": MODEL,
        "plan": [["training", "one pass"], ["note", EVIL]],
        "scored_with": "unremarkable 0.1.0, Python 3.11",
        "operating_point": {**POINT.to_dict(), "description": POINT.describe()},
        "calibration": CALIBRATION.to_dict(),
        "history": HISTORY,
        "shortcuts": {"width": 0.6, "contrast": 0.5},
        "features": None,
        "gallery": items,
    }
    (folder / "run.json").write_text(json.dumps(record | changes), encoding="utf-8")
    if evaluation is not None:
        content = evaluation.to_dict(curves=True) | (metrics or {})
        (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
