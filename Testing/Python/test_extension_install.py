"""The extension configured and installed by CMake, with a stand-in for Slicer's CMake, and used from where it lies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from extension import INDEX_ENTRY, LIBRARY, MODULE, ROOT, cmake_list, files_in, metadata
from SlicerHost import run_in_slicer

STAND_IN = ROOT / "Testing" / "SlicerCMake"
SHIPPED = sorted(path.parent.name for path in LIBRARY.glob("models/*/model.json"))
MODULES = Path("lib", "Slicer-5.13", "qt-scripted-modules")
SHARE = Path("share", "Slicer-5.13")


def program(name: str) -> str:
    """``cmake`` or ``ctest``, from PyPI if it is installed beside this Python."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(name)
    assert found, f"these tests need {name}: pip install cmake"
    return found


def call(*command: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not re.match("PYTHON|CMAKE|TRANSFERSEG", name)}
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=plain | environment, capture_output=True, encoding="utf-8", check=False
    )


def configure(source: Path, build: Path) -> subprocess.CompletedProcess[str]:
    options = {
        "Slicer_DIR": STAND_IN,
        "CMAKE_TOOLCHAIN_FILE": STAND_IN / "no_compiler.cmake",
        "TransferSeg_TESTING_PYTHON": Path(sys.executable),
    }
    defined = [f"-D{name}={path.as_posix()}" for name, path in options.items()]
    return call(program("cmake"), "-G", "Unix Makefiles", "-S", source, "-B", build, *defined)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension, configured."""
    folder = tmp_path_factory.mktemp("build")
    done = configure(ROOT, folder)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that Slicer would unpack from the package."""
    folder = tmp_path_factory.mktemp("ext ensión")  # as it can be called on a user's machine
    done = call(program("cmake"), "--install", build, "--prefix", folder)
    assert done.returncode == 0, done.stderr
    return folder


# ---------------------------------------------------------------------------- what is installed


def test_the_package_holds_the_module_and_the_library_and_nothing_else(installed: Path) -> None:
    expected = {(MODULES / name).as_posix() for name in files_in(MODULE)}
    expected |= {(MODULES / LIBRARY.name / name).as_posix() for name in files_in(LIBRARY)}
    assert files_in(installed) == expected | {(SHARE / "TransferSeg.json").as_posix()}
    for folder, target in ((MODULE, MODULES), (LIBRARY, MODULES / LIBRARY.name)):
        for name in files_in(folder):
            assert (folder / name).read_bytes() == (installed / target / name).read_bytes(), name


def test_slicer_sees_one_module_in_it(installed: Path) -> None:
    assert [path.name for path in (installed / MODULES).glob("*.py")] == ["TransferSeg.py"]


def test_its_description_is_that_of_the_index(installed: Path) -> None:
    told = json.loads((installed / SHARE / "TransferSeg.json").read_text("utf-8"))
    entry = json.loads(INDEX_ENTRY.read_text("utf-8"))
    assert (told["name"], told["category"]) == (INDEX_ENTRY.stem, entry["category"])
    assert (told["depends"], told["build_subdirectory"]) == ("PyTorch", entry["build_subdirectory"])
    assert told["description"] == metadata("DESCRIPTION")


