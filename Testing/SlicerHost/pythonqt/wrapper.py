# ruff: noqa: N802
"""How a Qt object looks from Slicer's Python: what is an attribute, what is a method, what is refused."""

from __future__ import annotations

import enum
import functools
import inspect
import types
import weakref
from typing import Any

import shiboken6
from PySide6 import QtCore

from . import properties, qt5, signals
from .subclass import python_subclass
from .values import enum_class, invoke, unwrap, wrap

__all__ = ["PythonQtClassWrapper", "PythonQtInstanceWrapper", "qt_object", "wrapper_class", "wrapper_of"]

_classes: dict[type, PythonQtClassWrapper] = {}
_wrappers: weakref.WeakValueDictionary[int, PythonQtInstanceWrapper] = weakref.WeakValueDictionary()
_PYTHON_ONLY = {"emit", "receivers", "staticMetaObject"}


@functools.cache
def _is_exposed(qt_class: type, name: str) -> bool:
    """Whether C++ would show this name: all of Qt's own, and only slots and properties of a stand-in class."""
    if name.startswith("_") or name in _PYTHON_ONLY or qt5.is_hidden(qt_class, name):
        return False
    for kind in qt_class.__mro__:
        if name in vars(kind):
            return kind.__module__.startswith(("PySide6.", "Shiboken")) or name in _slot_names(qt_class)
    return False


@functools.cache
def _slot_names(qt_class: type) -> frozenset[str]:
    meta = qt_class.staticMetaObject  # type: ignore[attr-defined]
    return frozenset(bytes(meta.method(i).name().data()).decode() for i in range(meta.methodCount()))


class _Method:
    """A bound slot or method. No keyword arguments; wrong arguments are a ValueError."""

    def __init__(self, function: Any, name: str, described: Any = None) -> None:
        self._function, self.__name__, self._described = function, name, described or function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise ValueError(f"{self.__name__}: slot does not support kwargs ({', '.join(kwargs)})")
        if isinstance(self._function, (types.FunctionType, types.MethodType)):
            try:
                inspect.signature(self._function).bind(*args)
            except TypeError as error:
                raise ValueError(f"Called {self.__name__} with wrong arguments: {error}") from None
        return wrap(invoke(self._function, self.__name__, args, self._described))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Method) and self._function == other._function

    def __hash__(self) -> int:
        return hash(self._function)


class PythonQtClassWrapper(type):
    """The class of `qt.QPushButton` and its like: static methods, enum values, construction, Python subclasses."""

    qt_class: type

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **_: Any) -> PythonQtClassWrapper:
        parent = next((getattr(base, "qt_class", None) for base in bases if hasattr(base, "qt_class")), None)
        if parent is not None and "qt_class" not in namespace:
            namespace["qt_class"] = python_subclass(name, parent, namespace)
        return super().__new__(mcs, name, bases, namespace)

    def __getattr__(cls, name: str) -> Any:
        if name == "qt_class" or name.startswith("__"):
            raise AttributeError(name)
        found = None if qt5.is_hidden(cls.qt_class, name) else getattr(cls.qt_class, name, None)
        if isinstance(found, enum.Enum):
            return wrap(found)
        if isinstance(found, type) and issubclass(found, enum.Enum):
            return enum_class(found)
        if found is not None and _is_exposed(cls.qt_class, name) and callable(found):
            return _Method(found, f"{cls.__name__}.{name}")
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


