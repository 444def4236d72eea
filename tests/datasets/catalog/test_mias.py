"""Mini-MIAS: the published coordinates, and the patches cut at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unremarkable.datasets.catalog.mias import breast_centre, read_info
from unremarkable.datasets.catalog.registry import find_entry
from unremarkable.datasets.load import load_case
from unremarkable.errors import UsageError

INFO = """\
REFNUM BG CLASS SEVERITY X Y RADIUS
mdb001 G CIRC B 535 425 197
mdb002 G CIRC B 522 280 69
mdb003 D NORM
mdb005 F CIRC B 477 133 30
mdb005 F CIRC M 1000 1014 26
mdb059 F CIRC B *NOTE 3*
"""


@pytest.fixture
def mias(tree: Any) -> Path:
    """Black films; mdb001 is bright at the published centre, mdb003 in one disc and, less, at a label."""
    files: dict[str, Any] = {"Info.txt": INFO}
    for number in (1, 2, 3, 5, 59):
        film = np.zeros((1024, 1024), np.uint8)
        if number == 1:
            film[1024 - 425, 535] = 250
        if number == 3:
            film[300:500, 600:700] = 200
            film[900:910, 20:60] = 255
        files[f"all-mias/mdb{number:03d}.pgm"] = film
    return Path(tree(files))


def test_y_is_counted_from_the_bottom(mias: Path) -> None:
    dataset = find_entry("mias").read(mias)
    by_name = {Path(case.path).stem: case for case in dataset}
    # centre (535, 425 from the bottom) is row 599 from the top; radius 197
    assert by_name["mdb001"].boxes == ((535 - 197, 599 - 197, 394, 394),)
    # the second circle of mdb005 reaches beyond the right and the upper edge
    assert by_name["mdb005"].boxes == ((447, 861, 60, 60), (974, 0, 50, 36))
    assert by_name["mdb003"].boxes == by_name["mdb059"].boxes == ()
    assert {name: (case.label, case.patient) for name, case in by_name.items()} == {
        "mdb001": (1, "1"), "mdb002": (1, "1"), "mdb003": (0, "2"), "mdb005": (1, "3"), "mdb059": (1, "30"),
    }  # fmt: skip
    assert by_name["mdb005"].extra == {"tissue": "fatty", "severity": "malignant"}


def test_patches(mias: Path) -> None:
    dataset = find_entry("mias-patches").read(mias)
    by_path = {
        case.path.rpartition("/")[2] if "#" not in case.path else Path(case.path.split("#")[0]).stem: []
        for case in dataset
    }
    for case in dataset:
        by_path[Path(case.path.split("#")[0]).stem].append(case)
    assert {name: len(cases) for name, cases in by_path.items()} == {"mdb001": 1, "mdb002": 1, "mdb003": 1, "mdb005": 2}
    patch = load_case(by_path["mdb001"][0])
    assert patch.pixels.shape == (120, 120)
    assert patch.pixels[60, 60] == 250
    assert np.count_nonzero(patch.pixels) == 1
    # the normal patch lies in the breast, not on the label
    assert by_path["mdb003"][0].path.endswith("#window/590,340,120,120")
    assert load_case(by_path["mdb003"][0]).pixels.mean() > 150
    assert "#window/904,0,120,120" in by_path["mdb005"][1].path
    assert dataset.notes == ("1 abnormal images have no published coordinates and give no patch",)
    assert {case.patient for case in by_path["mdb005"]} == {"3"}


def test_the_centre_of_a_blank_film_is_its_middle() -> None:
    assert breast_centre(np.zeros((11, 21), np.uint8)) == (10, 5)


def test_info_without_any_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Info.txt").write_text("nothing here")
    with pytest.raises(UsageError, match="no line is of the form"):
        read_info(tmp_path / "Info.txt")
