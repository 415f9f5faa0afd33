"""How the command talks: JSON lines or text, exit codes, ways to stop it, and tables that fit the terminal."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from TransferSegLib import terminal
from TransferSegLib.errors import Cancelled, InputError, ModelError, ResourceError, TransferSegError
from TransferSegLib.events import Event, Failure, Message, Metric, Progress, Result, Warning
from TransferSegLib.terminal import Reporting, print_table, session

ROOT = Path(terminal.__file__).parents[1]
TEXT, LINES = Reporting(), Reporting(events=True)

EVERY_KIND = (
    Message("plan", "What will be done."),
    Progress("train", 1, 4, 2.5, "epoch 1/4"),
    Metric("train", 1, {"loss": 0.5, "dice_whole": float("nan")}),
    Warning("It is nearly empty.", "p1"),
    Failure("input", "It is broken.", "Mend it.", "p2"),
    Result({"model": Path("a"), "best_epoch": 3, "cancelled": False}),
)


def tell(*events: Event, reporting: Reporting = TEXT) -> None:
    with session(reporting) as (on_event, _):
        for event in events:
            on_event(event)


def plain(text: str) -> str:
    """Without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_terminal(monkeypatch, 120)


def fake_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Make rich take the captured standard error for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))


class TestLines:
    def test_every_event_is_a_line_of_ascii_json_on_standard_output(self, capsys: pytest.CaptureFixture[str]) -> None:
        tell(*EVERY_KIND, Message("plan", "Fälle"), reporting=LINES)
        shown = capsys.readouterr()
        assert shown.err == ""
        assert shown.out.isascii()
        found = [json.loads(line)["event"] for line in shown.out.splitlines()]
        assert found == ["message", "progress", "metric", "warning", "error", "result", "message"]

    def test_an_error_is_such_a_line_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit), session(LINES):
            raise InputError("It is broken.", "Mend it.")
        shown = capsys.readouterr()
        assert json.loads(shown.out) == {
            "event": "error",
            "kind": "input",
            "cause": "It is broken.",
            "remedy": "Mend it.",
            "case": "",
        }
        assert shown.err == ""


