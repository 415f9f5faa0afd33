"""How long the GUI stands still: the longest time between two turns of the event loop. For any Slicer, real or not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Pace", "watched"]


@dataclass
class Pace:
    """What was seen."""

    longest_s: float = 0.0
    turns: int = 0


@contextmanager
def watched() -> Iterator[Pace]:
    """Watch the event loop: `with watched() as pace: ...`, then `pace.longest_s`."""
    import qt

    pace, timer = Pace(), qt.QTimer()
    last = time.monotonic()

    def turn() -> None:
        nonlocal last
        now = time.monotonic()
        pace.longest_s, pace.turns, last = max(pace.longest_s, now - last), pace.turns + 1, now

    timer.connect("timeout()", turn)
    timer.start(1)
    try:
        yield pace
    finally:
        turn()
        timer.stop()
