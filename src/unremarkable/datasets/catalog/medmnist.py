"""MedMNIST: twelve packed sets of 2D images at 28, 64, 128 and 224 pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unremarkable.datasets.case import Case
from unremarkable.datasets.catalog.base import ANY, Counts, Download, Entry, Found
from unremarkable.datasets.catalog.medmnist_files import MD5
from unremarkable.datasets.folders import Labeller
from unremarkable.datasets.npz import read_npz

_RECORD = "https://zenodo.org/records/10519652"
_SIZES = (28, 64, 128, 224)
_MULTI = "findings "  # how read_npz names the classes of multi-label sets


def _reader(name: str, classes: tuple[str, ...], normal: str | None) -> Callable[[Path], Found]:
    def named(finding: str | None) -> str | None:
        if finding is None or finding == "normal":
            return finding
        return "|".join(classes[int(number)] for number in finding.removeprefix(_MULTI).split("+"))

    def read(root: Path) -> Found:
        files = [root] if root.is_file() else sorted(root.glob(f"{name}*.npz"), key=lambda path: (len(path.name), path))
        number = "normal" if normal == "normal" and name == "chestmnist" else str(classes.index(normal or classes[0]))
        found = read_npz(files[0], labeller=Labeller(normal=(number,)))
        cases: list[Case] = [replace(case, finding=named(case.finding)) for case in found.cases]
        if normal is None:
            cases = [replace(case, label=None) for case in cases]
        notes = (f"of {len(files)} files, {files[0].name} is read",) if len(files) > 1 else ()
        return Found(tuple(cases), notes=notes)

    return read


def _entry(
    name: str,
    modality: str,
    counts: tuple[int, int, int],
    classes: tuple[str, ...],
    normal: str | None,
    of: str,
    licence: str = "CC BY 4.0",
    notes: tuple[str, ...] = (),
) -> Entry:
    files = [name if size == 28 else f"{name}_{size}" for size in _SIZES]
    expected: Counts = {(split, ANY): cases for split, cases in zip(("train", "val", "test"), counts, strict=True)}
    return Entry(
        name=name,
        title=name.removesuffix("mnist").capitalize() + "MNIST (MedMNIST v2)",
        modality=modality,
        licence=licence,
        citation=f"Yang et al., Scientific Data 10 (2023) 41; images of {of}",
        homepage=_RECORD,
        access=f"free download: unremarkable data get {name}",
        splits="published arrays train, val, test",
        normal=f"class {normal!r}"
        if normal
        else "no class is normal: the cases have no label; name one yourself (--normal NUMBER on the NPZ)",
        layout=f"{name}.npz, or {name}_64.npz, {name}_128.npz, {name}_224.npz",
        signs=(f"{name}*.npz",),
        reader=_reader(name, classes, normal),
        counts={"MedMNIST v2": expected},
        counted="looked up in the publisher's package, version 3.0.2",
        downloads=tuple(Download(f"{file}.npz", f"{_RECORD}/files/{file}.npz?download=1", MD5[file]) for file in files),
        notes=notes,
    )


_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right",
    "liver", "lung-left", "lung-right", "pancreas", "spleen",
)  # fmt: skip
_TISSUES = (
    "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
    "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
)  # fmt: skip
_FINDINGS = (
    "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia",
    "pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
)  # fmt: skip
_LITS = "LiTS (Bilic et al.)"

ENTRIES = (
    _entry(
        "pathmnist",
        "histology patches, colon",
        (89_996, 10_004, 7_180),
        _TISSUES,
        "normal colon mucosa",
        "Kather et al. 2019",
        notes=("One of nine tissue classes; everything but healthy mucosa, background included, is abnormal.",),
    ),
    _entry(
        "chestmnist",
        "chest radiographs",
        (78_468, 11_219, 22_433),
        _FINDINGS,
        "normal",
        "ChestX-ray14 (Wang et al. 2017)",
        notes=("Normal is an image without any of the 14 findings; several findings are joined by |.",),
    ),
    _entry(
        "dermamnist",
        "dermatoscopy",
        (7_007, 1_003, 2_005),
        (
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        None,
        "HAM10000 (Tschandl et al. 2018)",
        licence="CC BY-NC 4.0",
    ),
    _entry(
        "octmnist",
        "optical coherence tomography, retina",
        (97_477, 10_832, 1_000),
        (
            "choroidal neovascularization",
            "diabetic macular edema",
            "drusen",
            "normal",
        ),
        "normal",
        "Kermany et al. 2018",
    ),
    _entry(
        "pneumoniamnist",
        "chest radiographs of children",
        (4_708, 524, 624),
        (
            "normal",
            "pneumonia",
        ),
        "normal",
        "Kermany et al. 2018",
    ),
    _entry(
        "retinamnist",
        "fundus photographs",
        (1_080, 120, 400),
        (
            "grade 0",
            "grade 1",
            "grade 2",
            "grade 3",
            "grade 4",
        ),
        "grade 0",
        "DeepDRiD (2020)",
        notes=("Grades 0 to 4 of diabetic retinopathy; 0 is no apparent retinopathy.",),
    ),
    _entry(
        "breastmnist",
        "ultrasound, breast",
        (546, 78, 156),
        (
            "malignant",
            "normal, benign",
        ),
        "normal, benign",
        "BUSI (Al-Dhabyani et al. 2020)",
        notes=("The publisher merged normal and benign: benign lesions count as normal here.",),
    ),
    _entry(
        "bloodmnist",
        "light microscopy, blood cells",
        (11_959, 1_712, 3_421),
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        None,
        "Acevedo et al. 2020",
        notes=("All cells are of healthy people.",),
    ),
    _entry(
        "tissuemnist",
        "microscopy, kidney cells",
        (165_466, 23_640, 47_280),
        (
            "Collecting Duct, Connecting Tubule",
            "Distal Convoluted Tubule",
            "Glomerular endothelial cells",
            "Interstitial endothelial cells",
            "Leukocytes",
            "Podocytes",
            "Proximal Tubule Segments",
            "Thick Ascending Limb",
        ),
        None,
        "BBBC051 (Ljosa et al. 2012)",
    ),
    _entry(
        "organamnist",
        "CT, axial crops of organs",
        (34_561, 6_491, 17_778),
        _ORGANS,
        None,
        _LITS,
    ),
    _entry(
        "organcmnist",
        "CT, coronal crops of organs",
        (12_975, 2_392, 8_216),
        _ORGANS,
        None,
        _LITS,
    ),
    _entry(
        "organsmnist",
        "CT, sagittal crops of organs",
        (13_932, 2_452, 8_827),
        _ORGANS,
        None,
        _LITS,
    ),
)
