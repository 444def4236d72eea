"""`evaluate` with its newer options, and `compare` of what it wrote."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "object"]


@pytest.fixture(scope="module")
def manifest(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated test slices as a table with a column of the user's own."""
    file = tmp_path_factory.mktemp("manifest") / "cases.csv"
    images = [image for name in ("normal", "lesion") for image in sorted((phantoms / "test" / name).glob("*.png"))]
    with file.open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["path", "label", "scanner", "note"])
        for index, image in enumerate(images):
            rows.writerow([image, int(image.parent.name == "lesion"), "AB"[index % 2], ""])
    return file


@pytest.fixture
def results(run: Run, model: Path, manifest: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "first"
    done = run("evaluate", model, manifest, "-o", folder, "--split", "all", "--maps", "none", "--replicates", 100)
    assert done.code == 0, done.err
    return folder


def changed(results: Path, name: str, change: Callable[[int, dict[str, str]], dict[str, str] | None]) -> Path:
    """Another folder of results, each row changed or, for None, left out."""
    folder = results.with_name(name)
    shutil.copytree(results, folder)
    rows = list(csv.DictReader((results / "scores.csv").open()))
    with (folder / "scores.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows([row for row in (change(i, dict(r)) for i, r in enumerate(rows)) if row])
    return folder


def test_evaluate_by_column_and_at_a_prevalence(run: Run, model: Path, manifest: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", model, manifest, "--split", "all", "--replicates", 100, "--prevalence", 0.02]
    arguments += ["--subgroup", "scanner"]
    done = run(*arguments, "-o", tmp_path / "out", "--maps", "none", "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert found["prevalence"] == 0.02
    assert list(found["subgroups"]["scanner"]["values"]) == ["A", "B"]
    assert found["subgroups"]["scanner"]["values"]["A"]["cases"] == 8
    assert found["p_value_calibration"]["normals"] == 8
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["subgroups"] == found["subgroups"]
    shown = run(*arguments)
    assert "by scanner:" in shown.out
    assert "too few for" in shown.out
    assert "0.02, as stated" in shown.out


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--subgroup", "scaner"), "did you mean 'scanner'"),
        (("--subgroup", "note"), "unknown subgroup column 'note'"),
        (("--subgroup", "finding"), "'finding' is empty"),
        (("--prevalence", "5"), "between 0 and 1"),
    ],
)
def test_requests_that_cannot_be_met_are_refused_before_scoring(
    run: Run, model: Path, manifest: Path, tmp_path: Path, option: tuple[str, str], words: str
) -> None:
    done = run("evaluate", model, manifest, "--split", "all", "-o", tmp_path / "out", *option)
    assert done.code == 2
    assert words in done.line()
    assert not (tmp_path / "out").exists()


def test_compare_two(run: Run, results: Path) -> None:
    other = changed(results, "second", lambda i, row: row | {"score": str(i % 5)})
    done = run("compare", results, other, "--json", "--replicates", 100)
    assert done.code == 0, done.err
    found = done.json()
    (pair,) = found["pairs"]
    assert pair["difference"] == pytest.approx(
        found["auroc"][str(results)]["value"] - found["auroc"][str(other)]["value"]
    )
    assert 0 <= pair["p_value"] <= 1
    assert found["counts"] == {"cases": 16, "normal": 8, "abnormal": 8, "patients": 16}
    evaluated = json.loads((results / "metrics.json").read_text())["metrics"]["auroc"]
    assert found["auroc"][str(results)] == evaluated  # one number, wherever it is shown
    text = run("compare", results, other, "--replicates", 100).out
    assert f"{results} − {other}: " in text
    assert "adjusted" not in text


def test_compare_three_adjusts_for_the_number_of_pairs(run: Run, results: Path) -> None:
    others = [
        changed(results, name, lambda i, row, k=k: row | {"score": str(i * k % 7)}) for name, k in (("b", 2), ("c", 3))
    ]
    pairs = run("compare", results, *others, "--json", "--replicates", 0).json()["pairs"]
    assert len(pairs) == 3
    assert all(pair["p_holm"] >= pair["p_value"] for pair in pairs)
    assert "adjusted for all pairs" in run("compare", results, *others, "--replicates", 0).out


def test_the_same_scores_differ_in_nothing(run: Run, results: Path) -> None:
    twin = changed(results, "twin", lambda i, row: row)
    done = run("compare", results, twin, "--replicates", 0)
    assert done.code == 0
    assert "+0.000, p = 1.000" in done.out
    assert "bounds nothing" in done.out


def test_refusals_are_one_line(run: Run, results: Path, tmp_path: Path) -> None:
    fewer = changed(results, "fewer", lambda i, row: row if i else None)
    relabelled = changed(results, "relabelled", lambda i, row: row | {"label": "1"})
    for folders, words in (
        ([results], "at least two"),
        ([results, results], "twice"),
        ([results, tmp_path], "no scores.csv"),
        ([results, fewer], "16 and 15, 15 of them common"),
        ([results, relabelled], "label 8 of their 16 cases differently"),
    ):
        done = run("compare", *folders)
        assert done.code == 2
        assert words in done.line()
