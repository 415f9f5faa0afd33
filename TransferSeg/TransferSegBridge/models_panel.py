"""The panel of models: card, import, export, rename, delete, verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .model_picker import ModelPicker
from .worker import Outcome, Worker


class ModelsPanel:
    """Connects its widgets with the registry of models.

    Parameters
    ----------
    widget : the loaded ``ModelsPanel.ui``.
    onChanged : is called when a model was added, renamed or deleted.
    """

    def __init__(self, widget: Any, onChanged: Callable[[], None]) -> None:
        self.widget = widget
        self.ui = ui = slicer.util.childWidgetVariables(widget)
        self._onChanged = onChanged
        self._worker: Worker | None = None
        self._closed = False
        self.picker = ModelPicker(ui.modelsFrame, lambda name: self.update(), cardOpen=True)
        ui.importButton.connect("clicked(bool)", self._import)
        ui.exportButton.connect("clicked(bool)", self._export)
        ui.verifyButton.connect("clicked(bool)", self.verify)
        ui.renameButton.connect("clicked(bool)", self._rename)
        ui.deleteButton.connect("clicked(bool)", self._delete)
        ui.openButton.connect("clicked(bool)", self._open)
        self.update()

    def update(self) -> None:
        """Which buttons can be pressed, and why not."""
        entry = self.picker.entry
        none = _("Choose a model first.")
        shipped = _("This model comes with TransferSeg. Export it to have a copy.")
        usable = "" if entry is not None and entry.problem is None else none if entry is None else entry.problem
        own = none if entry is None else shipped if entry.origin == "shipped" else ""
        ui = self.ui
        for button, problem, tip in (
            (ui.exportButton, usable, _("Write the model to a file to give away.")),
            (ui.verifyButton, none if entry is None else "", _("Check the card, the hash and every tensor.")),
            (ui.renameButton, own or usable, _("Give the model another name.")),
            (ui.deleteButton, own, _("Delete the model from this computer.")),
            (ui.openButton, none if entry is None else "", _("Show the model's files.")),
        ):
            button.enabled = not problem
            button.toolTip = problem or tip

    def refreshModels(self) -> None:
        """A model was added, renamed or deleted; or a package was installed."""
        self.picker.refresh()
        self.update()

    def importModel(self, path: str, name: str = "") -> str:
        """Add a model from a folder or a zip; its name.

        Raises
        ------
        ModelError : it cannot be used, or the name is taken.
        """
        from TransferSegLib.registry import install_model

        entry = install_model(Path(path), name or None)
        self._changed(entry.name, _("Added {name}.").format(name=entry.name))
        return entry.name

    def exportModel(self, path: str) -> str:
        """Write the chosen model to a zip, or into a folder; what was written.

        Raises
        ------
        ModelError : the model is damaged.
        InputError, ResourceError : it cannot be written.
        """
        from TransferSegLib.registry import export_model

        written = export_model(self.picker.name, path)
        self.ui.modelsStatus.text = _("Wrote {path}.").format(path=written)
        return str(written)

    def renameModel(self, name: str) -> None:
        """Give the chosen model another name.

        Raises
        ------
        ModelError : the name is taken or not valid.
        """
        from TransferSegLib.registry import rename_model

        old = self.picker.name
        rename_model(old, name)
        self._changed(name, _("Renamed {old} to {name}.").format(old=old, name=name))

    def deleteModel(self) -> None:
        """Delete the chosen model.

        Raises
        ------
        ModelError : it comes with TransferSeg.
        """
        from TransferSegLib.registry import remove_model

        name = self.picker.name
        remove_model(name)
        self._changed("", _("Deleted {name}.").format(name=name))

    def verify(self, checked: bool = False) -> None:
        """Check the chosen model, the network included, in a child process."""
        name = self.picker.name
        self.ui.modelsStatus.text = _("Checking {name}...").format(name=name)
        self._worker = Worker(
            ["models", "verify", str(self.picker.entries[name].path)],
            onFinished=lambda outcome: self._verified(name, outcome),
        )
        self._worker.start()

    def _verified(self, name: str, outcome: Outcome) -> None:
        if self._closed:
            return
        good = _("{name} is in order: card, hash and tensors were checked.").format(name=name)
        self.ui.modelsStatus.text = good if outcome.ok else outcome.message

    def _changed(self, name: str, text: str) -> None:
        self.picker.refresh()
        self.picker.select(name)
        self.update()
        self.ui.modelsStatus.text = text
        self._onChanged()

    # The buttons ask, then call what scripts call.

    def _import(self, checked: bool = False) -> None:
        path = qt.QFileDialog.getOpenFileName(self.widget, _("Add a model"), "", _("Model (*.zip model.json)"))
        if path:
            path = str(Path(path).parent) if Path(path).name == "model.json" else path
            with slicer.util.tryWithErrorDisplay(_("The model could not be added.")):
                self.importModel(path)

    def _export(self, checked: bool = False) -> None:
        path = qt.QFileDialog.getSaveFileName(
            self.widget, _("Write the model to a file"), f"{self.picker.name}.zip", _("Model (*.zip)")
        )
        if path:
            with slicer.util.tryWithErrorDisplay(_("The model could not be written.")):
                self.exportModel(path if path.lower().endswith(".zip") else f"{path}.zip")

    def _rename(self, checked: bool = False) -> None:
        name = qt.QInputDialog.getText(
            self.widget,
            _("Rename"),
            _("New name of {name}:").format(name=self.picker.name),
            qt.QLineEdit.Normal,
            self.picker.name,
        )
        if name and name != self.picker.name:
            with slicer.util.tryWithErrorDisplay(_("The model could not be renamed.")):
                self.renameModel(name)

    def _delete(self, checked: bool = False) -> None:
        question = _("Delete the model {name} from this computer?").format(name=self.picker.name)
        if slicer.util.confirmOkCancelDisplay(question):
            with slicer.util.tryWithErrorDisplay(_("The model could not be deleted.")):
                self.deleteModel()

    def _open(self, checked: bool = False) -> None:
        entry = self.picker.entry
        if entry is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(entry.path)))

    def close(self) -> None:
        """The panel goes away."""
        self._closed = True
        if self._worker is not None and self._worker.running:
            self._worker.stop()
