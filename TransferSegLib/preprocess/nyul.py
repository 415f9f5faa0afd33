"""One scale of brightness for all scanners: the histogram's landmarks are taken to learnt places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

# Where the landmarks are in the histogram of the brain, in percent, and the scale that their ends are given.
PERCENTILES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)
_LOW, _HIGH = 0.0, 100.0

# How far values may go beyond the end landmarks, in lengths of the scale. Without a limit a bright vessel stands at
# four times the scale, and whatever looks for the largest value finds it.
_TAIL = 0.5

# Landmarks closer than this share of the way between the end landmarks are one and the same.
_SAME = 1e-6


@dataclass(frozen=True)
class Standardise:
    """Takes the percentiles of the brain's values, piecewise linearly, to those of an average training image.

    Nyul & Udupa 1999, 10.1002/(SICI)1522-2594(199912)42:6<1072::AID-MRM11>3.0.CO;2-M; landmarks as in Nyul et al. 2000,
    10.1109/42.836373: the percentiles 1, 10, 20, ..., 90, 99. Beyond the first and the last the end pieces go on
    straight, to half the scale below and above it.

    Learn it from training cases only: what it knows of other cases would leak into their scores.

    Attributes
    ----------
    landmarks : by channel name, eleven values on a scale from about 0 to 100 that do not fall. Empty: not learnt yet.

    Raises
    ------
    InputError : the landmarks of a channel are not eleven finite values, or they fall or are all the same.
    """

    step: ClassVar[str] = "nyul"
    landmarks: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tidy = {channel: tuple(float(value) for value in values) for channel, values in self.landmarks.items()}
        for channel, values in tidy.items():
            rising = all(low <= high for low, high in pairwise(values)) and values[:1] < values[-1:]
            if len(values) != len(PERCENTILES) or not all(map(isfinite, values)) or not rising:
                raise InputError(
                    f"The landmarks of channel '{channel}' are not {len(PERCENTILES)} rising values: {values}.",
                    "Learn them again from the training cases.",
                )
        object.__setattr__(self, "landmarks", tidy)

    def learn(
        self, cases: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]], channels: Sequence[str]
    ) -> Standardise:
        """The step with the landmarks of ``channels``: the mean over all cases, each first brought to 0..100.

        An image of less than three values, or one whose end percentiles are equal, tells nothing and is left out.

        Parameters
        ----------
        cases : image (C, i, j, k) and brain (i, j, k) of each training case. One at a time is held.
        channels : names of the C channels.

        Raises
        ------
        InputError : an image has another number of channels, a brain is empty, or no image of a channel can be used.
        """
        found: dict[str, list[NDArray[np.float64]]] = {channel: [] for channel in channels}
        for number, (image, brain) in enumerate(cases, start=1):
            if len(image) != len(channels):
                raise InputError(
                    f"Image {number} has {len(image)} channels, not {len(channels)}.", "Give the same channels."
                )
            for channel, values in zip(channels, image, strict=True):
                here = _percentiles(values, brain)
                if _usable(here, values, brain):
                    found[channel].append(_LOW + (here - here[0]) / (here[-1] - here[0]) * (_HIGH - _LOW))
        empty = [channel for channel, rows in found.items() if not rows]
        if empty:
            raise InputError(
                f"No image of channel {', '.join(empty)} has enough different values to learn its landmarks.",
                "Give training cases with real images.",
            )
        # Sorted, so that the mean is the same to the bit in whatever order the cases come.
        learnt = {channel: tuple(np.sort(np.array(rows), 0).mean(0).tolist()) for channel, rows in found.items()}
        return Standardise({**self.landmarks, **learnt})

    def apply(self, image: NDArray[np.float32], brain: NDArray[np.bool_], channel: str) -> NDArray[np.float32]:
        """The image (i, j, k) on the learnt scale, float32, also outside of ``brain`` (i, j, k).

        The map never falls. An image of one value becomes the middle landmark.

        Raises
        ------
        InputError : the channel was not learnt, or the brain is empty.
        """
        if channel not in self.landmarks:
            known = ", ".join(self.landmarks) or "none"
            raise InputError(
                f"There are no landmarks of channel '{channel}' to standardise with; there are: {known}.",
                "Learn them from the training cases, or leave the standardisation out.",
            )
        wanted = np.array(self.landmarks[channel])
        here = _percentiles(image, brain)
        here, wanted = _distinct(here, wanted)
        if here.size == 1:
            return np.full(image.shape, wanted[0], np.float32)
        slopes = np.diff(wanted) / np.diff(here)
        values = image.astype(np.float64)
        piece = np.searchsorted(here[1:-1], values, side="right")
        result = wanted[piece] + slopes[piece] * (values - here[piece])
        reach = _TAIL * (wanted[-1] - wanted[0])
        return np.clip(result, wanted[0] - reach, wanted[-1] + reach).astype(np.float32)


def _percentiles(values: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    if values.shape != brain.shape or not brain.any():
        raise InputError("There is no brain in the mask to take percentiles of.", "Give a mask on the image's grid.")
    return np.percentile(values[brain].astype(np.float64), PERCENTILES)


def _usable(percentiles: NDArray[np.float64], values: NDArray[np.float32], brain: NDArray[np.bool_]) -> bool:
    first, last = percentiles[[0, -1]]
    return bool(last - first > _SAME * max(abs(first), abs(last))) and np.unique(values[brain]).size > 2


def _distinct(
    here: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Landmarks that stand at the same value become one, at the mean of where they are wanted: no piece is vertical."""
    steps = np.diff(here) > _SAME * max(float(here[-1] - here[0]), float(np.abs(here).max()) * _SAME)
    group = np.concatenate([[0], np.cumsum(steps)])
    if group[-1] == 0:
        return here[:1], wanted[wanted.size // 2 : wanted.size // 2 + 1]
    size = np.bincount(group)
    return np.bincount(group, here) / size, np.bincount(group, wanted) / size
