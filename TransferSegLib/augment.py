"""Random changes of training images, from MONAI's transforms; each is optional and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .recipe import AUGMENTATIONS


def augment(
    image: Tensor, brain: Tensor, label: Tensor, names: Sequence[str], seed: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """A random variant of a training sample; the same one for the same ``seed``.

    Parameters
    ----------
    image : (C, i, j, k) float32, z-scored or 0..1 over the brain, 0 outside.
    brain : (i, j, k) bool.
    label : (i, j, k) integer.
    names : some of ``AUGMENTATIONS``.
    seed : numbers that name this sample, for instance (run, epoch, index).

    Returns
    -------
    image, brain, label of the same shapes and types; the image is still 0 outside of the brain.
    """
    random = np.random.default_rng(seed)
    for name in AUGMENTATIONS:
        # Drawn for every augmentation, used or not, so that leaving one out does not change the others.
        step_seed = int(random.integers(2**32))
        if name not in names:
            continue
        if name in _SPATIAL:
            image, brain, label = _move(_transform(name), image, brain, label, step_seed)
        else:
            image = _recolour(_transform(name), image, brain, step_seed)
    return image, brain, label


_SPATIAL = ("flip", "affine")


@cache
def _transform(name: str) -> Any:
    """MONAI's transform of that name. Made once: MONAI takes seconds to import and is needed in training only."""
    from monai import transforms

    keys, modes = ["image", "brain", "label"], ["bilinear", "nearest", "nearest"]
    made: dict[str, Any] = {
        "flip": lambda: transforms.RandFlipd(keys, prob=0.5, spatial_axis=0),
        "affine": lambda: transforms.RandAffined(
            keys,
            prob=0.5,
            rotate_range=(np.pi / 12,) * 3,
            scale_range=(0.15,) * 3,
            translate_range=(8,) * 3,
            mode=modes,
            padding_mode="zeros",
        ),
        "bias": lambda: transforms.RandBiasField(prob=0.33, degree=3, coeff_range=(0.0, 0.1)),
        "gamma": lambda: transforms.RandAdjustContrast(prob=0.5, gamma=(0.7, 1.5), retain_stats=True),
        "shift": lambda: transforms.Compose(
            [transforms.RandScaleIntensity(factors=0.15, prob=1.0), transforms.RandStdShiftIntensity(0.15, prob=1.0)]
        ),
        # Thick slices, as older scans have in one channel or another.
        "lowres": lambda: transforms.RandSimulateLowResolution(prob=0.33, zoom_range=(0.33, 1.0)),
        "noise": lambda: transforms.RandGaussianNoise(prob=0.33, std=0.1),
    }
    return made[name]()


def _move(transform: Any, image: Tensor, brain: Tensor, label: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    transform.set_random_state(seed)
    sample = transform({"image": image, "brain": brain[None].float(), "label": label[None].float()})
    moved = _plain(sample["brain"])[0] > 0.5
    # Interpolation mixes brain and background at the brain's edge.
    return _plain(sample["image"]) * moved, moved, _plain(sample["label"])[0].round().to(label.dtype)


def _recolour(transform: Any, image: Tensor, brain: Tensor, seed: int) -> Tensor:
    transform.set_random_state(seed)
    channels = [_plain(transform(channel[None])) for channel in image]
    return torch.cat(channels) * brain


def _plain(tensor: Any) -> Tensor:
    """A plain tensor: MONAI's carry the history of transforms."""
    result: Tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
    return result
