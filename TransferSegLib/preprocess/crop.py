"""The part of the image that the network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid


@dataclass(frozen=True)
class CropToBrain:
    """Crops to the brain's box, ``margin`` voxels wider on each side, padded to sides that divide by ``multiple``.

    The brain fills about a fifth of a typical image: what lies around it costs time and memory and tells nothing.
    """

    step: ClassVar[str] = "crop-to-brain"
    margin: int = 2
    multiple: int = 8

    def plan(self, grid: Grid, brain_mm: NDArray[np.float64]) -> Grid:
        index = np.rint(grid.index(brain_mm)).astype(int)
        low, high = index.min(0) - self.margin, index.max(0) + 1 + self.margin
        i, j, k = (-(-(high - low) // self.multiple) * self.multiple).tolist()
        return _centred(grid, (low + high) / 2, (i, j, k))


@dataclass(frozen=True)
class PadOrCrop:
    """Zero-pads and crops to one fixed shape about the centre of the image, as the paper does (section 3.1).

    The paper's 240 x 192 x 192 counts from front to back first; here axes run right, anterior, superior. An odd
    difference puts the additional voxel on the high side.
    """

    step: ClassVar[str] = "pad-or-crop"
    shape: tuple[int, int, int] = (192, 240, 192)

    def plan(self, grid: Grid, brain_mm: NDArray[np.float64]) -> Grid:
        return _centred(grid, np.array(grid.shape) / 2, self.shape)


def _centred(grid: Grid, centre: NDArray[np.float64], shape: tuple[int, int, int]) -> Grid:
    """The window of ``shape`` about ``centre``, in voxels counted from the outer face of the first voxel."""
    start = np.ceil(centre - np.array(shape) / 2 - 0.25).astype(int)
    return grid.window(tuple(start.tolist()), shape)
