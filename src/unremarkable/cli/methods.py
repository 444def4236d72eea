"""`unremarkable methods [NAME]`."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Annotated, Any

import typer

from unremarkable.cli.common import Json, print_json, table


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, with its options and defaults.")] = None,
    as_json: Json = False,
) -> None:
    """List the methods, or describe one of them."""
    from unremarkable.methods.registry import method_class, method_names

    described = [_describe(method_class(each)) for each in ([name] if name else method_names())]
    if as_json:
        print_json({"methods": described})
    elif name is None:
        print(table([(each["name"], each["family"], each["summary"]) for each in described], indent=0))
        print("\nunremarkable methods NAME shows one with its options.")
    else:
        one = described[0]
        print(
            f"{one['name']}  ({one['family']})\n{one['paper']}\n\n{one['description']}\n\nOptions (--set option=value):"
        )
        print(table([(f"{o['name']}={o['default']}", o["help"]) for o in one["options"]]))


def _describe(cls: Any) -> dict[str, Any]:
    text = inspect.getdoc(cls) or ""
    return {
        "name": cls.name,
        "family": cls.family,
        "paper": cls.paper,
        "summary": text.split("\n", 1)[0],
        "description": text,
        "reduction": cls.reduction,
        "size": cls.default_size,
        "options": [
            {"name": field.name, "default": field.default, "help": field.metadata.get("help", "")}
            for field in dataclasses.fields(cls.Options)
        ],
    }
