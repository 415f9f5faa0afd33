"""RunFolder: a fine-tuning on disk, so that it goes on after Slicer was closed."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from TransferSegLib.errors import InputError
from TransferSegLib.labels import LabelScheme
from TransferSegLib.registry import home_folder

from .notedfolder import NotedFolder, listFolders, readNote

# The cases that a command reads, and their classes.
MANIFEST, SCHEME = "cases.csv", "labels.json"


@dataclass(frozen=True)
class RunFolder(NotedFolder):
    """What a fine-tuning was asked to do, and how far it came.

    Attributes
    ----------
    path : the folder; it has ``cases.csv``, ``labels.json``, ``cases/`` and a folder for each strategy.
    name : of the model it makes.
    source : the model it starts from; empty when nothing is loaded.
    strategies : to train one after the other; the first one makes the model, the others are compared with it.
    options : of the command, without those that name files.
    cases : case name to its role.
    done : the strategies that have come to their end.
    """

    NOTE = "run.json"

    name: str
    source: str
    strategies: tuple[str, ...]
    options: Mapping[str, str]
    cases: Mapping[str, str]
    done: tuple[str, ...] = ()

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST

    @property
    def scheme(self) -> Path:
        return self.path / SCHEME

    def classes(self) -> LabelScheme | None:
        """What it learns; None when the file is gone or damaged."""
        try:
            return LabelScheme.from_dict(json.loads(self.scheme.read_text(encoding="utf-8")))
        except (OSError, ValueError, InputError):
            return None

    @property
    def preview(self) -> Path:
        """Label map of a validation case as the network sees it now."""
        return self.path / "preview.nii"

    @property
    def waiting(self) -> tuple[str, ...]:
        """The strategies that are not done."""
        return tuple(strategy for strategy in self.strategies if strategy not in self.done)

    def out(self, strategy: str) -> Path:
        """Where the command writes what it makes with ``strategy``."""
        return self.path / strategy

    def arguments(self, strategy: str) -> list[str]:
        """Of the command that trains with ``strategy``, or goes on with it."""
        out = self.out(strategy)
        arguments = ["finetune", str(self.manifest), "--strategy", strategy, "--labels", str(self.scheme)]
        arguments += ["--out", str(out), "--name", self.name, "--preview", str(self.preview)]
        # The baseline too takes channels, voxels and pre-processing from the source: it differs in its weights alone.
        arguments += ["--source", self.source] if self.source else []
        for role, option in (("validate", "--validation"), ("test", "--held-out")):
            names = [name for name, found in self.cases.items() if found == role]
            # With a comma at the end a name that looks like a share of cases is taken as a name.
            arguments += [option, ",".join(names) + "," if names else "0"]
        for option, value in self.options.items():
            arguments += [f"--{option}", value]
        return [*arguments, "--resume"] if (out / "checkpoint.safetensors").exists() else arguments

    def hasModel(self) -> bool:
        """Whether there is a model to use, if only the best one so far."""
        return (self.out(self.strategies[0]) / "model" / "model.json").exists()

    def scores(self) -> dict[str, dict[str, tuple[float, int]]]:
        """Strategy to region to the mean Dice on the held-out cases and their number, of those that are done."""
        found: dict[str, dict[str, tuple[float, int]]] = {}
        for strategy in self.done:
            summary = self.out(strategy) / "held-out" / "metrics_summary.csv"
            if summary.exists():
                with open(summary, newline="", encoding="utf-8") as file:
                    rows = [row for row in csv.DictReader(file) if row["metric"] == "dice" and row["mean"]]
                found[strategy] = {row["region"]: (float(row["mean"]), int(row["n"])) for row in rows}
        return found


def runsFolder() -> Path:
    """Where runs are kept. It need not exist."""
    return home_folder() / "runs"


def loadRun(path: Path) -> RunFolder:
    """Raises
    ------
    InputError : the folder holds no run, or one that is damaged.
    """
    try:
        data = readNote(path / RunFolder.NOTE)
        data |= {"strategies": tuple(data["strategies"]), "done": tuple(data["done"])}
        return RunFolder(path=path, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no run that can be read.", "Delete the folder, and start anew.") from error


def listRuns() -> list[RunFolder]:
    """All runs that can be read, by name."""
    return listFolders(runsFolder(), loadRun)


def unfinishedRuns() -> list[RunFolder]:
    """The runs that were stopped, or that Slicer was closed upon."""
    return [run for run in listRuns() if run.waiting]
