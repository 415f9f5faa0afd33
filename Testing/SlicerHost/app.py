# ruff: noqa: N801, N802, N815
"""slicer.app: a real QApplication with the parts of Slicer's that scripted modules ask for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import slicer
from PySide6 import QtCore, QtWidgets

from .extensions import qSlicerExtensionsManagerModel
from .files import qSlicerCoreIOManager
from .layout import qSlicerLayoutManager
from .modules import add_loadable_modules, qSlicerModuleManager
from .subject_hierarchy import follow
from .widgets.parts import declare

__all__ = ["qSlicerApplication"]


class qSlicerCommandOptions(QtCore.QObject):
    """What the command line of Slicer said."""

    noMainWindow = declare(bool, "noMainWindow", False)
    testingEnabled = declare(bool, "testingEnabled", True)
    runPythonAndExit = declare(bool, "runPythonAndExit", False)
    noSplash = declare(bool, "noSplash", True)


class qSlicerApplication(QtWidgets.QApplication):
    """The one application. In `--testing` mode, the usual one, no dialog of slicer.util waits for a person."""

    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)
    SIGNATURES: ClassVar[dict[str, str]] = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}

    def __init__(self, *, main_window: bool, testing: bool) -> None:
        super().__init__(["Slicer"])
        self._folder = tempfile.TemporaryDirectory(prefix="SlicerHost-", ignore_cleanup_errors=True)
        self._temporary = self._folder.name
        self._keep_settings_here()
        self.setApplicationName("Slicer")
        self.setOrganizationName("SlicerHost")
        self._options = qSlicerCommandOptions()
        self._options.setProperty("noMainWindow", not main_window)
        self._options.setProperty("testingEnabled", testing)
        self._scene = slicer.vtkMRMLScene()
        self._application_logic = slicer.vtkSlicerApplicationLogic()
        self._application_logic.SetMRMLScene(self._scene)
        self._cache = slicer.vtkCacheManager()
        self._cache.SetRemoteCacheDirectory(str(Path(self._folder.name, "RemoteIO")))
        self._data_io = slicer.vtkDataIOManager()
        self._data_io.SetCacheManager(self._cache)
        self._scene.SetCacheManager(self._cache)
        self._scene.SetDataIOManager(self._data_io)
        self._environment = QtCore.QProcessEnvironment.systemEnvironment()

    def _keep_settings_here(self) -> None:
        scope, form = QtCore.QSettings.Scope, QtCore.QSettings.Format
        QtCore.QSettings.setDefaultFormat(form.IniFormat)
        for kind in (scope.UserScope, scope.SystemScope):
            QtCore.QSettings.setPath(form.IniFormat, kind, str(Path(self._folder.name, "settings")))

    def assemble(self) -> None:
        """The second half of the start, when slicer.mrmlScene is known."""
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene)
        follow(self._scene)
        self._layout_manager = qSlicerLayoutManager(self._scene, self._application_logic)
        self._manager = qSlicerModuleManager()
        add_loadable_modules(self._manager, self._application_logic)
        self._io = qSlicerCoreIOManager(self._scene, self._application_logic.GetModuleLogic)
        self._extensions = qSlicerExtensionsManagerModel()
        self._settings = QtCore.QSettings()

    def _set_temporary(self, path: str) -> None:
        self._temporary = path

    temporaryPath = QtCore.Property(str, lambda self: self._temporary, _set_temporary)
    slicerHome = QtCore.Property(str, lambda self: self._folder.name)
    majorVersion = QtCore.Property(int, lambda self: 5)
    minorVersion = QtCore.Property(int, lambda self: 13)
    revision = QtCore.Property(str, lambda self: "stand-in")
    documentationBaseUrl = QtCore.Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")

    @QtCore.Slot(result=bool)
    def testingEnabled(self) -> bool:
        """Whether this is like `Slicer --testing`."""
        return bool(self._options.property("testingEnabled"))

    @QtCore.Slot(result=object)
    def commandOptions(self) -> Any:
        """The command line."""
        return self._options

    @QtCore.Slot(result=object)
    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    @QtCore.Slot(result=object)
    def applicationLogic(self) -> Any:
        """The real application logic."""
        return self._application_logic

    @QtCore.Slot(str, result=object)
    def moduleLogic(self, name: str) -> Any:
        """The logic of a module."""
        return self._application_logic.GetModuleLogic(name)

    @QtCore.Slot(result=object)
    def layoutManager(self) -> Any:
        """Layouts and views."""
        return self._layout_manager

    @QtCore.Slot(result=object)
    def moduleManager(self) -> Any:
        """The modules."""
        return self._manager

    @QtCore.Slot(result=object)
    def coreIOManager(self) -> Any:
        """Reading and writing files."""
        return self._io

    @QtCore.Slot(result=object)
    def ioManager(self) -> Any:
        """Reading and writing files."""
        return self._io

    @QtCore.Slot(result=object)
    def extensionsManagerModel(self) -> Any:
        """Installed extensions."""
        return self._extensions

    @QtCore.Slot(result=object)
    def userSettings(self) -> Any:
        """Settings, in a folder that goes with the process."""
        return self._settings

    @QtCore.Slot(result=object)
    def settings(self) -> Any:
        """The same settings."""
        return self._settings

    @QtCore.Slot(result=object)
    def revisionUserSettings(self) -> Any:
        """The same settings."""
        return self._settings

    @QtCore.Slot(result=object)
    def startupEnvironment(self) -> Any:
        """The environment of this process."""
        return self._environment

    @QtCore.Slot(str, result=str)
    def moduleDocumentationUrl(self, name: str) -> str:
        """Where a module's documentation would be."""
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    @QtCore.Slot()
    def pauseRender(self) -> None:
        """Nothing is rendered."""

    @QtCore.Slot()
    def resumeRender(self) -> None:
        """Nothing is rendered."""
