# ruff: noqa: N801, N802, N815
"""Widgets of CTK."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

from ..faults import HostRefusal
from .parts import declare

__all__ = ["WIDGETS"]


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A titled section that opens and closes."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *args: Any) -> None:
        if len(args) > 2 or (len(args) == 1 and isinstance(args[0], str)):
            raise TypeError("ctkCollapsibleButton called with wrong argument types: (parent) or (text, parent)")
        super().__init__(args[-1] if args else None)
        self.setText(args[0] if len(args) == 2 else "")
        self.setCheckable(True)
        self.setChecked(True)
        self._was_visible: list[QtWidgets.QWidget] = []
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Minimum, policy.Preferred)
        self.setContentsMargins(0, self._title_height(), 0, 0)
        self.toggled.connect(self._on_toggled)

    def _title_height(self) -> int:
        return self.fontMetrics().height() + 8

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, lambda self: not self.isChecked(), _set_collapsed)

    def _on_toggled(self, opened: bool) -> None:
        if opened:
            for child in self._was_visible:
                child.setVisible(True)
            self._was_visible = []
        else:
            children = [c for c in self.children() if isinstance(c, QtWidgets.QWidget) and not c.isHidden()]
            self._was_visible = children
            for child in children:
                child.setVisible(False)
        self.setMaximumHeight(16777215 if opened else self._title_height())
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        """Only the title is clicked."""
        return position.y() < self._title_height()

    def minimumSizeHint(self) -> QtCore.QSize:
        """The title and what is open below it."""
        return self.sizeHint()

    def sizeHint(self) -> QtCore.QSize:
        """The title and what is open below it."""
        title = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 30, self._title_height())
        layout = self.layout()
        return title.expandedTo(layout.totalSizeHint()) if layout is not None and self.isChecked() else title

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        """A bar with an arrow and the title."""
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self._title_height())
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        primitive = QtWidgets.QStyle.PrimitiveElement
        arrow = primitive.PE_IndicatorArrowDown if self.isChecked() else primitive.PE_IndicatorArrowRight
        option.rect = QtCore.QRect(6, 4, 12, self._title_height() - 8)
        painter.drawPrimitive(arrow, option)
        painter.drawText(24, 4, self.width() - 30, self._title_height() - 8, 0, self.text())


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show the same number."""

    valueChanged = QtCore.Signal(float)
    SIGNATURES: ClassVar[dict[str, str]] = {"valueChanged(double)": "valueChanged(double)"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        self._slider.setObjectName("Slider")
        self._box.setObjectName("SpinBox")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.setRange(0.0, 99.99)
        self._slider.setRange(0, 1000)
        self._slider.sliderMoved.connect(lambda at: self._box.setValue(self._low() + at / 1000 * self._span()))
        self._box.valueChanged.connect(self._moved)

    def _low(self) -> float:
        return self._box.minimum()

    def _span(self) -> float:
        return max(self._box.maximum() - self._low(), 1e-12)

    def _moved(self, value: float) -> None:
        self._slider.setValue(round((value - self._low()) / self._span() * 1000))
        self.valueChanged.emit(value)

    value = QtCore.Property(float, lambda s: s._box.value(), lambda s, v: s._box.setValue(v))
    minimum = QtCore.Property(float, lambda s: s._box.minimum(), lambda s, v: s._box.setMinimum(v))
    maximum = QtCore.Property(float, lambda s: s._box.maximum(), lambda s, v: s._box.setMaximum(v))
    singleStep = QtCore.Property(float, lambda s: s._box.singleStep(), lambda s, v: s._box.setSingleStep(v))
    pageStep = declare(float, "pageStep", 10.0)
    decimals = QtCore.Property(int, lambda s: s._box.decimals(), lambda s, v: s._box.setDecimals(v))
    suffix = QtCore.Property(str, lambda s: s._box.suffix(), lambda s, v: s._box.setSuffix(v))
    prefix = QtCore.Property(str, lambda s: s._box.prefix(), lambda s, v: s._box.setPrefix(v))
    tracking = declare(bool, "tracking", True)

    @QtCore.Slot(float)
    def setValue(self, value: float) -> None:
        """Set the number."""
        self._box.setValue(value)


class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A spin box. It is no QDoubleSpinBox and has only a few of its members."""

    valueChanged = QtCore.Signal(float)
    editingFinished = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self.valueChanged)
        self._box.editingFinished.connect(self.editingFinished)

    value = QtCore.Property(float, lambda s: s._box.value(), lambda s, v: s._box.setValue(v))
    minimum = QtCore.Property(float, lambda s: s._box.minimum(), lambda s, v: s._box.setMinimum(v))
    maximum = QtCore.Property(float, lambda s: s._box.maximum(), lambda s, v: s._box.setMaximum(v))
    singleStep = QtCore.Property(float, lambda s: s._box.singleStep(), lambda s, v: s._box.setSingleStep(v))
    decimals = QtCore.Property(int, lambda s: s._box.decimals(), lambda s, v: s._box.setDecimals(v))
    suffix = QtCore.Property(str, lambda s: s._box.suffix(), lambda s, v: s._box.setSuffix(v))
    prefix = QtCore.Property(str, lambda s: s._box.prefix(), lambda s, v: s._box.setPrefix(v))

    @QtCore.Slot(float)
    def setValue(self, value: float) -> None:
        """Set the number."""
        self._box.setValue(value)


class _PathEdit(QtWidgets.QWidget):
    """A line with a path and a button to browse."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = QtWidgets.QLineEdit()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line)
        layout.addWidget(QtWidgets.QToolButton(text="..."))
        self._line.textChanged.connect(self._changed)

    def _changed(self, path: str) -> None:
        raise NotImplementedError


class ctkPathLineEdit(_PathEdit):
    """A path that is typed or browsed for; the dialog is not part of the stand-in."""

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    Dirs, Drives, Files, NoSymLinks, Readable, Writable, Executable, Hidden = (
        0x1,
        0x4,
        0x2,
        0x8,
        0x10,
        0x20,
        0x40,
        0x100,
    )

    def _changed(self, path: str) -> None:
        self.currentPathChanged.emit(path)

    currentPath = QtCore.Property(str, lambda s: s._line.text(), lambda s, v: s._line.setText(v))
    nameFilters = declare("QStringList", "nameFilters", [])
    settingKey = declare(str, "settingKey", "")
    filters = declare(int, "filters", 24663)
    label = declare(str, "label", "")
    showBrowseButton = declare(bool, "showBrowseButton", True)
    showHistoryButton = declare(bool, "showHistoryButton", True)

    @QtCore.Slot(str)
    def setCurrentPath(self, path: str) -> None:
        """Set the path."""
        self._line.setText(path)

    @QtCore.Slot()
    def addCurrentPathToHistory(self) -> None:
        """Remember the path under settingKey."""
        if self._settingKey if hasattr(self, "_settingKey") else "":
            QtCore.QSettings().setValue(self._settingKey, [self._line.text()])


class ctkDirectoryButton(QtWidgets.QWidget):
    """Shows a folder on a button. It is no QPushButton."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._button = QtWidgets.QPushButton()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)

    def _set_directory(self, directory: str) -> None:
        full = QtCore.QDir(directory).absolutePath() if directory not in ("", ".") else ""
        if full != self._button.text():
            self._button.setText(full)
            self.directoryChanged.emit(full)

    directory = QtCore.Property(str, lambda self: self._button.text() or ".", _set_directory)
    text = QtCore.Property(str, lambda self: self._button.text(), lambda self, text: self._button.setText(text))
    caption = declare(str, "caption", "")


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for no choice."""

    defaultText = declare(str, "defaultText", "")


class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box."""


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line to search with."""

    showSearchIcon = declare(bool, "showSearchIcon", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setPlaceholderText("Search...")


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box with "don't show again". Without a main window and outside of tests it would wait for ever."""

    dontShowAgainSettingsKey = declare(str, "dontShowAgainSettingsKey", "")
    dontShowAgainVisible = declare(bool, "dontShowAgainVisible", False)
    dontShowAgain = declare(bool, "dontShowAgain", False)

    @QtCore.Slot(result=int)
    def exec(self) -> int:
        """Wait for the person."""
        options = QtWidgets.QApplication.instance().commandOptions()
        if options.property("noMainWindow") and not options.property("testingEnabled"):
            raise HostRefusal(f"A dialog waits for a person in a batch run: {self.text()}")
        return super().exec()


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""


WIDGETS = (
    ctkCollapsibleButton,
    ctkSliderWidget,
    ctkDoubleSpinBox,
    ctkPathLineEdit,
    ctkDirectoryButton,
    ctkComboBox,
    ctkCheckBox,
    ctkSearchBox,
    ctkMessageBox,
    ctkFittedTextBrowser,
)
