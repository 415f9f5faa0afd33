"""Worker: a command in a child process is followed, stopped and cleaned up after, whatever child and callbacks do."""

import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

import pytest
import qt
import slicer
from SlicerHost import faults
from SlicerHost.host import is_real_slicer
from SlicerHost.pace import watched
from TransferSegBridge import worker
from TransferSegBridge.outcome import Transcript

ROOT = Path(__file__).resolve().parents[2]
POSIX = os.name == "posix"

# What each child can use.
PRELUDE = """
import json, os, sys, time
CANCEL = sys.argv[sys.argv.index("--cancel-file") + 1]
def say(text): sys.stdout.write(text); sys.stdout.flush()
def tell(event, **values): say(json.dumps({"event": event, **values}) + "\\n")
def until_stopped():
    while not os.path.exists(CANCEL): time.sleep(0.01)
"""
WAIT_FOR_FILE = "tell('message', stage='a', text='ready'); until_stopped(); sys.exit(3)"
WAIT_FOR_EOF = "tell('message', stage='a', text='ready'); sys.stdin.read(); sys.exit(3)"


def child(code: str) -> list[str]:
    """A program that stands in for the command."""
    return [sys.executable, "-c", PRELUDE + code]


class Followed:
    """A worker with what it told. `finish` and `until` let the application run."""

    def __init__(self, code: str = "", arguments=(), program=None, onEvent=None) -> None:
        self.events, self.outcomes = [], []
        self._onEvent = onEvent
        program = program or (child(code) if code else None)
        self.worker = worker.Worker(list(arguments), self._take, self.outcomes.append, program)

    def _take(self, event) -> None:
        self.events.append(event)
        if self._onEvent is not None:
            self._onEvent(event)

    def start(self) -> "Followed":
        self.worker.start()
        return self

    def until(self, condition, limit_s: float = 120) -> "Followed":
        until(condition, limit_s)
        return self

    def ready(self) -> "Followed":
        return self.until(lambda: self.events or self.outcomes)

    def finish(self, limit_s: float = 120) -> worker.Outcome:
        self.until(lambda: self.outcomes, limit_s)
        return self.outcomes[0]


def until(condition, limit_s: float = 120) -> None:
    """Let the application run until something is the case."""
    loop, timer = qt.QEventLoop(), qt.QTimer()
    end = time.monotonic() + limit_s

    def look() -> None:
        if condition() or time.monotonic() > end:
            loop.quit()

    timer.connect("timeout()", look)
    timer.start(5)
    loop.exec()
    timer.stop()
    assert condition(), f"not within {limit_s} s"


