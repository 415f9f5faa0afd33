"""Fine-tuning on annotated cases: to a run folder, through child processes, to an installed model."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from TransferSegLib.case_files import REFERENCE_ORDER, CaseFiles
from TransferSegLib.errors import InputError, TransferSegError
from TransferSegLib.labels import LabelScheme
from TransferSegLib.registry import list_models

from .annotated import AnnotatedCase, assignRoles
from .nodes import writeLabelMap, writeVolume
from .packages import requireReady
from .runfolder import RunFolder, runsFolder
from .worker import CODE_CANCELLED, CODE_CRASHED, Outcome, Worker

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
_BASELINE = "scratch"


@dataclass(frozen=True)
class FinetuneRequest:
    """What to learn, from what, and how.

    Attributes
    ----------
    name : of the model.
    source : model to start from: a name, a folder or a zip.
    channels : that the model shall see, in order.
    strategy : see :data:`TransferSegLib.strategies.STRATEGIES`.
    cases : to train on, to validate and to test on.
    scheme : the classes to learn.
    epochs : times that every training case is seen.
    spacing : voxel size in mm; 0: the source's.
    device : auto, cpu, cuda or mps.
    compare : train the baseline from scratch too, on the same cases.
    options : more options of the command, by name, for scripts: ``{"seed": "1"}``.
    """

    name: str
    source: str
    channels: tuple[str, ...]
    strategy: str
    cases: tuple[AnnotatedCase, ...]
    scheme: LabelScheme | None
    epochs: int = 100
    spacing: float = 0.0
    device: str = "auto"
    compare: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    def problem(self) -> str:
        """Why it cannot be done, in a sentence; empty when it can."""
        if not self.source and self.strategy != _BASELINE:
            return _("Choose a source model.")
        if not self.cases:
            return _("Add annotated cases.")
        if self.scheme is None:
            return _("None of the cases has a segmentation to learn from.")
        for case in self.cases:
            reason = case.problem(self.channels, self.scheme)
            if reason:
                return _("Case {name}: {reason}").format(name=case.name, reason=reason)
        if all(case.role in ("validate", "test") for case in self.cases):
            return _("No case is left to train on: give one the role 'train'.")
        return nameProblem(self.name)

    def strategies(self) -> tuple[str, ...]:
        """To train one after the other."""
        baseline = (_BASELINE,) if self.compare and self.strategy != _BASELINE else ()
        return (self.strategy, *baseline)


def nameProblem(name: str) -> str:
    """Why a new model cannot have this name, in a sentence; empty when it can."""
    if not _NAME.fullmatch(name):
        return _("Name the model: lower-case letters, digits, '.', '_' and '-'.")
    if name in {entry.name for entry in list_models()}:
        return _("There is a model '{name}' already: choose another name.").format(name=name)
    if (runsFolder() / name).exists():
        return _("There is a run '{name}' already: go on with it, delete it, or choose another name.").format(name=name)
    return ""


def freeName(wanted: str) -> str:
    """``wanted``, with a number if it is taken."""
    base = re.sub(r"[^a-z0-9._-]+", "-", wanted.lower()).strip("-._")[:56] or "model"
    name, number = base, 2
    while nameProblem(name):
        name, number = f"{base}-{number}", number + 1
    return name


@dataclass
class FinetuneResult:
    """What came of it.

    Attributes
    ----------
    outcome : how the last command ended.
    folder : the run; it goes on from there when it was stopped.
    model : name of the installed model, or empty.
    table : node with the Dice on the held-out cases, or None.
    """

    outcome: Outcome
    folder: RunFolder
    model: str = ""
    table: Any = None


class FinetuneJob:
    """One fine-tuning: writes the cases, trains each strategy in a child process, installs the model.

    The cases are copied to the run folder first, so that the scene may then change or be closed.

    Parameters
    ----------
    request : what to learn, or a run that was stopped.
    onEvent : is given the child's events, each with the strategy under ``"strategy"``; and progress of the copying.
    onFinished : is given the :class:`FinetuneResult`, once.
    """

    def __init__(
        self,
        request: FinetuneRequest | RunFolder,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onFinished: Callable[[FinetuneResult], None] = lambda result: None,
    ) -> None:
        self.request = request
        self.result: FinetuneResult | None = None
        self.folder: RunFolder | None = request if isinstance(request, RunFolder) else None
        self._onEvent, self._onFinished = onEvent, onFinished
        self._worker: Worker | None = None
        self._stopped = self._started = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._writeNext)

    @property
    def running(self) -> bool:
        return self._started and self.result is None

    def start(self) -> None:
        """Begin, and return at once.

        Raises
        ------
        DependencyError : a package is missing.
        InputError : the request cannot be met.
        """
        requireReady()
        if isinstance(self.request, RunFolder):
            self._started = True
            self._trainNext()
            return
        problem = self.request.problem()
        if problem:
            raise InputError(problem)
        self._begin(self.request)
        self._started = True
        self._timer.start()

    def stop(self) -> None:
        """Ask to stop; returns at once. The best weights so far are kept, and the run can go on later."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()

    def wait(self) -> FinetuneResult:
        """For scripts: until it has ended.

        Raises
        ------
        InputError : it failed, with the cause.
        """
        while self.running:
            if self._worker is not None and self._worker.running:
                self._worker.wait()
            slicer.app.processEvents()
        assert self.result is not None, "start() comes first"
        if not self.result.outcome.ok:
            raise InputError(self.result.outcome.message)
        return self.result

    # The cases, one in each turn of the event loop: the user interface stays alive.

    def _begin(self, request: FinetuneRequest) -> None:
        assert request.scheme is not None
        cases = assignRoles(request.cases)
        options = {"epochs": str(request.epochs), "device": request.device, "channels": ",".join(request.channels)}
        options |= {"spacing": f"{request.spacing:g}"} if request.spacing else {}
        self.folder = RunFolder(
            runsFolder() / request.name,
            request.name,
            request.source,
            request.strategies(),
            {**options, **request.options},
            {case.name: case.role for case in cases},
        )
        self._cases, self._written = list(cases), []
        self.folder.scheme.parent.mkdir(parents=True, exist_ok=True)
        self.folder.scheme.write_text(json.dumps(request.scheme.to_dict()), encoding="utf-8")

    def _writeNext(self) -> None:
        assert isinstance(self.request, FinetuneRequest)
        assert self.folder is not None
        done, total = len(self._written), len(self._cases)
        self._onEvent({"event": "progress", "stage": "copy", "step": done, "of": total, "eta_s": None, "detail": ""})
        try:
            if self._stopped:
                self._discard(Outcome(CODE_CANCELLED))
            elif done < total:
                self._written.append(self._write(self._cases[done]))
                self._timer.start()
            else:
                self._writeNotes()
                self._trainNext()
        except TransferSegError as error:
            self._discard(_failure(error))
        except OSError as error:
            self._discard(_failure(InputError(f"{self.folder.path}: {error}")))
        except Exception as error:  # a bug: it is printed, but whoever waits must not wait for ever
            self._discard(Outcome(CODE_CRASHED, errors=({"cause": f"{type(error).__name__}: {error}"},)))
            raise

    def _write(self, case: AnnotatedCase) -> Any:
        """The case as files. One on disk is only pointed at."""
        assert isinstance(self.request, FinetuneRequest)
        assert self.folder is not None
        channels = self.request.channels
        if not case.loaded:
            images, label = {channel: Path(case.images[channel]) for channel in channels}, Path(case.label)
            return CaseFiles(case.name, images, label, case.group, case.patient)
        scene, scheme = slicer.mrmlScene, self.request.scheme
        assert scheme is not None
        reason = case.problem(channels, scheme)  # again: nodes may have been deleted since
        if reason:
            raise InputError(_("Case {name}: {reason}").format(name=case.name, reason=reason))
        folder = self.folder.path / "cases" / case.name
        folder.mkdir(parents=True, exist_ok=True)
        images = {}
        for number, channel in enumerate(channels):
            images[channel] = folder / f"{number}.nii"
            writeVolume(scene.GetNodeByID(case.images[channel]), images[channel])
        reference = next((channel for channel in REFERENCE_ORDER if channel in channels), channels[0])
        codes = {item.name: item.codes[0] for item in scheme.classes}
        # In the order of the scheme, so that where segments overlap the later class wins, as it does for files.
        chosen = sorted(case.classes.items(), key=lambda item: scheme.names.index(item[1]) if item[1] in codes else 0)
        classes = {key: codes[name] for key, name in chosen if codes.get(name)}
        label = folder / "label.nii"
        writeLabelMap(scene.GetNodeByID(case.label), scene.GetNodeByID(case.images[reference]), classes, label)
        return CaseFiles(case.name, images, label, case.group, case.patient)

    def _writeNotes(self) -> None:
        from TransferSegLib.datasets import write_manifest

        assert self.folder is not None
        write_manifest(self.folder.manifest, self._written)
        self.folder.save()

    def _discard(self, outcome: Outcome) -> None:
        """Before there is anything worth going on with."""
        assert self.folder is not None
        shutil.rmtree(self.folder.path, ignore_errors=True)
        self._finish(outcome)

    # The strategies, one child process after the other.

    def _trainNext(self) -> None:
        assert self.folder is not None
        strategy = self.folder.waiting[0]

        def event(given: dict[str, Any]) -> None:
            self._onEvent({**given, "strategy": strategy})

        self._worker = Worker(self.folder.arguments(strategy), event, self._trained)
        self._worker.start()

    def _trained(self, outcome: Outcome) -> None:
        assert self.folder is not None
        if outcome.ok:
            self.folder = replace(self.folder, done=(*self.folder.done, self.folder.waiting[0]))
            self.folder.save()
            if self.folder.waiting and not self._stopped:
                self._trainNext()
                return
            if self.folder.waiting:
                outcome = Outcome(CODE_CANCELLED, outcome.result)
        self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        assert self.folder is not None
        result = FinetuneResult(outcome, self.folder)
        if outcome.ok:
            try:
                result.model = installRun(self.folder)
                result.table = scoresTable(self.folder)
            except TransferSegError as error:
                result.outcome = _failure(error)
        self.result, self._worker = result, None
        self._onFinished(result)


