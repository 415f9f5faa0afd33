"""The files of the Slicer extension, for tests: what lies in its folders, and what its CMake files say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "TransferSeg"
LIBRARY = ROOT / "TransferSegLib"
INDEX_ENTRY = ROOT / "Docs" / "TransferSeg.json"
REPOSITORY = "https://github.com/TransferSeg/SlicerTransferSeg"
RAW = "https://raw.githubusercontent.com/TransferSeg/SlicerTransferSeg/main/"


def files_in(folder: Path) -> set[str]:
    """All files below ``folder`` that belong to the package."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in files if "__pycache__" not in path.parts and path.name != "CMakeLists.txt"}


def cmake_list(path: Path, name: str) -> list[str]:
    """What ``set(<name> ...)`` lists in a CMake file."""
    text = re.sub(r"#.*", "", path.read_text("utf-8"))
    module = re.search(r"set\(MODULE_NAME (\w+)\)", text)
    found = re.search(rf"set\({name}\s+([^)]*)\)", text)
    assert found, f"{path} sets no {name}"
    return found[1].replace("${MODULE_NAME}", module[1] if module else "").split()


def metadata(name: str) -> str:
    """What the top CMake file sets for the extension, read as the Extensions Index reads it: a quoted line."""
    found = re.findall(rf'^set\(EXTENSION_{name} "([^"\n]+)"\)', (ROOT / "CMakeLists.txt").read_text("utf-8"), re.M)
    assert len(found) == 1, f"EXTENSION_{name} is not one quoted string on one line"
    return str(found[0])
