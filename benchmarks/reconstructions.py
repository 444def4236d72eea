"""Do the reconstructing methods learn? Held-out normals, what the method makes of them, and the map, as a picture.

Fits on the chest X-ray training normals through the public path and draws the test normals with the median scores. The
mean squared error of all test normals stands beside that of the mean training image, which a method that learned
nothing would give.

python benchmarks/reconstructions.py --method autoencoder --picture sheet.png [--set option=value] [--record]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Picture

from record import data_folder, markdown, parser, publish
from unremarkable.datasets.cache import pack
from unremarkable.datasets.find import find_dataset
from unremarkable.detector import Detector
from unremarkable.scoring.heatmap import overlay
from unremarkable.training.plan import duration

COLUMNS = 10


def main() -> None:
    """Fit, reconstruct, measure, draw."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--method", default="autoencoder")
    arguments.add_argument("--set", action="append", default=[], dest="settings")
    arguments.add_argument("--picture", type=Path, required=True)
    chosen = arguments.parse_args()
    dataset = find_dataset(data_folder() / "chest-xray-pneumonia")
    options = dict(setting.split("=", 1) for setting in chosen.settings)
    detector = Detector(chosen.method, **options).fit(dataset, progress=True)
    training = pack(dataset.select(split="train", label=0), detector.preprocess_).images
    mean = (training.mean(axis=0)[0] * 255).astype(np.float64)
    rows = [row for row in detector.stream(dataset.select(split="test", label=0)) if hasattr(row, "score")]
    errors = [np.square(row.picture.astype(float) - row.reconstruction).mean() / 255**2 for row in rows]
    blind = [np.square(row.picture - mean).mean() / 255**2 for row in rows]
    rows.sort(key=lambda row: row.score)
    middle = rows[(len(rows) - COLUMNS) // 2 :][:COLUMNS]
    lines = [[as_colour(row.picture) for row in middle], [as_colour(row.reconstruction) for row in middle]]
    lines.append([overlay(row.picture / np.float32(255), row.map, *detector.map_range) for row in middle])
    Picture.fromarray(np.vstack([np.hstack(line) for line in lines])).save(chosen.picture)
    epochs = "; ".join(f"{phase.name} {len(phase.epochs)}" for phase in detector.history_.phases)
    result = [
        (
            chosen.method,
            ", ".join(chosen.settings) or "defaults",
            epochs,
            duration(detector.history_.seconds),
            f"{np.mean(errors):.4f}",
            f"{np.mean(blind):.4f}",
        )
    ]
    header = ("method", "options", "epochs", "training", "MSE of test normals", "of the mean training image")
    publish(f"reconstructions-{chosen.method}", markdown(header, result), record=chosen.record)


def as_colour(picture: np.ndarray) -> np.ndarray:
    """A grey picture with three channels."""
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


if __name__ == "__main__":
    main()
