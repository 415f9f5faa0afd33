"""Qt properties as attributes, with PythonQt's conversions."""

from __future__ import annotations

import numbers
from typing import Any

from PySide6 import QtCore

from . import qt5

__all__ = ["dynamic_names", "has", "read", "write"]


def has(qt: Any, name: str) -> bool:
    """Whether the name is a property."""
    if not isinstance(qt, QtCore.QObject) or qt5.is_method_in_qt5(qt, name) or qt5.is_hidden(type(qt), name):
        return False
    return qt.metaObject().indexOfProperty(name) >= 0


def read(qt: QtCore.QObject, name: str) -> Any:
    """The value of a property."""
    return qt.property(name)


def dynamic_names(qt: QtCore.QObject) -> list[str]:
    """Properties set at run time, as `SlicerParameterName` of a .ui file."""
    return [bytes(name.data()).decode() for name in qt.dynamicPropertyNames()]


def write(qt: QtCore.QObject, name: str, value: Any) -> None:
    """Set a property. Raises AttributeError when its type does not take the value."""
    meta = qt.metaObject()
    declared = meta.property(meta.indexOfProperty(name))
    kind = declared.typeName()
    if not declared.isWritable():
        raise AttributeError(f"Property '{name}' of type '{kind}' is not writable")
    accepted, converted = _converted(value, kind, declared.isEnumType())
    if not accepted or not qt.setProperty(name, converted):
        given = type(value).__name__
        raise AttributeError(f"Property '{name}' of type '{kind}' does not accept an object of type {given}")


def _converted(value: Any, kind: str, is_enum: bool) -> tuple[bool, Any]:
    """Whether PythonQt takes the value for a property of this C++ type, and as what."""
    if kind == "bool":
        return True, bool(value)
    if kind in ("int", "uint", "qlonglong"):
        return isinstance(value, numbers.Real), int(value) if isinstance(value, numbers.Real) else value
    if kind in ("double", "float"):
        return isinstance(value, numbers.Real), float(value) if isinstance(value, numbers.Real) else value
    if kind == "QString":
        return True, str(value)
    if kind == "QStringList":
        fits = isinstance(value, (list, tuple, str))
        return fits, [str(item) for item in value] if fits else value
    if is_enum:
        return isinstance(value, int) or hasattr(value, "value"), value
    return True, value
