"""Detector: fit, calibrate, score, save and load; the one object a user holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unremarkable.datasets.cache import Packed, pack
from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import load_case
from unremarkable.errors import InputError, UnremarkableError, UsageError
from unremarkable.imaging.image import Image
from unremarkable.imaging.intensity import parse_intensity
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.methods.base import Phase
from unremarkable.methods.registry import DEFAULT, DEFAULT_OPTIONS, make_options, method_class
from unremarkable.model_folder import ModelFolder, make_manifest, read_model, write_model
from unremarkable.networks.allocator import reuse_memory
from unremarkable.scoring.calibration import Calibration, normals_needed
from unremarkable.scoring.scorer import BATCH, Predictor, Scorer, calibrate
from unremarkable.scoring.scores import CaseScore, Scores
from unremarkable.training.history import History
from unremarkable.training.labelled import Division, choose_labelled, divide_cases, images_of, labels_of
from unremarkable.training.machine import resolve
from unremarkable.training.plan import Normals, Plan, choose_normals
from unremarkable.training.settings import Augment, TrainSettings

Data = str | Path | Sequence[str | Path] | Dataset

#: false-alarm rate unless another is asked for
RATE = 0.05
#: images that are looked at to choose intensity policy and channels, and bytes of them at most
_SAMPLE, _SAMPLE_BYTES = 64, 512 * 1024**2


class Detector:
    """Learns from normal images alone, and scores others with a p-value and a map.

    Args:
        method: name of a method; `unremarkable methods` lists them. None for the default one, with options of its
            own where none are given; docs/default-method.md says what it is and why.
        size: side of the square input in pixels; None for the method's published one.
        intensity: how pixel values become [0, 1]: "dtype", "percentile", a CT window by name ("brain", "lung", ...),
            "window:CENTRE/WIDTH", "range:LOW/HIGH"; "auto" goes by the data.
        fit_to: "resize" stretches the image to the square, "pad" keeps its aspect.
        reduction: how a map becomes a score: "published" (the method's own), "max", "mean", "top1", "top10".
        smoothing: standard deviation in map pixels of a Gaussian over the map before it is reduced; 0 for none.
        augment: move, flip and zoom the training images.
        seed: of everything random; with the same data and machine, the same bits.
        device, precision: "auto", or as Lightning Fabric names them ("cpu", "cuda"; "32", "bf16"); for training.
        **options: the method's own options.

    After `fit`: `method_` (the fitted network), `preprocess_`, `calibration_`, `plan_`, `history_`, `manifest_`.

    Raises:
        UsageError: unknown method or option.
    """

    def __init__(
        self,
        method: str | None = None,
        *,
        size: int | None = None,
        intensity: str = "auto",
        fit_to: str = "resize",
        reduction: str = "published",
        smoothing: float = 0.0,
        augment: bool = False,
        seed: int = 0,
        device: str = "auto",
        precision: str = "auto",
        **options: Any,
    ) -> None:
        if method is None:
            method, options = DEFAULT, {**DEFAULT_OPTIONS, **options}
        self.method = method
        self.size = size
        self.intensity = intensity
        self.fit_to = fit_to
        self.reduction = reduction
        self.smoothing = smoothing
        self.augment = augment
        self.seed = seed
        self.device = device
        self.precision = precision
        self.options = make_options(method_class(method), options)

    def fit(
        self,
        data: Data,
        *,
        split: str = "auto",
        rate: float | None = None,
        run: Path | None = None,
        progress: bool = False,
        on_plan: Callable[[Plan], None] | None = None,
    ) -> Detector:
        """Learn from the normals of `data`, holding a share of them out for calibration.

        Args:
            data: a folder, manifest, NPZ file or list of files, or what `find_dataset` made of one; test cases in it
                are not used, nor are abnormal ones but by methods that need labels.
            split: which normals ("auto", "published", "none", "70/15/15"); see `training.plan.choose_normals`.
            rate: a false-alarm rate that scoring must be able to offer; refused at once if the normals are too few.
            run: folder for checkpoints and logs; a fit that was interrupted goes on from there.
            on_plan: called with the plan before training starts.

        Raises:
            UsageError: no data, no normals, too few of them for `rate`, no labels for a method that needs them, weights
                missing.
        """
        reuse_memory()
        dataset = data if isinstance(data, Dataset) else find_dataset(data)
        chosen: Normals
        if self.options.needs_labels:
            chosen = choose_labelled(dataset, split, self.seed, self.method)
        else:
            chosen = choose_normals(dataset, split, self.seed)
        cls = method_class(self.method)
        side = self.size or cls.default_size
        self.preprocess_, reason = self._choose_preprocess(chosen.training, (side, side))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.method_ = cls(self.options, self.preprocess_.size, self.preprocess_.channels)
        self.method_.prepare()
        phases = self.method_.phases()

        packed = pack(chosen.cases, self.preprocess_, progress=progress)
        stops_early = any(phase.validate if isinstance(phase, Phase) else phase.held_out for phase in phases)
        needed = normals_needed(RATE if rate is None else rate)
        division = divide_cases(
            chosen, packed, needed, stops_early=stops_early, seed=self.seed, insist=rate is not None
        )
        settings = TrainSettings(
            seed=self.seed,
            device=self.device,
            precision=self.precision,
            augment=Augment() if self.augment else None,
        )
        training, validation = (images_of(chosen, packed, division.parts[name]) for name in ("training", "validation"))
        self.plan_ = self._make_plan(chosen, division, packed, phases, settings, reason)
        if on_plan is not None:
            on_plan(self.plan_)
        from unremarkable.training.loop import train

        fingerprint = "-".join(str(digest) for digest in packed.digests)
        if self.options.needs_labels:
            fingerprint += str(labels_of(chosen).tolist())
        self.history_: History = train(
            self.method_,
            training,
            validation or None,
            dataclasses.replace(settings, fingerprint=fingerprint),
            run=run,
            progress=progress,
        )
        held = packed.of(division.parts["calibration"])
        batches = [held[np.arange(start, min(start + BATCH, len(held)))] for start in range(0, len(held), BATCH)]
        self.method_.eval()
        self.calibration_ = calibrate(self._predictor(), batches, packed.case_of[held.index])
        self.manifest_ = make_manifest(dataset, packed, division.parts, split, self.seed)
        if self.plan_.abnormal_training:
            self.manifest_["labels"]["training"] = "learnt from, and gone by for early stopping"
        self.manifest_["settled"] = self.method_.settled()
        return self

    def score(self, data: Data, *, rate: float | None = None, progress: bool = False) -> Scores:
        """Score every image of `data`, keeping the maps in memory; `stream` does not keep them.

        Args:
            data: files, a folder, a manifest or an NPZ file; labels in it are carried along and not looked at.
            rate: false-alarm rate of the verdict; 0.05 unless given.

        Raises:
            UsageError: nothing to score, or a given `rate` that the calibration normals cannot support.
        """
        dataset = data if isinstance(data, Dataset) else find_dataset(data, need_labels=False)
        rows, failures = [], list(dataset.skipped)
        for item in self.stream(dataset.cases, rate=rate, progress=progress):
            if isinstance(item, CaseScore):
                rows.append(item)
            else:
                failures.append((item.source, item.reason))
        return Scores(tuple(rows), tuple(failures), rate or RATE, self.map_range, self.preprocess_)

    def stream(
        self,
        cases: Sequence[Case],
        *,
        rate: float | None = None,
        batch: int = BATCH,
        workers: int | None = None,
        progress: bool = False,
    ) -> Iterator[CaseScore | InputError]:
        """Score cases one after the other, in order; a case that cannot be scored comes as its error."""
        self._require_fitted()
        reuse_memory()
        if rate is not None:
            self.calibration_.threshold(rate)  # refuses a rate that the normals cannot support
        scorer = Scorer(self._predictor(), self.preprocess_, self.calibration_, RATE if rate is None else rate)
        return scorer.stream(cases, batch=batch, workers=workers, progress=progress)

    @property
    def map_range(self) -> tuple[float, float]:
        """Map values between which heat maps are coloured, the same for every case; from the calibration normals."""
        return self.calibration_.map_low, self.calibration_.map_high

    def save(self, folder: str | Path) -> Path:
        """Write the model folder, whole or not at all.

        Raises:
            UsageError: the folder exists and is not a model, or the disk is full.
        """
        self._require_fitted()
        config = {
            "method": {"name": self.method, "options": dataclasses.asdict(self.options)},
            "detector": {
                "size": self.size,
                "intensity": self.intensity,
                "fit_to": self.fit_to,
                "reduction": self.reduction,
                "smoothing": self.smoothing,
                "augment": self.augment,
                "seed": self.seed,
                "device": self.device,
                "precision": self.precision,
            },
            "preprocess": self.preprocess_.to_dict(),
            "plan": self.plan_.to_dict(),
            "history": self.history_.to_dict(),
        }
        model = ModelFolder(config, self.calibration_.to_dict(), self.manifest_, self.method_.state_dict())
        return write_model(Path(folder), model)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> Detector:
        """Read a model folder; nothing in it is executed. It scores on `device`: "auto", "cpu", "cuda", ...

        Raises:
            UsageError: no model there, a damaged one, one made by a newer version, or no such device here.
        """
        model = read_model(Path(folder))
        config = model.config
        detector = cls(config["method"]["name"], **config["detector"], **config["method"]["options"])
        detector.preprocess_ = Preprocess.from_dict(config["preprocess"])
        size, channels = detector.preprocess_.size, detector.preprocess_.channels
        detector.method_ = method_class(detector.method)(detector.options, size, channels)
        try:
            detector.method_.load_weights(model.weights)
        except RuntimeError as error:
            raise UsageError(f"{folder}: its weights are not those of this version's {detector.method}") from error
        detector.method_.to(resolve(TrainSettings(device=device)).device).eval()
        detector.calibration_ = Calibration.from_dict(model.calibration)
        detector.plan_ = Plan.from_dict(config["plan"])
        detector.history_ = History.from_dict(config["history"])
        detector.manifest_ = model.manifest
        return detector

    # -- fitting ------------------------------------------------------------------------------------------------

    def _choose_preprocess(self, cases: Sequence[Case], size: tuple[int, int]) -> tuple[Preprocess, str]:
        sample: list[Image] = []
        errors: list[UnremarkableError] = []
        for index in np.unique(np.linspace(0, len(cases) - 1, _SAMPLE).round().astype(int)):
            if sum(image.pixels.nbytes for image in sample) > _SAMPLE_BYTES:
                break
            try:
                sample.append(load_case(cases[index]))
            except InputError as error:
                errors.append(error)
        if not sample:
            raise UsageError(f"none of the images can be read; the first: {errors[0]}")
        chosen = {} if self.intensity == "auto" else parse_intensity(self.intensity)
        preprocess, reasons = Preprocess.plan(sample, size=size, fit=self.fit_to, **chosen)
        return preprocess, "; ".join(reasons) if self.intensity == "auto" else f"{self.intensity}, as asked for"

    def _make_plan(
        self,
        chosen: Normals,
        division: Division,
        packed: Packed,
        phases: Sequence[Any],
        settings: TrainSettings,
        reason: str,
    ) -> Plan:
        from unremarkable.training.estimate import expected_seconds

        device, precision = resolve(settings)
        parts = division.parts
        training, validation = (images_of(chosen, packed, parts[name]) for name in ("training", "validation"))
        abnormal = labels_of(chosen)
        smallest = 1 / (len(parts["calibration"]) + 1)
        notes = [*chosen.notes, *division.notes, *self.method_.notes(len(training))]
        if packed.failures:
            notes.append(
                f"{len(packed.failures)} images cannot be read and are left out; first: {packed.failures[0][1]}"
            )
        if smallest > RATE:
            notes.append(f"too few normals for verdicts at {RATE:g}: it takes {normals_needed(RATE)} for calibration")
        return Plan(
            method=self.method,
            options=dataclasses.asdict(self.options),
            size=self.preprocess_.size,
            channels=self.preprocess_.channels,
            intensity=self.preprocess_.intensity,
            intensity_reason=reason,
            training_cases=len(parts["training"]),
            training_images=len(training),
            validation_cases=len(parts["validation"]),
            calibration_cases=len(parts["calibration"]),
            smallest_rate=smallest,
            phases=tuple(
                {"name": phase.name, "batch_size": phase.batch_size}
                | ({"epochs": phase.epochs} if isinstance(phase, Phase) else {})
                for phase in phases
            ),
            device=device,
            precision=precision,
            augment=self.augment,
            seed=self.seed,
            expected_seconds=expected_seconds(self.method_, training, settings, validation or None),
            selection=chosen.selection,
            notes=tuple(notes),
            abnormal_training=int(abnormal[list(parts["training"])].sum()),
            abnormal_validation=int(abnormal[list(parts["validation"])].sum()),
        )

    def _predictor(self) -> Predictor:
        return Predictor(self.method_, self.reduction, self.smoothing, self.plan_.precision)

    def _require_fitted(self) -> None:
        if not hasattr(self, "calibration_"):
            raise UsageError("this detector is not fitted yet; call fit first, or Detector.load")
