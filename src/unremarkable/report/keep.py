"""The cases worth showing: kept while scores stream by, a bounded number of each kind."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.report.gallery import EACH, GalleryItem
from unremarkable.scoring.scores import CaseScore, in_aspect, overlay_of


@dataclass
class Keep:
    """Keeps the highest and lowest scores of all cases, and of normals and abnormals apart."""

    map_range: tuple[float, float]
    preprocess: Preprocess
    _kept: dict[str, list[tuple[float, int, CaseScore]]] = field(default_factory=dict)
    _order: count[int] = field(default_factory=count)

    def add(self, row: CaseScore) -> None:
        """Consider one case."""
        self._push("most suspicious", row.score, row)
        self._push("least suspicious", -row.score, row)
        if row.case.label == NORMAL:
            self._push("false alarms", row.score, row)
        elif row.case.label == ABNORMAL:
            self._push("misses", -row.score, row)

    def items(self, flagged: dict[str, bool | None]) -> list[GalleryItem]:
        """The kept cases as pictures, each once, most suspicious first, with the verdicts given by path."""
        rows = {id(row): row for kept in self._kept.values() for _, _, row in kept}
        return [self._item(row, flagged[row.path]) for row in sorted(rows.values(), key=lambda row: -row.score)]

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
            image=in_aspect(row.picture, row, self.preprocess),
            overlay=overlay_of(row, self.map_range, self.preprocess),
            reconstruction=None if rebuilt is None else in_aspect(rebuilt, row, self.preprocess),
            score=row.score,
            p_value=row.p_value,
            flagged=flagged,
            label=row.case.label,
            finding=row.case.finding,
            note=f"slice {row.top + 1} of {len(row.slice_scores)}" if len(row.slice_scores) > 1 else "",
        )
