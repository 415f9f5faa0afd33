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
from dataclasses import fields
from pathlib import Path

import pytest
from model_examples import small_model

import TransferSegLib
from TransferSegLib.events import Event
from TransferSegLib.model import save_model

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


# What a fresh Slicer has, and what the Slicer module imports before anything is installed.
IN_SLICER = ("numpy", "scipy", "SimpleITK")
WITHOUT_PACKAGES = (
    *("errors", "events", "files", "formats", "labels", "naming", "case_files", "splits"),
    *("registry", "strategies", "recipe", "preparation", "study.design", "study.compare"),
)

# Refuses every other package, as if it were not installed.
_FRESH = f"""
import sys
from importlib.abc import MetaPathFinder

class OnlyWhatSlicerHas(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {{*sys.stdlib_module_names, "TransferSegLib", *{IN_SLICER!r}}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, OnlyWhatSlicerHas())
"""


def in_fresh_slicer(code: str, **environment: str) -> str:
    """What ``code`` prints where only the packages of a fresh Slicer are installed."""
    done = subprocess.run(
        [sys.executable, "-c", _FRESH + code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestFreshSlicer:
    """Where nothing was installed yet the Slicer module must come up, list models and tell what is missing."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> str:
        """The user's models: one called ``mine``."""
        save_model(small_model(), tmp_path / "models" / "mine")
        return str(tmp_path)

    def test_these_packages_are_missing_there(self) -> None:
        packages = ("nibabel", "pydantic", "safetensors", "typer", "rich", "monai", "torch")
        told = in_fresh_slicer(f"""
for package in {packages}:
    try:
        __import__(package)
    except ModuleNotFoundError:
        print(package)
""")
        assert told.split() == list(packages)

    def test_these_modules_can_be_imported_there(self) -> None:
        told = in_fresh_slicer(f"""
import importlib
for name in {WITHOUT_PACKAGES}:
    try:
        importlib.import_module(f"TransferSegLib.{{name}}")
    except Exception as error:
        print(name, error)
""")
        assert told == ""

    def test_channels_cases_and_roles_work_there(self) -> None:
        assert in_fresh_slicer("""
from pathlib import Path
from TransferSegLib.case_files import CHANNELS, CaseFiles
from TransferSegLib.naming import common_name, guess_channel
from TransferSegLib.splits import assign_roles
files = [Path(f"anna_{word}.nii.gz") for word in ("T1", "t1ce", "T2", "FLAIR")]
print(common_name(files), [guess_channel(file) for file in files] == list(CHANNELS))
cases = [CaseFiles(f"p{number}", {"t1": Path("a")}, group="AB"[number % 2]) for number in range(8)]
roles = assign_roles(cases, 0.25, 0.25, 0)
print(len(roles.training), len(roles.validation), len(roles.held_out))
""").split("\n")[:2] == ["anna True", "4 2 2"]

    def test_labels_strategies_and_choices_work_there(self) -> None:
        assert in_fresh_slicer("""
import numpy as np
from TransferSegLib.labels import GLIOMA, LabelScheme
from TransferSegLib.preparation import Preparation
from TransferSegLib.recipe import Recipe
from TransferSegLib.strategies import STRATEGIES, count_parameters
assert LabelScheme.from_dict(GLIOMA.to_dict()) == GLIOMA
print(GLIOMA.decode(GLIOMA.encode(np.array([0, 1, 2, 4]))))
print([count_parameters(strategy, 4, 4).trained for strategy in STRATEGIES.values()])
print(Recipe().epochs, Preparation(spacing=2.0).chosen())
""").splitlines() == ["[0 1 2 4]", "[101048, 1324, 45576, 101048, 188]", "100 {'spacing': 2.0}"]

    def test_models_are_listed_with_what_is_missing_to_use_them(self, home: str) -> None:
        told = in_fresh_slicer(
            """
from TransferSegLib.registry import list_models
for entry in list_models():
    print(entry.name, entry.problem)
""",
            TRANSFERSEG_HOME=home,
        )
        shipped = sorted(path.parent.name for path in PACKAGE.glob("models/*/model.json"))
        assert told.splitlines() == [f"{name} The package pydantic is not installed." for name in (*shipped, "mine")]

    @pytest.mark.parametrize(
        ("code", "package"),
        [
            ("from TransferSegLib.model import load_model; load_model('mine')", "pydantic"),
            ("from TransferSegLib.registry import export_model; export_model('mine', 'a.zip')", "pydantic"),
            ("from TransferSegLib.model import new_model; new_model({}, {})", "pydantic"),
            ("import TransferSegLib.card_parts", "pydantic"),
            ("from TransferSegLib.bundle import serialize_weights; serialize_weights({})", "safetensors"),
            ("from TransferSegLib.bundle import parse_weights; parse_weights(b'', '')", "safetensors"),
        ],
    )
    def test_whoever_needs_the_rest_says_so(self, home: str, code: str, package: str) -> None:
        told = in_fresh_slicer(
            f"""
from TransferSegLib.errors import DependencyError
try:
    {code}
except DependencyError as error:
    print(error)
""",
            TRANSFERSEG_HOME=home,
        )
        assert told == f"The package {package} is not installed. Install it with: pip install {package}\n"


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
            ("formats", set()),
            ("volume", {"errors", "files", "formats", "grid"}),
            ("labels", {"errors"}),
            ("case_files", {"errors"}),
            ("naming", {"case_files", "formats"}),
            ("case", {"case_files", "errors", "events", "grid", "labels", "resample", "volume"}),
        ],
    )
    def test_the_ground_floor_knows_only_what_lies_below(self, layer: str, may_know: set[str]) -> None:
        assert own_imports(f"TransferSegLib.{layer}") <= {f"TransferSegLib.{name}" for name in may_know}

    def test_only_the_doors_know_the_command(self) -> None:
        command = {
            f"TransferSegLib.{name}" for name in ("cli", "cli_models", "cli_study", "options", "terminal", "__main__")
        }
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


class TestArchitecture:
    """Docs/architecture.md: a map is worth little where it is wrong."""

    TEXT = (ROOT / "Docs" / "architecture.md").read_text("utf-8")

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
    def test_each_file_has_its_place(self, path: Path) -> None:
        if path.stem not in ("__init__", "__main__", "step"):
            assert f"`{path.stem}`" in self.TEXT.split("How data flows")[0]

    @pytest.mark.parametrize("event", Event.__subclasses__(), ids=lambda event: event.name)
    def test_each_event_is_listed_with_its_fields(self, event: type[Event]) -> None:
        (row,) = re.findall(rf"^\| `{event.name}` \|.*\|(.*)\|$", self.TEXT, re.MULTILINE)
        assert re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row.split(": `loss`")[0])) == [
            item.name for item in fields(event)
        ]

    def test_what_can_be_imported_in_a_fresh_slicer_is_told(self) -> None:
        (told,) = re.findall(r"as in a fresh Slicer, these can be imported: (.*?)\. ", self.TEXT, re.DOTALL)
        assert set(re.findall(r"`([\w.]+)`", told)) == set(WITHOUT_PACKAGES)


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
