"""The sample case: one small simulated patient, made on the spot, always the same; no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from TransferSegLib.errors import InputError, TransferSegError
from TransferSegLib.labels import GLIOMA
from TransferSegLib.registry import home_folder

from .nodes import Place, readLabels, showLabels
from .packages import requirePackages
from .worker import Outcome, Worker

NAME = "TransferSegSample"

# Channel to the end of its file's name, in the layout of BraTS 2018.
_FILES = {"t1": "t1", "t1c": "t1ce", "t2": "t2", "flair": "flair"}


class SampleJob:
    """Makes the sample in a child process, if it was not made before, and loads it.

    Parameters
    ----------
    onEvent : is given the child's events.
    onFinished : is given channel to volume node, with the segmentation as ``"label"``, and what went wrong; once.
    """

    def __init__(
        self,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onFinished: Callable[[dict[str, Any], str], None] = lambda nodes, problem: None,
    ) -> None:
        self._onEvent, self._onFinished = onEvent, onFinished
        self._worker: Worker | None = None
        self.nodes: dict[str, Any] = {}

    @property
    def running(self) -> bool:
        return self._worker is not None and self._worker.running

    def start(self) -> None:
        """Raises
        ------
        DependencyError : a package is missing.
        """
        requirePackages()
        self._worker = Worker(["sample", "--out", str(home_folder() / "sample")], self._onEvent, self._finished)
        self._worker.start()

    def stop(self) -> None:
        """Ask the child to stop; returns at once."""
        if self._worker is not None:
            self._worker.stop()

    def wait(self) -> dict[str, Any]:
        """For scripts: until the sample is loaded; its nodes.

        Raises
        ------
        InputError : it could not be made.
        """
        assert self._worker is not None, "start() comes first"
        outcome = self._worker.wait()
        if not self.nodes:
            raise InputError(outcome.message or _("The sample could not be loaded."))
        return self.nodes

    def _finished(self, outcome: Outcome) -> None:
        problem = "" if outcome.ok else outcome.message
        if outcome.ok:
            try:
                self.nodes = loadSample(Path(outcome.result["folder"]))
            except (TransferSegError, RuntimeError) as error:
                problem = str(error)
        self._onFinished(self.nodes, problem)


def loadSample(folder: Path) -> dict[str, Any]:
    """Load a case in the layout of BraTS: volume nodes, and its labels as a hidden segmentation.

    Raises
    ------
    RuntimeError : a file cannot be read.
    """
    nodes = {}
    for channel, end in _FILES.items():
        path = folder / f"{folder.name}_{end}.nii.gz"
        nodes[channel] = slicer.util.loadVolume(str(path), {"name": f"{NAME} {channel}", "show": channel == "flair"})
    place = Place.of(nodes["flair"])
    labels = readLabels(folder / f"{folder.name}_seg.nii.gz", place, GLIOMA)
    nodes["label"] = showLabels(labels, GLIOMA, place, None, _("{name} reference").format(name=NAME))
    # It is the truth, to compare with and to learn from: not to be taken for a result.
    nodes["label"].GetDisplayNode().SetVisibility(False)
    return nodes


def makeSample(source: Any = None) -> list[Any]:
    """For the Sample Data module: the nodes, when they are there."""
    job = SampleJob()
    job.start()
    return list(job.wait().values())
