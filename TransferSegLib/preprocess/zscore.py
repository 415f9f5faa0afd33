"""Mean 0 and standard deviation 1 over the brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ZScore:
    """Subtracts the mean and divides by the standard deviation over the brain (paper, section 3.1).

    Attributes
    ----------
    clip : values beyond so many standard deviations are set to this limit; None: no limit. Without it a following
        rescaling to 0..1 undoes the z-score exactly, and a single bright vessel squeezes all else.
    """

    step: ClassVar[str] = "zscore"
    clip: float | None = 5.0

    def apply(self, image: NDArray[np.float32], brain: NDArray[np.bool_], channel: str = "") -> NDArray[np.float32]:
        inside = image[brain].astype(np.float64)
        result: NDArray[np.float32] = ((image - inside.mean()) / max(float(inside.std()), 1e-8)).astype(np.float32)
        return result if self.clip is None else np.clip(result, -self.clip, self.clip)
