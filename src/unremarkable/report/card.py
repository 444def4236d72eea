"""The model card and data sheet: what the model is for, what it was made from, and where its promises end.

After Mitchell et al., Model Cards for Model Reporting (FAT* 2019), and Gebru et al., Datasheets for Datasets
(Communications of the ACM, 2021), filled from what the run knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unremarkable.datasets.audit import SHORTCUT
from unremarkable.report import wording
from unremarkable.report.folder import RunFolder
from unremarkable.report.tables import Block, Cell

#: below this probability the false alarms observed are more than chance makes of the promise
_UNLIKELY = 0.05
AUTHORS = "for the authors"


def model_card(run: RunFolder) -> list[Block]:
    """The parts of the model card and data sheet, in order."""
    model = run.record["model"]
    return [
        _model(model),
        Block(
            "Intended use",
            lines=(
                "Ranking images by how unlike a set of normal images they are, showing where, and flagging those above "
                "a threshold with a stated false-alarm rate: for research, and as a second look beside a qualified "
                "reader who sees every image.",
                f"Images made like those it learned from ({model['data']['name']}): the same modality, body part, "
                "view, kind of device and population.",
            ),
        ),
        Block(
            "Out of scope",
            lines=(
                "Diagnosis, or ruling disease out: it names no disease, and disease that looks like its normals "
                "passes.",
                "Images of another modality, device, protocol, age group or population than its normals: they look "
                "abnormal for that alone.",
                "Decisions about patients without a reader. It is not a medical device.",
            ),
        ),
        _training_data(model),
        _input(model),
        _calibration(run),
        _results(run),
        Block("Limits", lines=tuple(limits(run))),
        _environment(run),
    ]


def limits(run: RunFolder) -> list[str]:
    """What a reader must know before relying on the figures, one sentence each."""
    lines = []
    if run.record["simulated"]:
        lines.append("The images are simulated: the figures say nothing about performance on real scans.")
    lines += [f"After training: {warning}." for warning in run.record["history"].get("warnings", ())]
    lines += _of_calibration(run)
    if run.operating_point and run.operating_point.get("test_labels_used"):
        lines.append(
            "The threshold was chosen on the labels it is evaluated on: everything that depends on it is optimistic."
        )
    lines += _of_shortcuts(run)
    if run.metrics is not None:
        counts = run.metrics["counts"]
        if counts["patients"] == counts["cases"]:
            lines.append(
                "Each case is taken as a patient of its own. If patients have several images here, the intervals are "
                "too narrow."
            )
        if len(run.metrics.get("by_finding") or {}) + len(run.metrics.get("subgroups") or {}) > 1:
            lines.append("Results by finding or subgroup are not corrected for how many of them there are.")
    if failed := run.record["data"]["failed"]:
        lines.append(f"{failed} {'input' if failed == 1 else 'inputs'} could not be scored and count nowhere.")
    return [*lines, *run.record["data"]["notes"]]


def _of_calibration(run: RunFolder) -> list[str]:
    n = len(run.calibration)
    lines = [
        f"The p-values and the false-alarm rate hold for normals that are exchangeable with the {n} calibration "
        "normals. Normals from another device, site or population may be flagged far more often."
    ]
    checked = (run.metrics or {}).get("p_value_calibration") or {"rates": []}
    rates = [rate for rate in checked["rates"] if rate["p_excess"] is not None]
    if worst := min(rates, key=lambda rate: rate["p_excess"], default=None):
        lines.append(
            f"Of {checked['normals']} test normals {worst['flagged']} have p ≤ {worst['alpha']:g}; as many or more "
            f"come about by chance with {wording.p_value(worst['p_excess'])}"
            + (
                ": the test normals are not like the calibration normals."
                if worst["p_excess"] < _UNLIKELY
                else ", which is in keeping with the promise."
            )
        )
    return lines


def _of_shortcuts(run: RunFolder) -> list[str]:
    found: Mapping[str, float] = run.record["shortcuts"]
    if not found:
        return ["Shortcuts (size, brightness, file type telling the classes apart) could not be looked for."]
    easy = [f"{name} {auroc:.2f}" for name, auroc in found.items() if auroc >= SHORTCUT]
    if easy:
        return [
            f"Shortcuts: trivial measures tell the classes apart (AUROC of {', '.join(easy)} alone). "
            "A high score may show where an image comes from, and not the disease; `unremarkable data check` says more."
        ]
    name, auroc = next(iter(found.items()))
    return [
        f"Of image size, brightness and contrast, {name} tells the classes apart best, with an AUROC of {auroc:.2f}: "
        f"no plain shortcut (from {SHORTCUT} on). Others, such as marks and borders, were not looked for."
    ]


def _model(model: Mapping[str, Any]) -> Block:
    facts: dict[str, Any] = {
        "Method": f"{model['method']} ({model['family']})",
        "Paper": model["paper"],
        "Options": ", ".join(f"{key} = {wording.number(value)}" for key, value in model["options"].items()) or "none",
        "Parameters": f"{model['parameters']:,}".replace(",", " "),
        "Gives": "an anomaly score for each image, a p-value against the calibration normals, and a map of where",
        "Score": ("the method's own" if model["reduction"] == "own" else f"{model['reduction']} of the map")
        + (f", smoothed with σ = {model['smoothing']:g} px" if model["smoothing"] else ""),
        "Seed": model["seed"],
    }
    for name, value in model.get("settled", {}).items():
        facts[name] = wording.number(value)
    return _facts("Model", facts)


def _training_data(model: Mapping[str, Any]) -> Block:
    data = model["data"]
    facts: dict[str, Any] = {
        "Name": data["name"],
        "Recognised as": data["layout"],
        "Which cases": model["selection"],
        "Labels used": model["labels"]["training"],
        "Could not be read, or left out": model["failures"],
    }
    for part, found in model["parts"].items():
        if found["cases"]:
            kind = "labelled" if model.get("supervised") and part != "calibration" else "normal"
            facts[f"{part.capitalize()}"] = f"{found['cases']} {kind} cases, sha256 {found['sha256']}"
    return Block(
        "Training data",
        _facts("", facts).facts,
        lines=(
            "Each sha256 is that of the cases' own sha256s in ascending order, one a line; the model's manifest.json "
            "lists them all.",
            f"Where the images come from, who the patients are, consent, and how normal was established: {AUTHORS}.",
        ),
    )


def _input(model: Mapping[str, Any]) -> Block:
    made = model["preprocess"]
    facts = {
        "Size": f"{made['size'][0]} × {made['size'][1]} px, {'grey' if made['channels'] == 1 else 'colour'}",
        "Fitted by": "stretching to the square" if made["fit"] == "resize" else "padding, which keeps proportions",
        "Intensity": model["intensity_reason"],
    }
    return _facts("Preprocessing", facts)


def _calibration(run: RunFolder) -> Block:
    facts: dict[str, Any] = {"Held-out normals": len(run.calibration)}
    if run.operating_point is None:
        facts["Threshold"] = "none: no verdicts"
    else:
        facts["Threshold"] = f"{wording.number(run.operating_point['value'])}, {run.operating_point['description']}"
    if run.rate is not None:
        facts["Promise"] = run.calibration.describe(run.rate)
    return _facts("Calibration", facts)


def _results(run: RunFolder) -> Block:
    if run.metrics is None:
        return Block("Results", lines=("Not evaluated: the labels of these cases are not known.",))
    facts = tuple((name, Cell(text, bounds)) for name, text, bounds, _ in wording.metric_rows(run.metrics))
    subgroups = ", ".join(run.metrics.get("subgroups") or ())
    findings = ", ".join(run.metrics.get("by_finding") or ())
    lines = (
        f"Test data: {run.record['data']['name']}. {wording.interval_note(run.metrics)}",
        f"By finding: {findings or 'none has a name'}.",
        f"By subgroup: {subgroups}, above." if subgroups else "By subgroup: none was asked for.",
    )
    return Block("Results", facts, lines=lines)


def _environment(run: RunFolder) -> Block:
    model = run.record["model"]
    versions = ", ".join(f"{name} {version}" for name, version in model["versions"].items())
    return _facts(
        "Environment",
        {"Fitted with": versions, "Fitted on": model["machine"], "Scored with": run.record["scored_with"]},
    )


def _facts(title: str, values: Mapping[str, Any]) -> Block:
    return Block(title, tuple((name, Cell(wording.number(value))) for name, value in values.items()))
