"""Independent jobs: one after the other in this process, in several processes, or on the machines of a cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .errors import Cancelled, DependencyError, InputError
from .events import CancelToken, Event, Warning
from .files import os_errors
from .memory import available_bytes
from .parallel import BYTES_A_PROCESS, processors
from .recipe import option

# Heading of the options of :class:`Workers` in the help of a command.
WORK_PANEL = "Where to work"

# Told the name of a job, and what it tells. The name is empty where an event is about no job.
Listener = Callable[[str, Event], None]


@dataclass(frozen=True)
class Workers:
    """Where the jobs of a command are done."""

    workers: int = option(1, "Processes that work at once; 0: what processors and memory allow.")
    scheduler: str = option("", "Address or scheduler file of a Dask cluster instead.")


class Workforce(Protocol):
    """Does jobs that do not depend on each other."""

    def submit(self, name: str, work: Callable[..., object], *args: Any) -> None:
        """Have ``work(*args, on_event=..., cancel=...)`` done.

        Parameters
        ----------
        name : of the job; no other job of this workforce has it.
        work : a function of a module, which other processes can import. It starts no processes by
            ``multiprocessing``, which a worker may not; a program of its own it may start, and should stop. It may be
            called again, elsewhere, when a worker was lost.
        """

    def finished(self) -> Iterator[tuple[str, Any]]:
        """The name of each job and its result, or its exception, as they end; until no job is left.

        More jobs may be submitted meanwhile.

        Raises
        ------
        Cancelled : stopped on request, after the jobs that were running have ended.
        ResourceError : the scheduler is gone.
        """


def count_workers(workers: int, threads: int) -> int:
    """How many processes work at once on this machine.

    Parameters
    ----------
    workers : so many; 0: one for each CUDA device, or else what processors and memory allow.
    threads : processor threads of each; 0: one.

    Raises
    ------
    InputError : a number below 0.
    """
    if workers < 0:
        raise InputError(f"--workers cannot be {workers}.", "Give 1 or more, or 0 for what the machine allows.")
    if workers:
        return workers
    # One thread a worker is the fastest on processors: no job waits for another.
    by_processors = processors() // max(1, threads)
    return _cuda_devices() or max(1, min(by_processors, int(available_bytes() / BYTES_A_PROCESS)))


@contextmanager
def gather_workers(
    scheduler: str | None, workers: int, threads: int, on_event: Listener, cancel: CancelToken, stop_file: Path
) -> Iterator[Workforce]:
    """Workers, until the block ends.

    Programs that use more than one worker need the usual guard ``if __name__ == "__main__":``.

    Parameters
    ----------
    scheduler : address or scheduler file of a Dask cluster; empty or None: this machine.
    workers : on this machine, see :func:`count_workers`. With 1 all is done in this process, as it is.
    threads : processor threads of each worker; 0: the processors of this machine, divided; on a cluster what the
        worker was started with.
    on_event : told what the jobs tell, in this thread, while :meth:`Workforce.finished` is asked.
    stop_file : made when ``cancel`` is set, for the workers to see: on a cluster its folder is on a shared file system.
        It is gone in the end.

    Raises
    ------
    InputError : no cluster can be reached; a number makes no sense.
    DependencyError : Dask is not installed.
    """
    with suppress(OSError):
        stop_file.unlink(missing_ok=True)  # left by a run that was killed
    count = 1 if scheduler else count_workers(workers, threads)
    if not scheduler and count == 1:
        yield _Here(on_event, cancel)
        return
    _require_dask()
    from .cluster import join_cluster, start_workers

    with os_errors(stop_file):
        stop_file.parent.mkdir(parents=True, exist_ok=True)
    if scheduler:
        if workers != 1:
            on_event("", Warning("--workers counts for nothing with --scheduler: all workers of the cluster work."))
        force = join_cluster(scheduler, threads, on_event, cancel, stop_file)
    else:
        share = threads or max(1, processors() // count)
        force = start_workers(count, share, _cuda_devices(), on_event, cancel, stop_file)
    try:
        with force as gathered:
            yield gathered
    finally:
        with suppress(OSError):
            stop_file.unlink(missing_ok=True)


class _Here:
    """Does the jobs in this process, in the order in which they were submitted."""

    def __init__(self, on_event: Listener, cancel: CancelToken) -> None:
        self._on_event, self._cancel = on_event, cancel
        self._waiting: deque[tuple[str, Callable[..., object], tuple[Any, ...]]] = deque()

    def submit(self, name: str, work: Callable[..., object], *args: Any) -> None:
        self._waiting.append((name, work, args))

    def finished(self) -> Iterator[tuple[str, Any]]:
        while self._waiting:
            self._cancel.raise_if_cancelled()
            name, work, args = self._waiting.popleft()
            yield name, self._outcome(name, work, args)

    def _outcome(self, name: str, work: Callable[..., object], args: tuple[Any, ...]) -> object:
        try:
            return work(*args, on_event=lambda event: self._on_event(name, event), cancel=self._cancel)
        except Cancelled:
            raise
        except Exception as error:
            return error


def _require_dask() -> None:
    """Raises
    ------
    DependencyError : Dask is not installed.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"Several workers need Dask, which cannot be used: {error}.", 'Run: pip install "TransferSegLib[study]"'
        ) from error


def _cuda_devices() -> int:
    try:
        import torch
    except ImportError:
        return 0
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
