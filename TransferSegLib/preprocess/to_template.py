"""Registration to the template, so that brains of all cases lie alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..events import OnEvent, Warning, ignore
from ..grid import Grid
from ..resample import resample_mask
from ..volume import Volume
from .information import Matrix
from .registration import Kind, Registration, register
from .template import Template, load_template
from .template_brain import head_to_template, near_brain

# How far around the template's brain two brains without skull are compared: their outlines count, empty space does not.
_RIM_MM = 8.0
# How much shorter or longer than the template a brain can be along an axis.
_SHORTEST, _LONGEST = 0.7, 1.35
# Brains of adults overlap by 0.93 to 0.97 when they are registered well.
_LEAST_DICE = 0.85


@dataclass(frozen=True)
class ToTemplate:
    """Finds where the template lies in an image.

    Attributes
    ----------
    template : ``icbm152``.
    kind : ``affine``, or ``rigid`` to keep the size of the brain.
    """

    step: ClassVar[str] = "to-template"
    template: str = "icbm152"
    kind: str = "affine"

    def __post_init__(self) -> None:
        if self.template != "icbm152":
            raise InputError(f"There is no template '{self.template}'.", "Use 'icbm152'.")
        if self.kind not in ("rigid", "affine"):
            raise InputError(f"There is no registration of the kind '{self.kind}'.", "Use 'affine' or 'rigid'.")

    def apply(
        self,
        image: Volume,
        brain: NDArray[np.bool_] | None = None,
        name: str = "",
        on_event: OnEvent = ignore,
        start: Matrix | None = None,
    ) -> Matrix:
        """Map (4, 4) from the template's world to the image's, RAS, mm.

        Parameters
        ----------
        brain : (i, j, k) mask on the grid of the image: brains are compared without what lies around them. None: the
            image is a whole head.
        start : a map to start from, as what is returned.

        Raises
        ------
        InputError : the image has only one value.
        """
        template = load_template()
        kind: Kind = "rigid" if self.kind == "rigid" else "affine"
        if brain is None or not brain.any():
            return _of_head(image, template, kind, name, on_event, start)
        masked = image.with_data(np.where(brain, image.data, _background(image, brain)))
        boxes = brain_boxes(image.grid, brain, template, kind)
        starts = [boxes] if start is None else [start, boxes]
        rim = near_brain(template, _RIM_MM)
        found = register(template.t1, masked, kind, fixed_mask=rim, starts=starts)
        dice = brain_dice(found.matrix, image.grid, brain, template)
        problem = size_problem(found)
        if problem is None and kind == "affine" and dice < _LEAST_DICE:
            problem = f"the brains overlap with a Dice of only {dice:.2f}"
        if problem is None:
            return found.matrix
        instead = "The template is laid over the box of the brain instead."
        on_event(Warning(f"The registration to the template cannot be right: {problem}. {instead}", name))
        return boxes


def _of_head(
    image: Volume, template: Template, kind: Kind, name: str, on_event: OnEvent, start: Matrix | None
) -> Matrix:
    found = head_to_template(image, template, start)
    problem = size_problem(found)
    if problem is not None:
        instead = "The middle of the image is taken for the middle of the brain, and its header is trusted, instead."
        on_event(Warning(f"The registration to the template cannot be right: {problem}. {instead}", name))
        return _middle(image, template)
    return found.matrix if kind == "affine" else _nearest_rigid(found)


def size_problem(found: Registration) -> str | None:
    """Why the sizes of a map from the template to an image cannot be right, or None."""
    wrong = [scale for scale in found.scales if not _SHORTEST <= scale <= _LONGEST]
    if not wrong:
        return None
    return f"the brain would be {wrong[0]:.2f} times as long as the template, not {_SHORTEST} to {_LONGEST}"


def brain_dice(matrix: Matrix, grid: Grid, brain: NDArray[np.bool_], template: Template) -> float:
    """Dice of the template's brain with the mask ``brain`` on ``grid``, brought to the template by ``matrix``."""
    carried = resample_mask(brain, grid.moved(np.linalg.inv(matrix)), template.brain.grid)
    both = np.count_nonzero(carried & template.brain.data)
    return 2 * both / max(int(carried.sum()) + int(template.brain.data.sum()), 1)


def brain_boxes(grid: Grid, brain: NDArray[np.bool_], template: Template, kind: Kind) -> Matrix:
    """The map that lays the template's brain over the image's by their boxes in the world; rigid: by their middles."""
    (low, high), (here_low, here_high) = (
        np.percentile(where.world(np.argwhere(mask)[::7]), (0.5, 99.5), axis=0)
        for where, mask in ((template.brain.grid, template.brain.data), (grid, brain))
    )
    result = np.eye(4)
    if kind == "affine":
        result[:3, :3] = np.diag(np.clip((here_high - here_low) / (high - low), _SHORTEST, _LONGEST))
    result[:3, 3] = (here_low + here_high) / 2 - result[:3, :3] @ ((low + high) / 2)
    return result


def _background(image: Volume, brain: NDArray[np.bool_]) -> float:
    """What is around the brain: no brighter than its darkest tissue, as around the template's."""
    return min(float(np.percentile(image.data[brain], 1)), 0.0) if brain.any() else 0.0


def _middle(image: Volume, template: Template) -> Matrix:
    result = np.eye(4)
    middle = image.grid.world((np.array(image.grid.shape) - 1) / 2)
    result[:3, 3] = middle - template.brain.grid.world(np.argwhere(template.brain.data)[::50]).mean(0)
    return result


def _nearest_rigid(found: Registration) -> Matrix:
    """The turn of the map without its stretch, about the middle of the brain."""
    left, _, right = np.linalg.svd(found.matrix[:3, :3])
    result = np.eye(4)
    result[:3, :3] = left @ right
    result[:3, 3] = found.matrix[:3, :3] @ found.centre + found.matrix[:3, 3] - result[:3, :3] @ found.centre
    return result
