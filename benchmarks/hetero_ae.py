"""hetero-ae on a set with a published split: training time, and AUROC by its own rule and by the paper's.

The rule is the method's default: stages and reduction are chosen on anomalies planted in held-out normals. The paper's
is the maximum of the map over all stages (eq. 7 and 8). One fit for each number of epochs; test labels choose nothing.

python benchmarks/hetero_ae.py [--data brain-tumor-mri] [--size 224] --epochs 6 12 [--record]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from record import data_folder, markdown, parser, publish
from unremarkable.datasets.find import find_dataset
from unremarkable.detector import Detector
from unremarkable.evaluation.evaluation import evaluate
from unremarkable.methods.hetero_ae import REDUCTIONS
from unremarkable.training.plan import duration


def main() -> None:
    """Fit, score twice, tabulate."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--epochs", type=int, nargs="+", default=[6])
    arguments.add_argument("--data", default="chest-xray-pneumonia")
    arguments.add_argument("--size", type=int, default=256)
    arguments.add_argument("--name", default="hetero-ae-chest")
    chosen = arguments.parse_args()
    dataset = find_dataset(data_folder() / chosen.data)
    cases = dataset.select(split="test")
    rows = []
    for epochs in chosen.epochs:
        with tempfile.TemporaryDirectory() as run:
            started, busy = time.perf_counter(), time.process_time()
            detector = Detector("hetero-ae", size=chosen.size, epochs=epochs)
            detector.fit(dataset, run=Path(run), progress=True, on_plan=lambda plan: print(*plan.lines(), sep="\n"))
            fitted, busy = time.perf_counter() - started, time.process_time() - busy
        method = detector.method_
        stages = [k + 1 for k, used in enumerate(method.stages.tolist()) if used]
        rule = f"{REDUCTIONS[int(method.reducer)]} of stages {', '.join(map(str, stages))}"
        own = auroc(detector, cases)
        method.stages.copy_(torch.ones(3, dtype=torch.bool))
        method.reducer.fill_(REDUCTIONS.index("max"))
        paper = auroc(detector, cases)
        phase = next(p for p in detector.history_.phases if p.name == "features")
        rows.append(
            (
                epochs,
                phase.best_epoch,
                duration(detector.history_.seconds),
                duration(fitted),
                f"{busy:.0f}",
                rule,
                own,
                paper,
            )
        )
        print(rows[-1], flush=True)
    header = (
        "epochs",
        "best",
        "training",
        "whole fit",
        "core seconds",
        "rule",
        "AUROC by the rule",
        "AUROC, maximum (paper)",
    )
    publish(chosen.name, markdown(header, rows), record=chosen.record)


def auroc(detector: Detector, cases: tuple) -> str:
    """With its interval."""
    scored = list(detector.stream(cases))
    labels = np.array([row.case.label for row in scored])
    found = evaluate([row.score for row in scored], labels).metrics["auroc"]
    return f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"


if __name__ == "__main__":
    main()
