"""Segmenting many cases in one process and on several workers, and what the scheduler costs.

"a case" is the time between two finished cases once all workers work; "in all" is from the start to the end, several
workers' own start included. "faster" is how many times as many cases a minute the row does as one process does with all
processors; "time to 1 thread here" shows what Dask costs. A job of the second table does nothing: its time is that of
handing it out and home.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import measuring
from measuring import Sample

FULL, QUICK = (144, 176, 144), (48, 48, 40)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        parser = measuring.options(__doc__ or "")
        parser.add_argument("--cases", type=int, default=12, help="how many to segment")
        parser.add_argument("--jobs", type=int, default=500, help="how many jobs that do nothing")
        args = measuring.parse(parser, folder)
        if args.quick:
            args.cases, args.jobs = 4, 20
        many = max(2, args.threads)
        here, alone = f"here, {args.threads} threads", "here, 1 thread"
        setups = {
            here: partial(segment, args, 1, args.threads, False),
            alone: partial(segment, args, 1, 1, False),
            "1 worker of 1 thread": partial(segment, args, 1, 1, True),
            f"{many} workers of 1 thread": partial(segment, args, many, 1, False),
        }
        empty = {
            "no work, here": partial(nothing, args, 1),
            f"no work, {many} workers": partial(nothing, args, many),
        }
        measuring.measure_once("make", partial(make, args), args)
        results = measuring.measure(setups | empty, args)
        print(measuring.machine(args))
        print(segmenting({name: results[name] for name in setups if name in results}, here, alone))
        print()
        print(handing_out({name: results[name] for name in empty if name in results}))


def segmenting(results: dict[str, Sample], here: str, alone: str) -> str:
    headers = ["", "a case, median s", "min to max", "faster", "time to 1 thread here", "in all, s"]
    rows = []
    for name, sample in results.items():
        whole, single = (results[other].median if other in results else None for other in (here, alone))
        rows.append(
            [
                name,
                sample.median,
                sample.spread,
                whole / sample.median if whole else "",
                sample.median / single if single else "",
                sample.more("in all"),
            ]
        )
    return measuring.table(headers, rows)


def handing_out(results: dict[str, Sample]) -> str:
    rows = [[name, 1000 * sample.median, sample.more("in all")] for name, sample in results.items()]
    return measuring.table(["", "a job, median ms", "in all, s"], rows)


def make(args: argparse.Namespace) -> Sample:
    """The model, and the one case of which all are copies."""
    from examples import flair_model, write_case

    from TransferSegLib.model import save_model

    save_model(flair_model(1), args.folder / "model")
    write_case(args.folder / "case", QUICK if args.quick else FULL)
    return Sample([], measuring.peak())


def segment(args: argparse.Namespace, workers: int, threads: int, on_cluster: bool) -> Sample:
    import torch

    from TransferSegLib.datasets import find_cases
    from TransferSegLib.events import Event, Progress
    from TransferSegLib.inference import InferenceOptions
    from TransferSegLib.segment_many import segment_dataset

    torch.set_num_threads(threads)
    case = find_cases(args.folder / "case").cases[0]
    cases = [replace(case, name=f"case-{number}") for number in range(args.cases)]
    finished: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "segment" and event.step:
            finished.append(time.perf_counter())

    options = InferenceOptions(engine="torch", device="cpu")
    totals, each = [], []
    for number in range(args.repeat):
        finished.clear()
        out = args.folder / f"out-{workers}-{number}"
        with one_worker() if on_cluster else contextlib.nullcontext(None) as address:
            where = {"workers": workers, "scheduler": address, "threads": threads}
            start = time.perf_counter()
            _, failed = segment_dataset(cases, args.folder / "model", out, options, on_event=listen, **where)
            totals.append(time.perf_counter() - start)
        assert not failed
        # The first case of each worker pays for loading.
        each.append((finished[-1] - finished[workers - 1]) / (len(cases) - workers))
    return Sample(each, measuring.peak(), {"in all": totals})


def nothing(args: argparse.Namespace, workers: int) -> Sample:
    from TransferSegLib.events import CancelToken
    from TransferSegLib.workforce import gather_workers

    start = time.perf_counter()
    stop_file = args.folder / f"stop-{workers}"
    with gather_workers(None, workers, 1, lambda *_: None, CancelToken(), stop_file) as force:
        force.submit("first", idle)
        list(force.finished())
        begun = time.perf_counter()
        for number in range(args.jobs):
            force.submit(str(number), idle)
        list(force.finished())
        seconds = time.perf_counter() - begun
    return Sample([seconds / args.jobs], measuring.peak(), {"in all": [time.perf_counter() - start]})


def idle(on_event: Any, cancel: Any) -> None:
    pass


@contextlib.contextmanager
def one_worker() -> Iterator[str]:
    """The address of a cluster of one worker, as ours are; asked for by number, that would be this process."""
    import dask.config
    import distributed

    from TransferSegLib.cluster import settings

    with (
        tempfile.TemporaryDirectory() as folder,
        dask.config.set(settings(1)),
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            local_directory=folder,
        ) as local,
    ):
        yield local.scheduler_address


if __name__ == "__main__":
    main()
