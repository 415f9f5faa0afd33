"""Pipeline: from a case to what the network sees, and back to the grid of the input.

All places are decided first: how the channels lie to each other, where the brain is, how it lies in the template, which
voxels the network shall see. Then each image is interpolated once, from its own grid straight to the network's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from ..case import Case, volume_on
from ..errors import InputError, ModelError
from ..events import CancelToken, OnEvent, Warning, ignore
from ..grid import Grid, Spacing
from ..resample import resample, resample_labels, resample_mask
from ..volume import Volume
from .align import Align
from .brain import FindBrain, FoundBrain, anatomy_channel, outline
from .crop import CropToBrain, PadOrCrop
from .n4 import CorrectBias
from .nyul import Standardise
from .reorient import Reorient
from .rescale import Rescale
from .respace import Respace
from .step import GeometricStep, IntensityStep, record, restore
from .template import load_template
from .to_template import ToTemplate
from .zscore import ZScore

# Every step that a model card may name, in the order in which they run.
_GEOMETRY: Mapping[str, type] = {kind.step: kind for kind in (Reorient, Respace, CropToBrain, PadOrCrop)}
_INTENSITY: Mapping[str, type] = {kind.step: kind for kind in (Standardise, ZScore, Rescale)}

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


@dataclass(frozen=True, eq=False)
class Placed:
    """A case of which it is known where everything lies; no image was interpolated yet.

    Attributes
    ----------
    case : as it was read.
    volumes : channel name to image on its own voxels, moved to where it fits the reference channel, bias corrected.
    brain : mask on the grid of the case.
    to_image : (4, 4) from the template's world to that of the reference channel; None: not registered.
    grid : the network's voxels, in the world of the reference channel. Sheared when the template is.
    """

    case: Case
    volumes: Mapping[str, Volume]
    brain: FoundBrain
    to_image: NDArray[np.float64] | None
    grid: Grid


@dataclass(frozen=True)
class Pipeline:
    """The pre-processing of a model.

    Attributes
    ----------
    align : brings the channels of a case together.
    brain : finds the brain.
    bias : takes out the bias field; None: left in.
    template : registers to the template, whose space the geometric steps then work in; None: the image's own space.
    geometry : plan the network's voxels.
    intensity : scale the values on them.
    """

    align: Align = field(default_factory=Align)
    brain: FindBrain = field(default_factory=FindBrain)
    bias: CorrectBias | None = None
    template: ToTemplate | None = None
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

    @property
    def learns(self) -> bool:
        """Whether a step has still to learn from training cases, see :meth:`learned`."""
        return any(isinstance(step, Standardise) and not step.landmarks for step in self.intensity)

    def without_intensity(self) -> Pipeline:
        """The same without the last part, the scaling of values: what does not change with what is learned."""
        return replace(self, intensity=())

    def learned(self, cases: Iterable[Prepared], channels: Sequence[str]) -> Pipeline:
        """With what its steps learn from ``cases``, the training cases, prepared by :meth:`without_intensity`."""
        if not self.learns:
            return self
        samples = ((case.image, case.brain) for case in cases)
        steps: list[IntensityStep] = [
            step.learn(samples, channels) if isinstance(step, Standardise) else step for step in self.intensity
        ]
        return replace(self, intensity=tuple(steps))

    def apply(self, case: Case, channels: Sequence[str], on_event: OnEvent = ignore) -> Prepared:
        """Prepare ``channels`` of ``case``, in this order: :meth:`place`, :meth:`sample`, :meth:`scale`.

        Raises
        ------
        InputError : the case has no brain to see.
        """
        return self.scale(self.sample(self.place(case, on_event), channels), channels)

    def place(self, case: Case, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> Placed:
        """Find out where everything lies.

        Raises
        ------
        InputError : the case has no brain to see.
        DependencyError : a tool is not installed.
        Cancelled : on request, while an outside tool finds the brain.
        """
        aligned = self._aligned(case, on_event)
        brain = self.brain.apply(aligned, on_event, cancel)
        volumes = aligned.volumes
        if self.bias is not None:
            volumes = {
                channel: self.bias.apply(volume, resample_mask(brain.mask, case.grid, volume.grid))
                for channel, volume in volumes.items()
            }
        brain_mm = case.grid.world(outline(brain.mask))
        grid, to_image = case.grid, None
        if self.template is not None:
            image = volumes[anatomy_channel(case)]
            mask = None if brain.whole else resample_mask(brain.mask, case.grid, image.grid)
            to_image = self.template.apply(image, mask, case.name, on_event, brain.to_image)
            grid = load_template().brain.grid
            brain_mm = apply_affine(np.linalg.inv(to_image), brain_mm)
        for step in self.geometry:
            grid = step.plan(grid, brain_mm)
        if to_image is not None:
            grid = grid.moved(to_image)
        placed = Placed(case, volumes, brain, to_image, grid)
        _tell_cut(placed, on_event)
        return placed

    def sample(self, placed: Placed, channels: Sequence[str]) -> Prepared:
        """Interpolate ``channels`` and the label map once, onto the network's grid."""
        case, grid = placed.case, placed.grid
        brain = resample_mask(placed.brain.mask, case.grid, grid)
        if not brain.any():
            raise InputError(f"The brain of case '{case.name}' is smaller than a voxel.", "Check the image's header.")
        image = np.stack([np.where(brain, volume_on(placed.volumes[channel], grid), 0) for channel in channels])
        label = None
        if case.label is not None:
            label = resample_labels(case.label, case.grid, grid, int(case.label.max()) + 1)
        return Prepared(case.name, image, brain, grid, label)

    def scale(self, sampled: Prepared, channels: Sequence[str]) -> Prepared:
        """Scale the values of each of ``channels``."""
        image = np.empty(sampled.image.shape, np.float32)
        for number, channel in enumerate(channels):
            values = np.asarray(sampled.image[number], np.float32)
            for step in self.intensity:
                values = step.apply(values, sampled.brain, channel)
            image[number] = np.where(sampled.brain, values, np.float32(0))
        return replace(sampled, image=image)

    def to_card(self) -> list[dict[str, Any]]:
        """Plain data for the model card."""
        single = (self.align, self.brain, self.bias, self.template)
        return [record(step) for step in (*single, *self.geometry, *self.intensity) if step is not None]

    @classmethod
    def from_card(cls, steps: Sequence[Mapping[str, Any]]) -> Pipeline:
        """The inverse of :meth:`to_card`. What the card does not name is not done.

        Raises
        ------
        ModelError : a step or a parameter is unknown.
        """

        def single(kind: Any, otherwise: Any) -> Any:
            return next((restore({kind.step: kind}, data) for data in steps if data["step"] == kind.step), otherwise)

        def several(kinds: Mapping[str, type]) -> tuple[Any, ...]:
            return tuple(restore(kinds, data) for data in steps if data["step"] in kinds)

        known = {kind.step for kind in (Align, FindBrain, CorrectBias, ToTemplate)} | {*_GEOMETRY, *_INTENSITY}
        try:
            for data in steps:
                if data["step"] not in known:
                    raise KeyError(data["step"])
            return cls(
                single(Align, Align("none")),
                single(FindBrain, FindBrain("none")),
                single(CorrectBias, None),
                single(ToTemplate, None),
                several(_GEOMETRY),
                several(_INTENSITY),
            )
        except (KeyError, TypeError, InputError) as error:
            raise ModelError(
                f"The model's pre-processing cannot be done: {_reason(error)}.",
                "Update TransferSeg, or get the model again.",
            ) from error

    def _aligned(self, case: Case, on_event: OnEvent) -> Case:
        """The case with its channels moved to where they fit the reference channel: only their affines change."""
        moves = self.align.apply(case.volumes, case.reference_channel, case.name, on_event)
        moved = {
            channel: replace(volume, grid=volume.grid.moved(np.linalg.inv(moves[channel])))
            for channel, volume in case.volumes.items()
            if not np.array_equal(moves[channel], np.eye(4))
        }
        return replace(case, volumes={**case.volumes, **moved}) if moved else case


