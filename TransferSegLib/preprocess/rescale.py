"""Values from 0 to 1 over the brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rescale:
    """Takes the smallest value over the brain to 0 and the largest to 1 (paper, section 3.1)."""

    step: ClassVar[str] = "rescale"

    def apply(self, image: NDArray[np.float32], brain: NDArray[np.bool_], channel: str = "") -> NDArray[np.float32]:
        inside = image[brain]
        low, high = float(inside.min()), float(inside.max())
        result: NDArray[np.float32] = np.clip((image - low) / max(high - low, 1e-8), 0, 1).astype(np.float32)
        return result
