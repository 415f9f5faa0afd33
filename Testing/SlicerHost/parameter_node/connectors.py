"""Which widget may be bound to which type, and how: the table of a real Slicer, as far as its widgets exist here."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange
from .storage import storage_of

__all__ = ["Connector", "connector_of"]


@dataclass
class Connector:
    """Reads and writes a widget, and says which of its signals tells of changes."""

    widget: Any
    signal: str
    read: Callable[[], Any]
    write: Callable[[Any], None]


def connector_of(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector:
    """The connector of a widget and a type. Raises RuntimeError when there is none."""
    name = widget.className()
    maker = _MAKERS.get(name)
    made = maker(widget, kind, annotations) if maker is not None and type(widget).__name__ == name else None
    if made is None:
        raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{name}'")
    return made


def _property(widget: Any, name: str, signal: str, convert: Callable[[Any], Any] = lambda value: value) -> Connector:
    return Connector(widget, signal, lambda: convert(getattr(widget, name)), lambda v: setattr(widget, name, v))


def _check_box(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector | None:
    return _property(widget, "checked", "stateChanged(int)") if kind is bool else None


def _push_button(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector | None:
    if kind is not bool:
        return None
    widget.checkable = True
    return _property(widget, "checked", "toggled(bool)")


def _number(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector | None:
    whole = widget.className() in ("QSlider", "QSpinBox")
    if kind not in ((int,) if whole else (int, float)):
        return None
    if kind is int and not whole:
        widget.decimals = 0
    for wanted in annotations:
        if isinstance(wanted, Decimals) and kind is float:
            widget.decimals = wanted.value
        if isinstance(wanted, SingleStep):
            widget.singleStep = wanted.value
    lows = [a.minimum for a in annotations if isinstance(a, (WithinRange, Minimum))]
    highs = [a.maximum for a in annotations if isinstance(a, (WithinRange, Maximum))]
    if widget.className() in ("QSlider", "ctkSliderWidget") and not (lows and highs):
        raise RuntimeError(f"Cannot have a connection to {widget.className()} where the type is unbounded.")
    widget.minimum = lows[0] if lows else (-(2**31) if whole else float("-inf"))
    widget.maximum = highs[0] if highs else (2**31 - 1 if whole else float("inf"))
    return _property(widget, "value", "valueChanged(int)" if whole else "valueChanged(double)", kind)


def _combo_box(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector | None:
    choices = next((list(a.choices) for a in annotations if isinstance(a, Choice)), None)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        choices = list(kind)
    if choices is None:
        return None
    texts = [c.label() if hasattr(c, "label") else getattr(c, "name", None) or str(c) for c in choices]
    widget.clear()
    for text in texts:
        widget.addItem(text)

    def write(value: Any) -> None:
        widget.currentIndex = choices.index(value)

    return Connector(widget, "currentIndexChanged(int)", lambda: choices[widget.currentIndex], write)


def _text(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector | None:
    if kind is not str:
        return None
    if widget.className() == "QTextEdit":
        return _property(widget, "plainText", "textChanged()")
    return _property(widget, "text", "textChanged(QString)" if widget.className() == "QLineEdit" else "")


def _path(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector | None:
    if kind is not pathlib.Path:
        return None
    name = "currentPath" if widget.className() == "ctkPathLineEdit" else "directory"
    made = _property(widget, name, f"{name}Changed(QString)", pathlib.Path)
    made.write = lambda value: setattr(widget, name, str(value))
    return made


def _node(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector | None:
    if get_args(kind) or type(storage_of(kind)).__name__ != "_NodeStorage":
        return None
    return Connector(widget, "currentNodeChanged(vtkMRMLNode*)", widget.currentNode, widget.setCurrentNode)


_MAKERS: dict[str, Callable[[Any, Any, tuple[Any, ...]], Connector | None]] = {
    "QCheckBox": _check_box,
    "ctkCheckBox": _check_box,
    "QPushButton": _push_button,
    "QSlider": _number,
    "QSpinBox": _number,
    "QDoubleSpinBox": _number,
    "ctkDoubleSpinBox": _number,
    "ctkSliderWidget": _number,
    "QComboBox": _combo_box,
    "ctkComboBox": _combo_box,
    "QLineEdit": _text,
    "QTextEdit": _text,
    "QLabel": _text,
    "ctkPathLineEdit": _path,
    "ctkDirectoryButton": _path,
    "qMRMLNodeComboBox": _node,
}
