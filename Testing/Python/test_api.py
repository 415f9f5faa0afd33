"""The library from outside: its public names, what importing costs, who may know whom, and how it is set up."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import TransferSegLib

PACKAGE = Path(TransferSegLib.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"torch", "monai", "scipy", "SimpleITK", "nibabel", "pydantic", "matplotlib"}


class TestNames:
    @pytest.mark.parametrize("name", TransferSegLib.__all__)
    def test_each_public_name_is_there(self, name: str) -> None:
        assert getattr(TransferSegLib, name) is not None
        assert name in dir(TransferSegLib)

    def test_an_unknown_name_is_refused_as_python_does(self) -> None:
        with pytest.raises(AttributeError, match="module 'TransferSegLib' has no attribute 'nonsense'"):
            TransferSegLib.nonsense  # noqa: B018

    def test_the_lists_of_names_agree(self) -> None:
        tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
        typed = {
            alias.name: node.module
            for block in tree.body
            if isinstance(block, ast.If)
            for node in block.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert sorted(typed) == sorted(TransferSegLib.__all__)
        assert typed == TransferSegLib._MODULES

    def test_a_name_comes_from_the_module_it_is_defined_in(self) -> None:
        assert TransferSegLib.fine_tune is importlib.import_module("TransferSegLib.runs").fine_tune

    def test_the_version_is_that_of_the_package(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        assert TransferSegLib.__version__ == project["version"]


class TestImport:
    """Seen in a process of its own: here everything is loaded already."""

    @pytest.mark.parametrize(
        ("code", "allowed"),
        [
            ("import TransferSegLib", set()),
            ("import TransferSegLib.cli", set()),
            ("from TransferSegLib.__main__ import main; sys.argv = ['transferseg', '--help']; main()", set()),
            # Typer itself reads the options of a command with pydantic.
            (
                "from TransferSegLib.__main__ import main; sys.argv = ['transferseg', 'finetune', '--help']; main()",
                {"pydantic"},
            ),
        ],
    )
    def test_nothing_heavy_is_loaded(self, code: str, allowed: set[str]) -> None:
        tell = "import atexit, sys; atexit.register(lambda: print('LOADED', *sorted(sys.modules), file=sys.stderr)); "
        done = subprocess.run(
            [sys.executable, "-c", tell + code], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True
        )
        loaded = {name.partition(".")[0] for name in done.stderr.split("LOADED ")[1].split()}
        assert "TransferSegLib" in loaded
        assert loaded & HEAVY <= allowed


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path: Path, executed_only: bool) -> Iterator[str]:
    """Full names of the modules that a file imports, within functions too.

    With ``executed_only`` without those that are for type checkers.
    """
    package = module_name(path).split(".") + ([""] if path.name == "__init__.py" else [])
    for node in walk(ast.parse(path.read_text("utf-8")), executed_only):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: -node.level], *([node.module] if node.module else [])] if node.level else [node.module]
            for alias in node.names:
                inner = ".".join([*map(str, base), alias.name])
                yield inner if inner in MODULES else ".".join(map(str, base))


def walk(node: ast.AST, executed_only: bool) -> Iterator[ast.AST]:
    if executed_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from walk(child, executed_only)


def own_imports(name: str) -> set[str]:
    return {found for found in imports(MODULES[name], executed_only=True) if found in MODULES} - {name}


class TestLayers:
    """DESIGN, section 2."""

    def test_there_is_something_to_look_at(self) -> None:
        assert {"TransferSegLib", "TransferSegLib.cli", "TransferSegLib.preprocess.zscore"} <= set(MODULES)
        assert own_imports("TransferSegLib.cli") >= {"TransferSegLib.options", "TransferSegLib.datasets"}
        assert "TransferSegLib.case" in own_imports("TransferSegLib.preprocess.pipeline")

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
    def test_nothing_of_slicer_qt_or_vtk_is_imported(self, path: Path) -> None:
        roots = {name.partition(".")[0].lower() for name in imports(path, executed_only=False)}
        assert not roots & {"slicer", "qt", "vtk", "ctk", "pyside2", "pyside6", "pyqt5", "pyqt6", "mrml"}

    def test_imports_make_no_circle(self) -> None:
        done: set[str] = set()

        def visit(name: str, trail: tuple[str, ...]) -> None:
            assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
            if name not in done:
                for other in sorted(own_imports(name)):
                    visit(other, (*trail, name))
                done.add(name)

        for name in MODULES:
            visit(name, ())
        assert done == set(MODULES)

    @pytest.mark.parametrize(
        ("layer", "may_know"),
        [
            ("errors", set()),
            ("events", {"errors"}),
            ("files", {"errors"}),
            ("grid", {"errors"}),
            ("volume", {"errors", "files", "grid"}),
            ("labels", {"errors"}),
            ("case", {"errors", "events", "grid", "labels", "resample", "volume"}),
        ],
    )
    def test_the_ground_floor_knows_only_what_lies_below(self, layer: str, may_know: set[str]) -> None:
        assert own_imports(f"TransferSegLib.{layer}") <= {f"TransferSegLib.{name}" for name in may_know}

    def test_only_the_doors_know_the_command(self) -> None:
        command = {f"TransferSegLib.{name}" for name in ("cli", "options", "terminal", "__main__")}
        for name in set(MODULES) - command:
            assert not own_imports(name) & command, name

    def test_engine_room_and_data_do_not_know_training_and_inference(self) -> None:
        upper = {f"TransferSegLib.{name}" for name in ("training", "inference", "runs", "demo", "evaluation")}
        for name in ("network", "transfer", "losses", "augment", "metrics", "model", "datasets", "labels"):
            assert not own_imports(f"TransferSegLib.{name}") & upper, name
        for name in MODULES:
            if name.startswith("TransferSegLib.preprocess"):
                assert not own_imports(name) & upper, name

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
    def test_a_file_fits_in_the_head(self, path: Path) -> None:
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= 500
        assert not lines or lines[0].startswith('"""'), "a file says first what it is for"


