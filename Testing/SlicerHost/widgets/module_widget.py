# ruff: noqa: N801, N802, N815
"""The panel of a scripted module, and the main window that shows it."""

from __future__ import annotations

import sys
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from ..pythonqt.values import wrap
from .scene import SceneAware

__all__ = ["qSlicerMainWindow", "qSlicerModuleSelectorToolBar", "qSlicerScriptedLoadableModuleWidget"]


class qSlicerScriptedLoadableModuleWidget(SceneAware):
    """`self.parent` of a module's widget."""

    def __init__(self, module_name: str = "") -> None:
        super().__init__()
        self._module_name = module_name
        self._entered = False
        self._self: Any = None
        self.setObjectName(f"{module_name}ModuleWidget")
        self.setLayout(QtWidgets.QVBoxLayout())

    isEntered = QtCore.Property(bool, lambda self: self._entered)
    moduleName = QtCore.Property(str, lambda self: self._module_name)

    def make(self) -> None:
        """Create the Python widget and set it up, as Slicer does when the module is first shown."""
        widget_class = getattr(sys.modules[self._module_name], f"{self._module_name}Widget")
        self._self = widget_class(wrap(self))
        setattr(slicer.modules, f"{self._module_name}Widget", self._self)
        self._self.setup()

    @QtCore.Slot(result=object)
    def self(self) -> Any:
        """The module's own widget object."""
        return self._self

    @QtCore.Slot()
    def reload(self) -> None:
        """A new widget object of the reloaded class. `enter` is not called, as in Slicer."""
        self.make()

    @QtCore.Slot()
    def enter(self) -> None:
        """The module is shown."""
        self._entered = True
        self._tell("enter")

    @QtCore.Slot()
    def exit(self) -> None:
        """The module is left."""
        self._entered = False
        self._tell("exit")

    @QtCore.Slot(object, str, str, result=bool)
    def setEditedNode(self, node: Any, role: str = "", context: str = "") -> bool:
        """Ask the module to edit a node."""
        return bool(self._tell("setEditedNode", node, role, context))

    def _tell(self, name: str, *args: Any) -> Any:
        method = getattr(self._self, name, None)
        return method(*args) if method is not None else None


class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    """Switches modules."""

    moduleSelected = QtCore.Signal(str)

    def __init__(self, show: Any = None) -> None:
        super().__init__()
        self._show, self._selected = show, ""

    selectedModule = QtCore.Property(str, lambda self: self._selected)

    @QtCore.Slot(str)
    def selectModule(self, name: str) -> None:
        """Leave the shown module and enter another; the empty name leaves only."""
        if name == self._selected:
            return
        self._selected = name
        self._show(name)
        self.moduleSelected.emit(name)


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """A main window that has the module panel and a status bar, and no views."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = qSlicerModuleSelectorToolBar(self._show)
        self.addToolBar(self._selector)
        self._panel = QtWidgets.QScrollArea()
        self._panel.setObjectName("ModulePanel")
        self._panel.setWidgetResizable(True)
        self._dock = QtWidgets.QDockWidget()
        self._dock.setObjectName("PanelDockWidget")
        self._dock.setWidget(self._panel)
        self.addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, self._dock)
        self.setStatusBar(QtWidgets.QStatusBar())

    @QtCore.Slot(result=object)
    def moduleSelector(self) -> QtWidgets.QWidget:
        """The tool bar that switches modules."""
        return self._selector

    def _show(self, name: str) -> None:
        shown = self._panel.takeWidget()
        if shown is not None:
            shown.setParent(None)
            shown.exit()
        if name:
            module = getattr(slicer.modules, name.lower())._qt
            self._panel.setWidget(module.widgetRepresentation())
            module.widgetRepresentation().show()
            module.widgetRepresentation().enter()
