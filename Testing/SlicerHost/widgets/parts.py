"""What the stand-in widgets are made of."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
import vtk
from PySide6 import QtCore
from slicer import vtkMRMLScene

__all__ = ["declare", "observe", "require"]


def declare(kind: Any, name: str, default: Any, changed: Callable[[Any], None] | None = None) -> QtCore.Property:
    """A Qt property that remembers its value; `changed(self)` is called after each new value."""
    key = f"_{name}"

    def read(self: Any) -> Any:
        return getattr(self, key, default)

    def write(self: Any, value: Any) -> None:
        if value != read(self):
            setattr(self, key, value)
            if changed is not None:
                changed(self)

    return QtCore.Property(kind, read, write)


def require(value: Any, *class_names: str) -> None:
    """Raise TypeError, as VTK's wrapping does, unless the value is None or a VTK object of one of the classes."""
    if value is None:
        return
    is_a = getattr(value, "IsA", None)
    if is_a is None:
        raise TypeError("method requires a VTK object")
    if not any(is_a(name) for name in class_names):
        raise TypeError(f"method requires a {' or '.join(class_names)}, a {value.GetClassName()} was provided.")


def observe(subject: Any, event: Any, method: Callable[..., None]) -> int:
    """Observe a VTK object with a method of a Qt object, for as long as the Qt object lives.

    The method gets what the event carries if that is a VTK object, else nothing.
    """
    weak = weakref.WeakMethod(method)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def with_data(_caller: Any, _event: str, data: Any) -> None:
        _tell(weak(), data)

    def without_data(_caller: Any, _event: str) -> None:
        _tell(weak())

    carries = event in (vtkMRMLScene.NodeAddedEvent, vtkMRMLScene.NodeAboutToBeRemovedEvent)
    return int(subject.AddObserver(event, with_data if carries else without_data))


def _tell(method: Any, *data: Any) -> None:
    if method is not None and shiboken6.isValid(method.__self__):
        method(*data)
