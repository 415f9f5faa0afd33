"""Events: what a long function tells, as one ASCII line of JSON, and how it is stopped."""

import json
import threading
import time
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from TransferSegLib.errors import Cancelled, InputError, ResourceError
from TransferSegLib.events import (
    CancelToken,
    Clock,
    Event,
    Failure,
    Message,
    Metric,
    Planned,
    Preview,
    Progress,
    Result,
    Warning,
    ignore,
    track,
)


class TestJson:
    @pytest.mark.parametrize(
        ("event", "expected"),
        [
            (
                Progress("train", 120, 4000, 812.0),
                {"event": "progress", "stage": "train", "step": 120, "of": 4000, "eta_s": 812.0, "detail": ""},
            ),
            (
                Progress("train", 0, 3),
                {"event": "progress", "stage": "train", "step": 0, "of": 3, "eta_s": None, "detail": ""},
            ),
            (
                Metric("train", 2, {"dice": 0.5}),
                {"event": "metric", "stage": "train", "step": 2, "values": {"dice": 0.5}},
            ),
            (
                Planned(
                    "all", {"training": 3, "validation": 1}, 10, 4, 1.25, float("inf"), "cpu", "bfloat16", (1, 1, 3), 5
                ),
                {
                    "event": "plan",
                    "strategy": "all",
                    "cases": {"training": 3, "validation": 1},
                    "parameters": 10,
                    "trained": 4,
                    "memory_gb": 1.25,
                    "seconds": None,
                    "device": "cpu",
                    "precision": "bfloat16",
                    "spacing_mm": [1, 1, 3],
                    "epochs": 5,
                },
            ),
            (
                Preview("p1", Path("a") / "b.nii", 7),
                {"event": "preview", "case": "p1", "file": str(Path("a") / "b.nii"), "epoch": 7},
            ),
            (Message("train", "hello"), {"event": "message", "stage": "train", "text": "hello"}),
            (Warning("careful", "p1"), {"event": "warning", "text": "careful", "case": "p1"}),
            (Result({"files": ["a"]}), {"event": "result", "values": {"files": ["a"]}}),
            (
                Failure.of(InputError("It is broken.", "Mend it."), "p1"),
                {"event": "error", "kind": "input", "cause": "It is broken.", "remedy": "Mend it.", "case": "p1"},
            ),
        ],
    )
    def test_names_the_event_and_its_fields(self, event, expected):
        assert json.loads(event.to_json()) == expected

    def test_is_one_line_of_ascii(self):
        line = Warning("Fälle\n脳 “quoted”", "Müller\r\n").to_json()
        assert line.isascii()
        assert len(line.splitlines()) == 1
        assert json.loads(line)["text"] == "Fälle\n脳 “quoted”"

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), np.float64("inf")])
    def test_turns_what_json_cannot_hold_into_null(self, value):
        line = Result({"dice": value, "deep": [{"loss": (1.5, value)}], "array": np.array([1.5, value])}).to_json()
        assert "NaN" not in line
        assert "Infinity" not in line
        assert json.loads(line)["values"] == {"dice": None, "deep": [{"loss": [1.5, None]}], "array": [1.5, None]}

    def test_holds_the_values_that_the_library_computes(self):
        values = {
            "count": np.int64(3),
            "share": np.float32(0.5),
            "found": np.bool_(True),
            "shape": np.array([[1, 2], [3, 4]]),
            "path": Path("a") / "b",
            "sizes": (1, 2),
            7: "key",
        }
        assert json.loads(Result(values).to_json())["values"] == {
            "count": 3,
            "share": 0.5,
            "found": True,
            "shape": [[1, 2], [3, 4]],
            "path": str(Path("a") / "b"),
            "sizes": [1, 2],
            "7": "key",
        }

    def test_holds_mappings_that_cannot_be_changed(self):
        assert json.loads(Metric("a", 1, MappingProxyType({"dice": 1.0})).to_json())["values"] == {"dice": 1.0}

    def test_of_a_failure_without_a_case_leaves_it_empty(self):
        event = Failure.of(ResourceError("Full."))
        assert (event.kind, event.remedy, event.case) == ("resource", "", "")


def test_ignore_takes_every_event():
    ignore(Event())


class TestCancelToken:
    def test_is_not_set_at_first(self):
        token = CancelToken()
        assert not token.cancelled
        token.raise_if_cancelled()

    def test_is_set_by_a_call(self):
        token = CancelToken()
        token.cancel()
        assert token.cancelled
        with pytest.raises(Cancelled, match=r"^Stopped on request\.$"):
            token.raise_if_cancelled()

    def test_is_set_from_another_thread(self):
        token = CancelToken()
        thread = threading.Thread(target=token.cancel)
        thread.start()
        thread.join()
        assert token.cancelled

    @pytest.mark.parametrize("kind", [str, Path])
    def test_is_set_by_a_file_and_stays_set_when_it_is_gone(self, tmp_path, kind):
        file = tmp_path / "cancel"
        token = CancelToken(kind(file))
        assert not token.cancelled
        file.touch()
        assert token.cancelled
        file.unlink()
        assert token.cancelled


class TestTrack:
    def test_yields_everything_and_reports_each_step(self):
        seen = []
        assert list(track("abc", "read", 3, seen.append, CancelToken())) == ["a", "b", "c"]
        assert [(event.stage, event.step, event.of) for event in seen] == [("read", step, 3) for step in range(4)]
        assert seen[0].eta_s is None
        assert seen[-1].eta_s == 0

    def test_reports_a_step_only_when_its_work_is_done(self):
        seen = []
        items = track("ab", "read", 2, seen.append, CancelToken())
        next(items)
        assert [event.step for event in seen] == [0]
        next(items)
        assert [event.step for event in seen] == [0, 1]

    def test_stops_before_the_next_item_when_cancelled(self):
        token, seen, done = CancelToken(), [], []

        def work():
            for item in track(range(5), "read", 5, seen.append, token):
                done.append(item)
                if item == 1:
                    token.cancel()

        with pytest.raises(Cancelled):
            work()
        assert done == [0, 1]
        assert [event.step for event in seen] == [0, 1, 2]

    def test_of_nothing_reports_the_start_only(self):
        seen = []
        assert list(track([], "read", 0, seen.append, CancelToken())) == []
        assert seen == [Progress("read", 0, 0)]


class TestClock:
    @pytest.fixture
    def now(self, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        return now

    def test_knows_nothing_before_the_first_step(self, now):
        assert Clock(10).eta_s(0) is None

    def test_expects_the_rest_to_take_as_long_as_what_was_done(self, now):
        clock = Clock(10)
        now[0] += 6
        assert clock.eta_s(2) == 24.0
        now[0] += 6
        assert clock.eta_s(10) == 0

    def test_does_not_count_steps_done_before_it_was_made(self, now):
        clock = Clock(10, done=4)
        assert clock.eta_s(4) is None
        now[0] += 3
        assert clock.eta_s(5) == 15.0
