"""Class weights that decay, and the weighted cross-entropy of Kaur et al. 2019 (section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .errors import InputError

_IGNORED = -100  # marks voxels that do not count


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


def weighted_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cross-entropy, each voxel weighted by its class and divided by the sum of these weights.

    Parameters
    ----------
    logits : (F, i, j, k).
    target : (i, j, k) labels 0..F-1, int64.
    weights : (F,).
    mask : (i, j, k) bool, the voxels that count; None: all. If there is none the loss is 0.
    """
    if mask is not None:
        # Marked, not cut out: gathering these voxels and scattering the gradient back took a quarter of a step.
        target = target.masked_fill(~mask, _IGNORED)
    total = functional.cross_entropy(
        logits.float()[None], target[None], weights, ignore_index=_IGNORED, reduction="sum"
    )
    counted = torch.stack([(target == label).sum() for label in range(len(weights))])
    return total / (weights * counted).sum().clamp(min=1e-6)


def soft_dice_loss(
    logits: Tensor, target: Tensor, regions: Iterable[Collection[int]], mask: Tensor | None = None, smooth: float = 1.0
) -> Tensor:
    """One minus the mean over ``regions`` of the soft Dice coefficient (Milletari et al. 2016).

    10.1109/3DV.2016.79. Regions, not classes: what is reported and what the best epoch has most of (paper, 3.3).

    Parameters
    ----------
    logits, target, mask : as in :func:`weighted_cross_entropy`.
    regions : the labels of each region; a region's probability is the sum of theirs.
    smooth : makes an absent region that is not predicted count as found.
    """
    probability = logits.float().softmax(0)
    if mask is not None:
        probability = probability * mask
        target = target.masked_fill(~mask, _IGNORED)
    losses = []
    for labels in regions:
        found = torch.stack([probability[label] for label in labels]).sum(0)
        reference = torch.stack([target == label for label in labels]).any(0)
        overlap = (found * reference).sum()
        losses.append(1 - (2 * overlap + smooth) / (found.sum() + reference.sum() + smooth))
    return torch.stack(losses).mean()
