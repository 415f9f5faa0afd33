"""The Slicer extension: its CMake lists name all files, and it is as the Extensions Index wants it."""

from __future__ import annotations

import ast
import json
import re
import struct
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from extension import INDEX_ENTRY, LIBRARY, MODULE, RAW, REPOSITORY, ROOT, cmake_list, files_in, metadata

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
README = (ROOT / "README.md").read_text("utf-8")
# What every Slicer has, beside the standard library.
IN_SLICER = {"numpy", "scipy", "SimpleITK", "vtk", "vtkmodules", "slicer", "qt", "ctk"}
IMAGES = ("ICONURL", "SCREENSHOTURLS")


def bounds(requirements: list[str]) -> dict[str, str]:
    """Package to what is asked of its version."""
    found = (re.fullmatch(r"([\w-]+)(\S*)", line) for line in requirements)
    return {match[1]: match[2] for match in found if match}


# ---------------------------------------------------------------------------- the lists of CMake


@pytest.mark.parametrize("folder", [MODULE, LIBRARY], ids=lambda folder: folder.name)
def test_all_files_are_in_the_package(folder: Path) -> None:
    lists = folder / "CMakeLists.txt"
    scripts, resources = (cmake_list(lists, f"MODULE_PYTHON_{kind}") for kind in ("SCRIPTS", "RESOURCES"))
    listed = scripts + resources
    left_out, gone = sorted(files_in(folder) - set(listed)), sorted(set(listed) - files_in(folder))
    assert not left_out, f"would be missing in Slicer: add to {lists}: {' '.join(left_out)}"
    assert not gone, f"named in {lists}, but not there: {' '.join(gone)}"
    assert len(set(listed)) == len(listed)
    assert all(name.endswith(".py") for name in scripts)


def test_all_tests_of_the_module_run_in_slicer() -> None:
    there = {path.stem for path in (ROOT / "Testing" / "Slicer").glob("test_*.py")}
    assert set(cmake_list(ROOT / "Testing" / "CMakeLists.txt", "TESTS")) == there


def test_slicer_finds_one_module_in_the_folder() -> None:
    assert [path.name for path in MODULE.glob("*.py")] == ["TransferSeg.py"]  # it takes each file for a module


# ---------------------------------------------------------------------------- what Slicer lacks


