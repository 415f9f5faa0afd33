"""The panel that fine-tunes: cases, source model, strategy, curves, result on held-out cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TransferSegLib.labels import SCHEMES
from TransferSegLib.registry import list_models
from TransferSegLib.strategies import STRATEGIES

from .annotated import (
    AnnotatedCase,
    codesText,
    loadCases,
    schemeOf,
    schemeOfText,
    storeCases,
    uniqueName,
    withClasses,
)
from .case_sources import casesOfFolder, casesOfScene
from .case_table import CaseTable
from .combos import fillDevices, select
from .comparison import Comparison
from .comparison_view import ComparisonView
from .curves import Curves
from .finetuning import FinetuneJob, FinetuneRequest, FinetuneResult, freeName
from .model_picker import Needs, firstChoice, needsOf
from .packages import requirePackages, status
from .parameters import TransferSegParameterNode, modifying
from .preview import Preview
from .run_view import RunView
from .runfolder import RunFolder
from .segments import OWN_NAMES
from .sentences import casesText, schemeText, scoresText, strategyText
from .stopped_runs import StoppedRuns


class FinetunePanel:
    """Connects its widgets with the parameter node, and starts the work.

    Parameters
    ----------
    widget : the loaded ``FinetunePanel.ui``.
    onModelsChanged : is called when a model was added.
    busyElsewhere : why the strategies cannot be compared now, in a sentence; empty: they can.
    onBusyChanged : is called when something has started or ended.
    """

    def __init__(
        self,
        widget: Any,
        onModelsChanged: Callable[[], None],
        busyElsewhere: Callable[[], str],
        onBusyChanged: Callable[[], None],
    ) -> None:
        self.widget = widget
        self.ui = ui = slicer.util.childWidgetVariables(widget)
        self.job: FinetuneJob | None = None
        self.curves: dict[str, Curves] = {}
        self._onModelsChanged, self._busyElsewhere = onModelsChanged, busyElsewhere
        self._onBusyChanged = onBusyChanged
        self._parameters: TransferSegParameterNode | None = None
        self._guiTag: int | None = None
        self._folder: RunFolder | None = None
        self._preview = Preview()
        self._needs: dict[str, Needs] = {}
        self.view = RunView(
            ui.finetuneButton,
            ui.finetuneProgress,
            ui.finetuneStatus,
            ui.finetuneLog,
            ui.finetuneLogGroup,
            _("Fine-tune"),
            _("Pause"),
            onBusyChanged,
        )
        self.comparison = ComparisonView(ui, self.request, self._comparisonChanged)
        self.table = CaseTable(ui.casesTable, ui.caseFrame, ui.classesTable, self._setCases, self._caseChosen)
        fillDevices(ui.trainDeviceCombo)
        for strategy in STRATEGIES.values():
            ui.strategyCombo.addItem(strategy.name, strategy.name)
        for text, spacing in ((_("as the source"), 0.0), ("1 mm", 1.0), ("1.5 mm", 1.5), ("2 mm", 2.0)):
            ui.spacingCombo.addItem(text, spacing)
        ui.sourceCombo.connect("currentIndexChanged(int)", lambda index: self._choose("source", ui.sourceCombo, index))
        ui.schemeCombo.connect(
            "currentIndexChanged(int)", lambda index: self._schemeChosen(ui.schemeCombo.itemData(index))
        )
        ui.strategyCombo.connect("currentIndexChanged(int)", self._strategyChosen)
        ui.spacingCombo.connect(
            "currentIndexChanged(int)", lambda index: self._choose("spacing", ui.spacingCombo, index)
        )
        ui.trainDeviceCombo.connect(
            "currentIndexChanged(int)", lambda index: self._choose("trainDevice", ui.trainDeviceCombo, index)
        )
        for button, slot in (
            (ui.addSceneButton, self.addFromScene),
            (ui.addFolderButton, self._askFolder),
            (ui.newCaseButton, self._newCase),
            (ui.removeCaseButton, self._removeCases),
            (ui.finetuneButton, self._clicked),
            (ui.curvesButton, self._showCurves),
            (ui.folderButton, self._openFolder),
        ):
            button.connect("clicked(bool)", slot)
        self.stopped = StoppedRuns(ui, self._resume, self._kept, self.comparison.forget)
        self.refreshModels()
        self.refreshRuns()

    def setParameterNode(self, parameters: TransferSegParameterNode | None) -> None:
        """Show the choices of another parameter node, or of none."""
        if self._parameters is not None and self._guiTag is not None:
            self._parameters.disconnectGui(self._guiTag)
        self._parameters, self._guiTag = parameters, None
        self.comparison.parameters = parameters
        if parameters is None:
            return
        with modifying(parameters):
            if not parameters.source:
                parameters.source = firstChoice("ms-lesion-fast", "ms-lesion")  # 1 mm asks for a graphics processor
            if not parameters.runName:
                parameters.runName = freeName("my-model")
        self._guiTag = parameters.connectGui(self.ui)
        self.update()

    @property
    def busy(self) -> str:
        """Why nothing can be segmented meanwhile, in a sentence; empty: it can. Beside a training it can."""
        return _("Wait until the comparison of strategies has ended, or stop it.") if self.comparison.running else ""

    @property
    def needs(self) -> Needs:
        """Of the source model, and so of the new one."""
        name = self._parameters.source if self._parameters is not None else ""
        if name not in self._needs:
            self._needs[name] = needsOf(next((entry for entry in list_models() if entry.name == name), None))
        return self._needs[name]

    @property
    def channels(self) -> list[str]:
        """That the source model sees, and the new one will."""
        return list(self.needs.channels)

    def update(self) -> None:
        """Show what the parameter node has, and whether the work can start."""
        parameters = self._parameters
        if parameters is None:
            return
        ui = self.ui
        cases, request = loadCases(parameters), self.request()
        scheme = request.scheme
        problems = [case.problem(self.channels, scheme) for case in request.cases]
        self.table.show(cases, request.cases, problems, self.channels, scheme)
        for combo, value in (
            (ui.sourceCombo, parameters.source),
            (ui.strategyCombo, parameters.strategy),
            (ui.spacingCombo, parameters.spacing),
            (ui.trainDeviceCombo, parameters.trainDevice),
        ):
            select(combo, value)
        self._showSchemes(parameters.scheme, cases)
        ui.strategyLabel.text = strategyText(parameters.strategy, self.needs, len(scheme) if scheme else 2)
        ui.casesLabel.text = casesText(cases, problems)
        ui.removeCaseButton.enabled = bool(self.table.chosenRows)
        ui.removeCaseButton.toolTip = (
            _("Take the chosen cases out of the table. Nothing is deleted.")
            if self.table.chosenRows
            else _("Choose cases in the table first.")
        )
        if ui.scoresTableView.mrmlTableNode() is not parameters.scoresTable:
            ui.scoresTableView.setMRMLTableNode(parameters.scoresTable)
        self._updateButtons()
        training = _("Wait until the training has ended, or pause it.") if self.view.running else ""
        self.comparison.update(request, training or self._busyElsewhere())
        if not self.view.running:
            comparing = _("Wait until the comparison has ended, or stop it.") if self.comparison.running else ""
            problem = comparing or request.problem() or ("" if status().ready else status().text)
            ui.finetuneButton.enabled = not problem
            ui.finetuneButton.toolTip = problem or _("Train, and test on the held-out cases.")

    def _updateButtons(self) -> None:
        """Those that show what a run made."""
        for button, there, tip, missing in (
            (
                self.ui.curvesButton,
                self.curves,
                _("Show the learning curves in a plot view."),
                _("There are no curves yet."),
            ),
            (self.ui.folderButton, self._folder, _("Tables and label maps of the run."), _("Nothing was trained yet.")),
        ):
            button.enabled = bool(there)
            button.toolTip = tip if there else missing

    def request(self) -> FinetuneRequest:
        """What the panel says."""
        assert self._parameters is not None
        parameters = self._parameters
        cases = loadCases(parameters)
        scheme = schemeOf(parameters, cases)
        return FinetuneRequest(
            parameters.runName,
            parameters.source,
            tuple(self.channels),
            parameters.strategy,
            tuple(withClasses(parameters, cases, scheme)),
            scheme,
            parameters.epochs,
            parameters.spacing,
            parameters.trainDevice,
            parameters.compare,
        )

    def refreshModels(self) -> None:
        """A model was added, renamed or deleted; or a package was installed."""
        self._needs.clear()
        combo = self.ui.sourceCombo
        was = combo.blockSignals(True)
        combo.clear()
        for entry in list_models():
            if entry.problem is None:
                combo.addItem(entry.name, entry.name)
                combo.setItemData(combo.count - 1, entry.title, qt.Qt.ToolTipRole)
        combo.blockSignals(was)
        self.update()

    def refreshRuns(self) -> None:
        """A run was stopped or has ended."""
        training = self.job is not None and self.job.running and self.job.folder is not None
        self.stopped.refresh(
            self.job.folder.path if training else self.comparison.folder, training or self.comparison.running
        )

    # Cases.

    def addFromScene(self, checked: bool = False) -> int:
        """Add the patients of the scene that are not in the table yet; how many."""
        assert self._parameters is not None
        cases = loadCases(self._parameters)
        found = casesOfScene(cases, self.channels)
        self._setCases([*cases, *found])
        if not found:
            self.view.say(
                _("No further patient with {channels} was found in the scene.").format(
                    channels=", ".join(self.channels)
                )
            )
        return len(found)

    def addFolder(self, path: str) -> int:
        """Add the annotated cases of a dataset on disk that are not in the table yet; how many.

        Raises
        ------
        InputError : no case is found there, or none that can stand beside those of the table.
        DependencyError : a package is missing.
        """
        requirePackages()
        parameters = self._parameters
        assert parameters is not None
        cases = loadCases(parameters)
        found, without = casesOfFolder(path, cases, self.channels, schemeOf(parameters, cases))
        with modifying(parameters):
            told = found[0].scheme if found else ""
            if told not in ("", parameters.scheme) and all(case.loaded for case in cases):
                parameters.scheme = told
                cases = [replace(case, classes={}) for case in cases]
            self._setCases([*cases, *found])
        if without:
            self.view.say(
                _("{number} cases were left out: they have no label map, or are in the table already.").format(
                    number=without
                )
            )
        return len(found)

    def _setCases(self, cases: list[AnnotatedCase]) -> None:
        if self._parameters is not None:
            storeCases(self._parameters, cases)

    def _askFolder(self, checked: bool = False) -> None:
        path = qt.QFileDialog.getExistingDirectory(self.widget, _("Folder with annotated cases"))
        if path:
            with slicer.util.tryWithErrorDisplay(_("The cases could not be added.")):
                self.addFolder(path)

    def _newCase(self, checked: bool = False) -> None:
        assert self._parameters is not None
        cases = loadCases(self._parameters)
        cases.append(AnnotatedCase(uniqueName(_("case"), cases), dict.fromkeys(self.channels, "")))
        self._setCases(cases)
        self.ui.casesTable.selectRow(len(cases) - 1)
        self.ui.caseGroup.collapsed = False

    def _removeCases(self, checked: bool = False) -> None:
        assert self._parameters is not None
        rows = set(self.table.chosenRows)
        self._setCases([case for row, case in enumerate(loadCases(self._parameters)) if row not in rows])

    def _caseChosen(self) -> None:
        self.update()

    # Choices that a parameter node cannot connect by itself.

    def _choose(self, parameter: str, combo: Any, index: int) -> None:
        if self._parameters is not None and index >= 0:
            setattr(self._parameters, parameter, combo.itemData(index))

    def _strategyChosen(self, index: int) -> None:
        self.comparison.strategyChosen()
        self._choose("strategy", self.ui.strategyCombo, index)

    def _schemeChosen(self, scheme: str) -> None:
        if self._parameters is None or not scheme:
            return
        with modifying(self._parameters):
            self._parameters.scheme = scheme
            self._setCases([replace(case, classes={}) for case in loadCases(self._parameters)])

    def _showSchemes(self, chosen: str, cases: list[AnnotatedCase]) -> None:
        """Those that ship, those that the cases came with, and the one that is chosen."""
        combo = self.ui.schemeCombo
        wanted = {name: schemeText(scheme) for name, scheme in SCHEMES.items()}
        wanted[OWN_NAMES] = _("the names of my segments")
        for told in (chosen, *sorted({case.scheme for case in cases if case.scheme})):
            if told not in wanted:
                text = schemeText(schemeOfText(told))
                wanted[told] = codesText(schemeOfText(told)) if text in wanted.values() else text
        if [combo.itemData(row) for row in range(combo.count)] != list(wanted):
            was = combo.blockSignals(True)
            combo.clear()
            for scheme, text in wanted.items():
                combo.addItem(text, scheme)
            combo.blockSignals(was)
        select(combo, chosen)

    # The run.

    def _clicked(self, checked: bool = False) -> None:
        if self.job is not None and self.job.running:
            self.job.stop()
            self.view.stopping()
        else:
            self._start(self.request)

    def _resume(self, what: RunFolder | Comparison) -> None:
        if not isinstance(what, Comparison):
            self._start(lambda: what)
        elif self._busyElsewhere():
            self.view.say(self._busyElsewhere())
        else:
            self.comparison.start(what)

    def _comparisonChanged(self) -> None:
        self.refreshRuns()
        self._onBusyChanged()

    def _start(self, get: Callable[[], FinetuneRequest | RunFolder]) -> None:
        with slicer.util.tryWithErrorDisplay(_("The fine-tuning could not start.")):
            what = get()
            self.curves = {}
            cases = loadCases(self._parameters) if self._parameters is not None else []
            self._preview.begin(cases, what.scheme if isinstance(what, FinetuneRequest) else what.classes())
            self.job = FinetuneJob(what, self._event, self._finished)
            self.view.begin(_("Starting..."))
            try:
                self.job.start()
            except Exception as error:
                self.job = None
                self.view.end(str(error))
                raise
            self._folder = self.job.folder
            self.refreshRuns()
            self._updateButtons()

    def _event(self, event: dict[str, Any]) -> None:
        if self.view.closed:
            return
        self.view.event(event)
        if event["event"] == "metric" and event["stage"] == "train":
            strategy = event["strategy"]
            if strategy not in self.curves:
                assert self._folder is not None
                self.curves[strategy] = Curves(f"{self._folder.name} {strategy}")
            self.curves[strategy].add(event["step"], event["values"])
            self._updateButtons()
        elif event["event"] == "preview" and self._parameters is not None and self._parameters.preview:
            self._preview.show(event)

    def _finished(self, result: FinetuneResult) -> None:
        if self.view.closed:
            return
        self._folder = result.folder if result.kept else None
        if result.outcome.cancelled and not result.kept:
            self.view.end(_("Stopped; nothing was trained yet."))
        elif result.outcome.cancelled:
            self.view.end(_("Paused. It goes on with 'Resume', also after Slicer was closed."))
        elif not result.outcome.ok:
            self.view.end(result.outcome.message, problem=True)
            if result.outcome.log:
                self.view.note(result.outcome.log)
        else:
            self._preview.end()
            text = scoresText(result.folder)
            self.view.end(_("The model {name} is ready: choose it to segment.").format(name=result.model))
            self.ui.scoresLabel.text = text
            self.view.note(text)
            self.ui.scoresGroup.collapsed = False
            if self._parameters is not None:
                with modifying(self._parameters):
                    self._parameters.scoresTable = result.table
                    self._parameters.runName = freeName(result.model)
            self._onModelsChanged()
        self.refreshRuns()
        self.update()

    def _kept(self, name: str) -> None:
        self.view.say(_("The best model so far is in the list: {name}.").format(name=name))
        self._onModelsChanged()

    def _showCurves(self, checked: bool = False) -> None:
        for curves in self.curves.values():
            curves.show()

    def _openFolder(self, checked: bool = False) -> None:
        if self._folder is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._folder.path)))

    def close(self) -> None:
        """Stop what runs, so that it can go on later; the panel goes away."""
        if self.job is not None and self.job.running:
            self.job.stop()
        self.comparison.close()
        self.view.close()
        self.setParameterNode(None)
