"""Silence for decoders: complete while any thread is inside, gone when the last one has left."""

from __future__ import annotations

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from unremarkable.imaging.quiet import quiet


def test_silent_inside_and_as_before_outside(recwarn: pytest.WarningsRecorder) -> None:
    logger = logging.getLogger("pydicom")
    level = logger.level
    with quiet():
        warnings.warn("inside", stacklevel=1)
        assert not logger.isEnabledFor(logging.CRITICAL)
    assert logger.level == level
    warnings.warn("outside", stacklevel=1)
    assert [str(warning.message) for warning in recwarn] == ["outside"]


def test_threads_that_overlap_leave_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    barrier = Barrier(4)

    def decode(_: int) -> None:
        for _ in range(50):
            with quiet():
                barrier.wait()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode, range(4)))
    assert list(warnings.filters) == before


def test_an_error_inside_leaves_silence_too() -> None:
    before = list(warnings.filters)
    with pytest.raises(ValueError, match="broken"), quiet():
        raise ValueError("broken")
    assert list(warnings.filters) == before
