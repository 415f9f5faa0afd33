"""NotedFolder: a folder of long work with a note of what was asked and what came of it, so that it outlives Slicer."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from TransferSegLib.errors import InputError
from TransferSegLib.files import atomic_path, os_errors

T = TypeVar("T")

_FORMAT = 1

# Copies of cases that nobody is going to use, after so long: Slicer has crashed before the work began.
_LEFT_BEHIND_S = 24 * 3600


@dataclass(frozen=True)
class NotedFolder:
    """A frozen dataclass whose fields, but for its path, stand in the note.

    Attributes
    ----------
    NOTE : name of the note.
    path : the folder.
    """

    NOTE: ClassVar[str]

    path: Path

    def save(self) -> None:
        """Raises
        ------
        InputError, ResourceError : it cannot be written.
        """
        data = {key: value for key, value in asdict(self).items() if key != "path"}
        with atomic_path(self.path / self.NOTE) as beside:
            beside.write_text(json.dumps({"format": _FORMAT, **data}, indent=1), encoding="utf-8")

    def remove(self) -> None:
        """Raises
        ------
        InputError : it cannot be deleted.
        """
        with os_errors(self.path):
            shutil.rmtree(self.path)


def isLeftBehind(path: Path, note: str) -> bool:
    """Whether a folder has no note and is so old that none will come."""
    with os_errors(path):
        return not (path / note).exists() and time.time() - path.stat().st_mtime > _LEFT_BEHIND_S


def removeLeftBehind(parent: Path, note: str) -> None:
    """Delete the folders in ``parent`` that a crash has left behind.

    Raises
    ------
    InputError : ``parent`` cannot be read.
    """
    with os_errors(parent):
        for path in parent.iterdir() if parent.is_dir() else ():
            if isLeftBehind(path, note):
                shutil.rmtree(path, ignore_errors=True)


def readNote(note: Path) -> dict[str, Any]:
    """The fields but for the path.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError, AttributeError : it cannot be read, or is of another format.
    """
    data: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    if data.pop("format") != _FORMAT:
        raise ValueError("format")
    return data


def listFolders(parent: Path, load: Callable[[Path], T]) -> list[T]:
    """What can be loaded from the folders in ``parent``, by name; what cannot (InputError) is left out."""
    found = []
    for path in sorted(parent.iterdir()) if parent.is_dir() else []:
        try:
            found.append(load(path))
        except InputError:
            continue
    return found
