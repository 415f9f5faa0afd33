"""Pipeline: from a case to what the network sees, and back to the grid of the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..case import Case
from ..errors import InputError, ModelError
from ..events import OnEvent, ignore
from ..grid import Grid, Spacing
from ..resample import resample, resample_labels
from .brain import FindBrain, outline
from .crop import CropToBrain, PadOrCrop
from .reorient import Reorient
from .rescale import Rescale
from .respace import Respace
from .step import GeometricStep, IntensityStep, record, restore
from .zscore import ZScore

# Every step that a model card may name, in the order in which they run.
_BRAIN: Mapping[str, type] = {FindBrain.step: FindBrain}
_GEOMETRY: Mapping[str, type] = {kind.step: kind for kind in (Reorient, Respace, CropToBrain, PadOrCrop)}
_INTENSITY: Mapping[str, type] = {kind.step: kind for kind in (ZScore, Rescale)}

# Ways to scale intensities, by the name the user gives. `Docs/first_results.md` shows what each is worth.
NORMALISATIONS: Mapping[str, tuple[IntensityStep, ...]] = {
    "zscore": (ZScore(clip=5.0),),
    "zscore-rescale": (ZScore(clip=3.0), Rescale()),
    "minmax": (ZScore(clip=None), Rescale()),  # what the paper says, taken literally
}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case as the network sees it.

    Attributes
    ----------
    image : (C, i, j, k) float32, 0 outside of the brain.
    brain : (i, j, k) bool.
    grid : of both.
    label : (i, j, k) uint8 internal labels, or None.
    """

    name: str
    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    grid: Grid
    label: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Pipeline:
    """The pre-processing of a model: finds the brain, plans one grid, interpolates once, then scales intensities."""

    brain: FindBrain = field(default_factory=FindBrain)
    geometry: tuple[GeometricStep, ...] = (Reorient(), Respace(), CropToBrain())
    intensity: tuple[IntensityStep, ...] = NORMALISATIONS["zscore"]

    @property
    def spacing_mm(self) -> Spacing | None:
        """The working spacing, or None when images keep their own."""
        return next((step.spacing_mm for step in self.geometry if isinstance(step, Respace)), None)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """The fixed working shape, or None when it is the brain's box."""
        return next((step.shape for step in self.geometry if isinstance(step, PadOrCrop)), None)

    def apply(self, case: Case, channels: Sequence[str], on_event: OnEvent = ignore) -> Prepared:
        """Prepare ``channels`` of ``case``, in this order.

        Raises
        ------
        InputError : the case has no brain to see.
        """
        mask = self.brain.apply(case, on_event)
        brain_mm = case.grid.world(outline(mask))
        grid = case.grid
        for step in self.geometry:
            grid = step.plan(grid, brain_mm)
        brain = resample(mask.astype(np.float32), case.grid, grid) >= 0.5
        if not brain.any():
            raise InputError(f"The brain of case '{case.name}' is smaller than a voxel.", "Check the image's header.")
        image = np.stack([self._scaled(case.channels[channel], case.grid, grid, brain) for channel in channels])
        label = None
        if case.label is not None:
            label = resample_labels(case.label, case.grid, grid, int(case.label.max()) + 1)
        return Prepared(case.name, image, brain, grid, label)

    def to_card(self) -> list[dict[str, Any]]:
        """Plain data for the model card."""
        return [record(step) for step in (self.brain, *self.geometry, *self.intensity)]

    @classmethod
    def from_card(cls, steps: Sequence[Mapping[str, Any]]) -> Pipeline:
        """The inverse of :meth:`to_card`.

        Raises
        ------
        ModelError : a step or a parameter is unknown.
        """
        try:
            brain = [restore(_BRAIN, data) for data in steps if data["step"] in _BRAIN]
            geometry = [restore(_GEOMETRY, data) for data in steps if data["step"] in _GEOMETRY]
            rest = [data for data in steps if data["step"] not in _BRAIN and data["step"] not in _GEOMETRY]
            intensity = [restore(_INTENSITY, data) for data in rest]
        except (KeyError, TypeError, InputError) as error:
            raise ModelError(
                f"The model's pre-processing cannot be done: {_reason(error)}.",
                "Update TransferSeg, or get the model again.",
            ) from error
        return cls(brain[0] if brain else FindBrain("none"), tuple(geometry), tuple(intensity))

    def _scaled(
        self, values: NDArray[np.float32], source: Grid, target: Grid, brain: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        image = np.asarray(resample(values, source, target), np.float32)
        for step in self.intensity:
            image = step.apply(image, brain)
        return np.where(brain, image, np.float32(0))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no step {error}"
    return (error.cause if isinstance(error, InputError) else str(error)).rstrip(".")


def labels_on(grid: Grid, probabilities: NDArray[np.float32], source: Grid) -> NDArray[np.uint8]:
    """The most probable class at each voxel of ``grid``; background (0) where ``source`` does not reach.

    Parameters
    ----------
    probabilities : (F, i, j, k) on ``source``.
    """
    best: NDArray[np.float32] | None = None
    labels = np.zeros(grid.shape, np.uint8)
    for label, probability in enumerate(probabilities):
        here = np.asarray(resample(probability, source, grid, fill=float(label == 0)), np.float32)
        if best is None:
            best = here
            continue
        wins = here > best
        labels[wins], best[wins] = label, here[wins]
    return labels
