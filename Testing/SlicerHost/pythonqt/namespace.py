"""The flat modules `qt` and `ctk`: every class of Qt by its name."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtSvg, QtWidgets

from . import qt5
from .subclass import Signal
from .ui_loader import QUiLoader
from .values import invoke, wrap
from .wrapper import wrapper_class

__all__ = ["FlatModule", "qt_module"]

_HIDDEN = {"Slot", "Property", "ClassInfo", "SIGNAL", "SLOT", "QEnum", "QFlag"}


class FlatModule(types.ModuleType):
    """A module whose classes are made when asked for; what it has not is an AttributeError."""

    def __init__(self, name: str, doc: str, sources: tuple[Any, ...], own: dict[str, Any]) -> None:
        super().__init__(name, doc)
        self._sources = sources
        for key, value in own.items():
            setattr(self, key, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in _HIDDEN or name in qt5.CLASSES:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        for source in self._sources:
            found = getattr(source, name, None)
            if isinstance(found, type) and name.startswith("Q"):
                made = wrapper_class(found)
                setattr(self, name, made)
                return made
            if callable(found) and name.startswith("q"):
                return lambda *args: wrap(invoke(found, name, args))
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")


def qt_module() -> FlatModule:
    """`import qt`."""
    own = {"Signal": Signal, "QUiLoader": wrapper_class(QUiLoader)}
    sources = (QtCore, QtGui, QtWidgets, QtNetwork, QtSvg)
    return FlatModule("qt", "Qt as PythonQt shows it (a stand-in made of PySide6).", sources, own)
