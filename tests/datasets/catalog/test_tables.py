"""Sets whose labels, patients and boxes are in the publisher's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unremarkable.datasets.catalog.registry import find_entry
from unremarkable.datasets.load import load_case
from unremarkable.datasets.masks import load_mask
from unremarkable.errors import UsageError


def test_head_ct(tree: Any, read: Any) -> None:
    tree(
        {
            "labels.csv": "id, hemorrhage\n0,1\n1,0\n7,1\n",
            "head_ct/head_ct/000.png": None,
            "head_ct/head_ct/001.png": None,
        }
    )
    found = read("head-ct")
    assert {name: (case.label, case.finding, case.patient) for name, case in found.items()} == {
        "000.png": (1, "hemorrhage", "0"),
        "001.png": (0, "normal", "1"),
    }


def test_head_ct_with_a_strange_row(tree: Any, tmp_path: Path) -> None:
    tree({"labels.csv": "id, hemorrhage\n0,maybe\n", "head_ct/000.png": None})
    with pytest.raises(UsageError, match=r"labels\.csv: row 1: expected a number and 0 or 1"):
        find_entry("head-ct").read(tmp_path)


NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,"
    "Height],OriginalImagePixelSpacing[x,y],\n"
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
    "00000001_001.png,No Finding,1,1,58,M,PA,2682,2749,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,81,F,AP,2500,2048,0.171,0.171,\n"
    "00000003_000.png,Hernia,0,3,70,F,AP,2500,2048,0.171,0.171,\n"
)
BOXES = (
    "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    "00000001_000.png,Cardiomegaly,225.08,547.01,86.77,79.18,,,\n"
    "00000001_000.png,Emphysema,2,1,3,4,,,\n"
)


def test_nih(tree: Any, tmp_path: Path) -> None:
    tree(
        {
            "Data_Entry_2017.csv": NIH,
            "BBox_List_2017.csv": BOXES,
            "train_val_list.txt": "00000001_000.png\n00000001_001.png\n",
            "test_list.txt": "00000002_000.png",
            "images_001/images/00000001_000.png": None,
            "images_001/images/00000001_001.png": None,
            "images_002/images/00000002_000.png": None,
        }
    )
    dataset = find_entry("nih-chestxray14").read(tmp_path)
    assert [(c.label, c.finding, c.split, c.patient) for c in dataset] == [
        (1, "Cardiomegaly|Emphysema", "train", "1"),
        (0, "No Finding", "train", "1"),
        (0, "No Finding", "test", "2"),
    ]
    assert dataset.cases[0].boxes == ((225.08, 547.01, 86.77, 79.18), (2.0, 1.0, 3.0, 4.0))
    assert dataset.cases[2].extra == {"sex": "F", "age": "81", "view": "AP"}
    assert dataset.notes == ("1 of the 4 images that Data_Entry_2017.csv names are not there",)


def test_nih_without_its_lists_has_no_split(tree: Any, tmp_path: Path) -> None:
    tree({"Data_Entry_2017_v2020.csv": NIH, "images/00000003_000.png": None})
    dataset = find_entry("nih-chestxray14").read(tmp_path)
    assert [case.split for case in dataset] == [None]
    assert any("no published split" in note for note in dataset.notes)


def test_mura(tree: Any, read: Any) -> None:
    train = [
        "XR_SHOULDER/patient00001/study1_positive/image1.png",
        "XR_SHOULDER/patient00001/study1_positive/image2.png",
    ]
    train += ["XR_HAND/patient00001/study1_negative/image1.png"]
    valid = ["XR_WRIST/patient11185/study1_negative/image3.png"]
    tree(
        {f"MURA-v1.1/train/{name}": None for name in train}
        | {f"MURA-v1.1/valid/{name}": None for name in valid}
        | {"MURA-v1.1/train_image_paths.csv": "".join(f"MURA-v1.1/train/{name}\n" for name in train)}
        | {"MURA-v1.1/valid_image_paths.csv": "".join(f"MURA-v1.1/valid/{name}\n" for name in valid)}
        | {"MURA-v1.1/train_labeled_studies.csv": "MURA-v1.1/train/XR_SHOULDER/patient00001/study1_positive/,1\n"}
    )
    found = read("mura")
    shoulder = found[f"MURA-v1.1/train/{train[0]}"]
    assert (shoulder.label, shoulder.split, shoulder.patient) == (1, "train", "patient00001")
    assert shoulder.study == found[f"MURA-v1.1/train/{train[1]}"].study == "XR_SHOULDER/patient00001/study1"
    hand = found[f"MURA-v1.1/train/{train[2]}"]
    assert (hand.label, hand.study, hand.extra) == (0, "XR_HAND/patient00001/study1", {"body part": "hand"})
    assert found[f"MURA-v1.1/valid/{valid[0]}"].split == "val"


def test_rsna(tree: Any, read: Any) -> None:
    tree(
        {
            "stage_2_train_labels.csv": "patientId,x,y,width,height,Target\n"
            "a,264.0,152.0,213.0,379.0,1\na,562.0,152.0,256.0,453.0,1\nb,,,,,0\nc,,,,,0\n",
            "stage_2_detailed_class_info.csv": "patientId,class\na,Lung Opacity\na,Lung Opacity\nb,Normal\n"
            "c,No Lung Opacity / Not Normal\n",
            **{f"stage_2_train_images/{name}.dcm": "listed, not opened" for name in "abc"},
            "stage_2_test_images/d.dcm": "no label",
        }
    )
    found = read("rsna-pneumonia")
    assert {name: (case.label, case.finding) for name, case in found.items()} == {
        "a.dcm": (1, "Lung Opacity"),
        "b.dcm": (0, "Normal"),
        "c.dcm": (1, "No Lung Opacity / Not Normal"),
    }
    assert found["a.dcm"].boxes == ((264.0, 152.0, 213.0, 379.0), (562.0, 152.0, 256.0, 453.0))


def test_padchest(tree: Any, read: Any) -> None:
    head = ",ImageID,ImageDir,StudyID,PatientID,Projection,MethodLabel,Labels\n"
    rows = [
        "0,a.png,0,s1,p1,PA,Physician,\"['normal']\"",
        "1,b.png,0,s2,p1,L,RNN_model,\"['cardiomegaly', ' pleural effusion', 'cardiomegaly']\"",
        "2,c.png,1,s3,p2,PA,Physician,\"['unchanged']\"",
        "3,d.png,1,s4,p2,PA,Physician,\"['normal', 'scoliosis']\"",
        "4,e.png,1,s5,p3,PA,Physician,nan",
        "5,f.png,1,s6,p3,PA,Physician,\"['normal', 'unchanged']\"",
    ]
    tree(
        {"PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv": head + "\n".join(rows)}
        | {f"0/{n}.png": None for n in "abcdef"}
    )
    found = read("padchest")
    assert {name: case.label for name, case in found.items()} == {
        "a.png": 0, "b.png": 1, "c.png": None, "d.png": 1, "e.png": None, "f.png": None,
    }  # fmt: skip
    b = found["b.png"]
    assert (b.finding, b.patient, b.study, b.extra["projection"]) == ("cardiomegaly|pleural effusion", "p1", "s2", "L")


def test_bimcv(tree: Any, read: Any) -> None:
    tree(
        {
            "derivatives/labels/labels_covid19_posi.tsv": "\tPatientID\tReportID\tReport\tLabels\n"
            "0\tsub-S1\tses-E1\ttext\t['COVID 19', 'pneumonia']\n1\tsub-S2\tses-E2\ttext\t['normal']\n"
            "2\tsub-S3\tses-E3\ttext\t['scoliosis']\n",
            **{f"sub-S{n}/ses-E{n}/mod-rx/sub-S{n}_ses-E{n}_run-1_bp-chest_vp-pa_dx.png": None for n in (1, 2, 3, 4)},
        }
    )
    found = sorted(read("bimcv-covid19").values(), key=lambda case: case.path)
    assert [(c.label, c.finding, c.patient, c.study) for c in found] == [
        (1, "COVID-19", "S1", "S1/E1"),
        (0, "normal", "S2", "S2/E2"),
        (1, "other", "S3", "S3/E3"),
    ]


def test_covid_chestxray(tree: Any, read: Any) -> None:
    tree(
        {
            "metadata.csv": "patientid,offset,sex,age,finding,view,modality,date,location,folder,filename\n"
            '2,0,M,65,Pneumonia/Viral/COVID-19,PA,X-ray,"January, 2020",Hanoi,images,a.jpg\n'
            "3,,F,40,No Finding,AP,X-ray,,,images,b.png\n4,,,,todo,PA,X-ray,,,images,c.png\n"
            "5,,,,No Finding,Axial,CT,,,volumes,d.nii.gz\n",
            "images/a.jpg": None,
            "images/b.png": None,
            "images/c.png": None,
        }
    )
    found = read("covid-chestxray")
    assert {name: (case.label, case.patient) for name, case in found.items()} == {
        "a.jpg": (1, "2"),
        "b.png": (0, "3"),
        "c.png": (None, "4"),
    }
    assert found["b.png"].extra == {"view": "AP", "sex": "F", "age": "40"}


def test_vindr_physionet(tree: Any, read: Any) -> None:
    boxes = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
    tree(
        {
            "annotations/annotations_train.csv": boxes
            + "a,R1,No finding,,,,\na,R2,No finding,,,,\nb,R1,No finding,,,,\nb,R2,Nodule/Mass,10,20,40,25.5\n"
            "c,R1,No finding,,,,\n",
            "annotations/image_labels_train.csv": "image_id,rad_id,Nodule/Mass,Tuberculosis,No finding\n"
            "a,R1,0,0,1\na,R2,0,0,1\nb,R1,0,0,1\nb,R2,1,0,0\nc,R1,0,1,0\n",
            "annotations/annotations_test.csv": "image_id,class_name,x_min,y_min,x_max,y_max\nd,No finding,,,,\n",
            "annotations/image_labels_test.csv": "image_id,Nodule/Mass,No finding\nd,0,1\n",
            **{f"train/{name}.dicom": "listed, not opened" for name in "abc"},
            "test/d.dicom": "listed, not opened",
        }
    )
    found = read("vindr-cxr")
    assert {name: (case.split, case.label, case.finding) for name, case in found.items()} == {
        "a.dicom": ("train", 0, "No finding"),
        "b.dicom": ("train", 1, "Nodule/Mass"),
        "c.dicom": ("train", 1, "Tuberculosis"),
        "d.dicom": ("test", 0, "No finding"),
    }
    assert found["b.dicom"].boxes == ((10.0, 20.0, 30.0, 5.5),)


def test_vindr_kaggle(tree: Any, read: Any) -> None:
    tree(
        {
            "train.csv": "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
            "a,No finding,14,R1,,,,\nb,Cardiomegaly,3,R2,1.0,2.0,4.0,8.0\n",
            "train/a.dicom": "",
            "train/b.dicom": "",
        }
    )
    found = read("vindr-cxr")
    assert [(case.label, case.boxes) for case in found.values()] == [(0, ()), (1, ((1.0, 2.0, 3.0, 6.0),))]


GRAZ = (
    "filestem,patient_id,study_number,timehash,gender,age,laterality,projection,initial_exam,ao_classification,cast,"
    "diagnosis_uncertain,osteopenia,fracture_visible,metal,pixel_spacing,device_manufacturer\n"
)


def test_grazpedwri_boxes_are_pixels(tree: Any, read: Any) -> None:
    labels = "folder_structure/yolov5/labels"
    tree(
        {
            "dataset.csv": GRAZ + "0001_a,1,1,h,M,14.1,L,1,1,23r-M/2.1,,,,1,,0.144,Siemens\n"
            "0001_b,1,1,h,M,14.1,L,2,1,,,,,,,0.144,Siemens\n0002_a,2,1,h,F,9.0,R,1,1,,1,,,,,0.144,Siemens\n",
            "images_part1/0001_a.png": np.zeros((40, 20), np.uint16),
            "images_part1/0001_b.png": np.zeros((40, 20), np.uint16),
            "images_part2/0002_a.png": np.zeros((40, 20), np.uint16),
            f"{labels}/0001_a.txt": "3 0.5 0.25 0.2 0.1\n8 0.1 0.05 0.1 0.05\n",
            f"{labels}/0001_b.txt": "8 0.1 0.05 0.1 0.05\n",
        }
    )
    found = read("grazpedwri-dx")
    fracture = found["0001_a.png"]
    # centre (10, 10), 4 x 4 pixels of an image 20 wide and 40 high
    assert fracture.boxes == (pytest.approx((8.0, 8.0, 4.0, 4.0)),)
    assert (fracture.finding, fracture.patient, fracture.study) == ("fracture", "1", "1/1")
    assert (found["0001_b.png"].label, found["0001_b.png"].boxes) == (0, ())
    assert (found["0002_a.png"].label, found["0002_a.png"].finding) == (1, "cast")
    mask = load_mask(fracture, load_case(fracture))
    assert mask is not None
    assert mask[8:12, 8:12].all()
    assert mask.sum() == 16


def test_fastmri_plus(tree: Any, read: Any) -> None:
    files = {
        "x": "file_brain_AXT1_201_1",
        "y": "file_brain_AXFLAIR_200_2",
        "z": "file_brain_AXT2_200_3",
        "w": "file_brain_AXT1_9_9",
    }
    tree(
        {
            "Annotations/brain.csv": "file,slice,study_level,x,y,width,height,label\n"
            f"{files['x']},2,No,91,132,7,6,Nonspecific white matter lesion\n{files['x']},2,No,5,6,7,8,Mass\n"
            f"{files['y']},0,Yes,,,,,Normal for age\n{files['z']},0,Yes,,,,,Absent septum pellucidum\n",
            "Annotations/brain_file_list.csv": "\n".join([files["x"], files["y"], files["z"]]),
            **{f"dicom/{file}/{file}_00{n}.dcm": "listed, not opened" for file in files.values() for n in (1, 2)},
        }
    )
    found = read("fastmri-plus-brain")
    assert len(found) == 6
    lesion = found[f"{files['x']}_002.dcm"]
    assert lesion.boxes == ((91.0, 132.0, 7.0, 6.0), (5.0, 6.0, 7.0, 8.0))
    assert (lesion.label, lesion.finding, lesion.patient) == (1, "Nonspecific white matter lesion|Mass", files["x"])
    assert lesion.extra == {"sequence": "AXT1", "slice": 2}
    assert found[f"{files['x']}_001.dcm"].label is None
    assert found[f"{files['y']}_001.dcm"].label == 0
    whole = found[f"{files['z']}_001.dcm"]
    assert (whole.label, whole.extra["study findings"]) == (None, "Absent septum pellucidum")


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("nih-chestxray14", {"Data_Entry_2017.csv": "Image Index,Labels\n"}, "no column 'Finding Labels'"),
        ("nih-chestxray14", {"Data_Entry_2017.csv": b"\xff\xfe\x00bad"}, "cannot be read as a table in UTF-8"),
        ("nih-chestxray14", {"Data_Entry_2017.csv": ""}, "columns: none"),
        ("mura", {"train_image_paths.csv": "what\n", "train/x": "x"}, "row 1: 'what' names no study"),
    ],
)
def test_broken_tables_are_one_line(name: str, files: dict[str, Any], says: str, tree: Any, tmp_path: Path) -> None:
    tree(files)
    with pytest.raises(UsageError, match=says) as error:
        find_entry(name).read(tmp_path)
    assert "\n" not in str(error.value)
