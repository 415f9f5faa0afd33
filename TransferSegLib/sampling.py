"""Which part of which case the network sees at each step of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .preprocess import Prepared

# Share of patches that are centred on a foreground voxel.
FOREGROUND_SHARE = 2 / 3


@dataclass(frozen=True, eq=False)
class Sample:
    """What the network learns from at once: ``image`` (C, i, j, k), ``brain`` and ``label`` (i, j, k)."""

    image: Tensor
    brain: Tensor
    label: Tensor


def epoch_order(cases: int, samples_per_case: int, seed: int, epoch: int) -> list[int]:
    """Case indices of one epoch: each case ``samples_per_case`` times, in random order, the same for the same seed."""
    order = np.repeat(np.arange(cases), samples_per_case)
    return [int(index) for index in np.random.default_rng((seed, epoch)).permutation(order)]


def draw_sample(case: Prepared, patch: int, multiple: int, seed: Sequence[int]) -> Sample:
    """The whole case, or a cube of it.

    Parameters
    ----------
    patch : side of the cube in voxels; 0: the whole case. A side of the case that is shorter is padded.
    multiple : the sides are rounded up to a multiple of this.
    seed : numbers that name this sample.
    """
    assert case.label is not None
    shape = case.brain.shape
    if not patch:
        start: list[int] = [0, 0, 0]
        size = [-(-side // multiple) * multiple for side in shape]
    else:
        centre = _patch_centre(case.label, case.brain, np.random.default_rng(seed))
        patch = -(-patch // multiple) * multiple
        size = [patch] * 3
        start = [
            int(np.clip(middle - patch // 2, 0, max(0, side - patch)))
            for middle, side in zip(centre, shape, strict=True)
        ]
    return Sample(
        torch.from_numpy(_window(case.image, start, size)),
        torch.from_numpy(_window(case.brain, start, size)),
        torch.from_numpy(_window(case.label, start, size).astype(np.int64)),
    )


def _patch_centre(label: NDArray[np.uint8], brain: NDArray[np.bool_], random: np.random.Generator) -> tuple[int, ...]:
    """A voxel of a class drawn evenly from those present, in ``FOREGROUND_SHARE`` of the calls, else of the brain."""
    present = np.flatnonzero(np.bincount(label.ravel())[1:]) + 1
    if len(present) and random.random() < FOREGROUND_SHARE:
        candidates = np.flatnonzero(label == random.choice(present))
    else:
        candidates = np.flatnonzero(brain)
    return tuple(int(index) for index in np.unravel_index(random.choice(candidates), label.shape))


def _window(array: NDArray[np.generic], start: Sequence[int], size: Sequence[int]) -> NDArray[np.generic]:
    """The last three axes from ``start`` on, zero-padded to ``size``; a copy."""
    i, j, k = (slice(first, first + side) for first, side in zip(start, size, strict=True))
    part = np.asarray(array[..., i, j, k])
    missing = [wanted - have for wanted, have in zip(size, part.shape[-3:], strict=True)]
    return np.pad(part, [(0, 0)] * (part.ndim - 3) + [(0, more) for more in missing])
