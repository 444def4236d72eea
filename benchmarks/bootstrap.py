"""How long the intervals take: 10,000 cases, 2,000 resamples of patients, on one core.

The aim is AUROC with its interval within 5 s; every other metric comes with it. DeLong's test of two detectors on the
same cases stands beside it.

python benchmarks/bootstrap.py [--cases 10000] [--replicates 2000] [--runs 3] [--record]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Callable

import numpy as np

from record import markdown, parser, publish
from unremarkable.evaluation.comparison import delong
from unremarkable.evaluation.intervals import bootstrap


def timed(measured: Callable[[], object], runs: int) -> tuple[str, str]:
    """Median seconds by the clock, and of the processor, of a few runs."""
    clock, processor = [], []
    for _ in range(runs):
        started, busy = time.perf_counter(), time.process_time()
        measured()
        clock.append(time.perf_counter() - started)
        processor.append(time.process_time() - busy)
    return f"{statistics.median(clock):.2f}", f"{statistics.median(processor):.2f}"


def main() -> None:
    """Time the bootstrap on scores with and without ties, patients and verdicts."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--cases", type=int, default=10_000)
    arguments.add_argument("--replicates", type=int, default=2000)
    arguments.add_argument("--runs", type=int, default=3)
    chosen = arguments.parse_args()
    n, replicates = chosen.cases, chosen.replicates
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    scores, other = rng.normal(size=(2, n)) + labels
    patients = [f"patient {number}" for number in rng.integers(0, max(1, n // 4), n)]
    flagged = scores > 1
    runs: dict[str, Callable[[], object]] = {
        "AUROC, AUPRC and fixed points of the ROC curve": lambda: bootstrap(scores, labels, replicates=replicates),
        "the same, scores with ties": lambda: bootstrap(np.round(scores, 1), labels, replicates=replicates),
        "the same, several cases a patient": lambda: bootstrap(scores, labels, patients, replicates=replicates),
        "with verdicts, PPV and NPV": lambda: bootstrap(
            scores, labels, None, flagged, prevalence=0.05, replicates=replicates
        ),
        "DeLong's test of two detectors": lambda: delong(scores, other, labels),
        "DeLong, several cases a patient": lambda: delong(scores, other, labels, patients),
    }
    rows = [(name, *timed(measured, chosen.runs)) for name, measured in runs.items()]
    text = f"{n:,} cases, {replicates:,} resamples, one core, median of {chosen.runs} runs."
    table = markdown(("", "seconds", "processor seconds"), rows)
    publish("bootstrap", f"{text}\n\n{table}", record=chosen.record)


if __name__ == "__main__":
    main()
