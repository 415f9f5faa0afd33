"""Where the brain is: the mask over which statistics are taken and around which the image is cropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..case import Case
from ..errors import InputError
from ..events import OnEvent, Warning, ignore

# A brain that was extracted leaves one value, mostly 0, on nearly all of the image's faces...
_FACE_SHARE = 0.5
# ...and fills no more than this share of the image.
_LARGEST_SHARE = 0.9


@dataclass(frozen=True)
class FindBrain:
    """Finds the brain's mask on the grid of the reference channel.

    Attributes
    ----------
    method : ``auto`` takes the voxels that are not background in an image whose brain was extracted before, and the
        whole image, with a warning, when it was not; ``none`` takes the whole image without looking.
    """

    step: ClassVar[str] = "brain"
    method: str = "auto"

    def __post_init__(self) -> None:
        if self.method not in ("auto", "none"):
            raise InputError(f"There is no brain extraction '{self.method}'.", "Use 'auto' or 'none'.")

    def apply(self, case: Case, on_event: OnEvent = ignore) -> NDArray[np.bool_]:
        """Mask (i, j, k) on the grid of the case.

        Raises
        ------
        InputError : nothing but background is there.
        """
        whole = np.ones(case.grid.shape, np.bool_)
        if self.method == "none":
            return whole
        mask = extracted_brain(case.channels)
        if mask is None:
            on_event(Warning("The brain was not extracted: the skull is taken for brain too.", case.name))
            return whole
        if not mask.any():
            raise InputError(f"The images of case '{case.name}' have nothing but background.", "Give the real images.")
        return mask


def extracted_brain(channels: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
    """The brain's mask when the images (i, j, k) come without skull, else None.

    The brain is what differs from the background in any channel: its largest connected part, with holes filled.
    """
    mask: NDArray[np.bool_] | None = None
    for image in channels.values():
        background = _background(image)
        if background is None:
            return None
        differs = image != background
        mask = differs if mask is None else mask | differs
    if mask is None or mask.mean() > _LARGEST_SHARE:
        return None
    return _largest_part(mask)


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
