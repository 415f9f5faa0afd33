"""Jobs on a cluster: workers may come and go; when the scheduler goes, that is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import distributed
import pytest
from worker_jobs import Scheduler, Told, die, echo, move, settings, silent, wait

from TransferSegLib import cluster
from TransferSegLib.errors import DependencyError, InputError, ResourceError
from TransferSegLib.events import CancelToken, Event, Warning
from TransferSegLib.workforce import gather_workers


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    started = Scheduler(tmp_path)
    try:
        yield started
    finally:
        started.close()


def test_the_workers_of_a_cluster_may_come_and_go(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first comes late and is retired in the middle of a job, as at the end of its time; another does it again."""
    monkeypatch.setattr(cluster, "NO_WORKER_S", 0.5)
    monkeypatch.setattr(cluster, "_LOOK_S", 0.2)
    told: Told = []

    def listen(name: str, event: Event) -> None:
        told.append((name, event))
        if isinstance(event, Warning) and "no workers" in event.text:
            scheduler.add_worker()
        elif name == "move":
            with distributed.Client(scheduler_file=str(scheduler.file), set_as_default=False) as client:
                client.retire_workers(list(client.nthreads()))
            scheduler.add_worker()

    with gather_workers(str(scheduler.file), 3, 2, listen, CancelToken(), tmp_path / "stop") as force:
        force.submit("settings", settings)
        assert list(force.finished()) == [("settings", (2, 2))]
        force.submit("move", move, tmp_path)
        assert list(force.finished()) == [("move", 2)]
    assert (tmp_path / "move stopped").exists()
    warnings = [event.text for _, event in told if isinstance(event, Warning)]
    assert warnings[0] == "--workers counts for nothing with --scheduler: all workers of the cluster work."
    assert set(warnings[1:]) == {f"The scheduler at {scheduler.file} has no workers: waiting for them."}


def test_a_job_that_waited_behind_a_deadly_one_is_done_all_the_same(scheduler: Scheduler, tmp_path: Path) -> None:
    """Dask gives a worker the next job before it has done one, and gives both up when four workers have died."""
    (tmp_path / "deadly").mkdir()
    scheduler.add_worker()
    with gather_workers(str(scheduler.file), 1, 0, silent, CancelToken(), tmp_path / "stop") as force:
        force.submit("deadly", die, tmp_path / "deadly", 100)
        for number in range(6):
            force.submit(str(number), echo, number)
        found = dict(force.finished())
    assert isinstance(found["deadly"], ResourceError)
    assert [found[str(number)][0] for number in range(6)] == list(range(6))


def test_a_scheduler_that_dies_is_told_within_seconds(scheduler: Scheduler, tmp_path: Path) -> None:
    scheduler.add_worker()

    def listen(name: str, event: Event) -> None:
        scheduler.process.kill()

    start = time.monotonic()
    with gather_workers(str(scheduler.file), 1, 0, listen, CancelToken(), tmp_path / "stop") as force:
        force.submit("wait", wait, tmp_path, "wait")
        force.submit("next", wait, tmp_path, "next")
        with pytest.raises(ResourceError) as caught:
            list(force.finished())
    assert time.monotonic() - start < 30
    assert caught.value.cause == f"The scheduler at {scheduler.file} is gone."
    assert caught.value.remedy == "Start it again and run the command again: what is finished is kept."
    scheduler.workers[0].wait(20)  # what it did has nobody who waits for it
    assert (tmp_path / "wait stopped").exists()


def test_a_worker_that_lacks_a_package_says_so(scheduler: Scheduler, tmp_path: Path) -> None:
    scheduler.add_worker(paths=())
    with gather_workers(str(scheduler.file), 1, 0, silent, CancelToken(), tmp_path / "stop") as force:
        force.submit("echo", echo, 1)
        ((_, error),) = force.finished()
    assert isinstance(error, DependencyError)
    assert error.cause.startswith(f"A worker of {scheduler.file} cannot load what it is to do: No module named ")
    assert error.remedy == "Install what is installed here, in the same versions, where the workers run."


@pytest.mark.parametrize("kind", ["nobody there", "no file", "no scheduler file"])
def test_a_cluster_that_cannot_be_reached_is_told(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    (tmp_path / "some.json").write_text("{}")
    address = {
        "nobody there": "tcp://127.0.0.1:9",
        "no file": str(tmp_path / "none.json"),
        "no scheduler file": str(tmp_path / "some.json"),
    }[kind]
    with (
        pytest.raises(InputError) as caught,
        gather_workers(address, 1, 0, silent, CancelToken(), tmp_path / "stop"),
    ):
        pass
    assert caught.value.cause == f"The scheduler at {address} cannot be reached."
    assert "dask scheduler" in caught.value.remedy
