"""ComparisonView: what the panel shows of a comparison of strategies: the button, the question, progress and answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TransferSegLib.errors import DependencyError, InputError

from .comparing import (
    ComparisonJob,
    ComparisonResult,
    Estimate,
    comparisonProblem,
    countTrainings,
    designOf,
    takingPart,
)
from .comparison import Comparison, Finding, loadComparison
from .finetuning import FinetuneRequest
from .packages import figuresReady, installFigures, status
from .parameters import TransferSegParameterNode, modifying
from .run_view import RunView
from .sentences import comparisonEnded, estimateText, findingText, trainingText


class ComparisonView:
    """The button beside the strategies, and the group "Which strategy?", hidden while there is nothing to show.

    Parameters
    ----------
    ui : the widgets ``compareStrategiesButton``, ``comparison...`` and the log.
    request : gives what the panel would train with.
    onChanged : is called when a comparison begins or ends.
    """

    def __init__(self, ui: Any, request: Callable[[], FinetuneRequest], onChanged: Callable[[], None]) -> None:
        self.ui = ui
        self.job: ComparisonJob | None = None
        self.parameters: TransferSegParameterNode | None = None
        self._request, self._onChanged = request, onChanged
        self._strategy = ""
        self._told = ""
        self._shown: Comparison | None = None
        self._stamp: Any = None
        self.view = RunView(
            ui.compareStrategiesButton,
            ui.comparisonProgress,
            ui.comparisonStatus,
            ui.finetuneLog,
            ui.finetuneLogGroup,
            _("Compare strategies..."),
            _("Stop comparing"),
        )
        for button, slot in (
            (ui.compareStrategiesButton, self._clicked),
            (ui.comparisonStartButton, self._proceed),
            (ui.comparisonDeclineButton, self._decline),
            (ui.comparisonReportButton, self._openReport),
            (ui.comparisonUseButton, self._use),
        ):
            button.connect("clicked(bool)", slot)
        ui.comparisonAskFrame.visible = False

    @property
    def running(self) -> bool:
        """Until it has ended, also while it waits for an answer."""
        return self.job is not None and self.job.running

    @property
    def folder(self) -> Path | None:
        """Of the comparison that runs."""
        return self.job.comparison.path if self.running and self.job.comparison is not None else None

    def update(self, request: FinetuneRequest, busy: str) -> None:
        """Show what the parameter node has, and whether a comparison can start.

        Parameters
        ----------
        request : what the panel would train with.
        busy : what else runs, in a sentence; empty: nothing.
        """
        if self.parameters is None:
            return
        ui, button = self.ui, self.ui.compareStrategiesButton
        if not self.running:
            if self.parameters.comparison != self._told:  # another scene: what was said is about another one
                self._told = self.parameters.comparison
                self._sayNothing()
            problem = busy or comparisonProblem(request) or ("" if status().ready else status().text)
            button.enabled = not problem
            button.toolTip = problem or _(
                "Which strategy is the best for these cases? Trains {number} networks on parts of the cases and tests "
                "each on the others. Says how long it takes, and asks, before it starts."
            ).format(number=countTrainings(designOf(request)))
        self._showFinding(request)
        ui.comparisonGroup.visible = self.running or bool(ui.comparisonLabel.text or ui.comparisonStatus.text)

    def start(self, what: FinetuneRequest | Comparison) -> None:
        """Begin a comparison, or go on with one."""
        if self.running:
            return
        with slicer.util.tryWithErrorDisplay(_("The comparison could not start.")):
            self._strategy = self.parameters.strategy if self.parameters is not None else ""
            self.job = ComparisonJob(what, self._event, self._ask, self._finished)
            self.view.begin(_("Starting..."))
            self.ui.comparisonGroup.visible = True
            self.ui.comparisonGroup.collapsed = False
            try:
                self.job.start()
            except Exception as error:
                self.job = None
                self.view.end(str(error))
                self._onChanged()
                raise
            if isinstance(what, Comparison):
                self._begun()
            self._onChanged()

    def strategyChosen(self) -> None:
        """The user has chosen a strategy: a comparison that runs will not change it."""
        self._strategy = ""
        if not self.running:  # what was said of the choice holds no longer
            self._sayNothing()

    def forget(self, path: Path) -> None:
        """The comparison was deleted."""
        if self.parameters is not None and self.parameters.comparison == str(path):
            self.parameters.comparison = ""

    def close(self) -> None:
        """Stop what runs, so that it can go on later; the panel goes away."""
        if self.running:
            self.job.stop()
        self.view.close()

    # While it runs.

    def _clicked(self, checked: bool = False) -> None:
        if self.running:
            self.view.stopping()
            self.job.stop()
        else:
            self.start(self._request())

    def _event(self, event: dict[str, Any]) -> None:
        detail = event.get("detail")
        self.view.event({**event, "detail": trainingText(detail)} if detail else event)

    def _ask(self, estimate: Estimate) -> None:
        if self.view.closed:
            return
        assert self.job is not None
        assert isinstance(self.job.request, FinetuneRequest)
        ui, request = self.ui, self.job.request
        patients = len({case.patient or case.name for case in takingPart(request)})
        ui.comparisonAskLabel.text = estimateText(estimate, designOf(request), patients)
        ui.comparisonFiguresCheck.visible = not figuresReady()
        ui.comparisonAskFrame.visible = True
        ui.comparisonProgress.visible = False
        self._sayNothing()
        slicer.util.showStatusMessage(_("TransferSeg asks whether to compare strategies."), 5000)

    def _proceed(self, checked: bool = False) -> None:
        if self.job is None or not self.job.asking:
            return
        self.ui.comparisonAskFrame.visible = False
        self.ui.comparisonProgress.visible = True
        self.view.say(_("Starting..."))
        if not self.ui.comparisonFiguresCheck.isHidden() and self.ui.comparisonFiguresCheck.checked:
            self._installFigures()
        self.job.proceed()
        self._begun()
        self._onChanged()

    def _installFigures(self) -> None:
        self.ui.comparisonFiguresCheck.visible = False
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            installFigures()
        except DependencyError as error:  # the rest does without
            self.view.note(_("Warning: {text}").format(text=error))
        finally:
            slicer.app.restoreOverrideCursor()

    def _decline(self, checked: bool = False) -> None:
        if self.job is not None and self.job.asking:
            self.job.stop()

    def _begun(self) -> None:
        """From now on the scene knows of it."""
        if self.running and self.job.comparison is not None and self.parameters is not None:
            self.parameters.comparison = str(self.job.comparison.path)

    def _finished(self, result: ComparisonResult) -> None:
        if self.view.closed:
            return
        self.ui.comparisonAskFrame.visible = False
        finding = result.comparison.finding if result.comparison is not None and result.found else None
        if finding is not None:
            self._take(result, finding)
        elif result.outcome.cancelled and result.begun:
            self.view.end(_("Stopped. What is done is kept."))
        elif result.outcome.cancelled:
            self.view.end("")
        else:
            self.view.end(result.outcome.message or _("The comparison found nothing."), problem=True)
            if result.outcome.log:
                self.view.note(result.outcome.log)
        self._told = self.parameters.comparison if self.parameters is not None else ""
        self._onChanged()

    def _take(self, result: ComparisonResult, finding: Finding) -> None:
        """Choose the strategy that was found, unless the user has chosen one meanwhile, and say so."""
        parameters, path = self.parameters, str(result.comparison.path)
        if parameters is None:
            self.view.end(_("Done: {path}").format(path=finding.report))
            return
        with modifying(parameters):
            if not result.begun or not parameters.comparison:  # found at once; or the scene was closed meanwhile
                mine, parameters.comparison = not result.begun, path
            else:
                mine = parameters.comparison == path
            if mine and finding.recommends and parameters.strategy == self._strategy:
                parameters.strategy = finding.strategy
        self.view.end(comparisonEnded(finding, self._strategy if mine else "", parameters.strategy))

    # What was found.

    def _read(self) -> Comparison | None:
        """The comparison that the scene knows; read anew when its folder has changed."""
        assert self.parameters is not None
        path = Path(self.parameters.comparison)
        if not self.parameters.comparison:
            self._shown = self._stamp = None
            return None
        try:
            stamp = (str(path), path.stat().st_mtime_ns)
        except OSError:
            stamp = (str(path), None)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._shown = loadComparison(path)
            except InputError:
                self._shown = None
        return self._shown

    def _showFinding(self, request: FinetuneRequest) -> None:
        assert self.parameters is not None
        ui, known, parameters = self.ui, self._read(), self.parameters
        finding = known.finding if known is not None else None
        if finding is not None:
            asked = (
                request.source,
                request.commandOptions(),
                {case.name: case.patient or case.name for case in takingPart(request)},
            )
            ui.comparisonLabel.text = findingText(known, finding, known.asked() == asked)
        elif not parameters.comparison or self.running:
            ui.comparisonLabel.text = ""
        elif known is not None and not known.result:
            ui.comparisonLabel.text = _(
                "The comparison of {number} patients was stopped before its end. It goes on with 'Compare "
                "strategies...', as long as cases and choices are the same, or with 'Resume', also after Slicer was "
                "closed."
            ).format(number=known.patients)
        else:
            ui.comparisonLabel.text = _("The last comparison is not on this computer, or was deleted: {path}").format(
                path=parameters.comparison
            )
        ui.comparisonLabel.visible = bool(ui.comparisonLabel.text)
        offered = finding is not None and finding.recommends and finding.strategy != parameters.strategy
        ui.comparisonButtons.visible = finding is not None
        ui.comparisonUseButton.visible = offered
        if finding is not None:
            ui.comparisonReportButton.toolTip = str(finding.report)
            ui.comparisonUseButton.text = _("Use {strategy}").format(strategy=finding.strategy)

    def _openReport(self, checked: bool = False) -> None:
        if self._shown is not None and self._shown.finding is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._shown.finding.report)))

    def _use(self, checked: bool = False) -> None:
        if self.parameters is not None and self._shown is not None and self._shown.finding is not None:
            self._sayNothing()
            self.parameters.strategy = self._shown.finding.strategy

    def _sayNothing(self) -> None:
        self.ui.comparisonStatus.text = ""
        self.ui.comparisonStatus.visible = False
