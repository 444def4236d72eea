"""Lesions found and false positives, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label, regionprops

from unremarkable.datasets.masks import Lesion
from unremarkable.errors import UsageError
from unremarkable.evaluation.lesions import RATES, detect, lesion_metrics
from unremarkable.evaluation.levels import LabelledMap


def box(rows: slice, columns: slice) -> Lesion:
    return Lesion((rows, columns), np.ones((rows.stop - rows.start, columns.stop - columns.start), bool))


def case(values: np.ndarray, *lesions: Lesion, name: str = "a", group: str = "") -> LabelledMap:
    mask = np.zeros(values.shape, bool)
    for lesion in lesions:
        mask[lesion.place] |= lesion.inside
    return LabelledMap(values, mask, name, group, lesions)


FIRST, SECOND = box(slice(2, 6), slice(2, 6)), box(slice(12, 16), slice(12, 16))


def two_lesions() -> np.ndarray:
    """5 over the first lesion; 4 at one pixel beside everything; 3 over 9 of the 16 pixels of the second lesion."""
    values = np.zeros((20, 20), np.float32)
    values[2:6, 2:6] = 5
    values[2, 18] = 4
    values[12:15, 12:15] = 3
    return values


@pytest.mark.parametrize("hit", ["iou", "centre", "overlap"])
def test_from_the_highest_threshold_down(hit: str) -> None:
    lesions = (FIRST, SECOND)
    assert detect(two_lesions() > 6, lesions, hit) == (0, 0)
    assert detect(two_lesions() > 4.5, lesions, hit) == (1, 0)
    assert detect(two_lesions() > 3.5, lesions, hit) == (1, 1)
    assert detect(two_lesions() > 2, lesions, hit) == (2, 1)


def test_one_component_over_everything() -> None:
    """Overlap alone would call it perfect; what it finds depends on the rule, and the default finds nothing."""
    everything = np.ones((20, 20), bool)
    assert detect(everything, (FIRST, SECOND), "overlap") == (2, 0)
    assert detect(everything, (FIRST, SECOND)) == (0, 1)
    assert detect(everything, (FIRST, SECOND), "centre") == (0, 1)
    assert detect(everything, (box(slice(8, 12), slice(8, 12)),), "centre") == (1, 0)


def test_the_share_that_a_component_needs() -> None:
    flagged = np.zeros((20, 20), bool)
    flagged[2:12, 2:14] = True  # 120 pixels, with 12 of the 16: 12 / 124 < 0.1
    lesion = box(slice(2, 6), slice(11, 15))
    assert detect(flagged, (lesion,)) == (0, 1)
    flagged[2:12, 2] = False  # 110 pixels: 12 / 114 > 0.1
    assert detect(flagged, (lesion,)) == (1, 0)


def test_several_components_in_one_lesion_and_several_lesions_under_one() -> None:
    flagged = np.zeros((20, 20), bool)
    flagged[2:6, 2:4] = flagged[2:6, 5] = True
    assert detect(flagged, (FIRST,)) == (1, 0)
    wide = np.zeros((20, 20), bool)
    wide[2:6, 2:12] = True
    assert detect(wide, (FIRST, box(slice(2, 6), slice(8, 12)))) == (2, 0)


def test_corners_join_and_centres_are_those_of_scikit_image() -> None:
    flagged = np.random.default_rng(0).random((30, 30)) < 0.2
    numbered = label(flagged, connectivity=2)
    assert detect(flagged, ()) == (0, numbered.max())
    lesion = box(slice(5, 25), slice(8, 20))
    centres = [np.floor(np.array(region.centroid) + 0.5) for region in regionprops(numbered)]
    outside = sum(not (5 <= row < 25 and 8 <= column < 20) for row, column in centres)
    assert detect(flagged, (lesion,), "centre") == (1, outside)


def test_volumes() -> None:
    flagged = np.zeros((3, 6, 6), bool)
    flagged[0, 1, 1] = flagged[1, 2, 2] = True  # one component across slices
    lesion = Lesion((slice(1, 2), slice(2, 3), slice(2, 3)), np.ones((1, 1, 1), bool))
    assert detect(flagged, (lesion,)) == (1, 0)


def test_froc_by_hand() -> None:
    """Two lesions in one case, and a normal case with a false positive at 5 and two more at 2.5.

    Above 4.5: 1 of 2 lesions, 1 false positive in 2 cases. Above 3.5: 1 of 2, 2 in 2. Above 2: 2 of 2, 4 in 2.
    """
    normal = np.zeros((20, 20), np.float32)
    normal[0, 0], normal[5, 5], normal[9, 9] = 5, 2.5, 2.5
    cases = [case(two_lesions(), FIRST, SECOND, name="a"), case(normal, name="b")]
    found = lesion_metrics(cases, [2, 4.5, 3.5], 2.2, replicates=0)
    np.testing.assert_allclose(found.froc.thresholds, [4.5, 3.5, 2])
    np.testing.assert_allclose(found.froc.false_positives, [0.5, 1, 2])
    np.testing.assert_allclose(found.froc.sensitivity, [0.5, 0.5, 1])
    values = {name: one.value for name, one in found.metrics.items()}
    expected = dict(zip(RATES, (0, 0, 0.5, 0.5, 1, 1, 1), strict=True))
    for rate, sensitivity in expected.items():
        assert values[f"sensitivity_at_{rate:g}_fp"] == sensitivity
    assert values["froc"] == pytest.approx(4 / 7)
    assert values["sensitivity"] == 1
    assert values["false_positives_per_image"] == 2
    assert found.counts == {"lesions": 2, "ra_detected": 1}


def test_patients_are_resampled() -> None:
    rng = np.random.default_rng(0)
    cases = []
    for index in range(12):
        values = rng.random((20, 20)).astype(np.float32)
        values[FIRST.place] += 2 * rng.random()
        cases.append(case(values, *([FIRST] if index % 2 else []), name=str(index)))
    found = lesion_metrics(cases, np.linspace(0.5, 2.5, 9), 1.2, replicates=200).metrics
    for name in ("froc", "sensitivity", "false_positives_per_image", "ra_f1"):
        assert found[name].low <= found[name].value <= found[name].high, name
    mirrored = lesion_metrics(cases[::-1], np.linspace(0.5, 2.5, 9), 1.2, replicates=200).metrics
    assert mirrored["froc"].low == pytest.approx(found["froc"].low)


def test_all_normal_and_no_curve() -> None:
    normal = case(two_lesions())
    found = lesion_metrics([normal], [2.0], 2.0, replicates=100).metrics
    assert found["froc"].value is None
    assert found["froc"].reason == "no lesions are marked"
    assert found["ra_f1"].value is None
    assert found["false_positives_per_image"].value == 3
    assert set(lesion_metrics([normal], (), 2.0, replicates=0).metrics) == {
        "sensitivity",
        "false_positives_per_image",
        "ra_detected",
        "ra_f1",
    }
    with pytest.raises(UsageError, match="at least one"):
        lesion_metrics([], ())
    with pytest.raises(UsageError, match="hit rule 'iuo'; did you mean 'iou'"):
        lesion_metrics([normal], (), hit="iuo")  # type: ignore[arg-type]
