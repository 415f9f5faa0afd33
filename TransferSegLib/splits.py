"""Roles of cases in a run. Two visits of one patient never stand on two sides."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .case_files import CaseFiles
from .errors import InputError


@dataclass(frozen=True)
class Roles:
    """Cases to train on, cases that choose the best epoch, and cases that are only looked at in the end."""

    training: tuple[CaseFiles, ...]
    validation: tuple[CaseFiles, ...]
    held_out: tuple[CaseFiles, ...]


def assign_roles(
    cases: Sequence[CaseFiles],
    validation: float | Sequence[str],
    held_out: float | Sequence[str],
    seed: int,
) -> Roles:
    """Give each case its role.

    Parameters
    ----------
    validation, held_out : a share of the patients, drawn with ``seed`` so that the proportion of groups is kept, or
        the names of the cases. The held-out cases are taken first, the share for validation is one of the rest.

    Raises
    ------
    InputError : a name is unknown, no case is left to train on, or a patient stands on two sides.
    """
    rest, last = _take(cases, held_out, seed)
    training, middle = _take(rest, validation, seed + 1)
    if not training:
        raise InputError("No case is left to train on.", "Hold out fewer cases.")
    sides = {"training": training, "validation": middle, "held-out": last}
    where: dict[str, str] = {}
    for side, members in sides.items():
        for case in members:
            if where.setdefault(case.patient, side) != side:
                raise InputError(
                    f"Patient '{case.patient}' has visits among the {where[case.patient]} and the {side} cases.",
                    "Name all visits of a patient, or none.",
                )
    return Roles(tuple(training), tuple(middle), tuple(last))


def _take(
    cases: Sequence[CaseFiles], chosen: float | Sequence[str], seed: int
) -> tuple[list[CaseFiles], list[CaseFiles]]:
    if isinstance(chosen, int | float):
        return split_cases(cases, chosen, seed)
    unknown = sorted(set(chosen) - {case.name for case in cases})
    if unknown:
        raise InputError(f"There is no case '{unknown[0]}'.", "Check the names of the cases to hold out.")
    return [case for case in cases if case.name not in chosen], [case for case in cases if case.name in chosen]


def split_cases(cases: Sequence[CaseFiles], share: float, seed: int) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """Split off about ``share`` of the patients, keeping the proportion of groups; the same for the same seed.

    Returns
    -------
    The rest, and what was split off, each in the order given.

    Raises
    ------
    InputError : no patient would be left on one side.
    """
    if share == 0:
        return list(cases), []
    groups = _by_group(cases)
    count = sum(map(len, groups.values()))
    wanted = max(1, round(share * count))
    if not 0 < share < 1 or wanted >= count:
        raise InputError(
            f"A share of {share:g} cannot be split off {count} patients.", "Use a smaller share or more cases."
        )
    chosen = set(_stratified(groups, wanted, seed))
    return (
        [case for case in cases if case.patient not in chosen],
        [case for case in cases if case.patient in chosen],
    )


def _stratified(groups: dict[str, list[str]], wanted: int, seed: int) -> list[str]:
    """``wanted`` patients, from each group its share, rounded by largest remainder."""
    random = np.random.default_rng(seed)
    count = sum(map(len, groups.values()))
    exact = {group: wanted * len(members) / count for group, members in groups.items()}
    quota = {group: math.floor(share) for group, share in exact.items()}
    remainders = sorted(groups, key=lambda group: (quota[group] - exact[group], group))
    for group in remainders[: wanted - sum(quota.values())]:
        quota[group] += 1
    return [str(patient) for group in sorted(groups) for patient in random.permutation(groups[group])[: quota[group]]]


def balanced_order(cases: Sequence[CaseFiles], seed: int) -> list[str]:
    """The patients of ``cases`` in a random order of which every beginning has about the proportion of groups of all.

    The first n of it are the training set of size n of a study: the smaller ones lie within the larger ones. Of each
    group there are at most one patient more or fewer than its share of n.
    """
    groups = _by_group(cases)
    random = np.random.default_rng(seed)
    waiting = {group: [str(patient) for patient in random.permutation(groups[group])] for group in sorted(groups)}
    total = sum(map(len, waiting.values()))
    share = {group: len(members) / total for group, members in waiting.items()}
    order: list[str] = []
    taken = dict.fromkeys(waiting, 0)
    while len(order) < total:
        # Of the groups that the share of the next beginning still owes a patient the one that would have to wait least
        # (the quota method of Balinski and Young 1975, which never leaves the share's whole numbers).
        place = len(order) + 1
        owed = [group for group in waiting if taken[group] < len(waiting[group])]
        within = [group for group in owed if taken[group] < share[group] * place]
        group = min(within or owed, key=lambda name: ((taken[name] + 1) / share[name], name))
        order.append(waiting[group][taken[group]])
        taken[group] += 1
    return order


def deal_patients(cases: Sequence[CaseFiles], parts: int, seed: int) -> list[list[CaseFiles]]:
    """The cases in ``parts`` parts for a cross-validation, by patient; each part has its share of each group.

    Raises
    ------
    InputError : there are fewer patients than parts, or fewer than two parts.
    """
    groups = _by_group(cases)
    count = sum(map(len, groups.values()))
    if not 2 <= parts <= count:
        raise InputError(f"{count} patients cannot be dealt into {parts} parts.", "Use 2 parts or more, or more cases.")
    random = np.random.default_rng(seed)
    dealt = [str(patient) for group in sorted(groups) for patient in random.permutation(groups[group])]
    part_of = {patient: place % parts for place, patient in enumerate(dealt)}
    return [[case for case in cases if part_of[case.patient] == part] for part in range(parts)]


def _by_group(cases: Sequence[CaseFiles]) -> dict[str, list[str]]:
    """Group to its patients, sorted; a patient's first visit tells the group."""
    patients: dict[str, str] = {}
    for case in cases:
        patients.setdefault(case.patient, case.group)
    groups: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(patients):
        groups[patients[patient]].append(patient)
    return groups
