"""Batches as slices of one array."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images with their labels: `(N,)`, 0 normal and 1 abnormal."""

    images: Images
    labels: NDArray[np.float32]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels for {len(self.images)} images")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.float32]:
        return self.images[rows]


def split_rows(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Rows of each batch, ascending within a batch, which reads a memory map in the order it lies on the disk.

    A single image left over at the end is dropped, since batch normalisation cannot learn from one; where it is the
    only image, it is kept.
    """
    rows = [np.sort(order[start : start + size]) for start in range(0, len(order), size)]
    return rows[:-1] if len(rows) > 1 and len(rows[-1]) == 1 < size else rows


def load(images: Images, rows: NDArray[np.int64], machine: Machine) -> tuple[Tensor, ...]:
    """These rows as contiguous float32 tensors on the device: `(images,)`, or `(images, labels)` of `Labelled`."""
    parts = [images[rows], images.labels[rows]] if isinstance(images, Labelled) else [images[rows]]
    return tuple(_to_device(torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)), machine) for part in parts)


def as_collected(batch: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """What `load` gives as `Collect.collect` takes it: images alone, or images and labels as a pair."""
    return batch if len(batch) > 1 else batch[0]


def few(images: Images, count: int) -> Images:
    """The first so many images, read; of labelled ones, from both classes in turn as far as each goes."""
    if not isinstance(images, Labelled):
        return images[np.arange(min(count, len(images)))]
    abnormal = images.labels > 0
    turn = np.where(abnormal, np.cumsum(abnormal), np.cumsum(~abnormal))  # its place within its class
    rows = np.sort(np.argsort(turn, kind="stable")[:count])
    return Labelled(images[rows], images.labels[rows])


def _to_device(batch: Tensor, machine: Machine) -> Tensor:
    if machine.kind == "cuda":
        # Page-locked memory lets the copy run while the GPU still computes the batch before.
        return batch.pin_memory().to(machine.device, non_blocking=True)
    return batch.to(machine.device)
