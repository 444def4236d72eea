from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unremarkable.errors import UsageError
from unremarkable.evaluation import Evaluation, evaluate
from unremarkable.report.gallery import GalleryItem
from unremarkable.report.html import write_report
from unremarkable.report.results import Unlabelled
from unremarkable.scoring.calibration import Calibration
from unremarkable.scoring.thresholds import best_f1

EVIL = "<script>alert(1)</script>&\"'.png"
LABELS = np.repeat([0, 1], 30)
SCORES = np.random.default_rng(0).normal(size=60) + LABELS
CALIBRATION = Calibration.from_normals(np.random.default_rng(1).normal(size=99))
HISTORY = {
    "phases": [
        {
            "name": EVIL,
            "best_epoch": 2,
            "epochs": [{"epoch": e, "losses": {EVIL: 1.0 / e}, "held_out": 1.0} for e in (1, 2)],
        },
        {"name": "collect", "best_epoch": 1, "epochs": [{"epoch": 1, "losses": {}, "held_out": None}]},
    ]
}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps what the tests look for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def _gallery(evaluation: Evaluation | None, reconstruct: bool = True) -> list[GalleryItem]:
    rng = np.random.default_rng(0)
    return [
        GalleryItem(
            title=f"{i}-{EVIL}",
            image=rng.integers(0, 256, (20, 20), dtype=np.uint8),
            overlay=rng.integers(0, 256, (20, 20, 3), dtype=np.uint8),
            reconstruction=rng.integers(0, 256, (20, 20), dtype=np.uint8) if reconstruct else None,
            score=float(SCORES[i]),
            p_value=0.02,
            flagged=bool(SCORES[i] > 1),
            label=int(LABELS[i]) if evaluation else None,
            finding=EVIL if evaluation and i % 2 else None,
            note="slice 3 of 9",
        )
        for i in range(0, 60, 2)
    ]


def _write(path: Path, results: Evaluation | Unlabelled, **changes: Any) -> tuple[str, Page]:
    evaluation = results if isinstance(results, Evaluation) else None
    arguments: dict[str, Any] = {
        "title": EVIL,
        "data": {
            "name": EVIL,
            "counts": {"train": {"normal": 5}, EVIL: {"normal": 3, EVIL: 4}},
            "skipped": [(EVIL, f"reason {i}") for i in range(15)],
            "notes": [EVIL],
        },
        "plan": [("note", "one"), ("note", EVIL)],
        "provenance": {"versions": {EVIL: "1.0", "numbers": list(range(10))}, "seed": 0, "nothing": None},
        "gallery": _gallery(evaluation),
        "history": HISTORY,
        "calibration": CALIBRATION,
    }
    text = write_report(path, results, **(arguments | changes)).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def evaluation() -> Evaluation:
    findings = ["normal"] * 30 + [EVIL, "other"] * 15
    p_values = CALIBRATION.p_values(SCORES)
    return evaluate(
        SCORES, LABELS, threshold=CALIBRATION.choose(0.05), p_values=p_values, findings=findings, replicates=100
    )


def test_page_is_whole_and_self_contained(evaluation: Evaluation, tmp_path: Path) -> None:
    text, page = _write(tmp_path / "new" / "report.html", evaluation)
    assert not re.search(r"https?:|=.//|@import|<link|<script|<iframe", text)
    assert not re.search(r"url\((?!#)", text)
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) > 60
    assert all(source.startswith("data:image/") for source in sources)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert len(page.ids) == len(set(page.ids))
    targets = {attributes["href"] for tag, attributes in page.tags if tag == "use"}
    assert {target[1:] for target in targets if target} <= set(page.ids)
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "report.html"]


