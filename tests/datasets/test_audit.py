"""The audit: copies, leaks, broken files and shortcuts, checked against what was planted."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import zoom
from sklearn.metrics import roc_auc_score

from unremarkable.datasets.audit import Audit, audit, auroc
from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.descriptors import describe, look, outlines
from unremarkable.datasets.duplicates import exact_groups, near_groups
from unremarkable.datasets.find import find_dataset
from unremarkable.errors import InputError
from unremarkable.imaging.image import Image as ReadImage


def picture(seed: int, size: int = 96) -> np.ndarray:
    """A different smooth picture with edges for each seed."""
    rng = np.random.default_rng(seed)
    return np.clip(zoom(rng.uniform(20, 230, (12, 12)), size / 12, order=1), 0, 255)


def save(path: Path, pixels: np.ndarray, **options: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.round().astype(np.uint8)).save(path, **options)
    return str(path)


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Twenty pictures; 0 copied into the test set; 1 there brighter, resized, as JPEG; 2 under both labels."""
    for n in range(10):
        save(tmp_path / f"train/normal/{n}.png", picture(n))
        save(tmp_path / f"test/sick/{n}.png", picture(100 + n))
    (tmp_path / "test/normal").mkdir()
    (tmp_path / "test/normal/copy.png").write_bytes((tmp_path / "train/normal/0.png").read_bytes())
    save(tmp_path / "test/normal/near.jpg", zoom(255 * (picture(1) / 255) ** 0.8, 0.8, order=1), quality=60)
    (tmp_path / "test/sick/copy.png").write_bytes((tmp_path / "train/normal/2.png").read_bytes())
    (tmp_path / "test/sick/broken.png").write_bytes((tmp_path / "train/normal/3.png").read_bytes()[:200])
    (tmp_path / "readme.txt").write_text("text")
    return tmp_path


@pytest.fixture
def found(leaky: Path) -> Audit:
    return audit(find_dataset(leaky))


def names(group: object) -> list[str]:
    return sorted("/".join(Path(path).parts[-2:]) for path in group.paths)  # type: ignore[attr-defined]


def test_exact_copies(found: Audit) -> None:
    assert sorted(names(group) for group in found.exact) == [
        ["normal/0.png", "normal/copy.png"],
        ["normal/2.png", "sick/copy.png"],
    ]
    assert all(group.across_splits for group in found.exact)
    assert [group.across_labels for group in found.exact].count(True) == 1


def test_near_copies_and_nothing_else(found: Audit) -> None:
    assert [names(group) for group in found.near] == [["normal/1.png", "normal/near.jpg"]]
    assert found.near[0].across_splits
    assert not found.near[0].across_labels


def test_what_cannot_be_read(found: Audit) -> None:
    assert [Path(path).name for path, _ in found.unreadable] == ["broken.png"]
    assert [Path(path).name for path, _ in found.skipped] == ["readme.txt"]
    assert found.cases == 24


def test_rows_and_words(found: Audit) -> None:
    assert [(row.split, row.label, row.finding, row.cases) for row in found.rows] == [
        ("train", "normal", "normal", 10),
        ("test", "normal", "normal", 2),
        ("test", "abnormal", "sick", 11),
    ]
    assert found.rows[1].file_types == {"PNG": 1, "JPEG": 1}
    assert found.rows[0].sizes == {"96×96": 10}
    warnings = "\n".join(found.warnings)
    assert "1 of 24 cases cannot be read" in warnings
    assert "2 groups of byte-identical files span splits" in warnings
    assert "1 groups of byte-identical files are labelled normal in one place and abnormal in another" in warnings
    assert "1 groups of near-identical images span splits" in warnings
    assert any("broken.png" in line for line in found.lines())
    assert json.loads(json.dumps(found.to_dict()))["warnings"] == list(found.warnings)


def shortcut_set(tmp_path: Path, brighter: float) -> Dataset:
    for n in range(30):
        save(tmp_path / f"normal/{n}.png", picture(n, 48) * 0.7)
        save(tmp_path / f"sick/{n}.png", picture(500 + n, 48) * 0.7 + brighter)
    return find_dataset(tmp_path)


def test_a_shortcut_is_found_and_its_absence_too(tmp_path: Path) -> None:
    fair = audit(shortcut_set(tmp_path / "fair", 0))
    assert max(fair.shortcuts.values()) < 0.75
    assert not any("shortcut" in line for line in fair.warnings)
    unfair = audit(shortcut_set(tmp_path / "unfair", 60))
    assert unfair.shortcuts["mean"] > 0.95
    assert unfair.shortcut_scope == "all"
    assert any("mean 1.00" in line or "mean 0.9" in line for line in unfair.warnings)


