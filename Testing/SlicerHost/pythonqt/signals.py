"""Signals by C++ signature, as `widget.connect('clicked(bool)', f)`: unknown ones are refused, errors are kept."""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import shiboken6
from PySide6 import QtCore

from .. import faults
from . import qt5
from .values import unwrap, wrap

if TYPE_CHECKING:
    from .wrapper import PythonQtInstanceWrapper

__all__ = ["BoundSignal", "connect", "disconnect", "has_signal", "member_signature", "receiver_of", "signal_names"]


@dataclass(frozen=True)
class _Connection:
    signature: str
    target: Any
    link: Any


_connections: dict[int, list[_Connection]] = {}


def declared(qt_type: type) -> dict[str, str]:
    """C++ signature -> signature in Qt's meta-object, for the signals and slots of stand-in classes that take nodes."""
    found: dict[str, str] = {}
    for kind in reversed(qt_type.__mro__):
        found.update(vars(kind).get("SIGNATURES", {}))
    return found


def member_signature(qt: QtCore.QObject, signature: str, *, signal: bool) -> str | None:
    """The signature of this member in Qt's meta-object, or None if there is no such signal (or slot)."""
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    if "PyObject" in normalized or "(" not in normalized:
        return None
    known = declared(type(qt)).get(normalized, normalized)
    if qt5.is_hidden(type(qt), normalized.split("(")[0]):
        return None
    meta = qt.metaObject()
    index = meta.indexOfSignal(known) if signal else meta.indexOfMethod(known)
    return known if index >= 0 else None


def signal_names(qt: QtCore.QObject) -> list[str]:
    """All C++ signatures that connect() takes."""
    meta = qt.metaObject()
    methods = [meta.method(i) for i in range(meta.methodCount())]
    own = [bytes(m.methodSignature().data()).decode() for m in methods if m.methodType() == QtCore.QMetaMethod.Signal]
    shown = {name for name in own if "PyObject" not in name and not qt5.is_hidden(type(qt), name.split("(")[0])}
    aliases = declared(type(qt))
    return sorted((shown - set(aliases.values())) | {a for a, b in aliases.items() if meta.indexOfSignal(b) >= 0})


def has_signal(qt: QtCore.QObject, name: str) -> bool:
    """Whether there is a signal of this name."""
    return any(signature.split("(")[0] == name for signature in signal_names(qt))


def receiver_of(function: Callable[..., Any], where: str, most: int | None = None) -> Callable[..., Any]:
    """A Python callable as Qt's receiver: as many arguments as it takes, its errors kept for the running test."""
    wanted = _argument_count(function)
    wanted = most if wanted is None else wanted if most is None else min(wanted, most)

    def receive(*args: Any) -> None:
        try:
            function(*(wrap(value) for value in args[:wanted]))
        except BaseException as error:
            faults.record(f"{where}, slot {getattr(function, '__qualname__', function)}", error)

    return receive


def _argument_count(function: Callable[..., Any]) -> int | None:
    """PythonQt counts the arguments of functions and bound methods; everything else gets all."""
    bound = isinstance(function, types.MethodType)
    plain = function.__func__ if isinstance(function, types.MethodType) else function
    if not isinstance(plain, types.FunctionType) or plain.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return plain.__code__.co_argcount - bound


def connect(sender: QtCore.QObject, signature: str, target: Callable[..., Any], most: int | None = None) -> bool:
    """Connect a signal to a callable. A real Slicer prints and returns False for an unknown signal: refused here."""
    known = member_signature(sender, signature, signal=True)
    class_name = sender.metaObject().className()
    if known is None:
        hint = ", ".join(signal_names(sender))
        refusal = faults.HostRefusal(f"{class_name} has no signal '{signature}'. It has: {hint}")
        faults.record("connect()", refusal)
        raise refusal
    if not callable(target):
        raise faults.HostRefusal(f"connect('{signature}', ...) needs a callable, not {target!r}")
    receive = receiver_of(target, f"{class_name}.{signature}", most)
    link = QtCore.QObject.connect(sender, QtCore.SIGNAL(known), receive)  # type: ignore[call-overload]
    pointer = shiboken6.getCppPointer(sender)[0]
    if pointer not in _connections:
        _connections[pointer] = []
        sender.destroyed.connect(lambda *_: _connections.pop(pointer, None))
    _connections[pointer].append(_Connection(known, target, link))
    return bool(link)


def disconnect(sender: QtCore.QObject, signature: str, target: Callable[..., Any] | None = None) -> bool:
    """Undo connect(); whether there was such a connection. Without a target, all of the signal's end."""
    known = member_signature(sender, signature, signal=True)
    every = _connections.get(shiboken6.getCppPointer(sender)[0], [])
    chosen = [c for c in every if c.signature == known and (target is None or c.target == target)]
    for connection in chosen:
        QtCore.QObject.disconnect(connection.link)
        every.remove(connection)
    return bool(chosen) or target is None


class BoundSignal:
    """`button.clicked`: connect, disconnect, emit, or call it to emit."""

    def __init__(self, owner: PythonQtInstanceWrapper, qt: QtCore.QObject, name: str) -> None:
        self._owner, self._qt, self._name = owner, qt, name
        self._overloads = [s for s in signal_names(qt) if s.split("(")[0] == name]
        self._signature = max(self._overloads, key=_parameter_count)

    def connect(self, target: Callable[..., Any]) -> bool:
        """Connect this signal (the overload with the most arguments) to a callable.

        QProcess.finished gives one argument here, as in Qt 5: use connect('finished(int,QProcess::ExitStatus)', ...).
        """
        most = 1 if isinstance(self._qt, QtCore.QProcess) and self._name == "finished" else None
        return connect(self._qt, self._signature, target, most)

    def disconnect(self, target: Callable[..., Any] | None = None) -> bool:
        """Undo connect()."""
        return disconnect(self._qt, self._signature, target)

    def emit(self, *args: Any) -> None:
        """Send the signal."""
        fitting = [s for s in self._overloads if _parameter_count(s) == len(args)]
        if not fitting:
            raise ValueError(f"Called {self._name} with wrong arguments: {args}")
        name, parameters = str(member_signature(self._qt, fitting[0], signal=True)).rstrip(")").split("(")
        signal = getattr(self._qt, name)
        if len(self._overloads) > 1 and parameters:
            with contextlib.suppress(KeyError, IndexError):
                signal = signal[parameters]
        signal.emit(*(unwrap(value) for value in args))

    __call__ = emit


def _parameter_count(signature: str) -> int:
    return 0 if signature.endswith("()") else signature.count(",") + 1
