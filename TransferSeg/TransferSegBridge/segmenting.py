"""Segmenting volume nodes: to a child process and back into a segmentation node."""

from __future__ import annotations

import csv
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from TransferSegLib.case_files import REFERENCE_ORDER, CaseFiles
from TransferSegLib.errors import InputError, TransferSegError

from .channels import PREDICTION
from .nodes import Place, problemOf, readLabels, showLabels, writeVolume
from .packages import requireReady
from .worker import CODE_CRASHED, Outcome, Worker

_CASE = "case"


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment, and how.

    Attributes
    ----------
    volumes : channel to volume node.
    model : name of a shipped or installed model, a folder or a zip.
    segmentation : receives the result; None: a new node is made.
    device : auto, cpu, cuda or mps.
    brain : how to find the brain; empty: as the model's card says.
    mirror : average over the image and its mirror image.
    """

    volumes: Mapping[str, Any]
    model: str
    segmentation: Any = None
    device: str = "auto"
    brain: str = ""
    mirror: bool = False

    def problem(self, channels: tuple[str, ...] | list[str]) -> str:
        """Why it cannot be done with a model of these ``channels``, in a sentence; empty when it can."""
        if not self.model:
            return _("Choose a model.")
        seen: dict[str, str] = {}
        for channel in channels:
            node = self.volumes.get(channel)
            if node is None:
                return _("Choose the {channel} image.").format(channel=channel)
            reason = problemOf(node)
            if reason:
                return reason
            if node.GetID() in seen:
                return _("{name} is chosen twice: for {first} and for {second}.").format(
                    name=node.GetName(), first=seen[node.GetID()], second=channel
                )
            seen[node.GetID()] = channel
        return ""

    def reference(self) -> tuple[str, Any]:
        """The channel whose grid the result gets, and its node."""
        channel = next((channel for channel in REFERENCE_ORDER if channel in self.volumes), next(iter(self.volumes)))
        return channel, self.volumes[channel]


@dataclass
class SegmentResult:
    """What came of it.

    Attributes
    ----------
    outcome : how the command ended.
    segmentation, table : nodes; None when it did not succeed.
    warnings : sentences a careful person would want to read.
    """

    outcome: Outcome
    segmentation: Any = None
    table: Any = None
    warnings: list[str] = field(default_factory=list)


class SegmentJob:
    """One segmentation, in a child process. The scene may change meanwhile; when it is closed, the job stops.

    Parameters
    ----------
    onEvent : is given the child's events.
    onFinished : is given the :class:`SegmentResult`, once.
    """

    def __init__(
        self,
        request: SegmentRequest,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onFinished: Callable[[SegmentResult], None] = lambda result: None,
    ) -> None:
        self.request = request
        self.result: SegmentResult | None = None
        self._onEvent, self._onFinished = onEvent, onFinished
        self._warnings: list[str] = []
        self._folder: Path | None = None
        self._worker: Worker | None = None
        self._sceneObserver: tuple[Any, int] | None = None
        self._sceneClosed = False

    @property
    def running(self) -> bool:
        return self._worker is not None and self.result is None

    def start(self) -> None:
        """Write the images and start the child.

        Raises
        ------
        DependencyError : a package is missing.
        InputError : a volume cannot be used.
        ModelError : there is no such model.
        """
        requireReady()
        from TransferSegLib.model import load_model

        request = self.request
        model = load_model(request.model)
        channels = list(model.card.channels)
        problem = request.problem(channels)
        if problem:
            raise InputError(problem)
        self._scheme = model.scheme
        reference, node = request.reference()
        self._place = Place.of(node)
        self._folder = Path(tempfile.mkdtemp(prefix="TransferSeg-", dir=slicer.app.temporaryPath))
        try:
            arguments = ["segment", str(self._write(channels)), "--model", request.model, "--reference", reference]
            arguments += ["--out", str(self._folder / "out"), "--device", request.device]
            arguments += ["--brain", request.brain] if request.brain else []
            arguments += ["--flips"] if request.mirror else []
            self._worker = Worker(arguments, self._event, self._finished)
            observer = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, _weak(self._closing))
            self._sceneObserver = (slicer.mrmlScene, observer)
            self._worker.start()
        except BaseException:
            self._clean()
            raise

    def stop(self) -> None:
        """Ask the child to stop; returns at once."""
        if self._worker is not None:
            self._worker.stop()

    def wait(self) -> SegmentResult:
        """For scripts: until it has ended.

        Raises
        ------
        TransferSegError : it failed, with the cause.
        """
        assert self._worker is not None, "start() comes first"
        self._worker.wait()
        assert self.result is not None
        if not self.result.outcome.ok:
            raise InputError(self.result.outcome.message)
        return self.result

    def _write(self, channels: list[str]) -> Path:
        """The images as files and a manifest that names them."""
        from TransferSegLib.datasets import write_manifest

        assert self._folder is not None
        files = {}
        for number, channel in enumerate(channels):
            files[channel] = self._folder / f"{number}.nii"
            writeVolume(self.request.volumes[channel], files[channel])
        manifest = self._folder / "case.csv"
        write_manifest(manifest, [CaseFiles(_CASE, files)])
        return manifest

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "warning":
            self._warnings.append(event["text"])
        self._onEvent(event)

    def _closing(self) -> None:
        self._sceneClosed = True
        self.stop()

    def _finished(self, outcome: Outcome) -> None:
        result = SegmentResult(outcome, warnings=self._warnings)
        try:
            if outcome.ok and not self._sceneClosed:
                self._show(result)
        except TransferSegError as error:
            result.outcome = Outcome(error.exit_code, errors=({"cause": error.cause, "remedy": error.remedy},))
        except Exception as error:  # a bug: it is printed, but whoever waits must not wait for ever
            result.outcome = Outcome(CODE_CRASHED, errors=({"cause": f"{type(error).__name__}: {error}"},))
            raise
        finally:
            self._clean()
            self.result = result
            self._onFinished(result)

    def _show(self, result: SegmentResult) -> None:
        assert self._folder is not None
        labels = readLabels(self._folder / "out" / f"{_CASE}.nii.gz", self._place, self._scheme)
        name = _("{volume} {labels}").format(volume=self._place.volumeName, labels=self._scheme.name)
        result.segmentation = showLabels(labels, self._scheme, self._place, self.request.segmentation, name)
        if result.segmentation is not self.request.segmentation:
            # A network shall not learn from what a network drew, unless the user chooses it.
            result.segmentation.SetAttribute(PREDICTION, "1")
        result.table = volumesTable(self._folder / "out" / "volumes.csv", result.segmentation.GetName())

    def _clean(self) -> None:
        if self._sceneObserver is not None:
            scene, observer = self._sceneObserver
            scene.RemoveObserver(observer)
            self._sceneObserver = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def volumesTable(path: Path, name: str) -> Any:
    """A table node of the volumes in ``volumes.csv``, which has one row."""
    with open(path, newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _("{name} volumes").format(name=name))
    parts = [key.removesuffix("_ml") for key in row if key.endswith("_ml")]
    columns = (vtk.vtkStringArray(), vtk.vtkDoubleArray(), vtk.vtkStringArray())
    for column, title in zip(columns, (_("Region"), _("Volume [ml]"), _("Connected parts")), strict=True):
        column.SetName(title)
    for part in parts:
        columns[0].InsertNextValue(part)
        columns[1].InsertNextValue(float(row[f"{part}_ml"]))
        columns[2].InsertNextValue(row.get(f"{part}_count", ""))
    for column in columns:
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


def _weak(method: Callable[[], None]) -> Callable[[Any, str], None]:
    """An observer that does not keep its owner alive."""
    reference = weakref.WeakMethod(method)

    def call(caller: Any, event: str) -> None:
        found = reference()
        if found is not None:
            found()

    return call
