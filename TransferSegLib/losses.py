"""Class weights that decay, the weighted cross-entropy of Kaur et al. 2019 (section 3.2), and the Dice loss."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import InputError

_IGNORED = -1  # no label: marks voxels that do not count


def class_weights(counts: Sequence[int] | NDArray[np.int64], names: Sequence[str] = ()) -> Tensor:
    """Weights at the start of training: w_c = voxels in the training set / voxels of class c in it.

    Parameters
    ----------
    counts : (F,) voxels of each class over the training set.
    names : of the classes, for the error.

    Raises
    ------
    InputError : a class has no voxel in the training set.
    """
    voxels = np.asarray(counts, np.float64)
    empty = [names[c] if names else str(c) for c in np.flatnonzero(voxels == 0).tolist()]
    if empty:
        raise InputError(
            f"No training case has a voxel of {', '.join(empty)}.", "Add cases that have it, or leave the class out."
        )
    return torch.from_numpy((voxels.sum() / voxels).astype(np.float32))


def decayed_weights(weights: Tensor, decay: float, epoch: float, form: str = "to-one") -> Tensor:
    """Class weights (F,) at ``epoch``, counted from 0 and maybe within one, with ``decay`` d in 0..1.

    ``to-one``: w_c(e) = 1 + (w_c - 1) d^e, which starts at w_c and ends at 1 as the paper's text says.
    ``plus-one``: w_c(e) = w_c d^e + 1, the formula of the lab's other paper (Mehta and Arbel 2018, RS-Net, eq. 3).
    """
    if form == "to-one":
        return 1 + (weights - 1) * math.pow(decay, epoch)
    if form == "plus-one":
        return weights * math.pow(decay, epoch) + 1
    raise InputError(f"There is no form of decay '{form}'.", "Use 'to-one' or 'plus-one'.")


class SoftConfusion(NamedTuple):
    """What the losses need to know of a prediction: sums over voxels, by their label in the reference.

    Attributes
    ----------
    voxels : (F,) voxels of each label.
    log_likelihood : (F,) the logarithm of the right class's probability, summed over the voxels of each label.
    probability : (F, F) probability of each class (columns), summed over the voxels of each label (rows): a confusion
        matrix of probabilities.
    """

    voxels: Tensor
    log_likelihood: Tensor
    probability: Tensor


def soft_confusion(logits: Tensor, target: Tensor, mask: Tensor | None = None) -> SoftConfusion:
    """Sum up a prediction; the gradient goes through the sums.

    Both losses from one softmax and two matrix products take less than half the time of each from its own voxels.

    Parameters
    ----------
    logits : (F, i, j, k), computed with in float32.
    target : (i, j, k) labels 0..F-1, int64.
    mask : (i, j, k) bool, the voxels that count; None: all.
    """
    # Marked, not cut out: gathering these voxels and scattering the gradient back took a quarter of a step.
    labels = target if mask is None else target.masked_fill(~mask, _IGNORED)
    one_hot = torch.stack([labels == label for label in range(len(logits))]).flatten(1).float()
    log_probability = logits.contiguous().float().log_softmax(0).flatten(1)
    return SoftConfusion(one_hot.sum(1), (one_hot @ log_probability.T).diagonal(), one_hot @ log_probability.exp().T)


def weighted_cross_entropy(confusion: SoftConfusion, weights: Tensor) -> Tensor:
    """Cross-entropy, each voxel weighted by its class, ``weights`` (F,), and divided by the sum of these weights.

    Without a voxel that counts it is 0.
    """
    return -(weights * confusion.log_likelihood).sum() / (weights * confusion.voxels).sum().clamp(min=1e-6)


def soft_dice_loss(confusion: SoftConfusion, regions: Iterable[Collection[int]], smooth: float = 1.0) -> Tensor:
    """One minus the mean over ``regions`` of the soft Dice coefficient (Milletari et al. 2016).

    10.1109/3DV.2016.79. Regions, not classes: what is reported and what the best epoch has most of (paper, 3.3).

    Parameters
    ----------
    regions : the labels of each region; a region's probability is the sum of theirs.
    smooth : makes an absent region that is not predicted count as found.
    """
    losses = []
    for labels in map(list, regions):
        found = confusion.probability[:, labels].sum()
        overlap = confusion.probability[labels][:, labels].sum()
        losses.append(1 - (2 * overlap + smooth) / (found + confusion.voxels[labels].sum() + smooth))
    return torch.stack(losses).mean()
