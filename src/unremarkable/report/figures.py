"""Which figures a run's page shows: title, drawing and caption of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from unremarkable.evaluation.curves import Curve
from unremarkable.evaluation.names import label
from unremarkable.explain import bands, bars, curves, features, scores, style, training
from unremarkable.report.folder import RunFolder, interval

Found = tuple[str, Figure, str]


def page_figures(run: RunFolder) -> list[tuple[str, Markup, str]]:
    """Title, drawing and caption of each figure that the run allows."""
    found = [
        *_scores(run),
        *_curves(run),
        *_groups(run),
        *_froc(run),
        *_false_alarms(run),
        *_losses(run),
        *_features(run),
    ]
    # svg() escapes the title, and matplotlib what the drawing holds of the user's text.
    return [(title, Markup(style.svg(figure, title)), caption) for title, figure, caption in found]


def _scores(run: RunFolder) -> Iterator[Found]:
    if not len(run.scores):
        return
    point = run.operating_point
    figure = scores.score_figure(
        run.scores, run.abnormal, run.calibration.scores, None if point is None else point["value"]
    )
    caption = "The less the groups overlap, the better the scores tell them apart. " if run.metrics else ""
    caption += "A case is flagged when its score lies right of the threshold." if point else ""
    yield "Scores", figure, caption


def _curves(run: RunFolder) -> Iterator[Found]:
    drawn = (run.metrics or {}).get("curves") or {}
    if run.metrics is None or run.abnormal is None or not drawn.get("roc") or not drawn.get("pr"):
        return
    confusion, counts = run.metrics["confusion"], run.metrics["counts"]
    roc_point = pr_point = None
    if confusion:
        sensitivity, flagged = confusion["tp"] / counts["abnormal"], confusion["tp"] + confusion["fp"]
        roc_point = confusion["fp"] / counts["normal"], sensitivity
        pr_point = (sensitivity, confusion["tp"] / flagged) if flagged else None
    how = run.metrics["intervals"]
    roc_band = pr_band = None
    band = ""
    # Resamples of perfectly separated cases are all perfect: their band would promise what the interval does not.
    if how["replicates"] and run.metric("auroc").value not in (0.0, 1.0):
        given: dict[str, Any] = {"seed": how["seed"], "level": how["level"]}
        roc_band = bands.roc_band(run.scores, run.abnormal, run.patients, **given)
        pr_band = bands.pr_band(run.scores, run.abnormal, run.patients, **given)
        band = f" The band holds {100 * how['level']:g} % of resampled curves at each place."
    roc = curves.Drawn(_curve(drawn["roc"]), run.metric("auroc"), roc_band)
    yield (
        "ROC curve",
        curves.roc_figure({"AUROC": roc}, roc_point),
        f"Every threshold at once: how many abnormal cases are found for how many false alarms.{band}",
    )
    prevalence = counts["abnormal"] / counts["cases"]
    pr = curves.Drawn(_curve(drawn["pr"]), run.metric("auprc"), pr_band)
    yield (
        "Precision and recall",
        curves.pr_figure({"AUPRC": pr}, prevalence, pr_point),
        f"Depends on how common abnormal cases are: here {100 * prevalence:.0f} %, in a clinic usually far fewer.",
    )


def _groups(run: RunFolder) -> Iterator[Found]:
    """Scores and sensitivity by finding, where there are several."""
    found: Mapping[str, Any] = (run.metrics or {}).get("by_finding") or {}
    if run.abnormal is None or len(found) < 2:
        return
    findings = np.array([row["finding"] for row in run.rows])
    groups: dict[str, dict[str, Any]] = {}
    if not run.abnormal.all():
        groups["normal"] = {"normal": run.scores[~run.abnormal]}
    groups |= {name: {"abnormal": run.scores[run.abnormal & (findings == name)]} for name in found}
    yield (
        "Scores by finding",
        scores.box_figure(groups),
        "Boxes are quartiles with the median; whiskers reach to 1.5 times the box, dots lie beyond.",
    )
    values = {
        label(metric): [interval(one["metrics"][metric]) for one in found.values()]
        for metric in ("sensitivity", "auroc")
        if all(metric in one["metrics"] for one in found.values())
    }
    if values:
        yield "By finding", bars.interval_figure(list(found), values), "Each finding against all normal cases."


def _froc(run: RunFolder) -> Iterator[Found]:
    found = ((run.metrics or {}).get("localisation") or {}).get("froc")
    if found and len(found["sensitivity"]):
        yield (
            "Lesions found (FROC)",
            curves.froc_figure(found["false_positives"], found["sensitivity"]),
            "Every threshold of the map: how many lesions are found for how many false marks on an image.",
        )


def _false_alarms(run: RunFolder) -> Iterator[Found]:
    if run.abnormal is not None and not run.abnormal.all():
        yield (
            "False alarms: asked for, observed",
            scores.false_alarm_figure(run.p_values[~run.abnormal], run.calibration),
            "The share of test normals flagged at each false-alarm rate asked for. Above the band, the test normals "
            "differ from those it was calibrated on.",
        )


def _losses(run: RunFolder) -> Iterator[Found]:
    for phase in run.record["history"]["phases"]:
        if phase["epochs"] and phase["epochs"][0]["losses"]:
            yield f"Training: {phase['name']}", training.loss_figure(phase), _losses_of(run)


def _losses_of(run: RunFolder) -> str:
    supervised = run.record["model"].get("supervised", False)
    return "Losses of both classes." if supervised else "Losses of normals only."


def _features(run: RunFolder) -> Iterator[Found]:
    if not (found := run.record["features"]):
        return
    embedding, distances = np.array(found["embedding"]), np.array(found["distances"])
    yield (
        "Encoder and decoder features",
        features.embedding_figure(embedding, distances),
        f"One point a patch of {found['path']} (t-SNE). Where the two lie apart, the decoder could not follow.",
    )
    yield (
        "Their difference",
        features.difference_figure(embedding, distances),
        "Encoder minus decoder. Patches that look normal lie at the origin. Distances in t-SNE have no unit.",
    )


def _curve(values: Mapping[str, Any]) -> Curve:
    thresholds = [np.inf if value is None else value for value in values["thresholds"]]
    return Curve(np.array(values["x"]), np.array(values["y"]), np.array(thresholds))
