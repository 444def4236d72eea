"""Folder names and what they mean."""

import pytest

from unremarkable.datasets.folders import (
    Labeller,
    class_position,
    image_stem,
    is_normal_name,
    masked_stem,
    natural_key,
    place,
    split_of,
)
from unremarkable.errors import UsageError


@pytest.mark.parametrize(
    ("name", "split"),
    [("Training", "train"), ("tr", "train"), ("TEST", "test"), ("ts", "test"), ("valid", "val"), ("dev", "val"),
     ("Validation", "val"), ("normal", None), ("trainer", None)],
)  # fmt: skip
def test_split_names(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize("name", ["NORMAL", "Normals", "good", "notumor", "no_tumor", "No Tumor", "healthy", "control"])
def test_normal_names(name: str) -> None:
    assert is_normal_name(name)


@pytest.mark.parametrize("name", ["benign", "abnormal", "yes", "1", "tumor", "", "no", "0"])
def test_names_that_do_not_say_normal_by_themselves(name: str) -> None:
    assert not is_normal_name(name)


def test_no_and_zero_are_normal_beside_their_opposites() -> None:
    assert is_normal_name("no", ["yes", "no"])
    assert is_normal_name("0", ["0", "1"])
    assert not is_normal_name("0", ["0", "left"])


def test_natural_order() -> None:
    names = ["b10.png", "b9.png", "B1.png", "a.png", "b09.png"]
    assert sorted(names, key=natural_key) == ["a.png", "B1.png", "b09.png", "b9.png", "b10.png"]


def test_stems_and_masks() -> None:
    assert image_stem("scan.NII.gz") == "scan"
    assert image_stem("a.b.png") == "a.b"
    assert image_stem("IM0001") == "IM0001"
    assert masked_stem("benign (4)_mask_1") == "benign (4)"
    assert masked_stem("000_mask") == "000"
    assert masked_stem("masked") is None


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["train/NORMAL", "train/PNEUMONIA"], ["NORMAL", "PNEUMONIA"]),
        (["normal/images", "benign/images"], ["normal", "benign"]),
        (["normal/train/p1", "sick/train/p2"], ["normal", "sick"]),
        (["bottle/train/good", "bottle/test/broken"], ["good", "broken"]),
        (["hospital/healthy/p1", "hospital/ill/p2"], ["healthy", "ill"]),
        (["test/good/img", "test/Ungood/img"], ["good", "Ungood"]),
    ],
)
def test_where_the_class_stands(paths: list[str], names: list[str]) -> None:
    places = [place(tuple(path.split("/"))) for path in paths]
    position = class_position(places, Labeller())
    assert position is not None
    assert [p.name_at(position) for p in places] == names


def test_flags_replace_recognised_names() -> None:
    assert Labeller(normal=("benign",)).labels(["benign", "normal"], "x") == {"benign": 0, "normal": 1}
    assert Labeller(abnormal=("malignant",)).labels(["normal", "benign", "malignant"], "x") == {
        "normal": 0,
        "benign": None,
        "malignant": 1,
    }
    assert Labeller(normal=("*",)).labels(["p1", "p2"], "x") == {"p1": 0, "p2": 0}


def test_no_normal_class_is_one_line_with_the_classes_and_the_flag() -> None:
    with pytest.raises(UsageError, match=r"glioma, pituitary.*--normal NAME"):
        Labeller().labels(["pituitary", "glioma"], "x")
    with pytest.raises(UsageError, match=r"no class matches --normal 'healty'; classes: ill, well"):
        Labeller(normal=("healty",)).labels(["well", "ill"], "x")