def installRun(folder: RunFolder) -> str:
    """Put the model of a run, if only its best one so far, into the list; its name.

    Raises
    ------
    ModelError : there is none, or it cannot be installed.
    """
    from TransferSegLib.registry import install_model

    return install_model(folder.out(folder.strategies[0]) / "model", folder.name, replace=True).name


def scoresTable(folder: RunFolder) -> Any:
    """A table node of the mean Dice on held-out cases: a row for each region, a column for each strategy; or None."""
    scores = folder.scores()
    regions = list(next(iter(scores.values()), {}))
    if not regions:
        return None
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _("{name} held-out Dice").format(name=folder.name))
    names = vtk.vtkStringArray()
    names.SetName(_("Region"))
    counts = vtk.vtkIntArray()
    counts.SetName(_("Held-out cases"))
    for region in regions:
        names.InsertNextValue(region)
        counts.InsertNextValue(next(iter(scores.values()))[region][1])
    node.AddColumn(names)
    for strategy, found in scores.items():
        column = vtk.vtkDoubleArray()
        column.SetName(_("Dice, {strategy}").format(strategy=strategy))
        for region in regions:
            column.InsertNextValue(round(found[region][0], 3) if region in found else float("nan"))
        node.AddColumn(column)
    node.AddColumn(counts)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


def _failure(error: TransferSegError) -> Outcome:
    told = {"kind": error.kind, "cause": error.cause, "remedy": error.remedy}
    return Outcome(error.exit_code, errors=(told,))
