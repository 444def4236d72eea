"""Seconds that anoddpm takes to score one image, with the small network and the ten calls that suit a processor.

Its weights are random: what a call costs does not depend on them.

python benchmarks/anoddpm_score.py [--size 128] [--rounds 5] [--record]
"""

from __future__ import annotations

import statistics
import time

import torch

from record import markdown, parser, publish
from unremarkable.methods import make_options, method_class

SMALL = {"widths": (32, 64, 96, 128), "attention": (16,), "trained": 250, "calls": 10}


def main() -> None:
    """Score an image several times; the first warms up and is not counted."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--size", type=int, default=128)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    torch.manual_seed(0)
    cls = method_class("anoddpm")
    method = cls(make_options(cls, dict(SMALL)), (given.size, given.size), 1).eval()
    image = torch.rand(1, 1, given.size, given.size)
    seconds = []
    with torch.no_grad():
        for _ in range(given.rounds + 1):
            began = time.perf_counter()
            method.predict(image)
            seconds.append(time.perf_counter() - began)
    counted = seconds[1:]
    rows = [(f"{statistics.median(counted):.2f}", f"{min(counted):.2f} to {max(counted):.2f}")]
    said = ", ".join(f"{name}={value}" for name, value in SMALL.items())
    text = f"{given.size} × {given.size} px, float32, {torch.get_num_threads()} thread(s); {said}.\n\n"
    publish("anoddpm-score", text + markdown(("s an image, median", "range"), rows), record=given.record)


if __name__ == "__main__":
    main()
