"""Are pixels exact, is every transfer syntax read or refused in one line, are hostile files refused cheaply?

python benchmarks/readers.py [--record]
"""

from __future__ import annotations

import resource
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import tifffile
from PIL import Image as Picture
from pydicom.uid import DeflatedExplicitVRLittleEndian

from record import data_folder, markdown, parser, publish
from unremarkable.datasets.find import find_dataset
from unremarkable.errors import InputError, UsageError
from unremarkable.imaging.read import read_image
from unremarkable.imaging.series import read_series, scan_folder


def main() -> None:
    """Four short tables."""
    chosen = parser(__doc__ or "").parse_args()
    data = data_folder()
    parts = [exact(data), syntaxes(data), volumes(data), bomb(data)]
    publish("readers", "\n\n".join(parts), record=chosen.record)


def exact(data: Path) -> str:
    """Distinct values in the file and after reading."""
    rows = []
    with tempfile.TemporaryDirectory() as work:
        ramp, fine = Path(work) / "ramp.png", Path(work) / "fine.tif"
        Picture.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(ramp)
        tifffile.imwrite(fine, np.linspace(0, 1, 10000, dtype=np.float32).reshape(100, 100))
        for name, path, stored in (
            ("12-bit PNG ramp", ramp, 4096),
            ("float TIFF in [0, 1]", fine, len(np.unique(np.linspace(0, 1, 10000, dtype=np.float32)))),
            ("signed CT slice", None, None),
        ):
            if path is None:
                path = data / "dicom" / "transfer-syntaxes" / "693_UNCI.dcm"
                stored = len(np.unique(pydicom.dcmread(path).pixel_array))
            image = read_image(path)
            rows.append((name, stored, len(np.unique(image.pixels)), image.pixels.dtype))
    return "Exact values:\n\n" + markdown(("file", "distinct values stored", "after reading", "type"), rows)


def syntaxes(data: Path) -> str:
    """How many decode, and the line that each other gives."""
    decoded, lines = 0, []
    files = sorted((data / "dicom" / "transfer-syntaxes").glob("*.dcm"))
    for path in files:
        try:
            read_image(path)
            decoded += 1
        except InputError as error:
            lines.append((path.name, error.reason))
    heading = f"Transfer syntaxes: {decoded} of {len(files)} files decode, {len(lines)} are refused:"
    return f"{heading}\n\n{markdown(('file', 'line'), lines)}"


def volumes(data: Path) -> str:
    """The tilted head CT, and the folder that holds no volume."""
    image = read_series(data / "dicom" / "ct-head-ge")
    tilt = image.metadata["gantry_tilt_degrees"]
    text = f"`ct-head-ge`: one volume {image.pixels.shape}, {image.pixels.dtype}, {image.unit}, tilt {tilt:.2f}°"
    reasons = Counter(group.reason for group in scan_folder(data / "dicom" / "not-a-volume"))
    rows = [(reason, count) for reason, count in reasons.most_common()]
    try:
        find_dataset(data / "dicom" / "not-a-volume")
        said = "accepted"
    except UsageError as error:
        said = str(error).replace(str(data), "")
    return f"{text}\n\n`not-a-volume`: {said}\n\n{markdown(('left out because', 'series or files'), rows)}"


def bomb(data: Path) -> str:
    """A deflated DICOM of 2 MB that inflates to 2 GB."""
    source = pydicom.dcmread(next((data / "dicom" / "ct-head-ge").glob("*.dcm")), stop_before_pixels=True)
    source.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "bomb.dcm"
        source.save_as(path)
        content = path.read_bytes()
        start = content.index(b"DICM") + 4
        header = start + 12 + int.from_bytes(content[start + 8 : start + 12], "little")
        inner = zlib.decompress(content[header:], -15)
        pack = zlib.compressobj(9, zlib.DEFLATED, -15)
        size = 2 * 1024**3
        with path.open("wb") as file:
            file.write(content[:header])
            file.write(pack.compress(inner + b"\xe0\x7f\x10\x00OW\x00\x00" + size.to_bytes(4, "little")))
            for _ in range(2048):
                file.write(pack.compress(bytes(1024**2)))
            file.write(pack.flush())
        stored = path.stat().st_size
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        try:
            read_image(path)
            said = "accepted"
        except InputError as error:
            said = error.reason
        seconds = time.perf_counter() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return (
        f"Deflated DICOM of {stored / 1e6:.1f} MB that inflates to 2 GB: {said} ({seconds:.2f} s, {grown:.0f} MB more)"
    )


if __name__ == "__main__":
    main()
