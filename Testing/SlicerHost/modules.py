# ruff: noqa: N801, N802, N815
"""slicer.modules: MRML logics of the wheel under their module's name, and scripted modules loaded from their file."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui

from .pythonqt.values import wrap
from .widgets.module_widget import qSlicerScriptedLoadableModuleWidget
from .widgets.parts import declare

__all__ = ["MODULE_LOGICS", "load_scripted_module", "qSlicerLoadableModule", "qSlicerModuleManager"]

MODULE_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}


class qSlicerLoadableModule(QtCore.QObject):
    """A C++ module: its real logic, without its panel."""

    def __init__(self, name: str, logic: Any) -> None:
        super().__init__()
        self._name, self._logic = name, logic

    name = QtCore.Property(str, lambda self: self._name)
    title = QtCore.Property(str, lambda self: self._name)

    @QtCore.Slot(result=object)
    def logic(self) -> Any:
        """The module's logic."""
        return self._logic


class qSlicerScriptedLoadableModule(QtCore.QObject):
    """`self.parent` of a scripted module."""

    def __init__(self, name: str = "", path: str = "") -> None:
        super().__init__()
        self._name, self._path, self._widget = name, path, None
        self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)

    name = QtCore.Property(str, lambda self: self._name)
    path = QtCore.Property(str, lambda self: self._path)
    title = declare(str, "title", "")
    categories = declare("QStringList", "categories", [])
    dependencies = declare("QStringList", "dependencies", [])
    contributors = declare("QStringList", "contributors", [])
    associatedNodeTypes = declare("QStringList", "associatedNodeTypes", [])
    helpText = declare(str, "helpText", "")
    acknowledgementText = declare(str, "acknowledgementText", "")
    icon = declare(QtGui.QIcon, "icon", QtGui.QIcon())
    hidden = declare(bool, "hidden", False)
    index = declare(int, "index", -1)
    widgetRepresentationCreationEnabled = declare(bool, "widgetRepresentationCreationEnabled", True)

    @QtCore.Slot(result=object)
    def logic(self) -> Any:
        """The (empty) C++ logic; a scripted module's own logic belongs to its widget."""
        return self._logic

    @QtCore.Slot(result=object)
    def createNewWidgetRepresentation(self) -> Any:
        """Another panel of this module."""
        made = qSlicerScriptedLoadableModuleWidget(self._name)
        made.setMRMLScene(slicer.mrmlScene)
        made.make()
        return made

    @QtCore.Slot(result=object)
    def widgetRepresentation(self) -> Any:
        """The module's panel, made when first asked for."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget


class qSlicerModuleManager(QtCore.QObject):
    """slicer.app.moduleManager()."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, QtCore.QObject] = {}

    def add(self, name: str, module: QtCore.QObject) -> None:
        """Make a module known."""
        self._modules[name] = module
        setattr(slicer.modules, name.lower(), wrap(module))
        setattr(slicer.moduleNames, name, name)
        self.moduleLoaded.emit(name)

    @QtCore.Slot(str, result=object)
    def module(self, name: str) -> Any:
        """A module, or None."""
        return self._modules.get(name)

    @QtCore.Slot(result="QStringList")
    def modulesNames(self) -> list[str]:
        """The names of all modules."""
        return sorted(self._modules)

    def unload_all(self) -> None:
        """What happens when Slicer ends: every module may clean up."""
        for name in self._modules:
            self.moduleAboutToBeUnloaded.emit(name)


def add_loadable_modules(manager: qSlicerModuleManager, application_logic: Any) -> None:
    """The logics of the wheel, connected with each other as Slicer does it."""
    warnings = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()  # the wheel brings no terminology files, which its logic tells at length
    for name, class_name in MODULE_LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(application_logic)
        application_logic.SetModuleLogic(name, logic)
        logic.SetMRMLScene(slicer.mrmlScene)
        manager.add(name, qSlicerLoadableModule(name, logic))
    vtk.vtkObject.SetGlobalWarningDisplay(warnings)


def load_scripted_module(manager: qSlicerModuleManager, path: str | os.PathLike[str]) -> Any:
    """Load a scripted module from its file, as `--additional-module-paths` does for a folder of them."""
    file = Path(path).resolve()
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    code = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = code
    spec.loader.exec_module(code)
    module = qSlicerScriptedLoadableModule(file.stem, str(file))
    instance = getattr(code, file.stem)(wrap(module))
    setattr(slicer.modules, f"{file.stem}Instance", instance)
    manager.add(file.stem, module)
    if hasattr(instance, "setup"):
        instance.setup()
    return wrap(module)