def test_the_installed_library_has_its_models_and_data(installed: Path, tmp_path: Path) -> None:
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "import TransferSegLib as ts\n"
        "from TransferSegLib.preprocess.template import load_template\n"
        "load_template()\n"
        "models = [(entry.name, entry.problem, ts.load_model(entry.path).card.name) for entry in ts.list_models()]\n"
        "print(json.dumps([ts.__file__, models]))"
    )
    # -I: neither this folder nor PYTHONPATH is looked into.
    done = call(sys.executable, "-I", "-c", code, installed / MODULES, cwd=tmp_path, TRANSFERSEG_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    file, models = json.loads(done.stdout)
    assert Path(file) == installed / MODULES / "TransferSegLib" / "__init__.py"
    assert SHIPPED
    assert models == [[name, None, name] for name in SHIPPED]


def test_the_installed_command_works_as_the_module_calls_it(installed: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "TransferSegLib", "models", "list")
    done = call(*command, cwd=installed / MODULES, TRANSFERSEG_HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^([\w-]+) .* shipped ", done.stdout, re.M) == SHIPPED


# ---------------------------------------------------------------------------- its tests


def registered(build: Path) -> Mapping[str, list[str]]:
    done = call(program("ctest"), "--test-dir", build, "--show-only=json-v1")
    assert done.returncode == 0, done.stderr
    return {test["name"]: test["command"] for test in json.loads(done.stdout)["tests"]}


def test_ctest_knows_the_tests_of_the_module(build: Path) -> None:
    listed = cmake_list(ROOT / "Testing" / "CMakeLists.txt", "TESTS")
    tests = registered(build)
    module = {"py_TransferSeg", "py_nomainwindow_qSlicerTransferSegModuleGenericTest"}
    assert set(tests) == module | {f"py_TransferSeg_{name}_run_in_slicer" for name in listed}
    for name in listed:
        runner, test = ROOT / "Testing/SlicerHost/run_in_slicer.py", ROOT / f"Testing/Slicer/{name}"
        command = tests[f"py_TransferSeg_{name}_run_in_slicer"]
        assert command[-5:] == ["--no-splash", "--testing", "--python-script", runner.as_posix(), test.as_posix()]


def test_ctest_runs_them(build: Path) -> None:
    done = call(program("ctest"), "--test-dir", build, "--verbose", "--tests-regex", "test_terminology")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d passed", done.stdout)


def test_they_are_skipped_in_a_slicer_without_pytest(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)  # type: ignore[arg-type]
    assert run_in_slicer.run([]) == run_in_slicer.NO_PYTEST
    (files,) = (build / "Testing").glob("CTestTestfile.cmake")
    assert f'SKIP_RETURN_CODE "{run_in_slicer.NO_PYTEST}"' in files.read_text("utf-8")


# ---------------------------------------------------------------------------- the stand-in for Slicer's CMake

EXTENSION = """cmake_minimum_required(VERSION 3.16.3...3.28.0)
project(Tiny)
set(EXTENSION_HOMEPAGE "https://example.org")
set(EXTENSION_CATEGORY "Segmentation")
set(EXTENSION_CONTRIBUTORS "Jane Roe" "John Doe")
set(EXTENSION_DESCRIPTION "Says what it does.")
set(EXTENSION_ICONURL "https://example.org/icon.png")
set(EXTENSION_SCREENSHOTURLS "https://example.org/1.png")
set(EXTENSION_BUILD_SUBDIRECTORY ".")
set(EXTENSION_README_FILE "${CMAKE_CURRENT_SOURCE_DIR}/Tiny.py")
set(EXTENSION_LICENSE_FILE "${CMAKE_CURRENT_SOURCE_DIR}/Tiny.py")
find_package(Slicer REQUIRED)
include(${Slicer_USE_FILE})
slicerMacroBuildScriptedModule(NAME Tiny SCRIPTS Tiny.py TinyLib/part RESOURCES icon.png WITH_GENERIC_TESTS)
slicer_add_python_unittest(SCRIPT Tiny.py)
slicer_add_python_test(SCRIPT TinyLib/part.py TESTNAME_PREFIX one_ SCRIPT_ARGS a b)
include(${Slicer_EXTENSION_GENERATE_CONFIG})
include(${Slicer_EXTENSION_CPACK})
"""

MISTAKES = {
    "a script that is not there": ("TinyLib/part ", "TinyLib/gone ", "'TinyLib/gone' is no file"),
    "a resource that is not there": ("icon.png WITH", "gone.png WITH", "'gone.png' is no file"),
    "a folder": ("icon.png WITH", "TinyLib WITH", "'TinyLib' is no file"),
    "an unknown keyword": ("SCRIPTS Tiny.py", "SCRIPT Tiny.py", "unknown keywords 'SCRIPT;Tiny.py"),
    "no name": ("NAME Tiny", "", "NAME is missing"),
    "no scripts": ("SCRIPTS Tiny.py TinyLib/part", "SCRIPTS ${NONE}", "SCRIPTS is empty"),
    "a file named twice": ("TinyLib/part ", "TinyLib/part TinyLib/part.py ", "is named twice"),
    "a second file beside the module": ("TinyLib/part ", "other.py ", "would take 'other.py' for a module"),
    "a test that is not there": ("unittest(SCRIPT Tiny", "unittest(SCRIPT gone", "there is no "),
    "a test with an unknown keyword": ("SCRIPT_ARGS", "ARGS", "unknown keywords 'ARGS;a;b'"),
    "a test that slicer would not run": (
        "SCRIPT_ARGS a b",
        "SCRIPT_ARGS a.py b",
        "Slicer would run a.py;b in place of",
    ),
    "two tests of one name": ("(SCRIPT Tiny.py)", "(SCRIPT TinyLib/part.py TESTNAME_PREFIX one_)", "py_one_part"),
    "no project name": ("project(Tiny)", "project(Project)", "Call project"),
    "no metadata": ('set(EXTENSION_ICONURL "https://example.org/icon.png")\n', "", "EXTENSION_ICONURL is missing"),
    "a semicolon": ("Says what it does.", "Says; does.", "EXTENSION_DESCRIPTION has a semicolon"),
    "no licence": (
        'LICENSE_FILE "${CMAKE_CURRENT_SOURCE_DIR}/Tiny.py"',
        'LICENSE_FILE "gone"',
        "LICENSE_FILE is no file",
    ),
    "two names": ("find_package(", "set(EXTENSION_NAME Other)\nfind_package(", "but the project is called Tiny"),
    "no use file": ("include(${Slicer_USE_FILE})\n", "", "Unknown CMake command"),
}


def tiny_extension(folder: Path, text: str) -> Path:
    (folder / "TinyLib").mkdir(parents=True)
    for name in ("Tiny.py", "other.py", "icon.png", "TinyLib/part.py"):
        (folder / name).touch()
    (folder / "CMakeLists.txt").write_text(text, "utf-8")
    return folder


def test_the_stand_in_takes_an_extension_as_slicer_does(tmp_path: Path) -> None:
    done = configure(tiny_extension(tmp_path / "source", EXTENSION), tmp_path / "build")
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path / "build" / MODULES) == {"Tiny.py", "TinyLib/part.py", "icon.png"}
    tests = registered(tmp_path / "build")
    assert set(tests) == {"py_nomainwindow_qSlicerTinyModuleGenericTest", "py_Tiny", "py_one_part"}
    assert tests["py_one_part"][-2:] == ["a", "b"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_stand_in_stops_at(mistake: str, tmp_path: Path) -> None:
    old, new, reason = MISTAKES[mistake]
    assert EXTENSION.count(old) == 1
    done = configure(tiny_extension(tmp_path / "source", EXTENSION.replace(old, new)), tmp_path / "build")
    assert done.returncode != 0
    assert reason in re.sub(r"\s+", " ", done.stderr)
