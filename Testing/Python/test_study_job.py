"""One training of a study: done once, gone on with after a stop, the same by torchrun."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from brains import SPACING_MM, write_dataset

from TransferSegLib import engines
from TransferSegLib.datasets import find_cases
from TransferSegLib.errors import Cancelled, InputError
from TransferSegLib.events import CancelToken, Event, Metric, Progress, ignore
from TransferSegLib.labels import GLIOMA
from TransferSegLib.model import load_model
from TransferSegLib.preparation import Preparation
from TransferSegLib.recipe import Recipe
from TransferSegLib.registry import find_model
from TransferSegLib.runs import CHECKPOINT
from TransferSegLib.study.job import Job, Task, finished_outcome, run_job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("job")
    cases = find_cases(write_dataset(folder / "tumours", 5)).cases
    task = Task(
        find_model("ms-lesion-fast"),
        load_model("ms-lesion-fast").sha256,
        GLIOMA,
        ("t1", "t1c", "t2", "flair"),
        None,
        Preparation(spacing=SPACING_MM),
        folder / "cache",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "_has_openvino", lambda: False)
        yield Job("n-002/all/final", folder / "out", task, "all", Recipe(epochs=3), cases[:2], cases[2:4], cases[4:])


def run(job: Job, **options: Any) -> Any:
    return run_job(job, **{"on_event": ignore, "cancel": CancelToken(), **options})


def elsewhere(job: Job, root: Path, **changes: Any) -> Job:
    return replace(job, root=root, **changes)


def test_a_training_is_done_once(job: Job, tmp_path: Path) -> None:
    here = elsewhere(job, tmp_path)
    assert finished_outcome(here) is None
    events: list[Event] = []
    outcome = run(here, on_event=events.append)
    assert any(isinstance(event, Metric) for event in events)
    assert finished_outcome(here) == outcome
    assert (len(outcome.curve), outcome.seconds > 0) == (3, True)
    assert (here.results / "metrics.csv").exists()
    assert not (here.folder / "training" / CHECKPOINT).exists()
    events.clear()
    assert run(here, on_event=events.append) == outcome
    assert events == []


def test_the_curve_is_the_sum_of_dice_over_the_regions(job: Job, tmp_path: Path) -> None:
    events: list[Event] = []
    outcome = run(elsewhere(job, tmp_path), on_event=events.append)
    told = [event.values for event in events if isinstance(event, Metric)]
    assert outcome.curve == tuple(sum(values[f"dice_{region}"] for region in GLIOMA.regions) for values in told)


def test_without_validation_cases_there_is_no_curve_and_the_last_epoch_is_taken(job: Job, tmp_path: Path) -> None:
    outcome = run(elsewhere(job, tmp_path, validation=()))
    assert (outcome.curve, outcome.best_epoch) == ((), 3)


def test_a_training_that_was_stopped_goes_on_and_ends_the_same(job: Job, tmp_path: Path) -> None:
    cancel = CancelToken()

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.step == 4:
            cancel.cancel()

    stopped = elsewhere(job, tmp_path / "stopped")
    with pytest.raises(Cancelled):
        run(stopped, on_event=stop, cancel=cancel)
    assert finished_outcome(stopped) is None
    events: list[Event] = []
    outcome = run(stopped, on_event=events.append)
    assert [event.step for event in events if isinstance(event, Metric)] == [3]
    plain = elsewhere(job, tmp_path / "plain")
    assert outcome.curve == run(plain).curve
    assert (stopped.results / "metrics.csv").read_bytes() == (plain.results / "metrics.csv").read_bytes()


@pytest.mark.parametrize("missing", ["outcome", "tested", "model"])
def test_whatever_a_kill_left_behind_the_training_ends_the_same(
    job: Job, tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, killed = elsewhere(job, tmp_path / "plain"), elsewhere(job, tmp_path / "killed")
    run(plain)

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    where = {
        "outcome": "TransferSegLib.study.job.atomic_path",
        "tested": "TransferSegLib.runs.score_cases",
        "model": "TransferSegLib.runs.save_model",
    }
    with monkeypatch.context() as patch:
        patch.setattr(where[missing], kill)
        with pytest.raises(Killed):
            run(killed)
    events: list[Event] = []
    assert run(killed, on_event=events.append).curve == finished_outcome(plain).curve  # type: ignore[union-attr]
    assert not any(isinstance(event, Metric) for event in events)  # no epoch is trained again
    assert (killed.results / "metrics.csv").read_bytes() == (plain.results / "metrics.csv").read_bytes()


@pytest.mark.parametrize("how", ["damaged", "precision", "recipe"])
def test_a_checkpoint_that_does_not_fit_is_not_gone_on_from(job: Job, tmp_path: Path, how: str) -> None:
    """It is of a worker with another kind of processor, say: the training is done anew."""
    other = Recipe(epochs=3, precision="float32") if how == "precision" else Recipe(epochs=3, learning_rate=0.02)
    cancel = CancelToken()

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train" and event.step == 4:
            cancel.cancel()

    with pytest.raises(Cancelled):
        run(elsewhere(job, tmp_path / "out", recipe=other), on_event=stop, cancel=cancel)
    stopped = elsewhere(job, tmp_path / "out", recipe=Recipe(epochs=3, precision="bfloat16"))
    checkpoint = stopped.folder / "training" / CHECKPOINT
    assert checkpoint.exists()
    if how == "damaged":
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    plain = run(elsewhere(stopped, tmp_path / "plain"))
    assert run(stopped).curve == plain.curve


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"strategy": "decoder"}, "strategy"),
        ({"recipe": Recipe(epochs=4)}, "recipe"),
        ({"validation": ()}, "validation"),
    ],
)
def test_another_training_in_the_same_folder_is_refused(
    job: Job, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    here = elsewhere(job, tmp_path)
    run(here)
    with pytest.raises(InputError, match=f"holds a training with another {named}"):
        run(replace(here, **change))


def test_torchrun_gives_what_one_process_gives(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the order in which numbers are summed; the batch of two is dealt to two processes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = replace(job.recipe, batch_size=2, augmentation=("flip", "gamma"), precision="float32")
    here = elsewhere(job, tmp_path / "here", recipe=recipe)
    both = elsewhere(job, tmp_path / "both", recipe=recipe, task=replace(job.task, processes=2))
    events: list[Event] = []
    one, two = run(here), run(both, on_event=events.append)
    assert two.curve == pytest.approx(one.curve, abs=0.02)
    assert two.best_epoch in (1, 2, 3)
    assert [event.step for event in events if isinstance(event, Progress) and event.stage == "train"] == [1, 2, 3]
    assert (both.results / "metrics.csv").exists()


def test_a_training_by_torchrun_that_fails_says_why(job: Job, tmp_path: Path) -> None:
    uneven = elsewhere(job, tmp_path, recipe=replace(job.recipe, batch_size=3), task=replace(job.task, processes=2))
    with pytest.raises(InputError, match="A batch of 3 cannot be dealt to 2 processes"):
        run(uneven)
    assert finished_outcome(uneven) is None


def test_a_training_by_torchrun_can_be_stopped(job: Job, tmp_path: Path) -> None:
    cancel = CancelToken()
    long = elsewhere(
        job,
        tmp_path,
        recipe=replace(job.recipe, epochs=5000, batch_size=2, precision="float32"),
        task=replace(job.task, processes=2),
    )

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "train":
            cancel.cancel()

    with pytest.raises(Cancelled):
        run(long, on_event=stop, cancel=cancel)
    assert not (long.folder / "stop").exists()


def test_the_spec_is_json_data_that_names_no_path(job: Job) -> None:
    text = json.dumps(job.spec)
    assert json.loads(text) == job.spec
    assert str(job.root) not in text
