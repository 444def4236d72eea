"""Manifests, there and back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.folders import Labeller
from unremarkable.datasets.manifest import read_manifest, write_manifest
from unremarkable.errors import UsageError

Tree = Callable[[list[str]], Path]


@pytest.fixture
def root(make_tree: Tree) -> Path:
    return make_tree(["img/a.png", "img/b.png", "img/a_mask.png"])


def write(root: Path, text: str, name: str = "cases.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_every_column(root: Path) -> None:
    path = write(
        root,
        "\ufeffPath,Label,split,patient,study,mask,boxes,age,site\n"
        'img/a.png,1,Testing,007,s1,img/a_mask.png,"[[1, 2, 3, 4]]",61,A\n'
        "img/b.png,0,train,008,s2,,,,B\n"
        "img/gone.png,0,train,009,s3,,,,B\n",
    )
    found = find_dataset(path)
    first, second = found.cases
    assert found.layout == "manifest"
    assert (first.label, first.split, first.patient, first.study) == (1, "test", "007", "s1")
    assert first.masks == (str(root / "img/a_mask.png"),)
    assert first.boxes == ((1.0, 2.0, 3.0, 4.0),)
    assert first.extra == {"age": 61, "site": "A"}
    assert (second.extra, second.masks, second.boxes) == ({"site": "B"}, (), ())
    assert found.skipped == ((str(root / "img/gone.png"), "row 3: no such file"),)


@pytest.mark.parametrize(
    ("cells", "labels", "findings"),
    [
        (("0", "1"), (0, 1), (None, None)),
        (("0.0", ""), (0, None), (None, None)),
        (("normal", "Abnormal"), (0, 1), (None, None)),
        (("NORMAL", "glioma"), (0, 1), ("NORMAL", "glioma")),
        (("True", "False"), (1, 0), (None, None)),
        (("abnormal", "abnormal"), (1, 1), (None, None)),
    ],
)
def test_labels(root: Path, cells: tuple[str, str], labels: tuple[int, int], findings: tuple[str, str]) -> None:
    found = read_manifest(write(root, f"path,label\nimg/a.png,{cells[0]}\nimg/b.png,{cells[1]}\n"))
    assert tuple(case.label for case in found) == labels
    assert tuple(case.finding for case in found) == findings


def test_class_numbers_with_a_flag(root: Path) -> None:
    path = write(root, "path,label\nimg/a.png,3\nimg/b.png,0\n")
    with pytest.raises(UsageError, match=r"row 1: label '3' is neither 0 \(normal\) nor 1"):
        read_manifest(path)
    assert [case.label for case in read_manifest(path, labeller=Labeller(normal=("3",)))] == [0, 1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("path,label\nimg/a.png,0\nimg/b.png,unknown\n", "row 2"),
        ("path,label\nimg/a.png,glioma\nimg/b.png,pituitary\n", "--normal NAME"),
        ("path,split\nimg/a.png,later\n", "row 1: split 'later'"),
        ("path,boxes\nimg/a.png,1 2 3\n", "row 1: boxes"),
        ("path,boxes\nimg/a.png,1 2 0 4\n", "not positive"),
        ("path,mask\nimg/a.png,[broken\n", "row 1: .*JSON"),
        ("path,label\nimg/a.png\n", "row 1: 1 cells under 2 columns"),
        ("file,label\nimg/a.png,0\n", "no column 'path'.*file, label"),
        ("path,path\na,b\n", "there twice"),
        ("path,label\n,0\n", "row 1: the path is empty"),
        ("path\n", "no rows"),
        ("", "no rows"),
        ("path\nnowhere.png\n", "none of the 1 rows.*no such file"),
    ],
)
def test_faults_are_one_line(root: Path, text: str, line: str) -> None:
    with pytest.raises(UsageError, match=line) as error:
        read_manifest(write(root, text))
    assert "\n" not in str(error.value)


def test_other_names_delimiters_and_boxes(root: Path) -> None:
    path = write(root, "file;boxes\nimg/a.png;1 2 3 4\n")
    found = read_manifest(path, columns={"path": "file"})
    assert found.cases[0].boxes == ((1, 2, 3, 4),)
    found = read_manifest(write(root, "path\tboxes\nimg/a.png\t1,2,3,4; 5 6 7 8\n", "cases.tsv"))
    assert found.cases[0].boxes == ((1, 2, 3, 4), (5, 6, 7, 8))
    with pytest.raises(UsageError, match="did you mean 'file'"):
        read_manifest(path, columns={"path": "fil"})


def test_a_repeated_path_and_a_missing_mask_are_left_out(root: Path) -> None:
    found = read_manifest(write(root, "path,mask\nimg/a.png,\nimg/../img/a.png,\nimg/b.png,x.png\n"))
    assert len(found) == 1
    assert "same file as row 1" in found.skipped[0][1]
    assert "no mask file" in found.skipped[1][1]


def test_not_text(root: Path) -> None:
    (root / "cases.csv").write_bytes(b"path\n\xff\xfe\x00bad\n")
    with pytest.raises(UsageError, match="UTF-8"):
        read_manifest(root / "cases.csv")
    (root / "cases.parquet").write_bytes(b"not parquet")
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        read_manifest(root / "cases.parquet")


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.parquet", "deeper/out.csv"])
def test_written_and_read_again(root: Path, name: str) -> None:
    cases = (
        Case(str(root / "img/a.png"), 1, "glioma; with, \"marks\"", "test", "007", "s", (str(root / "img/a_mask.png"),),
             ((1.5, 2, 3, 4), (5, 6, 7, 8)), {"age": 61, "site": "A", "weight": 70.5}),
        Case(str(root / "img/b.png"), None, None, "train", "008"),
    )  # fmt: skip
    write_manifest(Dataset("x", root, cases, "files"), root / name)
    again = read_manifest(root / name)
    assert again.cases == cases
    assert [p for p in (root / name).parent.iterdir() if p.name.endswith(".part")] == []


def test_unwritable(root: Path) -> None:
    with pytest.raises(UsageError, match="manifest suffix"):
        write_manifest([], root / "out.xlsx")
    with pytest.raises(UsageError, match="cannot be written"):
        write_manifest([], root / "img/a.png/out.csv")
