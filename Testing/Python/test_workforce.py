"""Independent jobs, here, in processes and on a cluster: all are done, whatever dies, and a stop leaves nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_jobs import ROOT, Told, die, echo, refuse, settings, silent, sleep, stumble, wait

from TransferSegLib import cluster, workforce
from TransferSegLib.errors import Cancelled, DependencyError, InputError, ResourceError
from TransferSegLib.events import CancelToken, Event, Warning
from TransferSegLib.workforce import Workforce, count_workers, gather_workers


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workforce, Told]]:
    """Two processes, and what their jobs told."""
    told: Told = []
    stop = tmp_path_factory.mktemp("shared") / "stop"
    with gather_workers(None, 2, 1, lambda *event: told.append(event), CancelToken(), stop) as force:
        yield force, told


@pytest.fixture(params=["here", "processes"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Workforce, Told]]:
    if request.param == "processes":
        force, told = request.getfixturevalue("shared")
        told.clear()
        yield force, told
        return
    told = []
    with gather_workers("", 1, 0, lambda *event: told.append(event), CancelToken(), tmp_path / "stop") as force:
        yield force, told


def children() -> set[int | None]:
    """Processes started by this one, by number."""
    return {process.pid for process in multiprocessing.active_children()}


# Both in one process and in several


def test_every_job_is_done_and_what_it_tells_comes_with_its_name(place: tuple[Workforce, Told]) -> None:
    force, told = place
    for number in range(5):
        force.submit(f"job {number}", echo, number)
    found = dict(force.finished())
    assert {name: result[0] for name, result in found.items()} == {f"job {n}": n for n in range(5)}
    assert sorted(told, key=str) == [(f"job {n}", Warning(f"echo {n}")) for n in range(5)]
    assert list(force.finished()) == []


def test_a_job_that_fails_gives_its_error_and_the_others_go_on(place: tuple[Workforce, Told]) -> None:
    force, _ = place
    force.submit("bad", refuse)
    force.submit("bug", stumble, "")
    force.submit("odd", stumble, "odd")
    force.submit("good", echo, 1)
    found = dict(force.finished())
    assert found["good"][0] == 1
    assert isinstance(found["bad"], InputError)
    assert (found["bad"].cause, found["bad"].remedy) == ("It cannot be read.", "Give another.")
    assert isinstance(found["bug"], ZeroDivisionError)
    assert "a bug" in str(found["odd"])


def test_a_finished_job_can_lead_to_another(place: tuple[Workforce, Told]) -> None:
    force, _ = place
    force.submit("0", echo, 0)
    seen = []
    for name, (number, _) in force.finished():
        seen.append(name)
        if number < 3:
            force.submit(str(number + 1), echo, number + 1)
    assert seen == ["0", "1", "2", "3"]


# In this process


def test_one_worker_is_this_process_and_keeps_the_order(tmp_path: Path) -> None:
    with gather_workers(None, 1, 0, silent, CancelToken(), tmp_path / "stop") as force:
        for number in range(4):
            force.submit(str(number), echo, number)
        assert list(force.finished()) == [(str(number), (number, os.getpid())) for number in range(4)]


def test_one_worker_needs_no_dask(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from TransferSegLib.workforce import *; "
        "from TransferSegLib.events import CancelToken\n"
        f"with gather_workers(None, 1, 0, print, CancelToken(), Path({str(tmp_path / 'stop')!r})) as force:\n"
        "    force.submit('1', lambda on_event, cancel: 2)\n"
        "    assert list(force.finished()) == [('1', 2)]\n"
        "assert not {'dask', 'distributed', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_a_stop_is_seen_before_each_job_and_within_it(tmp_path: Path) -> None:
    cancel = CancelToken()
    with gather_workers(None, 1, 0, silent, cancel, tmp_path / "stop") as force:
        for number in range(3):
            force.submit(str(number), echo, number)
        jobs = force.finished()
        assert next(jobs)[0] == "0"
        cancel.cancel()
        with pytest.raises(Cancelled):
            next(jobs)
    with gather_workers(None, 1, 0, lambda *_: cancel.cancel(), cancel, tmp_path / "stop") as force:
        force.submit("wait", wait, tmp_path, "wait")
        with pytest.raises(Cancelled):
            list(force.finished())


# In several processes


def test_several_workers_are_several_processes_with_their_share_of_threads(shared: tuple[Workforce, Told]) -> None:
    force, _ = shared
    for number in range(8):
        force.submit(str(number), echo, number)
    processes = {process for _, (_, process) in force.finished()}
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes
    force.submit("settings", settings)
    assert list(force.finished()) == [("settings", (1, 1))]


def test_a_bug_tells_where_it_happened(shared: tuple[Workforce, Told]) -> None:
    force, _ = shared
    force.submit("bug", stumble, "")
    ((_, error),) = force.finished()
    assert "in stumble" in "".join(error.__notes__)


def test_the_job_of_a_worker_that_was_lost_is_done_again(shared: tuple[Workforce, Told], tmp_path: Path) -> None:
    force, _ = shared
    force.submit("lost", die, tmp_path, 1)
    force.submit("good", echo, 1)
    found = dict(force.finished())
    assert found["lost"] == 2
    assert found["good"][0] == 1


def test_a_job_that_kills_every_worker_fails_and_the_others_go_on(
    shared: tuple[Workforce, Told], tmp_path: Path
) -> None:
    force, _ = shared
    force.submit("deadly", die, tmp_path, 100)
    for number in range(6):
        force.submit(str(number), echo, number)
    found = dict(force.finished())
    assert isinstance(found["deadly"], ResourceError)
    assert str(found["deadly"]) == (
        "4 workers died doing it, mostly because the memory was full. "
        "Use fewer workers at once, or machines with more memory."
    )
    assert [found[str(number)][0] for number in range(6)] == list(range(6))
    assert len(list(tmp_path.iterdir())) == 4


def test_a_stop_ends_running_jobs_by_themselves_and_keeps_what_they_give(tmp_path: Path) -> None:
    cancel, before, environment = CancelToken(), children(), dict(os.environ)
    stop = tmp_path / "new" / "stop"
    stop.parent.mkdir()
    stop.touch()  # left over from a run that was killed
    waiting = []

    def listen(name: str, event: Event) -> None:
        waiting.append(name)
        if len(waiting) == 2:
            cancel.cancel()

    with gather_workers(None, 2, 1, listen, cancel, stop) as force:
        assert not stop.exists()
        for name in ("done", "stopped", "third", "fourth"):
            force.submit(name, wait, tmp_path, name)
        jobs = force.finished()
        assert next(jobs) == ("done", "done")
        force.submit("more", wait, tmp_path, "more")
        with pytest.raises(Cancelled):
            next(jobs)
    assert {path.name for path in tmp_path.iterdir()} == {
        "new", "done begun", "done stopped", "stopped begun", "stopped stopped"
    }  # fmt: skip
    assert not stop.exists()
    assert children() <= before
    assert dict(os.environ) == environment


def test_a_job_that_does_not_hear_is_waited_for_no_longer_than_agreed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "GRACE_S", 0.5)
    cancel, before = CancelToken(), children()
    start = time.monotonic()
    with gather_workers(None, 2, 1, lambda *_: cancel.cancel(), cancel, tmp_path / "stop") as force:
        force.submit("deaf", sleep)
        with pytest.raises(Cancelled):
            list(force.finished())
    assert time.monotonic() - start < 30
    assert children() <= before


@pytest.mark.parametrize("moment", ["starting", "working"])
def test_ctrl_c_leaves_no_process_behind(moment: str, tmp_path: Path) -> None:
    """It reaches all processes of a terminal at once."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]!r}\n"
        "from pathlib import Path\n"
        "from worker_jobs import wait\n"
        "from TransferSegLib.workforce import gather_workers\n"
        "from TransferSegLib.terminal import Reporting, session\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "def main():\n"
        "    with session(Reporting()) as (on_event, cancel):\n"
        "        listen = lambda name, event: print(name, flush=True)\n"
        "        with gather_workers(None, 2, 1, listen, cancel, folder / 'stop') as force:\n"
        "            for name in 'abc': force.submit(name, wait, folder, name)\n"
        "            for _ in force.finished(): pass\n"
        "if __name__ == '__main__': main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    if moment == "working":  # two jobs have begun
        assert [process.stdout.readline() for _ in range(2)]
    while moment == "starting" and "spawn_main" not in group(process.pid):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=40)
    assert process.returncode == 3
    assert errors.strip() == "Error: Stopped on request."
    begun, stopped = ({path.name[0] for path in tmp_path.glob(f"? {what}")} for what in ("begun", "stopped"))
    assert begun == stopped
    assert begun == ({"a", "b"} if moment == "working" else set())
    assert group(process.pid) == ""


