"""Comparing the strategies on annotated cases, by cross-validation in a child process: which one to use."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

import TransferSegLib
from TransferSegLib.case_files import CaseFiles
from TransferSegLib.errors import InputError, TransferSegError
from TransferSegLib.recipe import Recipe
from TransferSegLib.registry import find_model
from TransferSegLib.study.compare import comparing_design
from TransferSegLib.study.design import Design

from .annotated import AnnotatedCase
from .case_writer import CaseWriter
from .comparison import Comparison, listComparisons, newFolder
from .finetuning import FinetuneRequest
from .packages import requireReady
from .worker import CODE_CANCELLED, Outcome, Worker, ignore, waitWhile

# The command ended, and has told what it found; with 1 some trainings have failed.
_CODES_WITH_RESULT = (0, 1)


@dataclass(frozen=True)
class Estimate:
    """What a comparison takes, told before it begins.

    Attributes
    ----------
    trainings : all of them.
    done : those that were done before it was stopped.
    seconds : about, for the others; None: not known.
    """

    trainings: int
    done: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class ComparisonResult:
    """What came of it.

    Attributes
    ----------
    outcome : how the command ended.
    comparison : on disk; None when nothing of it was kept.
    begun : whether it was there to be stopped: the trainings had begun.
    """

    outcome: Outcome
    comparison: Comparison | None
    begun: bool

    @property
    def found(self) -> bool:
        return (
            self.outcome.code in _CODES_WITH_RESULT
            and self.comparison is not None
            and self.comparison.finding is not None
        )


def takingPart(request: FinetuneRequest) -> tuple[AnnotatedCase, ...]:
    """The cases to compare on: all but those that the user holds out, which stay unseen whatever is chosen."""
    heldOut = {case.patient or case.name for case in request.cases if case.role == "test"}
    return tuple(case for case in request.cases if (case.patient or case.name) not in heldOut)


def designOf(request: FinetuneRequest) -> Design:
    """What would be trained.

    Raises
    ------
    InputError : there are too few patients.
    """
    files = [CaseFiles(case.name, {"image": Path()}, None, case.group, case.patient) for case in takingPart(request)]
    return comparing_design(files, Recipe())


def countTrainings(design: Design) -> int:
    """How many networks are trained."""
    return len(design.sizes) * len(design.strategies) * design.test_folds * design.seeds


def comparisonProblem(request: FinetuneRequest) -> str:
    """Why the strategies cannot be compared, in a sentence; empty when they can."""
    if not request.source:
        return _("Choose a source model.")
    problem = request.problemOfCases()
    if problem:
        return problem
    try:
        designOf(request)
    except InputError as error:
        return str(error)
    return ""


class ComparisonJob:
    """One comparison: writes the cases, estimates the time, trains and tests in a child process.

    The cases are copied first, so that the scene may then change or be closed. When the same cases were compared in the
    same way before, it goes on where that was stopped, or gives what that has found.

    Parameters
    ----------
    request : what would be trained; its strategy and name do not matter. Or a comparison that was stopped.
    onEvent : is given the child's events, and progress of the copying.
    onEstimate : is given the :class:`Estimate`; the job then waits for :meth:`proceed` or :meth:`stop`. None: nothing
        is estimated, and nobody asked; nor is it when a comparison is given.
    onFinished : is given the :class:`ComparisonResult`, once.
    """

    def __init__(
        self,
        request: FinetuneRequest | Comparison,
        onEvent: Callable[[dict[str, Any]], Any] = ignore,
        onEstimate: Callable[[Estimate], Any] | None = None,
        onFinished: Callable[[ComparisonResult], Any] = ignore,
    ) -> None:
        self.request = request
        self.result: ComparisonResult | None = None
        self.comparison: Comparison | None = request if isinstance(request, Comparison) else None
        self.asking = self.begun = False
        self._onEvent, self._onEstimate, self._onFinished = onEvent, onEstimate, onFinished
        self._writer: CaseWriter | None = None
        self._worker: Worker | None = None
        self._folder: Path | None = None
        self._known: Comparison | None = None
        self._digests: dict[str, str] = {}
        self._stopped = self._started = False

    @property
    def running(self) -> bool:
        """Until it has ended, also while it waits for an answer."""
        return self._started and self.result is None

    def start(self) -> None:
        """Begin, and return at once.

        Raises
        ------
        DependencyError : a package is missing.
        InputError, ResourceError : the request cannot be met.
        """
        requireReady()
        if isinstance(self.request, Comparison):
            self._known = self.request
            self._started = True
            self._train()
            return
        problem = comparisonProblem(self.request)
        if problem:
            raise InputError(problem)
        assert self.request.scheme is not None
        self._folder = newFolder()
        self._writer = CaseWriter(
            self._folder,
            takingPart(self.request),
            self.request.channels,
            self.request.scheme,
            self._onEvent,
            self._casesWritten,
            self._digest,
        )
        self._started = True
        self._writer.start()

    def proceed(self) -> None:
        """The user agrees to the estimate."""
        if self.asking:
            self.asking = False
            self._train()

    def stop(self) -> None:
        """Ask to stop, or decline what was estimated; returns at once. What is trained is kept."""
        self._stopped = True
        if self.asking:
            self._discard(Outcome(CODE_CANCELLED))
        for part in (self._writer, self._worker):
            if part is not None:
                part.stop()

    def wait(self) -> ComparisonResult:
        """For scripts: until it has ended.

        Raises
        ------
        InputError : it failed, with the cause.
        """
        waitWhile(lambda: self.running, lambda: self._worker)
        assert self.result is not None, "start() comes first"
        if not self.result.found:
            raise InputError(self.result.outcome.message or _("The comparison found nothing."))
        return self.result

    # The cases, and whether they were compared before.

    def _digest(self, case: AnnotatedCase, files: CaseFiles) -> None:
        """What tells this case from another one, or from itself with another segmentation."""
        digest = hashlib.sha256(json.dumps([files.patient, files.group, case.loaded]).encode())
        for path in (*files.channels.values(), files.label, files.brain):
            if path is None:
                continue
            if case.loaded:  # what was just copied; its path is another one each time
                digest.update(path.read_bytes())
            else:
                found = path.stat()
                digest.update(json.dumps([str(path), found.st_size, found.st_mtime_ns]).encode())
        self._digests[files.name] = digest.hexdigest()

    def _casesWritten(self, outcome: Outcome) -> None:
        self._writer = None
        if outcome.ok:
            try:
                self._recognise()
            except TransferSegError as error:
                outcome = Outcome.of(error)
        if not outcome.ok or self._stopped:
            self._discard(Outcome(CODE_CANCELLED) if self._stopped else outcome)
        elif self.comparison is not None and self.comparison.finding is not None:
            self._finish(Outcome(0, self.comparison.result))
        elif self._onEstimate is None:
            self._train()
        else:
            self._estimate()

    def _recognise(self) -> None:
        """Make the comparison, or take the one that was made of the same."""
        from TransferSegLib.bundle import read_bundle

        assert isinstance(self.request, FinetuneRequest)
        assert self.request.scheme is not None
        assert self._folder is not None
        options, source = self.request.commandOptions(), self.request.source
        all_ = [
            TransferSegLib.__version__,
            read_bundle(find_model(source)).card.weights_sha256,
            options,
            self.request.scheme.to_dict(),
            self._digests,
        ]
        key = hashlib.sha256(json.dumps(all_, sort_keys=True).encode()).hexdigest()
        self._known = next((known for known in listComparisons() if known.key == key), None)
        if self._known is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        cases = {case.name: case.patient or case.name for case in takingPart(self.request)}
        self.comparison = self._known or Comparison(self._folder, key, source, options, cases)

    # The child processes.

    def _estimate(self) -> None:
        assert self.comparison is not None
        about = {"stage": "estimate", "step": 0, "of": 0, "eta_s": None, "detail": ""}
        self._onEvent({"event": "progress", **about})
        self._worker = Worker([*self.comparison.arguments(), "--dry-run"], ignore, self._estimated)
        self._worker.start()

    def _estimated(self, outcome: Outcome) -> None:
        assert isinstance(self.request, FinetuneRequest)
        self._worker = None
        if not outcome.ok or self._stopped:
            self._discard(Outcome(CODE_CANCELLED) if self._stopped else outcome)
            return
        self.asking = True
        told, seconds = outcome.result, outcome.result.get("seconds")
        trainings = told.get("trainings") or countTrainings(designOf(self.request))
        assert self._onEstimate is not None
        self._onEstimate(Estimate(int(trainings), int(told.get("done") or 0), None if seconds is None else seconds))

    def _train(self) -> None:
        assert self.comparison is not None
        try:
            self.comparison.save()
        except TransferSegError as error:
            self._discard(Outcome.of(error))
            return
        self.begun = True
        self._worker = Worker(self.comparison.arguments(), self._onEvent, self._trained)
        self._worker.start()

    def _trained(self, outcome: Outcome) -> None:
        assert self.comparison is not None
        self._worker = None
        if outcome.code in _CODES_WITH_RESULT and outcome.result.get("report"):
            self.comparison = replace(self.comparison, result=dict(outcome.result))
            try:
                self.comparison.save()
            except TransferSegError as error:
                outcome = Outcome.of(error)
        self._finish(outcome)

    def _discard(self, outcome: Outcome) -> None:
        """Before anything was trained."""
        self.asking = False
        if self._known is None:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self.comparison = None
        self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        self.result = ComparisonResult(outcome, self.comparison, self.begun)
        self._onFinished(self.result)
