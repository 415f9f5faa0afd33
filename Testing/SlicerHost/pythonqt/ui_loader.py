"""Loads .ui files with Slicer's and CTK's widgets; a file that a real Slicer would load only in part is refused."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from .. import faults

__all__ = ["QUiLoader", "register_widget"]

_widgets: dict[str, type[QtWidgets.QWidget]] = {}


def register_widget(widget: type[QtWidgets.QWidget]) -> None:
    """Make a widget class known to .ui files."""
    _widgets[widget.__name__] = widget


class QUiLoader(QtUiTools.QUiLoader):
    """Qt's loader; the file's connections are made here, since their signatures speak of nodes and scenes."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        for widget in _widgets.values():
            self.registerCustomWidget(widget)

    @QtCore.Slot("QIODevice*", "QWidget*", result="QWidget*")
    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        """The widget of a .ui file. Raises HostRefusal for an unknown widget, property, signal or slot."""
        tree = ElementTree.fromstring(bytes(device.readAll().data()))
        wanted = {element.text for element in tree.iterfind("customwidgets/customwidget/class")}
        used = {element.get("class") for element in tree.iter("widget")}
        unknown = sorted(str(name) for name in wanted & used if name not in _widgets)
        if unknown:
            raise faults.HostRefusal(f"Widgets that this stand-in has not: {', '.join(unknown)}")
        connections = _taken_connections(tree)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree, encoding="utf-8"))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        made = super().load(buffer, parent)
        if made is None:
            raise faults.HostRefusal(f"Qt cannot read this .ui file: {self.errorString()}")
        _check_properties(made, tree)
        for sender, signal, receiver, slot in connections:
            _connect(made, sender, signal, receiver, slot)
        return made


def _taken_connections(tree: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """The connections of the file, which are taken out of it."""
    found = []
    for group in tree.findall("connections"):
        for element in group.findall("connection"):
            sender, signal, receiver, slot = (element.findtext(k, "") for k in ("sender", "signal", "receiver", "slot"))
            found.append((sender, signal, receiver, slot))
        tree.remove(group)
    return found


def _check_properties(root: QtWidgets.QWidget, tree: ElementTree.Element) -> None:
    """A property that its class has not is set by Qt without a word, as a dynamic one."""
    for element in tree.iter("widget"):
        widget = _named(root, element.get("name", ""))
        for given in element.findall("property"):
            name = given.get("name", "")
            if given.get("stdset") != "0" and widget.metaObject().indexOfProperty(name) < 0:
                raise faults.HostRefusal(f"{element.get('class')} {element.get('name')} has no property '{name}'")


def _connect(root: QtWidgets.QWidget, sender: str, signal: str, receiver: str, slot: str) -> None:
    from .values import wrap

    source, target = wrap(_named(root, sender)), wrap(_named(root, receiver))
    source.connect(signal, target, slot)


def _named(root: QtWidgets.QWidget, name: str) -> Any:
    found = root if root.objectName() == name else root.findChild(QtCore.QObject, name)
    if found is None:
        raise faults.HostRefusal(f"The .ui file speaks of '{name}', which it has not")
    return found