class PythonQtInstanceWrapper(metaclass=PythonQtClassWrapper):
    """A Qt object in Python. `_qt` is PySide6's object and no business of a module."""

    __slots__ = ("__weakref__", "_qt")
    qt_class: type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs:
            raise ValueError(f"{type(self).__name__}: slot does not support kwargs ({', '.join(kwargs)})")
        self._adopt(invoke(type(self).qt_class, type(self).__name__, args))

    def _adopt(self, qt: Any) -> None:
        object.__setattr__(self, "_qt", qt)
        if isinstance(qt, QtCore.QObject):
            _wrappers[shiboken6.getCppPointer(qt)[0]] = self
            if hasattr(qt, "adopt_wrapper"):
                qt.adopt_wrapper(self)

    # The names below are the ones that PythonQt itself adds to every object.

    def className(self) -> str:
        """The C++ class."""
        qt = qt_object(self)
        return qt.metaObject().className() if isinstance(qt, QtCore.QObject) else type(self).__name__

    def connect(self, signature: str, target: Any, slot: str | None = None) -> bool:
        """Connect a signal to a callable, or to a slot of another object by its C++ signature."""
        return signals.connect(qt_object(self), signature, _slot(target, slot) if slot else target)

    def disconnect(self, signature: str, target: Any = None, slot: str | None = None) -> bool:
        """Undo connect(); without a target, all of this signal."""
        return signals.disconnect(qt_object(self), signature, _slot(target, slot) if slot else target)

    def delete(self) -> None:
        """Destroy the C++ object now."""
        shiboken6.delete(qt_object(self))

    def findChildren(self, kind: Any = None, name: str = "") -> tuple[Any, ...]:
        """All descendants of a class (or class name), of a name."""
        every = qt_object(self).findChildren(QtCore.QObject)
        class_name = kind if isinstance(kind, str) or kind is None else kind.__name__
        fits = [c for c in every if class_name is None or c.inherits(class_name)]
        return wrap([c for c in fits if not name or c.objectName() == name])

    def findChild(self, kind: Any = None, name: str = "") -> Any:
        """The first of findChildren, or None."""
        return next(iter(self.findChildren(kind, name)), None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        qt = qt_object(self, name)
        name = _alias(qt, name)
        if properties.has(qt, name):
            return wrap(properties.read(qt, name))
        found = _method(qt, name)
        if found is not None:
            return found
        if isinstance(qt, QtCore.QObject):
            if signals.has_signal(qt, name):
                return signals.BoundSignal(self, qt, name)
            if name in properties.dynamic_names(qt):
                return wrap(qt.property(name))
        static = None if qt5.is_hidden(type(qt), name) else getattr(type(qt), name, None)
        if isinstance(static, enum.Enum) or (isinstance(static, type) and issubclass(static, enum.Enum)):
            return getattr(type(self), name)
        if isinstance(qt, QtCore.QObject):
            for child in qt.children():
                if child.objectName() == name:
                    return wrap(child)
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        qt = qt_object(self, name)
        name = _alias(qt, name)
        if properties.has(qt, name):
            properties.write(qt, name, unwrap(value))
        elif _method(qt, name) is not None and name not in vars(type(self)):
            raise AttributeError(f"Slot '{name}' can not be overwritten on this object")
        elif isinstance(qt, QtCore.QObject) and name in properties.dynamic_names(qt):
            qt.setProperty(name, unwrap(value))
        elif hasattr(self, "__dict__"):
            object.__setattr__(self, name, value)
        else:
            class_name = type(self).__name__
            raise AttributeError(
                f"'{name}' does not exist on {class_name} and creating new attributes on C++ objects is not allowed"
            )

    def __bool__(self) -> bool:
        return shiboken6.isValid(self._qt)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PythonQtInstanceWrapper):
            return NotImplemented
        if isinstance(self._qt, QtCore.QObject):
            return self._qt is other._qt
        return bool(self._qt == other._qt)

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return str(self._qt.data()) if isinstance(self._qt, QtCore.QByteArray) else repr(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({type(self).__name__} at: {hex(id(self._qt))})"

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *(n for n in dir(type(self._qt)) if _is_exposed(type(self._qt), n))})


def _alias(qt: Any, name: str) -> str:
    """`name` is `objectName`, unless the class has a property of that name."""
    is_alias = name == "name" and isinstance(qt, QtCore.QObject) and not properties.has(qt, name)
    return "objectName" if is_alias else name


def _method(qt: Any, name: str) -> _Method | None:
    name = "exec" if name == "exec_" else name
    if not _is_exposed(type(qt), name):
        return None
    found = getattr(qt, name, None)
    is_signal = isinstance(found, QtCore.SignalInstance)
    described = getattr(type(qt), name, None)
    return (
        _Method(found, name, described) if callable(found) and not is_signal and not isinstance(found, type) else None
    )


def _slot(target: Any, slot: str) -> Any:
    """A slot given by its C++ signature, as a callable."""
    qt = qt_object(target)
    if signals.member_signature(qt, slot, signal=False) is None:
        raise signals.faults.HostRefusal(f"{qt.metaObject().className()} has no slot '{slot}'")
    wanted = 0 if "()" in slot else slot.count(",") + 1
    method = getattr(target, slot.split("(")[0])

    def forward(*args: Any) -> None:
        method(*args[:wanted])

    return forward


def qt_object(wrapper: PythonQtInstanceWrapper, attribute: str = "") -> Any:
    """PySide6's object behind a wrapper. Raises ValueError once C++ destroyed it."""
    qt = wrapper._qt
    if not shiboken6.isValid(qt):
        raise ValueError(f"Trying to access '{attribute}' of a destroyed {type(wrapper).__name__} object")
    return qt


def wrapper_class(qt_class: type) -> PythonQtClassWrapper:
    """The Python class of a Qt class. Qt's inheritance is not shown, as in PythonQt."""
    if qt_class not in _classes:
        namespace = {"__slots__": (), "qt_class": qt_class, "__doc__": f"Qt's {qt_class.__name__}."}
        _classes[qt_class] = PythonQtClassWrapper(qt_class.__name__, (PythonQtInstanceWrapper,), namespace)
    return _classes[qt_class]


def wrapper_of(qt: Any) -> PythonQtInstanceWrapper:
    """The one wrapper of a Qt object."""
    if isinstance(qt, QtCore.QObject):
        known = _wrappers.get(shiboken6.getCppPointer(qt)[0])
        if known is not None and known._qt is qt:
            return known
    cls = wrapper_class(type(qt))
    made = cls.__new__(cls)
    made._adopt(qt)
    return made