def settle(seconds: float = 0.2) -> None:
    """Let the application run for a while."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end)


def longest_stand_still(run) -> float:
    """Seconds. The best of three: another program that takes the processor holds up the application too."""
    best = 1e9
    for _attempt in range(3):
        with watched() as pace:
            run()
        best = min(best, pace.longest_s)
        print(f"longest stand-still {1000 * pace.longest_s:.0f} ms in {pace.turns} turns")
        if best < 0.05:
            break
    return best


made: list[Path] = []


def folders() -> list[Path]:
    """The private folders of workers."""
    return [path for path in made if path.exists()]


@pytest.fixture(autouse=True)
def nothing_left_behind(monkeypatch: pytest.MonkeyPatch):
    """No worker and no folder outlives a test."""
    make = tempfile.mkdtemp

    def note(*arguments, **options) -> str:
        made.append(Path(make(*arguments, **options)))
        return str(made[-1])

    made.clear()
    monkeypatch.setattr(tempfile, "mkdtemp", note)
    yield
    alive = list(worker._living)
    for item in alive:
        item.stop()
        if item._process is not None:
            item._process.kill()
    until(lambda: not worker._living, 30)
    assert not [item for item in alive if item.running]
    assert folders() == []


class TestFollowing:
    def test_events_come_in_order_and_then_the_end_once(self) -> None:
        order = []
        program = child("for i in range(5): tell('progress', stage='a', step=i, of=4)\ntell('result', values={'a': 1})")
        item = worker.Worker([], lambda event: order.append(event.get("step")), order.append, program)
        item.start()
        until(lambda: item.outcome is not None)
        settle()
        assert order == [0, 1, 2, 3, 4, None, item.outcome]
        assert item.outcome.ok
        assert item.outcome.message == ""
        assert not item.outcome.cancelled

    def test_nothing_is_told_from_within_a_method(self) -> None:
        item = Followed("tell('message')").start()
        assert item.worker.running
        time.sleep(1)
        assert (item.events, item.outcomes, item.worker.outcome) == ([], [], None)
        assert item.finish() is item.worker.outcome
        assert not item.worker.running

    def test_before_the_start_it_does_not_run(self) -> None:
        item = Followed("pass")
        settle(0.1)
        assert not item.worker.running
        assert item.worker.outcome is None
        assert folders() == []

    def test_results_are_put_together(self) -> None:
        item = Followed("tell('result', values={'a': 1, 'b': 2})\ntell('result', values={'b': 3})").start()
        assert item.finish().result == {"a": 1, "b": 3}

    def test_waiting_lets_the_application_run(self) -> None:
        turns, timer = [], qt.QTimer()
        timer.connect("timeout()", lambda: turns.append(1))
        timer.start(1)
        item = Followed("time.sleep(0.3); tell('result', values={'a': 1})")
        assert item.worker.wait().result == {"a": 1}  # starts it too
        timer.stop()
        assert len(turns) > 20
        assert item.worker.wait() is item.outcomes[0]

    def test_the_arguments_come_before_the_options_of_following(self) -> None:
        item = Followed("tell('result', values={'argv': sys.argv[1:]})", ["segment", Path("x y") / "ä"]).start()
        *arguments, events, eof, cancel, _file = item.finish().result["argv"]
        assert arguments == ["segment", os.path.join("x y", "ä")]
        assert (events, eof, cancel) == ("--events", "--cancel-on-eof", "--cancel-file")

    def test_it_can_be_started_once(self) -> None:
        item = Followed("pass").start()
        with pytest.raises(RuntimeError, match="once"):
            item.worker.start()
        item.finish()
        with pytest.raises(RuntimeError, match="once"):
            item.worker.start()

    def test_several_run_at_once(self) -> None:
        started = time.monotonic()
        items = [Followed(f"time.sleep(1); tell('result', values={{'n': {n}}})").start() for n in range(4)]
        assert [item.finish().result["n"] for item in items] == [0, 1, 2, 3]
        alone = Followed("time.sleep(1)").start()
        together, started = time.monotonic() - started, time.monotonic()
        alone.finish()
        assert together < 4 + 4 * (time.monotonic() - started - 1)

    def test_one_that_starts_slowly_is_waited_for(self) -> None:
        item = Followed("time.sleep(3); tell('message')").start()
        settle(1)
        assert item.worker.running
        assert item.finish().ok
        assert len(item.events) == 1


class TestEnds:
    @pytest.mark.parametrize("code", [2, 3, 4])
    def test_an_error_is_told_with_its_remedy(self, code: int) -> None:
        item = Followed(f"tell('error', kind='k', cause='It is so.', remedy='Do that.', case='')\nsys.exit({code})")
        outcome = item.start().finish()
        assert outcome.code == code
        assert outcome.cancelled == (code == 3)
        assert outcome.errors == ({"kind": "k", "cause": "It is so.", "remedy": "Do that.", "case": ""},)
        assert outcome.message == "It is so. Do that."
        assert item.events[-1]["event"] == "error"

    def test_cases_that_failed_are_told_by_name(self) -> None:
        code = "for n in '12': tell('error', kind='input', cause='Cause '+n, remedy='', case='p'+n)\nsys.exit(1)"
        outcome = Followed(code).start().finish()
        assert (outcome.code, len(outcome.errors)) == (1, 2)
        assert outcome.message == "p2: Cause 2"

    @pytest.mark.parametrize("code", [2, 3, 4])
    def test_without_an_error_the_code_is_told(self, code: int) -> None:
        outcome = Followed(f"sys.exit({code})").start().finish()
        assert outcome.code == code
        assert outcome.message

    def test_each_end_has_its_own_words(self) -> None:
        messages = [worker.Outcome(code).message for code in (-1, 0, 1, 2, 3, 4)]
        assert messages[1] == ""
        assert len({*messages}) == 6

    def test_a_bug_in_the_command_is_no_failed_case(self) -> None:
        outcome = Followed("tell('message')\n1 / 0").start().finish()
        assert outcome.code == -1
        assert "ended unexpectedly: ZeroDivisionError: division by zero." in outcome.message
        assert outcome.log.startswith("Traceback")
        assert outcome.errors[-1]["kind"] == "crash"

    def test_a_bug_after_failed_cases_is_not_hidden_by_them(self) -> None:
        code = "tell('error', kind='input', cause='C', remedy='', case='p1')\nsys.exit(77)"
        outcome = Followed(code).start().finish()
        assert outcome.code == -1
        assert "unexpectedly" in outcome.message
        assert [error["case"] for error in outcome.errors] == ["p1", ""]

    @pytest.mark.skipif(not POSIX, reason="Windows has no such signal")
    @pytest.mark.parametrize("signal", [4, 9, 11])  # 4 is an exit code too
    def test_a_child_that_dies_of_a_signal_has_crashed(self, signal: int) -> None:
        item = Followed(f"tell('message'); os.kill(os.getpid(), {signal})").start()
        outcome = item.finish()
        assert outcome.code == -1
        assert "memory" in outcome.message
        assert len(item.events) == 1

    def test_a_program_that_is_missing_is_told_by_its_name(self, tmp_path) -> None:
        item = Followed(program=[str(tmp_path / "PythonSlicer")]).start()
        assert item.outcomes == []
        outcome = item.finish()
        assert outcome.code == -1
        assert f"{tmp_path / 'PythonSlicer'} could not be started" in outcome.message
        settle()
        assert len(item.outcomes) == 1

    def test_a_full_disk_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(**_options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tempfile, "mkdtemp", full)
        item = Followed("pass").start()
        assert item.outcomes == []
        assert "No space left on device" in item.finish().message

    def test_slicers_own_python_runs_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
        assert worker.pythonCommand()[0] == "/somewhere/PythonSlicer"
        monkeypatch.setattr(shutil, "which", lambda name: None)
        assert worker.pythonCommand()[0] == sys.executable


class TestOutput:
    def test_half_lines_are_kept_until_they_are_complete(self) -> None:
        code = (
            'for part in (\'{"ev\', \'ent": "message", "text": "a\', \'b"}\', \'\\n{"event": "end"}\'):\n'
            "    say(part); time.sleep(0.2)"
        )
        item = Followed(code).start()
        assert item.finish().ok
        assert item.events == [{"event": "message", "text": "ab"}, {"event": "end"}]  # the last without an end

    def test_what_is_no_event_goes_to_the_log(self) -> None:
        lines = ["words", '{"a": 1}', "[1]", "7", "{broken", '{"event": 5}', "", "\r"]
        code = (
            f"for line in {lines!r} + ['{{\"a\":' * 90000]: say(line + '\\n')\n"
            "os.write(1, b'\\xff\\xfe\\n'); tell('message')"
        )
        item = Followed(code).start()
        outcome = item.finish()
        assert outcome.ok
        assert item.events == [{"event": "message"}]
        assert '{"a":{"a":\n' in outcome.log
        assert outcome.log.endswith("\ufffd\ufffd")

    def test_values_of_the_wrong_kind_do_no_harm(self) -> None:
        code = "tell('result', values=5); tell('result'); tell('error', cause=None, case=7); sys.exit(2)"
        item = Followed(code).start()
        outcome = item.finish()
        assert len(item.events) == 3
        assert outcome.result == {}
        assert outcome.errors == ({"kind": "", "cause": "", "remedy": "", "case": "7"},)
        assert outcome.message == worker.Outcome(2).message

    def test_megabytes_without_a_line_end_are_not_kept(self) -> None:
        code = "say('x' * 5_000_000); sys.stderr.write('e' * 5_000_000); say('\\n'); tell('message')"

        def run() -> None:
            item = Followed(code).start()
            assert len(item.finish().log) < 100_000
            assert len(item.events) == 1

        assert longest_stand_still(run) < 0.1

    def test_a_line_that_never_ends_does_not_fill_the_memory(self) -> None:
        transcript = Transcript()
        for _piece in range(10):
            transcript.feed(b"x" * 300_000)
            assert len(list(transcript.lines())) <= 1
        assert len(transcript._output) < 2_000_000
        transcript.feed(b'\n{"event": "message"}\n')
        assert list(transcript.lines())[-1] == {"event": "message"}

    def test_standard_error_is_the_log_in_any_alphabet(self) -> None:
        code = "os.write(2, 'Fälle: \u4e2d\\n'.encode()); time.sleep(0.2); os.write(2, b'\\n\\nlast\\n'); sys.exit(4)"
        assert Followed(code).start().finish().log == "Fälle: \u4e2d\nlast"

    def test_ten_thousand_events_do_not_hold_up_the_application(self) -> None:
        code = "for i in range(10000): tell('progress', stage='train', step=i, of=10000, eta_s=1.5, detail='epoch')"

        def run() -> None:
            item = Followed(code).start()
            assert item.finish().ok
            assert [event["step"] for event in item.events] == list(range(10000))

        assert longest_stand_still(run) < 0.1

    def test_nor_do_slow_callbacks(self) -> None:
        def run() -> None:
            item = Followed("for i in range(300): tell('progress', step=i)", onEvent=lambda event: time.sleep(0.005))
            assert item.start().finish().ok
            assert len(item.events) == 300

        assert longest_stand_still(run) < 0.1


class TestStopping:
    @pytest.mark.parametrize("code", [WAIT_FOR_FILE, WAIT_FOR_EOF], ids=["file", "input"])
    def test_it_is_asked_by_a_file_and_by_the_end_of_its_input(self, code: str) -> None:
        item = Followed(code).start().ready()
        started = time.monotonic()
        item.worker.stop()
        assert time.monotonic() - started < 0.05
        assert item.worker.running
        assert item.finish().cancelled
        assert item.worker.outcome.message == "Stopped on request."

    def test_its_input_stays_open_until_then(self) -> None:
        item = Followed("import select\ntell('result', values={'closed': bool(select.select([0], [], [], 0.5)[0])})")
        if not POSIX:
            pytest.skip("Windows cannot select")
        assert item.start().finish().result == {"closed": False}

    def test_twice_is_harmless(self) -> None:
        item = Followed(WAIT_FOR_FILE).start().ready()
        item.worker.stop()
        item.worker.stop()
        assert item.finish().cancelled
        settle()
        assert len(item.outcomes) == 1

    @pytest.mark.parametrize("code", [WAIT_FOR_FILE, WAIT_FOR_EOF], ids=["file", "input"])
    def test_right_after_the_start(self, code: str) -> None:
        item = Followed(code).start()
        item.worker.stop()
        assert item.finish().cancelled

    def test_before_the_start_nothing_is_run(self, tmp_path) -> None:
        item = Followed(f"open({str(tmp_path / 'ran')!r}, 'w')")
        item.worker.stop()
        assert item.outcomes == []
        item.start()
        assert item.outcomes == []
        assert item.finish().cancelled
        assert not (tmp_path / "ran").exists()

    def test_after_the_end_nothing_changes(self) -> None:
        item = Followed("pass").start()
        outcome = item.finish()
        item.worker.stop()
        settle()
        assert item.outcomes == [outcome]
        assert outcome.ok

    def test_in_a_callback(self) -> None:
        item = Followed(WAIT_FOR_FILE, onEvent=lambda event: item.worker.stop()).start()
        assert item.finish().cancelled

    def test_what_is_done_all_the_same_is_done(self) -> None:
        item = Followed("tell('message'); until_stopped(); tell('result', values={'a': 1})").start().ready()
        item.worker.stop()
        outcome = item.finish()
        assert outcome.ok
        assert outcome.result == {"a": 1}

    def test_a_crash_on_the_way_out_is_still_a_stop(self) -> None:
        item = Followed("tell('message'); until_stopped(); 1 / 0").start().ready()
        item.worker.stop()
        assert item.finish().cancelled
        assert "ZeroDivisionError" in item.worker.outcome.log

    def test_one_that_does_not_listen_is_killed_in_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker, "KILL_AFTER_S", 1)
        item = Followed("tell('message'); time.sleep(60)").start().ready()
        started = time.monotonic()
        item.worker.stop()
        assert item.finish().cancelled
        assert 0.9 < time.monotonic() - started < 20

    def test_all_at_once(self) -> None:
        items = [Followed(WAIT_FOR_FILE).start().ready() for _number in range(3)]
        worker.Worker.stopAll()
        assert all(item.finish().cancelled for item in items)
        worker.Worker.stopAll()


class TestCallbacks:
    CODE = "for i in range(3): tell('progress', step=i)"

    def test_an_error_in_one_stops_nothing(self) -> None:
        code = """say("".join(json.dumps({"event": "progress", "step": i}) + "\\n" for i in range(20)))"""
        with faults.expected():
            item = Followed(code, onEvent=lambda event: 1 / 0).start()
            assert item.finish().ok
            settle()
        assert [event["step"] for event in item.events] == list(range(20))
        assert len(item.outcomes) == 1

    def test_an_error_at_the_end_leaves_nothing_behind(self) -> None:
        ends = []

        def fail(outcome) -> None:
            ends.append(outcome)
            raise ValueError("in the callback")

        with faults.expected():
            item = worker.Worker([], onFinished=fail, program=child(self.CODE))
            assert item.wait().ok
            settle()
        assert ends == [item.outcome]

    def test_one_that_lets_the_application_run_is_not_called_within_itself(self) -> None:
        depth, deepest = 0, 0

        def callback(event) -> None:
            nonlocal depth, deepest
            depth += 1
            deepest = max(deepest, depth)
            for _turn in range(20):
                slicer.app.processEvents()
                time.sleep(0.001)
            depth -= 1

        item = Followed("for i in range(50): tell('progress', step=i)", onEvent=callback).start()
        assert item.finish().ok
        assert deepest == 1
        assert [event["step"] for event in item.events] == list(range(50))

    def test_one_that_waits_for_its_own_worker_is_told_so(self) -> None:
        told = []

        def callback(event) -> None:
            try:
                item.worker.wait()
            except RuntimeError as error:
                told.append(str(error))

        item = Followed(self.CODE, onEvent=callback).start()
        assert item.finish().ok
        assert len(told) == 3

    def test_the_last_one_may_start_the_next_and_wait_for_it(self) -> None:
        codes = []

        def next_one(outcome) -> None:
            codes.append(outcome.code)
            codes.append(worker.Worker([], program=child("sys.exit(4)")).wait().code)

        worker.Worker([], onFinished=next_one, program=child("sys.exit(2)")).start()
        until(lambda: len(codes) == 2)
        assert codes == [2, 4]

    def test_nobody_needs_to_listen(self) -> None:
        assert worker.Worker([], program=child(self.CODE)).wait().ok


class TestLife:
    def test_one_that_nobody_keeps_runs_to_its_end(self) -> None:
        ends = []
        worker.Worker([], onFinished=ends.append, program=child("time.sleep(0.5)")).start()
        for _turn in range(5):
            gc.collect()
            settle(0.05)
        until(lambda: ends)
        assert ends[0].ok

    def test_one_that_has_ended_is_forgotten(self) -> None:
        item = worker.Worker([], program=child("pass"))
        reference = weakref.ref(item)
        item.wait()
        settle()
        del item
        gc.collect()
        assert reference() is None

    def test_its_folder_is_private_and_goes_with_it(self) -> None:
        item = Followed(WAIT_FOR_FILE).start().ready()
        (folder,) = folders()
        assert folder.parent == Path(slicer.app.temporaryPath)
        if POSIX:
            assert folder.stat().st_mode & 0o077 == 0
        item.worker.stop()
        item.finish()
        assert folders() == []

    def test_one_goes_on_while_its_module_is_loaded_anew(self) -> None:
        item = Followed(WAIT_FOR_FILE).start().ready()
        importlib.reload(worker)
        gc.collect()
        settle()
        assert item.worker.running
        worker.Worker.stopAll()
        assert item.finish().cancelled


class TestLauncher:
    """Slicer's Python is a launcher: another process between the application and the command."""

    LAUNCHER = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {code!r}, *sys.argv[1:]]))"

    def program(self, code: str) -> list[str]:
        return [sys.executable, "-c", self.LAUNCHER.format(code=PRELUDE + code)]

    @pytest.mark.parametrize("code", [WAIT_FOR_FILE, WAIT_FOR_EOF], ids=["file", "input"])
    def test_what_is_asked_reaches_the_command(self, code: str) -> None:
        item = Followed(program=self.program(code)).start().ready()
        item.worker.stop()
        assert item.finish().cancelled

    @pytest.mark.skipif(not POSIX, reason="Windows has no such signal")
    def test_a_crash_behind_it_is_a_crash(self) -> None:
        # As Slicer's launcher ends then.
        item = Followed(program=self.program("os.kill(os.getpid(), 9)")).start()
        assert item.finish().code == -1

    @pytest.mark.parametrize("stopped", [False, True])
    def test_when_it_dies_the_command_ends_too(self, tmp_path, stopped: bool) -> None:
        code = f"tell('message'); sys.stdin.read(); open({str(tmp_path / 'ended')!r}, 'w').close()"
        item = Followed(program=self.program(code)).start().ready()
        item.worker._process.kill()
        if stopped:
            item.worker.stop()
        assert item.finish().code == (3 if stopped else -1)
        until((tmp_path / "ended").exists)


