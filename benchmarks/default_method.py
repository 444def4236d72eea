"""Which method should `Detector()` be? A choice among methods and their ensembles that sees no test image at all.

From the normals that a data set's own split gives to learn from, some are held out, and four kinds of anomaly are made
of them: `planted` (a lesion-like ellipse: foreign tissue, brighter or darker, smoothed), `haze` (a large cloudy field),
`swelling` (a local enlargement), and `mode`, which is not made but found: the images are grouped by k-means over small
copies of them, and the smallest group is kept from the training and has to be told from the rest.
Every candidate is fitted on the others, and ranked by AUROC within each data set and kind; the best mean rank wins.
An ensemble's members are brought to one scale by their calibration normals, as `unremarkable ensemble` does.

python benchmarks/default_method.py [--data covid19-xray …] [--keep FOLDER] [--record]

With --keep, what a candidate said is kept there, and a run that was ended goes on. With --record the table also takes
its place in docs/default-method.md.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score

from record import ROOT, data_folder, markdown, parser, publish
from unremarkable.benchmark.matrix import MethodEntry, parse_methods
from unremarkable.benchmark.protocol import Protocol, apply_protocol
from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import stream
from unremarkable.detector import Detector
from unremarkable.errors import InputError
from unremarkable.methods.combining import Scale, combine
from unremarkable.methods.planting import plant
from unremarkable.scoring.scorer import BATCH, Predictor

#: and how a set without a split of its own is divided
SETS = {
    "chest-xray-pneumonia": "published",
    "brain-tumor-mri": "published",
    "covid19-xray": "published",
    "busi": "one-class:60",
}
#: one of each family that needs no training by gradients, as its page has it; ensembles are made of these
MEMBERS = ("knn", "mahalanobis", "padim", "patchcore", "classical")
#: settings of single methods that stand for election besides
VARIANTS = ("knn[grid=1]", "knn[grid=4]", "knn[grid=1,distance=cosine]", "knn[stages=-2]")
RULES = ("z", "fisher")
#: normals that take part, held-out ones that anomalies are made of, and those that a mode is told from
NORMALS, HELD, CLEAN = 300, 64, 48
GROUPS, TRIED = 5, 1
SIZE, SEED = 224, 0
PAGE = ROOT / "docs" / "default-method.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """What candidates are fitted on, and tell apart: images by kind, `clean` ones among them."""

    kinds: tuple[str, ...]
    learn: tuple[Case, ...]
    clean: tuple[Case, ...]
    odd: tuple[Case, ...] = ()


def trials(dataset: Dataset, protocol: str) -> tuple[Dataset, list[Trial]]:
    """The normals to learn from, and the trials made of them; whole patients on either side."""
    learning = apply_protocol(Protocol(protocol), dataset).learning
    patients = sorted({case.group for case in learning.cases})
    drawn = np.random.default_rng(SEED).permutation(len(patients))
    order = {patients[index]: place for place, index in enumerate(drawn)}
    cases = sorted(learning.cases, key=lambda case: (order[case.group], case.path))[:NORMALS]
    held = _share(cases, min(HELD, len(cases) // 4))
    found = [Trial(("planted", "haze", "swelling"), *_apart(cases, held))]
    for group in _modes(cases):
        rest, odd = _apart(cases, {case.group for case in group})
        clean = _share(rest, min(CLEAN, len(rest) // 4))
        found.append(Trial(("mode",), *_apart(rest, clean), odd=odd))
    return learning, found


def _share(cases: list[Case] | tuple[Case, ...], count: int) -> set[str]:
    """The first patients that have so many cases between them."""
    return {case.group for case in cases[:count]}


def _apart(cases: list[Case] | tuple[Case, ...], groups: set[str]) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    return tuple(c for c in cases if c.group not in groups), tuple(c for c in cases if c.group in groups)


def _modes(cases: list[Case]) -> list[list[Case]]:
    """The smallest groups of like images, of five cases at least: by what a 16 × 16 copy of each looks like."""
    detector = Detector("knn", size=16)
    preprocess, _ = detector._choose_preprocess(tuple(cases), (16, 16))
    small = [
        inputs.mean((0, 1)).ravel() for _, _, inputs in stream(cases, preprocess) if not isinstance(inputs, InputError)
    ]
    labels = KMeans(GROUPS, n_init=10, random_state=SEED).fit_predict(np.stack(small))
    groups = [[c for c, label in zip(cases, labels, strict=True) if label == number] for number in range(GROUPS)]
    return sorted((group for group in groups if len(group) >= 5), key=len)[:TRIED]


def haze(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A cloudy field, brighter or darker by 0.5 to 1.5 standard deviations, in half-axes of 1/8 to 1/2 of the side."""
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    changed = images.clone()
    for number, image in enumerate(images):
        at_y, at_x, axis_y, axis_x, strength, side, grain = torch.rand(7, generator=generator).tolist()
        distance = torch.hypot(
            (y - 0.25 - 0.5 * at_y) / (0.125 + 0.375 * axis_y), (x - 0.25 - 0.5 * at_x) / (0.125 + 0.375 * axis_x)
        )
        cells = round(8 + 24 * grain)
        cloud = torch.randn(1, 1, cells, cells, generator=generator)
        cloud = F.interpolate(cloud, (height, width), mode="bicubic", align_corners=False)[0, 0]
        amount = (0.5 + strength) * image.std() * (1 if side > 0.5 else -1)
        changed[number] = image + (2 * (1 - distance)).clamp(0, 1) * amount * torch.sigmoid(1.5 * cloud / cloud.std())
    return changed.clamp(0, 1)


