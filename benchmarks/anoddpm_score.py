"""Seconds that anoddpm takes to score one image with the quick preset, and with the larger network of its page.

The weights are random: what a call costs does not depend on them.

python benchmarks/anoddpm_score.py [--size 128] [--rounds 5] [--record]
"""

from __future__ import annotations

import statistics
import time
import tomllib

import torch

from record import ROOT, markdown, parser, publish
from unremarkable.methods import make_options, method_class

PAGE = {"widths": (32, 64, 96, 128), "attention": (16,), "trained": 250, "calls": 10}


def quick() -> dict[str, object]:
    """The options of anoddpm's row of the quick preset."""
    rows = tomllib.loads((ROOT / "benchmarks" / "reconstruction_quick.toml").read_text())["methods"]
    row = rows["anoddpm, quick"]
    return {name: row[name] for name in ("widths", "attention", "blocks", "trained", "calls", "frequency")}


def main() -> None:
    """Score an image several times; the first warms up and is not counted."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--size", type=int, default=128)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    cls = method_class("anoddpm")
    rows = []
    for name, options in (("quick preset", quick()), ("page", PAGE)):
        torch.manual_seed(0)
        method = cls(make_options(cls, dict(options)), (given.size, given.size), 1).eval()
        image = torch.rand(1, 1, given.size, given.size)
        seconds = []
        with torch.no_grad():
            for _ in range(given.rounds + 1):
                began = time.perf_counter()
                method.predict(image)
                seconds.append(time.perf_counter() - began)
        counted = seconds[1:]
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        rows.append((name, said, f"{statistics.median(counted):.2f}", f"{min(counted):.2f} to {max(counted):.2f}"))
    text = f"{given.size} × {given.size} px, float32, {torch.get_num_threads()} thread(s).\n\n"
    header = ("network", "options", "s an image, median", "range")
    publish("anoddpm-score", text + markdown(header, rows), record=given.record)


if __name__ == "__main__":
    main()