def at_file_scope(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when the file is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_file_scope(child)


def imports_of_the_module() -> Iterator[tuple[Path, ast.Import | ast.ImportFrom]]:
    for path in sorted(MODULE.rglob("*.py")):
        for statement in at_file_scope(ast.parse(path.read_text("utf-8"))):
            yield path, statement


def test_the_module_imports_nothing_at_file_scope_that_slicer_lacks() -> None:
    known = set(sys.stdlib_module_names) | IN_SLICER | {"TransferSeg", "TransferSegBridge", "TransferSegLib"}
    for path, statement in imports_of_the_module():
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        else:
            names = [statement.module or ""] if statement.level == 0 else []
        unknown = [name for name in names if name.split(".")[0] not in known]
        assert not unknown, f"{path} line {statement.lineno}: import {unknown} in the function that needs it"


def test_what_it_imports_of_the_library_needs_nothing_that_slicer_lacks() -> None:
    statements = {ast.unparse(statement) for _, statement in imports_of_the_module()}
    wanted = sorted(line for line in statements if re.match(r"(from|import) TransferSegLib\b", line))
    assert wanted
    lacking = sorted(set(bounds(PROJECT["dependencies"])) - IN_SLICER)
    code = f"import sys; sys.modules.update(dict.fromkeys({lacking}))\n"  # None: the import fails
    code += "".join(f"try: {line}\nexcept ImportError as error: print({line!r}, error)\n" for line in wanted)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_slicer_installs_the_versions_of_the_package_and_neither_torch_nor_what_it_has() -> None:
    lines = (MODULE / "Resources" / "requirements.txt").read_text("utf-8").splitlines()
    asked = bounds([line for line in lines if not line.startswith("#")])
    wanted = {
        name: bound for name, bound in bounds(PROJECT["dependencies"]).items() if name not in IN_SLICER | {"torch"}
    }
    assert asked == wanted
    assert all(re.fullmatch(r">=[\d.]+", bound) for bound in asked.values())


# ---------------------------------------------------------------------------- the Extensions Index


def test_the_index_entry_follows_the_schema() -> None:
    data = INDEX_ENTRY.read_bytes()
    entry = json.loads(data)
    kinds = {"build_dependencies": list, "enabled": bool, "tier": int}
    allowed = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_subdirectory", *kinds}
    assert {"$schema", "category", "scm_url"} <= set(entry) <= allowed
    assert all(isinstance(value, kinds.get(key, str)) for key, value in entry.items())
    assert re.search(r"/slicer-extension-catalog-entry-schema-v1\.0\.1\.json#$", entry["$schema"])
    assert entry.get("tier", 1) in (1, 3, 5)
    assert entry.get("scm_type", "git") == "git"
    assert b"\r" not in data
    assert data.endswith(b"}\n")


def test_the_index_entry_and_cmake_agree() -> None:
    entry = json.loads(INDEX_ENTRY.read_bytes())
    first_project = re.search(r"project\s*\(\s*([^\s)]+)", (ROOT / "CMakeLists.txt").read_text("utf-8"))
    assert first_project
    assert first_project[1] == INDEX_ENTRY.stem == MODULE.name == "TransferSeg"  # must not start with "Slicer"
    assert entry["scm_url"] == f"{REPOSITORY}.git"
    assert REPOSITORY.rpartition("/")[2].startswith("Slicer")
    assert metadata("HOMEPAGE") == REPOSITORY
    assert entry["scm_revision"] == "main"  # a branch: the index builds what is on it
    assert f"/{entry['scm_revision']}/" in RAW
    assert entry["category"] == metadata("CATEGORY") == "Segmentation"
    assert entry["build_subdirectory"] == metadata("BUILD_SUBDIRECTORY")
    assert entry["build_dependencies"] == metadata("DEPENDS").split() == ["PyTorch"]


@pytest.mark.parametrize("name", IMAGES)
def test_the_images_of_the_extensions_manager_are_in_the_repository(name: str) -> None:
    urls = metadata(name).split()
    assert urls
    for url in urls:
        assert url.startswith(RAW)
        assert Path(url).suffix in {".png", ".jpg", ".jpeg", ".gif"}  # and not svg
        file = ROOT / url.removeprefix(RAW)
        assert file.is_file(), f"{file} is shown by the Extensions Manager"


@pytest.mark.parametrize("icon", [ROOT / "TransferSeg.png", MODULE / "Resources" / "Icons" / "TransferSeg.png"])
def test_the_icon_is_a_png_of_128_by_128_pixels(icon: Path) -> None:
    head = icon.read_bytes()[:33]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", head[16:24]) == (128, 128)
    assert head[25] == 6  # with transparency, so that it fits a dark Slicer too


def test_the_description_is_for_people_who_do_not_train_networks() -> None:
    text = metadata("DESCRIPTION")
    assert ";" not in text  # CMake would end it there
    assert 100 < len(text) < 400
    assert text.endswith("For research only.")
    assert not re.search(r"U-Net|CNN|fine-?tun|transfer learning|Dice|checkpoint|inference", text, re.I)


def test_the_licence_is_in_the_root_and_named_in_the_readme() -> None:
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text("utf-8")[:200]
    assert PROJECT["license"] == "Apache-2.0"
    assert "[Apache-2.0](LICENSE.txt)" in README


def test_the_readme_opens_with_what_it_is_in_one_or_two_sentences() -> None:
    title, opening = README.split("\n\n")[:2]
    assert title == "# TransferSeg"
    assert 1 <= len(re.findall(r"[.](?:\s|$)", opening)) <= 2


def test_what_the_readme_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if not re.match(r"https?://|#", link)]
    assert links
    assert [link for link in links if not (ROOT / link.split("#")[0]).exists()] == []


def test_a_clone_stays_under_100_megabytes() -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    files = [ROOT / name for name in git("ls-files", "-z").split("\0") if name]
    checked_out = sum(path.stat().st_size for path in files if path.is_file())
    kept = dict(line.split(": ") for line in git("count-objects", "-v").splitlines())
    assert checked_out + 1024 * (int(kept["size"]) + int(kept["size-pack"])) < 100e6
