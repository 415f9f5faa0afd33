"""What the tests let workers do, and a cluster to do it on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from TransferSegLib.errors import Cancelled, InputError
from TransferSegLib.events import CancelToken, Event, OnEvent, Progress, Warning

ROOT = Path(__file__).parents[2]

Told = list[tuple[str, Event]]


def echo(number: int, on_event: OnEvent, cancel: CancelToken) -> tuple[int, int]:
    on_event(Warning(f"echo {number}"))
    return number, os.getpid()


def refuse(on_event: OnEvent, cancel: CancelToken) -> None:
    raise InputError("It cannot be read.", "Give another.")


class Odd(Exception):
    """Cannot be pickled: it wants two arguments and has one."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)


def stumble(kind: str, on_event: OnEvent, cancel: CancelToken) -> None:
    raise Odd("a bug", "") if kind == "odd" else ZeroDivisionError("a bug")


def die(folder: Path, times: int, on_event: OnEvent, cancel: CancelToken) -> int:
    """Kills its process so many times, then tells in how many it was done."""
    (folder / str(os.getpid())).touch()
    begun = len(list(folder.iterdir()))
    time.sleep(0.1)
    if begun <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return begun


def settings(on_event: OnEvent, cancel: CancelToken) -> tuple[int, int]:
    import SimpleITK
    import torch

    return torch.get_num_threads(), SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()


def wait(folder: Path, name: str, on_event: OnEvent, cancel: CancelToken) -> str:
    """Until it is asked to stop."""
    (folder / f"{name} begun").touch()
    on_event(Progress("wait", 1, 2))
    end = time.monotonic() + 100
    while time.monotonic() < end:
        if cancel.cancelled:
            (folder / f"{name} stopped").touch()
            if name == "done":
                return name
            raise Cancelled()
        time.sleep(0.05)
    raise AssertionError("nobody asked to stop")


def sleep(on_event: OnEvent, cancel: CancelToken) -> None:
    on_event(Progress("sleep", 1, 2))
    time.sleep(100)


def move(folder: Path, on_event: OnEvent, cancel: CancelToken) -> int:
    """Ends where it is asked to stop first, with its work half done; gives how many have begun it."""
    (folder / f"{os.getpid()} moving").touch()
    if len(list(folder.glob("* moving"))) == 1:
        wait(folder, "move", on_event, cancel)
    return len(list(folder.glob("* moving")))


def silent(name: str, event: Event) -> None:
    pass


class Scheduler:
    """A Dask scheduler with workers, each a process."""

    def __init__(self, folder: Path) -> None:
        self.file, self._folder = folder / "scheduler.json", folder
        self.process = self._start("scheduler", "--port", "0", "--host", "127.0.0.1")
        self.workers: list[subprocess.Popen[bytes]] = []
        while not self.file.exists():
            assert self.process.poll() is None
            time.sleep(0.05)

    def add_worker(self, paths: Sequence[Path] = (ROOT, Path(__file__).parent)) -> None:
        """``paths`` : where it finds packages."""
        options = ("--nthreads", "1", "--local-directory", str(self._folder))
        self.workers.append(self._start("worker", *options, paths=paths))

    def _start(self, what: str, *options: str, paths: Sequence[Path] = ()) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *options]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        return subprocess.Popen(
            [*command, "--scheduler-file", str(self.file)],
            cwd=self._folder,
            env=environment,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        for process in (*self.workers, self.process):
            process.kill()
            process.wait()
