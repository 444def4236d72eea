"""The methods by name. Listing them reads one table; a method's module is imported when it is asked for."""

from __future__ import annotations

import dataclasses
import math
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from unremarkable.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from unremarkable.methods.base import Method, Options

#: name → "module:class"; third parties add theirs through this entry-point group.
GROUP = "unremarkable.methods"
#: what fits where no method is named, and with which options; docs/default-method.md says how both were chosen
DEFAULT = "mahalanobis"
DEFAULT_OPTIONS: dict[str, Any] = {"backbone": "efficientnet-lite2", "stages": (-2, -1)}
_OWN = {
    "alad": "unremarkable.methods.alad:ALAD",
    "anoddpm": "unremarkable.methods.diffusion:AnoDDPM",
    "anogan": "unremarkable.methods.anogan:AnoGAN",
    "autoencoder": "unremarkable.methods.autoencoder:Autoencoder",
    "ceae": "unremarkable.methods.ceae:CeAE",
    "classical": "unremarkable.methods.classical:Classical",
    "classifier": "unremarkable.methods.classifier:Classifier",
    "dae": "unremarkable.methods.dae:DAE",
    "ddpm": "unremarkable.methods.diffusion:DDPM",
    "dinomaly": "unremarkable.methods.dinomaly:Dinomaly",
    "edc": "unremarkable.methods.edc:EDC",
    "efficient-gan": "unremarkable.methods.efficient_gan:EfficientGAN",
    "ensemble": "unremarkable.methods.ensemble:Ensemble",
    "f-anogan": "unremarkable.methods.f_anogan:FAnoGAN",
    "ganomaly": "unremarkable.methods.ganomaly:GANomaly",
    "hetero-ae": "unremarkable.methods.hetero_ae:HeteroAE",
    "knn": "unremarkable.methods.knn:KNN",
    "ltm": "unremarkable.methods.ltm:LTM",
    "mae": "unremarkable.methods.mae:MAE",
    "mahalanobis": "unremarkable.methods.mahalanobis:Mahalanobis",
    "memae": "unremarkable.methods.memae:MemAE",
    "mkd": "unremarkable.methods.mkd:MKD",
    "padim": "unremarkable.methods.padim:PaDiM",
    "patchcore": "unremarkable.methods.patchcore:PatchCore",
    "phanes": "unremarkable.methods.phanes:PHANES",
    "ra": "unremarkable.methods.ra:RA",
    "rd4ad": "unremarkable.methods.rd4ad:RD4AD",
    "salad": "unremarkable.methods.salad:SALAD",
    "si-vae": "unremarkable.methods.si_vae:SIVAE",
    "skip-ganomaly": "unremarkable.methods.skip_ganomaly:SkipGANomaly",
    "spade": "unremarkable.methods.spade:SPADE",
    "stfpm": "unremarkable.methods.stfpm:STFPM",
    "uniad": "unremarkable.methods.uniad:UniAD",
    "vae": "unremarkable.methods.vae:VAE",
}


def method_names() -> list[str]:
    """Names of every method that `method_class` can give, own ones and those of installed packages."""
    return sorted(_targets())


def method_class(name: str) -> type[Method]:
    """The class of one method.

    Raises:
        UsageError: there is no such method, or the package that offers it does not import.
    """
    targets = _targets()
    if name not in targets:
        raise unknown_name("method", name, targets)
    module, _, attribute = targets[name].partition(":")
    try:
        cls: type[Method] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"method {name!r} cannot be imported: {error}") from error
    return cls


def make_options(cls: type[Method], values: dict[str, Any]) -> Options:
    """Options of a method from names and values; text, as the command line gives it, is read by each field's type.

    Raises:
        UsageError: an option does not exist (with the nearest that does), or a value does not fit it.
    """
    hints = get_type_hints(cls.Options)
    fields = {field.name for field in dataclasses.fields(cls.Options)}
    known = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise unknown_name(f"option of {cls.name}", key, fields)
        # Numbers from Python go the same way as text, so that 1.5 is refused where a whole number is meant.
        text = repr(value) if isinstance(value, int | float) else value
        known[name] = _convert(text, hints[name], key) if isinstance(text, str) else value
        # Every method's rates alike, or the first step of training would be where one is refused.
        if name.endswith("learning_rate") and not 0 <= known[name] < math.inf:
            raise UsageError(f"{cls.name}: {name} must be a number of at least 0, not {known[name]}")
    try:
        return cls.Options(**{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})
    except ValueError as error:
        raise UsageError(f"{cls.name}: {error}") from error


def _targets() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)} | _OWN


def _convert(text: str, kind: Any, key: str) -> Any:
    arguments = get_args(kind)
    if type(None) in arguments:
        if text.lower() == "none":
            return None
        return _convert(text, next(a for a in arguments if a is not type(None)), key)
    try:
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if kind in (int, float, str):
            return kind(text)
        if getattr(kind, "__origin__", None) is tuple:
            return tuple(_convert(part.strip(), arguments[0], key) for part in text.split(",") if part.strip())
    except (ValueError, KeyError):
        raise UsageError(f"option {key}: {text!r} is not {_describe(kind)}") from None
    if arguments:  # Literal
        if text not in arguments:
            raise unknown_name(f"value of {key}", text, [str(a) for a in arguments])
        return text
    raise TypeError(f"option {key}: the type {kind} cannot be read from text")


def _describe(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(kind, "a comma-separated list" if get_args(kind) else str(kind))
