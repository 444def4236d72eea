"""`unremarkable demo`: the whole path once, on simulated slices or on a folder of one's own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from unremarkable.cli.common import Overwrite, check_new, say, table


def demo(
    data: Annotated[str | None, typer.Option(help="Labelled folder to use in place of simulated slices.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for everything the demo makes.")] = Path(
        "demo"
    ),
    method: Annotated[str | None, typer.Option(help="Method to fit. Default: that of `fit`.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulation and of the fit.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Fit, score, evaluate and report, offline: on simulated head slices, or with --data on a folder of your own."""
    import shutil

    from unremarkable.datasets.find import find_dataset
    from unremarkable.detector import Detector
    from unremarkable.report.run import evaluate_to_folder
    from unremarkable.training.plan import duration, test_cases

    marker = output / ".unremarkable-demo"
    # Its own earlier output is the one thing that it may replace unasked.
    check_new(output, overwrite or marker.is_file())
    if output.exists() and marker.is_file():
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)
    marker.touch()
    started = time.perf_counter()
    if data is None:
        from unremarkable.datasets.phantom import make_phantom_dataset

        say("simulating head-like slices, normal ones and some with a lesion")
        data = str(make_phantom_dataset(output / "simulated-slices", seed=seed))
    dataset = find_dataset(data)
    named = f"--method {method} " if method else ""
    say(f"\nunremarkable fit {data} {named}-o {output / 'model'}")
    detector = Detector(method, seed=seed)
    detector.fit(dataset, progress=True, on_plan=lambda plan: say(table(plan.lines())))
    detector.save(output / "model")
    say(f"\nunremarkable evaluate {output / 'model'} {data} -o {output / 'evaluation'}")
    run = evaluate_to_folder(detector, dataset, test_cases(dataset, "auto", seed), output / "evaluation", progress=True)
    from unremarkable.cli.evaluate import metric_rows

    assert run.evaluation is not None
    say(table(metric_rows(run.evaluation)))
    page = (output / "evaluation" / "report.html").resolve()
    say(f"\ndone in {duration(time.perf_counter() - started)}; the page: {page}")
    say("\nThe same on your own scans, with a folder of normal ones:")
    say("  unremarkable fit scans/normal -o models/mine")
    say("  unremarkable score models/mine scans/new -o results")
