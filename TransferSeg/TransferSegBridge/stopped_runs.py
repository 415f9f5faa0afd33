"""StoppedRuns: fine-tunings and comparisons that were stopped, or that Slicer was closed upon: go on, use, delete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .comparison import Comparison, unfinishedComparisons
from .finetuning import installRun
from .runfolder import RunFolder, unfinishedRuns


class StoppedRuns:
    """The group of widgets at the top of the panel; hidden while there is no such run.

    Parameters
    ----------
    ui : the widgets ``runGroup``, ``runsCombo``, ``resumeButton``, ``keepButton`` and ``deleteRunButton``.
    onResume : is given the run to go on with.
    onKept : is given the name of a model that was put into the list.
    onDeleted : is given the folder of what was deleted.
    """

    def __init__(
        self,
        ui: Any,
        onResume: Callable[[RunFolder | Comparison], None],
        onKept: Callable[[str], None],
        onDeleted: Callable[[Path], None],
    ) -> None:
        self.ui = ui
        self._onResume, self._onKept, self._onDeleted = onResume, onKept, onDeleted
        self._runs: list[RunFolder | Comparison] = []
        self._held: list[str] = []
        self._running: Path | None = None
        self._busy = False
        ui.runsCombo.connect("currentIndexChanged(int)", lambda index: self._update())
        ui.resumeButton.connect("clicked(bool)", self._resume)
        ui.keepButton.connect("clicked(bool)", self._keep)
        ui.deleteRunButton.connect("clicked(bool)", self._delete)

    @property
    def chosen(self) -> RunFolder | Comparison | None:
        """The run that the buttons are about."""
        index = self.ui.runsCombo.currentIndex
        return self._runs[index] if 0 <= index < len(self._runs) else None

    def refresh(self, running: Path | None, busy: bool) -> None:
        """Read the runs again; the one in the folder ``running`` is not stopped. Nothing can be done while ``busy``."""
        self._running, self._busy = running, busy
        before = str(self.chosen.path) if self.chosen is not None else ""
        self._runs = [run for run in (*unfinishedRuns(), *unfinishedComparisons()) if run.path != running]
        self._held = [_problemOfOthers(run) for run in self._runs]
        combo = self.ui.runsCombo
        was = combo.blockSignals(True)
        combo.clear()
        for run, held in zip(self._runs, self._held, strict=True):
            text = _("{run} (at work in another Slicer)").format(run=_title(run)) if held else _title(run)
            combo.addItem(text, str(run.path))
        if combo.count:
            combo.setCurrentIndex(max(0, combo.findData(before)))
        combo.blockSignals(was)
        self._update()

    def _update(self) -> None:
        run, wait = self.chosen, _("Wait until the run has ended, or pause it.") if self._busy else ""
        ui = self.ui
        ui.runGroup.visible = bool(self._runs)
        no = self._held[ui.runsCombo.currentIndex] if run is not None else _("Choose a run first.")
        noModel = _problemOfModel(run) if run is not None else ""
        for button, problem, tip in (
            (ui.resumeButton, no or wait, _("Go on where it stopped.")),
            (ui.keepButton, no or wait or noModel, _("Put the best model so far into the list of models.")),
            (ui.deleteRunButton, no or wait, _("Delete the run and its copies of the images.")),
        ):
            button.enabled = not problem
            button.toolTip = problem or tip

    def _free(self) -> bool:
        """Whether nobody has begun to work on the chosen run since the list was made; if so, the list is made anew."""
        if self.chosen is None or not _problemOfOthers(self.chosen):
            return True
        self.refresh(self._running, self._busy)
        return False

    def _resume(self, checked: bool = False) -> None:
        if self.chosen is not None and self._free():
            self._onResume(self.chosen)

    def _keep(self, checked: bool = False) -> None:
        if isinstance(self.chosen, RunFolder) and self._free():
            with slicer.util.tryWithErrorDisplay(_("The model could not be kept.")):
                self._onKept(installRun(self.chosen))

    def _delete(self, checked: bool = False) -> None:
        run = self.chosen
        question = _("Delete the run {name}? It cannot go on then. Models in the list stay.")
        if run is not None and self._free() and slicer.util.confirmOkCancelDisplay(question.format(name=_title(run))):
            with slicer.util.tryWithErrorDisplay(_("The run could not be deleted.")):
                run.remove()
            self.refresh(None, self._busy)
            self._onDeleted(run.path)


def _title(run: RunFolder | Comparison) -> str:
    if isinstance(run, Comparison):
        text = _("comparison of strategies: {number} patients, from {source}, {date}")
        return text.format(number=run.patients, source=run.source, date=run.path.name[:10])
    return _("{name}: {strategies}").format(name=run.name, strategies=", ".join(run.waiting))


def _problemOfOthers(run: RunFolder | Comparison) -> str:
    """That another Slicer, or a command, is at work on it, in a sentence; empty when nobody is."""
    try:
        from TransferSegLib.lock import is_held
    except ImportError:  # a package is missing: nothing can be at work
        return ""
    folders = [run.path / "study"] if isinstance(run, Comparison) else map(run.out, run.strategies)
    return _("Another Slicer is at work on it: wait, or pause it there.") if any(map(is_held, folders)) else ""


def _problemOfModel(run: RunFolder | Comparison) -> str:
    if isinstance(run, Comparison):
        return _("A comparison makes no model to use.")
    return "" if run.hasModel() else _("It was stopped before there was a model.")
