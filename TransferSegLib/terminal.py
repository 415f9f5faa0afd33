"""How the command talks: a progress bar and plain sentences on a terminal, or JSON lines; and its exit codes."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .errors import InputError, ResourceError, TransferSegError
from .events import CancelToken, Event, Failure, Message, Metric, OnEvent, Progress, Result, Warning
from .recipe import option

# How long a command may take to end by itself once its standard input was closed.
GRACE_S = 60.0

# How long a process it has started may take to stop what that one has started.
_PATIENCE_S = 5


# Heading of the options of :class:`Reporting` in the help of every command.
REPORT_PANEL = "How to report"


@dataclass(frozen=True)
class Reporting:
    """How a command reports and how it is stopped; every command has these options."""

    events: bool = option(False, "Print events as JSON lines instead of text.")
    cancel_file: str = option("", "Stop cleanly as soon as this file exists.")
    cancel_on_eof: bool = option(False, "Stop cleanly when standard input is closed, or a minute later by force.")
    threads: int = option(0, "Processor threads to use; 0: all.")


@contextlib.contextmanager
def session(reporting: Reporting) -> Iterator[tuple[OnEvent, CancelToken]]:
    """Run a command: its events go to the terminal, Ctrl-C cancels, errors become an exit code.

    Exits with 2 on bad input, 3 when cancelled, 4 when memory or disk ran out. A traceback is for bugs only.
    """
    cancel = CancelToken(reporting.cancel_file or None)
    listener = _Lines() if reporting.events else _Text()
    ended = threading.Event()
    try:
        with listener, _signals(cancel):
            try:
                _set_threads(reporting.threads)
                if reporting.cancel_on_eof:
                    threading.Thread(target=_follow, args=(_own_input(), cancel, ended), daemon=True).start()
                yield listener.show, cancel
            except MemoryError as error:
                raise ResourceError(
                    "The memory is full.", "Close other programs, or use a coarser --spacing."
                ) from error
    except TransferSegError as error:
        listener.show(Failure.of(error))
        raise SystemExit(error.exit_code) from error
    except BrokenPipeError:  # whoever read our output has gone
        # What is still in the buffer has nowhere to go; Python would complain about it when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(3) from None
    finally:
        ended.set()


class _Lines:
    """One JSON object a line on standard output."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, event: Event) -> None:
        print(event.to_json(), flush=True)


class _Text:
    """Sentences, a table of metrics and a progress bar for each stage on standard error; results on standard output.

    Of a long run a row in twenty stays on the screen; below them stands the newest one, and then the bars.
    """

    def __enter__(self) -> _Text:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self._error = Console(stderr=True, highlight=False)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True)),
            console=self._error,
        )
        self._tasks: dict[str, Any] = {}
        self._columns: list[str] = []
        self._newest = ""
        self._printed: int | None = None
        self._results: list[Result] = []
        self._live = Live(get_renderable=self._moving, console=self._error, redirect_stdout=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()
            if not self._error.is_terminal:  # where rich leaves out the end of the last line
                self._error.print()
        for event in self._results:
            width = max(map(len, event.values), default=0)
            for name, value in event.values.items():
                print(f"{name.replace('_', ' '):<{width}}  {_plain(value)}")
        sys.stdout.flush()

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Metric):
            self._metric(event)
        elif isinstance(event, Message):
            self._say(event.text)
        elif isinstance(event, Warning):
            self._say(event.text, "Warning: ", "yellow", event.case)
        elif isinstance(event, Failure):
            self._say(event.cause, "Error: ", "red", event.case)
            if event.remedy:
                self._say(event.remedy, "       ")
        elif isinstance(event, Result):
            self._results.append(event)  # the bars are in the way now

    def _say(self, text: str, before: str = "", style: str = "", case: str = "") -> None:
        from rich.text import Text

        lines = (before + (f"{case}: {text}" if case else text)).splitlines()
        if self._error.is_terminal:  # which would break lines within words
            lines = [_wrapped(line, self._error.width, " " * (len(before) or 2)) for line in lines]
        said = Text("\n".join(lines))
        said.stylize(style, 0, len(before))
        self._error.print(said, soft_wrap=True)

    def _moving(self) -> Any:
        """What is drawn anew all the time."""
        from rich.console import Group
        from rich.text import Text

        newest = [Text(self._newest, no_wrap=True, overflow="ellipsis")] if self._newest else []
        return Group(*newest, self._bars.get_renderable())

    def _progress(self, event: Progress) -> None:
        from rich.markup import escape

        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._bars.add_task(event.stage, total=event.of, detail="")
        task = self._tasks[event.stage]
        self._bars.update(task, completed=event.step, total=event.of, detail=escape(event.detail))
        self._live.start()

    def _metric(self, event: Metric) -> None:
        names = ["epoch", *(name.replace("_", " ") for name in event.values)]
        if names != self._columns:
            self._columns, self._printed = names, None
            self._say("  ".join(f"{name:>{_width(name)}}" for name in names))
        cells = [str(event.step), *(f"{value:#.3g}".rstrip(".") for value in event.values.values())]
        row = "  ".join(f"{cell:>{_width(name)}}" for name, cell in zip(names, cells, strict=True))
        task = self._tasks.get(event.stage)
        part = None if task is None else int(self._bars.tasks[task].percentage / 5 + 1e-9)
        # The first row of each twentieth of the run, and the last one.
        if part is None or part != self._printed:
            self._newest, self._printed = "", part
            self._say(row)
        else:
            self._newest = row


