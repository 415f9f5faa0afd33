"""CaseTable: the table of annotated cases, and the editor of the chosen one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from TransferSegLib.labels import LabelScheme

from .annotated import ROLES, AnnotatedCase, segmentNames, uniqueName
from .channels import patientName

_NAME, _IMAGES, _LABEL, _ROLE = range(4)


class CaseTable:
    """Shows cases and lets the user change them; who keeps them is told by ``onChanged``.

    Parameters
    ----------
    table, frame, classes : a QTableWidget of cases, a frame with a form for the chosen case, a QTableWidget of its
        segments.
    onChanged : is given the changed list of cases.
    onChosen : is called when another row is chosen.
    """

    def __init__(
        self,
        table: Any,
        frame: Any,
        classes: Any,
        onChanged: Callable[[list[AnnotatedCase]], None],
        onChosen: Callable[[], None],
    ) -> None:
        self.table, self.frame, self.classes = table, frame, classes
        self._onChanged, self._onChosen = onChanged, onChosen
        self._cases: list[AnnotatedCase] = []
        self._used: list[AnnotatedCase] = []
        self._names: list[dict[str, str]] = []
        self._problems: list[str] = []
        self._channels: list[str] = []
        self._scheme: LabelScheme | None = None
        self._selectors: dict[str, Any] = {}
        self._filling = False
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Case"), _("Images"), _("Segmentation"), _("Role")])
        header = table.horizontalHeader()
        for column in (_NAME, _LABEL):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch)
        for column in (_IMAGES, _ROLE):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        table.verticalHeader().setVisible(False)
        table.wordWrap = False
        table.connect("itemSelectionChanged()", self._rowChosen)
        table.connect("cellChanged(int,int)", self._cellChanged)
        classes.setColumnCount(2)
        classes.setHorizontalHeaderLabels([_("Segment"), _("is")])
        classes.horizontalHeader().setStretchLastSection(True)
        classes.verticalHeader().setVisible(False)

    @property
    def chosenRows(self) -> list[int]:
        """Rows that the user has selected."""
        parts = self.table.selectedRanges()
        return sorted({row for part in parts for row in range(part.topRow(), part.bottomRow() + 1)})

    def show(
        self,
        cases: Sequence[AnnotatedCase],
        used: Sequence[AnnotatedCase],
        problems: Sequence[str],
        channels: Sequence[str],
        scheme: LabelScheme | None,
    ) -> None:
        """Show these cases; nothing is done when they are shown already, so that nobody's typing is disturbed.

        Parameters
        ----------
        used : the cases with the classes of all their segments, see :func:`annotated.withClasses`.
        """
        state = (list(cases), list(used), list(map(segmentNames, cases)), list(problems), list(channels), scheme)
        if state == (self._cases, self._used, self._names, self._problems, self._channels, self._scheme):
            return
        rows = self.chosenRows
        self._cases, self._used, self._names, self._problems, self._channels, self._scheme = state
        self._filling = True
        self.table.setRowCount(len(cases))
        for row, (case, problem) in enumerate(zip(cases, problems, strict=True)):
            self._fillRow(row, case, problem)
        self._filling = False
        if rows and rows[0] < len(cases):
            self.table.selectRow(rows[0])
        self.showChosen()

    def _fillRow(self, row: int, case: AnnotatedCase, problem: str) -> None:
        found = [channel for channel in self._channels if case.images.get(channel)]
        label = slicer.mrmlScene.GetNodeByID(case.label) if case.loaded and case.label else None
        where = _("loaded") if case.loaded else _("on disk")
        texts = {
            _NAME: case.name,
            _IMAGES: _("{found} of {needed}, {where}").format(
                found=len(found), needed=len(self._channels), where=where
            ),
            _LABEL: label.GetName() if label is not None else _("on disk") if case.label else _("none"),
        }
        unused = [name for key, name in self._names[row].items() if not self._used[row].classes.get(key)]
        tip = problem or _("This case can be learned from.")
        tip += " " + _("Not used: {names}.").format(names=", ".join(unused)) if unused else ""
        for column, text in texts.items():
            item = qt.QTableWidgetItem(text)
            if column != _NAME:
                item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            item.setToolTip(tip)
            if problem:
                item.setForeground(qt.QBrush(qt.QColor(170, 60, 50)))
            self.table.setItem(row, column, item)
        combo = self.table.cellWidget(row, _ROLE) or self._roleCombo(row)
        was = combo.blockSignals(True)
        combo.setCurrentIndex(ROLES.index(case.role))
        combo.blockSignals(was)

    def _roleCombo(self, row: int) -> Any:
        combo = qt.QComboBox()
        for role, text, tip in zip(ROLES, roleNames(), roleTips(), strict=True):
            combo.addItem(text, role)
            combo.setItemData(combo.count - 1, tip, qt.Qt.ToolTipRole)
        combo.connect("currentIndexChanged(int)", lambda index: self._change(row, role=ROLES[index]))
        self.table.setCellWidget(row, _ROLE, combo)
        return combo

    def showChosen(self) -> None:
        """Fill the editor with the chosen case."""
        rows = self.chosenRows
        case = self._used[rows[0]] if rows and rows[0] < len(self._used) else None
        self._makeSelectors(self._channels if case is not None and case.loaded else [])
        self._filling = True
        for key, selector in self._selectors.items():
            nodeID = (case.label if key == "label" else case.images.get(key, "")) if case is not None else ""
            selector.setCurrentNodeID(nodeID)
        self._filling = False
        self._fillClasses(case)

    def _makeSelectors(self, channels: Sequence[str]) -> None:
        keys = [*channels, "label"] if channels else []
        if list(self._selectors) == keys:
            return
        layout = self.frame.layout()
        while layout.rowCount():
            layout.removeRow(0)
        self._selectors = {}
        for key in keys:
            selector = slicer.qMRMLNodeComboBox()
            isLabel = key == "label"
            selector.nodeTypes = (
                ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"] if isLabel else ["vtkMRMLScalarVolumeNode"]
            )
            selector.noneEnabled = True
            selector.addEnabled = selector.removeEnabled = False
            selector.showChildNodeTypes = False
            selector.objectName = f"caseSelector_{key}"
            selector.setMRMLScene(slicer.mrmlScene)
            selector.connect("nodeActivated(vtkMRMLNode*)", lambda node, key=key: self._nodeChosen(key, node))
            layout.addRow(_("Segmentation:") if isLabel else f"{key}:", selector)
            self._selectors[key] = selector

    def _fillClasses(self, case: AnnotatedCase | None) -> None:
        parts = partsOf(case) if case is not None else {}
        self.classes.setRowCount(0)  # the old selectors go
        self.classes.setRowCount(len(parts))
        self.classes.visible = bool(parts) and self._scheme is not None
        if self._scheme is None:
            return
        for row, (key, name) in enumerate(parts.items()):
            self.classes.setItem(row, 0, qt.QTableWidgetItem(name))
            combo = qt.QComboBox()
            combo.addItem(_("(not used)"), "")
            for className in self._scheme.names[1:]:
                combo.addItem(className, className)
            combo.setCurrentIndex(max(0, combo.findData(case.classes.get(key, "")) if case is not None else 0))
            combo.connect("currentIndexChanged(int)", lambda index, key=key, combo=combo: self._classChosen(key, combo))
            self.classes.setCellWidget(row, 1, combo)

    def _rowChosen(self) -> None:
        if not self._filling:
            self.showChosen()
            self._onChosen()

    def _cellChanged(self, row: int, column: int) -> None:
        if column == _NAME and not self._filling:
            others = [case for number, case in enumerate(self._cases) if number != row]
            self._change(row, name=uniqueName(self.table.item(row, _NAME).text(), others))

    def _nodeChosen(self, key: str, node: Any) -> None:
        rows = self.chosenRows
        if self._filling or not rows:
            return
        nodeID = node.GetID() if node is not None else ""
        if key == "label":
            self._change(rows[0], label=nodeID, classes={})
        else:
            images = {**self._cases[rows[0]].images, key: nodeID}
            nodes = [slicer.mrmlScene.GetNodeByID(given) for given in images.values() if given]
            self._change(rows[0], images=images, patient=patientName([node for node in nodes if node is not None]))

    def _classChosen(self, key: str, combo: Any) -> None:
        rows = self.chosenRows
        if not self._filling and rows:
            classes = {**self._cases[rows[0]].classes, key: combo.itemData(combo.currentIndex)}
            self._change(rows[0], classes=classes)

    def _change(self, row: int, **changes: Any) -> None:
        cases = list(self._cases)
        cases[row] = replace(cases[row], **changes)
        if cases != self._cases:
            self._onChanged(cases)


def partsOf(case: AnnotatedCase) -> dict[str, str]:
    """The segments of a loaded case, or the values of its label map: key to the text for the user."""
    node = slicer.mrmlScene.GetNodeByID(case.label) if case.loaded and case.label else None
    if node is None or node.IsA("vtkMRMLSegmentationNode"):
        return segmentNames(case)
    values = [int(value) for value in np.unique(slicer.util.arrayFromVolume(node)) if value]
    return {str(value): _("value {number}").format(number=value) for value in values}


def roleNames() -> tuple[str, ...]:
    """Of ``ROLES``, for the user."""
    return _("automatic"), _("train"), _("validate"), _("hold out")


def roleTips() -> tuple[str, ...]:
    """What each role means."""
    return (
        _("A fifth of the patients validates and a fifth is held out, the others train."),
        _("The network learns from this case."),
        _("This case chooses the best epoch."),
        _("This case tells in the end how good the model is on patients it has not seen."),
    )
