"""What scoring gives: one row a case, with its map, as a table and as files."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets.case import Case
from unremarkable.errors import UsageError
from unremarkable.files import check_folder, whole_folder
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess

if TYPE_CHECKING:
    import pandas as pd

Maps = Literal["none", "overlay", "full"]


@dataclass(frozen=True, eq=False)
class CaseScore:
    """One case's verdict and what it rests on.

    Attributes:
        score: anomaly score, larger is more anomalous; of a volume, that of its most anomalous slice.
        p_value: share of the calibration normals that score as high, `(1 + #{>=}) / (n + 1)`.
        flagged: whether `p_value` is at most the requested false-alarm rate; None where the rate cannot be supported.
        slice_scores: `(n,)`, one a slice; one value for a flat image.
        maps: `(n, h, w)` float32 at the method's own resolution, larger is more anomalous.
        top: index of the slice that gave the score; `picture` and `reconstruction` are of that slice.
        picture: what the method saw, uint8 `(H, W)` or `(H, W, 3)`.
        reconstruction: the method's normal version of it, same shape, or None.
        geometry: the image without its pixel values, for putting maps back into its own grid.
    """

    case: Case
    score: float
    p_value: float
    flagged: bool | None
    slice_scores: NDArray[np.float64]
    maps: NDArray[np.float32]
    top: int
    picture: NDArray[np.uint8]
    reconstruction: NDArray[np.uint8] | None
    geometry: Image

    @property
    def path(self) -> str:
        """The file or folder that was scored."""
        return self.case.path

    @property
    def map(self) -> NDArray[np.float32]:
        """The map of the slice that gave the score, `(h, w)`."""
        return self.maps[self.top]

    def record(self) -> dict[str, Any]:
        """The row as plain values, for a table."""
        return {
            "path": self.path,
            "score": self.score,
            "p_value": self.p_value,
            "flagged": self.flagged,
            "slices": len(self.slice_scores),
            "top_slice": self.top,
            "label": self.case.label,
            "finding": self.case.finding,
            "patient": self.case.patient,
        }


#: the table that each folder of scores holds
TABLE = "scores.csv"
#: columns of `scores.csv` and `to_frame()`, in order
COLUMNS = ("path", "score", "p_value", "flagged", "slices", "top_slice", "label", "finding", "patient", "error")


@dataclass(frozen=True)
class Scores:
    """The scores of many cases, in the order of the input, and the cases that could not be scored.

    `failures` pairs each such path with the reason; `rate` is the requested false-alarm rate; `map_range` is the
    range of the calibration normals' maps, which colours every heat map on one scale.
    """

    rows: tuple[CaseScore, ...]
    failures: tuple[tuple[str, str], ...]
    rate: float
    map_range: tuple[float, float]
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[CaseScore]:
        return iter(self.rows)

    def to_frame(self) -> pd.DataFrame:
        """One row a case, failed ones last with their `error`."""
        import pandas as pd

        records = [row.record() for row in self.rows]
        records += [{"path": path, "error": reason} for path, reason in self.failures]
        return pd.DataFrame(records, columns=list(COLUMNS))

    def save(self, folder: str | Path, maps: Maps = "overlay", *, reconstructions: bool = False) -> Path:
        """Write `scores.csv` and the pictures (see `ScoreWriter`) to a folder that does not exist yet.

        Raises:
            UsageError: the folder is in the way, or `reconstructions` are asked of a method that makes none.
        """
        paths = [row.path for row in self.rows]
        with ScoreWriter(
            Path(folder), self.preprocess, self.map_range, paths, maps, reconstructions=reconstructions
        ) as writer:
            for row in self.rows:
                writer.write_pictures(row)
            writer.write_table([row.record() for row in self.rows], self.failures)
        return Path(folder)


class ScoreWriter:
    """Writes scores as they come, and shows the folder only when it is whole.

    `heatmaps/NAME.jpg` shows each image with its map over it; a volume's map is written as `maps/NAME.nii.gz` in the
    volume's own geometry; with `maps="full"` a flat image's map is written too, as float32 `maps/NAME.tif` on the
    image's own pixel grid. With `reconstructions`, `reconstructions/NAME.png` is what the method makes of the image
    (of a volume, of the slice that gave the score), in the shape and the grey levels of the picture under the map.
    """

    def __init__(
        self,
        folder: Path,
        preprocess: Preprocess,
        map_range: tuple[float, float],
        paths: Sequence[str],
        maps: Maps = "overlay",
        overwrite: bool = False,
        *,
        reconstructions: bool = False,
    ) -> None:
        check_folder(folder, TABLE, overwrite=overwrite)
        self.folder = folder
        self._whole = whole_folder(folder, TABLE, overwrite=overwrite)
        self._preprocess, self._range, self._maps = preprocess, map_range, maps
        self._reconstructions = reconstructions
        self._names = _short_names(paths)

    def __enter__(self) -> ScoreWriter:
        self._work = self._whole.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._whole.__exit__(*error)

    def path(self, name: str) -> Path:
        """Where to write another file that belongs into the folder."""
        return self._work / name

    def write_table(self, records: Sequence[dict[str, Any]], failures: Sequence[tuple[str, str]]) -> None:
        """Write `scores.csv`: one record a case, then the cases that could not be scored, with their error."""
        with (self._work / TABLE).open("w", newline="", encoding="utf-8") as file:
            rows = csv.DictWriter(file, COLUMNS)
            rows.writeheader()
            rows.writerows(records)
            rows.writerows({"path": path, "error": reason} for path, reason in failures)

    def write_pictures(self, row: CaseScore) -> None:
        """Write one case's map and reconstruction, as asked for; safe to call from several threads.

        Raises:
            UsageError: reconstructions are asked for, and the method makes none.
        """
        from PIL import Image as Picture

        name = self._names[row.path]
        if self._reconstructions:
            if row.reconstruction is None:
                raise UsageError("the model's method makes no reconstructions: leave out --reconstructions")
            target = self._work / "reconstructions" / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(in_aspect(row.reconstruction, row, self._preprocess)).save(target)
        if self._maps == "none":
            return
        target = self._work / "heatmaps" / f"{name}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        # An illustration: as PNG it takes 15 times as long and four times the space. The values are in the maps.
        drawn = Picture.fromarray(overlay_of(row, self._range, self._preprocess))
        drawn.save(target, quality=95, subsampling=0)
        if row.geometry.is_volume:
            from unremarkable.imaging.volume import map_volume, restore, save_nifti

            target = self._work / "maps" / f"{name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            save_nifti(map_volume(restore(row.maps, row.geometry, self._preprocess), row.geometry), target)
        elif self._maps == "full":
            import tifffile

            from unremarkable.imaging.volume import restore

            target = self._work / "maps" / f"{name}.tif"
            target.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(target, restore(row.maps, row.geometry, self._preprocess))


def overlay_of(row: CaseScore, map_range: tuple[float, float], preprocess: Preprocess) -> NDArray[np.uint8]:
    """The case's most anomalous slice with its heat map over it, in the image's own aspect; uint8 `(h, w, 3)`."""
    from unremarkable.scoring.heatmap import overlay

    return overlay(in_aspect(row.picture, row, preprocess), row.map, *map_range)


def in_aspect(picture: NDArray[np.uint8], row: CaseScore, preprocess: Preprocess) -> NDArray[np.uint8]:
    """A model-sized picture of the case, stretched back to the proportions, in millimetres where known, of the file."""
    if preprocess.fit != "resize":
        return picture
    axes, shape = row.geometry.axes, row.geometry.pixels.shape
    rows, columns = float(shape[axes.index("H")]), float(shape[axes.index("W")])
    if row.geometry.spacing is not None:
        rows, columns = rows * row.geometry.spacing[-2], columns * row.geometry.spacing[-1]
    scale = max(picture.shape[:2]) / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    if size == (picture.shape[1], picture.shape[0]):
        return picture
    from PIL import Image as Picture

    return np.asarray(Picture.fromarray(picture).resize(size, Picture.Resampling.BILINEAR))


def without_pixels(image: Image) -> Image:
    """The same image with its values forgotten; the array keeps its shape and takes no memory."""
    empty = np.broadcast_to(np.zeros((), image.pixels.dtype), image.pixels.shape)
    return replace(image, pixels=empty, padding=None)


def _short_names(paths: Iterable[str]) -> dict[str, str]:
    """A file name for each case: its path below what all share, without suffix where that stays unambiguous."""
    whole = {path: Path(path.replace("#", "/").replace("\\", "/")) for path in paths}
    if not whole:
        return {}
    parents = [str(path.absolute().parent) for path in whole.values()]
    root = Path(os.path.commonpath(parents))
    relative = {path: found.absolute().relative_to(root) for path, found in whole.items()}
    bare = {path: _without_suffix(found) for path, found in relative.items()}
    count = Counter(bare.values())
    return {path: bare[path] if count[bare[path]] == 1 else str(relative[path]) for path in whole}


def _without_suffix(path: Path) -> str:
    name = path.name
    for suffix in (".nii.gz", path.suffix):
        if suffix and name.lower().endswith(suffix.lower()) and len(name) > len(suffix):
            return str(path.with_name(name[: -len(suffix)]))
    return str(path)