def test_everything_a_reader_needs_is_there(evaluation: Evaluation, tmp_path: Path) -> None:
    _, page = _write(tmp_path / "r.html", evaluation)
    words = " ".join(page.words.split())
    assert words.count("reason") == 15
    for text in ("Research use only; not a medical device", "Results", "By finding", "Most suspicious", "Left out: 15"):
        assert text in words
    for metric in ("AUROC", "AUPRC", "Sensitivity", "Specificity", "Accuracy", "Precision (PPV)", "NPV", "F1"):
        assert metric in words
    assert f"{evaluation.metrics['auroc'].value:.3f}" in words
    assert "set for a false-alarm rate of 0.05 on 99 held-out normals" in words
    assert "slice 3 of 9" in words
    assert sum(tag == "svg" for tag, _ in page.tags) == 5
    assert "and 5 more" in words


def test_names_from_files_are_text_and_never_markup(evaluation: Evaluation, tmp_path: Path) -> None:
    text, page = _write(tmp_path / "r.html", evaluation)
    assert "<script" not in text
    assert page.words.count(EVIL) > 40
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)


def test_paths_are_shown_below_the_folder_they_share(evaluation: Evaluation, tmp_path: Path) -> None:
    items = [replace(item, title=f"/long/way/to/{i % 2}/{i}.png") for i, item in enumerate(_gallery(evaluation))]
    _, page = _write(tmp_path / "r.html", evaluation, gallery=items)
    assert "/long/way/to" not in page.words
    assert "1/29.png" in page.words
    assert "/long/way/to/1/29.png" in {attributes.get("title") for _, attributes in page.tags}


def test_simulated_data_says_so_everywhere(evaluation: Evaluation, tmp_path: Path) -> None:
    _, plain = _write(tmp_path / "r.html", evaluation)
    assert "imulated" not in plain.words
    text, page = _write(tmp_path / "s.html", evaluation, simulated=True)
    assert text.index("Simulated data.") < text.index("<h1>")
    assert page.words.count("simulated") >= 4
    assert "<title>Simulated: " in text


def test_a_threshold_from_the_same_labels_is_called_optimistic(evaluation: Evaluation, tmp_path: Path) -> None:
    _, page = _write(tmp_path / "r.html", evaluation)
    assert "optimistic" not in page.words
    chosen = evaluate(SCORES, LABELS, threshold=best_f1(SCORES, LABELS, source="the test split"), replicates=100)
    _, page = _write(tmp_path / "r.html", chosen)
    assert "optimistic" in page.words
    assert "best F1 on the labels of the test split" in page.words


def test_without_labels(tmp_path: Path) -> None:
    point = CALIBRATION.choose(0.05)
    results = Unlabelled(SCORES, CALIBRATION.p_values(SCORES), point.value < SCORES, point)
    _, page = _write(tmp_path / "r.html", results, gallery=_gallery(None, reconstruct=False), history=None)
    words = " ".join(page.words.split())
    assert "60 cases were flagged" in words
    assert "Results" not in words
    assert "Misses" not in words
    assert "reconstruction" not in words
    assert sum(tag == "svg" for tag, _ in page.tags) == 1


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [0, 1, 1]])
def test_few_cases_one_class_and_nothing_else_known(labels: list[int], tmp_path: Path) -> None:
    bare = evaluate([1.0, 2.0, 3.0], labels, threshold=9.0, p_values=[0.5, 0.5, 0.5], replicates=100)
    empty: dict[str, Any] = {"data": {}, "plan": {}, "provenance": {}, "gallery": [], "history": None}
    _, page = _write(tmp_path / "r.html", bare, **empty, calibration=None)
    assert "Gallery" not in page.words
    _write(tmp_path / "r.html", evaluate([1.0, 2.0, 3.0], labels, replicates=100), **empty, calibration=None)


def test_the_same_input_gives_the_same_page(evaluation: Evaluation, tmp_path: Path) -> None:
    assert _write(tmp_path / "a.html", evaluation)[0] == _write(tmp_path / "b.html", evaluation)[0]


def test_names_that_are_no_text_do_not_cost_the_page(evaluation: Evaluation, tmp_path: Path) -> None:
    text, _ = _write(tmp_path / "r.html", evaluation, title="scan-\udcff.png")
    assert "scan-?.png" in text


def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        _write(tmp_path / "file" / "r.html", evaluation)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        _write(tmp_path / "folder", evaluation)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
