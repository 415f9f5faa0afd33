"""What a running Slicer only prints, kept so that the running test fails: errors in slots, timers, observers."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

__all__ = ["Fault", "HiddenErrors", "HostRefusal", "expected", "hooks", "raise_if_any", "record", "taken"]


class HostRefusal(AssertionError):
    """The module did something that a real Slicer refuses quietly, or that this stand-in does not know."""


class HiddenErrors(AssertionError):
    """Errors that a real Slicer would have printed and forgotten."""


@dataclass(frozen=True)
class Fault:
    """One error that reached no caller."""

    where: str
    error: BaseException

    def __str__(self) -> str:
        return f"in {self.where}:\n" + "".join(traceback.format_exception(self.error))


_faults: list[Fault] = []


def record(where: str, error: BaseException) -> None:
    """Keep an error for the running test, and print it as Slicer does."""
    _faults.append(Fault(where, error))
    traceback.print_exception(error, file=sys.stderr)


def taken() -> list[Fault]:
    """The errors so far; they are forgotten here."""
    found = list(_faults)
    _faults.clear()
    return found


def raise_if_any() -> None:
    """Raise HiddenErrors when something went wrong out of sight."""
    found = taken()
    if found:
        raise HiddenErrors("\n".join(str(fault) for fault in found)) from found[0].error


@contextmanager
def expected() -> Iterator[list[Fault]]:
    """For tests of errors: what goes wrong inside is listed and does not fail the test."""
    before = taken()
    inside: list[Fault] = []
    try:
        yield inside
    finally:
        inside.extend(taken())
        _faults.extend(before)


@contextmanager
def hooks() -> Iterator[None]:
    """Catch what VTK (observers), Qt (virtual methods) and threads give to Python's last resort."""

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        record("a VTK observer or a Qt virtual method", error)

    def threadhook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            record(f"thread {args.thread.name if args.thread else '?'}", args.exc_value)

    before = sys.excepthook, threading.excepthook
    sys.excepthook, threading.excepthook = excepthook, threadhook
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook = before
