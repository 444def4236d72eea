"""How far each label-free criterion falls short of the choice by labels, on the labelled sets: regret in AUROC.

python benchmarks/selection.py [--data covid19-xray …] [--group "latent size=autoencoder[latent_dim=8],…"] [--record]

With --record the table also takes its place in docs/model-selection.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import ROOT, data_folder, markdown, parser, publish

SETS = ("chest-xray-pneumonia", "brain-tumor-mri", "covid19-xray", "busi")
#: what is chosen among; the autoencoder at 64 pixels, which leaves the order of its sizes and takes minutes
GROUPS = {
    "settings of knn": "knn,knn[grid=1],knn[grid=4],knn[grid=1,distance=cosine],knn[stages=-2]",
    "latent size": ",".join(f"autoencoder[latent_dim={n},epochs=40,size=64]" for n in (4, 16, 64, 256)),
    "epochs": ",".join(f"autoencoder[epochs={n},size=64]" for n in (1, 5, 20, 80)),
    "method": "knn,autoencoder[epochs=40,size=64]",
}
PAGE = ROOT / "docs" / "model-selection.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
CRITERIA = ("held-out loss", "pool", "synthetic")


def select(folder: Path, candidates: str, settings: list[str]) -> Any:
    """Run `unremarkable select` with its oracle in a process of its own; its JSON."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "selection"
        words = ["select", folder, "--candidates", candidates, "--oracle", "--json", "-o", out]
        words += [part for setting in settings for part in ("--set", setting)]
        command = [sys.executable, "-m", "unremarkable.cli.main", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def row(name: str, group: str, result: Any) -> list[str]:
    """One line of the table: the range by labels, and what each criterion chose and lost."""
    oracle = result["oracle"]
    values = [interval["value"] for interval in oracle["auroc"].values()]
    choices = {choice["criterion"]: choice for choice in result["choices"]}
    cells = []
    for criterion in CRITERIA:
        regret = oracle["regret"][criterion]
        chosen = choices[criterion]["chosen"]
        cells.append("–" if regret is None else f"{regret:.3f} ({_short(chosen)})")
    best = f"{max(values):.3f} ({_short(oracle['best'])})"
    return [name, group, str(len(values)), best, f"{min(values):.3f}", *cells, f"{oracle['blindfold']:.3f}"]


def _short(label: str) -> str:
    """A candidate by what tells it from the others."""
    inside = label.partition("[")[2].rstrip("]")
    kept = [part for part in inside.split(",") if not part.startswith(("size=", "epochs=40"))]
    return ", ".join(kept) or label.partition("[")[0]


def main() -> None:
    """Select on every set among every group, and tabulate."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", nargs="+", default=list(SETS))
    arguments.add_argument("--group", action="append", help="NAME=CANDIDATES; repeatable; default: all four")
    arguments.add_argument("--set", action="append", default=[], dest="settings")
    chosen = arguments.parse_args()
    groups = dict(group.split("=", 1) for group in chosen.group) if chosen.group else GROUPS
    rows, seconds = [], 0.0
    for name in chosen.data:
        for group, candidates in groups.items():
            result = select(data_folder() / name, candidates, chosen.settings)
            rows.append(row(name, group, result))
            seconds += result["seconds"]
            print(" | ".join(rows[-1]), file=sys.stderr)
    header = (
        "data",
        "chosen among",
        "candidates",
        "best by labels",
        "worst",
        "held-out loss",
        "pool",
        "synthetic",
        "at random",
    )
    note = (
        "AUROC of the best and the worst candidate on the test split, by its labels, and how far each label-free choice"
        " falls short of the best (the choice in brackets); at random: the shortfall of a candidate drawn blindly, on"
        " average. – where a criterion does not choose. The pool is the test split without its labels."
    )
    text = f"{note}\n\n{markdown(header, rows)}\n\n{seconds:.0f} s in all."
    publish("selection", text, record=chosen.record)
    if chosen.record:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
