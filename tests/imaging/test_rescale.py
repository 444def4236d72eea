from __future__ import annotations

import numpy as np
import pytest

from unremarkable.imaging.rescale import narrowest, rescale


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "dtype"),
    [
        (np.array([0, 4095], np.uint16), 1, -1024, np.int16),
        (np.array([0, 65535], np.uint16), 1, 0, np.uint16),
        (np.array([0, 65535], np.uint16), 1, -1024, np.int32),
        (np.array([0, 65535], np.uint16), 1, 1, np.int32),
        (np.array([0, 255], np.uint8), 1, -255, np.int16),
        (np.array([0, 100], np.uint8), 2, 1, np.uint8),
        (np.array([-32768, 32767], np.int16), -1, 0, np.int32),
        (np.array([40000, 40001], np.uint16), -1, 40001, np.int16),
        (np.array([0, 2**32 - 1], np.uint32), 1, 1, np.int64),
        (np.array([0, 2**31], np.uint32), 2**40, 0, np.float64),
        (np.array([0, 4095], np.uint16), 0.5, 0, np.float32),
        (np.array([0, 1], np.float32), 2, 1, np.float32),
    ],
)
def test_type_and_values(stored, slope, intercept, dtype) -> None:
    result = rescale(stored, slope, intercept)
    assert result.dtype == dtype
    assert [float(v) for v in result] == [float(int(v)) * slope + intercept for v in stored]


@pytest.mark.parametrize(("slope", "intercept"), [(0, 0), (np.nan, 0), (1, np.inf)])
def test_no_values_left(slope, intercept) -> None:
    with pytest.raises(ValueError, match="leave no values"):
        rescale(np.zeros(3, np.int16), slope, intercept)


def test_narrowest_prefers_signed_and_is_never_8_bit_for_wider_files() -> None:
    assert narrowest([0, 200], 1) == np.uint8
    assert narrowest([0, 200], 2) == np.int16
    assert narrowest([0, 40000], 2) == np.uint16
    with pytest.raises(ValueError, match="no integer type"):
        narrowest([0, 2**64], 8)
