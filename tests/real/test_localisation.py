"""Pixel and lesion metrics on breast ultrasound with 1-bit masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from sklearn.metrics import average_precision_score, roc_auc_score

from unremarkable import Detector
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.masks import load_truth
from unremarkable.imaging.read import read_image
from unremarkable.imaging.volume import restore
from unremarkable.report.run import evaluate_to_folder


def test_masks_of_breast_ultrasound(real_data: Path) -> None:
    found = find_dataset(real_data / "busi")
    several = [case for case in found if len(case.masks) > 1]
    assert several  # a second lesion lies in a file of its own
    for case in several[:5]:
        truth = load_truth(case, read_image(case.path))
        assert truth is not None
        union = np.any([np.asarray(Picture.open(mask).convert("L")) > 0 for mask in case.masks], axis=0)
        np.testing.assert_array_equal(truth.mask, union)
        assert len(truth.lesions) >= len(case.masks)


def test_breast_ultrasound(real_data: Path) -> None:
    found = find_dataset(real_data / "busi")
    normal = [case for case in found if case.label == 0]
    detector = Detector("knn", size=96).fit([case.path for case in normal[:100]])
    cases = [*normal[100:], *[case for case in found if case.label == 1][::20]]
    run = evaluate_to_folder(detector, found, cases, None, replicates=0)
    assert run.localisation is not None
    pixel = {name: one["value"] for name, one in run.localisation["pixel"].items()}
    assert 0.7 < pixel["auroc"] < 0.95
    assert pixel["auprc"] < 0.6
    # What 5 % of the calibration normals' pixels exceed, about so many of other normals' pixels exceed.
    assert 0.01 < pixel["normal_area_flagged"] < 0.15
    assert pixel["dice"] <= pixel["best_dice"]
    maps, masks = [], []
    for row in detector.stream(cases):
        truth = load_truth(row.case, row.geometry)
        maps.append(restore(row.maps, row.geometry, detector.preprocess_).ravel())
        masks.append(truth.mask.ravel())
    marked, values = np.concatenate(masks), np.concatenate(maps)
    assert pixel["auroc"] == pytest.approx(roc_auc_score(marked, values))
    assert pixel["auprc"] == pytest.approx(average_precision_score(marked, values))
