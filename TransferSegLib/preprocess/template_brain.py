"""Brain extraction that needs nothing but the template."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..events import OnEvent, Warning, ignore
from ..grid import Grid
from ..resample import resample, resample_mask
from ..volume import Volume
from .information import Matrix
from .registration import Registration, Size, register
from .template import Template, load_template

# How far around the template's brain heads are compared: as far as liquor and bone are dark; scalp, face and neck,
# which the template lacks, do not count.
_RIM_MM = 8.0
# Brains of adults have 0.93 of the template's length on average (0.85 to 1.0). Without saying so, the template's brain
# is stretched to where the scalp ends: bright within and dark without is true there too.
_SIZE = Size(0.93, 1.5)
# From the top of the head to the top of the brain.
_SCALP_MM = 14.0
# The part of the head that is as high as a brain: the neck and the shoulders below do not count for the start.
_HEIGHT_MM = 150.0
_PITCHES_DEG = (-20.0, -5.0, 10.0)
# Heads that were registered well have 0.3 to 0.5 nats; those that were not, 0.1 to 0.2.
_DOUBTFUL = 0.2
# What refinement may leave of the volume.
_LEAST_CHANGE, _MOST_CHANGE = 0.8, 1.2
# Voxels to refine the border on.
_WORK_MM = 1.5
# How far the border may move, and how far outwards.
_BAND_MM, _OUTER_MM = 6.0, 3.0
# Brighter than this share of the tissue around is tissue.
_TISSUE = 0.5
# How far around is "around"; the widest bridge that is cut; the widest furrow that is filled, as radii.
_NEAR_MM, _BRIDGE_MM, _FURROW_MM = 15.0, 2.5, 6.0
# The top of the head may be cut off, or be a cap of air or of cloth.
_LOWER_MM = (-18.0, 0.0, 15.0)


def template_brain(image: Volume, name: str = "", on_event: OnEvent = ignore) -> tuple[NDArray[np.bool_], Matrix]:
    """Find the brain in a whole head, with face or defaced, of any contrast.

    The template is laid over the head by an affine registration; then the border of its brain is moved to where the
    tissue ends in this image, see :func:`refined`.

    Returns
    -------
    The brain's mask (i, j, k) on the grid of the image, and the map (4, 4) from the template's world to the image's.

    Raises
    ------
    InputError : the image has only one value.
    """
    template = load_template()
    found = head_to_template(image, template)
    if found.similarity < _DOUBTFUL:
        text = f"The head is hardly like the template ({found.similarity:.2f} nats, {_DOUBTFUL} expected at least)"
        on_event(Warning(f"{text}: look whether the brain was found.", name))
    affine = carried_brain(found.matrix, image.grid, template)
    mask = refined(image, found.matrix, template)
    change = float(mask.sum()) / max(float(affine.sum()), 1.0)
    if not _LEAST_CHANGE <= change <= _MOST_CHANGE:
        text = f"Refined by intensities the brain would have {change:.0%} of the volume it has by registration"
        on_event(Warning(f"{text}: the registration alone is trusted.", name))
        mask = affine
    return mask, found.matrix


def carried_brain(matrix: Matrix, grid: Grid, template: Template) -> NDArray[np.bool_]:
    """The template's brain on ``grid``, laid there by ``matrix``."""
    return resample_mask(template.brain.data, template.brain.grid.moved(matrix), grid)


def head_to_template(image: Volume, template: Template, start: Matrix | None = None) -> Registration:
    """Affine registration of a whole head; ``matrix`` from the template's world to the image's."""
    rim = near_brain(template, _RIM_MM)
    starts = _starts(image, template) if start is None else [start]
    return register(template.t1, image, "affine", fixed_mask=rim, starts=starts, size=_SIZE)


def near_brain(template: Template, distance_mm: float) -> NDArray[np.bool_]:
    """Mask on the grid of ``template.t1`` of the brain and what lies within so many mm of it."""
    brain = resample_mask(template.brain.data, template.brain.grid, template.t1.grid)
    away = ndimage.distance_transform_edt(~brain, template.t1.grid.spacing)
    return np.asarray(away <= distance_mm)


