"""What is made of a study: it tells what was done, also when a part of it failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studies import DESIGN, conduct

from TransferSegLib import engines
from TransferSegLib.errors import InputError
from TransferSegLib.events import CancelToken
from TransferSegLib.study import conduct as conducting
from TransferSegLib.study.job import Job, Outcome, run_job
from TransferSegLib.study.publish import publish_study

TWICE = replace(
    DESIGN,
    sizes=(2,),
    seeds=2,
    varied={"epochs": (2,), "augmentation": (("flip", "gamma"),), "dice_weight": (0.5,)},
    steps=0,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "_has_openvino", lambda: False)
        yield tmp_path_factory.mktemp("publish")


def fail_where(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def run(job: Job, on_event: Any, cancel: CancelToken) -> Outcome:
        if text in job.name:
            raise InputError("No training case has a voxel of edema.", "Add cases that have it.")
        return run_job(job, on_event, cancel)

    monkeypatch.setattr(conducting, "run_job", run)


def test_when_the_first_repetition_failed_there_is_a_report(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_where(monkeypatch, "seed-0")
    published = publish_study(conduct(place, place / "half", TWICE))
    assert (place / "half" / "patients.png").exists()
    text = published.report.read_text()
    assert "No training case has a voxel of edema." in text
    # What was trained with, not the defaults.
    assert "<td>2 epochs</td>" in text
    assert "<td>flip, gamma</td>" in text
    assert "<td>dice-weight=0.5</td>" in text


def test_when_every_training_failed_the_cause_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_where(monkeypatch, "seed-")
    with pytest.raises(InputError, match=r"No training has ended well. .*voxel of edema. Add cases that have it."):
        publish_study(conduct(place, place / "none", TWICE))
