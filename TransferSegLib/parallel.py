"""Work on many cases in several processes; one process that dies, or is told to stop, leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from .allocator import keep_memory_for_good
from .errors import ResourceError
from .events import CancelToken, Clock, Event, OnEvent, Progress
from .memory import available_bytes

T = TypeVar("T")

# What preparing, segmenting or training on a large case takes, with what is imported for it.
BYTES_A_PROCESS = 2.5 * 2**30

# How long a process may take to stop what it has started.
_PATIENCE_S = 5

# Starting a process costs as much as preparing one easy case.
_FEWEST = 3


def count_jobs(items: int, jobs: int = 0) -> int:
    """How many processes to use for ``items``: at most ``jobs``; 0: what processors and memory allow."""
    if jobs == 0:
        if items < _FEWEST:
            return 1
        jobs = min(processors(), int(available_bytes() / BYTES_A_PROCESS))
    return max(1, min(jobs, items))


def spread(
    work: Callable[[Any, OnEvent, CancelToken], T],
    items: Sequence[Any],
    stage: str,
    jobs: int,
    on_event: OnEvent,
    cancel: CancelToken,
) -> Iterator[tuple[int, T | Exception]]:
    """Do ``work(item, on_event, cancel)`` for each item; yields the place of each and its result, as they are finished.

    Parameters
    ----------
    work : a function of a module, or a partial of one, which other processes can import.
    jobs : processes; with 1 all is done in this one. Programs that use more need the usual guard
        ``if __name__ == "__main__":``.

    Yields
    ------
    The exception of an item that failed, in place of its result.

    Raises
    ------
    Cancelled : stopped on request; the other processes are gone then.
    ResourceError : a process was killed, mostly because the memory was full.
    """
    clock = Clock(len(items))
    on_event(Progress(stage, 0, len(items)))
    each = _in_processes if jobs > 1 else _here
    for done, result in enumerate(each(work, items, jobs, on_event, cancel), start=1):
        yield result
        on_event(Progress(stage, done, len(items), clock.eta_s(done)))


def _here(
    work: Callable[[Any, OnEvent, CancelToken], T],
    items: Sequence[Any],
    jobs: int,
    on_event: OnEvent,
    cancel: CancelToken,
) -> Iterator[tuple[int, T | Exception]]:
    for place, item in enumerate(items):
        cancel.raise_if_cancelled()
        try:
            yield place, work(item, on_event, cancel)
        except Exception as error:
            yield place, error


def _in_processes(
    work: Callable[[Any, OnEvent, CancelToken], T],
    items: Sequence[Any],
    jobs: int,
    on_event: OnEvent,
    cancel: CancelToken,
) -> Iterator[tuple[int, T | Exception]]:
    others = set(multiprocessing.active_children())
    # "spawn": a copy of this process ("fork") would share locks of libraries that have threads.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start, (max(1, processors() // jobs),))
    try:
        waiting: dict[Future[Any], int] = {pool.submit(_work, work, item): place for place, item in enumerate(items)}
        while waiting:
            finished, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            cancel.raise_if_cancelled()
            for future in sorted(finished, key=waiting.__getitem__):
                place = waiting.pop(future)
                result, events = future.result()
                for event in events:
                    on_event(event)
                yield place, result
    except BrokenProcessPool as error:
        raise ResourceError(
            "A process was killed, mostly because the memory was full.", "Use fewer processes: --jobs 1."
        ) from error
    finally:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        for child in set(multiprocessing.active_children()) - others:
            child.join(_PATIENCE_S)
            child.kill()
            child.join()
        # Now, as its own thread waits for the same processes: after this both know that they are gone.
        pool.shutdown(cancel_futures=True)


def _start(threads: int) -> None:
    """In a new process: its share of the processors."""
    # Ctrl-C reaches every process of a terminal; the first one decides. The others end when it tells them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory_for_good()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import SimpleITK
    import torch

    torch.set_num_threads(threads)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _leave(*_: object) -> None:
    raise SystemExit(1)


def _work(work: Callable[[Any, OnEvent, CancelToken], T], item: Any) -> tuple[T | Exception, list[Event]]:
    events: list[Event] = []
    # The first process ends this one to stop it. Only work has something to put away then: an exception at another time
    # would be reported by the pool.
    signal.signal(signal.SIGTERM, _leave)
    try:
        return work(item, events.append, CancelToken()), events
    except Exception as error:
        return error, events
    except SystemExit:  # what the work has started was stopped on the way here; the pool would go on with the next item
        os._exit(1)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
