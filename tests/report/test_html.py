from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_runs import EVIL, LABELS, SCORES, made_evaluation, write_run

from unremarkable.errors import UsageError
from unremarkable.evaluation import Evaluation, evaluate
from unremarkable.report.folder import RunFolder
from unremarkable.report.html import write_page, write_report
from unremarkable.scoring.thresholds import best_f1

Make = Callable[..., RunFolder]
VOID = {"meta", "img", "br", "link", "input", "hr"}
FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6}
FURTHER: dict[str, Any] = {
    "subgroups": {EVIL: {"values": {"F": {"cases": 3, "metrics": {"auroc": FIGURE}}}, "worst_gaps": {}, "missing": 0}},
    "pixel": {"auroc": FIGURE, "aupimo": {"value": None, "low": None, "high": None, "reason": "needs marks"}},
    "lesion": {"sensitivity": FIGURE},
    "reconstruction": {"ssim": {"value": float("nan"), "low": None, "high": None}},
}


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

    @property
    def sentence(self) -> str:
        return " ".join(self.words.split())


@pytest.fixture(scope="module")
def whole(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    """The page of a run with everything, as text and read."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    text = write_report(write_run(folder, evaluation, metrics=FURTHER)).read_text(encoding="utf-8")
    return text, Page(text)


def _page(path: Path, run: RunFolder) -> tuple[str, Page]:
    text = write_page(path, run).read_text(encoding="utf-8")
    return text, Page(text)


def test_page_is_whole_and_self_contained(whole: tuple[str, Page]) -> None:
    text, page = whole
    assert not re.search(r"https?:|=.//|@import|<link|<script|<iframe", text)
    assert not re.search(r"url\((?!#)", text)
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) > 60
    assert all(source.startswith("data:image/") for source in sources)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    assert len(page.ids) == len(set(page.ids))
    targets = {attributes["href"] for tag, attributes in page.tags if tag == "use"}
    assert {target[1:] for target in targets if target} <= set(page.ids)


def test_sections_stand_in_order_and_the_long_ones_are_folded(whole: tuple[str, Page]) -> None:
    headings = [re.sub(r"<.*?>", "", text).strip() for text in re.findall(r"<h2>(.*?)</h2>", whole[0])]
    assert headings == [
        "Results",
        "Subgroups",
        "Figures",
        "Calibration of the p-values",
        "Localisation: pixels",
        "Localisation: lesions",
        "Reconstruction",
        "Gallery",
        "Data",
        "Model card and data sheet",
        "CLAIM 2024 checklist",
        "Plan of the fit",
    ]
    assert sum(tag == "details" for tag, _ in whole[1].tags) == 4


def test_everything_a_reader_needs_is_there(whole: tuple[str, Page], evaluation: Evaluation) -> None:
    page = whole[1]
    for text in (
        "Research use only; not a medical device",
        "By finding",
        "Most suspicious",
        "Left out: 15",
        "and 5 more",
    ):
        assert text in page.sentence
    for metric in ("AUROC", "AUPRC", "Sensitivity", "Specificity", "Accuracy", "Precision (PPV)", "NPV", "F1"):
        assert metric in page.sentence
    assert f"{evaluation.metrics['auroc'].value:.3f}" in page.sentence
    assert "set for a false-alarm rate of 0.05 on 99 held-out normals" in page.sentence
    assert page.sentence.count("reason ") >= 15
    assert sum(tag == "svg" for tag, _ in page.tags) == 7
    assert "needs marks" in page.sentence


def test_nothing_on_the_page_is_a_programmers_word(whole: tuple[str, Page]) -> None:
    assert not re.search(
        r"\b(nan|NaN|None|inf|True|numpy|array)\b|\bFalse\b(?!.(alarm|positive))|object at", whole[1].words
    )


def test_names_from_files_are_text_and_never_markup(whole: tuple[str, Page]) -> None:
    text, page = whole
    assert "<script" not in text
    assert page.words.count(EVIL) > 40
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)


def test_paths_are_shown_below_the_folder_they_share(evaluation: Evaluation, run_of: Make, tmp_path: Path) -> None:
    run = run_of(evaluation)
    for i, item in enumerate(run.gallery):
        object.__setattr__(item, "title", f"/long/way/to/{i % 2}/{i}.png")
    _, page = _page(tmp_path / "r.html", run)
    assert "/long/way/to" not in page.words
    assert "1/29.png" in page.words
    assert "/long/way/to/1/29.png" in {attributes.get("title") for _, attributes in page.tags}


def test_simulated_data_says_so_everywhere(
    whole: tuple[str, Page], evaluation: Evaluation, run_of: Make, tmp_path: Path
) -> None:
    assert "imulated" not in whole[1].words
    text, page = _page(tmp_path / "r.html", run_of(evaluation, simulated=True))
    assert text.index("Simulated data.") < text.index("<h1>")
    assert page.words.count("simulated") >= 4
    assert "<title>Simulated: " in text


def test_a_threshold_from_the_same_labels_is_called_optimistic(
    whole: tuple[str, Page], run_of: Make, tmp_path: Path
) -> None:
    assert "optimistic" not in whole[1].words
    chosen = made_evaluation(threshold=best_f1(SCORES, LABELS, source="the test split"))
    _, page = _page(tmp_path / "r.html", run_of(chosen))
    assert "Everything below that depends on the threshold is therefore optimistic" in page.sentence
    assert "best F1 on the labels of the test split" in page.sentence


def test_without_labels(run_of: Make, tmp_path: Path) -> None:
    _, page = _page(tmp_path / "r.html", run_of(None, history={"phases": []}))
    assert "60 cases were flagged" in page.sentence
    assert "Misses" not in page.words
    assert "Specificity" not in page.words
    assert sum(tag == "svg" for tag, _ in page.tags) == 1


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [0, 1, 1], [1]])
def test_few_cases_one_class_and_no_pictures(labels: list[int], run_of: Make, tmp_path: Path) -> None:
    scores = [1.0, 2.0, 3.0][: len(labels)]
    for threshold in (9.0, None):
        bare = evaluate(scores, labels, threshold=threshold, p_values=[0.5] * len(labels), replicates=100)
        _, page = _page(tmp_path / "r.html", run_of(bare, gallery=[], plan=[], history={"phases": []}))
        assert "Gallery" not in page.words
        assert not re.search(r"\b(nan|None)\b", page.words)


def test_names_that_are_no_text_do_not_cost_the_page(evaluation: Evaluation, run_of: Make, tmp_path: Path) -> None:
    text, _ = _page(tmp_path / "r.html", run_of(evaluation, title="scan-\udcff.png"))
    assert "scan-?.png" in text


def test_the_same_folder_gives_the_same_page(evaluation: Evaluation, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", evaluation)
    first = write_report(folder)
    assert first == folder / "report.html"
    again = write_report(folder, tmp_path / "new" / "page.html")
    assert first.read_bytes() == again.read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(
    evaluation: Evaluation, run_of: Make, tmp_path: Path
) -> None:
    run = run_of(evaluation)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    for place in (tmp_path / "file" / "r.html", tmp_path / "folder"):
        with pytest.raises(UsageError, match="cannot be written"):
            write_page(place, run)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_not_a_run_an_old_one_a_newer_one_and_a_damaged_one(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="not written by score or evaluate"):
        write_report(tmp_path)
    folder = write_run(tmp_path / "run", evaluation)
    record = (folder / "run.json").read_text()
    (folder / "run.json").write_text(json.dumps(json.loads(record) | {"format": 99}))
    with pytest.raises(UsageError, match="newer version"):
        write_report(folder)
    (folder / "run.json").write_text(record[:100])
    with pytest.raises(UsageError, match="damaged"):
        write_report(folder)
    (folder / "run.json").unlink()
    with pytest.raises(UsageError, match="older version"):
        write_report(folder)
    (folder / "run.json").write_text(record)
    (folder / "gallery" / "00-image.png").unlink()
    with pytest.raises(UsageError, match="damaged"):
        write_report(folder)


def test_a_record_cannot_reach_files_outside_the_gallery(evaluation: Evaluation, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", evaluation)
    (tmp_path / "secret.png").write_bytes(b"secret")
    record = json.loads((folder / "run.json").read_text())
    record["gallery"][0]["files"]["image"] = "../../secret.png"
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="damaged"):
        write_report(folder)


def test_what_the_look_after_training_found_is_at_the_top_and_in_the_card(run_of: Make, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    _page(path, run_of(None, history={"phases": [], "warnings": ["it copies <all>"]}))
    text = path.read_text(encoding="utf-8")
    assert text.count("it copies &lt;all&gt;") == 2
    assert text.index("gives cause for doubt") < text.index("<h2>")
    _page(path, run_of(None, history={"phases": []}))
    assert "gives cause for doubt" not in path.read_text(encoding="utf-8")
