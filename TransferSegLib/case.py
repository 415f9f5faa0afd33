"""Case: the images of one visit of one patient, read from its files (:mod:`TransferSegLib.case_files`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .case_files import CHANNELS, REFERENCE_ORDER, CaseFiles
from .errors import InputError
from .events import OnEvent, Warning, ignore
from .grid import Grid
from .labels import LabelScheme
from .resample import resample, resample_mask
from .volume import Volume, read_volume

# Below this share of the reference inside another channel's field of view the case is refused, or warned about.
_NO_OVERLAP, _LITTLE_OVERLAP = 0.05, 0.6


@dataclass(frozen=True, eq=False)
class Case:
    """The images of one visit, each on the grid it was taken on.

    Attributes
    ----------
    name : of the case.
    volumes : channel name to image.
    reference_channel : the channel that gives the grid and the header conventions of every result.
    label : (i, j, k) internal labels on ``grid``, or None.
    brain : (i, j, k) the given mask of the brain on ``grid``, or None.
    """

    name: str
    volumes: Mapping[str, Volume]
    reference_channel: str
    label: NDArray[np.uint8] | None = None
    brain: NDArray[np.bool_] | None = None

    @property
    def reference(self) -> Volume:
        """The reference channel as read."""
        return self.volumes[self.reference_channel]

    @property
    def grid(self) -> Grid:
        """Of the reference channel."""
        return self.reference.grid

    @cached_property
    def channels(self) -> dict[str, NDArray[np.float32]]:
        """Channel name to (i, j, k) float32 values on ``grid``, through world space."""
        return {channel: volume_on(volume, self.grid) for channel, volume in self.volumes.items()}


def volume_on(volume: Volume, grid: Grid) -> NDArray[np.float32]:
    """Values (i, j, k) of ``volume`` on ``grid``, 0 where it does not reach."""
    return np.asarray(resample(np.asarray(volume.data, np.float32), volume.grid, grid), np.float32)


def load_case(
    files: CaseFiles,
    channels: Sequence[str] = CHANNELS,
    scheme: LabelScheme | None = None,
    reference: str | None = None,
    on_event: OnEvent = ignore,
) -> Case:
    """Read a case: its channels, its brain mask if there is one, and its label map if ``scheme`` is given.

    Parameters
    ----------
    channels : the ones to read.
    scheme : reads the label map too and says what its values mean; None: the label map is not read.
    reference : the channel that gives the grid. None: the one whose grid the label map has, else the first of
        ``REFERENCE_ORDER`` that is there.

    Raises
    ------
    InputError : a channel is missing, damaged, constant or elsewhere in space; the label map is missing, has
        unknown values, or lies on a grid that no channel has.
    """
    files.require(channels)
    if reference is not None and reference not in channels:
        raise InputError(
            f"The reference channel '{reference}' is not among {', '.join(channels)}.", "Choose one of them."
        )
    volumes = {channel: _read_channel(files.channels[channel]) for channel in channels}
    label = _read_label(files, volumes, on_event) if scheme is not None else None
    chosen = reference or _default_reference(volumes, label)
    grid = volumes[chosen].grid
    if label is not None and not label.grid.matches(grid):
        raise InputError(
            f"{label.path} is not on the grid of the reference channel '{chosen}'.",
            "Resample the label map onto it, or choose the channel it was drawn on as the reference.",
        )
    for channel, volume in volumes.items():
        _check_overlap(files.name, channel, volume, grid, on_event)
    encoded = None
    if label is not None and scheme is not None:
        encoded = scheme.encode(label.data, label.path)
        if not encoded.any():
            on_event(Warning(f"{label.path} is empty: no voxel is labelled.", files.name))
    return Case(files.name, volumes, chosen, encoded, _read_brain(files, grid) if files.brain else None)


def _read_channel(path: Path) -> Volume:
    volume = read_volume(path)
    if volume.data.min() == volume.data.max():
        raise InputError(f"{path} is constant: every voxel is {volume.data.flat[0]:g}.", "Give the real image.")
    return volume


def _read_label(files: CaseFiles, volumes: Mapping[str, Volume], on_event: OnEvent) -> Volume:
    if files.label is None:
        raise InputError(f"Case '{files.name}' has no reference label map.", "Add it, or leave the case out.")
    label = read_volume(files.label)
    if not any(label.grid.matches(volume.grid) for volume in volumes.values()):
        shapes = ", ".join(f"{channel} {volume.grid.shape}" for channel, volume in volumes.items())
        same_shape = any(volume.grid.shape == label.grid.shape for volume in volumes.values())
        raise InputError(
            f"{files.label} has the shape of the images but lies elsewhere in space."
            if same_shape
            else f"{files.label} has the shape {label.grid.shape}, the images have: {shapes}.",
            "Resample the label map onto the image it belongs to.",
        )
    return label


def _default_reference(volumes: Mapping[str, Volume], label: Volume | None) -> str:
    ordered = [channel for channel in REFERENCE_ORDER if channel in volumes]
    ordered += [channel for channel in volumes if channel not in ordered]
    if label is not None:
        return next(channel for channel in ordered if label.grid.matches(volumes[channel].grid))
    return ordered[0]


def _check_overlap(case: str, channel: str, volume: Volume, grid: Grid, on_event: OnEvent) -> None:
    if volume.grid.matches(grid):
        return
    overlap = grid.overlap(volume.grid)
    if overlap < _NO_OVERLAP:
        raise InputError(
            f"{volume.path} covers only {overlap:.0%} of the reference image of case '{case}'.",
            "The images lie elsewhere in space: check that they belong to one visit, and register them.",
        )
    if overlap < _LITTLE_OVERLAP:
        on_event(Warning(f"Channel '{channel}' covers only {overlap:.0%} of the reference image.", case))


def _read_brain(files: CaseFiles, grid: Grid) -> NDArray[np.bool_]:
    assert files.brain is not None
    volume = read_volume(files.brain)
    mask = resample_mask(volume.data != 0, volume.grid, grid)
    if not mask.any():
        raise InputError(
            f"{files.brain} has no brain where the reference image of case '{files.name}' lies.",
            "Give the mask that belongs to these images, or leave it out.",
        )
    return mask
