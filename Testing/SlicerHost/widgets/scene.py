# ruff: noqa: N801, N802, N815
"""Widgets that know the scene."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtCore, QtWidgets

from .parts import declare, require

__all__ = ["SceneAware", "qMRMLWidget", "qSlicerWidget"]


class SceneAware(QtWidgets.QWidget):
    """mrmlScene(), setMRMLScene() and mrmlSceneChanged(vtkMRMLScene*)."""

    mrmlSceneChanged = QtCore.Signal(object)
    SIGNATURES: ClassVar[dict[str, str]] = {
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)",
        "setMRMLScene(vtkMRMLScene*)": "setMRMLScene(PyObject)",
    }
    _scene: Any = None

    @QtCore.Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """Show nodes of this scene."""
        require(scene, "vtkMRMLScene")
        if scene is not self._scene:
            self.scene_about_to_change()
            self._scene = scene
            self.scene_changed()
            self.mrmlSceneChanged.emit(scene)

    @QtCore.Slot(result=object)
    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    def scene_about_to_change(self) -> None:
        """For subclasses: leave the old scene."""

    def scene_changed(self) -> None:
        """For subclasses: the new scene is set."""


class qMRMLWidget(SceneAware):
    """The root of a .ui file."""


class qSlicerWidget(SceneAware):
    """A widget of the application."""

    readOnly = declare(bool, "readOnly", False)