def swell(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What lies in a circle of radius 1/12 to 1/4 of the side is enlarged, most in its middle: by 1.4 to 3.3."""
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    changed = images.clone()
    for number in range(len(images)):
        at_y, at_x, radius, strength = torch.rand(4, generator=generator).tolist()
        from_y, from_x = y - (at_y - 0.5), x - (at_x - 0.5)
        inside = (1 - torch.hypot(from_y, from_x) / (2 * (1 / 12 + radius / 6))).clamp(0, 1)
        pull = 1 - (0.3 + 0.4 * strength) * inside
        grid = torch.stack([at_x - 0.5 + from_x * pull, at_y - 0.5 + from_y * pull], -1)[None]
        changed[number] = F.grid_sample(
            images[number : number + 1], grid, mode="bilinear", align_corners=True, padding_mode="border"
        )[0]
    return changed


MADE = {"planted": plant, "haze": haze, "swelling": swell}


def answers(entry: MethodEntry, learning: Dataset, trial: Trial) -> dict[str, list[float]]:
    """Scores of the calibration normals, of the clean images, and of each kind of anomaly."""
    detector = Detector(entry.method, size=SIZE, seed=SEED, **entry.options)
    detector.fit(replace(learning, cases=trial.learn), split="published")
    predict = Predictor(detector.method_, precision=detector.plan_.precision)

    def score(images: Images) -> list[float]:
        parts = [predict(images[start : start + BATCH])[1] for start in range(0, len(images), BATCH)]
        return np.concatenate(parts).tolist()

    clean = _pictures(detector, trial.clean)
    said = {"calibration": detector.calibration_.scores.tolist(), "clean": score(clean)}
    for kind in trial.kinds:
        if kind in MADE:
            made = MADE[kind](torch.from_numpy(clean), torch.Generator().manual_seed(SEED)).numpy()
            said[kind] = score(made)
        else:
            said[kind] = score(_pictures(detector, trial.odd))
    return said


def _pictures(detector: Detector, cases: tuple[Case, ...]) -> Images:
    return np.concatenate([x for _, _, x in stream(cases, detector.preprocess_) if not isinstance(x, InputError)])


def collect(names: list[str], keep: Path) -> Iterator[tuple[str, str, str, dict[str, list[float]]]]:
    """Data, trial, candidate and what it answered; each is kept as soon as it is known."""
    entries = parse_methods([*MEMBERS, *VARIANTS])
    for name in names:
        learning, several = trials(find_dataset(data_folder() / name), SETS[name])
        for number, trial in enumerate(several):
            for entry in entries:
                file = keep / f"{name}-{number}-{entry.label}.json"
                if not file.exists():
                    began = time.perf_counter()
                    text = json.dumps(answers(entry, learning, trial))
                    file.write_text(text, encoding="utf-8")
                    print(f"{name}, trial {number}, {entry.label}: {time.perf_counter() - began:.0f} s", flush=True)
                yield name, f"{name}-{number}", entry.label, json.loads(file.read_text(encoding="utf-8"))


def combined(said: list[dict[str, list[float]]], rule: str) -> dict[str, list[float]]:
    """The answers of an ensemble of these."""
    log_p: dict[str, list[torch.Tensor]] = {}
    for one in said:
        scale = Scale()
        scale.fit(torch.tensor(one["calibration"]))
        for kind, values in one.items():
            log_p.setdefault(kind, []).append(scale(torch.tensor(values)))
    return {kind: (-combine(torch.stack(parts), rule)).tolist() for kind, parts in log_p.items()}


def aurocs(said: dict[str, list[float]]) -> dict[str, float]:
    clean = said["clean"]
    return {
        kind: float(roc_auc_score([0] * len(clean) + [1] * len(values), clean + values))
        for kind, values in said.items()
        if kind not in ("calibration", "clean")
    }


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", nargs="+", choices=SETS, default=list(SETS))
    arguments.add_argument("--keep", type=Path, default=None)
    given = arguments.parse_args()
    keep = given.keep or Path(tempfile.mkdtemp())
    keep.mkdir(parents=True, exist_ok=True)

    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    data_of: dict[str, str] = {}
    for data, trial, label, said in collect(given.data, keep):
        found.setdefault(trial, {})[label] = said
        data_of[trial] = data

    table: dict[str, dict[tuple[str, str], list[float]]] = {}
    for trial, by_label in found.items():
        candidates = dict(by_label)
        for count in range(2, len(MEMBERS) + 1):
            for members in combinations(MEMBERS, count):
                for rule in RULES:
                    candidates[f"{' + '.join(members)} ({rule})"] = combined([by_label[m] for m in members], rule)
        for label, said in candidates.items():
            for kind, value in aurocs(said).items():
                table.setdefault(label, {}).setdefault((data_of[trial], kind), []).append(value)

    labels = list(table)
    places = sorted({place for row in table.values() for place in row})
    values = np.array([[np.mean(table[label][place]) for place in places] for label in labels])
    ranks = np.stack([_rank(-column) for column in values.T], axis=1).mean(1)
    kinds = ("planted", "haze", "swelling", "mode")
    rows = []
    for index in np.argsort(ranks, kind="stable"):
        by_kind = [np.mean([v for v, (_, k) in zip(values[index], places, strict=True) if k == kind]) for kind in kinds]
        by_data = [
            np.mean([v for v, (d, _) in zip(values[index], places, strict=True) if d == data]) for data in given.data
        ]
        rows.append([labels[index], f"{ranks[index]:.1f}", *(f"{v:.3f}" for v in (*by_kind, *by_data))])
    text = (
        "Mean rank of each candidate over data sets and kinds of anomaly, best first, and its mean AUROC by kind and by"
        f" data set; at most {NORMALS} normals of each set, at {SIZE} pixels, seed {SEED}.\n\n"
        + markdown(["candidate", "mean rank", *kinds, *given.data], rows)
    )
    publish("default-method", text, record=given.record)
    if given.record and PAGE.exists():
        page = PAGE.read_text(encoding="utf-8")
        start, stop = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text(f"{page[:start]}\n\n{text}\n\n{page[stop:]}", encoding="utf-8")


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


if __name__ == "__main__":
    main()