class TestText:
    def test_results_go_to_standard_output_and_all_else_to_standard_error(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tell(*EVERY_KIND)
        shown = capsys.readouterr()
        assert shown.out.splitlines() == ["model       a", "best epoch  3", "cancelled   no"]
        lines = shown.err.splitlines()
        assert lines[0] == "What will be done."
        assert "Warning: p1: It is nearly empty." in lines
        at = lines.index("Error: p2: It is broken.")
        assert lines[at + 1] == "       Mend it."
        assert "[" not in shown.err

    def test_brackets_in_what_is_said_stay_as_they_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        tell(Message("plan", "[red] is a [/red] word [1]"), Warning("[bold]", "[x]"), Result({"a[b]": "[c]"}))
        shown = capsys.readouterr()
        assert shown.err.splitlines() == ["[red] is a [/red] word [1]", "Warning: [x]: [bold]"]
        assert shown.out == "a[b]  [c]\n"

    def test_an_error_is_told_with_its_remedy_and_without_a_traceback(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit), session(TEXT):
            raise InputError("It is broken.", "Mend it.")
        assert capsys.readouterr().err.splitlines() == ["Error: It is broken.", "       Mend it."]

    def test_an_error_without_remedy_takes_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit), session(TEXT):
            raise Cancelled()
        assert capsys.readouterr().err.splitlines() == ["Error: Stopped on request."]

    def test_in_a_file_lines_are_as_long_as_they_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        long = "word " * 60 + "end"
        tell(Message("plan", long), Warning(long))
        assert capsys.readouterr().err.splitlines() == [long, f"Warning: {long}"]

    def test_a_file_ends_with_the_bars_on_lines_of_their_own(self, capsys: pytest.CaptureFixture[str]) -> None:
        tell(Progress("prepare", 2, 2), Progress("train", 3, 4), Result({"model": "a"}))
        shown = capsys.readouterr()
        assert [line.split()[0] for line in shown.err.splitlines()] == ["prepare", "train"]
        assert shown.err.endswith("\n")

    def test_on_a_terminal_lines_break_between_words_and_paths_stay_whole(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake_terminal(monkeypatch, 40)
        path = "/a/very/long/path/that/is/wider/than/the/terminal.nii.gz"
        tell(Warning(f"One two three four five six seven {path} is nearly empty.", "p1"), Message("plan", "a\n b"))
        assert plain(capsys.readouterr().err).splitlines() == [
            "Warning: p1: One two three four five six",
            "         seven",
            f"         {path}",
            "         is nearly empty.",
            "a",
            " b",
        ]


class TestMetrics:
    @staticmethod
    def rows(text: str) -> list[int]:
        return [int(line.split()[0]) for line in plain(text).splitlines() if re.match(r"\s*\d+ ", line)]

    @staticmethod
    def train(epochs: int, stop: int | None = None) -> None:
        with session(TEXT) as (on_event, _):
            for epoch in range(1, (stop or epochs) + 1):
                on_event(Progress("train", 3 * epoch, 3 * epochs, None, f"epoch {epoch}/{epochs}"))
                on_event(Metric("train", epoch, {"loss": 1 / epoch, "dice_whole": 1 - 1 / epoch}))

    def test_they_are_a_table_lined_up_under_one_header(self, capsys: pytest.CaptureFixture[str]) -> None:
        tell(
            Metric("train", 1, {"loss": 1.23456, "learning_rate": 0.00012345, "pr_auc": 0.5}),
            Metric("train", 100, {"loss": 0.0, "learning_rate": 3e-7, "pr_auc": float("nan")}),
        )
        assert capsys.readouterr().err.splitlines() == [
            "epoch      loss  learning rate    pr auc",
            "    1      1.23       0.000123     0.500",
            "  100      0.00       3.00e-07       nan",
        ]

    def test_other_metrics_get_another_header(self, capsys: pytest.CaptureFixture[str]) -> None:
        tell(Metric("train", 1, {"loss": 1.0}), Metric("train", 1, {"dice": 1.0}), Metric("train", 2, {"dice": 1.0}))
        assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["epoch", "1", "epoch", "1", "2"]

    def test_a_short_run_shows_every_epoch(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.train(20)
        assert self.rows(capsys.readouterr().err) == list(range(1, 21))

    @pytest.mark.parametrize("epochs", [50, 300, 5000])
    def test_a_long_run_does_not_flood_the_terminal(self, capsys: pytest.CaptureFixture[str], epochs: int) -> None:
        self.train(epochs)
        shown = self.rows(capsys.readouterr().err)
        assert len(shown) == 21
        assert (shown[0], shown[-1]) == (1, epochs)
        assert max(after - before for before, after in itertools.pairwise(shown)) <= epochs / 20 + 1

    @pytest.mark.usefixtures("wide_terminal")
    def test_the_newest_values_stand_above_the_bar_until_the_end(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.train(1000, stop=37)
        lines = plain(capsys.readouterr().err).splitlines()
        assert lines[-2].split() == ["37", "0.0270", "0.973"]
        assert lines[-1].startswith("train ")
        assert "111/3000" in lines[-1]
        assert lines[-1].rstrip().endswith("epoch 37/1000")


@pytest.mark.usefixtures("wide_terminal")
class TestBars:
    def test_each_stage_has_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        tell(Progress("prepare", 0, 5), Progress("prepare", 5, 5), Progress("train", 1, 10, None, "epoch 1/5"))
        prepare, train = plain(capsys.readouterr().err).splitlines()[-2:]
        assert prepare.startswith("prepare ")
        assert "5/5" in prepare
        assert train.startswith("train ")
        assert "1/10" in train
        assert "epoch 1/5" in train

    def test_they_fit_into_eighty_columns(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake_terminal(monkeypatch, 80)
        tell(Progress("pre-train", 1999, 20000, None, "epoch 1999/20000"), Progress("last-three", 1, 2))
        lines = plain(capsys.readouterr().err).splitlines()[-2:]
        assert all(len(line.rstrip()) <= 80 for line in lines)
        assert "epoch 1999/20000" in lines[0]

    def test_without_progress_there_are_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        tell(Message("plan", "Only words."))
        assert plain(capsys.readouterr().err) == "Only words.\n"


class TestExitCodes:
    @pytest.mark.parametrize("reporting", [TEXT, LINES])
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (InputError("a"), 2),
            (ModelError("a"), 2),
            (Cancelled(), 3),
            (ResourceError("a"), 4),
            (MemoryError(), 4),
            (TransferSegError("a"), 1),
        ],
    )
    def test_each_kind_of_error_has_its_own(self, error: Exception, code: int, reporting: Reporting) -> None:
        with pytest.raises(SystemExit) as caught, session(reporting):
            raise error
        assert caught.value.code == code

    def test_a_bug_shows_its_traceback(self) -> None:
        with pytest.raises(ZeroDivisionError), session(TEXT):
            1 / 0  # noqa: B018

    def test_a_full_memory_is_told_with_a_remedy(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit), session(TEXT):
            raise MemoryError
        assert capsys.readouterr().err.splitlines() == [
            "Error: The memory is full.",
            "       Close other programs, or use a coarser --spacing.",
        ]


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_asks_and_the_second_one_stops(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)
        with session(TEXT) as (_, cancel):
            assert not cancel.cancelled
            os.kill(os.getpid(), number)
            assert cancel.cancelled
            assert signal.getsignal(number) is before
        assert signal.getsignal(number) is before

    def test_signals_are_as_before_after_an_error(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit), session(TEXT):
            raise InputError("a")
        assert signal.getsignal(signal.SIGINT) is before

    def test_a_session_in_another_thread_leaves_signals_alone(self) -> None:
        done: list[bool] = []

        def work() -> None:
            with session(TEXT) as (_, cancel):
                done.append(cancel.cancelled)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert done == [False]

    def test_the_cancel_file_stops(self, tmp_path: Path) -> None:
        with session(Reporting(cancel_file=str(tmp_path / "stop"))) as (_, cancel):
            assert not cancel.cancelled
            (tmp_path / "stop").touch()
            assert cancel.cancelled


def run_session(
    code: str, reporting: str = "cancel_on_eof=True", after: str = "", grace_s: float = 60
) -> subprocess.Popen[str]:
    """A process of its own: ``code`` in a session, then what comes ``after`` it."""
    lines = (
        "import sys, threading, time",
        "from TransferSegLib import terminal",
        "from TransferSegLib.terminal import Reporting, session",
        f"terminal.GRACE_S = {grace_s}",
        f"with session(Reporting({reporting})) as (on_event, cancel):",
        *(f"    {line}" for line in code.splitlines()),
        after,
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    pipe = subprocess.PIPE
    # With buffers, as a user has them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
    )


class TestStandardInput:
    def test_stops_when_it_is_closed(self) -> None:
        process = run_session("print('ready', flush=True)\nwhile not cancel.cancelled: time.sleep(0.01)\nprint('done')")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.communicate(timeout=30) == ("done\n", "")  # closes it
        assert process.returncode == 0

    def test_does_not_stop_while_it_is_open_whatever_is_written(self) -> None:
        process = run_session("sys.stdout.flush(); time.sleep(0.3); print(cancel.cancelled, flush=True)")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == "False\n"
        process.communicate(timeout=30)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_child_that_a_library_forks_does_not_hang_while_it_is_open(self) -> None:
        # OpenVINO does so when Python ends. A reader that held the lock of sys.stdin made both wait for ever.
        process = run_session(
            "import multiprocessing\n"
            "time.sleep(0.2)\n"
            "child = multiprocessing.get_context('fork').Process(target=print, args=('child',))\n"
            "child.start(); child.join(10); print(child.exitcode, flush=True)\n"
            "child.kill()"
        )
        assert process.stdout is not None
        assert process.stdout.readline() in ("child\n", "0\n")
        assert process.stdout.readline() in ("child\n", "0\n")
        assert process.wait(timeout=30) == 0
        process.communicate()

    def test_a_program_that_is_started_meanwhile_has_nothing_to_wait_for(self) -> None:
        process = run_session(
            "import subprocess\n"
            "reader = [sys.executable, '-c', 'import sys; print(repr(sys.stdin.read()))']\n"
            "print(subprocess.run(reader, capture_output=True, text=True, timeout=20).stdout, flush=True)"
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "''\n"
        assert process.communicate(timeout=30)[1] == ""
        assert process.returncode == 0

    def test_a_command_that_is_stuck_is_ended_after_a_grace(self) -> None:
        process = run_session("print('stuck', flush=True); time.sleep(60)", grace_s=0.3)
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        time.sleep(1)
        assert process.poll() is None  # as long as the input is open
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 3

    def test_the_processes_that_it_started_end_with_it(self) -> None:
        process = run_session(
            "import multiprocessing\n"
            "child = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(60,))\n"
            "child.start()\n"
            "print('stuck', flush=True); time.sleep(60)",
            grace_s=0.3,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.communicate(timeout=30)  # which ends when the last process has closed its output
        assert process.returncode == 3

    def test_a_command_that_takes_less_than_the_grace_to_stop_ends_by_itself(self) -> None:
        process = run_session(
            "while not cancel.cancelled: time.sleep(0.01)\ntime.sleep(0.5); print('done')", grace_s=20
        )
        assert process.communicate(timeout=30) == ("done\n", "")
        assert process.returncode == 0

    def test_what_a_process_does_after_the_command_is_not_cut_short(self) -> None:
        process = run_session("pass", after="time.sleep(1); print('alive')", grace_s=0.2)
        assert process.communicate(timeout=30) == ("alive\n", "")
        assert process.returncode == 0

    def test_a_process_that_hangs_on_its_way_out_is_ended_too(self) -> None:
        process = run_session("threading.Thread(target=time.sleep, args=(60,)).start()", grace_s=0.3)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 3

    def test_without_the_option_nothing_happens_when_it_is_closed(self) -> None:
        process = run_session("time.sleep(0.3); print(cancel.cancelled)", "")
        assert process.communicate(timeout=30)[0] == "False\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_when_the_reader_has_gone_the_command_ends_quietly() -> None:
    process = run_session(
        "from TransferSegLib.events import Message\nfor _ in range(100000): on_event(Message('a', 'b' * 100))",
        "events=True",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 3


class TestThreads:
    def test_their_number_is_taken_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        seen: list[int] = []
        monkeypatch.setattr(torch, "set_num_threads", seen.append)
        with session(Reporting(threads=3)):
            pass
        with session(Reporting()):
            pass
        assert seen == [3]

    def test_a_number_that_makes_no_sense_is_bad_input(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught, session(Reporting(threads=-1)):
            pytest.fail("not reached")
        assert caught.value.code == 2
        assert capsys.readouterr().err.splitlines() == [
            "Error: --threads cannot be -1.",
            "       Give 1 or more, or 0 for all.",
        ]


class TestTable:
    ROWS = (["region", "dice", "volume"], ["whole", "0.9", "1234.5"], ["core", "", "2"])

    def show(self, capsys: pytest.CaptureFixture[str], prose: bool = False) -> list[str]:
        print_table([list(row) for row in self.ROWS], prose)
        return capsys.readouterr().out.splitlines()

    @pytest.fixture
    def terminal_of(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        def make(columns: int) -> None:
            monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
            monkeypatch.setenv("COLUMNS", str(columns))

        return make

    def test_columns_are_lined_up_under_a_header(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.show(capsys) == [
            "region  dice  volume",
            "------  ----  ------",
            "whole   0.9   1234.5",
            "core          2",
        ]

    def test_what_fits_stays_one_table(
        self, capsys: pytest.CaptureFixture[str], terminal_of: Callable[[int], None]
    ) -> None:
        terminal_of(20)
        assert len(self.show(capsys)) == 4

    def test_what_is_too_wide_comes_as_two_tables_that_both_name_the_rows(
        self, capsys: pytest.CaptureFixture[str], terminal_of: Callable[[int], None]
    ) -> None:
        terminal_of(19)
        assert self.show(capsys) == [
            "region  dice",
            "------  ----",
            "whole   0.9",
            "core",
            "",
            "region  volume",
            "------  ------",
            "whole   1234.5",
            "core    2",
        ]

    def test_a_terminal_narrower_than_a_column_still_gets_each_column_once(
        self, capsys: pytest.CaptureFixture[str], terminal_of: Callable[[int], None]
    ) -> None:
        terminal_of(3)
        assert [line for line in self.show(capsys) if "region" in line] == ["region  dice", "region  volume"]

    def test_sentences_in_the_last_column_are_broken_between_words(
        self, capsys: pytest.CaptureFixture[str], terminal_of: Callable[[int], None]
    ) -> None:
        terminal_of(30)
        print_table([["name", "title"], ["a", "one two three four five six seven eight"], ["b", ""]], prose=True)
        assert capsys.readouterr().out.splitlines() == [
            "name  title",
            "----  ------------------------",
            "a     one two three four five",
            "      six seven eight",
            "b",
        ]


def test_reporting_explains_each_option() -> None:
    for item in Reporting.__dataclass_fields__.values():
        assert item.metadata["help"].endswith("."), item.name
