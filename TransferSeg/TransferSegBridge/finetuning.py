"""Fine-tuning on annotated cases: to a run folder, through child processes, to an installed model."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from TransferSegLib.errors import InputError, TransferSegError
from TransferSegLib.labels import LabelScheme
from TransferSegLib.registry import list_models

from .annotated import AnnotatedCase, assignRoles, noSchemeText
from .case_writer import CaseWriter
from .notedfolder import isLeftBehind, removeLeftBehind
from .packages import requireReady
from .runfolder import RunFolder, runsFolder, unfinishedRuns
from .worker import CODE_CANCELLED, Outcome, Worker, waitWhile

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
        problem = self.problemOfCases()
        if problem:
            return problem
        if all(case.role in ("validate", "test") for case in self.cases):
            return _("No case is left to train on: give one the role 'train'.")
        return nameProblem(self.name)

    def problemOfCases(self) -> str:
        """Why nothing can be learned from the cases, in a sentence; empty when it can."""
        if not self.cases:
            return _("Add annotated cases.")
        for case in self.cases:
            reason = case.problem(self.channels, self.scheme)
            if reason:
                return _("Case {name}: {reason}").format(name=case.name, reason=reason)
        return noSchemeText(self.cases) if self.scheme is None else ""

    def commandOptions(self) -> dict[str, str]:
        """Of the command, by name, without those that name files or cases."""
        options = {"epochs": str(self.epochs), "device": self.device, "channels": ",".join(self.channels)}
        options |= {"spacing": f"{self.spacing:g}"} if self.spacing else {}
        return {**options, **self.options}

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
    folder = runsFolder() / name
    if not folder.exists() or isLeftBehind(folder, RunFolder.NOTE):
        return ""
    if name in {run.name for run in unfinishedRuns()}:
        return _("There is a run '{name}' already: go on with it, delete it, or choose another name.").format(name=name)
    # It has ended, or its cases are being copied, or it is damaged: it is not among the stopped runs.
    return _("There is a run '{name}' already: choose another name, or delete the folder {folder}.").format(
        name=name, folder=folder
    )


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

    @property
    def kept(self) -> bool:
        """Whether there is a run: before its cases were copied nothing is worth keeping."""
        return (self.folder.path / RunFolder.NOTE).exists()


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
        self._writer: CaseWriter | None = None
        self._worker: Worker | None = None
        self._stopped = self._started = False

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

    def stop(self) -> None:
        """Ask to stop; returns at once. The best weights so far are kept, and the run can go on later."""
        self._stopped = True
        for part in (self._writer, self._worker):
            if part is not None:
                part.stop()

    def wait(self) -> FinetuneResult:
        """For scripts: until it has ended.

        Raises
        ------
        InputError : it failed, with the cause.
        """
        waitWhile(lambda: self.running, lambda: self._worker)
        assert self.result is not None, "start() comes first"
        if not self.result.outcome.ok:
            raise InputError(self.result.outcome.message)
        return self.result

    def _begin(self, request: FinetuneRequest) -> None:
        assert request.scheme is not None
        removeLeftBehind(runsFolder(), RunFolder.NOTE)
        cases = assignRoles(request.cases)
        self.folder = RunFolder(
            runsFolder() / request.name,
            request.name,
            request.source,
            request.strategies(),
            request.commandOptions(),
            {case.name: case.role for case in cases},
        )
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self._writer = CaseWriter(
            self.folder.path, cases, request.channels, request.scheme, self._onEvent, self._casesWritten
        )
        if self._stopped:
            self._writer.stop()
        self._writer.start()

    def _casesWritten(self, outcome: Outcome) -> None:
        assert self.folder is not None
        self._writer = None
        if outcome.ok:
            try:
                self.folder.save()
            except TransferSegError as error:
                outcome = Outcome.of(error)
        if outcome.ok:
            self._trainNext()
        else:
            self._discard(outcome)

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
            try:
                self.folder.save()
            except TransferSegError as error:
                self._finish(Outcome.of(error))
                return
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
                result.outcome = Outcome.of(error)
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
