"""Anomaly maps and lesions of any number of cases, kept on disk until they are measured."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets.masks import Lesion, Truth
from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.levels import LabelledMap
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.imaging.volume import restore
from unremarkable.scoring.scores import CaseScore


@dataclass(frozen=True)
class _Entry:
    """Where one case lies in the file: its maps at the method's resolution, then its lesions, eight pixels a byte."""

    name: str
    group: str
    finding: str | None
    geometry: Image
    start: int
    maps: tuple[int, ...]
    lesions: tuple[tuple[tuple[slice, ...], tuple[int, ...]], ...]


class MapStore(Sequence[LabelledMap]):
    """A sequence of `LabelledMap`s that takes the memory of one.

    Kept as the method gave them, in a temporary file, and enlarged to the image's own grid each time one is asked for.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        self._preprocess = preprocess
        self._entries: list[_Entry] = []
        # Closed by `close`, by which the system deletes it.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115

    def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._file.close()

    def add(self, row: CaseScore, truth: Truth) -> None:
        """Keep one case.

        Raises:
            InputError: its map has values that are not finite.
            UsageError: the disk is full.
        """
        if not np.isfinite(row.maps).all():
            raise InputError(row.path, "its anomaly map has values that are not finite")
        start = self._file.seek(0, 2)
        try:
            self._file.write(row.maps.astype(np.float32).tobytes())
            for lesion in truth.lesions:
                self._file.write(np.packbits(lesion.inside).tobytes())
        except OSError as error:
            folder = tempfile.gettempdir()
            raise UsageError(f"maps cannot be kept in {folder} ({error.strerror}); set TMPDIR to another") from error
        self._entries.append(
            _Entry(
                name=row.path,
                group=row.case.group,
                finding=row.case.finding,
                geometry=replace(row.geometry, metadata={}),
                start=start,
                maps=row.maps.shape,
                lesions=tuple((lesion.place, lesion.inside.shape) for lesion in truth.lesions),
            )
        )

    def only(self, positions: Sequence[int]) -> MapStore:
        """Some of the cases, read from the same file."""
        chosen = copy.copy(self)
        chosen._entries = [self._entries[position] for position in positions]
        return chosen

    @property
    def abnormal(self) -> int:
        """How many cases have lesions."""
        return sum(bool(entry.lesions) for entry in self._entries)

    def findings(self) -> dict[str, list[int]]:
        """Positions of the cases with lesions, by the name of their finding."""
        found: dict[str, list[int]] = {}
        for position, entry in enumerate(self._entries):
            if entry.finding and entry.lesions:
                found.setdefault(entry.finding, []).append(position)
        return found

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> LabelledMap: ...
    @overload
    def __getitem__(self, index: slice) -> list[LabelledMap]: ...
    def __getitem__(self, index: int | slice) -> LabelledMap | list[LabelledMap]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        entry = self._entries[index]
        self._file.seek(entry.start)
        maps = np.frombuffer(self._read(4 * int(np.prod(entry.maps))), np.float32).reshape(entry.maps)
        values = restore(maps, entry.geometry, self._preprocess)
        mask = np.zeros(values.shape, bool)
        lesions = tuple(Lesion(place, self._bits(shape)) for place, shape in entry.lesions)
        for lesion in lesions:
            mask[lesion.place] |= lesion.inside
        return LabelledMap(values, mask, entry.name, entry.group, lesions)

    def _bits(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        count = int(np.prod(shape))
        packed = np.frombuffer(self._read((count + 7) // 8), np.uint8)
        return np.unpackbits(packed, count=count).astype(bool).reshape(shape)

    def _read(self, size: int) -> bytes:
        return self._file.read(size)