def test_names_are_shortcuts_too(tmp_path: Path) -> None:
    for n in range(6):
        save(tmp_path / f"normal/{n}.png", picture(n, 32))
        save(tmp_path / f"sick/{n}.jpg", np.stack([picture(50 + n, 32)] * 3, axis=-1))
    found = audit(find_dataset(tmp_path))
    assert found.shortcuts["file_type"] == found.shortcuts["colour"] == 1.0
    assert "jpeg_tables" not in found.shortcuts


def test_one_label_or_nothing_readable(tmp_path: Path) -> None:
    save(tmp_path / "a" / "a.png", picture(0))
    assert audit(find_dataset(tmp_path / "a")).shortcuts == {}
    gone = audit(Dataset("x", tmp_path, (Case(str(tmp_path / "no.png")),), "files"))
    assert (gone.exact, gone.near, gone.rows, len(gone.unreadable)) == ((), (), (), 1)


def test_patients_across_splits(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture(0))
    cases = [Case(path, split=split, patient=p) for split, p in (("train", "1"), ("test", "1"), ("train", "2"))]
    found = audit(Dataset("x", tmp_path, tuple(cases), "manifest"))
    assert found.patients_across_splits == {"1": ("test", "train")}
    assert "1 patients span splits" in found.warnings


def test_auroc_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, labels = rng.integers(0, 6, 40), rng.integers(0, 2, 40)
        expected = roc_auc_score(labels, scores)
        assert auroc(scores, labels) == pytest.approx(max(expected, 1 - expected))


def test_descriptors_of_a_known_image(tmp_path: Path) -> None:
    pixels = np.full((64, 32), 100.0)
    pixels[1:-1, 1:-1] = 50
    seen = look(Case(save(tmp_path / "a.png", pixels)))
    assert not isinstance(seen, InputError)
    values = seen.values
    assert (values["width"], values["height"], values["aspect"], values["bits"]) == (32, 64, 0.5, 8)
    assert values["border"] == pytest.approx(100)
    assert values["mean"] == pytest.approx(pixels.mean())
    assert values["std"] == pytest.approx(pixels.std(), rel=1e-5)
    assert values["file_size"] == (tmp_path / "a.png").stat().st_size
    assert (values["colour"], values["file_type"], values["jpeg_tables"]) == ("grey", "PNG", None)


def test_colour_modes_and_jpeg_tables(tmp_path: Path) -> None:
    grey = picture(0, 32)
    tinted = np.stack([grey, grey, np.clip(grey - 40, 0, 255)], axis=-1)
    looks = [look(Case(save(tmp_path / f"{n}.jpg", pixels, quality=q)))
             for n, (pixels, q) in enumerate([(np.stack([grey] * 3, -1), 90), (tinted, 30)])]  # fmt: skip
    values = [seen.values for seen in looks if not isinstance(seen, InputError)]
    assert [v["colour"] for v in values] == ["grey stored as colour", "colour"]
    assert values[0]["jpeg_tables"] < values[1]["jpeg_tables"]


def test_one_pixel_and_nan(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.array([[3.0]], np.float32))
    case = Case(str(tmp_path / "one.npy"))
    broken = np.ones((8, 8), np.float32)
    broken[2, 2] = np.nan
    for seen in (look(case), describe(case, ReadImage(broken, "HW", "memory"))):
        assert not isinstance(seen, InputError)
        assert np.isfinite([seen.values[name] for name in ("mean", "std", "border")]).all()
        assert np.isfinite(seen.thumbnail).all()


def test_blank_images_are_not_near_copies() -> None:
    thumbnails = np.stack([np.full((32, 32), value, np.float32) for value in (0, 7, 3000)])
    vectors = outlines(thumbnails)
    assert not vectors.any()
    cases = [Case(f"{n}") for n in range(3)]
    assert near_groups(cases, ["a", "b", "c"], vectors) == ()


def test_groups_are_connected_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain in which neighbours alone look alike is one group; the block size changes nothing."""
    angles = np.deg2rad([0, 15, 30, 90, 105, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    cases = [Case(f"{n}") for n in range(6)]
    digests = list("abcdef")
    expected = [("0", "1", "2"), ("3", "4")]
    for block in (1, 2, 1024):
        monkeypatch.setattr("unremarkable.datasets.duplicates._BLOCK", block)
        assert [group.paths for group in near_groups(cases, digests, vectors)] == expected
    # Byte-identical files alone are no near group, but come along in one.
    digests = ["a", "a", "c", "d", "e", "f"]
    vectors[1] = vectors[0]
    assert [group.paths for group in near_groups(cases, digests, vectors, same=0.99)] == []
    assert near_groups(cases, digests, vectors, same=0.85)[0].paths == ("0", "1", "2")
    assert [group.paths for group in exact_groups(cases, digests)] == [("0", "1")]
