"""The working spacing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..grid import Grid, Spacing


@dataclass(frozen=True)
class Respace:
    """Voxels of ``spacing_mm`` along the axes of the image."""

    step: ClassVar[str] = "respace"
    spacing_mm: Spacing = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if len(self.spacing_mm) != 3 or not all(0.1 <= side <= 20 for side in self.spacing_mm):
            raise InputError(f"A spacing of {self.spacing_mm} mm cannot be used.", "Give 0.1 to 20 mm, for instance 2.")

    def plan(self, grid: Grid, brain_mm: NDArray[np.float64]) -> Grid:
        if np.allclose(grid.spacing, self.spacing_mm, rtol=1e-3):
            return grid  # nothing to gain from interpolating by a thousandth of a voxel
        return grid.respaced(self.spacing_mm)
