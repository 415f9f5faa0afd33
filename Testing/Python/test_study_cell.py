"""A cell: its cross-validation, how the hyper-parameters are chosen, and its final training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from test_study_arrangement import patients, people

from TransferSegLib.errors import InputError
from TransferSegLib.labels import GLIOMA
from TransferSegLib.preparation import Preparation
from TransferSegLib.recipe import Recipe
from TransferSegLib.study.arrangement import arrange
from TransferSegLib.study.cell import Cell, choose_setting, make_cells, setting_name
from TransferSegLib.study.design import Design
from TransferSegLib.study.job import Outcome, Task

TASK = Task(None, None, GLIOMA, ("t1",), None, Preparation(), Path("cache"))
DESIGN = Design(
    sizes=(5, 8),
    seeds=2,
    test=3,
    validation=2,
    folds=2,
    varied={"learning_rate": (0.01, 0.003), "class_weight_decay": (0.8,)},
    recipe=Recipe(epochs=6),
)


def make(design: Design = DESIGN, size: int = 5) -> Cell:
    return Cell(Path("out"), TASK, design, arrange(patients(16, 12), design)[0], size, "all")


def outcome(*curve: float) -> Outcome:
    return Outcome(1, curve, 0.0)


def outcomes(cell: Cell, curves: dict[tuple[int, int], tuple[float, ...]]) -> dict[str, Outcome]:
    """By number of setting and part."""
    return {
        name: outcome(*curves[number, part])
        for name, (number, part, _) in cell.choice_jobs().items()
        if (number, part) in curves
    }


def test_every_setting_is_judged_on_every_part() -> None:
    jobs = make().choice_jobs()
    assert list(jobs) == [
        f"fold-0/seed-0/n-005/all/choice/learning-rate={rate}_class-weight-decay=0.8/part-{part}"
        for part in (0, 1)
        for rate in (0.01, 0.003)
    ]
    for number, part, job in jobs.values():
        assert job.recipe.learning_rate == (0.01, 0.003)[number]
        assert people(job.training) | people(job.validation) == people(make().arrangement.training(5))
        assert people(job.training).isdisjoint(people(job.validation))
        assert job.test == ()
        assert len(job.validation) == (3, 2)[part]


def test_the_final_training_has_all_patients_and_is_tested() -> None:
    cell = make()
    job = cell.final_job({"learning_rate": 0.003})
    assert (job.name, job.folder) == ("fold-0/seed-0/n-005/all/final", Path("out/fold-0/seed-0/n-005/all/final"))
    assert job.training == cell.arrangement.training(5)
    assert (job.validation, job.test) == (cell.arrangement.validation, cell.arrangement.test)
    assert (job.recipe.learning_rate, job.recipe.epochs, job.steps) == (0.003, 6, 30)


def test_all_strategies_get_the_same_folds_seeds_and_budget() -> None:
    cells = list(make_cells(Path("out"), TASK, DESIGN, arrange(patients(16, 12), DESIGN)))
    assert len(cells) == 2 * 2 * 4
    for first in range(0, len(cells), 4):
        jobs = [list(cell.choice_jobs().values()) for cell in cells[first : first + 4]]
        for others in zip(*jobs, strict=True):
            assert len({(number, part, job.recipe, job.steps) for number, part, job in others}) == 1
            assert all(job.training == others[0][2].training for _, _, job in others)
        assert len({cell.final_job({}).recipe for cell in cells[first : first + 4]}) == 1


def test_the_seed_of_a_cell_is_that_of_its_trainings() -> None:
    cells = list(make_cells(Path("out"), TASK, DESIGN, arrange(patients(16, 12), DESIGN)))
    assert [cell.final_job({}).recipe.seed for cell in cells] == [0] * 8 + [1] * 8


def test_the_setting_with_the_best_mean_at_its_best_epoch_is_chosen() -> None:
    """Weighted by the cases of a part: (3 * 1.0 + 2 * 0.5) / 5 = 0.8 at the second epoch."""
    cell = make()
    found = outcomes(cell, {(0, 0): (0.1, 1.0), (0, 1): (0.1, 0.5), (1, 0): (0.7, 0.1), (1, 1): (0.7, 2.0)})
    setting, scores = choose_setting(cell, found)
    assert setting == {"learning_rate": 0.003, "class_weight_decay": 0.8}
    assert scores == pytest.approx((0.8, (3 * 0.1 + 2 * 2.0) / 5))


def test_of_two_equally_good_settings_the_first_is_chosen() -> None:
    cell = make()
    setting, _ = choose_setting(cell, outcomes(cell, {(n, part): (0.5,) for n in (0, 1) for part in (0, 1)}))
    assert setting["learning_rate"] == 0.01


def test_a_setting_that_failed_where_another_did_not_is_out() -> None:
    cell = make()
    setting, scores = choose_setting(cell, outcomes(cell, {(0, 0): (9.0,), (1, 0): (0.1,), (1, 1): (0.1,)}))
    assert setting["learning_rate"] == 0.003
    assert scores == pytest.approx((-math.inf, 0.1))


def test_a_part_in_which_all_failed_does_not_count() -> None:
    cell = make()
    setting, scores = choose_setting(cell, outcomes(cell, {(0, 1): (0.3,), (1, 1): (0.2,)}))
    assert setting["learning_rate"] == 0.01
    assert scores == pytest.approx((0.3, 0.2))


def test_a_part_in_which_nobody_has_anything_to_find_does_not_count() -> None:
    """The PR-AUC of patients without lesions is no number, whatever the epoch."""
    cell, none = make(), (math.nan, math.nan)
    setting, scores = choose_setting(
        cell, outcomes(cell, {(0, 0): none, (0, 1): (0.3, 0.2), (1, 0): none, (1, 1): (0.4, 0.1)})
    )
    assert (setting["learning_rate"], scores) == (0.003, pytest.approx((0.3, 0.4)))
    with pytest.raises(InputError, match="anything to find"):
        choose_setting(cell, outcomes(cell, {(n, part): none for n in (0, 1) for part in (0, 1)}))


def test_where_the_last_epoch_is_taken_settings_are_judged_by_it() -> None:
    cell = make(replace(DESIGN, validation=0))
    curves = {(0, 0): (1.5, 0.2), (0, 1): (1.5, 0.2), (1, 0): (1.0, 1.0), (1, 1): (1.0, 1.0)}
    setting, scores = choose_setting(cell, outcomes(cell, curves))
    assert (setting["learning_rate"], scores) == (0.003, pytest.approx((0.2, 1.0)))


def test_when_all_failed_nothing_is_chosen() -> None:
    with pytest.raises(InputError, match="No setting could be trained"):
        choose_setting(make(), {})


def test_curves_of_different_lengths_are_laid_over_each_other() -> None:
    """With --steps a part with fewer cases has more epochs; first and last epochs belong together."""
    cell = make()
    found = outcomes(cell, {(0, 0): (0.0, 0.2, 1.0), (0, 1): (0.0, 1.0), (1, 0): (0.0, 0, 0), (1, 1): (0.0, 0)})
    assert choose_setting(cell, found)[1] == pytest.approx((1.0, 0.0))


def test_with_one_setting_nothing_is_cross_validated() -> None:
    cell = make(Design(sizes=(5,), seeds=1, test=3, validation=2, varied={"epochs": (9,)}))
    assert cell.choice_jobs() == {}
    assert choose_setting(cell, {}) == ({"epochs": 9}, ())


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"learning_rate": 0.01, "epochs": 60}, "learning-rate=0.01 epochs=60"),
        ({"augmentation": ("flip", "gamma"), "precision": "auto"}, "augmentation=flip+gamma precision=auto"),
        ({"augmentation": ()}, "augmentation=none"),
    ],
)
def test_a_setting_has_a_name(setting: dict[str, object], name: str) -> None:
    assert setting_name(setting) == name
