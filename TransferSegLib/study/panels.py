"""Panels: what each strategy made of a patient, beside the image and the reference, upright on one grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..case import Case, load_case
from ..grid import Grid
from ..resample import resample, resample_labels
from ..volume import read_volume
from .conduct import Study
from .figures import Chosen, PatientRow
from .scores import Score

# The channel that shows most of a tumour, as in the paper's figure.
_SHOWN = "t1c"


class Upright(NamedTuple):
    """An image and label maps (i, j, k) on one grid, in RAS."""

    image: NDArray[np.float32]
    labels: Mapping[str, NDArray[np.uint8]]
    grid: Grid


def upright(case: Case, channel: str, labels: Mapping[str, NDArray[np.uint8]], classes: int) -> Upright:
    """``channel`` of the case and label maps on its grid, turned to RAS."""
    grid = case.grid.reoriented()
    image = np.asarray(resample(case.channels[channel], case.grid, grid), np.float32)
    turned = {name: resample_labels(array, case.grid, grid, classes) for name, array in labels.items()}
    return Upright(image, turned, grid)


def patient_row(study: Study, chosen: Chosen, size: int, seed: int, scores: Iterable[Score]) -> PatientRow:
    """A row of the figure of patients: the ``chosen`` one after trainings on ``size`` patients with ``seed``.

    Raises
    ------
    InputError : a label map of the study cannot be read.
    """
    scheme, name = study.plan.scheme, chosen.case
    here = [item for item in study.trained if (item.cell.size, item.cell.arrangement.seed) == (size, seed)]
    runs = {item.cell.strategy: item for item in here if name in {test.name for test in item.job.test}}
    files = next(test for item in runs.values() for test in item.job.test if test.name == name)
    channel = _SHOWN if _SHOWN in study.plan.channels else study.plan.channels[0]
    truth = load_case(files, study.plan.channels, scheme)
    assert truth.label is not None
    maps = {"": truth.label}
    for strategy, item in runs.items():
        maps[strategy] = scheme.encode(read_volume(item.job.results / f"{name}.nii.gz").data)
    shown = upright(truth, channel, maps, len(scheme))
    predicted = {strategy: shown.labels[strategy] for strategy in study.design.strategies if strategy in runs}
    dice: dict[str, dict[str, float]] = {}
    for score in scores:
        if (score.case, score.n, score.seed) == (name, size, seed):
            dice.setdefault(score.strategy, {})[score.region] = score.values["dice"]
    spacing = shown.grid.spacing
    return PatientRow(chosen.patient, chosen.group, shown.image, shown.labels[""], predicted, spacing, channel, dice)
