"""Ten times killed, at random points, a worker or the process that holds the scheduler: the tables stay the same."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest
from command import run, start
from studies import tumours

# In the order of a die. The first process holds the scheduler, and goes on only when it is started again.
VICTIMS = ["worker", "worker", "scheduler", "worker", "worker", "scheduler", "worker", "scheduler", "worker", "worker"]
OPTIONS = (
    *("--source", "ms-lesion-fast", "--protocol", "smoke", "--strategies", "scratch,all", "--seeds", 1),
    *("--test", 2, "--validation", 2, "--spacing", 4, "--steps", 12, "--threads", 1, "--events"),
)
TABLES = ("scores.csv", "summary.csv", "runs.csv")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kill")


def arguments(place: Path, name: str) -> list[object]:
    return ["study", tumours(place), *OPTIONS, "--cache", place / "cache", "--out", place / name]


def finished(out: Path) -> int:
    return len(list(out.glob("fold-0/**/outcome.json")))


def workers(parent: int) -> list[psutil.Process]:
    """Processes that do jobs."""
    return [child for child in psutil.Process(parent).children() if "spawn_main" in " ".join(child.cmdline())]


def test_ten_kills_change_nothing(place: Path) -> None:
    plain = run(*arguments(place, "plain"))
    assert plain.code == 0, plain.out
    chance = random.Random(6)
    out = place / "killed"
    process = start(*arguments(place, "killed"), "--workers", 2)
    try:
        for victim in VICTIMS:
            before = finished(out)
            # Somewhere in the work: after one more training has ended, and a moment later.
            while finished(out) <= before:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.5))
            family = psutil.Process(process.pid).children(recursive=True)
            if victim == "worker":
                os.kill(chance.choice(workers(process.pid)).pid, signal.SIGKILL)
            else:
                process.kill()
                process.communicate()
                assert psutil.wait_procs(family, timeout=15)[1] == []  # nobody goes on without it
                process = start(*arguments(place, "killed"), "--workers", 2)
    finally:
        said, complained = process.communicate(timeout=300)
    assert process.returncode == 0, said + complained
    for table in TABLES:
        assert (out / table).read_bytes() == (place / "plain" / table).read_bytes()