def _starts(image: Volume, template: Template) -> list[Matrix]:
    """The template's brain hung below the top of the head, nodding more and less."""
    brain = template.brain.grid.world(np.argwhere(template.brain.data)[::50])
    middle, top = brain.mean(0), brain[:, 2].max()
    head = _head_points(image)
    head_top = np.percentile(head[:, 2], 99.8)
    upper = head[head[:, 2] > head_top - _HEIGHT_MM]
    place = np.median(upper, axis=0)
    place[:2] = (np.percentile(upper[:, :2], 2, axis=0) + np.percentile(upper[:, :2], 98, axis=0)) / 2
    place[2] = head_top - _SCALP_MM - (top - middle[2]) * _SIZE.scale
    starts = []
    for pitch in _PITCHES_DEG:
        for lower in _LOWER_MM:
            start = np.eye(4)
            start[:3, :3] = _SIZE.scale * Rotation.from_euler("x", pitch, degrees=True).as_matrix()
            start[:3, 3] = place - (0, 0, lower) - start[:3, :3] @ middle
            starts.append(start)
    return starts


def _head_points(image: Volume) -> NDArray[np.float64]:
    """World coordinates (n, 3) of a sample of the head's voxels."""
    grid = image.grid.respaced((4.0, 4.0, 4.0))
    values = np.asarray(resample(np.asarray(image.data, np.float32), image.grid, grid))
    bright = values > 0.12 * np.percentile(values, 99)
    parts, count = ndimage.label(ndimage.binary_opening(bright))
    bright = parts == np.bincount(parts.ravel())[1:].argmax() + 1 if count else np.ones_like(bright)
    return grid.world(np.argwhere(bright))


def refined(image: Volume, matrix: Matrix, template: Template) -> NDArray[np.bool_]:
    """The template's brain, laid into the image by ``matrix``, with its border moved to where the tissue ends.

    The border moves by at most ``_BAND_MM``: dark voxels (bone; liquor where it is dark) within it leave the brain, and
    what is as bright as tissue and hangs together with the brain by more than a thin bridge joins it.
    """
    grid = image.grid.respaced((_WORK_MM,) * 3)
    values = np.asarray(resample(np.asarray(image.data, np.float32), image.grid, grid), np.float32)
    prior = carried_brain(matrix, grid, template)
    if not prior.any():
        return np.zeros(image.grid.shape, np.bool_)
    # Positive inside, in mm.
    depth = (ndimage.distance_transform_edt(prior) - ndimage.distance_transform_edt(~prior)) * _WORK_MM
    core = depth > _BAND_MM
    tissue = values[core] if core.any() else values[prior]
    # Coil and bias field: each place is compared with the tissue around it.
    weight = ndimage.gaussian_filter(core.astype(np.float32), _NEAR_MM / _WORK_MM) + np.float32(1e-4)
    middle = float(np.median(tissue))
    limited = np.where(core, np.clip(values, 0.3 * middle, 1.7 * middle), 0).astype(np.float32)
    local = (ndimage.gaussian_filter(limited, _NEAR_MM / _WORK_MM) + np.float32(1e-4 * middle)) / weight
    bright = values > _TISSUE * local
    candidate = core | (bright & (depth > -_OUTER_MM))
    opened = _ball_opening(candidate, _BRIDGE_MM / _WORK_MM) | core
    parts, _ = ndimage.label(opened)
    biggest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    # Furrows belong to the brain.
    closed = _ball_closing(biggest, _FURROW_MM / _WORK_MM) & (depth > -_OUTER_MM)
    filled = ndimage.binary_fill_holes(closed)
    smooth = ndimage.gaussian_filter(filled.astype(np.float32), 1.0 / _WORK_MM)
    return np.asarray(resample(smooth, grid, image.grid) >= 0.5)


def _ball_opening(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    inner = ndimage.distance_transform_edt(mask) > radius
    return np.asarray(ndimage.distance_transform_edt(~inner) <= radius)


def _ball_closing(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    outer = ndimage.distance_transform_edt(~mask) <= radius
    return np.asarray(ndimage.distance_transform_edt(outer) > radius)