def group(number: int) -> str:
    """What the processes of a group are, but for those that have ended and wait for somebody to see it."""
    words = ["ps", "-A", "-ww", "-o", "pgid=,stat=,args="]  # however wide a terminal is
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split(None, 2) for line in lines]
    return "\n".join(args for found, state, args in rows if int(found) == number and not state.startswith("Z"))


def test_a_program_without_the_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]!r}\n"
        "from pathlib import Path\n"
        "from worker_jobs import CancelToken, silent\n"
        "from TransferSegLib.workforce import gather_workers\n"
        f"with gather_workers(None, 2, 1, silent, CancelToken(), Path({str(tmp_path / 'stop')!r})):\n"
        "    print('not reached')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=40)
    assert done.stdout == ""
    assert "the guard: if __name__ == '__main__'." in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("address", "workers"), [("", 2), ("tcp://127.0.0.1:9", 1)])
def test_without_dask_its_package_is_named(
    address: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(DependencyError, match=r'pip install "TransferSegLib\[study\]"'),
        gather_workers(address, workers, 0, silent, CancelToken(), tmp_path / "stop"),
    ):
        pass


# Parts


def test_as_many_workers_as_processors_memory_and_devices_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workforce, "processors", lambda: 8)
    monkeypatch.setattr(workforce, "_cuda_devices", lambda: 0)
    monkeypatch.setattr(workforce, "available_bytes", lambda: 64 * 2**30)
    assert [count_workers(0, threads) for threads in (0, 1, 2, 3, 16)] == [8, 8, 4, 2, 1]
    monkeypatch.setattr(workforce, "available_bytes", lambda: 6 * 2**30)
    assert count_workers(0, 2) == 2
    monkeypatch.setattr(workforce, "available_bytes", lambda: 2**30)
    assert count_workers(0, 0) == 1
    assert count_workers(5, 0) == 5  # the user knows better
    monkeypatch.setattr(workforce, "_cuda_devices", lambda: 3)
    assert count_workers(0, 0) == 3
    with pytest.raises(InputError, match="--workers cannot be -1"):
        count_workers(-1, 0)
