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
    patients: dict[str, str] = {}
    for case in cases:
        patients.setdefault(case.patient, case.group)
    wanted = max(1, round(share * len(patients)))
    if not 0 < share < 1 or wanted >= len(patients):
        raise InputError(
            f"A share of {share:g} cannot be split off {len(patients)} patients.", "Use a smaller share or more cases."
        )
    chosen = set(_stratified(patients, wanted, seed))
    return (
        [case for case in cases if case.patient not in chosen],
        [case for case in cases if case.patient in chosen],
    )


def _stratified(patients: dict[str, str], wanted: int, seed: int) -> list[str]:
    """``wanted`` patients, from each group its share, rounded by largest remainder."""
    groups: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(patients):
        groups[patients[patient]].append(patient)
    random = np.random.default_rng(seed)
    exact = {group: wanted * len(members) / len(patients) for group, members in groups.items()}
    quota = {group: math.floor(share) for group, share in exact.items()}
    remainders = sorted(groups, key=lambda group: (quota[group] - exact[group], group))
    for group in remainders[: wanted - sum(quota.values())]:
        quota[group] += 1
    return [str(patient) for group in sorted(groups) for patient in random.permutation(groups[group])[: quota[group]]]