class TestQuitting:
    """As when the application quits and yet goes on: a script that had no event loop of its own."""

    @pytest.fixture(autouse=True)
    def impatience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker, "_QUIT_S", 0.1)

    def test_the_end_is_told_once_even_if_the_process_ends_later(self) -> None:
        item = (
            Followed("tell('message'); until_stopped(); time.sleep(0.5); tell('late'); time.sleep(0.3)").start().ready()
        )
        item.worker._onQuit()
        assert [outcome.code for outcome in item.outcomes] == [3]
        assert not item.worker.running
        settle(2)
        assert len(item.outcomes) == 1
        assert len(item.events) == 1  # nothing after the end

    def test_what_was_said_until_then_is_told_in_spite_of_errors(self) -> None:
        code = "tell('message'); until_stopped(); tell('a'); tell('result', values={'b': 1})"
        item = Followed(code, onEvent=lambda event: 1 / (event["event"] != "a")).start().ready()
        worker._QUIT_S = 30
        item.worker._onQuit()
        assert [event["event"] for event in item.events] == ["message", "a", "result"]
        assert item.outcomes[0].ok
        assert item.outcomes[0].result == {"b": 1}

    def test_who_waits_is_told(self) -> None:
        item = Followed("tell('message'); until_stopped(); sys.exit(3)")
        qt.QTimer.singleShot(1500, lambda: [loop.quit() for loop in item.worker._loops])
        assert item.worker.wait().cancelled


