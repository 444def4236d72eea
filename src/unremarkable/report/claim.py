"""The CLAIM checklist, filled from what a run knows.

Tejani, Klontzas, Gatti, Mongan, Moy, Park, Kahn: Checklist for Artificial Intelligence in Medical Imaging (CLAIM):
2024 Update, Radiology: Artificial Intelligence 6 (4), 2024. 44 items by their numbers there; the words are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unremarkable.evaluation.names import name_of
from unremarkable.report import wording
from unremarkable.report.folder import RunFolder

#: number of the first item, and the heading it stands under
_HEADINGS = (
    (1, "Title and abstract"),
    (3, "Introduction"),
    (5, "Study design"),
    (7, "Data"),
    (14, "Reference standard"),
    (19, "Partitions"),
    (21, "Test data"),
    (22, "Model"),
    (25, "Training"),
    (28, "Evaluation"),
    (35, "Results: data"),
    (37, "Results: performance"),
    (40, "Discussion"),
    (42, "Other information"),
)
_ITEMS = (
    "Title names the AI technology",
    "Structured summary",
    "Background, intended use and role",
    "Aims and hypotheses",
    "Prospective or retrospective",
    "Goal of the study",
    "Sources of the data",
    "Who or what was included and excluded",
    "Preprocessing",
    "Subsets that were selected",
    "De-identification",
    "Missing data",
    "Acquisition protocol",
    "What the reference standard is",
    "Why this reference standard",
    "Who made the annotations",
    "How the test set was annotated",
    "Variation between and within raters",
    "How cases were assigned to partitions",
    "Level at which partitions are disjoint",
    "Size of the test set and its reason",
    "The model in full",
    "Software and versions",
    "Starting weights",
    "Training in full",
    "How the final model was selected",
    "Ensembles",
    "Performance metrics",
    "Significance and uncertainty",
    "Robustness or sensitivity analysis",
    "Explanations, and how they were checked",
    "Testing on internal data",
    "Testing on external data",
    "Trial registration",
    "Numbers included and excluded",
    "Demographic and clinical characteristics",
    "Performance and its uncertainty",
    "Diagnostic performance and its precision",
    "Analysis of failures",
    "Limitations",
    "Implications for practice",
    "Full protocol or further technical details",
    "Availability of software, model and data",
    "Funding and the role of funders",
)


@dataclass(frozen=True)
class Item:
    """One item: its number in CLAIM 2024, in short what it asks, and the answer; None is for the authors to give."""

    number: int
    name: str
    answer: str | None


def checklist(run: RunFolder) -> list[tuple[str, list[Item]]]:
    """The 44 items under their headings."""
    answers = _answers(run) | ({} if run.metrics is None else _measured(run, run.metrics))
    items = [Item(number, name, answers.get(number)) for number, name in enumerate(_ITEMS, start=1)]
    ends = [*(first for first, _ in _HEADINGS[1:]), len(_ITEMS) + 1]
    return [(heading, items[first - 1 : end - 1]) for (first, heading), end in zip(_HEADINGS, ends, strict=True)]


def _answers(run: RunFolder) -> dict[int, str]:
    """What is known of every run, by the item's number."""
    model, data, plan = run.record["model"], run.record["data"], dict(run.record["plan"])
    parts = ", ".join(f"{found['cases']} {part}" for part, found in model["parts"].items() if found["cases"])
    versions = ", ".join(f"{name} {version}" for name, version in model["versions"].items())
    supervised = model.get("supervised", False)
    trained = any(phase["epochs"] and phase["epochs"][0]["losses"] for phase in run.record["history"]["phases"])
    return {
        1: f"{'Classification' if supervised else 'Unsupervised anomaly detection'} with {model['method']}"
        f" ({model['family']}).",
        3: "Intended use and out-of-scope use: see the model card. Background: for the authors.",
        6: "A classifier that learns from labelled normal and abnormal images."
        if supervised
        else "A detector of anomalies that learns from normal images alone.",
        7: f"Fitted on {model['data']['name']}; scored: {data['name']}. Their origin: for the authors.",
        8: f"{model['selection']}. Labels were {model['labels']['training']}. Clinical criteria: for the authors.",
        9: f"{model['intensity_reason']}; resized to {' × '.join(map(str, model['preprocess']['size']))} px.",
        12: f"Inputs that could not be read were left out: {model['failures']} when fitting, {data['failed']} when "
        "scoring; each is named. Nothing was imputed.",
        19: f"{model['selection']}: {parts}.",
        20: "Calibration and early-stopping normals are drawn by patient where patients are known, and copies of one "
        "picture stay together. A published split is taken as it is.",
        22: f"{model['paper']}. Options: {', '.join(f'{k} = {wording.number(v)}' for k, v in model['options'].items())}"
        f"; {model['parameters']} parameters.",
        23: f"{versions}; {model['machine']}.",
        24: f"Random weights from seed {model['seed']}, and pretrained ones where the options name a backbone.",
        25: f"{plan.get('training', '')}; {plan.get('machine', '')}."
        + ("" if trained else " Nothing was trained by gradient."),
        26: "The weights of the lowest held-out loss on "
        + ("labelled cases" if supervised else "normals")
        + " where the method has one, else the last."
        + ("" if supervised else " No abnormal case was looked at."),
        27: "None.",
        31: "Anomaly maps over the images, on one scale for all cases"
        + ("; checked against masks or boxes above." if _localised(run) else "; not checked against marked lesions."),
        35: f"{len(run.rows)} cases scored, {data['failed']} could not be, {len(data['skipped']) - data['failed']} "
        "files left out. Patients excluded earlier: for the authors.",
        40: "See the limits in the model card. Those of the study: for the authors.",
        43: f"Software: {run.record['scored_with'].split(',')[0]}, Apache-2.0. Model and data: for the authors.",
    }


def _measured(run: RunFolder, metrics: Mapping[str, Any]) -> dict[int, str]:
    """What an evaluation adds."""
    names = ", ".join(name_of(name) for name in metrics["metrics"])
    auroc = wording.value(run.metric("auroc"))
    sensitivity, specificity = (wording.value(run.metric(name)) for name in ("sensitivity", "specificity"))
    data, fitted = run.record["data"]["name"], run.record["model"]["data"]["name"]
    same = data == fitted
    subgroups = metrics.get("subgroups") or {}
    answers = {
        14: "The labels of the data set, by folder or column. How they were made: for the authors.",
        21: f"{wording.interval_note(run.metrics).split(' Intervals:')[0]} The reason: for the authors.",
        28: names,
        29: wording.interval_note(run.metrics).partition("Intervals: ")[2] or "Intervals were not asked for.",
        37: f"AUROC {_with_bounds(auroc)}; all metrics in the table of results.",
        38: f"Sensitivity {_with_bounds(sensitivity)}, specificity {_with_bounds(specificity)}.",
        39: "Confusion matrix, and the lowest misses and highest false alarms in the gallery. Their clinical meaning: "
        "for the authors.",
    }
    answers[32 if same else 33] = (
        f"Tested on {data}, the data set it was fitted on, on cases it was not fitted on."
        if same
        else f"Fitted on {fitted}, tested on {data}. Whether that is another site: for the authors."
    )
    if subgroups:
        answers[36] = f"Results by {', '.join(subgroups)}, above. Further characteristics: for the authors."
    return answers


def _localised(run: RunFolder) -> bool:
    return bool(run.metrics and (run.metrics.get("pixel") or run.metrics.get("lesion")))


def _with_bounds(value: tuple[str, str]) -> str:
    text, bounds = value
    return f"{text} ({bounds})" if bounds else text
