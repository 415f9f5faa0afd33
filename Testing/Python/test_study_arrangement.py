"""Who is trained on, chooses the epoch or is tested on, over random datasets: nobody ever on two sides."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from TransferSegLib.case_files import CaseFiles
from TransferSegLib.errors import InputError
from TransferSegLib.splits import balanced_order, deal_patients
from TransferSegLib.study.arrangement import Arrangement, arrange
from TransferSegLib.study.design import Design


def visit(patient: str, number: int = 0, group: str = "") -> CaseFiles:
    name = f"{patient}-{number}"
    return CaseFiles(name, {"t1": Path(f"{name}.nii")}, Path(f"{name}-seg.nii"), group, patient)


def patients(count: int, high: int) -> list[CaseFiles]:
    return [visit(f"p{n:03}", 0, "HGG" if n < high else "LGG") for n in range(count)]


@st.composite
def datasets(draw: st.DrawFn) -> list[CaseFiles]:
    """Patients in groups of any size, with one to three visits, in any order."""
    visits = draw(st.lists(st.integers(1, 3), min_size=8, max_size=40))
    groups = draw(st.lists(st.sampled_from(["", "HGG", "LGG"]), min_size=len(visits), max_size=len(visits)))
    cases = [
        visit(f"p{n:02}", v, group)
        for n, (many, group) in enumerate(zip(visits, groups, strict=True))
        for v in range(many)
    ]
    return draw(st.permutations(cases))


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """That eight patients are enough for."""
    folds = draw(st.integers(2, 3))
    size = draw(st.integers(folds, 3))
    return Design(
        sizes=tuple(sorted({size, draw(st.integers(size, 4))})),
        seeds=draw(st.integers(1, 3)),
        test=draw(st.sampled_from([1, 2, 0.25])),
        test_folds=draw(st.sampled_from([1, 4])),
        validation=draw(st.sampled_from([0, 1, 2, 0.2])),
        folds=folds,
    )


def people(cases: tuple[CaseFiles, ...]) -> set[str]:
    return {case.patient for case in cases}


@given(datasets(), designs())
def test_no_patient_ever_crosses_a_split(cases: list[CaseFiles], design: Design) -> None:
    for place in arrange(cases, design):
        sides = [people(place.test), people(place.validation), people(place.pool)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == len({case.patient for case in cases})
        for size in design.sizes:
            training = people(place.training(size))
            assert len(training) == size
            assert training <= people(place.pool)
            judged: list[str] = []
            for inside, outside in place.inner(size, design.folds):
                assert people(inside).isdisjoint(people(outside))
                assert people(inside) | people(outside) == training
                judged += people(outside)
            assert sorted(judged) == sorted(training)  # everybody judges once


@given(datasets(), designs())
def test_all_visits_of_a_patient_come_along(cases: list[CaseFiles], design: Design) -> None:
    visits = Counter(case.patient for case in cases)
    for place in arrange(cases, design):
        for side in (place.test, place.validation, place.training(design.sizes[-1])):
            assert Counter(case.patient for case in side) == {name: visits[name] for name in people(side)}


@given(datasets(), designs())
def test_smaller_training_sets_lie_within_larger_ones(cases: list[CaseFiles], design: Design) -> None:
    for place in arrange(cases, design):
        for small, large in zip(design.sizes, design.sizes[1:], strict=False):
            assert people(place.training(small)) < people(place.training(large))


@given(datasets(), designs())
def test_who_tests_and_who_chooses_is_the_same_for_every_seed(cases: list[CaseFiles], design: Design) -> None:
    sides: dict[int, tuple[set[str], set[str]]] = {}
    for place in arrange(cases, design):
        found = people(place.test), people(place.validation)
        assert sides.setdefault(place.fold, found) == found


@given(datasets(), designs())
def test_with_test_folds_everybody_is_tested_on_once(cases: list[CaseFiles], design: Design) -> None:
    tested = [case.name for place in arrange(cases, design) if place.seed == 0 for case in place.test]
    assert len(tested) == len(set(tested))
    if design.test_folds > 1:
        assert sorted(tested) == sorted(case.name for case in cases)


@given(datasets(), designs(), st.randoms())
def test_the_order_in_which_cases_are_found_does_not_matter(
    cases: list[CaseFiles], design: Design, random: Random
) -> None:
    other = [*cases]
    random.shuffle(other)

    def sides(place: Arrangement) -> tuple[set[str], ...]:
        return people(place.test), people(place.validation), people(place.training(design.sizes[0]))

    assert [sides(p) for p in arrange(cases, design)] == [sides(p) for p in arrange(other, design)]


@given(datasets(), st.integers(0, 9))
def test_every_beginning_has_its_share_of_each_group(cases: list[CaseFiles], seed: int) -> None:
    group_of = {case.patient: case.group for case in cases}
    total = Counter(group_of.values())
    order = balanced_order(cases, seed)
    assert sorted(order) == sorted(group_of)
    for n in range(1, len(order) + 1):
        taken = Counter(group_of[patient] for patient in order[:n])
        for group, members in total.items():
            share = n * members / len(order)
            assert math.floor(share) <= taken[group] <= math.ceil(share)


@given(datasets(), st.integers(2, 6), st.integers(0, 9))
def test_every_part_has_its_share_of_each_group(cases: list[CaseFiles], parts: int, seed: int) -> None:
    dealt = deal_patients(cases, parts, seed)
    assert sorted(case.name for part in dealt for case in part) == sorted(case.name for case in cases)
    for group in {case.group for case in cases}:
        counts = [len({case.patient for case in part if case.group == group}) for part in dealt]
        assert max(counts) - min(counts) <= 1
    sizes = [len({case.patient for case in part}) for part in dealt]
    assert max(sizes) - min(sizes) <= 1


def test_the_papers_grades_are_kept() -> None:
    """210 of high and 75 of low grade: 15 and 5 among 20 (section 3.3)."""
    for place in arrange(patients(285, 210), Design()):
        for size, low in ((20, 5), (50, 13), (100, 26), (150, 39)):
            assert abs(sum(case.group == "LGG" for case in place.training(size)) - low) <= 1
        assert sum(case.group == "LGG" for case in place.test) in (17, 18)
        assert len(place.test) == 66
        assert len(place.validation) == 50


def test_seeds_train_on_different_patients() -> None:
    first, second = arrange(patients(40, 30), Design(sizes=(8,), seeds=2, test=8, validation=8))
    assert people(first.training(8)) != people(second.training(8))


def test_named_test_cases_bring_the_patients_other_visits() -> None:
    cases = [visit(f"p{n}", v) for n in range(6) for v in range(2)]
    (place,) = arrange(cases, Design(sizes=(3,), seeds=1, test=("p0-1", "p4-0"), validation=1))
    assert [case.name for case in place.test] == ["p0-0", "p0-1", "p4-0", "p4-1"]


@pytest.mark.parametrize(
    ("design", "told"),
    [
        (
            Design(sizes=(5, 20), seeds=1, test=4, validation=2),
            "6 patients are left to train on, beside 4 to test on and 2 that choose the epoch; the largest size is 20. "
            "Give smaller --sizes, --test or --validation, or --test-folds.",
        ),
        (Design(sizes=(2,), test=("nobody",), validation=0), "There is no case 'nobody'."),
        (Design(sizes=(2,), test=12), "--test 12 leaves none of the 12 patients. Give a smaller --test."),
        (Design(sizes=(2,), test=0, validation=0), "There is nobody to test on. Give --test or --test-folds."),
        (Design(sizes=(2,), test_folds=13), "12 patients cannot be dealt into 13 parts."),
    ],
)
def test_too_few_patients_are_refused(design: Design, told: str) -> None:
    with pytest.raises(InputError) as caught:
        arrange(patients(12, 9), design)
    assert str(caught.value).startswith(told)
