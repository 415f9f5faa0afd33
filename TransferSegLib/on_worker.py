"""Jobs on Dask: what a worker does."""

from __future__ import annotations

import contextlib
import math
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from distributed import Reschedule, Status, Worker, WorkerPlugin, get_worker

from .allocator import keep_memory_for_good
from .errors import Cancelled
from .events import CancelToken, Event, Progress

# Of a stage at most one step in so many seconds is told.
_PROGRESS_S = 1.0

_WORKING = (Status.running, Status.paused)


@dataclass(frozen=True)
class Orders:
    """What each job of a run is told.

    Attributes
    ----------
    topic : under which the first process hears what the jobs tell.
    stop_file : means to stop.
    threads : processor threads to use; 0: as the worker was started.
    devices : CUDA devices that the workers share out by number; 0: as the worker was started.
    """

    topic: str
    stop_file: Path
    threads: int = 0
    devices: int = 0


class OurOwn(WorkerPlugin):  # type: ignore[misc]
    """For a worker that we have started, which does our jobs alone.

    Ctrl-C reaches every process of a terminal; the first one decides. The workers end when it tells them. Where signals
    can be blocked, ``cluster`` has done it before they started.
    """

    def setup(self, worker: Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        keep_memory_for_good()


def work_on(orders: Orders, number: int, work: Callable[..., object], args: Sequence[Any]) -> object:
    """What ``work(*args)`` gives, or its exception.

    Parameters
    ----------
    number : tells the job apart from the others of this run.
    """
    worker = get_worker()
    token = _Token(orders.stop_file, worker)
    tell = _Teller(orders.topic, number, worker)
    tell.begin()
    try:
        token.raise_if_cancelled()
        _settle(orders, worker)
        return work(*args, on_event=tell, cancel=token)
    except Cancelled as error:
        if token.moved:
            raise Reschedule from None
        return error
    except Exception as error:
        return _sendable(error)


class _Token(CancelToken):
    """Is also set when the result is no longer wanted from this worker."""

    def __init__(self, stop_file: Path, worker: Worker) -> None:
        super().__init__(stop_file)
        self._worker, self._key = worker, worker.get_current_task()

    @property
    def cancelled(self) -> bool:
        return super().cancelled or self.moved

    @property
    def moved(self) -> bool:
        """Whether the worker is about to end, as at the end of its time on a cluster, or nobody waits for the job."""
        task = self._worker.state.tasks.get(self._key)
        return self._worker.status not in _WORKING or task is None or task.state != "executing"


class _Teller:
    """Sends events to the first process."""

    def __init__(self, topic: str, number: int, worker: Worker) -> None:
        self._topic, self._number, self._worker = topic, number, worker
        self._told: dict[str, float] = {}

    def begin(self) -> None:
        self._send(None)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and event.step < event.of:
            now = time.monotonic()
            if now - self._told.get(event.stage, -math.inf) < _PROGRESS_S:
                return
            self._told[event.stage] = now
        self._send(event)

    def _send(self, event: Event | None) -> None:
        self._worker.log_event(self._topic, pickle.dumps((self._number, event)))


def _settle(orders: Orders, worker: Worker) -> None:
    """Take the processor threads and the device that are this worker's."""
    if orders.devices > 1:
        import torch

        torch.cuda.set_device(int(worker.name) % orders.devices)
    if orders.threads:
        import SimpleITK
        import torch

        torch.set_num_threads(orders.threads)
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(orders.threads)


def _sendable(error: Exception) -> Exception:
    """Without the frames, which hold images; with a note of where it happened; one that can be pickled."""
    where = traceback.format_exc()
    error.with_traceback(None).add_note(where)
    error.__context__ = error.__cause__ = None
    with contextlib.suppress(Exception):
        return pickle.loads(cloudpickle.dumps(error))  # type: ignore[no-any-return]
    return RuntimeError(where)
