"""Does the stated false-alarm rate hold? The brain MRI training normals, split anew many times.

Each time a fifth of the normals stands in for new patients, and a detector is fitted on the rest as any user would,
holding its own calibration normals out. Copies of one picture stay on one side. What is measured is the share of the
new normals that is flagged; the images are small (96 px), which makes it quick and changes nothing in the promise.

python benchmarks/calibration.py [--splits 50] [--record]
"""

from __future__ import annotations

import dataclasses
import os
import tempfile

import numpy as np

from record import data_folder, markdown, parser, publish
from unremarkable.datasets.cache import digest
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.splits import hold_out
from unremarkable.detector import Detector
from unremarkable.errors import UsageError

RATES = (0.01, 0.05, 0.10)


def main() -> None:
    """Split, fit, score, count what is flagged."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--splits", type=int, default=50)
    chosen = arguments.parse_args()
    dataset = find_dataset(data_folder() / "brain-tumor-mri")
    normals = [
        dataclasses.replace(case, patient=digest(case), split=None) for case in dataset.select(split="train", label=0)
    ]
    shares: dict[float, list[float]] = {rate: [] for rate in RATES}
    sizes = set()
    for seed in range(chosen.splits):
        known, new = hold_out(normals, count=round(0.2 * len(normals)), seed=seed)
        with tempfile.TemporaryDirectory() as cache:
            os.environ["UNREMARKABLE_CACHE"] = cache
            detector = Detector("knn", size=96, seed=seed)
            detector.fit(dataclasses.replace(dataset, cases=tuple(known), skipped=()))
            p_values = np.array([row.p_value for row in detector.score(dataclasses.replace(dataset, cases=tuple(new)))])
        sizes.add((detector.plan_.training_cases, detector.plan_.calibration_cases, len(new)))
        for rate in RATES:
            shares[rate].append(float((p_values <= rate).mean()))
        print(f"{seed + 1}/{chosen.splits}: {shares[0.05][-1]:.3f} flagged at 5 %", flush=True)
    table = [
        (f"{rate:.0%}", f"{np.mean(found):.2%}", f"{np.min(found):.2%} to {np.max(found):.2%}", len(found))
        for rate, found in shares.items()
    ]
    text = "Normals to train, calibrate, score: " + "; ".join("{}, {}, {}".format(*size) for size in sorted(sizes))
    try:
        detector.calibration_.threshold(0.001)
        refusal = "none"
    except UsageError as error:
        refusal = str(error)
    text += f"\n\n{markdown(('requested', 'flagged, mean', 'over splits', 'splits'), table)}"
    publish("calibration", f"{text}\n\nA request that they cannot support: {refusal}.", record=chosen.record)


if __name__ == "__main__":
    main()
