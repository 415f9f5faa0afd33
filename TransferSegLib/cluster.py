"""Jobs on Dask: what the first process does. What a worker does is in ``on_worker``."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import cloudpickle
import dask.config
import distributed

from .errors import Cancelled, DependencyError, InputError, ResourceError
from .events import CancelToken, Event, Warning
from .on_worker import Orders, OurOwn, work_on

# How long running jobs may take to end after a request to stop. The command itself is ended by force after
# ``terminal.GRACE_S``: what is done should be written before.
GRACE_S = 50.0

# How long there may be no worker before the user is told.
NO_WORKER_S = 60.0

# How long a scheduler may take to be reached; how long it may take to answer, busy as it may be.
_CONNECT_S, _ANSWER_S = 10, 30

# How often to look whether to stop, and whether there are workers.
_POLL_S, _LOOK_S = 0.1, 2.0

# Workers that may die on one job; and how often it is sent when it had not even begun on them.
_DEATHS, _SENT = 4, 3

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")

# Told the name of a job, and what it tells.
Listener = Callable[[str, Event], None]


def settings(threads: int) -> dict[str, Any]:
    """Dask's configuration for workers of ours, each with ``threads`` processor threads."""
    return {
        # In place of Dask's own, which also make the system take back memory after each step.
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREADS, str(threads)),
        "distributed.scheduler.allowed-failures": _DEATHS - 1,
        "distributed.scheduler.worker-saturation": 1.0,  # a job that waits is not lost with a worker
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.profile.enabled": False,
    }


@contextmanager
def start_workers(
    count: int, threads: int, devices: int, on_event: Listener, cancel: CancelToken, stop_file: Path
) -> Iterator[Cluster]:
    """``count`` processes on this machine, each with ``threads`` processor threads; they share ``devices``."""
    orders = Orders(_new_topic(), stop_file.absolute(), devices=devices)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="transferseg-", ignore_cleanup_errors=True))
        for context in (_quiet(), _same_environment(), dask.config.set(settings(threads))):
            stack.enter_context(context)
        local = _start(count, folder, cancel)
        client = stack.enter_context(distributed.Client(stack.enter_context(local), set_as_default=False))
        cluster = Cluster(client, "this machine", orders, on_event, cancel)
        stack.callback(cluster.close)
        yield cluster


@contextmanager
def join_cluster(
    scheduler: str, threads: int, on_event: Listener, cancel: CancelToken, stop_file: Path
) -> Iterator[Cluster]:
    """The workers of a Dask scheduler, at an address or described by a scheduler file.

    Raises
    ------
    InputError : it cannot be reached.
    """
    orders = Orders(_new_topic(), stop_file.absolute(), threads)
    with _quiet(), _connect(scheduler) as client:
        cluster = Cluster(client, scheduler, orders, on_event, cancel)
        try:
            yield cluster
        finally:
            cluster.close()


@dataclass
class _Job:
    name: str
    work: Callable[..., object]
    args: tuple[Any, ...]
    future: Any = None
    begun: bool = False
    sent: int = 0


