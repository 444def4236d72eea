"""The house keeps its shape: imports point down, importing costs nothing, docstrings match signatures."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unremarkable

SOURCE = Path(unremarkable.__file__).parent
#: top of the house first; a module may import from its own room and from those after it
ROOMS = (
    "cli",
    "report",
    "benchmark",
    "explain",
    "evaluation",
    "ensemble",
    "detector",
    "model_folder",
    "scoring",
    "training",
    "methods",
    "networks",
    "datasets",
    "imaging",
    "files",
    "errors",
)
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST) -> set[str]:
    names = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    return {name.split(".")[1] for name in names if name.startswith("unremarkable.")}


@pytest.mark.parametrize(
    "path", [m for m in MODULES if m != SOURCE / "__init__.py"], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_imports_point_down(path: Path) -> None:
    here = ROOMS.index(room_of(path))
    above = {room for room in imported_rooms(ast.parse(path.read_text())) if ROOMS.index(room) < here}
    assert not above, f"{path.name} in {ROOMS[here]} imports from {above}, which is above it"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_public_functions_have_docstrings_that_name_only_real_arguments(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        text = ast.get_docstring(node)
        if isinstance(node, ast.ClassDef):
            assert text, f"{path.name}: class {node.name} says nothing of itself"
            continue
        if not text:
            continue
        arguments = {a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
        section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text, re.M)
        named = re.findall(r"^    (\w+(?:, \w+)*):", section.group(1), re.M) if section else []
        stale = {name for line in named for name in line.split(", ")} - arguments
        assert not stale, f"{path.name}: {node.name} documents {stale}, which it does not take"


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "pandas", "scipy", "matplotlib", "pydicom", "rich", "typer"}
    assert not modules_after("import unremarkable") & heavy


def test_building_the_command_line_does_not_import_torch() -> None:
    heavy = {"torch", "numpy", "pandas", "scipy", "matplotlib", "pydicom", "kornia", "lightning_fabric", "rich"}
    assert not modules_after("import unremarkable.cli.main") & heavy


def test_imaging_and_datasets_do_without_torch() -> None:
    loaded = modules_after("import unremarkable.imaging.read, unremarkable.datasets.find, unremarkable.datasets.cache")
    assert not loaded & {"torch", "kornia", "lightning_fabric"}


def test_everything_that_is_offered_can_be_had() -> None:
    for name in unremarkable.__all__:
        assert getattr(unremarkable, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Detektor'"):
        _ = unremarkable.Detektor
