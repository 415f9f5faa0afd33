"""Arrangement: which patient is trained on, chooses the epoch or is tested on. No patient stands on two sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..case_files import CaseFiles
from ..errors import InputError
from ..splits import balanced_order, deal_patients
from .design import Design

# Which patients are tested on and which choose the epoch is the same whatever else of a study changes.
_FIXED_SEED = 0


@dataclass(frozen=True)
class Arrangement:
    """Who does what in one repetition.

    Attributes
    ----------
    fold : number of the test set, 0 when there is only one.
    seed : number of the repetition.
    test, validation : the same for every seed.
    pool : cases of all patients that may be trained on.
    order : these patients, in the order in which training sets take them.
    """

    fold: int
    seed: int
    test: tuple[CaseFiles, ...]
    validation: tuple[CaseFiles, ...]
    pool: tuple[CaseFiles, ...]
    order: tuple[str, ...]

    def training(self, size: int) -> tuple[CaseFiles, ...]:
        """The cases of the first ``size`` patients, all their visits."""
        chosen = {*self.order[:size]}
        return tuple(case for case in self.pool if case.patient in chosen)

    def inner(self, size: int, folds: int) -> list[tuple[tuple[CaseFiles, ...], tuple[CaseFiles, ...]]]:
        """The training set of ``size`` patients for a cross-validation: pairs of cases to train on and to score."""
        cases = self.training(size)
        parts = deal_patients(cases, folds, self.seed)
        return [(tuple(case for case in cases if case not in part), tuple(part)) for part in parts]


def arrange(cases: Sequence[CaseFiles], design: Design) -> tuple[Arrangement, ...]:
    """Every arrangement of a study: one for each test set and seed.

    Raises
    ------
    InputError : there are too few patients, or a named case does not exist.
    """
    arrangements = []
    for fold, test in enumerate(_test_sets(cases, design)):
        tested = {case.patient for case in test}
        rest = [case for case in cases if case.patient not in tested]
        order = balanced_order(rest, _FIXED_SEED)
        count = _count(design.validation, len(order), "validation")
        choosing = {*order[:count]}
        pool = [case for case in rest if case.patient not in choosing]
        left = len(order) - count
        if left < design.sizes[-1]:
            raise InputError(
                f"{left} patients are left to train on, beside {len(tested)} to test on and {count} that choose the "
                f"epoch; the largest size is {design.sizes[-1]}.",
                "Give smaller --sizes, --test or --validation, or --test-folds.",
            )
        arrangements += [
            Arrangement(
                fold,
                seed,
                tuple(test),
                tuple(case for case in rest if case.patient in choosing),
                tuple(pool),
                tuple(balanced_order(pool, seed + 1)),
            )
            for seed in range(design.seeds)
        ]
    return tuple(arrangements)


def _test_sets(cases: Sequence[CaseFiles], design: Design) -> list[list[CaseFiles]]:
    if design.test_folds > 1:
        return deal_patients(cases, design.test_folds, _FIXED_SEED)
    if isinstance(design.test, tuple):
        unknown = sorted({*design.test} - {case.name for case in cases})
        if unknown:
            raise InputError(f"There is no case '{unknown[0]}'.", "Check the names given with --test.")
        # All visits of a patient are on one side.
        chosen = {case.patient for case in cases if case.name in design.test}
    else:
        order = balanced_order(cases, _FIXED_SEED)
        chosen = {*order[: _count(design.test, len(order), "test")]}
    if not chosen:
        raise InputError("There is nobody to test on.", "Give --test or --test-folds.")
    return [[case for case in cases if case.patient in chosen]]


def _count(wanted: float | int, patients: int, option: str) -> int:
    """A share below 1, or a number, of the patients."""
    count = round(wanted * patients) if wanted < 1 else int(wanted)
    if count >= patients:
        raise InputError(
            f"--{option} {wanted:g} leaves none of the {patients} patients.", f"Give a smaller --{option}."
        )
    return max(count, 1) if wanted else 0
