"""What a page needs of every case, kept while scores stream by: a bounded number of pictures, and trivial measures."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

from unremarkable.datasets.audit import auroc
from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.report.gallery import EACH, GalleryItem, Picture
from unremarkable.scoring.scores import CaseScore, in_aspect, overlay_of

_TOP = "most suspicious"


@dataclass
class Keep:
    """Keeps the highest and lowest scores of all cases, and of normals and abnormals apart."""

    map_range: tuple[float, float]
    preprocess: Preprocess
    _kept: dict[str, list[tuple[float, int, CaseScore]]] = field(default_factory=dict)
    _order: count[int] = field(default_factory=count)
    _looks: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def add(self, row: CaseScore) -> None:
        """Consider one case."""
        self._push(_TOP, row.score, row)
        self._push("least suspicious", -row.score, row)
        if row.case.label == NORMAL:
            self._push("false alarms", row.score, row)
        elif row.case.label == ABNORMAL:
            self._push("misses", -row.score, row)
        if row.case.label is not None:
            self._looks.append((row.case.label, _look(row)))

    def items(self, flagged: dict[str, bool | None]) -> list[GalleryItem]:
        """The kept cases as pictures, each once, most suspicious first, with the verdicts given by path."""
        rows = {id(row): row for kept in self._kept.values() for _, _, row in kept}
        return [self._item(row, flagged[row.path]) for row in sorted(rows.values(), key=lambda row: -row.score)]

    def shortcuts(self) -> dict[str, float]:
        """AUROC, without a direction, that size and brightness reach alone on the labelled cases, highest first.

        Empty unless both labels are there. It chooses nothing: it warns of data in which the classes differ in how
        they were made, as `datasets.audit` does at more length.
        """
        labels = [label for label, _ in self._looks]
        if len(set(labels)) < 2:
            return {}
        found = {name: auroc([look[name] for _, look in self._looks], labels) for name in self._looks[0][1]}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def example(self) -> CaseScore | None:
        """The abnormal case of the highest score, else the case of the highest score."""
        top = sorted(self._kept.get(_TOP, ()), reverse=True)
        rows = [row for _, _, row in top]
        return next((row for row in rows if row.case.label == ABNORMAL), rows[0] if rows else None)

    def _push(self, kind: str, key: float, row: CaseScore) -> None:
        kept = self._kept.setdefault(kind, [])
        # The running number decides ties, so that the first of equals stays.
        item = (key, -next(self._order), row)
        if len(kept) < EACH:
            heapq.heappush(kept, item)
        else:
            heapq.heappushpop(kept, item)

    def _item(self, row: CaseScore, flagged: bool | None) -> GalleryItem:
        rebuilt = row.reconstruction
        return GalleryItem(
            title=row.path,
            image=Picture.of(in_aspect(row.picture, row, self.preprocess)),
            overlay=Picture.of(overlay_of(row, self.map_range, self.preprocess)),
            reconstruction=None if rebuilt is None else Picture.of(in_aspect(rebuilt, row, self.preprocess)),
            score=row.score,
            p_value=row.p_value,
            flagged=flagged,
            label=row.case.label,
            finding=row.case.finding,
            note=f"slice {row.top + 1} of {len(row.slice_scores)}" if len(row.slice_scores) > 1 else "",
        )


def _look(row: CaseScore) -> dict[str, float]:
    """What can be said of a case without looking at the anatomy."""
    axes, shape = row.geometry.axes, row.geometry.pixels.shape
    height, width = shape[axes.index("H")], shape[axes.index("W")]
    return {
        "width": float(width),
        "height": float(height),
        "aspect": width / height,
        "slices": float(len(row.slice_scores)),
        "brightness": float(row.picture.mean()),
        "contrast": float(row.picture.std()),
    }
