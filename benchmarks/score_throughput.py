"""End-to-end scoring against the bare backbone on tensors already in memory, images per second, in one run.

End to end: decode, preprocess, forward, map, write heat maps, table and page, for the chest X-ray test set with knn.
The two alternate, so that a machine whose speed drifts treats them alike; the medians are compared.

python benchmarks/score_throughput.py [--rounds 3] [--precision 32] [--record]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from record import data_folder, markdown, parser, publish
from unremarkable.datasets.cache import pack
from unremarkable.datasets.find import find_dataset
from unremarkable.detector import Detector
from unremarkable.report.run import score_to_folder
from unremarkable.training.machine import resolve
from unremarkable.training.settings import TrainSettings

BATCH = 32


def main() -> None:
    """Fit once, then time both in turn."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--precision", default="auto", help="auto, 32 or bf16; of both")
    arguments.add_argument("--name", default="score-throughput")
    chosen = arguments.parse_args()
    dataset = find_dataset(data_folder() / "chest-xray-pneumonia")
    detector = Detector("knn", precision=chosen.precision).fit(dataset)
    cases = dataset.select(split="test")
    images = torch.from_numpy(np.array(pack(cases, detector.preprocess_).images))
    backbone = detector.method_.backbone
    machine = resolve(TrainSettings(precision=chosen.precision))
    bare, whole = [], []
    for round_ in range(chosen.rounds + 1):  # the first warms up and is not counted
        started = time.perf_counter()
        with torch.no_grad(), machine.scoring(detector.method_.half_precision):
            for start in range(0, len(images), BATCH):
                backbone(images[start : start + BATCH])
        bare_seconds = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as work:
            started = time.perf_counter()
            score_to_folder(detector, dataset, cases, Path(work) / "out", batch=BATCH)
            whole_seconds = time.perf_counter() - started
        if round_:
            bare.append(len(images) / bare_seconds)
            whole.append(len(cases) / whole_seconds)
    ratio = statistics.median(whole) / statistics.median(bare)
    rows = [
        ("bare backbone, tensors in memory", f"{statistics.median(bare):.1f}", f"{min(bare):.1f}–{max(bare):.1f}"),
        ("end to end", f"{statistics.median(whole):.1f}", f"{min(whole):.1f}–{max(whole):.1f}"),
        ("ratio", f"{ratio:.0%}", ""),
    ]
    text = f"{len(cases)} images, batch {BATCH}, {chosen.rounds} rounds; both in {machine.precision}.\n\n"
    publish(chosen.name, text + markdown(("", "images/s, median", "range"), rows), record=chosen.record)


if __name__ == "__main__":
    main()
