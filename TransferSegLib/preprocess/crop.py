"""The part of the image that the network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..grid import Grid


@dataclass(frozen=True)
class CropToBrain:
    """Crops to the brain's box, ``margin`` voxels wider on each side, padded to sides that divide by ``multiple``.

    The brain fills about a fifth of a typical image: what lies around it costs time and memory and tells nothing.
    """

    step: ClassVar[str] = "crop-to-brain"
    margin: int = 2
    multiple: int = 8

    def __post_init__(self) -> None:
        if self.margin < 0 or self.multiple < 1:
            raise InputError(
                f"A box with a margin of {self.margin} voxels and sides that divide by {self.multiple} cannot be made.",
                "Use 2 and 8.",
            )

    def plan(self, grid: Grid, brain_mm: NDArray[np.float64]) -> Grid:
        index = np.rint(grid.index(brain_mm)).astype(int)
        low, high = index.min(0) - self.margin, index.max(0) + 1 + self.margin
        i, j, k = (-(-(high - low) // self.multiple) * self.multiple).tolist()
        start = low - ((i, j, k) - (high - low)) // 2
        return grid.window(tuple(start.tolist()), (i, j, k))


@dataclass(frozen=True)
class PadOrCrop:
    """Zero-pads and crops to one fixed shape about the centre of the image, as the paper does (section 3.1).

    The paper's 240 x 192 x 192 counts from front to back first; here axes run right, anterior, superior. Of an odd
    number of voxels to pad or crop, one more is on the high side: to crop undoes to pad.
    """

    step: ClassVar[str] = "pad-or-crop"
    shape: tuple[int, int, int] = (192, 240, 192)

    def plan(self, grid: Grid, brain_mm: NDArray[np.float64]) -> Grid:
        start = tuple(int((have - wanted) / 2) for have, wanted in zip(grid.shape, self.shape, strict=True))
        return grid.window(start, self.shape)
