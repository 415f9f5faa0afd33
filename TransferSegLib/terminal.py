"""How the command talks: a progress bar and plain sentences on a terminal, or JSON lines; and its exit codes."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .errors import ResourceError, TransferSegError
from .events import CancelToken, Event, Failure, Message, Metric, OnEvent, Progress, Result, Warning
from .recipe import option


@dataclass(frozen=True)
class Reporting:
    """How a command reports and how it is stopped; every command has these options."""

    events: bool = option(False, "Print events as JSON lines instead of text.")
    cancel_file: str = option("", "Stop cleanly as soon as this file exists.")
    cancel_on_eof: bool = option(False, "Stop cleanly when standard input is closed.")
    threads: int = option(0, "Processor threads to use; 0: all.")


@contextlib.contextmanager
def session(reporting: Reporting) -> Iterator[tuple[OnEvent, CancelToken]]:
    """Run a command: its events go to the terminal, Ctrl-C cancels, errors become an exit code.

    Exits with 2 on bad input, 3 when cancelled, 4 when memory or disk ran out. A traceback is for bugs only.
    """
    cancel = CancelToken(reporting.cancel_file or None)
    listener = _Lines() if reporting.events else _Text()
    if reporting.threads:
        _set_threads(reporting.threads)
    if reporting.cancel_on_eof:
        threading.Thread(target=_cancel_at_eof, args=(cancel,), daemon=True).start()
    try:
        with listener, _signals(cancel):
            try:
                yield listener.show, cancel
            except MemoryError as error:
                raise ResourceError(
                    "The memory is full.", "Close other programs, or use a coarser --spacing."
                ) from error
    except TransferSegError as error:
        listener.show(Failure.of(error))
        raise SystemExit(error.exit_code) from error
    except BrokenPipeError:  # whoever read our output has gone
        raise SystemExit(3) from None


class _Lines:
    """One JSON object a line on standard output."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, event: Event) -> None:
        print(event.to_json(), flush=True)


class _Text:
    """A progress bar for each stage, and sentences. Results go to standard output, all else to standard error."""

    def __enter__(self) -> _Text:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._error = Console(stderr=True, highlight=False, soft_wrap=True)
        self._out = Console(highlight=False, soft_wrap=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=self._error,
        )
        self._tasks: dict[str, Any] = {}
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, event: Event) -> None:
        from rich.markup import escape

        if isinstance(event, Progress):
            if event.stage not in self._tasks:
                self._tasks[event.stage] = self._bars.add_task(event.stage, total=event.of, detail="")
            self._bars.update(
                self._tasks[event.stage], completed=event.step, total=event.of, detail=escape(event.detail)
            )
        elif isinstance(event, Metric):
            values = "  ".join(f"{name} {value:.4g}" for name, value in event.values.items())
            self._error.print(f"{event.stage} {event.step:>4}  {escape(values)}")
        elif isinstance(event, Message):
            self._error.print(escape(event.text))
        elif isinstance(event, Warning):
            where = f"{event.case}: " if event.case else ""
            self._error.print(f"[yellow]Warning:[/yellow] {escape(where + event.text)}")
        elif isinstance(event, Failure):
            where = f"{event.case}: " if event.case else ""
            self._error.print(
                f"[red]Error:[/red] {escape(where + event.cause)}\n       {escape(event.remedy)}".rstrip()
            )
        elif isinstance(event, Result):
            for name, value in event.values.items():
                self._out.print(escape(f"{name}: {value}"))


@contextlib.contextmanager
def _signals(cancel: CancelToken) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) asks to stop, the second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        cancel.cancel()
        for known, handler in before.items():
            signal.signal(known, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cancel_at_eof(cancel: CancelToken) -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1024):
            pass
    cancel.cancel()


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def print_table(rows: list[list[str]], show: Callable[[str], None] = print) -> None:
    """Columns lined up, the first row as header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            show("  ".join("-" * width for width in widths))
