"""Even brightness: N4 takes out the slow change of brightness that the coils leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from ..errors import InputError
from ..volume import Volume

# Below this standard deviation of the logarithm there is no tissue to tell apart, and no field to be seen.
_FLAT = 1e-4

# The fewest blocks along an axis that a cubic spline can be fitted to.
_FEWEST = 4


@dataclass(frozen=True)
class CorrectBias:
    """Divides by the bias field that N4 finds (Tustison 2010, 10.1109/TMI.2010.2046908).

    N4 is the successor of the paper's N3. The field is fitted to means over blocks of about ``working_mm`` within the
    brain and evaluated at every voxel. Its geometric mean over the brain is 1, so that the brain keeps its brightness.
    Values outside of the brain are divided by the smooth continuation of the field, which is nowhere stronger than
    within; values of 0 and below (background, undershoot of an interpolation) stay as they are and tell nothing about
    the field.

    Attributes
    ----------
    working_mm : size of the blocks, at which N4 runs. An axis with larger voxels is not shrunk.
    spline_mm : distance of the field's control points at the first level; each further level halves it.
    levels : how often the field is refined. A fourth level, usual elsewhere, follows large lesions: it left 19 % of the
        contrast of one glioma on FLAIR, where three left 71 %.
    iterations : at most, at each level.
    convergence : a level ends when the field changes less than this (coefficient of variation of its ratio).

    Raises
    ------
    InputError : a parameter is senseless.
    """

    step: ClassVar[str] = "n4"
    working_mm: float = 4.0
    spline_mm: float = 200.0
    levels: int = 3
    iterations: int = 30
    convergence: float = 1e-3

    def __post_init__(self) -> None:
        lengths = (self.working_mm, self.spline_mm)
        if not (all(0.1 <= length <= 1000 for length in lengths) and 1 <= self.levels <= 8 and self.iterations >= 1):
            raise InputError(
                f"A bias field cannot be fitted with blocks of {self.working_mm} mm, control points every "
                f"{self.spline_mm} mm, {self.levels} levels and {self.iterations} iterations.",
                "Use 4, 200, 3 and 30.",
            )

    def apply(self, volume: Volume, brain: NDArray[np.bool_]) -> Volume:
        """The corrected image as float32 on the same grid. It is the same to the bit each time.

        Parameters
        ----------
        brain : (i, j, k) on the grid of ``volume``, with at least one voxel.

        Raises
        ------
        InputError : most of the brain is not positive, as after a z-score; or the brain is on another grid, or empty.
        """
        if brain.shape != volume.data.shape or not brain.any():
            raise InputError(f"There is no brain in the mask of {_name(volume)}.", "Give a mask on the image's grid.")
        image = np.asarray(volume.data, np.float32)
        seen = brain & (image > 0)
        if 2 * np.count_nonzero(seen) < np.count_nonzero(brain):
            raise InputError(
                f"Most of the brain in {_name(volume)} is zero or negative: a bias field cannot be found.",
                "Give the image as the scanner made it, or leave N4 out.",
            )
        field = self._log_field(image, seen, volume.grid.spacing)
        if field is None:
            return volume.with_data(image)
        inside = field[brain]
        field = np.clip(field, inside.min(), inside.max()) - inside.mean(dtype=np.float64)
        return volume.with_data(np.where(image > 0, image * np.exp(-field), image).astype(np.float32))

    def _log_field(
        self, image: NDArray[np.float32], seen: NDArray[np.bool_], spacing: tuple[float, ...]
    ) -> NDArray[np.float32] | None:
        """Logarithm of the field (i, j, k), up to a constant; None when the brain is as good as constant.

        N4 knows nothing but indices here, so that oblique and sheared grids need no care.
        """
        box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(seen))
        sides = np.array([part.stop - part.start for part in box])
        shrink = np.clip(np.rint(self.working_mm / np.array(spacing)), 1, np.maximum(1, sides // _FEWEST)).astype(int)
        means, counts = _block_means(image[box], seen[box], shrink)
        mask = 2 * counts >= shrink.prod()
        if not mask.any():
            mask = counts > 0
        if np.log(means[mask]).std() < _FLAT:
            return None
        elements = np.maximum(1, np.rint(sides * spacing / self.spline_mm)).astype(int)
        field: NDArray[np.float64] = self._fit(means, mask, elements)
        for axis in range(3):
            centres = np.arange(field.shape[axis]) * shrink[axis] + (shrink[axis] - 1) / 2
            # Beyond the brain's box the field stays what it is at the box's face.
            at = np.clip(np.arange(image.shape[axis]) - box[axis].start, 0, sides[axis] - 1)
            field = CubicSpline(centres, field, axis=axis)(at)
        return field.astype(np.float32)

    def _fit(
        self, means: NDArray[np.float32], mask: NDArray[np.bool_], elements: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Logarithm of the field at the blocks, which are at least four along each axis."""
        sitk = _itk()
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations([self.iterations] * self.levels)
        n4.SetConvergenceThreshold(self.convergence)
        n4.SetNumberOfControlPoints((elements + 3).tolist()[::-1])  # a cubic spline has three more than elements
        # With more threads sums are taken in another order, and the last bits depend on the machine.
        n4.SetNumberOfThreads(1)
        blocks = sitk.GetImageFromArray(means)
        n4.Execute(blocks, sitk.GetImageFromArray(mask.astype(np.uint8)))
        return np.asarray(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(blocks)), np.float64)


def _block_means(
    image: NDArray[np.float32], seen: NDArray[np.bool_], shrink: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Mean of the seen voxels in each block, 1 where there is none, and their number; at least four blocks an axis."""
    blocks = np.maximum(_FEWEST, -(-np.array(image.shape) // shrink))
    pad = [(0, int(more)) for more in blocks * shrink - image.shape]
    split = [int(number) for pair in zip(blocks, shrink, strict=True) for number in pair]
    counts = np.pad(seen, pad).reshape(split).sum((1, 3, 5))
    sums = np.pad(np.where(seen, image, 0), pad).reshape(split).sum((1, 3, 5), dtype=np.float64)
    return np.where(counts > 0, sums / np.maximum(counts, 1), 1).astype(np.float32), counts


def _name(volume: Volume) -> str:
    return str(volume.path) if volume.path is not None else "the image"


def _itk() -> Any:
    import SimpleITK

    return SimpleITK