def canonical(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


class TestSetUp:
    def test_constraints_pin_every_dependency_that_is_tested(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        pins = {canonical(line): line for line in lines if line.strip() and not line.startswith("#")}
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins.values())
        extras = project["optional-dependencies"]
        wanted = [*project["dependencies"], *extras["test"], *extras["study"], *extras["fast"]]
        missing = {canonical(item) for item in wanted} - set(pins)
        assert not missing
        assert "distributed" in pins, "dask[distributed] brings it"

    def test_dependencies_have_a_lower_bound_and_no_upper_one(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        extras = project["optional-dependencies"]
        for item in [*project["dependencies"], *(entry for name in extras if name != "all" for entry in extras[name])]:
            assert re.fullmatch(r"[\w.-]+(\[\w+\])?>=[\d.]+", item), item

    def test_the_extra_all_has_every_extra_but_that_of_tests(self) -> None:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        assert extras["all"] == [f"TransferSegLib[{','.join(name for name in extras if name not in ('all', 'test'))}]"]

    def test_the_command_starts_what_is_there(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        module, _, function = project["scripts"]["transferseg"].partition(":")
        assert callable(getattr(importlib.import_module(module), function))

    def test_every_package_is_installed(self) -> None:
        packages = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
        folders = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES}
        assert folders <= set(packages)

    def test_the_commands_of_the_readme_are_targets_of_the_makefile(self) -> None:
        told = set(re.findall(r"^\s*make (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
        targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert {"demo", "test"} <= told <= targets

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no make")
    def test_the_makefile_passes_the_tests_and_runs_the_demo(self) -> None:
        dry = subprocess.run(
            ["make", "--dry-run", "demo", "test"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert "-m TransferSegLib demo --out demo" in dry
        assert "-m pytest" in dry
