from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import betabinom

from unremarkable.evaluation import evaluate
from unremarkable.report import figures
from unremarkable.scoring.calibration import Calibration

LABELS = np.repeat([0, 1], 50)
SCORES = np.random.default_rng(0).normal(size=100) + LABELS
EVALUATION = evaluate(SCORES, LABELS, threshold=1.0, replicates=100)
CALIBRATION = Calibration.from_normals(np.random.default_rng(1).normal(size=60))


def _texts(figure: Figure) -> str:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return " ".join(text.get_text() for text in legend.get_texts())


def _all() -> dict[str, Figure]:
    assert EVALUATION.roc is not None
    assert EVALUATION.pr is not None
    phase = {
        "name": "train",
        "best_epoch": 2,
        "epochs": [{"epoch": e, "losses": {"a": 1.0 / e, "b": 99.0}, "held_out": 1.0} for e in (1, 2, 3)],
    }
    return {
        "roc": figures.roc_figure(EVALUATION.roc, EVALUATION.metrics["auroc"], (0.1, 0.5)),
        "pr": figures.pr_figure(EVALUATION.pr, EVALUATION.metrics["auprc"], 0.5, None),
        "scores": figures.score_figure(SCORES, LABELS, CALIBRATION.scores, 1.0),
        "alarms": figures.false_alarm_figure(CALIBRATION.p_values(SCORES[:50]), CALIBRATION),
        "losses": figures.loss_figure(phase),
    }


def test_svg_is_well_formed_follows_the_page_and_refers_to_nothing() -> None:
    for name, figure in _all().items():
        text = figures.svg(figure, f'{name} & <"more">')
        root = ET.fromstring(text)
        assert root.get("aria-label") == f'{name} & <"more">'
        assert "http" not in text
        assert "xmlns" not in text
        assert "var(--ink)" in text
        assert figures.NORMAL not in text
        assert text == figures.svg(_all()[name], f'{name} & <"more">')


def test_figures_leave_pyplot_alone() -> None:
    code = "import sys, unremarkable.report.html; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_legends_name_what_is_drawn() -> None:
    drawn = _all()
    assert f"AUROC {EVALUATION.metrics['auroc'].value:.3f}" in _texts(drawn["roc"])
    assert "operating point" in _texts(drawn["roc"])
    assert "operating point" not in _texts(drawn["pr"])
    assert "calibration (60)" in _texts(drawn["scores"])
    assert "held-out normals" in _texts(drawn["losses"])
    assert drawn["losses"].axes[0].get_yscale() == "log"


def test_scores_far_out_do_not_squeeze_the_rest() -> None:
    scores = np.append(SCORES, 1e6)
    axes = figures.score_figure(scores, None, None, None).axes[0]
    assert axes.get_xlim()[1] < 10
    assert any("1 beyond" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("scores", [[0.0], [3.0, 3.0], [-1e-300, 1e-300], [1e300, 1e300]])
def test_constant_and_extreme_scores_can_be_drawn(scores: list[float]) -> None:
    figures.svg(figures.score_figure(scores, None, None, scores[0]), "scores")


def test_the_chance_band_is_that_of_the_beta_binomial_law() -> None:
    for n, m in ((19, 7), (99, 250), (1000, 40)):
        allowed = np.array([0, 1, 1, 2, n // 5, n])
        low, high = figures.chance_band(allowed.astype(float), n, m)
        assert (low[0], high[0]) == (0, 0)
        law = betabinom(m, allowed[1:], n + 1 - allowed[1:])
        assert low[1:] == pytest.approx(law.ppf(0.025) / m)
        assert high[1:] == pytest.approx(law.ppf(0.975) / m)


def test_few_normals_leave_the_chance_band() -> None:
    rng = np.random.default_rng(0)
    low, high = (bound[0] for bound in figures.chance_band(np.array([10.0]), 99, 80))
    outside = 0
    for _ in range(500):
        p_values = Calibration.from_normals(rng.normal(size=99)).p_values(rng.normal(size=80))
        outside += not low <= (p_values <= 0.1).mean() <= high
    assert outside < 0.08 * 500
