"""Methods by name, and options from text."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Literal

import pytest

from unremarkable.errors import UsageError
from unremarkable.methods import base, make_options, method_class, method_names, registry


@dataclass(frozen=True)
class Options(base.Options):
    """One of every type that an option may have."""

    flag: bool = field(default=False, metadata={"help": "a switch"})
    count: int = field(default=3, metadata={"help": "a number"})
    rate: float = field(default=0.1, metadata={"help": "a rate"})
    limit: int | None = field(default=None, metadata={"help": "a number or none"})
    kind: Literal["plain", "fancy"] = field(default="plain", metadata={"help": "a choice"})
    widths: tuple[int, ...] = field(default=(1, 2), metadata={"help": "a list"})

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be at least 1")


class Toy(base.Method):
    """A third party's method."""

    name = "toy"
    Options = Options

    def phases(self) -> list[base.Phase | base.Collect]:
        """None."""
        return []

    def predict(self, images: object) -> base.Prediction:
        """Nothing."""
        raise NotImplementedError


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that offers methods: one good, one that lacks a module, one that lacks the class."""
    module = ModuleType("toy_package")
    module.Toy = Toy
    monkeypatch.setitem(sys.modules, "toy_package", module)
    targets = {
        "toy": "toy_package:Toy",
        "broken": "no_such_package:Method",
        "renamed": "toy_package:Gone",
        "knn": "toy_package:Toy",
    }
    points = [EntryPoint(name, value, registry.GROUP) for name, value in targets.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "unremarkable.methods" else [])


def test_own_methods_are_listed_in_order() -> None:
    names = method_names()
    assert names == sorted(names)
    assert {"autoencoder", "f-anogan", "hetero-ae", "knn"} <= set(names)


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown method 'f-anogn'; did you mean 'f-anogan'\?"):
        method_class("f-anogn")
    with pytest.raises(UsageError, match=r"known: .*autoencoder, .*f-anogan, "):
        method_class("zzzz")


@pytest.mark.usefixtures("third_party")
def test_installed_packages_add_methods_and_cannot_replace_own_ones() -> None:
    assert "toy" in method_names()
    assert method_class("toy") is Toy
    assert method_class("knn") is not Toy


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize("name", ["broken", "renamed"])
def test_packages_that_do_not_import_are_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=f"method '{name}' cannot be imported: ") as caught:
        method_class(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("flag", "true", True),
        ("flag", "No", False),
        ("flag", "1", True),
        ("count", "12", 12),
        ("rate", "1e-3", 0.001),
        ("limit", "none", None),
        ("limit", "7", 7),
        ("kind", "fancy", "fancy"),
        ("widths", "4, 8,16", (4, 8, 16)),
        ("widths", "4", (4,)),
    ],
)
def test_text_is_read_by_the_type_of_the_option(key: str, text: str, value: object) -> None:
    read = getattr(make_options(Toy, {key: text}), key)
    assert read == value
    assert type(read) is type(value)


def test_values_that_are_no_text_are_taken_as_they_are() -> None:
    assert make_options(Toy, {"rate": 0.5, "limit": None, "widths": [3, 4]}) == Options(
        rate=0.5, limit=None, widths=(3, 4)
    )
    assert make_options(Toy, {}) == Options()


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("flag", "maybe", "option flag: 'maybe' is not true or false"),
        ("count", "2.5", "option count: '2.5' is not a whole number"),
        ("limit", "x", "option limit: 'x' is not a whole number"),
        ("rate", "fast", "option rate: 'fast' is not a number"),
        ("widths", "4,b", "option widths: 'b' is not a whole number"),
        ("kind", "fancier", "unknown value of kind 'fancier'; did you mean 'fancy'?"),
        ("count", "0", "toy: count must be at least 1"),
        ("cuont", "1", "unknown option of toy 'cuont'; did you mean 'count'?"),
    ],
)
def test_what_does_not_fit_is_one_line(key: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_options(Toy, {key: text})
    assert str(caught.value) == message


def test_dashes_and_underscores_are_the_same() -> None:
    cls = method_class("autoencoder")
    assert make_options(cls, {"latent-dim": "5"}) == make_options(cls, {"latent_dim": "5"})


@pytest.mark.parametrize(("name", "value"), [("k", 1.5), ("k", True), ("map_megabytes", "many")])
def test_values_of_another_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match="whole number"):
        make_options(method_class("knn"), {name: value})


def test_values_from_python_are_taken_as_they_are() -> None:
    options = make_options(method_class("knn"), {"k": 5, "stages": (0, 1), "distance": "cosine"})
    assert (options.k, options.stages, options.distance) == (5, (0, 1), "cosine")


@pytest.mark.parametrize("rate", [-1, "-1e-3", float("nan"), float("inf")])
@pytest.mark.parametrize(("method", "name"), [("ganomaly", "learning_rate"), ("hetero-ae", "encoder_learning_rate")])
def test_a_rate_that_cannot_be_trained_with_is_refused_at_once(method: str, name: str, rate: object) -> None:
    with pytest.raises(UsageError, match=name):
        make_options(method_class(method), {name: rate})
