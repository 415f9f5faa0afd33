"""Resampling between grids: exact where the grids allow it, anti-aliased where voxels grow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .grid import Grid

# Two grids whose voxels coincide to this share of a voxel are copied, not interpolated.
_EXACT = 1e-3

# By this share of a voxel along each world axis label maps are moved, to decide between two equal shares.
_NUDGE = (1e-3, 7e-4, 4.5e-4)

# Where the Gaussian filter ends, in standard deviations.
_CUT = 3


def resample(data: NDArray[Any], source: Grid, target: Grid, fill: float = 0.0) -> NDArray[Any]:
    """Values of ``data`` at the voxels of ``target``, through world space.

    Where ``target`` is ``source`` with axes permuted, flipped, cropped or padded, values are copied bit for bit.
    Otherwise: linear interpolation, after a Gaussian filter along each axis along which voxels grow. Its variance is
    what the box of the new voxel has more than the box of the old one, less the mean variance that linear interpolation
    adds: (f^2 - 1) / 12 - 1 / 6 for voxels f times as large. So a 2 mm voxel is nearly the mean of eight of 1 mm.

    Parameters
    ----------
    data : (i, j, k) on ``source``.
    fill : the value outside of ``source``.

    Returns
    -------
    Array of the shape of ``target``: the type of ``data`` when copied, otherwise float32.
    """
    matrix, offset = _index_map(source, target)
    copied = _copy(data, matrix, offset, target.shape, fill)
    if copied is not None:
        return copied
    result = np.full(target.shape, fill, np.float32)
    # Only what the source, one voxel wider, can reach is computed: mostly the box of a brain in a larger image.
    back = np.asarray(np.linalg.inv(matrix), np.float64)
    window = _overlap(*_box(back, -back @ offset, (-1, -1, -1), data.shape), target.shape)
    offset = offset + matrix @ [part.start for part in window]
    result[window] = _interpolate(data, matrix, offset, result[window].shape, fill)
    return result


def resample_mask(mask: NDArray[np.bool_], source: Grid, target: Grid) -> NDArray[np.bool_]:
    """Where at least half of a voxel of ``target`` lies in ``mask`` (i, j, k) on ``source``."""
    return np.asarray(resample(mask.astype(np.float32), source, target) >= 0.5)


def resample_labels(labels: NDArray[np.uint8], source: Grid, target: Grid, classes: int) -> NDArray[np.uint8]:
    """Labels at the voxels of ``target``: the class with the largest share, background (0) outside of ``source``.

    Copied bit for bit where :func:`resample` would copy.
    """
    matrix, offset = _index_map(source, target)
    copied = _copy(labels, matrix, offset, target.shape, 0)
    if copied is not None:
        return copied
    # Where a border runs through the middle of a new voxel, the shares are equal. The background comes first: it would
    # win on both sides, and 3 mm slices brought to 1 mm would lose 5 % of a tumour. A nudge lets one side win only.
    nudged = target.affine.copy()
    nudged[:3, 3] += np.array(_NUDGE) * min(source.spacing)
    target = Grid(target.shape, nudged)
    best = np.full(target.shape, -1, np.float32)
    result = np.zeros(target.shape, np.uint8)
    for label in range(classes):
        share = resample((labels == label).astype(np.float32), source, target, fill=float(label == 0))
        wins = share > best
        result[wins], best[wins] = label, share[wins]
    return result


def _interpolate(
    data: NDArray[Any], matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, ...], fill: float
) -> NDArray[np.float32]:
    """Values of ``data`` at a target of ``shape``, computed from no more of ``data`` than they need."""
    sigma = _blur(matrix)
    # What the filter reaches, and the neighbour to interpolate with.
    margin = (_CUT * sigma + 0.5).astype(int) + 1
    first, last = _box(matrix, offset, (0, 0, 0), np.array(shape) - 1)
    needed = _overlap(first - margin, last + margin, data.shape)
    part = np.asarray(data[needed], np.float32)
    if part.size == 0 or 0 in shape:
        return np.full(shape, fill, np.float32)
    shift = offset - [axis.start for axis in needed]
    if np.count_nonzero(matrix) == 3:
        result = _axis_by_axis(part, matrix, shift, shape, sigma)
    else:
        smooth = ndimage.gaussian_filter(part, sigma, mode="nearest", truncate=_CUT) if sigma.any() else part
        # One replicated voxel all around: the outer half of the border voxels belongs to the image too, and no more.
        padded = np.pad(smooth, 1, mode="edge")
        result = ndimage.affine_transform(padded, matrix, shift + 1, shape, output=np.float32, order=1)
    result[~_inside(matrix, offset, data.shape, shape)] = fill
    return result


def _axis_by_axis(
    data: NDArray[np.float32],
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    shape: tuple[int, ...],
    sigma: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The same for axes that run along those of the source, ten times as fast. The border voxels extend outwards."""
    axes = np.abs(matrix).argmax(0)  # axes[target axis] = source axis
    result = data.transpose(axes)
    steps = matrix[axes, range(3)]
    for axis in np.argsort(-np.abs(steps), kind="stable").tolist():  # the one that shrinks the most comes first
        if sigma[axes[axis]]:
            result = ndimage.gaussian_filter1d(result, sigma[axes[axis]], axis, mode="nearest", truncate=_CUT)
        at = offset[axes[axis]] + steps[axis] * np.arange(shape[axis])
        low = np.floor(at).astype(int)
        share = (at - low).astype(np.float32).reshape([-1 if other == axis else 1 for other in range(3)])
        last = result.shape[axis] - 1
        lower, result = (result.take(np.clip(index, 0, last), axis) for index in (low, low + 1))
        result -= lower
        result *= share
        result += lower
    return result


