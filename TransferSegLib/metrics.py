"""Metrics: how good one predicted label map is, from arrays. (Those of a probability map come from curves.py.)

The rules for empty masks are stated at each function and never left to a library's default: a case without a lesion
is common, and one silent NaN changes the mean of a study.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .curves import ProbabilityHistogram, pr_auc, roc_auc
from .errors import InputError
from .labels import LabelScheme

# What BraTS counts for a region that is missed, or found where there is none: the diagonal of its 240x240x155 grid, mm.
HD95_PENALTY_MM = 373.13

# Lesions below 3 mm3 do not count, as in the MSSEG challenge (Commowick et al. 2018, doi:10.1038/s41598-018-31911-7).
MIN_LESION_ML = 0.003

Mask = NDArray[np.bool_]

__all__ = [
    "HD95_PENALTY_MM",
    "MIN_LESION_ML",
    "LesionScore",
    "ProbabilityHistogram",
    "count_lesions",
    "dice",
    "hausdorff95",
    "label_lesions",
    "lesion_detection",
    "pr_auc",
    "reported_labels",
    "roc_auc",
    "score_case",
    "sensitivity",
    "specificity",
    "volume_difference",
]


def dice(predicted: ArrayLike, reference: ArrayLike) -> float:
    """Dice overlap, 0 to 1, of two masks of the same shape: 2 |P and R| / (|P| + |R|) (doi:10.2307/1932409).

    Both empty: 1. One empty: 0. This is the rule of BraTS.

    Raises
    ------
    InputError : the shapes differ.
    """
    predicted, reference = _masks(predicted, reference)
    total = _count(predicted) + _count(reference)
    return 2 * _count(predicted & reference) / total if total else 1.0


def sensitivity(predicted: ArrayLike, reference: ArrayLike) -> float:
    """Share of the reference's voxels that were found, 0 to 1. NaN when the reference is empty: nothing to find.

    Raises
    ------
    InputError : the shapes differ.
    """
    predicted, reference = _masks(predicted, reference)
    return _ratio(_count(predicted & reference), _count(reference))


def specificity(predicted: ArrayLike, reference: ArrayLike) -> float:
    """Share of the voxels outside the reference that were left out, 0 to 1. NaN when the reference fills the image.

    It depends on how much background the image has, and is close to 1 for nearly everything: read it with the Dice.

    Raises
    ------
    InputError : the shapes differ.
    """
    predicted, reference = _masks(predicted, reference)
    outside = reference.size - _count(reference)
    return _ratio(outside - _count(predicted & ~reference), outside)


def volume_difference(predicted: ArrayLike, reference: ArrayLike, voxel_ml: float) -> tuple[float, float]:
    """Predicted minus reference volume: in ml, and in percent of the reference.

    Both empty: 0 %. Only the reference empty: NaN %, for there is nothing to relate to.

    Parameters
    ----------
    voxel_ml : volume of one voxel in ml.

    Raises
    ------
    InputError : the shapes differ.
    """
    predicted, reference = _masks(predicted, reference)
    found, true = _count(predicted), _count(reference)
    return (found - true) * voxel_ml, 0.0 if found == true else 100 * _ratio(found - true, true)


def hausdorff95(predicted: ArrayLike, reference: ArrayLike, spacing: Sequence[float]) -> float:
    """95th percentile Hausdorff distance in mm, by MONAI.

    The larger of the two directed 95th percentiles of the distances between surface voxels (those with a face
    neighbour outside the mask or outside the image). Both empty: 0. One empty: 373.13 mm, the penalty of BraTS, which
    is the diagonal of its grid of 240x240x155 mm; a mean that holds it is no distance any more, so report the median.

    Parameters
    ----------
    predicted, reference : masks (i, j, k) of the same shape.
    spacing : voxel sizes along i, j, k in mm.

    Raises
    ------
    InputError : the shapes differ.
    """
    predicted, reference = _masks(predicted, reference)
    if not predicted.any() or not reference.any():
        return HD95_PENALTY_MM if predicted.any() or reference.any() else 0.0
    import torch
    from monai.metrics import compute_hausdorff_distance

    # MONAI makes float copies of what it gets, so it gets the part that counts only.
    box = _box(predicted | reference)
    pair = [torch.from_numpy(np.ascontiguousarray(mask[box]))[None, None] for mask in (predicted, reference)]
    sides = [float(side) for side in spacing]  # MONAI refuses a mixture of int and float
    with warnings.catch_warnings():
        # MONAI 1.5 to 1.6 warns about an argument that it passes to itself.
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=sides)
    return float(distance.item())


@dataclass(frozen=True)
class LesionScore:
    """Lesion-wise agreement.

    Attributes
    ----------
    reference : lesions in the reference.
    predicted : lesions in the prediction.
    found : lesions of the reference that the prediction touches.
    correct : lesions of the prediction that touch the reference; the others are false alarms.
    """

    reference: int
    predicted: int
    found: int
    correct: int

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that are correct. Nothing predicted: 1 if nothing was there, else NaN."""
        return _ratio(self.correct, self.predicted) if self.predicted or self.reference else 1.0

    @property
    def recall(self) -> float:
        """Share of the reference's lesions that were found. Nothing there: 1 if nothing was predicted, else NaN."""
        return _ratio(self.found, self.reference) if self.predicted or self.reference else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall. Both empty: 1; one empty, or nothing touches: 0."""
        if not self.predicted and not self.reference:
            return 1.0
        if not self.correct or not self.found:
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def lesion_detection(
    predicted: ArrayLike, reference: ArrayLike, voxel_ml: float, min_ml: float = MIN_LESION_ML
) -> LesionScore:
    """Lesions found, missed and invented.

    A lesion is a 26-connected component. One of the reference is found when at least one predicted voxel overlaps
    it; a predicted one is a false alarm when it overlaps no voxel of the reference: the lesion-wise true and false
    positive rates of Carass et al. 2017, doi:10.1016/j.neuroimage.2016.12.064. Several lesions of the reference under
    one predicted lesion are all found.

    Parameters
    ----------
    predicted, reference : masks (i, j, k) of the same shape.
    voxel_ml : volume of one voxel in ml.
    min_ml : smaller components are erased from both masks first.

    Raises
    ------
    InputError : the shapes differ.
    """
    predicted, reference = _masks(predicted, reference)
    # A hair below, so that 3 mm3 are 3 voxels of 1 mm3 whatever the rounding of the affine says.
    min_voxels = max(1, math.ceil(min_ml / voxel_ml - 1e-6))
    predicted_lesions, predicted_count = label_lesions(predicted, min_voxels)
    reference_lesions, reference_count = label_lesions(reference, min_voxels)
    both = (predicted_lesions > 0) & (reference_lesions > 0)
    found, correct = (np.unique(lesions[both]).size for lesions in (reference_lesions, predicted_lesions))
    return LesionScore(reference_count, predicted_count, found, correct)


def label_lesions(mask: ArrayLike, min_voxels: int = 1) -> tuple[NDArray[np.int32], int]:
    """Number the 26-connected components of at least ``min_voxels`` voxels from 1 on; 0 elsewhere.

    Returns
    -------
    Array of the shape of ``mask``, and how many components there are.
    """
    mask = np.asarray(mask, bool)
    labelled = np.zeros(mask.shape, np.int32)
    if not mask.any():
        return labelled, 0
    box = _box(mask)
    components, count = ndimage.label(mask[box], np.ones((3,) * mask.ndim))
    large = np.bincount(components.ravel(), minlength=count + 1) >= min_voxels
    large[0] = False
    numbers = np.where(large, np.cumsum(large), 0).astype(np.int32)
    labelled[box] = numbers[components]
    return labelled, int(large.sum())


def count_lesions(mask: ArrayLike, min_voxels: int = 1) -> int:
    """Number of 26-connected components of ``mask`` (i, j, k) that have at least ``min_voxels`` voxels."""
    return label_lesions(mask, min_voxels)[1]


def reported_labels(scheme: LabelScheme) -> dict[str, tuple[int, ...]]:
    """What is scored: the regions of the scheme, then each foreground class that is no region of its own.

    Returns
    -------
    Name to internal labels, in the order of reporting.
    """
    reported = {region: scheme.region_labels(region) for region in scheme.regions}
    for label, name in enumerate(scheme.names):
        if label and name not in reported and (label,) not in reported.values():
            reported[name] = (label,)
    return reported


def score_case(
    predicted: NDArray[Any],
    reference: NDArray[Any],
    scheme: LabelScheme,
    spacing: Sequence[float],
    lesions: bool | None = None,
    voxel_ml: float | None = None,
) -> dict[str, dict[str, float]]:
    """All metrics of one case.

    Parameters
    ----------
    predicted, reference : internal labels 0..F-1, (i, j, k).
    spacing : voxel sizes along i, j, k in mm.
    lesions : score lesion by lesion too. None: when the scheme has one foreground class.
    voxel_ml : volume of one voxel in ml. None: the product of ``spacing``, right for all but sheared grids.

    Returns
    -------
    Region (see :func:`reported_labels`) to metric to value: dice, sensitivity, specificity, hd95_mm, volume_ml,
    reference_ml, volume_difference_ml, volume_difference_percent; with ``lesions`` also lesion_precision,
    lesion_recall, lesion_f1, lesion_count, lesion_reference_count, lesion_found_count, lesion_false_count.

    Raises
    ------
    InputError : the shapes differ, or a label is none of the scheme's.
    """
    _require_same_shape(predicted, reference)
    for labels in (predicted, reference):
        _require_internal(labels, scheme)
    voxel_ml = math.prod(spacing) / 1000 if voxel_ml is None else voxel_ml
    with_lesions = scheme.binary if lesions is None else lesions
    return {
        name: _score_region(np.isin(predicted, members), np.isin(reference, members), spacing, voxel_ml, with_lesions)
        for name, members in reported_labels(scheme).items()
    }


def _score_region(
    predicted: Mask, reference: Mask, spacing: Sequence[float], voxel_ml: float, lesions: bool
) -> dict[str, float]:
    difference_ml, difference_percent = volume_difference(predicted, reference, voxel_ml)
    scores = {
        "dice": dice(predicted, reference),
        "sensitivity": sensitivity(predicted, reference),
        "specificity": specificity(predicted, reference),
        "hd95_mm": hausdorff95(predicted, reference, spacing),
        "volume_ml": _count(predicted) * voxel_ml,
        "reference_ml": _count(reference) * voxel_ml,
        "volume_difference_ml": difference_ml,
        "volume_difference_percent": difference_percent,
    }
    if lesions:
        found = lesion_detection(predicted, reference, voxel_ml)
        scores |= {
            "lesion_precision": found.precision,
            "lesion_recall": found.recall,
            "lesion_f1": found.f1,
            "lesion_count": found.predicted,
            "lesion_reference_count": found.reference,
            "lesion_found_count": found.found,
            "lesion_false_count": found.predicted - found.correct,
        }
    return scores


def _masks(predicted: ArrayLike, reference: ArrayLike) -> tuple[Mask, Mask]:
    first, second = np.asarray(predicted, bool), np.asarray(reference, bool)
    _require_same_shape(first, second)
    return first, second


def _require_same_shape(predicted: NDArray[Any], reference: NDArray[Any]) -> None:
    if predicted.shape != reference.shape:
        raise InputError(
            f"The prediction has the shape {predicted.shape}, the reference {reference.shape}.",
            "Bring both onto one grid first.",
        )


def _require_internal(labels: NDArray[Any], scheme: LabelScheme) -> None:
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(scheme):
        raise InputError(
            f"Labels go from {labels.min()} to {labels.max()}; the scheme '{scheme.name}' has 0 to {len(scheme) - 1}.",
            "Turn the codes of a file into internal labels first, with LabelScheme.encode.",
        )


def _count(mask: Mask) -> int:
    return int(np.count_nonzero(mask))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box that holds ``mask``, which is not empty."""
    box: tuple[slice, ...] = ndimage.find_objects(mask.view(np.uint8))[0]
    return box
