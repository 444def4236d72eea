"""Which method should `Detector()` be? A choice among methods and their ensembles that sees no test image at all.

From the normals that a data set's own split gives to learn from, some are held out, and anomalies of three sorts are
made of them. Local: `planted` (an ellipse: foreign tissue, brighter or darker, smoothed) and `swelling` (a local
enlargement). Diffuse: `haze` (a large cloudy field) and `grain` (a large field of coarse texture). Whole: `mode`, which
is not made but found: the images are grouped by k-means over small copies of them, and each group in turn is kept from
the training and has to be told from the rest.

Every candidate is fitted on the other normals, a member of an ensemble on those that are left when the ensemble has
taken its references, as `methods/ensemble.py` does. What counts is the AUROC, averaged over the kinds of a sort, then
over sorts, then over data sets. The networks see each image once; the methods run on what they gave.

python benchmarks/default_method.py [--data covid19-xray …] [--keep FOLDER] [--record]

With --keep, what a candidate said is kept there, and a run that was ended goes on. With --record the table also takes
its place in docs/default-method.md.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from record import ROOT, data_folder, markdown, parser, publish
from unremarkable.benchmark.matrix import MethodEntry, parse_methods
from unremarkable.benchmark.protocol import Protocol, apply_protocol
from unremarkable.datasets.case import Case
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import stream
from unremarkable.detector import Detector
from unremarkable.errors import InputError
from unremarkable.methods.base import Collect
from unremarkable.methods.combining import Scale, combine
from unremarkable.methods.frozen import FrozenBackbone
from unremarkable.methods.planting import plant
from unremarkable.methods.registry import make_options, method_class
from unremarkable.networks.allocator import reuse_memory
from unremarkable.networks.backbones import Backbone
from unremarkable.training.machine import Machine, resolve
from unremarkable.training.plan import stopping_count
from unremarkable.training.settings import TrainSettings

#: and how a set without a split of its own is divided
SETS = {
    "chest-xray-pneumonia": "published",
    "brain-tumor-mri": "published",
    "covid19-xray": "published",
    "busi": "one-class:60",
}
BACKBONES = ("efficientnet-lite0", "efficientnet-lite2")
#: ensembles are made of these, of one network or of both
MEMBERS = ("knn", "mahalanobis", "padim")
#: settings of single methods that stand for election besides
VARIANTS = (
    "knn[grid=1]",
    "knn[grid=3]",
    "knn[distance=cosine]",
    "knn[stages=-2,-1]",
    "knn[stages=0,1,2,3]",
    "mahalanobis[stages=-1]",
    "mahalanobis[stages=-2,-1]",
)
RULE = "z"
#: normals that take part; held-out ones that anomalies are made of; those that a mode is told from; groups of them
NORMALS, HELD, CLEAN, GROUPS = 400, 100, 48, 5
SIZE, SEED, BATCH = 224, 0, 32
SORTS = {"local": ("planted", "swelling"), "diffuse": ("haze", "grain"), "whole": ("mode",)}
PAGE = ROOT / "docs" / "default-method.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

Rows = NDArray[np.int64]
Said = dict[str, list[float]]


@dataclass(frozen=True)
class Trial:
    """What candidates are fitted on, and tell apart: rows of a data set's images, by kind."""

    learn: Rows
    clean: Rows
    odd: dict[str, Rows]


def haze(images: Tensor, generator: torch.Generator) -> Tensor:
    """A cloudy field in a large soft ellipse, brighter or darker by 0.5 to 1.5 standard deviations of the image."""
    return _changed(images, generator, (8, 32), lambda noise: torch.sigmoid(1.5 * noise), (0.5, 1.5))


def grain(images: Tensor, generator: torch.Generator) -> Tensor:
    """Texture in a large soft ellipse: noise of 1/64 to 1/16 of the side, 0.2 to 0.6 standard deviations strong."""
    return _changed(images, generator, (16, 64), lambda noise: noise, (0.2, 0.6))


def _changed(
    images: Tensor,
    generator: torch.Generator,
    cells: tuple[int, int],
    shape: Callable[[Tensor], Tensor],
    amount: tuple[float, float],
) -> Tensor:
    """Each image with a field of `shape`d noise added; half-axes of 1/8 to 1/2 of the side, centre in the middle."""
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    changed = images.clone()
    for number, image in enumerate(images):
        at_y, at_x, axis_y, axis_x, strength, side, size = torch.rand(7, generator=generator).tolist()
        distance = torch.hypot(
            (y - 0.25 - 0.5 * at_y) / (0.125 + 0.375 * axis_y), (x - 0.25 - 0.5 * at_x) / (0.125 + 0.375 * axis_x)
        )
        count = round(cells[0] + (cells[1] - cells[0]) * size)
        noise = torch.randn(1, 1, count, count, generator=generator)
        noise = F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)[0, 0]
        level = (amount[0] + (amount[1] - amount[0]) * strength) * image.std() * (1 if side > 0.5 else -1)
        changed[number] = image + (2 * (1 - distance)).clamp(0, 1) * level * shape(noise / noise.std())
    return changed.clamp(0, 1)