# Starts a child, says so, and goes on with END. Arguments: program as JSON, file for the outcome.
APPLICATION = """
import json, sys
sys.path[:0] = {paths!r}
import qt, slicer
from TransferSegBridge.worker import Worker
def onFinished(outcome):
    with open({out!r}, "w") as file: file.write(str(outcome.code))
def onEvent(event):
    open({ready!r}, "w").close()
    {end}
worker = Worker([], onEvent, onFinished, {program!r})
worker.start()
"""


class TestEndOfTheApplication:
    """Another application of the same kind, so that it can be ended."""

    CHILD = "tell('message'); sys.stdin.read(); time.sleep({delay}); open({ended!r}, 'w').close()"

    @pytest.fixture
    def begin(self, tmp_path):
        started = []

        def begin(end: str, delay: float = 0.2) -> subprocess.Popen:
            program = child(self.CHILD.format(delay=delay, ended=str(tmp_path / "ended")))
            paths = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "TransferSeg")]
            script = tmp_path / "script.py"
            names = {name: str(tmp_path / name) for name in ("out", "ready")}
            script.write_text(APPLICATION.format(paths=paths, end=end, program=program, **names), "utf-8")
            temporary = tmp_path / "temporary"
            temporary.mkdir()
            if is_real_slicer():
                launcher = slicer.app.launcherExecutableFilePath
                command = [launcher if os.path.exists(launcher) else slicer.app.applicationFilePath()]
            else:
                command = [sys.executable, "-m", "SlicerHost"]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([paths[1], os.environ.get("PYTHONPATH", "")])}
            environment |= {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
            options = ["--testing", "--no-splash", "--no-main-window", "--python-script", str(script)]
            if not is_real_slicer():
                options.remove("--testing")
            with open(tmp_path / "log", "wb") as log:
                started.append(subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log))
            return started[0]

        yield begin
        if started:
            started[0].kill()
            started[0].wait()

    def wait_for(self, path: Path) -> None:
        end = time.monotonic() + 120
        while not path.exists():
            assert time.monotonic() < end, (path.parent / "log").read_text(errors="replace")
            time.sleep(0.05)

    @pytest.mark.parametrize("delay", [0.2, 6], ids=["soon", "late"])
    def test_a_command_is_stopped_when_it_quits(self, begin, tmp_path, delay: float) -> None:
        application = begin("slicer.util.exit(0)", delay)
        self.wait_for(tmp_path / "ready")
        application.wait(60)
        self.wait_for(tmp_path / "out")
        assert (tmp_path / "out").read_text() in ("0", "3")
        assert not list((tmp_path / "temporary").rglob("TransferSeg-*"))
        if delay < 1:
            self.wait_for(tmp_path / "ended")

    def test_a_command_is_stopped_when_it_is_killed(self, begin, tmp_path) -> None:
        application = begin("pass")
        self.wait_for(tmp_path / "ready")
        application.kill()
        self.wait_for(tmp_path / "ended")


