# ruff: noqa: N801, N802, N815
"""Showing segments and tables."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

from .parts import declare, observe, require
from .scene import SceneAware

__all__ = ["qMRMLSegmentationShow3DButton", "qMRMLSegmentsTableView", "qMRMLTableView"]


class _Follower:
    """Which VTK object a widget shows; the widget is updated when that changes."""

    def __init__(self, update: Any) -> None:
        self._update, self.subject, self._tag = update, None, 0

    def follow(self, subject: Any) -> None:
        """Follow another object, or None."""
        if subject is self.subject:
            return
        if self.subject is not None:
            self.subject.RemoveObserver(self._tag)
        self.subject = subject
        if subject is not None:
            self._tag = observe(subject, "AnyEvent", self._update)
        self._update()


class qMRMLSegmentsTableView(SceneAware):
    """The segments of a segmentation: colour and name."""

    SIGNATURES: ClassVar[dict[str, str]] = {"setSegmentationNode(vtkMRMLNode*)": "setSegmentationNode(PyObject)"}
    selectionChanged = QtCore.Signal(QtCore.QItemSelection, QtCore.QItemSelection)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = QtWidgets.QTableWidget(0, 2)
        self._table.setObjectName("SegmentsTable")
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setColumnWidth(0, 24)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._follower = _Follower(self._update)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)

    def _segments(self) -> list[tuple[str, Any]]:
        node = self._follower.subject
        segmentation = node.GetSegmentation() if node is not None else None
        ids = segmentation.GetSegmentIDs() if segmentation is not None else ()
        return [(segment_id, segmentation.GetSegment(segment_id)) for segment_id in ids]

    def _update(self) -> None:
        segments = self._segments()
        self._table.setRowCount(len(segments))
        for row, (_segment_id, segment) in enumerate(segments):
            colour = QtWidgets.QTableWidgetItem()
            colour.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._table.setItem(row, 0, colour)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))

    @QtCore.Slot(object)
    def setSegmentationNode(self, node: Any) -> None:
        """Show the segments of this node."""
        require(node, "vtkMRMLNode")
        self._follower.follow(node)

    @QtCore.Slot(result=object)
    def segmentationNode(self) -> Any:
        """The node shown."""
        return self._follower.subject

    segmentCount = QtCore.Property(int, lambda self: self._table.rowCount())
    selectionMode = declare(int, "selectionMode", 3)
    headerVisible = declare(bool, "headerVisible", True)
    visibilityColumnVisible = declare(bool, "visibilityColumnVisible", True)
    colorColumnVisible = declare(bool, "colorColumnVisible", True)
    opacityColumnVisible = declare(bool, "opacityColumnVisible", True)
    statusColumnVisible = declare(bool, "statusColumnVisible", False)
    layerColumnVisible = declare(bool, "layerColumnVisible", False)
    filterBarVisible = declare(bool, "filterBarVisible", False)
    readOnly = declare(bool, "readOnly", False)

    @QtCore.Slot(result="QStringList")
    def selectedSegmentIDs(self) -> list[str]:
        """The selected rows."""
        rows = {index.row() for index in self._table.selectionModel().selectedRows()}
        return [segment_id for row, (segment_id, _) in enumerate(self._segments()) if row in rows]

    @QtCore.Slot("QStringList")
    def setSelectedSegmentIDs(self, segment_ids: list[str]) -> None:
        """Select rows."""
        self._table.clearSelection()
        flags = QtCore.QItemSelectionModel.SelectionFlag
        for row, (segment_id, _) in enumerate(self._segments()):
            if segment_id in segment_ids:
                index = self._table.model().index(row, 0)
                self._table.selectionModel().select(index, flags.Select | flags.Rows)

    @QtCore.Slot()
    def clearSelection(self) -> None:
        """Select nothing."""
        self._table.clearSelection()


class qMRMLSegmentationShow3DButton(QtWidgets.QPushButton):
    """Makes and shows the closed surfaces of a segmentation."""

    SIGNATURES: ClassVar[dict[str, str]] = {
        "setSegmentationNode(vtkMRMLSegmentationNode*)": "setSegmentationNode(PyObject)"
    }
    locked = declare(bool, "locked", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__("Show 3D", parent)
        self.setCheckable(True)
        self._node: Any = None
        self.toggled.connect(self._show)

    def _show(self, shown: bool) -> None:
        if self._node is not None and shown:
            self._node.CreateClosedSurfaceRepresentation()
        elif self._node is not None:
            self._node.RemoveClosedSurfaceRepresentation()

    @QtCore.Slot(object)
    def setSegmentationNode(self, node: Any) -> None:
        """Work on this node."""
        require(node, "vtkMRMLSegmentationNode")
        self._node = node

    @QtCore.Slot(result=object)
    def segmentationNode(self) -> Any:
        """The node."""
        return self._node


class qMRMLTableView(QtWidgets.QTableView):
    """A table node as a table."""

    mrmlSceneChanged = QtCore.Signal(object)
    SIGNATURES: ClassVar[dict[str, str]] = {
        "setMRMLTableNode(vtkMRMLNode*)": "setMRMLTableNode(PyObject)",
        "setMRMLTableNode(vtkMRMLTableNode*)": "setMRMLTableNode(PyObject)",
        "setMRMLScene(vtkMRMLScene*)": "setMRMLScene(PyObject)",
        "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)",
    }
    _scene: Any = None

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows = QtGui.QStandardItemModel(self)
        self.setModel(self._rows)
        self._follower = _Follower(self._update)

    def _update(self) -> None:
        self._rows.clear()
        node = self._follower.subject
        if node is None:
            return
        table = node.GetTable()
        columns = range(table.GetNumberOfColumns())
        self._rows.setHorizontalHeaderLabels([table.GetColumn(c).GetName() or "" for c in columns])
        for row in range(table.GetNumberOfRows()):
            texts = [table.GetValue(row, column).ToString() for column in columns]
            self._rows.appendRow([QtGui.QStandardItem(text) for text in texts])

    @QtCore.Slot(object)
    def setMRMLTableNode(self, node: Any) -> None:
        """Show this node."""
        require(node, "vtkMRMLTableNode")
        self._follower.follow(node)

    @QtCore.Slot(result=object)
    def mrmlTableNode(self) -> Any:
        """The node shown."""
        return self._follower.subject

    @QtCore.Slot(object)
    def setMRMLScene(self, scene: Any) -> None:
        """The scene of the table node."""
        require(scene, "vtkMRMLScene")
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    @QtCore.Slot(result=object)
    def mrmlScene(self) -> Any:
        """The scene."""
        return self._scene
