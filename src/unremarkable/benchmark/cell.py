"""One cell, in a process of its own: `python -m unremarkable.benchmark.cell SPEC`.

SPEC is `work/KEY/spec.json` of a benchmark; the result is written beside it, into `made/`. A process of its own gives
every cell its own peak memory, and lets a crash or the system's want of memory end that cell alone.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unremarkable.benchmark.cells import Cell, command
from unremarkable.benchmark.store import DONE, ERROR, RESULT, SCORES, lock
from unremarkable.datasets.case import ABNORMAL
from unremarkable.errors import UnremarkableError
from unremarkable.files import to_json

#: what the process leaves where the cell failed
REASON = "reason.txt"
COLUMNS = ("path", "label", "finding", "patient", "score", "p_value", "flagged")


def main(spec: Path) -> int:
    """Run the cell of a spec; 0 where it was done, 1 where it failed."""
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and closes our input
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = spec.parent
    with (work / ".lock").open("w") as file:
        lock(file.fileno(), wait=True)  # a process of a run that was killed may still be dying
        made = work / "made"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        values = json.loads(spec.read_text(encoding="utf-8"))
        try:
            result = run_cell(Cell.from_dict(values["cell"]), work, made)
        except Exception as error:
            known = isinstance(error, UnremarkableError)
            (work / REASON).write_text(str(error) if known else f"{type(error).__name__}: {error}", encoding="utf-8")
            (work / ERROR).write_text(traceback.format_exc(), encoding="utf-8")
            return 1
        result["provenance"] |= values["provenance"]
        (made / RESULT).write_text(to_json(result), encoding="utf-8")
    return 0


def run_cell(cell: Cell, work: Path, made: Path) -> dict[str, Any]:
    """Fit, score and measure one cell: writes `scores.csv` into `made`, and returns the rest.

    Raises:
        UsageError: the data cannot be used so, or the fit is impossible.
    """
    from unremarkable.benchmark import measure
    from unremarkable.benchmark.outcome import assess, without_pictures
    from unremarkable.benchmark.protocol import Protocol, apply_protocol, content
    from unremarkable.detector import Detector
    from unremarkable.errors import InputError
    from unremarkable.evaluation.localisation import Localisation

    origin = measure.provenance()  # before the fit: a checkout may move on while it runs
    dataset, other = cell.data.open(), cell.test.open() if cell.test else None
    protocol = Protocol(cell.protocol, cell.deduplicate)
    cases = (*dataset.cases, *(other.cases if other else ()))
    detector = Detector(cell.method, seed=cell.seed, device=cell.device, **cell.settings, **cell.options)
    digests = content(cases) if cell.deduplicate else None
    supervised = detector.options.needs_labels
    parts = apply_protocol(protocol, dataset, cell.fold, other, digests, labelled=supervised)

    working = time.process_time()
    fit_seconds, resumed = measure.timed_fit(detector, parts.learning, work / "fit", progress=True)
    working = time.process_time() - working

    root = (other or dataset).root
    rows, failures, score_seconds = [], [], 0.0
    began = time.perf_counter()
    annotated = any(case.masks or case.boxes for case in parts.test)
    with Localisation(detector.preprocess_, detector.calibration_.map_low, annotated=annotated) as localisation:
        for row in detector.stream(parts.test):
            if isinstance(row, InputError):
                failures.append([_below(row.source, root), row.reason])
                continue
            score_seconds += time.perf_counter() - began
            localisation.add(row)
            rows.append(without_pictures(row))
            began = time.perf_counter()
        found = localisation.to_dict() or {}
    images = sum(len(row.slice_scores) for row in rows)
    _write_scores(made / SCORES, rows, root)
    plan = replace(detector.plan_, selection=f"{parts.selection}: {_count(parts.learning.cases)}")
    return {
        "format": 1,
        "status": DONE,
        "key": cell.key,
        "cell": cell.to_dict(),
        "row": cell.row,
        "column": cell.column,
        "selection": parts.selection,
        "notes": [
            *parts.notes,
            *plan.notes,
            *localisation.notes(),
            *(f"after training: {warning}" for warning in detector.history_.warnings),
        ],
        "failures": failures,
        **assess(detector, rows, found),
        "calibration": detector.calibration_.scores.tolist(),
        "plan": plan.lines(),
        "cost": {
            "fit_seconds": fit_seconds,
            "fit_core_seconds": None if resumed else working,
            "score_seconds": score_seconds,
            "images_per_second": images / score_seconds if score_seconds else None,
            "peak_memory_mb": measure.peak_memory_mb(),
            "gpu_memory_mb": measure.gpu_memory_mb(),
            **measure.size_of(detector.method_),
            "flops": measure.flops(detector.method_),
            "resumed": resumed,
        },
        "provenance": {**origin, "command": command([cell])},
    }


def _count(cases: Sequence[Any]) -> str:
    """How many normals a method learnt from, and abnormal cases where it had any."""
    abnormal = sum(case.label == ABNORMAL for case in cases)
    return f"{len(cases) - abnormal} normals" + (f" and {abnormal} abnormal cases" if abnormal else "")


def _write_scores(path: Path, rows: list[Any], root: Path) -> None:
    """The score of each test case, by its path below the data set, so that cells can be compared case by case."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            case = row.case
            writer.writerow(
                {
                    "path": _below(case.path, root),
                    "label": case.label,
                    "finding": case.finding,
                    "patient": case.patient or case.study,
                    "score": repr(row.score),
                    "p_value": repr(row.p_value),
                    "flagged": row.flagged,
                }
            )


def _below(path: str, root: Path) -> str:
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def _end_with_parent() -> None:
    """A parent that was killed must not leave us behind: our input closes with it."""
    while os.read(0, 4096):  # not through sys.stdin, whose lock would outlive the interpreter
        pass
    os._exit(130)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