class Cluster:
    """Does jobs on the workers of a Dask scheduler."""

    def __init__(self, client: Any, where: str, orders: Orders, on_event: Listener, cancel: CancelToken) -> None:
        self._client, self._where, self._orders = client, where, orders
        self._on_event, self._cancel = on_event, cancel
        self._waiting: dict[int, _Job] = {}
        self._numbers = 0
        # Pairs of the number of a job and what it tells; a job that has ended tells itself.
        self._arrived: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._deadline: float | None = None
        self._looked = self._inhabited = time.monotonic()
        client.subscribe_topic(orders.topic, lambda event: self._arrived.put(pickle.loads(event[1])))

    def submit(self, name: str, work: Callable[..., object], *args: Any) -> None:
        if self._deadline is None:
            self._send(_Job(name, work, args))

    def finished(self) -> Iterator[tuple[str, Any]]:
        while self._waiting:
            if self._cancel.cancelled:
                self._stop()
            if self._deadline is not None and time.monotonic() > self._deadline:
                break
            yield from self._next()
        if self._deadline is not None:
            raise Cancelled()

    def close(self) -> None:
        """Have nothing more done, and wait for nothing."""
        if self._waiting:
            with suppress(OSError):
                self._orders.stop_file.touch()
        self._forget(list(self._waiting))

    def _send(self, job: _Job) -> None:
        # Each time another key: Dask remembers what died on the old one. Equal first parts make them one group, of
        # which a worker gets no more than it can do.
        number = self._numbers = self._numbers + 1
        job.begun, job.sent = False, job.sent + 1
        self._waiting[number] = job
        # As bytes: Dask would look into the arguments for its own.
        content = cloudpickle.dumps((work_on, (self._orders, number, job.work, job.args)))
        job.future = self._client.submit(
            _opening(),
            content,
            key=(self._orders.topic, number),
            priority=-number,
            pure=False,
        )
        self._follow(number, job)

    def _follow(self, number: int, job: _Job) -> None:
        job.future.add_done_callback(lambda _: self._arrived.put((number, job)))

    def _next(self) -> Iterator[tuple[str, Any]]:
        """At most one job that has ended."""
        try:
            number, what = self._arrived.get(timeout=_POLL_S)
        except Empty:
            self._look()
            return
        job = self._waiting.get(number)
        if job is None:  # a late word of a job that was given up
            return
        if isinstance(what, Event):
            self._on_event(job.name, what)
        elif what is None:
            job.begun = True
        else:
            yield from self._end(number, job)

    def _end(self, number: int, job: _Job) -> Iterator[tuple[str, Any]]:
        try:
            outcome = job.future.result(timeout=_ANSWER_S)
        except TimeoutError:  # the worker was lost together with the result: it is done again
            self._follow(number, job)
            return
        except distributed.KilledWorker:
            del self._waiting[number]
            if not job.begun and job.sent < _SENT:  # it only waited, behind the one that kills
                self._send(job)
                return
            outcome = ResourceError(
                f"{_DEATHS} workers died doing it, mostly because the memory was full.",
                "Use fewer workers at once, or machines with more memory.",
            )
        except ImportError as error:
            outcome = DependencyError(
                f"A worker of {self._where} cannot load what it is to do: {error}.",
                "Install what is installed here, in the same versions, where the workers run.",
            )
        except CancelledError:
            raise self._gone() from None
        except Exception as error:
            if self._client.status != "running":
                raise self._gone() from error
            outcome = error
        self._waiting.pop(number, None)
        if isinstance(outcome, Cancelled):
            self._stop()
        else:
            yield job.name, outcome

    def _stop(self) -> None:
        """Have running jobs end by themselves, and others as soon as they begin."""
        if self._deadline is None:
            self._deadline = time.monotonic() + GRACE_S
            with suppress(OSError):
                self._orders.stop_file.touch()

    def _forget(self, numbers: Sequence[int]) -> None:
        jobs = [self._waiting.pop(number) for number in numbers]
        with suppress(OSError, CancelledError):
            self._client.cancel([job.future for job in jobs])

    def _look(self) -> None:
        """Whether there is a scheduler, and workers."""
        now = time.monotonic()
        if self._deadline is None and now - self._looked < _LOOK_S:
            return
        self._looked = now
        try:
            # The address of each worker, and the keys of the jobs it has been given.
            held = self._client.sync(self._client.scheduler.processing, callback_timeout=_ANSWER_S)
        except (OSError, CancelledError) as error:
            raise self._gone() from error
        if self._deadline is not None:
            keys = {key for given in held.values() for key in given}
            self._forget([n for n, job in self._waiting.items() if not job.begun and job.future.key not in keys])
        elif held:
            self._inhabited = now
        elif now - self._inhabited > NO_WORKER_S:
            self._inhabited = math.inf  # once is enough
            self._on_event("", Warning(f"The scheduler at {self._where} has no workers: waiting for them."))

    def _gone(self) -> Cancelled | ResourceError:
        if self._deadline is not None:  # it need not be told that what was to end has ended
            return Cancelled()
        return ResourceError(
            f"The scheduler at {self._where} is gone.",
            "Start it again and run the command again: what is finished is kept.",
        )


def _start(count: int, folder: str, cancel: CancelToken) -> Any:
    try:
        with _ctrl_c_later():
            return distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # a port for nothing, which Dask insists on
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,
                local_directory=folder,
                silence_logs=logging.CRITICAL,
                plugins=(OurOwn(),),
            )
    except (OSError, RuntimeError) as error:
        cancel.raise_if_cancelled()
        raise ResourceError(
            f"{count} worker processes cannot be started: {error.__cause__ or error}.",
            "Use fewer. A program of your own needs the guard: if __name__ == '__main__'.",
        ) from error


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """It comes to this thread after the block; never to threads that start within, nor to processes they start."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # else the thread that first needs it starts it, and unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _connect(scheduler: str) -> Any:
    try:
        address = scheduler
        if scheduler.endswith(".json") or Path(scheduler).is_file():
            address = json.loads(Path(scheduler).read_bytes())["address"]  # Dask would wait for the file
        return distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, KeyError) as error:  # a timeout is an OSError
        raise InputError(
            f"The scheduler at {scheduler} cannot be reached.",
            "Start one with: dask scheduler --scheduler-file FILE; see Docs/clusters.md.",
        ) from error


def _opening() -> Callable[[bytes], object]:
    """What a worker does first. It is sent whole, not by name: a worker without TransferSegLib shall say so.

    Dask's own way is to lose the worker without a word.
    """

    def open_and_do(content: bytes) -> object:
        import pickle

        try:
            function, arguments = pickle.loads(content)
        except (ImportError, AttributeError) as error:
            raise ImportError(str(error)) from None
        return function(*arguments)

    return open_and_do


def _new_topic() -> str:
    return f"transferseg-{uuid4().hex}"


@contextmanager
def _quiet() -> Iterator[None]:
    """What Dask writes into its log when workers come and go is told otherwise here, or of no use."""
    loggers = [
        logging.getLogger(name)
        for name in logging.root.manager.loggerDict
        if name.startswith(("distributed", "tornado"))
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _same_environment() -> Iterator[None]:
    """Dask sets the variables of its workers in this process too, each time it starts one."""
    before = {name: os.environ.get(name) for name in _THREADS}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
