# ruff: noqa: N801, N802, N815
"""Choosing a node of the scene."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .parts import declare, observe, require
from .scene import SceneAware

__all__ = ["qMRMLCheckableNodeComboBox", "qMRMLNodeComboBox"]

_ID = QtCore.Qt.ItemDataRole.UserRole


class qMRMLNodeComboBox(SceneAware):
    """A combo box of the nodes of some classes. Nothing is chosen until someone chooses."""

    currentNodeChanged = QtCore.Signal(object)
    currentNodeChangedValid = QtCore.Signal(bool)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    SIGNATURES: ClassVar[dict[str, str]] = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)",
        "currentNodeChanged(bool)": "currentNodeChangedValid(bool)",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated(PyObject)",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded(PyObject)",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser(PyObject)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved(PyObject)",
        "setCurrentNode(vtkMRMLNode*)": "setCurrentNode(PyObject)",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox()
        self._box.setObjectName("ComboBox")
        self._model = QtGui.QStandardItemModel(self)
        self._box.setModel(self._model)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._observers: list[tuple[Any, int]] = []
        self._filters: list[tuple[str, str, Any]] = []
        self._told: str | None = ""
        self._wanted = ""
        self.setEnabled(False)
        self._box.currentIndexChanged.connect(lambda _index: self._tell())
        self._box.activated.connect(lambda _index: self.nodeActivated.emit(self.currentNode()))

    def _reset(self) -> None:
        current = self._current_id()
        self._box.blockSignals(True)
        self._model.clear()
        if self._get("noneEnabled", False):
            self._model.appendRow(self._item(self._get("noneDisplay", "None"), ""))
        for node in self._fitting():
            self._append(node)
        self._select(current)
        self._box.blockSignals(False)
        self._tell()

    nodeTypes = declare("QStringList", "nodeTypes", [], _reset)
    noneEnabled = declare(bool, "noneEnabled", False, _reset)
    noneDisplay = declare(str, "noneDisplay", "None", _reset)
    showHidden = declare(bool, "showHidden", False, _reset)
    showChildNodeTypes = declare(bool, "showChildNodeTypes", True, _reset)
    hideChildNodeTypes = declare("QStringList", "hideChildNodeTypes", [], _reset)
    addEnabled = declare(bool, "addEnabled", True)
    removeEnabled = declare(bool, "removeEnabled", True)
    renameEnabled = declare(bool, "renameEnabled", False)
    editEnabled = declare(bool, "editEnabled", False)
    selectNodeUponCreation = declare(bool, "selectNodeUponCreation", True)
    baseName = declare(str, "baseName", "")

    def _get(self, name: str, default: Any) -> Any:
        return getattr(self, f"_{name}", default)

    def _item(self, text: str, node_id: str) -> QtGui.QStandardItem:
        item = QtGui.QStandardItem(text or "")
        item.setData(node_id, _ID)
        return item

    def _append(self, node: Any) -> None:
        self._model.appendRow(self._item(node.GetName(), node.GetID()))
        if not any(subject is node for subject, _ in self._observers):
            self._observers.append((node, observe(node, vtk.vtkCommand.ModifiedEvent, self._rename)))

    def _fits(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._get("showHidden", False):
            return False
        if any(node.IsA(kind) for kind in self._get("hideChildNodeTypes", [])):
            return False
        children = self._get("showChildNodeTypes", True)
        kinds = self._get("nodeTypes", [])
        if not any(node.IsA(kind) if children else node.GetClassName() == kind for kind in kinds):
            return False
        own = [f for f in self._filters if node.IsA(f[0])]
        return all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name)) for _, name, value in own
        )

    def _fitting(self) -> list[Any]:
        scene = self._scene
        every = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())] if scene is not None else []
        return [node for node in every if self._fits(node)]

    def _current_id(self) -> str:
        return self._box.currentData(_ID) or ""

    def _select(self, node_id: str) -> None:
        row = self._box.findData(node_id, _ID) if node_id or self._get("noneEnabled", False) else -1
        self._box.setCurrentIndex(max(row, 0) if self._get("noneEnabled", False) else row)

    def _tell(self) -> None:
        if self._current_id() != self._told:
            self._told = self._current_id()
            node = self.currentNode()
            self.currentNodeChanged.emit(node)
            self.currentNodeChangedValid.emit(node is not None)
            self.currentNodeIDChanged.emit(self._told)

    def scene_about_to_change(self) -> None:
        """Leave the old scene."""
        for subject, tag in self._observers:
            subject.RemoveObserver(tag)
        self._observers = []

    def scene_changed(self) -> None:
        """Follow the new scene."""
        scene = self._scene
        if scene is not None:
            events = {scene.NodeAddedEvent: self._on_added, scene.NodeAboutToBeRemovedEvent: self._on_removed}
            events |= dict.fromkeys((scene.EndImportEvent, scene.EndRestoreEvent, scene.EndCloseEvent), self._reset)
            self._observers = [(scene, observe(scene, event, method)) for event, method in events.items()]
        self._reset()
        self._select(self._wanted or self._current_id())
        self._wanted = ""
        self.setEnabled(scene is not None)

    def _on_added(self, node: Any) -> None:
        if not self._fits(node) or self._box.findData(node.GetID(), _ID) >= 0:
            return
        was = self._box.currentIndex()
        self._box.blockSignals(True)
        self._append(node)
        self._box.setCurrentIndex(was)
        self._box.blockSignals(False)
        self.nodeAdded.emit(node)

    def _rename(self) -> None:
        for row in range(self._model.rowCount()):
            node = self._scene.GetNodeByID(self._box.itemData(row, _ID)) if self._box.itemData(row, _ID) else None
            if node is not None and self._box.itemText(row) != (node.GetName() or ""):
                self._model.item(row).setText(node.GetName() or "")

    def _on_removed(self, node: Any) -> None:
        row = self._box.findData(node.GetID(), _ID)
        if row >= 0:
            self.nodeAboutToBeRemoved.emit(node)
            self._model.removeRow(row)

    # Slots

    @QtCore.Slot(result=object)
    def currentNode(self) -> Any:
        """The chosen node, or None."""
        return self._scene.GetNodeByID(self._current_id()) if self._scene is not None and self._current_id() else None

    @QtCore.Slot(object)
    def setCurrentNode(self, node: Any) -> None:
        """Choose a node; one that does not fit means None."""
        require(node, "vtkMRMLNode")
        self.setCurrentNodeID(node.GetID() or "" if node is not None else "")

    @QtCore.Slot(str)
    def setCurrentNodeID(self, node_id: str) -> None:
        """Choose a node by its ID."""
        if self._scene is None:
            self._wanted = node_id or ""
        self._select(node_id or "")
        # A real one does so too; only what is chosen because the chosen node was removed is not "activated".
        self.nodeActivated.emit(self.currentNode())

    currentNodeID = QtCore.Property(str, lambda self: self._current_id(), setCurrentNodeID)

    @QtCore.Slot(int)
    def setCurrentNodeIndex(self, index: int) -> None:
        """Choose by position."""
        self._box.setCurrentIndex(index + self._get("noneEnabled", False))

    @QtCore.Slot(result=int)
    def nodeCount(self) -> int:
        """How many nodes can be chosen."""
        return self._model.rowCount() - bool(self._get("noneEnabled", False))

    @QtCore.Slot(int, result=object)
    def nodeFromIndex(self, index: int) -> Any:
        """The node at a position, or None."""
        row = index + self._get("noneEnabled", False)
        return self._scene.GetNodeByID(self._box.itemData(row, _ID)) if 0 <= row < self._model.rowCount() else None

    @QtCore.Slot(str, result=object)
    def addNode(self, node_type: str = "") -> Any:
        """Make a node as the user does with 'Create new'."""
        node_type = node_type or next(iter(self._get("nodeTypes", [])), "")
        if node_type not in self._get("nodeTypes", []) or self._scene is None:
            return None
        name = self._get("baseName", "") or slicer.mrmlScene.CreateNodeByClass(node_type).GetNodeTagName()
        node = self._scene.AddNewNodeByClass(node_type, self._scene.GenerateUniqueName(name))
        for _kind, attribute, value in (f for f in self._filters if node.IsA(f[0])):
            node.SetAttribute(attribute, value)
        if self._get("selectNodeUponCreation", True):
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    @QtCore.Slot()
    def removeCurrentNode(self) -> None:
        """Remove the chosen node from the scene."""
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())

    @QtCore.Slot(str, str, "QVariant")
    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """Show only nodes with this attribute (and value)."""
        self._filters.append((node_type, name, value))
        self._reset()

    @QtCore.Slot(str, str)
    def removeAttribute(self, node_type: str, name: str) -> None:
        """Undo addAttribute()."""
        self._filters = [f for f in self._filters if f[:2] != (node_type, name)]
        self._reset()


class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """A combo box in which several nodes may be checked."""

    checkedNodesChanged = QtCore.Signal()
    SIGNATURES: ClassVar[dict[str, str]] = {}

    def _checked(self) -> set[str]:
        if not hasattr(self, "_checked_ids"):
            self._checked_ids: set[str] = set()
        return self._checked_ids

    @QtCore.Slot(result=object)
    def checkedNodes(self) -> list[Any]:
        """The checked nodes, in the order of the list."""
        return [node for node in self._fitting() if node.GetID() in self._checked()]

    @QtCore.Slot(object, int)
    def setCheckState(self, node: Any, state: Any) -> None:
        """Check or uncheck a node."""
        require(node, "vtkMRMLNode")
        before = set(self._checked())
        checked = int(getattr(state, "value", state)) != 0
        (self._checked().add if checked else self._checked().discard)(node.GetID())
        if before != self._checked():
            self.checkedNodesChanged.emit()
