"""Python subclasses of Qt classes: overridden virtual methods and own signals."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore

from .. import faults

__all__ = ["Signal", "python_subclass"]


class Signal:
    """`qt.Signal(str, int)` in the body of a Python subclass of a QObject."""

    def __init__(self, *kinds: Any) -> None:
        self.kinds = kinds


def python_subclass(name: str, parent: type, namespace: dict[str, Any]) -> type:
    """The PySide6 class behind a Python subclass. Takes the signals out of the namespace."""

    def adopt_wrapper(qt: Any, wrapper: Any) -> None:
        qt.python_self = wrapper

    body: dict[str, Any] = {"python_self": None, "adopt_wrapper": adopt_wrapper}
    for key, value in list(namespace.items()):
        if isinstance(value, Signal):
            body[key] = QtCore.Signal(*value.kinds)
            del namespace[key]
        elif isinstance(value, types.FunctionType) and not key.startswith("_") and callable(getattr(parent, key, None)):
            body[key] = _forwarder(key, value, parent)
    body["__module__"] = "PySide6.PythonSubclass"
    return type(parent)(name, (parent,), body)


def _forwarder(name: str, function: types.FunctionType, parent: type) -> Any:
    """A virtual method for Qt to call, which calls the one written in Python."""
    from .values import unwrap, wrap

    def virtual(qt: Any, *args: Any) -> Any:
        if qt.python_self is None:
            return getattr(parent, name)(qt, *args)
        try:
            return unwrap(function(qt.python_self, *(wrap(value) for value in args)))
        except Exception as error:
            faults.record(f"virtual method {function.__qualname__}", error)
            return getattr(parent, name)(qt, *args)

    virtual.__name__ = name
    return virtual
