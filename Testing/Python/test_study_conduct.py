"""A study from its first training to its last: what is done, what is kept, and how it goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import DESIGN, conduct, trained, tumours

from TransferSegLib import engines
from TransferSegLib.errors import Cancelled, InputError
from TransferSegLib.events import CancelToken, Event, Failure, Progress, Warning
from TransferSegLib.model import load_model
from TransferSegLib.study import conduct as conducting
from TransferSegLib.study.conduct import Study
from TransferSegLib.study.job import Job, Outcome, run_job
from TransferSegLib.study.scores import write_scores
from TransferSegLib.volume import read_volume, write_volume

CELLS = [f"fold-0/seed-0/n-{n:03}/{strategy}" for n in (2, 4) for strategy in ("scratch", "all")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "_has_openvino", lambda: False)
        yield folder


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def study(place: Path, events: list[Event]) -> Study:
    """Done without a disturbance."""
    return conduct(place, place / "out", on_event=events.append)


@pytest.fixture
def copy(place: Path, study: Study, tmp_path: Path) -> Path:
    """Of the finished study, to change."""
    return Path(shutil.copytree(study.folder, tmp_path / "copy"))


def table(study: Study, folder: Path) -> bytes:
    return write_scores(study.scores, folder / "scores.csv").read_bytes()


def refused(place: Path, out: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        conduct(place, out, **options)
    return str(caught.value)


def test_every_cell_is_trained_and_tested(study: Study) -> None:
    assert [item.cell.name for item in study.trained] == CELLS
    assert study.failed == ()
    # 4 cells, 2 test patients, 3 regions and the 2 classes that are none
    assert len(study.scores) == 4 * 2 * 5
    assert {score.case for score in study.scores} == {case.name for case in study.arrangements[0].test}
    assert {(score.n, score.strategy) for score in study.scores} == {(n, s) for n in (2, 4) for s in DESIGN.strategies}
    assert all({"dice", "hd95_mm"} <= set(score.values) for score in study.scores)


def test_the_setting_with_the_best_cross_validation_is_trained_on(study: Study) -> None:
    for item in study.trained:
        assert len(item.choice) == 2
        assert item.setting == DESIGN.settings[item.choice.index(max(item.choice))]
        assert item.job.recipe.learning_rate == item.setting["learning_rate"]


def test_the_epoch_with_the_best_sum_of_dice_on_the_validation_set_is_kept(study: Study) -> None:
    for item in study.trained:
        curve = item.outcome.curve
        assert len(curve) == item.job.recipe.epochs
        assert item.outcome.best_epoch == 1 + curve.index(max(curve))
        assert {case.name for case in item.job.validation} == {case.name for case in study.arrangements[0].validation}


def test_the_model_of_each_cell_is_kept_and_its_card_is_honest(study: Study) -> None:
    tested = {case.name for case in study.arrangements[0].test}
    for item in study.trained:
        card = load_model(item.job.folder / "training" / "model").card
        assert card.training.strategy == item.cell.strategy
        assert card.training.cases.count == item.cell.size + 2  # and those that chose the epoch
        assert not any(card.contains_case(name) for name in tested)


def test_of_trainings_that_choose_only_the_curve_is_kept(study: Study) -> None:
    files = [path.name for path in study.folder.glob("fold-0/*/*/*/choice/*/*/*")]
    assert files == ["outcome.json"] * 16


def test_progress_counts_training_steps(study: Study, events: list[Event]) -> None:
    told = [event for event in events if isinstance(event, Progress) and event.stage == "study"]
    assert told[-1].step == told[-1].of == sum(item.job.steps for item in study.trained) + 4 * 4 * 4
    assert [event.step for event in told] == sorted(event.step for event in told)
    assert len(trained(events)) == 4 * 5


def test_a_warning_is_told_once(study: Study, events: list[Event]) -> None:
    told = [event.text for event in events if isinstance(event, Warning)]
    assert len(told) == len(set(told)) == 1
    assert "The source was trained at" in told[0]


def test_a_finished_study_is_not_done_again(place: Path, study: Study, tmp_path: Path) -> None:
    again: list[Event] = []
    same = conduct(place, study.folder, on_event=again.append)
    assert trained(again) == []
    assert table(same, tmp_path / "a") == table(study, tmp_path / "b")


def test_a_study_that_is_stopped_again_and_again_ends_the_same(place: Path, study: Study, tmp_path: Path) -> None:
    done, stops = None, 0
    while done is None:
        cancel, steps = CancelToken(), [0]

        def count(event: Event, cancel: CancelToken = cancel, steps: list[int] = steps) -> None:
            if isinstance(event, Progress) and event.stage == "study":
                steps[0] += 1
                if steps[0] == 17:
                    cancel.cancel()

        try:
            done = conduct(place, tmp_path / "out", on_event=count, cancel=cancel)
        except Cancelled:
            stops += 1
    assert stops >= 5
    assert table(done, tmp_path / "a") == table(study, tmp_path / "b")


@pytest.mark.parametrize(("sizes", "new"), [((2, 3, 4), "n-003"), ((4, 5), "n-005")])
def test_sizes_are_added_to_what_is_there_or_left_out(
    place: Path, copy: Path, study: Study, sizes: tuple[int, ...], new: str
) -> None:
    events: list[Event] = []
    more = conduct(place, copy, replace(DESIGN, sizes=sizes, strategies=("scratch",)), on_event=events.append)
    assert {name.split("/")[2] for name in trained(events)} == {new}
    before = [score for score in study.scores if score.strategy == "scratch" and score.n in sizes]
    assert [score for score in more.scores if f"n-{score.n:03}" != new] == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"design": replace(DESIGN, folds=3, sizes=(3, 4))}, "another folds"),
        ({"design": replace(DESIGN, steps=8)}, "another steps"),
        ({"preparation": conducting.Preparation(spacing=5.0)}, "another preparation"),
        ({"channels": ("t1", "flair")}, "another channels"),
    ],
)
def test_another_study_does_not_go_into_the_same_folder(
    place: Path, study: Study, changes: dict[str, Any], told: str
) -> None:
    assert refused(place, study.folder, **changes) == (
        f"{study.folder} holds a study with {told}. Repeat its command to go on with it (sizes, strategies and seeds "
        "may change), or choose another --out."
    )


def test_a_label_map_that_was_corrected_is_not_mixed_with_old_results(place: Path, copy: Path, study: Study) -> None:
    case = study.arrangements[0].test[0]
    assert case.label is not None
    whole = case.label.read_bytes()
    try:
        drawn = read_volume(case.label)
        write_volume(replace(drawn, data=np.roll(drawn.data, 1, axis=0)), case.label)
        told = refused(place, copy)
    finally:
        case.label.write_bytes(whole)
    assert told.startswith(f"The images or labels of {case.name} have changed since {copy} was begun.")
    assert conduct(place, copy).failed == ()


def test_a_folder_in_use_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to my wife.txt").touch()
    assert refused(place, tmp_path / "letters") == (
        f"{tmp_path / 'letters'} is in use, and not by a study. Choose another --out."
    )


def test_a_damaged_outcome_is_named(place: Path, copy: Path, study: Study) -> None:
    path = copy / study.trained[0].job.name / "outcome.json"
    path.write_text(path.read_text()[:50])
    assert refused(place, copy).startswith(f"{path} is damaged")


def test_a_training_of_another_study_is_not_taken(place: Path, copy: Path, study: Study) -> None:
    path = copy / study.trained[0].job.name / "outcome.json"
    found = json.loads(path.read_text())
    found["spec"]["training"][0] = "somebody else"
    path.write_text(json.dumps(found))
    assert refused(place, copy) == (
        f"{path.parent} holds a training with another training. Choose another --out, or delete that folder."
    )


def fail_on(monkeypatch: pytest.MonkeyPatch, which: Callable[[str], bool], error: Exception) -> None:
    def run(job: Job, on_event: Any, cancel: CancelToken) -> Outcome:
        if which(job.name):
            raise error
        return run_job(job, on_event, cancel)

    monkeypatch.setattr(conducting, "run_job", run)


def test_a_training_that_fails_is_told_and_does_not_stop_the_others(
    place: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = f"{CELLS[1]}/final"
    fail_on(monkeypatch, lambda name: name == bad, InputError("The training diverged.", "Use a smaller rate."))
    events: list[Event] = []
    done = conduct(place, tmp_path / "out", on_event=events.append)
    assert [item.cell.name for item in done.trained] == [CELLS[0], *CELLS[2:]]
    assert done.failed == (Failure("input", "The training diverged.", "Use a smaller rate.", bad),)
    assert done.failed[0] in events
    monkeypatch.undo()
    monkeypatch.setattr(engines, "_has_openvino", lambda: False)
    mended = conduct(place, tmp_path / "out")
    assert table(mended, tmp_path / "a") == table(study, tmp_path / "b")


def test_a_setting_that_fails_is_not_chosen(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on(monkeypatch, lambda name: "learning-rate=0.01/part-1" in name, ValueError("a bug"))
    done = conduct(place, tmp_path / "out")
    assert len(done.failed) == 4
    assert {failure.kind for failure in done.failed} == {"bug"}
    assert [item.setting for item in done.trained] == [{"learning_rate": 0.003}] * 4


def test_when_a_training_that_chooses_succeeds_later_what_it_chooses_counts(
    place: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = {item.cell.name for item in study.trained if item.setting == {"learning_rate": 0.01}}
    assert fast  # else nothing is shown
    fail_on(monkeypatch, lambda name: "learning-rate=0.01/part-1" in name, ValueError("a bug"))
    done = conduct(place, tmp_path / "out")
    assert {item.setting["learning_rate"] for item in done.trained} == {0.003}
    (done.trained[0].job.folder / "outcome.json").unlink()  # and one of them was stopped before its end
    monkeypatch.undo()
    monkeypatch.setattr(engines, "_has_openvino", lambda: False)
    mended = conduct(place, tmp_path / "out")
    assert mended.failed == ()
    assert table(mended, tmp_path / "a") == table(study, tmp_path / "b")


def test_where_nothing_could_be_chosen_there_is_no_final_training(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on(monkeypatch, lambda name: name.startswith(f"{CELLS[0]}/choice"), InputError("No.", ""))
    done = conduct(place, tmp_path / "out")
    assert [item.cell.name for item in done.trained] == CELLS[1:]
    assert done.failed[0].case == CELLS[0]
    assert done.failed[0].cause == "No setting could be trained in the cross-validation."


def test_a_source_is_needed(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The strategy 'all' needs a source model"):
        conducting.run_study(tumours(place), tmp_path / "out", None, DESIGN)
    assert not (tmp_path / "out").exists()


def test_test_folds_test_everybody(place: Path, tmp_path: Path) -> None:
    design = replace(DESIGN, sizes=(2,), strategies=("scratch",), test_folds=5, validation=0, varied={})
    done = conduct(place, tmp_path / "out", design)
    assert len({score.case for score in done.scores}) == 10
    assert [item.outcome.curve for item in done.trained] == [()] * 5
    assert [item.outcome.best_epoch for item in done.trained] == [2] * 5
