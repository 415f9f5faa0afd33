"""Roles of cases: no patient on two sides, the proportion of groups kept, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil, floor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from TransferSegLib.case_files import CaseFiles
from TransferSegLib.errors import InputError
from TransferSegLib.splits import Roles, assign_roles, split_cases


def case(name: str, patient: str = "", group: str = "") -> CaseFiles:
    return CaseFiles(name, {"t1": Path(f"{name}.nii.gz")}, None, group, patient)


def cases(count: int, group: str = "", first: int = 0) -> list[CaseFiles]:
    return [case(f"{group}{number:03d}", group=group) for number in range(first, first + count)]


def patients(members: Sequence[CaseFiles]) -> set[str]:
    return {member.patient for member in members}


def names(members: Sequence[CaseFiles]) -> list[str]:
    return [member.name for member in members]


def error_of(*args: object) -> str:
    with pytest.raises(InputError) as caught:
        assign_roles(*args)  # type: ignore[arg-type]
    return str(caught.value)


@st.composite
def datasets(draw: st.DrawFn) -> list[CaseFiles]:
    """Up to 40 patients of up to 3 groups with up to 4 visits each, in any order."""
    found = [
        case(f"p{patient}_v{visit}", f"p{patient}", group)
        for patient, (visits, group) in enumerate(
            draw(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["HGG", "LGG", ""])), min_size=4, max_size=40))
        )
        for visit in range(visits)
    ]
    return draw(st.permutations(found))


# Whatever the dataset


@settings(max_examples=100, deadline=None)
@given(datasets(), st.floats(0.05, 0.5), st.floats(0.05, 0.4), st.integers(0, 2**63 - 2))
def test_no_patient_stands_on_two_sides_and_no_case_is_lost(
    every: list[CaseFiles], validation: float, held_out: float, seed: int
) -> None:
    roles = assign_roles(every, validation, held_out, seed)
    sides = (roles.training, roles.validation, roles.held_out)
    assert sorted(name for side in sides for name in names(side)) == sorted(names(every))
    together: Counter[str] = Counter()
    for side in sides:
        together.update(patients(side))
        assert side
    assert set(together.values()) == {1}


@settings(max_examples=100, deadline=None)
@given(datasets(), st.floats(0.05, 0.6), st.integers(0, 1000))
def test_each_group_gives_its_share_of_the_patients_rounded(every: list[CaseFiles], share: float, seed: int) -> None:
    rest, chosen = split_cases(every, share, seed)
    wanted = max(1, round(share * len(patients(every))))
    assert len(patients(chosen)) == wanted
    for group in {member.group for member in every}:
        of_group = patients([member for member in every if member.group == group])
        exact = wanted * len(of_group) / len(patients(every))
        assert floor(exact) <= len(of_group & patients(chosen)) <= ceil(exact)
    assert not patients(rest) & patients(chosen)


@settings(max_examples=50, deadline=None)
@given(datasets(), st.floats(0.05, 0.5), st.integers(0, 1000))
def test_the_split_does_not_depend_on_the_order_of_the_cases_but_keeps_it(
    every: list[CaseFiles], share: float, seed: int
) -> None:
    rest, chosen = split_cases(every, share, seed)
    again = split_cases(list(reversed(every)), share, seed)
    assert (names(rest), names(chosen)) == (names(again[0])[::-1], names(again[1])[::-1])
    assert names(rest) == [name for name in names(every) if name in names(rest)]


# By hand


def test_the_grades_of_brats_keep_their_proportion() -> None:
    every = cases(210, "HGG") + cases(75, "LGG")
    for share, high, low in ((20 / 285, 15, 5), (50 / 285, 37, 13), (100 / 285, 74, 26), (0.2, 42, 15)):
        _, chosen = split_cases(every, share, seed=3)
        assert Counter(member.group for member in chosen) == {"HGG": high, "LGG": low}


def test_visits_count_once_a_patient() -> None:
    every = [case(f"a_{visit}", "a") for visit in range(10)] + cases(3)
    for seed in range(10):
        _, chosen = split_cases(every, 0.25, seed)
        assert names(chosen) == [f"a_{visit}" for visit in range(10)] or len(chosen) == 1


def test_the_same_seed_gives_the_same_split_and_others_give_others() -> None:
    every = cases(20, "HGG") + cases(10, "LGG")

    def split(seed: int) -> tuple[str, ...]:
        return tuple(names(assign_roles(every, 0.3, 0.3, seed).training))

    assert [split(seed) for seed in range(8)] == [split(seed) for seed in range(8)]
    assert len({split(seed) for seed in range(8)}) == 8


def test_validation_and_held_out_cases_are_drawn_independently() -> None:
    every = cases(30)
    without = {tuple(names(assign_roles(every, 0.0, 0.3, seed).held_out)) for seed in range(5)}
    assert without == {tuple(names(assign_roles(every, 0.5, 0.3, seed).held_out)) for seed in range(5)}


def test_the_share_for_validation_is_one_of_the_rest() -> None:
    roles = assign_roles(cases(100), 0.25, 0.2, 0)
    assert (len(roles.training), len(roles.validation), len(roles.held_out)) == (60, 20, 20)


def test_a_share_of_0_takes_nothing() -> None:
    every = cases(1)
    assert assign_roles(every, 0.0, 0.0, 0) == Roles(tuple(every), (), ())
    assert assign_roles(every, 0, [], 0) == Roles(tuple(every), (), ())


def test_a_small_share_takes_at_least_one_patient() -> None:
    assert len(assign_roles(cases(3), 0.01, 0.0, 0).validation) == 1


def test_cases_can_be_chosen_by_name() -> None:
    roles = assign_roles(cases(5), ["001", "004"], ["000"], 0)
    assert [names(side) for side in (roles.training, roles.validation, roles.held_out)] == [
        ["002", "003"],
        ["001", "004"],
        ["000"],
    ]


def test_names_and_shares_can_be_mixed() -> None:
    roles = assign_roles(cases(10), 0.5, ["003"], 0)
    assert names(roles.held_out) == ["003"]
    assert len(roles.validation) == round(0.5 * 9)
    roles = assign_roles(cases(10), [], 0.5, 0)
    assert (len(roles.training), len(roles.validation)) == (5, 0)


# What cannot be done


def test_an_unknown_name_is_told() -> None:
    message = "There is no case '999'. Check the names of the cases to hold out."
    assert error_of(cases(5), 0.0, ["001", "999"], 0) == message
    assert error_of(cases(5), ["999"], 0.0, 0) == message


def test_a_held_out_case_cannot_be_for_validation_too() -> None:
    assert "There is no case '001'" in error_of(cases(5), ["001"], ["001"], 0)


def test_visits_of_one_patient_on_two_sides_are_refused() -> None:
    every = [case("a_1", "a"), case("a_2", "a"), *cases(5)]
    assert error_of(every, 0.0, ["a_1"], 0) == (
        "Patient 'a' has visits among the training and the held-out cases. Name all visits of a patient, or none."
    )
    assert "among the validation and the held-out" in error_of(every, ["a_2"], ["a_1"], 0)
    assert names(assign_roles(every, 0.0, ["a_1", "a_2"], 0).held_out) == ["a_1", "a_2"]


@pytest.mark.parametrize("share", [1.0, 1.5, -0.2, 0.99])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    assert error_of(cases(5), share, 0.0, 0) == (
        f"A share of {share:g} cannot be split off 5 patients. Use a smaller share or more cases."
    )


def test_one_patient_cannot_be_split() -> None:
    every = [case("a_1", "a"), case("a_2", "a")]
    assert "cannot be split off 1 patients" in error_of(every, 0.2, 0.0, 0)


def test_someone_must_be_left_to_train_on() -> None:
    assert error_of(cases(2), ["000"], ["001"], 0) == "No case is left to train on. Hold out fewer cases."
