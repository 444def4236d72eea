"""What results are called: no key of a result is shown as it is spelt."""

from __future__ import annotations

import numpy as np
import pytest

from unremarkable.evaluation.intervals import bootstrap
from unremarkable.evaluation.names import label, meaning, name_of


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("auroc", "AUROC"),
        ("fpr_at_tpr95", "FPR at 95 % TPR"),
        ("sensitivity_at_specificity95", "Sensitivity at 95 % specificity"),
        ("auroc_per_image", "AUROC per image"),
        ("best_iou", "Best IoU"),
        ("ra_f1", "F1 by RA's rule"),
        ("sensitivity_at_0.125_fp", "Sensitivity at 0.125 FP per image"),
        ("site", "Site"),
        ("", ""),
    ],
)
def test_keys_are_read_as_words(key: str, name: str) -> None:
    assert label(key) == name
    assert label(name_of(key)).replace(" ", "").lower() == name.replace(" ", "").lower()


def test_every_metric_of_an_evaluation_has_a_name_and_a_meaning() -> None:
    labels = np.arange(20) % 2
    for key in bootstrap(labels * 1.0, labels, None, labels == 1, prevalence=0.1, replicates=0):
        assert "_" not in name_of(key)
        assert meaning(key)
    assert meaning("site") == ""
