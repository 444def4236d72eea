from __future__ import annotations

from unremarkable.report.tables import Cell, block

FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6}
UNDEFINED = {"value": None, "low": None, "high": None, "reason": "needs lesions"}


def test_figures_and_plain_values_are_facts_and_what_is_missing_is_left_out() -> None:
    made = block("Pixels", {"auroc": FIGURE, "aupro": UNDEFINED, "cases": 3, "rule": "x", "none": None, "empty": []})
    assert made.facts == (
        ("AUROC", Cell("0.500", "0.400–0.600")),
        ("AUPRO", Cell("–", "needs lesions")),
        ("Cases", Cell("3")),
        ("Rule", Cell("x")),
    )
    assert made.inner == ()


def test_dictionaries_side_by_side_are_a_table() -> None:
    rows = {"m": {"cases": 3, "metrics": {"auroc": FIGURE}, "note": None}, "<f>": {"cases": 4, "metrics": {}}}
    table = block("", {"values": rows, "missing": 2}).inner[0].table
    assert table is not None
    assert table.columns == ("Cases", "AUROC")
    assert table.rows == (
        ("m", (Cell("3"), Cell("0.500", "0.400–0.600"))),
        ("<f>", (Cell("4"), Cell("–"))),
    )


def test_a_list_of_rows_is_named_by_its_first_value() -> None:
    table = block("", {"rates": [{"alpha": 0.05, "share": FIGURE}, {"alpha": 0.1, "share": UNDEFINED}]}).inner[0].table
    assert table is not None
    assert [name for name, _ in table.rows] == ["Asked for 0.05", "Asked for 0.1"]
    assert table.columns == ("Share",)


def test_parts_in_parts_and_curves_left_out() -> None:
    curve = {"x": list(range(50)), "y": list(range(50))}
    made = block("A", {"froc": curve, "more": {"deep": {"value_of": 1, "deeper": {"x": 2}}}, "few": [1, 2]})
    assert made.facts == (("Few", Cell("1, 2")),)
    assert [part.title for part in made.inner] == ["More"]
    assert block("A", {"froc": curve}).empty