def _width(column: str) -> int:
    return len(column) if column == "epoch" else max(len(column), 8)


def _wrapped(line: str, width: int, indent: str) -> str:
    """Broken between words, so that paths stay whole; the lines that follow are indented."""
    if len(line) <= width:
        return line
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


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


def _own_input() -> int:
    """A descriptor of standard input that no other process gets; in its place is nothing to read.

    A process that is started meanwhile would have the same one: on Windows it hangs as it starts while a thread here
    waits for input.
    """
    try:
        own = os.dup(0)
    except OSError:  # it was never open
        return -1
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return own


def _follow(source: int, cancel: CancelToken, ended: threading.Event) -> None:
    """Cancel when nothing more can come from ``source``, and see to it that the process ends then.

    Parameters
    ----------
    ended : set when the command has ended. Whatever else the process does after it is not hurt.
    """
    # Not through sys.stdin: a thread that waits there holds its lock, on which Python, or a child that a library
    # forks, waits for ever when it ends.
    with contextlib.suppress(OSError):
        while os.read(source, 1024):
            pass
    cancel.cancel()
    if ended.wait(GRACE_S):
        # Python may still wait for a thread or a library on its way out; that starts with the end of this one.
        threading.main_thread().join()
        time.sleep(GRACE_S)
    # Nobody is left who could end a command that is stuck, nor the processes it has started.
    try:
        for child in multiprocessing.active_children():
            child.terminate()
        for child in multiprocessing.active_children():
            child.join(_PATIENCE_S)
            child.kill()
    finally:
        os._exit(3)


def _set_threads(threads: int) -> None:
    if threads < 0:
        raise InputError(f"--threads cannot be {threads}.", "Give 1 or more, or 0 for all.")
    if threads:
        import torch

        torch.set_num_threads(threads)


def print_table(rows: list[list[str]], prose: bool = False) -> None:
    """Columns lined up, the first row as header; what is too wide for the terminal comes as several tables.

    Parameters
    ----------
    prose : the last column holds sentences, which are broken between words instead.
    """
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    if prose:
        widths[-1] = min(widths[-1], max(20, limit - sum(width + 2 for width in widths[:-1])))
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    for number, columns in enumerate(_fitting(widths, limit)):
        if number:
            print()
        for row in rows:
            cells = [textwrap.wrap(row[column], widths[column]) for column in columns]
            for line in itertools.zip_longest(*cells, fillvalue=""):
                padded = (cell.ljust(widths[column]) for cell, column in zip(line, columns, strict=True))
                print("  ".join(padded).rstrip())


def _fitting(widths: Sequence[int], limit: int) -> list[list[int]]:
    """Columns in groups that fit side by side. The first one names the rows: each group has it."""
    groups = [[0]]
    for column in range(1, len(widths)):
        if len(groups[-1]) > 1 and sum(widths[other] + 2 for other in groups[-1]) + widths[column] > limit:
            groups.append([0])
        groups[-1].append(column)
    return groups
