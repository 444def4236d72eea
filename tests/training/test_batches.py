from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unremarkable.training.batches import load, split_rows
from unremarkable.training.machine import Machine

CPU = Machine("cpu", "32")


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 8), (7, 8), (8, 8), (10, 4), (5, 1)])
def test_every_image_is_in_one_batch(count: int, size: int) -> None:
    batches = split_rows(np.random.default_rng(0).permutation(count), size)
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert all(len(rows) <= size and (np.diff(rows) > 0).all() for rows in batches)


def test_a_single_image_left_over_is_dropped() -> None:
    assert [len(rows) for rows in split_rows(np.arange(9), 4)] == [4, 4]


def test_load_reads_a_read_only_memory_map(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((6, 1, 4, 4), dtype=np.float32)
    np.save(tmp_path / "packed.npy", values)
    (batch,) = load(np.load(tmp_path / "packed.npy", mmap_mode="r"), np.array([1, 4]), CPU)
    assert batch.dtype == torch.float32
    batch.zero_()  # its own memory, not the file's
    np.testing.assert_array_equal(np.load(tmp_path / "packed.npy"), values)
    np.testing.assert_array_equal(load(values, np.array([1, 4]), CPU)[0].numpy(), values[[1, 4]])
