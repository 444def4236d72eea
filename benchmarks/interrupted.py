"""A benchmark that is killed again and again, and started again, against an undisturbed one: is the table the same?

Three methods, three public sets, two seeds. The options make cells short; what is compared is not how well they
detect, but that every score and every figure is the same. SIGKILL comes after a random time, so it hits whatever a cell
is doing; the last start runs to its end.

python benchmarks/interrupted.py [--kills 4] [--record]
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import data_folder, markdown, parser, publish

METHODS = (
    "knn[size=64],autoencoder[size=32,epochs=2],"
    "f-anogan[size=32,dim=4,batch_size=32,n_critic=1,gan_epochs=1,encoder_epochs=1]"
)
DATA = "covid19-xray,busi,pneumoniamnist_28.npz"


def main() -> None:
    """Run it in one go, then in pieces, and compare."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--kills", type=int, default=4)
    arguments.add_argument("--seed", type=int, default=0, help="of the times at which it is killed")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as work:
        whole, pieces = Path(work) / "whole", Path(work) / "pieces"
        started = time.perf_counter()
        _start(whole).wait()
        seconds = time.perf_counter() - started
        print(f"undisturbed: {seconds:.0f} s, {_finished(whole)} cells", flush=True)
        rng = random.Random(chosen.seed)
        kills = []
        while len(kills) < chosen.kills:
            run = _start(pieces)
            try:
                run.wait(rng.uniform(0.1, 0.5) * seconds / chosen.kills * 2)
                break
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
                kills.append(_finished(pieces))
                print(f"killed with {kills[-1]} cells finished", flush=True)
        code = _start(pieces).wait()
        rows = [
            ("cells finished, undisturbed", _finished(whole)),
            ("cells finished at each SIGKILL", ", ".join(map(str, kills))),
            ("cells finished in the end", _finished(pieces)),
            ("exit code of the last start", code),
            ("table.csv and table.tex the same", _same(whole, pieces, ("table.csv", "table.tex"))),
            ("every cell's scores the same", _same(whole, pieces, _scores(whole))),
        ]
    publish("interrupted", markdown(("", "seen"), rows), record=chosen.record)


def _start(run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "unremarkable.cli.main", "bench", "--methods", METHODS, "--data", DATA]
    return subprocess.Popen(
        [*command, "--data-root", str(data_folder()), "--seeds", "2", "-o", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _finished(run: Path) -> int:
    return len(list(run.glob("cells/*/cell.json")))


def _scores(run: Path) -> tuple[str, ...]:
    return tuple(str(path.relative_to(run)) for path in sorted(run.glob("cells/*/scores.csv")))


def _same(one: Path, other: Path, names: tuple[str, ...]) -> str:
    """Yes, or the first file that differs."""
    for name in names:
        if not (other / name).exists() or (one / name).read_bytes() != (other / name).read_bytes():
            return f"no: {name}"
    return f"yes ({len(names)} files)"


if __name__ == "__main__":
    main()
