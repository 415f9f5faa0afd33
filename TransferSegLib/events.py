"""Progress events: what a long function tells while it works, and how it is stopped.

Every long function takes ``on_event`` and ``cancel``. The command prints the same events as one ASCII JSON object a
line, so that a parent process (the Slicer module, a scheduler) can follow.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .errors import Cancelled, TransferSegError

T = TypeVar("T")


@dataclass(frozen=True)
class Event:
    """Base of all events. ``name`` is the value of ``"event"`` in the JSON line."""

    name: ClassVar[str] = "event"

    def to_json(self) -> str:
        """One line of ASCII JSON. A number that JSON cannot hold (NaN, infinity) becomes null."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return json.dumps({"event": self.name, **_finite(values)}, ensure_ascii=True, allow_nan=False)


@dataclass(frozen=True)
class Progress(Event):
    """``step`` of ``of`` units of ``stage`` are done; ``eta_s`` seconds are left (None: not known yet)."""

    name: ClassVar[str] = "progress"
    stage: str
    step: int
    of: int
    eta_s: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Metric(Event):
    """Numbers measured at ``step`` of ``stage``, for instance the Dice of each region after an epoch."""

    name: ClassVar[str] = "metric"
    stage: str
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Message(Event):
    """Something worth reading that is neither progress nor a warning, for instance what will be trained."""

    name: ClassVar[str] = "message"
    stage: str
    text: str


@dataclass(frozen=True)
class Planned(Event):
    """What a training will do, in numbers, before its first step.

    Attributes
    ----------
    cases : number of ``training``, ``validation`` and ``held_out`` cases.
    parameters, trained : of the network, and how many of them are not frozen.
    memory_gb, seconds : about what the training needs.
    spacing_mm : the working voxels; None: each image's own.
    """

    name: ClassVar[str] = "plan"
    strategy: str
    cases: Mapping[str, int]
    parameters: int
    trained: int
    memory_gb: float
    seconds: float
    device: str
    precision: str
    spacing_mm: tuple[float, float, float] | None
    epochs: int


@dataclass(frozen=True)
class Preview(Event):
    """``file`` now holds the labels that the network of ``epoch`` gives for ``case``."""

    name: ClassVar[str] = "preview"
    case: str
    file: Path
    epoch: int


@dataclass(frozen=True)
class Warning(Event):
    """Something that still works but that a careful person would want to know."""

    name: ClassVar[str] = "warning"
    text: str
    case: str = ""


@dataclass(frozen=True)
class Result(Event):
    """What was made: files and key numbers."""

    name: ClassVar[str] = "result"
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure(Event):
    """An error, for one case (``case`` set) or for the whole run."""

    name: ClassVar[str] = "error"
    kind: str
    cause: str
    remedy: str
    case: str = ""

    @classmethod
    def of(cls, error: TransferSegError, case: str = "") -> Failure:
        return cls(error.kind, error.cause, error.remedy, case)


OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener for callers who do not want to know."""


class CancelToken:
    """Asks a long function to stop at its next step.

    It is set by :meth:`cancel`, from any thread, or from another process by creating ``file``.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self._event = threading.Event()
        self._file = Path(file) if file is not None else None

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        if not self._event.is_set() and self._file is not None and self._file.exists():
            self._event.set()
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises
        ------
        Cancelled : when the token is set.
        """
        if self.cancelled:
            raise Cancelled()


class Clock:
    """Estimates the time that is left from the steps done since it was made."""

    def __init__(self, of: int, done: int = 0) -> None:
        self._of, self._first, self._start = of, done, time.monotonic()

    def eta_s(self, step: int) -> float | None:
        done = step - self._first
        if done <= 0:
            return None
        return round((time.monotonic() - self._start) / done * (self._of - step), 1)


def track(items: Iterable[T], stage: str, of: int, on_event: OnEvent, cancel: CancelToken) -> Iterator[T]:
    """Yield each item, reporting progress after each and stopping when cancelled."""
    clock = Clock(of)
    on_event(Progress(stage, 0, of))
    for step, item in enumerate(items, start=1):
        cancel.raise_if_cancelled()
        yield item
        on_event(Progress(stage, step, of, clock.eta_s(step)))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # a NumPy scalar or array
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
