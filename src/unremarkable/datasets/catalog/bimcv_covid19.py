"""BIMCV-COVID19: chest radiographs of patients with and without COVID-19, from PadChest's publisher."""

from __future__ import annotations

import re
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import table
from unremarkable.datasets.catalog.padchest import label_of, listed

_PLACE = re.compile(r"sub-(?P<patient>[^/]+)/ses-(?P<study>[^/]+)/")


def _read(root: Path) -> Found:
    labels: dict[tuple[str, str], list[str]] = {}
    for path in sorted(root.glob("derivatives/labels/labels_*.tsv")):
        for row in table(path, ("PatientID", "ReportID", "Labels")):
            key = row["PatientID"].removeprefix("sub-"), row["ReportID"].removeprefix("ses-")
            labels[key] = listed(row["Labels"])
    cases, unknown = [], 0
    for image in sorted(root.glob("sub-*/ses-*/mod-rx/*.png")):
        match = _PLACE.search(image.relative_to(root).as_posix())
        if match is None or (found := labels.get((match["patient"], match["study"]))) is None:
            unknown += 1
            continue
        covid = any("covid" in name.casefold() for name in found)
        label = ABNORMAL if covid else label_of(found)
        finding = "COVID-19" if covid else "normal" if label == NORMAL else "other" if label == ABNORMAL else None
        study = f"{match['patient']}/{match['study']}"
        cases.append(Case(str(image), label, finding, patient=match["patient"], study=study))
    notes = (f"{unknown} images have no row in derivatives/labels and are left out",) if unknown else ()
    return Found(tuple(cases), notes=notes)


ENTRIES = (
    Entry(
        name="bimcv-covid19",
        title="BIMCV-COVID19+ and BIMCV-COVID19-",
        modality="chest radiographs",
        licence=None,
        citation="de la Iglesia Vayá et al., arXiv:2006.01174",
        homepage="https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/",
        access="free download after accepting the publisher's terms",
        splits="none published; keep patients together",
        normal="label list exactly ['normal']; a label that names COVID is finding COVID-19; any other finding is "
        "'other', abnormal",
        layout="derivatives/labels/labels_*.tsv and sub-*/ses-*/mod-rx/*.png",
        signs=("derivatives/labels/labels_*.tsv", "sub-*/ses-*/mod-rx"),
        reader=_read,
        notes=(
            "The reversed auto-encoder paper names PadChest for 1,300 normals and 2,500 COVID-19 images; PadChest was "
            "collected before 2018, so the COVID-19 images can only be of this set by the same publisher.",
            "Written from descriptions of the layout, not from the files themselves.",
        ),
    ),
)