def swell(images: Tensor, generator: torch.Generator) -> Tensor:
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


MADE = {"planted": plant, "swelling": swell, "haze": haze, "grain": grain}


def trials(name: str) -> tuple[Tensor, list[Trial]]:
    """The images `(N, C, H, W)` of a data set, normals and what is made of them, and the trials; whole patients."""
    learning = apply_protocol(Protocol(SETS[name]), find_dataset(data_folder() / name)).learning
    patients = sorted({case.group for case in learning.cases})
    drawn = np.random.default_rng(SEED).permutation(len(patients))
    order = {patients[index]: place for place, index in enumerate(drawn)}
    cases = sorted(learning.cases, key=lambda case: (order[case.group], case.path))[:NORMALS]
    preprocess, _ = Detector("knn")._choose_preprocess(tuple(cases), (SIZE, SIZE))
    read = [(case, inputs) for case, _, inputs in stream(cases, preprocess) if not isinstance(inputs, InputError)]
    cases, normals = [case for case, _ in read], torch.from_numpy(np.concatenate([inputs for _, inputs in read]))
    groups = np.array([case.group for case in cases])
    everyone = np.arange(len(cases))

    held = np.isin(groups, _first(cases, min(HELD, len(cases) // 4)))
    made, odd = [normals], {}
    for kind, make in MADE.items():
        odd[kind] = np.arange(held.sum()) + sum(map(len, made))
        made.append(make(normals[torch.from_numpy(held)], torch.Generator().manual_seed(SEED)))
    found = [Trial(everyone[~held], everyone[held], odd)]

    small = F.adaptive_avg_pool2d(normals.mean(1, keepdim=True), 16).flatten(1).numpy()
    modes = KMeans(GROUPS, n_init=10, random_state=SEED).fit_predict(small)
    for mode in range(GROUPS):
        away = np.isin(groups, groups[modes == mode])
        if not 5 <= away.sum() <= len(cases) // 2:
            continue
        rest = [case for case, gone in zip(cases, away, strict=True) if not gone]
        clean = np.isin(groups, _first(rest, min(CLEAN, len(rest) // 4)))
        found.append(Trial(everyone[~away & ~clean], everyone[clean], {"mode": everyone[away]}))
    return torch.cat(made), found


def _first(cases: Sequence[Case], count: int) -> list[str]:
    """The first patients that have so many cases between them."""
    return sorted({case.group for case in cases[:count]})


class Remembered(nn.Module):
    """Stands in for a backbone: is given row numbers as images, and gives the features that the backbone gave."""

    def __init__(self, real: Backbone, features: list[Tensor]) -> None:
        super().__init__()
        self.stages, self.index_of = real.stages, real.index_of
        self._features = [features[index] for index in real._picked]

    def forward(self, rows: Tensor) -> list[Tensor]:
        which = rows.flatten().long()
        return [stage[which] for stage in self._features]


def look(backbone: str, images: Tensor, machine: Machine) -> list[Tensor]:
    """What every stage of a backbone gives of all images."""
    network = Backbone(backbone).eval()
    network.load_pretrained()
    with torch.no_grad(), machine.scoring(half=True):
        parts = [network(part) for part in images.split(8)]
    return [torch.cat(stage).bfloat16() for stage in zip(*parts, strict=True)]


def answers(entry: MethodEntry, backbone: str, features: list[Tensor], trial: Trial) -> dict[str, Said]:
    """Scores of the clean images and of each kind of anomaly: fitted on all to learn from, and as a member."""
    kept = len(trial.learn) - stopping_count(len(trial.learn))
    said = {}
    for role, learn in (("alone", trial.learn), ("member", trial.learn[:kept])):
        cls = method_class(entry.method)
        options = make_options(cls, {**entry.options, "backbone": backbone})
        method = cls(options, (SIZE, SIZE), 1)
        assert isinstance(method, FrozenBackbone)
        method.backbone = Remembered(method.backbone, features)  # type: ignore[assignment]
        method.eval()
        with torch.no_grad():
            for phase in method.phases():
                assert isinstance(phase, Collect)
                phase.collect(_rows(learn).split(phase.batch_size))
            said[role] = {
                kind: torch.cat([method.predict(part).score for part in _rows(rows).split(BATCH)]).tolist()
                for kind, rows in {"clean": trial.clean, **trial.odd}.items()
            }
            if role == "member":
                references = _rows(trial.learn[kept:]).split(BATCH)
                said[role]["references"] = torch.cat([method.predict(part).score for part in references]).tolist()
    return said


def _rows(rows: Rows) -> Tensor:
    return torch.from_numpy(rows).float().view(-1, 1, 1, 1)


def collect(names: list[str], keep: Path) -> Iterator[tuple[str, int, str, dict[str, Said]]]:
    """Data, trial, candidate and what it answered; each is kept as soon as it is known."""
    reuse_memory()
    machine = resolve(TrainSettings())
    entries = parse_methods([*MEMBERS, *VARIANTS])
    for name in names:
        images, several = trials(name)
        for backbone in BACKBONES:
            features: list[Tensor] = []
            for number, trial in enumerate(several):
                for entry in entries:
                    label = f"{entry.label} {backbone.removeprefix('efficientnet-')}"
                    file = keep / f"{name}-{number}-{label}.json"
                    if not file.exists():
                        began = time.perf_counter()
                        features = features or look(backbone, images, machine)
                        file.write_text(json.dumps(answers(entry, backbone, features, trial)), encoding="utf-8")
                        print(f"{name}, trial {number}, {label}: {time.perf_counter() - began:.0f} s", flush=True)
                    yield name, number, label, json.loads(file.read_text(encoding="utf-8"))


def combined(said: list[Said]) -> Said:
    """The answers of an ensemble of these members."""
    log_p: dict[str, list[Tensor]] = {}
    for one in said:
        scale = Scale()
        scale.fit(torch.tensor(one["references"]))
        for kind, values in one.items():
            log_p.setdefault(kind, []).append(scale(torch.tensor(values)))
    return {kind: (-combine(torch.stack(parts), RULE)).tolist() for kind, parts in log_p.items()}


def aurocs(said: Said) -> dict[str, float]:
    """Of each kind of anomaly against the clean images."""
    clean = said["clean"]
    return {
        kind: float(roc_auc_score([0] * len(clean) + [1] * len(values), clean + values))
        for kind, values in said.items()
        if kind not in ("references", "clean")
    }


def candidates(by_label: dict[str, dict[str, Said]]) -> dict[str, Said]:
    """The answers of every candidate in one trial: single methods, and the ensembles of them."""
    short = [backbone.removeprefix("efficientnet-") for backbone in BACKBONES]
    found = {label: said["alone"] for label, said in by_label.items()}
    for count in range(1, len(MEMBERS) + 1):
        for members in combinations(MEMBERS, count):
            for networks in ([short[0]], [short[1]], short):
                labels = [f"{member} {network}" for member in members for network in networks]
                if len(labels) > 1:
                    found[" + ".join(labels)] = combined([by_label[label]["member"] for label in labels])
    return found


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", nargs="+", choices=SETS, default=list(SETS))
    arguments.add_argument("--keep", type=Path, default=None)
    given = arguments.parse_args()
    keep = given.keep or Path(tempfile.mkdtemp())
    keep.mkdir(parents=True, exist_ok=True)

    found: dict[tuple[str, int], dict[str, dict[str, Said]]] = {}
    for data, number, label, said in collect(given.data, keep):
        found.setdefault((data, number), {})[label] = said
    table: dict[str, dict[tuple[str, str], list[float]]] = {}
    for (data, _), by_label in found.items():
        for label, one in candidates(by_label).items():
            for kind, value in aurocs(one).items():
                table.setdefault(label, {}).setdefault((data, kind), []).append(value)

    rows = []
    for label, seen in table.items():
        kinds = {place: float(np.mean(values)) for place, values in seen.items()}
        sorts = {
            (data, sort): np.mean([kinds[data, kind] for kind in SORTS[sort]]) for data in given.data for sort in SORTS
        }
        by_sort = [np.mean([sorts[data, sort] for data in given.data]) for sort in SORTS]
        by_data = [np.mean([sorts[data, sort] for sort in SORTS]) for data in given.data]
        rows.append((float(np.mean(by_data)), label, [*by_sort, *by_data]))
    rows.sort(key=lambda row: -row[0])
    header = ["candidate", "mean", *SORTS, *given.data]
    text = (
        "Mean AUROC of each candidate, best first, and by sort of anomaly and data set;"
        f" at most {NORMALS} normals of each set, at {SIZE} pixels, seed {SEED}; ensembles by the mean of z.\n\n"
        + markdown(header, [[label, f"{mean:.4f}", *(f"{v:.3f}" for v in rest)] for mean, label, rest in rows])
    )
    publish("default-method", text, record=given.record)
    if given.record and PAGE.exists():
        page = PAGE.read_text(encoding="utf-8")
        start, stop = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text(f"{page[:start]}\n\n{text}\n\n{page[stop:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
