"""Curves: how well a probability map ranks voxels, over all thresholds: precision-recall and ROC."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from .errors import InputError

# The histogram is even in the log-odds, not in the probability: a trained network is nearly always sure, and even bins
# of the probability would put most lesion voxels into the last one. +-17 is where float32 ends below 1.
HISTOGRAM_BINS = 16384
_LOG_ODDS = 17.0


class ProbabilityHistogram:
    """Counts of voxels by probability, from which the areas under curves are read.

    Memory is bounded (256 kB) however many voxels and cases are added; cases are pooled by adding one after the other
    or by :meth:`merge`. Voxels with equal probabilities count as tied, as in scikit-learn; so do those whose
    log-odds differ by less than 0.002.
    """

    def __init__(self) -> None:
        # (2, bins): voxels outside and inside the reference.
        self.counts = np.zeros((2, HISTOGRAM_BINS), np.int64)

    def add(self, probability: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> None:
        """Count the voxels of one case.

        Parameters
        ----------
        probability : of the region, 0 to 1, any shape.
        reference : mask of the same shape.
        mask : the voxels to count, for instance the brain. None: all.

        Raises
        ------
        InputError : the shapes differ, or a probability is not between 0 and 1.
        """
        values = np.asarray(probability)
        inside = np.asarray(reference, bool)
        _require_same_shape(values, inside)
        if mask is not None:
            chosen = np.asarray(mask, bool)
            _require_same_shape(values, chosen)
            values, inside = values[chosen], inside[chosen]
        if not values.size:
            return
        # Written so that NaN is refused too; a softmax may end a rounding error above 1.
        lowest, highest = float(values.min()), float(values.max())
        if not (lowest >= -1e-4 and highest <= 1 + 1e-4):
            raise InputError(f"Probabilities go from {lowest:g} to {highest:g}.", "Give values between 0 and 1.")
        odds = np.clip(special.logit(np.clip(np.asarray(values, np.float32), 0, 1)), -_LOG_ODDS, _LOG_ODDS)
        bins = ((odds + _LOG_ODDS) * (HISTOGRAM_BINS / (2 * _LOG_ODDS))).astype(np.int32)
        np.minimum(bins, HISTOGRAM_BINS - 1, out=bins)
        bins[inside] += HISTOGRAM_BINS
        self.counts += np.bincount(bins.ravel(), minlength=2 * HISTOGRAM_BINS).reshape(2, -1)

    def merge(self, other: ProbabilityHistogram) -> None:
        """Add what ``other`` has counted."""
        self.counts += other.counts

    def pr_curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Recall and precision, one point a threshold that occurs, from the highest threshold to the lowest.

        Empty when no voxel lies inside the reference.
        """
        false, true = self._cumulated()
        if not true.size or not true[-1]:
            return np.empty(0), np.empty(0)
        return true / true[-1], true / (true + false)

    def roc_curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """False and true positive rate, one point a threshold that occurs, from (0, 0) to (1, 1).

        Empty when no voxel lies inside, or none outside the reference.
        """
        false, true = self._cumulated()
        if not true.size or not true[-1] or not false[-1]:
            return np.empty(0), np.empty(0)
        return np.append(0, false) / false[-1], np.append(0, true) / true[-1]

    def pr_auc(self) -> float:
        """Area under the voxel-wise precision-recall curve as average precision: sum of precision times recall step.

        As scikit-learn's ``average_precision_score``, without interpolation, which is too optimistic (Davis and
        Goadrich 2006, doi:10.1145/1143844.1143874). NaN when no voxel lies inside the reference.
        """
        recall, precision = self.pr_curve()
        return float((np.diff(recall, prepend=0) * precision).sum()) if recall.size else math.nan

    def roc_auc(self) -> float:
        """Area under the voxel-wise ROC curve. NaN when no voxel lies inside, or none outside the reference."""
        false, true = self.roc_curve()
        return float(np.trapezoid(true, false)) if true.size else math.nan

    def _cumulated(self) -> NDArray[np.int64]:
        """(2, thresholds): voxels outside and inside the reference at or above each threshold that occurs."""
        occurring = self.counts.any(0)
        cumulated: NDArray[np.int64] = self.counts[:, occurring][:, ::-1].cumsum(1)
        return cumulated


def pr_auc(probability: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Average precision of one case, see :class:`ProbabilityHistogram`. NaN when the reference is empty.

    Raises
    ------
    InputError : the shapes differ, or a probability is not between 0 and 1.
    """
    histogram = ProbabilityHistogram()
    histogram.add(probability, reference, mask)
    return histogram.pr_auc()


def roc_auc(probability: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Area under the ROC curve of one case, see :class:`ProbabilityHistogram`. NaN when there is one class only.

    Raises
    ------
    InputError : the shapes differ, or a probability is not between 0 and 1.
    """
    histogram = ProbabilityHistogram()
    histogram.add(probability, reference, mask)
    return histogram.roc_auc()


def _require_same_shape(probability: NDArray[Any], other: NDArray[Any]) -> None:
    if probability.shape != other.shape:
        raise InputError(
            f"The probabilities have the shape {probability.shape}, the mask {other.shape}.",
            "Bring both onto one grid first.",
        )