class TestTheCommand:
    """TransferSegLib itself."""

    SIMULATE = ("simulate", "--spacing", "6", "--jobs", "1", "--threads", "1", "--out")

    def test_it_runs_from_any_folder_into_one_of_any_name(self, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        out = tmp_path / "Fälle \u4e2d"
        item = Followed(arguments=[*self.SIMULATE, out, "--cases", "1"]).start()
        outcome = item.finish(400)
        assert outcome.message == ""
        assert outcome.result == {"patients": 1, "folder": str(out)}
        assert {event["event"] for event in item.events} == {"progress", "result"}
        assert len(list(out.rglob("*.nii.gz"))) == 5

    def test_relative_paths_are_of_the_current_folder_whose_modules_are_not_taken(self, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("random.py", "TransferSegLib.py"):
            (tmp_path / name).write_text("raise SystemExit('the wrong one')")
        outcome = Followed(arguments=[*self.SIMULATE, "out", "--cases", "2", "--jobs", "2"]).start().finish(400)
        assert outcome.message == ""
        assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 10

    def test_it_is_stopped_on_its_way(self, tmp_path) -> None:
        item = Followed(arguments=[*self.SIMULATE, tmp_path / "out", "--cases", "500"]).start()
        item.until(lambda: item.events or item.outcomes, 400)
        item.worker.stop()
        outcome = item.finish(400)
        assert outcome.cancelled
        assert outcome.message == "Stopped on request."
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]

    def test_it_is_stopped_while_it_still_starts(self, tmp_path) -> None:
        item = Followed(arguments=[*self.SIMULATE, tmp_path / "out", "--cases", "500"]).start()
        item.worker.stop()
        assert item.finish(400).cancelled

    def test_bad_input_is_refused_in_its_own_words(self, tmp_path) -> None:
        outcome = Followed(arguments=["simulate", "--disease", "x", "--out", tmp_path]).start().finish(400)
        assert outcome.code == 2
        assert outcome.errors[0]["kind"] == "input"
        assert outcome.message == f"{outcome.errors[0]['cause']} {outcome.errors[0]['remedy']}"

    def test_a_command_that_does_not_exist_is_told_in_the_log(self) -> None:
        outcome = Followed(arguments=["nonsense"]).start().finish(400)
        assert outcome.code == 2
        assert "nonsense" in outcome.log


def test_events_are_those_of_the_library() -> None:
    """What the worker reads by name."""
    from TransferSegLib.events import Failure, Result

    assert json.loads(Result({"a": 1}).to_json()) == {"event": "result", "values": {"a": 1}}
    assert set(json.loads(Failure("k", "c", "r").to_json())) == {"event", "kind", "cause", "remedy", "case"}
