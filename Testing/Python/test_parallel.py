"""Work in several processes: the same results as in one, errors and warnings come home, nothing stays behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from TransferSegLib import parallel
from TransferSegLib.errors import Cancelled, InputError, ResourceError
from TransferSegLib.events import CancelToken, Event, OnEvent, Progress, Warning
from TransferSegLib.parallel import count_jobs, spread

JOBS = (1, 2)


def square(number: int, on_event: OnEvent, cancel: CancelToken) -> tuple[int, int]:
    on_event(Warning(f"squaring {number}"))
    if number == 2:
        raise InputError("2 cannot be squared.", "Give another.")
    return number**2, os.getpid()


def sleep(number: int, on_event: OnEvent, cancel: CancelToken, folder: Path) -> None:
    (folder / str(number)).touch()
    time.sleep(60)


def start_program(number: int, on_event: OnEvent, cancel: CancelToken, folder: Path) -> None:
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    (folder / f"{number}.pid").write_text(str(program.pid))
    try:
        program.wait()
    finally:
        program.kill()


def die(number: int, on_event: OnEvent, cancel: CancelToken) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", JOBS)
def test_every_item_is_worked_on_and_an_error_takes_the_place_of_its_result(jobs: int) -> None:
    events: list[Event] = []
    found = dict(spread(square, [1, 2, 3, 4], "square", jobs, events.append, CancelToken()))
    error = found.pop(1)
    assert isinstance(error, InputError)
    assert (error.cause, error.remedy) == ("2 cannot be squared.", "Give another.")
    assert {place: result[0] for place, result in found.items()} == {0: 1, 2: 9, 3: 16}  # type: ignore[index]
    assert all((result[1] == os.getpid()) == (jobs == 1) for result in found.values())  # type: ignore[index]
    told = sorted(event.text for event in events if isinstance(event, Warning))
    assert told == [f"squaring {number}" for number in (1, 2, 3, 4)]
    assert [event.step for event in events if isinstance(event, Progress)] == [0, 1, 2, 3, 4]
    assert {event.of for event in events if isinstance(event, Progress)} == {4}


def test_a_stop_ends_the_other_processes_at_once(tmp_path: Path) -> None:
    cancel = CancelToken(tmp_path / "0")
    start = time.monotonic()
    with pytest.raises(Cancelled):
        list(spread(partial(sleep, folder=tmp_path), [0, 1, 2], "sleep", 2, lambda _: None, cancel))
    assert time.monotonic() - start < 50
    assert multiprocessing.active_children() == []
    assert not (tmp_path / "2").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without asking it")
def test_a_stop_ends_the_programs_that_the_other_processes_have_started(tmp_path: Path) -> None:
    cancel = CancelToken(tmp_path / "1.pid")
    with pytest.raises(Cancelled):
        list(spread(partial(start_program, folder=tmp_path), [0, 1], "start", 2, lambda _: None, cancel))
    program = int((tmp_path / "1.pid").read_text() or (tmp_path / "0.pid").read_text())
    end = time.monotonic() + 10
    while time.monotonic() < end and is_running(program):
        time.sleep(0.05)
    assert not is_running(program)


def test_a_stop_while_the_other_processes_start_is_silent(tmp_path: Path) -> None:
    (tmp_path / "SimpleITK.py").write_text(SLOW_TO_IMPORT)
    script = tmp_path / "script.py"
    script.write_text(STOPPED)
    started = tmp_path / "started"
    done = subprocess.run(
        [sys.executable, script, started],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "STARTED": str(started)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


# In place of the real one, which every process imports before its first work.
SLOW_TO_IMPORT = """
import multiprocessing, os, pathlib, time
if multiprocessing.parent_process():
    pathlib.Path(os.environ["STARTED"]).touch()
    time.sleep(50)
"""

STOPPED = """
import sys
from pathlib import Path
from TransferSegLib.errors import Cancelled
from TransferSegLib.events import CancelToken
from TransferSegLib.parallel import spread

def work(number, on_event, cancel):
    return number

if __name__ == "__main__":
    try:
        list(spread(work, [0, 1, 2], "work", 2, lambda _: None, CancelToken(Path(sys.argv[1]))))
    except Cancelled:
        print("stopped")
"""


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_process_that_is_killed_is_told_instead_of_waited_for() -> None:
    with pytest.raises(ResourceError) as caught:
        list(spread(die, [1, 2, 3], "die", 2, lambda _: None, CancelToken()))
    assert str(caught.value) == (
        "A process was killed, mostly because the memory was full. Use fewer processes: --jobs 1."
    )
    assert multiprocessing.active_children() == []


def test_as_many_processes_as_items_processors_and_memory_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "processors", lambda: 8)
    monkeypatch.setattr(parallel, "available_bytes", lambda: 64 * 2**30)
    assert [count_jobs(items) for items in (0, 1, 2, 3, 100)] == [1, 1, 1, 3, 8]
    assert [count_jobs(items, 4) for items in (0, 1, 2, 100)] == [1, 1, 2, 4]
    monkeypatch.setattr(parallel, "available_bytes", lambda: 6 * 2**30)
    assert count_jobs(100) == 2
    monkeypatch.setattr(parallel, "available_bytes", lambda: 2**30)
    assert count_jobs(100) == 1
    assert count_jobs(100, 3) == 3  # the user knows better
