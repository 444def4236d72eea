"""Keep the cells of benchmarks beside the scripts, so that docs/results.md can be made again and added to.

A kept cell has every figure, cost and source, and neither its curves nor its cases' scores, which are large, nor the
paths of the machine. A cell that was kept before is replaced.

python benchmarks/keep_cells.py RUN...
unremarkable bench --results docs/results.md benchmarks/results/cells
"""

from __future__ import annotations

import argparse
from pathlib import Path

from record import ROOT
from unremarkable.benchmark.cells import Cell
from unremarkable.benchmark.store import DONE, RESULT, Store
from unremarkable.files import to_json

KEPT = ROOT / "benchmarks" / "results" / "cells"
#: what is not kept of a cell
LARGE = ("curves", "calibration", "operating_points", "folder")


def main() -> None:
    """Copy, thinned."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    kept = Store.open(KEPT, create=True)
    for run in arguments.parse_args().runs:
        for result in Store.open(run).results():
            if result["status"] != DONE:
                print(f"left out, failed: {result['folder'].name}")
                continue
            made = kept.work(result["key"]) / "made"
            made.mkdir()
            thin = {name: value for name, value in result.items() if name not in LARGE}
            for data in filter(None, (thin["cell"]["data"], thin["cell"]["test"])):
                data["path"] = data["name"]
            thin["provenance"].pop("typed", None)
            (made / RESULT).write_text(to_json(thin) + "\n", encoding="utf-8")
            slug = Cell.from_dict(thin["cell"]).slug
            kept.publish(made, slug, result["key"])
            print(slug)
    kept.work_folder.rmdir()


if __name__ == "__main__":
    main()
