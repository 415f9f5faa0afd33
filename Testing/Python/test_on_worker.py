"""What a worker does with a job: its events go home, its processor threads and its device are its own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import pytest
from worker_jobs import wait

from TransferSegLib import on_worker
from TransferSegLib.events import Event, Failure, Progress, Warning


class Worker(SimpleNamespace):
    """Stands in for one of Dask."""

    def log_event(self, topic: str, message: bytes) -> None:
        self.sent.append((topic, pickle.loads(message)))


def test_a_job_that_a_closing_worker_stops_is_for_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(sent=[], status=distributed.Status.closing, state=Worker(tasks={}), get_current_task=lambda: "key")
    monkeypatch.setattr(on_worker, "get_worker", lambda: worker)
    with pytest.raises(distributed.Reschedule):
        on_worker.work_on(on_worker.Orders("topic", tmp_path / "stop"), 1, wait, (tmp_path, "wait"))


def test_progress_is_told_about_once_a_second_and_all_else_always(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(on_worker.time, "monotonic", lambda: next(now) * 0.3)
    worker = Worker(sent=[])
    tell: Callable[[Event], Any] = on_worker._Teller("topic", 7, worker)
    for step in range(11):
        tell(Progress("train", step, 10))
    tell(Warning("one"))
    tell(Warning("two"))
    tell(Failure("input", "cause", "remedy"))
    assert {topic for topic, _ in worker.sent} == {"topic"}
    assert {number for _, (number, _) in worker.sent} == {7}
    told = [event for _, (_, event) in worker.sent]
    assert [event.step for event in told[:-3]] == [0, 4, 8, 10]
    assert told[-3:] == [Warning("one"), Warning("two"), Failure("input", "cause", "remedy")]


def test_each_worker_takes_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for number in range(4):
        on_worker._settle(on_worker.Orders("", Path(), devices=3), Worker(name=number))
    on_worker._settle(on_worker.Orders("", Path(), devices=1), Worker(name=0))
    assert taken == [0, 1, 2, 0]
