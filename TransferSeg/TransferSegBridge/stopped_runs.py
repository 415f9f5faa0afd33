"""StoppedRuns: the fine-tunings that were paused, or that Slicer was closed upon: go on, use, or delete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .finetuning import installRun
from .runfolder import RunFolder, unfinishedRuns


class StoppedRuns:
    """The group of widgets at the top of the panel; hidden while there is no such run.

    Parameters
    ----------
    ui : the widgets ``runGroup``, ``runsCombo``, ``resumeButton``, ``keepButton`` and ``deleteRunButton``.
    onResume : is given the run to go on with.
    onKept : is given the name of a model that was put into the list.
    """

    def __init__(self, ui: Any, onResume: Callable[[RunFolder], None], onKept: Callable[[str], None]) -> None:
        self.ui = ui
        self._onResume, self._onKept = onResume, onKept
        self._runs: list[RunFolder] = []
        self._busy = False
        ui.runsCombo.connect("currentIndexChanged(int)", lambda index: self._update())
        ui.resumeButton.connect("clicked(bool)", self._resume)
        ui.keepButton.connect("clicked(bool)", self._keep)
        ui.deleteRunButton.connect("clicked(bool)", self._delete)

    @property
    def chosen(self) -> RunFolder | None:
        """The run that the buttons are about."""
        index = self.ui.runsCombo.currentIndex
        return self._runs[index] if 0 <= index < len(self._runs) else None

    def refresh(self, running: Path | None) -> None:
        """Read the runs again; the one in the folder ``running`` is not stopped."""
        self._busy = running is not None
        self._runs = [run for run in unfinishedRuns() if run.path != running]
        combo = self.ui.runsCombo
        was = combo.blockSignals(True)
        combo.clear()
        for run in self._runs:
            combo.addItem(
                _("{name}: {strategies}").format(name=run.name, strategies=", ".join(run.waiting)), str(run.path)
            )
        combo.blockSignals(was)
        self._update()

    def _update(self) -> None:
        run, wait = self.chosen, _("Wait until the run has ended, or pause it.") if self._busy else ""
        ui = self.ui
        ui.runGroup.visible = bool(self._runs)
        no = "" if run is not None else _("Choose a run first.")
        noModel = "" if run is not None and run.hasModel() else _("It was stopped before there was a model.")
        for button, problem, tip in (
            (ui.resumeButton, no or wait, _("Go on where it stopped.")),
            (ui.keepButton, no or wait or noModel, _("Put the best model so far into the list of models.")),
            (ui.deleteRunButton, no or wait, _("Delete the run and its copies of the images.")),
        ):
            button.enabled = not problem
            button.toolTip = problem or tip

    def _resume(self, checked: bool = False) -> None:
        if self.chosen is not None:
            self._onResume(self.chosen)

    def _keep(self, checked: bool = False) -> None:
        if self.chosen is not None:
            with slicer.util.tryWithErrorDisplay(_("The model could not be kept.")):
                self._onKept(installRun(self.chosen))

    def _delete(self, checked: bool = False) -> None:
        run = self.chosen
        question = _("Delete the run {name}? It cannot go on then. Models in the list stay.")
        if run is not None and slicer.util.confirmOkCancelDisplay(question.format(name=run.name)):
            with slicer.util.tryWithErrorDisplay(_("The run could not be deleted.")):
                run.remove()
            self.refresh(None)
