"""The page of published and own figures: both stand there, with intervals and sources, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unremarkable.benchmark.published import results_page
from unremarkable.benchmark.store import Store

Maker = Callable[..., dict[str, Any]]


def store(folder: Path, *results: dict[str, Any]) -> Store:
    made = Store.open(folder, create=True)
    for result in results:
        place = made.cells_folder / f"cell-{result['key']}"
        place.mkdir(parents=True)
        (place / "cell.json").write_text(json.dumps(result))
    return made


def section(page: str, heading: str) -> str:
    return page.split(f"### {heading}\n")[1].split("\n### ")[0].split("\n## ")[0]


def test_ours_beside_the_papers(cell: Maker, tmp_path: Path) -> None:
    run = store(
        tmp_path / "one",
        cell("knn", "covid19-xray", 0.9),
        cell("knn", "covid19-xray", 0.8, seed=1),
        cell("knn", "covid19-xray", 0.7, deduplicate=True),
        cell("hetero", "covid19-xray", 0.95, method="hetero-ae"),
        cell("knn", "mine", 0.6),
        cell("knn", "covid19-xray", 0.5, protocol="kfold:5") | {"column": "covid19-xray, kfold:5", "key": "k"},
        cell("bad", "mine", None) | {"status": "failed", "error": "no memory"},
    )
    page = results_page([run, store(tmp_path / "two", cell("knn", "covid19-xray", 0.9))])
    covid = section(page, "COVID-19")
    assert "| Hetero-AE | paper | 0.9735 ± 0.0082 |" in covid
    ours = [line for line in covid.splitlines() if "| ours [" in line]
    assert [line.split(" | ")[0] for line in ours] == [
        "| hetero, size=32",
        "| knn, size=32",
        "| knn, size=32, without copies",
    ]
    assert "0.850 ± 0.071 (0.830–0.870)" in ours[1], "the cell that is in both benchmarks counts once"
    assert "0.950 (0.930–0.970)" in ours[0]
    order = covid.splitlines()
    assert order.index(ours[0]) == next(i for i, line in enumerate(order) if line.startswith("| Hetero-AE")) + 1
    assert "not run yet: AE [42]" in covid
    assert "data absent" in section(page, "Retinal OCT")
    assert "0.600 (0.580–0.620)" in section(page, "mine")
    assert "0.500" in section(page, "covid19-xray, kfold:5")
    assert "bad on mine: no memory" in page
    sources = page.split("## Sources")[1]
    assert sources.count("commit abc1234") == page.count('<a id="source-') == 5
    assert "--seeds 2" in sources
    assert "--deduplicate" in sources


def test_a_paper_s_finding_takes_ours_of_that_finding(cell: Maker, tmp_path: Path) -> None:
    result = cell("knn", "kermany-oct", 0.9)
    result["findings"] = {"DME": result["findings"]["cyst"]}
    page = results_page([store(tmp_path / "one", result)])
    assert "0.600 (0.580–0.620)" in section(page, "DME-OCT")
    assert "0.900" not in section(page, "CNV-OCT").split("| ours")[1]


def test_no_results_at_all(tmp_path: Path) -> None:
    page = results_page([store(tmp_path / "empty")])
    assert "Hetero-AE, Table I" in page
    assert "Sources" not in page


def test_a_shortened_training_says_so(cell: Maker, tmp_path: Path) -> None:
    options = {"epochs": 3, "latent_dim": 128}
    run = store(tmp_path, cell("small[epochs=3]", "a", 0.9, method="autoencoder", options=options | {"hidden": 8}))
    assert "| small[epochs=3], hidden=8, size=32 | " in section(results_page([run]), "a")


def test_ranks_are_those_of_the_most_data_sets_that_three_share(cell: Maker, tmp_path: Path) -> None:
    found = {"a": (0.9, 0.8, 0.7), "b": (0.6, 0.9, 0.6)}
    cells = [cell(row, data, auroc) for data in found for row, auroc in zip("pqr", found[data], strict=True)]
    longer = cell("q", "c", 0.9, options={"grid": 4}) | {"key": "longer"}
    ranks = section(results_page([store(tmp_path, *cells, cell("p", "c", 0.7), longer)]), "Ranks")
    assert "the 3 rows" in ranks
    lines = [line for line in ranks.splitlines() if line.startswith("| ") and line[2] in "pqr"]
    assert lines == ["| q | 1.50 | 2 | 1 |", "| p | 1.75 | 1 | 2.5 |", "| r | 2.75 | 3 | 2.5 |"]


def test_without_three_rows_that_share_two_data_sets_nothing_is_ranked(cell: Maker, tmp_path: Path) -> None:
    page = results_page([store(tmp_path, *(cell(row, "a", 0.9) for row in "pqr"), cell("p", "b", 0.9))])
    assert "### Ranks" not in page
