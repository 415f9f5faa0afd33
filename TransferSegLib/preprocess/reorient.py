"""Axes that run as in the models: right, anterior, superior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid


@dataclass(frozen=True)
class Reorient:
    """Permutes and flips the axes to run closest to ``axes``. Values are not interpolated."""

    step: ClassVar[str] = "reorient"
    axes: str = "RAS"

    def plan(self, grid: Grid, brain_mm: NDArray[np.float64]) -> Grid:
        return grid.reoriented(self.axes)
