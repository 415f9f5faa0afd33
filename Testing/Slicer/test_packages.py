"""What is missing is told without importing it, and mended with one question; nothing here installs anything."""

import importlib.metadata
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import slicer
import slicer.packaging
from TransferSegBridge import packages
from TransferSegBridge.packages import install, missingPackages, requireReady, status, torchState
from TransferSegBridge.worker import Outcome, Worker

from TransferSegLib.errors import DependencyError

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["pydantic", "nibabel", "safetensors", "filelock", "typer", "rich", "monai"]


class World:
    """A pretended Slicer: what it has, what its user answers, and what was done."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.consents = self.restarts = True
        self.works = self.works_then = True
        self.asked: list[str] = []
        self.done: list[object] = []

    def check(self, requirement: object) -> bool:
        return str(requirement).split(">")[0] not in self.missing

    def confirm(self, text: str, title: str = "", parent: object = None, **_options: object) -> bool:
        self.asked.append(text)
        return self.consents

    def confirm_restart(self, text: str, title: str = "", parent: object = None, **_options: object) -> bool:
        self.asked.append(text)
        return self.restarts

    def install(self, names: object, *what: object) -> None:
        self.done.append(what)
        if not self.works:
            raise subprocess.CalledProcessError(1, ["pip", "install"])
        if self.works_then:
            self.missing -= set(names)

    def ensure(self, requirements: list[str], **options: object) -> None:
        self.install([name.split(">")[0] for name in requirements], "pip_ensure", requirements, options)

    def pip(self, requirements: list[str]) -> None:
        if requirements[0] == "--constraint":
            self.done.append(Path(requirements[1]).read_text("utf-8"))
            requirements = ["--constraint", "FILE", *requirements[2:]]
        self.install([name.split(">")[0] for name in requirements], "pip_install", requirements)

    def torch_logic(self) -> ModuleType:
        world = self

        class PyTorchUtilsLogic:
            def installTorch(self, **options: object) -> None:
                world.install(["torch"], "installTorch", options)

        module = ModuleType("PyTorchUtils")
        module.PyTorchUtilsLogic = PyTorchUtilsLogic
        return module


class Extensions:
    """The extensions manager model, as far as it is used."""

    def __init__(self, world: World, works: bool = True) -> None:
        self.world, self.works, self.installed, self.interactive = world, works, set(), True

    def isExtensionInstalled(self, name: str) -> bool:
        return name in self.installed

    def installExtensionFromServer(self, name: str, restart: bool = True, update: bool = False) -> bool:
        self.world.done.append((name, restart, self.interactive))
        if self.works:
            self.installed.add(name)
        return self.works


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """All is there, and so is the PyTorch extension."""
    world = World()
    monkeypatch.setattr(slicer.packaging, "pip_check", world.check)
    monkeypatch.setattr(slicer.packaging, "pip_ensure", world.ensure)
    monkeypatch.setattr(slicer.util, "pip_install", world.pip, raising=False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", world.confirm)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", world.confirm_restart)
    monkeypatch.setattr(slicer.util, "restart", lambda: world.done.append("restart"))
    monkeypatch.setattr(packages, "_checkAll", lambda: world.done.append("check"))
    monkeypatch.setattr(packages, "_version", lambda name: "2.8.0" if name == "torch" else "1.0")
    monkeypatch.setattr(packages, "_isFound", lambda name: name in sys.modules or name == "torch")
    monkeypatch.setitem(sys.modules, "PyTorchUtils", world.torch_logic())
    return world


@pytest.fixture
def extensions(world: World, monkeypatch: pytest.MonkeyPatch) -> Extensions:
    """Neither PyTorch nor its extension."""
    model = Extensions(world)
    world.missing.add("torch")
    monkeypatch.setattr(packages, "_extensions", lambda: model)
    monkeypatch.delitem(sys.modules, "PyTorchUtils")
    return model


class TestRequirements:
    def test_they_are_those_of_the_library(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        of_slicer = ("torch", "numpy", "scipy", "SimpleITK")
        wanted = [line for line in project["dependencies"] if line.split(">")[0] not in of_slicer]
        found = slicer.packaging.load_requirements(packages.REQUIREMENTS)
        assert sorted(map(str, found)) == sorted(wanted)

    def test_torch_is_the_one_of_the_library(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        assert f"torch>={packages.TORCH_VERSION}" in project["dependencies"]

    def test_what_slicer_brings_is_never_asked_of_pip(self) -> None:
        text = packages.REQUIREMENTS.read_text("utf-8")
        assert text.isascii()  # Slicer reads it in the encoding of the system
        lines = [line for line in text.splitlines() if line and line[0] != "#"]
        assert [packages._name(line) for line in lines] == NAMES


class TestStatus:
    def test_when_all_is_there_nothing_is_to_do(self, world: World) -> None:
        assert missingPackages() == []
        assert torchState() == "ok"
        assert status() == packages.PackageStatus(True, "All Python packages are installed (PyTorch 2.8.0).", "")
        requireReady()

    def test_what_is_missing_is_named(self, world: World) -> None:
        world.missing = {"nibabel", "typer"}
        assert [packages._name(line) for line in missingPackages()] == ["nibabel", "typer"]
        found = status()
        assert not found.ready
        assert found.text == "Missing: nibabel, typer."
        assert found.action == "Install packages"

    def test_without_torch(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.missing = {"torch", "monai"}
        monkeypatch.setattr(packages, "_version", lambda name: "")
        assert torchState() == "missing"
        assert status().text == "Missing: PyTorch, monai."

    def test_with_a_torch_that_is_too_old(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.missing = {"torch"}
        monkeypatch.setattr(packages, "_version", lambda name: "2.1.0")
        assert torchState() == "missing"
        assert status().text == "Missing: PyTorch 2.6 or newer (2.1.0 is installed)."

    def test_with_a_torch_of_which_only_the_name_is_left(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "_isFound", lambda name: name == "PyTorchUtils")
        assert torchState() == "missing"
        assert status().text == "Missing: PyTorch."

    def test_without_the_extension(self, extensions: Extensions) -> None:
        assert torchState() == "extension missing"
        assert status() == packages.PackageStatus(
            False, "The PyTorch extension of Slicer is not installed.", "Install PyTorch extension"
        )

    def test_with_the_extension_but_before_a_restart(self, extensions: Extensions) -> None:
        extensions.installed.add("PyTorch")
        assert status().action == "Restart Slicer"
        assert "restarted" in status().text

    def test_torch_without_the_extension_will_do(self, extensions: Extensions, world: World) -> None:
        world.missing.clear()
        assert torchState() == "ok"
        assert status().ready

    def test_a_logic_is_refused_with_cause_and_remedy_and_no_dialog(self, world: World) -> None:
        world.missing = {"rich"}
        with pytest.raises(DependencyError) as caught:
            requireReady()
        assert caught.value.cause == "Missing: rich."
        assert caught.value.remedy == 'Press "Install packages" in the TransferSeg module.'
        assert world.asked == []

    def test_metadata_that_cannot_be_read_counts_as_missing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(requirement: object) -> bool:
            raise TypeError("expected string or bytes-like object, got 'NoneType'")

        monkeypatch.setattr(slicer.packaging, "pip_check", broken)
        assert [packages._name(line) for line in missingPackages()] == NAMES

    def test_it_is_told_at_once(self) -> None:
        status()
        started = time.monotonic()
        for _turn in range(5):
            status()
        assert (time.monotonic() - started) / 5 < 0.1

    def test_nothing_is_imported_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("torch", *NAMES):
            monkeypatch.setitem(sys.modules, name, None)  # an import of it is an ImportError
        status()

    def test_it_tells_of_this_very_python(self) -> None:
        for line in missingPackages():
            name = packages._name(line)
            with pytest.raises(importlib.metadata.PackageNotFoundError):
                importlib.metadata.version(name)


class TestInstalling:
    def test_with_all_there_it_asks_nothing(self, world: World) -> None:
        install()
        assert world.asked == world.done == []

    def test_it_asks_once_and_installs_torch_first(self, world: World) -> None:
        world.missing = {"torch", "nibabel", "monai"}
        install()
        assert len(world.asked) == 1
        for word in ("PyTorch", "nibabel, monai", "3 GB", "20 MB"):
            assert word in world.asked[0]
        assert [what[0] for what in world.done[:2]] == ["installTorch", "pip_ensure"]
        assert world.done[2] == "check"
        assert status().ready

    def test_torch_comes_by_the_extension_without_a_second_question(self, world: World) -> None:
        world.missing = {"torch"}
        install()
        assert world.done == [
            ("installTorch", {"askConfirmation": False, "torchVersionRequirement": ">=2.6"}),
            "check",
        ]

    def test_pip_never_gets_what_slicer_and_the_extension_bring(self, world: World) -> None:
        world.missing = set(NAMES)
        install()
        ((_function, requirements, options), _check) = world.done
        assert [packages._name(line) for line in requirements] == NAMES
        assert {"torch", "numpy", "scipy", "SimpleITK", "vtk"} <= set(options["skip_packages"])
        assert options["prompt_install"] is False
        assert options["skip_in_testing"] is False

    def test_only_what_is_missing_is_asked_for(self, world: World) -> None:
        world.missing = {"rich"}
        install()
        assert world.done[0][1] == [line for line in packages.REQUIREMENTS.read_text().split() if "rich" in line]
        assert "PyTorch" not in world.asked[0]

    def test_who_declines_gets_nothing(self, world: World) -> None:
        world.missing, world.consents = {"torch", "monai"}, False
        install()
        assert world.done == []
        assert not status().ready

    @pytest.mark.parametrize("missing", ["torch", "monai"])
    def test_a_failure_tells_what_to_do(self, world: World, missing: str) -> None:
        world.missing, world.works = {missing}, False
        with pytest.raises(DependencyError) as caught:
            install()
        assert "could not be installed: Command" in caught.value.cause
        assert "internet connection" in caught.value.remedy
        assert "check" not in world.done

    def test_a_package_that_quietly_did_not_come_is_named(self, world: World) -> None:
        world.missing, world.works_then = {"rich", "typer"}, False
        with pytest.raises(DependencyError, match=r"could not be installed: typer, rich\."):
            install()

    def test_a_torch_that_quietly_did_not_come_is_to_be_replaced(self, world: World) -> None:
        world.missing, world.works_then = {"torch"}, False
        with pytest.raises(DependencyError, match="uninstall PyTorch in the module PyTorch Utils"):
            install()

    def test_a_slicer_without_its_packaging_keeps_its_own_packages(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        monkeypatch.delattr(slicer, "packaging")
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "0" if name in world.missing else "99.0")
        world.missing = {"nibabel", "monai"}
        assert status().text == "Missing: nibabel, monai."
        install()
        constraints, *calls = world.done
        assert {"numpy==1.0", "SimpleITK==1.0", "torch==2.8.0"} <= set(constraints.split())
        assert calls == [
            ("pip_install", ["--constraint", "FILE", "nibabel>=5.3"]),
            ("pip_install", ["--no-deps", "monai>=1.5"]),
            "check",
        ]


class TestFigures:
    def test_what_they_need_is_that_of_the_library(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        assert packages.FIGURES in project["optional-dependencies"]["study"]

    def test_without_it_all_else_is_ready(self, world: World) -> None:
        world.missing = {"matplotlib"}
        assert not packages.figuresReady()
        assert status().ready
        install()
        assert world.asked == world.done == []

    def test_it_is_installed_without_a_further_question_and_nothing_of_slicer_is_touched(self, world: World) -> None:
        world.missing = {"matplotlib", "rich"}
        packages.installFigures()
        assert packages.figuresReady()
        assert world.asked == []
        ((kind, requirements, options),) = world.done
        assert (kind, requirements) == ("pip_ensure", [packages.FIGURES])
        assert "numpy" in options["skip_packages"]

    def test_a_failure_is_told(self, world: World) -> None:
        world.missing, world.works_then = {"matplotlib"}, False
        with pytest.raises(DependencyError, match="matplotlib"):
            packages.installFigures()


class TestExtension:
    def test_it_is_offered_and_then_a_restart(self, extensions: Extensions, world: World) -> None:
        install()
        assert len(world.asked) == 2
        assert "restarted" in world.asked[0]
        assert world.done == [("PyTorch", False, False), "restart"]
        assert extensions.interactive  # as it was

    def test_the_restart_may_wait(self, extensions: Extensions, world: World) -> None:
        world.restarts = False
        install()
        assert "restart" not in world.done
        world.restarts = True
        install()
        assert world.done == [("PyTorch", False, False), "restart"]
        assert len(world.asked) == 3

    def test_who_declines_gets_nothing(self, extensions: Extensions, world: World) -> None:
        world.consents = False
        install()
        assert world.done == []

    def test_a_failure_tells_what_to_do(self, extensions: Extensions, world: World) -> None:
        extensions.works = False
        with pytest.raises(DependencyError, match="Extensions Manager"):
            install()
        assert "restart" not in world.done

    def test_a_slicer_that_has_none_says_so(
        self, extensions: Extensions, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(packages, "_extensions", lambda: None)
        assert status().action == "Install PyTorch extension"
        with pytest.raises(DependencyError, match="cannot install extensions by itself"):
            install()

    def test_the_model_of_this_slicer_is_asked(self) -> None:
        assert packages._waitsForRestart() in (True, False)


class TestCheck:
    """What was installed is imported in a process of its own."""

    @pytest.fixture
    def python(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """A Python that finds the modules that the test writes."""
        runner = tmp_path / "runner.py"
        runner.write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nexec(sys.argv[2])", "utf-8")
        monkeypatch.setattr(packages, "pythonCommand", lambda: [sys.executable, str(runner)])
        for name in ("torch", *NAMES):
            (tmp_path / f"{name}.py").touch()
        return tmp_path

    def test_all_is_well(self, python: Path) -> None:
        packages._checkAll()

    def test_a_torch_that_does_not_work_is_to_be_replaced(self, python: Path) -> None:
        (python / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
        with pytest.raises(DependencyError, match=r"PyTorch does not work: OSError: libcudart.* uninstall PyTorch"):
            packages._checkAll()

    def test_who_restarts_slicer_meanwhile_sees_no_error(self, python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Worker, "wait", lambda self: Outcome(3))
        packages._checkAll()

    def test_a_package_that_does_not_work_is_told(self, python: Path) -> None:
        (python / "nibabel.py").write_text("import nothing_of_that_name")
        with pytest.raises(DependencyError, match="No module named 'nothing_of_that_name'"):
            packages._checkAll()


def test_what_needs_no_torch_asks_for_the_other_packages_only(world: World) -> None:
    world.missing = {"torch"}
    packages.requirePackages()
    world.missing = {"nibabel"}
    with pytest.raises(DependencyError, match="nibabel"):
        packages.requirePackages()
