from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from matplotlib.figure import Figure

from unremarkable.evaluation.intervals import Interval
from unremarkable.explain import style
from unremarkable.explain.scores import score_figure


def _figure() -> Figure:
    return score_figure([1.0, 2.0, 3.0], [0, 0, 1], [1.0, 2.0], 2.5)


def test_svg_is_well_formed_follows_the_page_and_refers_to_nothing() -> None:
    text = style.svg(_figure(), 'name & <"more">')
    assert ET.fromstring(text).get("aria-label") == 'name & <"more">'
    assert "http" not in text
    assert "xmlns" not in text
    assert "var(--ink)" in text
    assert style.NORMAL not in text
    assert text == style.svg(_figure(), 'name & <"more">')


def test_figures_leave_pyplot_alone() -> None:
    code = (
        "import sys\nfrom unremarkable.explain import bars, curves, features, galleries, ranks, scores, training\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_users_are_text_and_not_formulas() -> None:
    assert style.shortened("$x^2$") == r"\$x^2\$"
    assert style.shortened("a" * 30, 10) == "aaaa…aaaaa"
    assert style.shortened("short") == "short"


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.5, 0.25, 0.75), "0.500 (0.250–0.750)"),
        (Interval(0.5, None, None, "why"), "0.500"),
        (Interval(None, None, None, "why"), "undefined"),
    ],
)
def test_intervals_in_a_legend(interval: Interval, text: str) -> None:
    assert style.interval_text(interval) == text
