"""Where the brain is: the mask over which statistics are taken and around which the image is cropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..case import Case
from ..errors import InputError
from ..events import CancelToken, OnEvent, Warning, ignore
from ..preparation import BRAIN_METHODS
from ..resample import resample_mask
from .extractors import extract
from .template_brain import template_brain

# A brain that was extracted leaves one value, mostly 0, on nearly all of the image's faces...
_FACE_SHARE = 0.5
# ...and fills no more than this share of the image.
_LARGEST_SHARE = 0.9

# Channels in the order in which they resemble the template.
_ANATOMY = ("t1", "t1c", "flair", "t2")


# What a brain can have in ml, from children to large heads; outside of it something went wrong.
_SMALLEST_ML, _LARGEST_ML = 800, 2200
_EXPECTED = f"a brain has {_SMALLEST_ML} to {_LARGEST_ML}"

_WHOLE_IMAGE = "whole image"


@dataclass(frozen=True)
class FoundBrain:
    """Attributes
    ----------
    mask : (i, j, k) on the grid of the case.
    how : what was done, for people.
    to_image : (4, 4) from the template's world to the image's, where it was needed to find the brain; else None.
    """

    mask: NDArray[np.bool_]
    how: str
    to_image: NDArray[np.float64] | None = None

    @property
    def whole(self) -> bool:
        """Whether no brain was looked for, or none was found: the mask is the whole image."""
        return self.how == _WHOLE_IMAGE


@dataclass(frozen=True)
class FindBrain:
    """Finds the brain's mask on the grid of the reference channel.

    Attributes
    ----------
    method : one of ``BRAIN_METHODS``.
    """

    step: ClassVar[str] = "brain"
    method: str = "auto"

    def __post_init__(self) -> None:
        if self.method not in BRAIN_METHODS:
            raise InputError(f"There is no brain extraction '{self.method}'.", f"Use {', '.join(BRAIN_METHODS)}.")

    def apply(self, case: Case, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> FoundBrain:
        """Find the brain.

        A brain that has less than 800 or more than 2200 ml is warned about, and the whole image is taken instead
        unless the mask was given. What was extracted before is the user's own choice.

        Raises
        ------
        InputError : nothing but background is there, or no mask was given although the method wants one.
        DependencyError : the tool is not installed.
        Cancelled : on request, while an outside tool works.
        """
        if self.method == "none":
            return _whole(case)
        if case.brain is not None and self.method in ("auto", "mask"):
            volume = case.brain.sum() * case.grid.voxel_ml
            if not _SMALLEST_ML <= volume <= _LARGEST_ML:
                on_event(Warning(f"The given brain mask has {volume:.0f} ml: {_EXPECTED}.", case.name))
            return FoundBrain(case.brain, "given mask")
        if self.method == "mask":
            raise InputError(
                f"Case '{case.name}' has no brain mask.",
                "Give it as brain=FILE, in a column 'brain' of the manifest, or choose another brain extraction.",
            )
        if self.method == "auto" and (mask := extracted_brain(case)) is not None:
            if not mask.any():
                raise InputError(
                    f"The images of case '{case.name}' have nothing but background.", "Give the real images."
                )
            return FoundBrain(mask, "extracted before")
        return self._extract(case, on_event, cancel)

    def _extract(self, case: Case, on_event: OnEvent, cancel: CancelToken | None) -> FoundBrain:
        image = case.volumes[anatomy_channel(case)]
        to_image = None
        how = "by the template" if self.method in ("auto", "template") else f"by {self.method}"
        try:
            if self.method in ("auto", "template"):
                found, to_image = template_brain(image, case.name, on_event)
            else:
                found = extract(self.method, image, on_event, cancel)
        except InputError as error:
            on_event(Warning(f"No brain was found {how}: {error.cause} The whole image is taken instead.", case.name))
            return _whole(case)
        volume = found.sum() * image.grid.voxel_ml
        if not _SMALLEST_ML <= volume <= _LARGEST_ML:
            text = f"The brain found {how} has {volume:.0f} ml: {_EXPECTED}. The whole image is taken instead."
            on_event(Warning(text, case.name))
            return _whole(case)
        mask = resample_mask(found, image.grid, case.grid)
        return FoundBrain(mask, how, to_image)


def anatomy_channel(case: Case) -> str:
    """The channel on which the brain is found and registered: the template is a T1 image."""
    return next((channel for channel in _ANATOMY if channel in case.volumes), case.reference_channel)


def _whole(case: Case) -> FoundBrain:
    return FoundBrain(np.ones(case.grid.shape, np.bool_), _WHOLE_IMAGE)


def extracted_brain(case: Case) -> NDArray[np.bool_] | None:
    """The brain's mask (i, j, k) on the grid of the case when its images come without skull, else None.

    The brain is what differs from the background in any channel: its largest connected part, with holes filled. A head
    whose air was set to 0 is no extracted brain: it is larger than any.
    """
    mask: NDArray[np.bool_] | None = None
    for volume in case.volumes.values():
        background = _background(volume.data)
        if background is None:
            return None
        differs = volume.data != background
        if differs.mean() > _LARGEST_SHARE:
            return None
        same = volume.grid.matches(case.grid)
        here = differs if same else resample_mask(differs, volume.grid, case.grid)
        mask = here if mask is None else mask | here
    if mask is None:
        return None
    mask = _largest_part(mask)
    return None if mask.sum() * case.grid.voxel_ml > _LARGEST_ML else mask


def outline(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices (n, 3) of the first and the last voxel of ``mask`` on each line along k: their box is that of all."""
    lines = np.argwhere(mask.any(2))
    last = mask.shape[2] - 1 - mask[:, :, ::-1].argmax(2)
    return np.concatenate([np.column_stack((lines, ends[tuple(lines.T)])) for ends in (mask.argmax(2), last)])


def _background(image: NDArray[Any]) -> float | None:
    """The one value on most of the image's faces, or None."""
    ends = (0, -1)
    faces = np.concatenate([np.moveaxis(image, axis, 0)[end].ravel() for axis in range(3) for end in ends])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()]) if counts.max() >= _FACE_SHARE * faces.size else None


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return mask
    parts, count = ndimage.label(mask[boxes[0]])
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    result = np.zeros_like(mask)
    result[boxes[0]] = ndimage.binary_fill_holes(parts == sizes[1:].argmax() + 1)
    return result
