"""Memory of fitting patchcore on every normal brain image, against what its plan announced before it began.

The fit runs in a process of its own. Its resident memory is read when the plan is made, which has by then tried a batch
on the network, and watched until the fit is over: the growth is what the announcement is held against. It may be less
than what the bank takes, because memory that was freed before is used again. Only memory of the process's own counts;
pages of the packed images, which the system may drop at any time, are in the last figure only.

python benchmarks/patchcore_memory.py [--set option=value] [--record]
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

from record import data_folder, markdown, parser, publish

#: seconds between two looks at the process's memory
PAUSE = 0.02


def _megabytes(kind: str) -> float:
    """`RssAnon` or `VmHWM` of this process."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    if found is None:
        raise SystemExit("the system does not say how much memory a process takes")
    return int(found[1]) * 1024 / 1e6


def fit(settings: list[str]) -> None:
    """Fit on every normal of the published training part, and print what was announced and what was taken."""
    from unremarkable import Detector
    from unremarkable.datasets.find import find_dataset
    from unremarkable.training.plan import Plan

    dataset = find_dataset(data_folder() / "brain-tumor-mri")
    normals = [case.path for case in dataset.select(split="train") if case.label == 0]
    seen: dict[str, float | str] = {"files": len(normals)}
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(PAUSE):
            peak[0] = max(peak[0], _megabytes("RssAnon"))

    def planned(plan: Plan) -> None:
        seen["announced"] = next(note for note in plan.notes if note.startswith("memory:"))
        seen["images"], seen["precision"] = plan.training_images, plan.precision
        seen["before"], seen["began"] = _megabytes("RssAnon"), time.process_time()
        threading.Thread(target=watch, daemon=True).start()

    options = dict(setting.split("=", 1) for setting in settings)
    detector = Detector("patchcore", **options).fit(normals, split="none", on_plan=planned)
    over.set()
    seen["seconds"] = time.process_time() - float(seen["began"])
    seen |= {"peak": peak[0], "whole": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}
    seen["bank"] = len(detector.method_.bank)
    print(json.dumps(seen))


def main() -> None:
    """Run the fit and tabulate."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--set", action="append", default=[], dest="settings")
    arguments.add_argument("--fit", action="store_true", help="only fit, in this process, and print what was seen")
    chosen = arguments.parse_args()
    if chosen.fit:
        fit(chosen.settings)
        return
    extra = [part for setting in chosen.settings for part in ("--set", setting)]
    done = subprocess.run([sys.executable, __file__, "--fit", *extra], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seen = json.loads(done.stdout.splitlines()[-1])
    announced = int(re.search(r"at most ([\d,]+) MB", seen["announced"])[1].replace(",", ""))
    taken = seen["peak"] - seen["before"]
    rows = [
        ("announced, at most", f"{announced} MB"),
        ("taken: growth of the process's own memory", f"{taken:.0f} MB"),
        ("the process before, with network and a batch tried", f"{seen['before']:.0f} MB"),
        ("the process at most", f"{seen['peak']:.0f} MB"),
        ("the same with pages of files", f"{seen['whole']:.0f} MB"),
        ("patch features kept", f"{seen['bank']:,}"),
        ("core seconds from plan to calibrated model", f"{seen['seconds']:.0f}"),
    ]
    text = f"{seen['files']} normal brain images, of which {seen['images']} to learn from; {seen['precision']}.\n"
    text += f"The plan said: “{seen['announced']}”.\n\n"
    publish("patchcore-memory", text + markdown(("", ""), rows), record=chosen.record)
    if taken > announced:
        raise SystemExit("more memory was taken than announced")


if __name__ == "__main__":
    main()