def _box(
    matrix: NDArray[np.float64], offset: NDArray[np.float64], first: ArrayLike, last: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last index, rounded outwards, that the box from index ``first`` to ``last`` is mapped to."""
    ends = np.sort([matrix * np.asarray(first), matrix * np.asarray(last)], axis=0).sum(2) + offset
    return np.floor(ends[0]).astype(np.int64), np.ceil(ends[1]).astype(np.int64)


def _overlap(first: NDArray[np.int64], last: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The part of the box from index ``first`` to ``last`` that lies in an array of ``shape``; may be empty."""
    low, high = np.clip(first, 0, shape).tolist(), np.clip(last + 1, 0, shape).tolist()
    return tuple(map(slice, low, high))


def _index_map(source: Grid, target: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix and offset that take an index of ``target`` to the index of ``source`` at the same place.

    They are rounded to multiples of 2^-32 voxels, so that indices are computed without rounding errors: every part of
    an image comes out as the same part of the whole, to the bit.
    """
    combined = np.rint(np.linalg.inv(source.affine) @ target.affine * 2.0**32) / 2.0**32
    matrix = combined[:3, :3]
    return np.where(np.abs(matrix) < 1e-7, 0, matrix), combined[:3, 3]


def _copy(
    data: NDArray[Any], matrix: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, ...], fill: float
) -> NDArray[Any] | None:
    """The result by copying, or None when the voxels do not coincide."""
    whole, shift = np.rint(matrix), np.rint(offset)
    far = np.abs(matrix - whole) @ np.array(shape) + np.abs(offset - shift)
    if far.max() > _EXACT or (np.abs(whole).sum(0) != 1).any() or (np.abs(whole).sum(1) != 1).any():
        return None
    axes = np.abs(whole).argmax(0)  # axes[target axis] = source axis
    view = data.transpose(axes)
    result = np.full(shape, fill, data.dtype)
    taken, placed = [], []
    for axis, source_axis in enumerate(axes):
        start, side = int(shift[source_axis]), view.shape[axis]
        if whole[source_axis, axis] < 0:
            view = np.flip(view, axis)
            start = side - 1 - start
        low, high = max(0, -start), min(shape[axis], side - start)
        if high <= low:
            return result
        placed.append(slice(low, high))
        taken.append(slice(low + start, high + start))
    result[tuple(placed)] = view[tuple(taken)]
    return result


def _inside(
    matrix: NDArray[np.float64], offset: NDArray[np.float64], source: tuple[int, ...], target: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Which target voxels have their centre within the extent of the source, from outer face to outer face."""
    index = np.ogrid[tuple(slice(side) for side in target)]
    result = np.ones(target, bool)
    for row, shift, side in zip(matrix, offset, source, strict=True):
        # Axes that do not count are left out, so that an axis-aligned grid costs one line of numbers.
        at = shift + sum((way * steps for way, steps in zip(row, index, strict=True) if abs(way) > 1e-9), np.zeros(1))
        result &= (at > -0.5 - 1e-6) & (at < side - 0.5 + 1e-6)
    return result


def _blur(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation of the Gaussian filter along each axis of the source, in its voxels."""
    growth = np.linalg.norm(matrix, axis=1)  # size of a target voxel along each axis of the source
    sigma: NDArray[np.float64] = np.sqrt(np.clip((growth**2 - 1) / 12 - 1 / 6, 0, None))
    return np.where(sigma.max() < 0.1, 0, sigma)
