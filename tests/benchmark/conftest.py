"""Cells made by hand, with known figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Result = dict[str, Any]


def interval(value: float | None, half: float = 0.02) -> dict[str, float | None]:
    """A metric with symmetric bounds."""
    bounds = (None, None) if value is None else (value - half, value + half)
    return {"value": value, "low": bounds[0], "high": bounds[1]}


@pytest.fixture
def cell() -> Callable[..., Result]:
    """`cell("knn", "heads", 0.9, seed=1)` → what a cell of that AUROC leaves."""

    def make(row: str, data: str, auroc: float | None, seed: int = 0, fold: int | None = None, **more: Any) -> Result:
        values = {
            "method": "knn",
            "options": {"grid": 2},
            "given": {},
            "settings": {"size": 32},
            "seed": seed,
            "fold": fold,
            "data": {"name": data, "path": f"/{data}"},
            "test": None,
            "protocol": "published",
            "deduplicate": False,
            "data_digest": f"content of {data}",
            "row": row,
            "device": "auto",
        } | more
        half = 0.02
        return {
            "status": "done",
            "key": f"{row}-{data}-{seed}-{fold}-{values['deduplicate']}",
            "row": row,
            "column": data + (", without copies" if values["deduplicate"] else ""),
            "cell": values,
            "metrics": {
                "normals": {"auroc": interval(auroc, half), "sensitivity": interval(0.5, half)},
                "best-f1": {"auroc": interval(auroc, half), "f1": interval(0.75, half)},
            },
            "findings": {"cyst": {"metrics": {"normals": {"auroc": interval(0.6)}}}},
            "curves": {"roc": {"x": [0, 0, 1], "y": [0, 1, 1]}},
            "cost": {"fit_seconds": 3.0, "score_seconds": 1.0, "images_per_second": 8.0, "parameters": 2_000_000},
            "counts": {"normal": 10, "abnormal": 5},
            "selection": "the published split",
            "notes": [],
            "provenance": {"commit": "abc1234", "unremarkable": "0", "date": "2026-01-01", "machine": "a machine"},
        }

    return make