def _tell_cut(placed: Placed, on_event: OnEvent) -> None:
    """Warn about what lies outside of the network's voxels: a fixed shape fits most brains in the middle of an image.

    Of a whole image that is no news: air is cut off.
    """
    case, brain = placed.case, placed.brain
    shape = np.array(placed.grid.shape)

    def outside(index: NDArray[np.int64]) -> int:
        seen = placed.grid.index(case.grid.world(index))
        return int(((seen < -0.5) | (seen > shape - 0.5)).any(1).sum())

    for what, mask in (("the brain", None if brain.whole else brain.mask), ("the labels", case.label)):
        if mask is not None and outside(outline(mask != 0)):  # few points; as a grid is convex, they speak for all
            ml = outside(np.argwhere(mask)) * case.grid.voxel_ml
            text = f"{ml:.2g} ml of {what} lie outside of the voxels that the network sees"
            on_event(Warning(f"{text}: they are neither learned from nor segmented.", case.name))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no step {error}"
    return (error.cause if isinstance(error, InputError) else str(error)).rstrip(".")


def inside(brain: NDArray[np.bool_], probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """``probabilities`` (F, i, j, k), changed in place to background outside of ``brain`` (i, j, k)."""
    probabilities *= brain
    probabilities[0] += ~brain
    return probabilities


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
