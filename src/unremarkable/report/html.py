"""The report page: one HTML file that needs nothing else, to be read in a browser, sent by mail or attached."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from unremarkable.errors import UsageError
from unremarkable.evaluation.names import label
from unremarkable.files import whole_file
from unremarkable.report import wording
from unremarkable.report.card import model_card
from unremarkable.report.claim import checklist
from unremarkable.report.figures import page_figures
from unremarkable.report.folder import RunFolder, read_run
from unremarkable.report.gallery import sections
from unremarkable.report.tables import block
from unremarkable.scoring.heatmap import colours

#: left-out files that are listed openly; the rest are folded away
_OPEN = 10
#: parts of `metrics.json` that the page shows in places of their own; all others become a section each
_OWN_PLACE = ("metrics", "counts", "confusion", "operating_point", "by_finding", "subgroups", "intervals", "curves")


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run from the folder that `score` or `evaluate` wrote, whole or not at all.

    The same folder gives the same page, so `evaluate` and `report` agree.

    Args:
        folder: of the run.
        path: the file to write, `report.html` in the folder unless given; its own folder is made if it is missing.

    Returns:
        The path of the page.

    Raises:
        UsageError: `folder` is no run or is damaged (see `folder.read_run`), or the file cannot be written.
    """
    return write_page(folder / "report.html" if path is None else path, read_run(folder))


def write_page(path: Path, run: RunFolder) -> Path:
    """Write the page of a run that has been read; else as `write_report`."""
    metrics = run.metrics or {}
    confusion = metrics.get("confusion") or {}
    data = run.record["data"]
    point = run.operating_point
    environment = Environment(
        loader=PackageLoader("unremarkable.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": wording.number, "p_value": wording.p_value}
    environment.tests["nested"] = lambda value: isinstance(value, Mapping)
    environment.tests["listed"] = lambda value: isinstance(value, list | tuple)
    counts: Mapping[str, Mapping[str, int]] = data["counts"]
    claim = checklist(run)
    further = [
        block(label(name), part)
        for name, part in metrics.items()
        if name not in _OWN_PLACE and isinstance(part, Mapping)
    ]
    page = environment.get_template("page.html.j2").render(
        title=run.record["title"],
        simulated=run.record["simulated"],
        headline=wording.headline(run),
        metrics=wording.metric_rows(run.metrics),
        level=metrics["intervals"]["level"] if metrics else 0.95,
        intervals=wording.interval_note(run.metrics),
        prevalence=metrics.get("prevalence"),
        operating_point=point,
        test_labels_used=bool(point and point.get("test_labels_used")),
        confusion=confusion,
        findings=wording.finding_rows(run.metrics),
        subgroups=block("", metrics["subgroups"]) if metrics.get("subgroups") else None,
        further=[part for part in further if not part.empty],
        figures=page_figures(run),
        sections=sections(run.gallery, confusion.get("fn", 0), confusion.get("fp", 0)),
        short=_below_shared_folder([item.title for item in run.gallery]),
        scale=_scale(),
        counts=counts,
        classes=list(dict.fromkeys(name for row in counts.values() for name in row)),
        notes=data["notes"],
        skipped=data["skipped"],
        shown=_OPEN,
        data=[(key, data[key]) for key in ("name", "folder", "recognised as")],
        card=model_card(run),
        claim=claim,
        known=sum(item.answer is not None for _, items in claim for item in items),
        plan=run.record["plan"],
        warnings=run.record["history"].get("warnings", ()),
    )
    return _write(path, page)


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


def _write(path: Path, page: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished:
            # File names may hold bytes that are no text; they must not cost the page.
            unfinished.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"the report cannot be written to {path}: {error.strerror}") from error
    return path
