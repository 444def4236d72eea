"""The report page: one HTML file that needs nothing else, to be read in a browser, sent by mail or attached."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unremarkable.errors import UsageError
from unremarkable.evaluation.evaluation import Evaluation
from unremarkable.report import figures, wording
from unremarkable.report.gallery import GalleryItem, data_uri, sections
from unremarkable.report.results import Unlabelled
from unremarkable.scoring.calibration import Calibration
from unremarkable.scoring.heatmap import colours

Facts = Mapping[str, Any] | Sequence[tuple[str, Any]]

#: left-out files that are listed openly; the rest are folded away
_OPEN = 10


def write_report(
    path: Path,
    results: Evaluation | Unlabelled,
    *,
    title: str,
    data: Mapping[str, Any],
    plan: Facts,
    provenance: Facts,
    gallery: Sequence[GalleryItem],
    history: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    simulated: bool = False,
) -> Path:
    """Write the page whole or not at all, and return its path.

    Args:
        path: the file to write; its folder is made if it is missing.
        results: an evaluation, or scores without labels.
        title: heading of the page.
        data: what was evaluated. "counts" is a table `{split: {class: cases}}`, "skipped" pairs of path and reason,
            "notes" lines for the reader; any other entry is listed by its name.
        plan: how the model was fitted, by name, or as pairs of label and text.
        provenance: versions, seed, hashes, commands; nested as deep as it likes.
        gallery: the cases to show; each section takes the first twelve that belong there.
        history: `History.to_dict()` of the training, for the loss curves.
        calibration: for the promise of the verdicts, and its check on test normals.
        simulated: says on the page, prominently, that the images are not of patients.

    Raises:
        UsageError: the file cannot be written.
    """
    evaluation = results if isinstance(results, Evaluation) else None
    confusion = evaluation.confusion if evaluation and evaluation.confusion else {}
    environment = Environment(
        loader=PackageLoader("unremarkable.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"data_uri": data_uri, "number": wording.number, "p_value": wording.p_value}
    environment.tests["nested"] = lambda value: isinstance(value, Mapping)
    environment.tests["listed"] = lambda value: isinstance(value, list | tuple)
    counts: Mapping[str, Mapping[str, int]] = data.get("counts") or {}
    page = environment.get_template("page.html.j2").render(
        title=title,
        simulated=simulated,
        headline=wording.headline(results, calibration),
        metrics=wording.metric_rows(evaluation),
        level=evaluation.level if evaluation else 0.95,
        intervals=wording.interval_note(evaluation),
        operating_point=results.threshold,
        test_labels_used=evaluation is not None and evaluation.test_labels_used,
        confusion=confusion,
        findings=wording.finding_rows(evaluation),
        figures=_figures(results, calibration, history),
        sections=sections(gallery, confusion.get("fn", 0), confusion.get("fp", 0)),
        short=_below_shared_folder([item.title for item in gallery]),
        scale=_scale(),
        counts=counts,
        classes=list(dict.fromkeys(name for row in counts.values() for name in row)),
        notes=data.get("notes") or (),
        skipped=list(data.get("skipped") or ()),
        shown=_OPEN,
        data=_pairs({key: value for key, value in data.items() if key not in ("counts", "skipped", "notes")}),
        plan=_pairs(plan),
        provenance=_pairs(provenance),
    )
    return _write(path, page)


def _figures(
    results: Evaluation | Unlabelled, calibration: Calibration | None, history: Mapping[str, Any] | None
) -> list[tuple[str, Markup, str]]:
    """Title, drawing and caption of each figure that the results allow."""
    drawn = []

    def add(title: str, figure: Any, caption: str) -> None:
        # svg() escapes the description, and the drawing holds no text of the user's but names of losses, which
        # matplotlib escapes.
        drawn.append((title, Markup(figures.svg(figure, title)), caption))

    evaluation = results if isinstance(results, Evaluation) else None
    if len(results.scores):
        add(
            "Scores",
            figures.score_figure(
                results.scores,
                evaluation.labels if evaluation else None,
                calibration.scores if calibration else None,
                results.threshold.value if results.threshold else None,
            ),
            ("The less the groups overlap, the better the scores tell them apart. " if evaluation else "")
            + ("A case is flagged when its score lies right of the threshold." if results.threshold else ""),
        )
    if evaluation and evaluation.roc and evaluation.pr:
        confusion, n_normal = evaluation.confusion, evaluation.counts["normal"]
        n_abnormal = evaluation.counts["abnormal"]
        roc_point = pr_point = None
        if confusion:
            sensitivity, flagged = confusion["tp"] / n_abnormal, confusion["tp"] + confusion["fp"]
            roc_point = confusion["fp"] / n_normal, sensitivity
            pr_point = (sensitivity, confusion["tp"] / flagged) if flagged else None
        add(
            "ROC curve",
            figures.roc_figure(evaluation.roc, evaluation.metrics["auroc"], roc_point),
            "Every threshold at once: how many abnormal cases are found for how many false alarms.",
        )
        prevalence = n_abnormal / evaluation.counts["cases"]
        add(
            "Precision and recall",
            figures.pr_figure(evaluation.pr, evaluation.metrics["auprc"], prevalence, pr_point),
            f"Depends on how common abnormal cases are: here {100 * prevalence:.0f} %, in a clinic usually far fewer.",
        )
    if evaluation and evaluation.p_values is not None and evaluation.counts["normal"]:
        add(
            "False alarms: asked for, observed",
            figures.false_alarm_figure(evaluation.p_values[~evaluation.labels], calibration),
            "The share of test normals flagged at each false-alarm rate asked for. Above the band, the test normals "
            "differ from those it was calibrated on.",
        )
    for phase in (history or {}).get("phases", ()):
        if phase["epochs"] and phase["epochs"][0]["losses"]:
            add(f"Training: {phase['name']}", figures.loss_figure(phase), "Losses of normals only.")
    return drawn


def _scale() -> str:
    """The heat map's colours as a CSS gradient."""
    stops = ", ".join("rgb({} {} {})".format(*colours()[index]) for index in range(0, 256, 15))
    return f"linear-gradient(to right, transparent, {stops})"


def _below_shared_folder(titles: Sequence[str]) -> dict[str, str]:
    """Each title without the folder that all of them share, where they are paths that share one."""
    folders = {os.path.dirname(title) for title in titles}  # noqa: PTH120 - may be names of no file
    try:
        shared = os.path.commonpath(folders)
    except ValueError:  # none, or relative and absolute ones mixed
        shared = ""
    return {title: title.removeprefix(shared).lstrip("/\\") or title for title in titles}


def _pairs(facts: Facts) -> list[tuple[str, Any]]:
    return list(facts.items() if isinstance(facts, Mapping) else facts)


def _write(path: Path, page: str) -> Path:
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # File names may hold bytes that are no text; they must not cost the page.
            partial.write_text(page, encoding="utf-8", errors="replace")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {path}: {error.strerror}") from error
    return path
