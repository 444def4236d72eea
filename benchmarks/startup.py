"""What a user waits for before anything happens: `unremarkable --help` and `import unremarkable`.

python benchmarks/startup.py [--runs 15] [--record]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from record import markdown, parser, publish


def timed(command: list[str], runs: int) -> list[float]:
    """Seconds of whole processes, the first (cold) one not counted."""
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def main() -> None:
    """Time the commands beside an interpreter that does nothing."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--runs", type=int, default=15)
    chosen = arguments.parse_args()
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "import unremarkable": [python, "-c", "import unremarkable"],
        "unremarkable --help": [str(Path(python).with_name("unremarkable")), "--help"],
    }
    rows = []
    for name, command in commands.items():
        seconds = timed(command, chosen.runs)
        rows.append((name, f"{statistics.median(seconds):.3f}", f"{min(seconds):.3f}–{max(seconds):.3f}"))
    inside = [
        float(subprocess.run([python, "-c", _INSIDE], check=True, capture_output=True, text=True).stdout)
        for _ in range(chosen.runs)
    ]
    rows.append(
        (
            "import unremarkable, in the process",
            f"{statistics.median(inside):.4f}",
            f"{min(inside):.4f}–{max(inside):.4f}",
        )
    )
    publish("startup", markdown(("", "seconds, median", "range"), rows), record=chosen.record)


_INSIDE = "import time; t = time.perf_counter(); import unremarkable; print(time.perf_counter() - t)"

if __name__ == "__main__":
    main()
