"""The COVID-19 image data collection of Cohen et al. 2020, from which the Hetero-AE paper's set was drawn."""

from __future__ import annotations

from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import by_name, table, with_images

_UNKNOWN = {"", "todo", "unknown"}


def _read(root: Path) -> Found:
    metadata = root / "metadata.csv"
    cases = []
    for row in table(metadata, ("patientid", "finding", "modality", "filename", "view")):
        if row["modality"] == "X-ray":
            finding = row["finding"]
            label = None if finding.lower() in _UNKNOWN else NORMAL if finding == "No Finding" else ABNORMAL
            extra = {name: row[name] for name in ("view", "sex", "age") if row.get(name)}
            cases.append(Case(row["filename"], label, finding or None, patient=row["patientid"], extra=extra))
    return with_images(cases, by_name(root / "images", (".png", ".jpg", ".jpeg")), metadata)


ENTRIES = (
    Entry(
        name="covid-chestxray",
        title="COVID-19 image data collection",
        modality="chest radiographs",
        licence=None,
        citation="Cohen et al., arXiv:2006.11988",
        homepage="https://github.com/ieee8023/covid-chestxray-dataset",
        access="git clone; each image has a licence of its own, in the column license of metadata.csv",
        splits="none published; keep patients together",
        normal="finding 'No Finding'; 'todo' and 'Unknown' are unlabelled",
        layout="metadata.csv and images",
        signs=("metadata.csv", "images"),
        reader=_read,
        notes=("CT volumes are left out: only rows of modality X-ray are read.",),
    ),
)
