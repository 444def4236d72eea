"""Do the reconstructing methods learn? Test images, what the method makes of them, and the map, as a picture.

Fits on the training normals of a set with a published split through the public path. It draws the test normals, or with
`--abnormal` the abnormal ones, whose scores are spread evenly over all of theirs: nobody picks them. The mean squared
error of all test normals stands beside that of the mean training image, which a method that learned nothing would give.

python benchmarks/reconstructions.py --method autoencoder --picture reconstructions-autoencoder.jpg
    [--data brain-tumor-mri] [--abnormal] [--columns 6] [--size 64] [--set option=value] [--record]
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


def main() -> None:
    """Fit, reconstruct, measure, draw."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--method", default="autoencoder")
    arguments.add_argument("--set", action="append", default=[], dest="settings")
    arguments.add_argument("--picture", type=Path, required=True)
    arguments.add_argument("--data", default="chest-xray-pneumonia")
    arguments.add_argument("--abnormal", action="store_true")
    arguments.add_argument("--columns", type=int, default=10)
    arguments.add_argument("--size", type=int)
    chosen = arguments.parse_args()
    dataset = find_dataset(data_folder() / chosen.data)
    options = dict(setting.split("=", 1) for setting in chosen.settings)
    detector = Detector(chosen.method, size=chosen.size, **options).fit(dataset, progress=True)
    training = pack(dataset.select(split="train", label=0), detector.preprocess_).images
    mean = (training.mean(axis=0)[0] * 255).astype(np.float64)
    rows = [row for row in detector.stream(dataset.select(split="test", label=0)) if hasattr(row, "score")]
    errors = [np.square(row.picture.astype(float) - row.reconstruction).mean() / 255**2 for row in rows]
    blind = [np.square(row.picture - mean).mean() / 255**2 for row in rows]
    if chosen.abnormal:
        rows = [row for row in detector.stream(dataset.select(split="test", label=1)) if hasattr(row, "score")]
    rows.sort(key=lambda row: row.score)
    shown = [rows[round((column + 0.5) / chosen.columns * (len(rows) - 1))] for column in range(chosen.columns)]
    lines = [[as_colour(row.picture) for row in shown], [as_colour(row.reconstruction) for row in shown]]
    lines.append([overlay(row.picture / np.float32(255), row.map, *detector.map_range) for row in shown])
    Picture.fromarray(np.vstack([np.hstack(line) for line in lines])).save(chosen.picture)
    epochs = "; ".join(f"{phase.name} {len(phase.epochs)}" for phase in detector.history_.phases)
    result = [
        (
            chosen.method,
            chosen.data,
            ", ".join(chosen.settings) or "defaults",
            epochs,
            duration(detector.history_.seconds),
            f"{np.mean(errors):.4f}",
            f"{np.mean(blind):.4f}",
        )
    ]
    header = ("method", "data", "options", "epochs", "training", "MSE of test normals", "of the mean training image")
    publish(chosen.picture.stem, markdown(header, result), record=chosen.record)


def as_colour(picture: np.ndarray) -> np.ndarray:
    """A grey picture with three channels."""
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


if __name__ == "__main__":
    main()
