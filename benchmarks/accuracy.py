"""A method on the labelled sets with published splits, end to end through the command line: AUROC and time.

python benchmarks/accuracy.py --method knn [--set option=value] [--data chest-xray-pneumonia …] [--record]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import data_folder, markdown, parser, publish

SETS = ("chest-xray-pneumonia", "brain-tumor-mri", "covid19-xray")


def command(*arguments: object) -> Any:
    """Run `unremarkable` in a process of its own; its JSON and the seconds it took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "unremarkable.cli.main", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 2:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout), time.perf_counter() - started


def _processor_seconds() -> float:
    """Processor time of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Fit, evaluate and tabulate."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--method", default="knn")
    arguments.add_argument("--set", action="append", default=[], dest="settings")
    arguments.add_argument("--data", nargs="+", default=list(SETS))
    arguments.add_argument("--name", help="name of the result; the method's unless given")
    arguments.add_argument(
        "--fit", nargs="*", default=[], help="further arguments of fit, without their dashes: size=224"
    )
    chosen = arguments.parse_args()
    rows = []
    for name in chosen.data:
        folder = data_folder() / name
        with tempfile.TemporaryDirectory() as work:
            extra = [part for setting in chosen.settings for part in ("--set", setting)]
            extra += [part for one in chosen.fit for part in (f"--{one.split('=')[0]}", *one.split("=")[1:])]
            model = Path(work) / "model"
            before = _processor_seconds()
            fit, fit_seconds = command("fit", folder, "-o", model, "--method", chosen.method, *extra)
            result, seconds = command("evaluate", model, folder, "-o", Path(work) / "evaluation")
        metrics = result["metrics"]
        counts = result["counts"]
        rows.append(
            (
                name,
                fit["plan"]["training_cases"],
                f"{counts['normal']} / {counts['abnormal']}",
                *(_interval(metrics[key]) for key in ("auroc", "auprc", "sensitivity", "specificity")),
                f"{fit_seconds:.0f} + {seconds:.0f} = {fit_seconds + seconds:.0f}",
                f"{_processor_seconds() - before:.0f}",
            )
        )
    header = (
        "data",
        "trained on",
        "test normal / abnormal",
        "AUROC",
        "AUPRC",
        "sensitivity",
        "specificity",
        "seconds: fit + evaluate",
        "core seconds",
    )
    note = (
        "Published splits; normals only in training; verdict at a false-alarm rate of 5 % from held-out training"
        " normals; 95 % bootstrap intervals. Seconds are of whole commands, from start to written report; core"
        " seconds are what both kept the processor busy for, over all cores, whoever else used the machine."
    )
    publish(chosen.name or f"accuracy-{chosen.method}", f"{note}\n\n{markdown(header, rows)}", record=chosen.record)


def _interval(interval: dict[str, float | None]) -> str:
    if interval["value"] is None:
        return "undefined"
    if interval["low"] is None:
        return f"{interval['value']:.3f}"
    return f"{interval['value']:.3f} ({interval['low']:.3f}–{interval['high']:.3f})"


if __name__ == "__main__":
    main()
