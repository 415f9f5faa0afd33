"""Comparison: a comparison of strategies on disk, so that it goes on after Slicer was closed, and what it found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from TransferSegLib.errors import InputError
from TransferSegLib.files import os_errors
from TransferSegLib.registry import home_folder

from .notedfolder import NotedFolder, listFolders, readNote, removeLeftBehind
from .runfolder import MANIFEST, SCHEME


@dataclass(frozen=True)
class Finding:
    """What a comparison came to.

    Attributes
    ----------
    strategy : the one to use.
    verdict : ``clear``, ``lean`` or ``cannot tell``.
    sentences : the recommendation, how sure it is, and what more cases would bring.
    report : the HTML file.
    trainings, failed : how many ended well, and how many did not.
    """

    strategy: str
    verdict: str
    sentences: tuple[str, ...]
    report: Path
    trainings: int = 0
    failed: int = 0

    @property
    def recommends(self) -> bool:
        """Whether the strategy is more than one of several that are equally good."""
        return bool(self.strategy) and self.verdict in ("clear", "lean")


@dataclass(frozen=True)
class Comparison(NotedFolder):
    """What was asked to be compared, and what came of it.

    Attributes
    ----------
    path : the folder; it has ``cases.csv``, ``labels.json``, ``cases/`` and what the command makes.
    key : the same for the same cases (their content too), source and options.
    source : the model to start from.
    options : of the command, without those that name files.
    cases : case name to patient.
    result : what the command told in the end; empty before.
    """

    NOTE = "comparison.json"

    key: str
    source: str
    options: Mapping[str, str]
    cases: Mapping[str, str]
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def patients(self) -> int:
        return len(set(self.cases.values()))

    @property
    def finding(self) -> Finding | None:
        """None before the end, or when the report was deleted."""
        try:
            told = self.result
            report = Path(told["report"])
            found = Finding(
                str(told.get("strategy") or ""),
                str(told["verdict"]),
                tuple(map(str, told["sentences"])),
                report,
                int(told.get("trainings") or 0),
                int(told.get("failed") or 0),
            )
        except (KeyError, TypeError, ValueError):
            return None
        return found if report.is_file() else None

    def arguments(self) -> list[str]:
        """Of the command that compares, or goes on with it."""
        arguments = ["compare", str(self.path / MANIFEST), "--source", self.source]
        arguments += ["--labels", str(self.path / SCHEME), "--out", str(self.path / "study")]
        for option, value in self.options.items():
            arguments += [f"--{option}", value]
        return arguments

    def asked(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """What is compared, to be compared itself: source, options and cases."""
        return self.source, dict(self.options), dict(self.cases)


def comparisonsFolder() -> Path:
    """Where comparisons are kept. It need not exist."""
    return home_folder() / "comparisons"


def newFolder() -> Path:
    """A folder for the next comparison, named by the time. What a crash has left behind is removed.

    Raises
    ------
    InputError, ResourceError : it cannot be made.
    """
    parent = comparisonsFolder()
    with os_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        removeLeftBehind(parent, Comparison.NOTE)
        name, number = time.strftime("%Y-%m-%d-%H%M%S"), 1
        path = parent / name
        while path.exists():
            number += 1
            path = parent / f"{name}-{number}"
        path.mkdir()
    return path


def loadComparison(path: Path) -> Comparison:
    """Raises
    ------
    InputError : the folder holds no comparison, or one that is damaged.
    """
    try:
        data = readNote(path / Comparison.NOTE)
        return Comparison(path=path, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no comparison that can be read.", "Compare anew.") from error


def listComparisons() -> list[Comparison]:
    """All that can be read, by name."""
    return listFolders(comparisonsFolder(), loadComparison)


def unfinishedComparisons() -> list[Comparison]:
    """Those that were stopped, or that Slicer was closed upon."""
    return [comparison for comparison in listComparisons() if not comparison.result]
