"""find_dataset on the layouts that people have."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from unremarkable.datasets.case import Dataset
from unremarkable.datasets.find import find_dataset
from unremarkable.errors import UsageError

Tree = Callable[[list[str]], Path]


def summary(found: Dataset) -> list[tuple[str, int | None, str | None]]:
    return [(Path(case.path).relative_to(found.root).as_posix(), case.label, case.split) for case in found]


def test_splits_and_classes(make_tree: Tree) -> None:
    root = make_tree(["Training/notumor/a10.png", "Training/notumor/a9.png", "Testing/glioma/b.png"])
    found = find_dataset(root)
    assert found.layout == "folders"
    assert summary(found) == [
        ("Testing/glioma/b.png", 1, "test"),
        ("Training/notumor/a9.png", 0, "train"),
        ("Training/notumor/a10.png", 0, "train"),
    ]
    assert found.cases[0].finding == "glioma"


def test_masks_are_attached_and_never_images(make_tree: Tree) -> None:
    root = make_tree(
        ["benign/images/b (1).png", "benign/masks/b (1)_mask.png", "benign/masks/b (1)_mask_1.png",
         "normal/images/n (1).png", "benign/masks/gone_mask.png"]
    )  # fmt: skip
    found = find_dataset(root)
    assert [len(case.masks) for case in found] == [2, 0]
    assert found.cases[0].masks[0].endswith("b (1)_mask.png")
    assert found.skipped == (
        (str(root / "benign/masks/gone_mask.png"), "looks like a mask, and no image has its name"),
    )


def test_masks_beside_their_images(make_tree: Tree) -> None:
    found = find_dataset(make_tree(["lesion/a.png", "lesion/a_mask.png", "normal/b.png"]))
    assert len(found) == 2
    assert [Path(mask).name for mask in found.cases[0].masks] == ["a_mask.png"]


def test_mvtec_layout(make_tree: Tree) -> None:
    root = make_tree(
        ["train/good/000.png", "test/good/000.png", "test/crack/000.png", "ground_truth/crack/000_mask.png"]
    )
    found = find_dataset(root)
    assert Counter((case.split, case.label, len(case.masks)) for case in found) == {
        ("train", 0, 0): 1,
        ("test", 0, 0): 1,
        ("test", 1, 1): 1,
    }


def test_bmad_layout(make_tree: Tree) -> None:
    root = make_tree(["train/good/a.png", "test/Ungood/img/b.png", "test/Ungood/label/b.png", "valid/good/img/c.png"])
    found = find_dataset(root)
    assert [(case.split, case.label, len(case.masks)) for case in found] == [
        ("test", 1, 1),
        ("train", 0, 0),
        ("val", 0, 0),
    ]


def test_yes_and_no(make_tree: Tree) -> None:
    assert [case.label for case in find_dataset(make_tree(["no/a.png", "yes/b.png"]))] == [0, 1]


def test_a_plain_folder_has_no_labels(make_tree: Tree) -> None:
    root = make_tree(["img2.png", "img10.jpg", "notes.txt", ".hidden.png", "Thumbs.db", "__MACOSX/img2.png"])
    found = find_dataset(root)
    assert found.layout == "files"
    assert summary(found) == [("img2.png", None, None), ("img10.jpg", None, None)]
    assert [Path(path).name for path, _ in found.skipped] == ["notes.txt"]


def test_only_normals(make_tree: Tree) -> None:
    assert [case.label for case in find_dataset(make_tree(["train/good/a.png"]))] == [0]


def test_patient_folders_below_a_folder_called_normal(make_tree: Tree) -> None:
    root = make_tree(["normal/p1/a.png", "normal/p2/a.png"]) / "normal"
    assert [case.label for case in find_dataset(root)] == [None, None]


def test_a_link_to_a_folder_above_ends(make_tree: Tree) -> None:
    root = make_tree(["normal/a.png", "sick/b.png"])
    (root / "sick" / "again").symlink_to(root)
    assert len(find_dataset(root)) == 2


def test_content_decides_and_not_the_suffix(make_tree: Tree) -> None:
    root = make_tree(["a.png", "text.txt"])
    (root / "fake.png").write_text("this is no image at all")
    (root / "text.txt").write_bytes((root / "a.png").read_bytes())
    found = find_dataset(root)
    assert [Path(case.path).name for case in found] == ["a.png", "text.txt"]
    assert Path(found.skipped[0][0]).name == "fake.png"


def test_unknown_classes(make_tree: Tree) -> None:
    root = make_tree(["glioma/a.png", "other/b.png"])
    with pytest.raises(UsageError, match=r"glioma, other.*--normal NAME"):
        find_dataset(root)
    assert [case.label for case in find_dataset(root, need_labels=False)] == [None, None]
    assert [case.label for case in find_dataset(root, normal=["other"])] == [1, 0]


def test_abnormal_flag_leaves_the_rest_out(make_tree: Tree) -> None:
    root = make_tree(["normal/a.png", "benign/b.png", "malignant/c.png"])
    found = find_dataset(root, abnormal=["malignant"])
    assert [(case.finding, case.label) for case in found] == [("malignant", 1), ("normal", 0)]
    assert "benign" in found.skipped[0][0]


def test_lists_and_single_files(make_tree: Tree) -> None:
    root = make_tree(["a.png", "b.png", "c/d.png", "notes.txt"])
    assert len(find_dataset(root / "a.png")) == 1
    found = find_dataset([root / "a.png", root / "c", root / "notes.txt", root / "a.png"])
    assert [Path(case.path).name for case in found] == ["a.png", "d.png"]
    assert [Path(path).name for path, _ in found.skipped] == ["notes.txt"]
    with pytest.raises(UsageError, match=r"notes\.txt: is not an image"):
        find_dataset(root / "notes.txt")


def test_patient_pattern(make_tree: Tree) -> None:
    root = make_tree(["normal/p7_a.png", "normal/p7_b.png", "normal/odd.png"])
    found = find_dataset(root, patient_pattern=r"(p\d+)_")
    assert [case.patient for case in found] == [None, "p7", "p7"]
    assert "2 of 3" in found.notes[0]
    with pytest.raises(UsageError, match="no regular expression"):
        find_dataset(root, patient_pattern="(")


@pytest.mark.parametrize(("names", "line"), [([], "is empty"), (["a.txt", "b.csv", "c.txt"], r"2 \.txt, 1 \.csv")])
def test_folders_without_images(make_tree: Tree, names: list[str], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        find_dataset(make_tree(names))


def test_a_wrong_path_names_the_nearest(make_tree: Tree) -> None:
    root = make_tree(["scans/normal/a.png"])
    with pytest.raises(UsageError, match=r"no such file or folder; did you mean .*scans\?"):
        find_dataset(root / "scan" / "normal")


def test_a_folder_with_one_manifest_points_at_it(make_tree: Tree) -> None:
    with pytest.raises(UsageError, match=r"name it: .*cases\.csv"):
        find_dataset(make_tree(["cases.csv"]))
