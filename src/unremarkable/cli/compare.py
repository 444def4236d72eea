"""`unremarkable compare RESULTS RESULTS ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unremarkable.cli.common import Json, Replicates, interval_text, print_json, table
from unremarkable.errors import UsageError

if TYPE_CHECKING:
    from unremarkable.evaluation.comparison import AurocDifference


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Two or more folders that evaluate -o wrote, of the same cases.")
    ],
    replicates: Replicates = 2000,
    as_json: Json = False,
) -> None:
    """Test whether detectors differ on the same cases: AUROCs, differences and DeLong's test, by patient.

    Of more than two, every pair is tested, and the p-values are adjusted for their number (Holm).
    """
    if len(results) < 2:
        raise UsageError("a comparison needs at least two folders that evaluate wrote")
    if len({folder.resolve() for folder in results}) < len(results):
        raise UsageError("a folder is named twice; name the results of different detectors")
    from unremarkable.evaluation.comparison import all_pairs
    from unremarkable.evaluation.intervals import bootstrap
    from unremarkable.evaluation.results import read_results, require_same_cases

    read = [read_results(folder) for folder in results]
    require_same_cases(read)
    labels, patients = read[0].labels, read[0].patients
    aurocs = {one.name: bootstrap(one.scores, labels, patients, replicates=replicates)["auroc"] for one in read}
    pairs = all_pairs({one.name: one.scores for one in read}, labels, patients)
    counts = {
        "cases": len(labels),
        "normal": int((labels == 0).sum()),
        "abnormal": int(labels.sum()),
        "patients": len(set(patients)),
    }
    if as_json:
        print_json(
            {
                "counts": counts,
                "auroc": {name: interval.to_dict() for name, interval in aurocs.items()},
                "pairs": [pair.to_dict() for pair in pairs],
                "test": "DeLong 1988; variance by patient after Obuchowski 1997; adjusted after Holm 1979",
            }
        )
        return
    print("{cases} cases of {patients} patients: {normal} normal, {abnormal} abnormal".format(**counts))
    print(table([("AUROC", "")] + [(f"  {name}", interval_text(interval)) for name, interval in aurocs.items()]))
    for pair in pairs:
        print(f"{pair.first} − {pair.second}: {_text(pair, len(pairs) > 1)}")


def _text(pair: AurocDifference, adjusted: bool) -> str:
    if pair.difference is None:
        return f"undefined: {pair.reason}"
    text = f"{pair.difference:+.3f}"
    if pair.low is not None and pair.high is not None:
        text += f"  ({pair.low:+.3f} to {pair.high:+.3f})"
    if pair.p_value is not None:
        text += f", {_p(pair.p_value)}"
    if adjusted and pair.p_holm is not None:
        text += f", adjusted for all pairs {_p(pair.p_holm)}"
    return text if pair.reason is None else f"{text}; {pair.reason}"


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"
