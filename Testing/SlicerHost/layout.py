# ruff: noqa: N801, N802, N815
"""slicer.app.layoutManager(): the real layout logic makes the view nodes; the views themselves draw nothing."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

__all__ = ["qSlicerLayoutManager"]


_ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class _View(QtWidgets.QWidget):
    """A view that is not drawn; its node and its logic are real."""

    def __init__(self, node: Any, logic: Any) -> None:
        super().__init__()
        self._node, self._logic = node, logic

    @QtCore.Slot(result=object)
    def mrmlSliceNode(self) -> Any:
        """The slice node."""
        return self._node

    @QtCore.Slot(result=object)
    def mrmlViewNode(self) -> Any:
        """The view node."""
        return self._node

    @QtCore.Slot(result=object)
    def mrmlPlotViewNode(self) -> Any:
        """The plot view node."""
        return self._node

    @QtCore.Slot(result=object)
    def mrmlTableViewNode(self) -> Any:
        """The table view node."""
        return self._node

    @QtCore.Slot(result=object)
    def sliceLogic(self) -> Any:
        """The slice logic of a slice view."""
        return self._logic


class qSlicerLayoutManager(QtCore.QObject):
    """Layouts and their view nodes."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, scene: Any, application_logic: Any) -> None:
        super().__init__()
        self._scene, self._application_logic = scene, application_logic
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        self._slices: dict[str, Any] = {}
        self._collection = vtk.vtkCollection()
        application_logic.SetSliceLogics(self._collection)
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)

    def _update(self) -> None:
        shown = self._shown("vtkMRMLAbstractViewNode")
        for node in self._nodes("vtkMRMLAbstractViewNode"):
            node.SetMappedInLayout(int(node in shown))
        for node in self._nodes("vtkMRMLSliceNode"):
            name = node.GetLayoutName()
            if name not in self._slices:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._application_logic)
                logic.SetMRMLScene(self._scene)
                logic.SetSliceNode(node)
                logic.GetSliceNode().SetOrientation(_ORIENTATIONS.get(name, "Axial"))
                logic.GetSliceNode().SetLayoutLabel(name[0])
                self._slices[name] = logic
                self._collection.AddItem(logic)

    def _nodes(self, class_name: str) -> list[Any]:
        count = self._scene.GetNumberOfNodesByClass(class_name)
        return [self._scene.GetNthNodeByClass(i, class_name) for i in range(count)]

    @QtCore.Slot(result=object)
    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene

    @QtCore.Slot(result=object)
    def layoutLogic(self) -> Any:
        """The real vtkMRMLLayoutLogic."""
        return self._logic

    @QtCore.Slot(result=object)
    def mrmlSliceLogics(self) -> Any:
        """A vtkCollection of the slice logics."""
        return self._collection

    @QtCore.Slot(int)
    def setLayout(self, layout: int) -> None:
        """Arrange the views."""
        self._logic.GetLayoutNode().SetViewArrangement(layout)
        self._update()
        self.layoutChanged.emit(layout)

    layout = QtCore.Property(int, lambda self: self._logic.GetLayoutNode().GetViewArrangement(), setLayout)

    @QtCore.Slot(result="QStringList")
    def sliceViewNames(self) -> list[str]:
        """Red, Green, Yellow, ..."""
        return [node.GetLayoutName() for node in self._nodes("vtkMRMLSliceNode")]

    @QtCore.Slot(str, result=object)
    def sliceWidget(self, name: str) -> Any:
        """A slice view, or None."""
        logic = self._slices.get(name)
        return _View(logic.GetSliceNode(), logic) if logic is not None else None

    def _shown(self, class_name: str) -> list[Any]:
        nodes = self._logic.GetViewNodes()
        return [node for node in nodes if node.IsA(class_name)] if nodes is not None else []

    def _nth(self, class_name: str, index: int) -> Any:
        shown = self._shown(class_name)
        return _View(shown[index], None) if 0 <= index < len(shown) else None

    threeDViewCount = QtCore.Property(int, lambda self: len(self._shown("vtkMRMLViewNode")))
    plotViewCount = QtCore.Property(int, lambda self: len(self._shown("vtkMRMLPlotViewNode")))
    tableViewCount = QtCore.Property(int, lambda self: len(self._shown("vtkMRMLTableViewNode")))

    @QtCore.Slot(int, result=object)
    def threeDWidget(self, index: int) -> Any:
        """A 3D view, or None."""
        return self._nth("vtkMRMLViewNode", index)

    @QtCore.Slot(int, result=object)
    def plotWidget(self, index: int) -> Any:
        """A plot view, or None."""
        return self._nth("vtkMRMLPlotViewNode", index)

    @QtCore.Slot(int, result=object)
    def tableWidget(self, index: int) -> Any:
        """A table view, or None."""
        return self._nth("vtkMRMLTableViewNode", index)

    @QtCore.Slot()
    def resetSliceViews(self) -> None:
        """Fit slices to their volumes."""
        for logic in self._slices.values():
            logic.FitSliceToAll()

    @QtCore.Slot()
    def resetThreeDViews(self) -> None:
        """Nothing to draw."""
