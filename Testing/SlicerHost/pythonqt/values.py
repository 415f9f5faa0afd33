"""Values on their way between Python and Qt: wrapped objects, enums as integers, lists as tuples, lenient numbers."""

from __future__ import annotations

import enum
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

import shiboken6
from PySide6 import QtCore
from shibokensupport.signature import get_signature

__all__ = ["QtEnum", "enum_class", "invoke", "unwrap", "wrap"]

_SHIBOKEN: type = shiboken6.Object
_QT6_ONLY = {"QOverrideCursorGuard"}  # returned where Qt 5 returns nothing


class QtEnum(int):
    """An enum value as PythonQt shows it: an integer with a name; `a | b` is a plain integer."""

    qt_enum: type[enum.Enum]


_enum_classes: dict[type[enum.Enum], type[QtEnum]] = {}


def enum_class(kind: type[enum.Enum]) -> type[QtEnum]:
    """The integer class of a Qt enum, with its values as attributes."""
    if kind not in _enum_classes:
        made = type(kind.__name__, (QtEnum,), {"qt_enum": kind})
        for name, member in kind.__members__.items():
            setattr(made, name, made(_number(member)))
        _enum_classes[kind] = made
    return _enum_classes[kind]


def _number(member: enum.Enum) -> int:
    return int(member.value)


def wrap(value: Any) -> Any:
    """What Python gets from Qt."""
    from .wrapper import wrapper_of

    if isinstance(value, enum.Enum):
        return enum_class(type(value))(_number(value))
    if isinstance(value, _SHIBOKEN):
        return wrapper_of(value) if type(value).__name__ not in _QT6_ONLY else None
    if isinstance(value, (list, tuple)):
        return tuple(wrap(item) for item in value)
    if isinstance(value, dict):
        return {key: wrap(item) for key, item in value.items()}
    return value


def unwrap(value: Any) -> Any:
    """What Qt gets from Python."""
    from .signals import receiver_of
    from .wrapper import PythonQtInstanceWrapper, qt_object

    if isinstance(value, PythonQtInstanceWrapper):
        return qt_object(value)
    if isinstance(value, QtEnum):
        return type(value).qt_enum(int(value))
    if isinstance(value, (list, tuple)):
        return [unwrap(item) for item in value]
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        return receiver_of(value, "a callback given to Qt")
    return value


def invoke(function: Callable[..., Any], name: str, args: tuple[Any, ...], described: Any = None) -> Any:
    """Call a method or class of PySide6 with PythonQt's conversions; the result is not wrapped.

    `described` is what carries the signatures, where it is not the function itself.
    Raises ValueError when no overload fits.
    """
    given = [unwrap(value) for value in args]
    try:
        return function(*(next(_coerced(described or function, given), given) if None in args else given))
    except (TypeError, NotImplementedError) as error:
        if not _is_about_arguments(error):
            raise
        first = str(error)
    for candidate in _coerced(described or function, given):
        try:
            return function(*candidate)
        except TypeError as error:
            if not _is_about_arguments(error):
                raise
    shown = ", ".join(type(value).__name__ for value in args)
    raise ValueError(f"Called {name}({shown}) with wrong arguments: {first}")


def _is_about_arguments(error: Exception) -> bool:
    text = str(error)
    marks = ("called with wrong argument", "positional argument", "takes exactly", "takes at most", "takes at least")
    return any(mark in text for mark in marks) or "not enough arguments" in text


def _coerced(function: Callable[..., Any], args: list[Any]) -> Iterator[list[Any]]:
    """The arguments as each overload of the function would take them after PythonQt's lenient conversions."""
    for signature in _signatures(function):
        parameters = [p for p in signature.parameters.values() if p.name != "self" and p.kind != p.KEYWORD_ONLY]
        if len(parameters) >= len(args):
            pairs = zip(args, parameters, strict=False)
            yield [_as_annotated(value, parameter.annotation) for value, parameter in pairs]


def _signatures(function: Callable[..., Any]) -> list[inspect.Signature]:
    candidates = function.__mro__ if isinstance(function, type) else (function,)
    found = next((s for s in map(get_signature, candidates) if s), [])
    return found if isinstance(found, list) else [found]


def _as_annotated(value: Any, annotation: Any) -> Any:
    """The value as the annotated type where PythonQt would convert it, else unchanged."""
    for kind in typing.get_args(annotation) or (annotation,):
        if not isinstance(kind, type) or isinstance(value, kind):
            continue
        if issubclass(kind, enum.Enum) and isinstance(value, numbers.Integral):
            return kind(int(value))
        if kind is bool:
            return bool(value)
        if kind is int and isinstance(value, numbers.Real):
            return int(value)
        if kind is float and isinstance(value, numbers.Real):
            return float(value)
        if kind is QtCore.QByteArray and isinstance(value, str):
            return value.encode()
        if kind is str and (value is None or isinstance(value, (numbers.Number, PurePath))):
            return str(value)
    return value
