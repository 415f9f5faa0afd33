"""Worker: one ``transferseg`` command in a child process, followed without ever blocking the application."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

import TransferSegLib

from .outcome import CODE_CANCELLED, CODE_CRASHED, Outcome, Transcript

__all__ = ["CODE_CANCELLED", "CODE_CRASHED", "Outcome", "Worker", "pythonCommand", "waitWhile"]

# The command ends itself 60 s after its input was closed (TransferSegLib.terminal.GRACE_S): this is the last resort.
KILL_AFTER_S = 90

# How long callbacks may go on before the application has its turn.
_TURN_S = 0.01

# How long the application waits for a command when it quits.
_QUIT_S = 2

# Runs the package of this very TransferSegLib, whatever else is installed, from any folder.
_START = (
    f"import sys; sys.path.insert(0, {str(Path(TransferSegLib.__file__).resolve().parents[1])!a}); import runpy; "
    "runpy.run_module('TransferSegLib', run_name='__main__', alter_sys=True)"
)

# The workers that run. When this file is loaded anew they are still known.
_living: list[Worker] = globals().get("_living", [])


def ignore(_anything: Any) -> None:
    """The callback of those who do not want to know."""


class Worker:
    """Runs ``transferseg ARGUMENTS --events`` in a child process.

    The callbacks are called by the event loop, never from within a method. What one of them raises is printed and
    stops nothing; while one of them runs the event loop itself (a dialog) the others wait. A worker that runs lives
    until the command has ended, whoever else keeps it.

    Parameters
    ----------
    arguments : of the command. It runs in the current folder of the application, so relative paths mean the same.
    onEvent : called with each event (a dict with the str "event", see TransferSegLib.events).
    onFinished : called once, after the last event, whatever happens: crash, failed start, end of the application.
    program : what to run before the arguments instead of Slicer's Python with TransferSegLib.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        onEvent: Callable[[dict[str, Any]], Any] = ignore,
        onFinished: Callable[[Outcome], Any] = ignore,
        program: Sequence[str] | None = None,
    ) -> None:
        self._command = [*(program or (*pythonCommand(), "-c", _START)), *map(str, arguments)]
        self._onEvent, self._onFinished = onEvent, onFinished
        self._outcome: Outcome | None = None
        self._started = self._stopping = self._delivering = self._ended = False
        self._exitCode: int | None = None
        self._process: Any = None
        self._folder: Path | None = None
        self._transcript = Transcript()
        self._loops: list[Any] = []

    @property
    def running(self) -> bool:
        """Whether it was started and its end is not known yet."""
        return self._started and self._outcome is None

    @property
    def outcome(self) -> Outcome | None:
        """How the command ended; None before."""
        return self._outcome

    def start(self) -> None:
        """Start the command; returns at once. A worker can be started once."""
        if self._started:
            raise RuntimeError("A worker runs its command only once.")
        self._started = True
        _living.append(self)
        self._turn, self._lastResort = _timer(self._deliver), _timer(self._kill)
        slicer.app.connect("aboutToQuit()", self._onQuit)
        if self._stopping:
            self._end(CODE_CANCELLED)
        else:
            self._launch()

    def stop(self) -> None:
        """Ask the command to stop: it keeps what is worth keeping, and ends. Returns at once; twice is harmless."""
        if self._stopping or self._outcome is not None:
            return
        self._stopping = True
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            self._cancelFile().touch()
        self._process.closeWriteChannel()
        self._lastResort.start(round(1000 * KILL_AFTER_S))

    def wait(self) -> Outcome:
        """For scripts: let the application run until the command has ended. Starts it if that was not done.

        Raises
        ------
        RuntimeError : called from ``onEvent``, after which only the command can go on.
        """
        if self._delivering and self._outcome is None:
            raise RuntimeError("A callback cannot wait for its own worker.")
        if not self._started:
            self.start()
        if self._outcome is None:
            loop = qt.QEventLoop()
            self._loops.append(loop)
            loop.exec()
        if self._outcome is None:  # the application quits
            self._onQuit()
        return self._outcome

    @staticmethod
    def stopAll() -> None:
        """Ask all commands that run to stop. Their callbacks are still called."""
        for worker in list(_living):
            worker.stop()

    def _launch(self) -> None:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="TransferSeg-", dir=slicer.app.temporaryPath))
        except OSError as error:
            self._cannotStart(error.strerror or str(error))
            return
        process = self._process = qt.QProcess()
        process.connect("finished(int,QProcess::ExitStatus)", self._onProcessFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        process.connect("readyReadStandardOutput()", self._read)
        process.connect("readyReadStandardError()", self._read)
        program, *arguments = self._command
        options = ["--events", "--cancel-on-eof", "--cancel-file", str(self._cancelFile())]
        process.start(program, [*arguments, *options])

    def _cancelFile(self) -> Path:
        return self._folder / "cancel"

    def _cannotStart(self, reason: str) -> None:
        cause = _("{program} could not be started: {reason}.")
        self._transcript.crash(
            cause.format(program=self._command[0], reason=reason.strip(".")),
            _("Check that the disk is not full, or install Slicer again."),
        )
        self._end(None)

    # What the process tells.

    def _onProcessError(self, error: int) -> None:
        if error == qt.QProcess.FailedToStart and not self._ended:  # the only error that "finished" does not follow
            self._cannotStart(self._process.errorString())

    def _onProcessFinished(self, code: int, status: int) -> None:
        self._read()
        self._end(None if status == qt.QProcess.CrashExit else code)

    def _read(self) -> None:
        self._transcript.feed(self._process.readAllStandardOutput().data())
        self._transcript.note(self._process.readAllStandardError().data())
        self._turn.start(0)

    def _end(self, code: int | None) -> None:
        self._ended, self._exitCode = True, code
        self._transcript.close()
        if self._outcome is None:
            self._turn.start(0)
        else:
            self._letGoSoon()

    # What is told to others, a little in each turn of the event loop.

    def _deliver(self) -> None:
        if self._delivering or self._outcome is not None:
            return
        self._delivering = True
        until = time.monotonic() + _TURN_S
        try:
            for event in self._transcript.lines():
                if event is not None:
                    self._onEvent(event)
                if time.monotonic() > until:
                    self._turn.start(0)
                    return
        except BaseException:
            self._turn.start(0)
            raise
        finally:
            self._delivering = False
        if self._ended:
            self._conclude()

    def _conclude(self) -> None:
        self._outcome = self._transcript.outcome(self._exitCode, self._stopping)
        self._turn.stop()
        self._lastResort.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        for loop in self._loops:
            loop.quit()
        try:
            self._onFinished(self._outcome)
        finally:
            if self._ended:  # else the process is still on its way out: to let it go would kill it
                self._letGoSoon()

    def _letGoSoon(self) -> None:
        # Not while one of its signals is sent. What such a timer calls may be kept for long.
        qt.QTimer.singleShot(0, functools.partial(_letGo, weakref.ref(self)))

    def _letGo(self) -> None:
        """Break the circles through Qt, which no garbage collector sees."""
        self._turn.disconnect("timeout()", self._deliver)
        self._lastResort.disconnect("timeout()", self._kill)
        slicer.app.disconnect("aboutToQuit()", self._onQuit)
        self._process = None
        _living.remove(self)

    # Ends that are none of the command's own.

    def _kill(self) -> None:
        self._process.kill()

    def _onQuit(self) -> None:
        """The application quits: there is no event loop any more that could tell of the end."""
        if self._outcome is not None:
            return
        Worker.stopAll()
        if self._process is not None:
            self._process.waitForFinished(round(1000 * _QUIT_S))
        for event in self._transcript.lines():
            try:
                if event is not None:
                    self._onEvent(event)
            except Exception:
                traceback.print_exc()
        if self._outcome is None:
            self._conclude()


def pythonCommand() -> list[str]:
    """The program and first arguments that start Slicer's Python, without the application."""
    # UTF-8 mode: files and what is logged may have any letter. -P, for its children too: nothing is imported from the
    # current folder, where the user may have a random.py.
    return [shutil.which("PythonSlicer") or sys.executable, "-X", "utf8", "-P"]


def waitWhile(running: Callable[[], bool], worker: Callable[[], Worker | None]) -> None:
    """For scripts: let the application run, through one command after the other.

    Parameters
    ----------
    running : whether there is still something to wait for.
    worker : the command that is being followed, if there is one.
    """
    while running():
        current = worker()
        if current is not None and current.running:
            current.wait()
        slicer.app.processEvents()


def _letGo(reference: weakref.ref[Worker]) -> None:
    worker = reference()
    if worker is not None:
        worker._letGo()


def _timer(slot: Callable[[], None]) -> Any:
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", slot)
    return timer
