"""Batches as slices of one array."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unremarkable.training.machine import Machine


class Images(Protocol):
    """Model inputs in [0, 1]: an array or memory map `(N, C, H, W)`, or anything that is indexed like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.float32]:
        """The images of these rows, `(len(rows), C, H, W)`."""
        ...


def split_rows(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Rows of each batch, ascending within a batch, which reads a memory map in the order it lies on the disk.

    A single image left over at the end is dropped, since batch normalisation cannot learn from one; where it is the
    only image, it is kept.
    """
    rows = [np.sort(order[start : start + size]) for start in range(0, len(order), size)]
    return rows[:-1] if len(rows) > 1 and len(rows[-1]) == 1 < size else rows


def load(images: Images, rows: NDArray[np.int64], machine: Machine) -> Tensor:
    """These rows as a contiguous float32 tensor on the device."""
    batch = torch.from_numpy(np.ascontiguousarray(images[rows], dtype=np.float32))
    if machine.kind == "cuda":
        # Page-locked memory lets the copy run while the GPU still computes the batch before.
        return batch.pin_memory().to(machine.device, non_blocking=True)
    return batch.to(machine.device)
