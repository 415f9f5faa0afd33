"""Smooth random fields, the stuff that simulated patients differ by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def smooth_noise(random: np.random.Generator, shape: tuple[int, ...], scale: float) -> Array:
    """Noise of mean 0 and standard deviation 1 whose bumps are about ``scale`` voxels wide: a cubic B-spline.

    Parameters
    ----------
    shape : of the result, (i, j, k).
    scale : distance of the spline's control points in voxels; below 1 it is white noise.
    """
    if scale <= 1:
        return random.standard_normal(shape, np.float32)
    weights = [_spline(side, scale) for side in shape]
    field = random.standard_normal([each.shape[1] for each in weights], np.float32)
    for axis, matrix in enumerate(weights):
        field = np.moveaxis(np.tensordot(matrix, field, (1, axis)), 0, axis)
    # The standard deviation of a cubic B-spline of white noise: sqrt(151/315) along each axis.
    return np.ascontiguousarray(field) * np.float32((315 / 151) ** 1.5)


def sheets(random: np.random.Generator, shape: tuple[int, ...], scale: float, width: float) -> Array:
    """Thin curved sheets, 1 in their middle and 0 away from them: where smooth noise passes through 0.

    Parameters
    ----------
    scale : about the distance between sheets, voxels.
    width : about the thickness of a sheet, voxels.
    """
    field = smooth_noise(random, shape, scale) * np.float32(scale / width)
    return np.asarray(np.exp(-np.square(field)), np.float32)


def _spline(side: int, scale: float) -> Array:
    """(side, control points) values of the uniform cubic B-splines at each voxel."""
    at = np.arange(side) / scale
    points = int(np.floor(at[-1])) + 4
    distance = np.abs(at[:, None] + 1 - np.arange(points)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance) ** 3 / 6
    return np.where(distance < 1, near, np.where(distance < 2, far, 0)).astype(np.float32)
