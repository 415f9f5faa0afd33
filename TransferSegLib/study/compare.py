"""Compare: which strategy to use, for someone with few cases; a small study on all of them by cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

from ..case_files import CaseFiles
from ..errors import InputError
from ..recipe import Recipe
from .design import Design

# A cross-validation cannot say anything about fewer.
FEWEST_PATIENTS = 4

_FOLDS = 4


def comparing_design(
    cases: Sequence[CaseFiles],
    recipe: Recipe,
    sizes: Sequence[int] = (),
    strategies: Sequence[str] = ("scratch", "last-three", "decoder", "all"),
    folds: int = _FOLDS,
    seeds: int = 1,
) -> Design:
    """Every patient is tested on once, by networks that were trained on the others; all with the same ``recipe``.

    Parameters
    ----------
    cases : annotated ones.
    sizes : patients to train on. None given: a third, two thirds and all of those that a fold leaves, so that it can
        be told what more cases would bring.

    Raises
    ------
    InputError : there are too few patients, or a value makes no sense.
    """
    patients = len({case.patient for case in cases})
    if patients < FEWEST_PATIENTS:
        raise InputError(
            f"{patients} annotated patients are too few to compare strategies.",
            f"Annotate {FEWEST_PATIENTS} or more; until then use the strategy all.",
        )
    if folds < 2:
        raise InputError(f"--folds cannot be {folds}.", "Give 2 or more.")
    folds = min(folds, patients)
    most = patients - -(-patients // folds)  # what the largest fold leaves
    chosen = tuple(sizes) or tuple(sorted({max(1, round(most * share / 3)) for share in (1, 2, 3)}))
    return Design(chosen, tuple(strategies), seeds, test_folds=folds, validation=0, recipe=recipe)
