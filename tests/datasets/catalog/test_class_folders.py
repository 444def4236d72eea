"""Sets whose labels are the names of their folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unremarkable.datasets.catalog.registry import find_entry
from unremarkable.datasets.find import find_dataset
from unremarkable.errors import UsageError


def test_oct_splits_labels_and_patients(tree: Any, read: Any) -> None:
    tree(
        {
            f"OCT2017/{split}/{name}/{name}-{number}-1.jpeg": None
            for split, number in (("train", 1016042), ("test", 53018), ("val", 77))
            for name in ("NORMAL", "CNV", "DME", "DRUSEN")
        }
        | {"__MACOSX/OCT2017/train/NORMAL/._NORMAL-1-1.jpeg": "x"}
    )
    found = read("kermany-oct")
    assert Counter((case.split, case.label) for case in found.values()) == {
        (split, label): 1 if label == 0 else 3 for split in ("train", "val", "test") for label in (0, 1)
    }
    drusen = found["DRUSEN-53018-1.jpeg"]
    assert (drusen.finding, drusen.split, drusen.patient) == ("DRUSEN", "test", "53018")


def test_chest_xray_does_not_read_the_copy_inside_the_download(tree: Any, read: Any) -> None:
    files = [
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-1427-0001.jpeg",
        "test/NORMAL/IM-0011-0001.jpeg",
    ]
    files += ["train/PNEUMONIA/person12_bacteria_46.jpeg", "train/PNEUMONIA/person12_bacteria_47.jpeg"]
    files += ["test/PNEUMONIA/person12_virus_1.jpeg", "val/NORMAL/NORMAL2-IM-1431-0001.jpeg"]
    tree({f"{root}{file}": None for file in files for root in ("chest_xray/", "chest_xray/chest_xray/")})
    found = read("kermany-chest-xray")
    assert len(found) == len(files)
    patients = {name: case.patient for name, case in found.items()}
    assert patients["person12_bacteria_46.jpeg"] == patients["person12_bacteria_47.jpeg"] == "train/person12"
    assert patients["person12_virus_1.jpeg"] == "test/person12"
    assert patients["NORMAL2-IM-1427-0001.jpeg"] == "train/NORMAL2-IM-1427"
    assert found["NORMAL2-IM-1431-0001.jpeg"].split == "val"


def test_brain_tumour_and_covid(tree: Any, tmp_path: Path) -> None:
    tree(
        {f"a/{split}/{n}/x.jpg": None for split in ("Training", "Testing") for n in ("notumor", "glioma", "pituitary")}
    )
    tree({f"b/{split}/{name}/x.jpg": None for split in ("train", "test") for name in ("Normal", "Covid")})
    brain = find_entry("brain-tumor-mri").read(tmp_path / "a")
    assert Counter((case.split, case.finding, case.label) for case in brain) == {
        (split, name, int(name != "notumor")): 1
        for split in ("train", "test")
        for name in ("notumor", "glioma", "pituitary")
    }
    covid = find_entry("covid19-xray").read(tmp_path / "b")
    assert Counter((case.split, case.label) for case in covid) == {
        (s, label): 1 for s in ("train", "test") for label in (0, 1)
    }


def test_brain_mri_253_is_read_once(tree: Any, read: Any) -> None:
    tree(
        {f"{root}{name}.jpg": None for root in ("", "brain_tumor_dataset/") for name in ("yes/Y1", "yes/Y2", "no/1 no")}
    )
    found = read("brain-mri-253")
    assert {name: case.label for name, case in found.items()} == {"Y1.jpg": 1, "Y2.jpg": 1, "1 no.jpg": 0}


def test_br35h_leaves_out_what_has_no_label(tree: Any, tmp_path: Path) -> None:
    tree({"yes/y0.jpg": None, "no/no0.jpg": None, "pred/pred0.jpg": None, "pred/pred1.jpg": None})
    found = find_entry("br35h").read(tmp_path)
    assert [(case.finding, case.label) for case in found] == [("no", 0), ("yes", 1)]
    assert found.notes == ("2 images in pred have no label and are left out",)


def test_busi_masks(tree: Any, read: Any) -> None:
    tree(
        {
            f"Dataset_BUSI_with_GT/{name}/{name} (1){end}.png": None
            for name in ("normal", "benign", "malignant")
            for end in ("", "_mask")
        }
        | {"Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png": None}
    )
    found = read("busi")
    assert {name: (case.label, len(case.masks)) for name, case in found.items()} == {
        "normal (1).png": (0, 1),
        "benign (1).png": (1, 2),
        "malignant (1).png": (1, 1),
    }


def test_bmad(tree: Any, read: Any) -> None:
    files = {"train/good/img/00003_60.png": None, "valid/good/img/00025_99.png": None}
    files |= {
        f"{split}/Ungood/{kind}/0012{n}_70.png": None
        for split, n in (("valid", 4), ("test", 5))
        for kind in ("img", "label")
    }
    tree(files | {"test/good/img/00000_96.png": None, "test/good/img/00000_97.png": None})
    found = read("bmad")
    assert {name: (case.split, case.label, case.patient, len(case.masks)) for name, case in found.items()} == {
        "00003_60.png": ("train", 0, "00003", 0),
        "00025_99.png": ("val", 0, "00025", 0),
        "00124_70.png": ("val", 1, "00124", 1),
        "00125_70.png": ("test", 1, "00125", 1),
        "00000_96.png": ("test", 0, "00000", 0),
        "00000_97.png": ("test", 0, "00000", 0),
    }


def test_lgg_is_labelled_by_its_masks(tree: Any, read: Any) -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 255, (8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    marked = mask.copy()
    marked[2:4, 3:5] = 255
    stem = "kaggle_3m/TCGA_CS_4941_19960909/TCGA_CS_4941_19960909"
    tree({f"{stem}_1.tif": image, f"{stem}_1_mask.tif": mask, f"{stem}_2.tif": image, f"{stem}_2_mask.tif": marked})
    found = read("lgg")
    assert [(case.label, case.patient, len(case.masks)) for case in found.values()] == [
        (0, "TCGA_CS_4941", 0),
        (1, "TCGA_CS_4941", 1),
    ]


def test_cnmc_folds_patients_and_the_labelled_test_set(tree: Any, read: Any) -> None:
    root = "C-NMC_Leukemia"
    key = "Patient_ID,new_names,labels\nUID_57_29_1_all.bmp,1.bmp,1\nUID_H49_8_1_hem.bmp,2.bmp,0\n"
    prelim = f"{root}/validation_data/C-NMC_test_prelim_phase_data"
    tree(
        {f"{root}/training_data/fold_{n}/all/UID_{n}1_10_1_all.bmp": None for n in range(3)}
        | {f"{root}/training_data/fold_{n}/hem/UID_H{n}1_8_1_hem.bmp": None for n in range(3)}
        | {f"{prelim}_labels.csv": key, f"{prelim}/1.bmp": None, f"{prelim}/2.bmp": None}
        | {f"{root}/testing_data/C-NMC_test_final_phase_data/1.bmp": None}
    )
    found = read("cnmc-leukemia")
    assert len(found) == 8
    hem = found["UID_H21_8_1_hem.bmp"]
    assert (hem.label, hem.split, hem.patient, hem.extra) == (0, "train", "H21", {"fold": "fold_2"})
    assert (found["1.bmp"].label, found["1.bmp"].split, found["1.bmp"].patient) == (1, "test", "57")
    assert (found["2.bmp"].label, found["2.bmp"].finding, found["2.bmp"].patient) == (0, "hem", "H49")


@pytest.mark.parametrize("name", ["kermany-oct", "busi", "mura", "pneumoniamnist"])
def test_another_folder_is_refused_in_one_line(name: str, tree: Any, tmp_path: Path) -> None:
    tree({"something/else.png": None})
    with pytest.raises(UsageError, match=f"not laid out as {name}: expected ") as error:
        find_dataset(f"{name}:{tmp_path}")
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=f"no such folder; {name} is at http"):
        find_dataset(f"{name}:{tmp_path}/gone")


def test_a_set_without_its_images_says_so(tree: Any, tmp_path: Path) -> None:
    tree({"train_image_paths.csv": "MURA-v1.1/train/XR_HAND/patient1/study1_negative/image1.png\n", "train/x": "x"})
    with pytest.raises(UsageError, match="laid out as mura, but none of its images are there"):
        find_entry("mura").read(tmp_path)
