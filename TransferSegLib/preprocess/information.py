"""Mutual information of two images under a map, and its slope."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid

Matrix = NDArray[np.float64]

_BINS = 32
# Bins that the cubic window of a value reaches beyond its own.
_MARGIN = 2


class Information:
    """How much the values of an image at given points tell of those of another image at the points' places there.

    The other image's values are spread over four bins by a cubic B-spline (Mattes 2003, doi 10.1109/TMI.2003.809072):
    the histogram, and so the mutual information, changes smoothly with the map.

    Parameters
    ----------
    points : (n, 3) world coordinates in mm.
    values : (n,) of the first image there, from 0 to 1.
    moving : (i, j, k) values from 0 to 1 of the other image.
    grid : of ``moving``.
    """

    def __init__(
        self, points: NDArray[np.float64], values: NDArray[np.float32], moving: NDArray[np.float32], grid: Grid
    ) -> None:
        self.centre: NDArray[np.float64] = points.mean(0)
        self._points = np.column_stack((points, np.ones(len(points)))).T
        self._row = (values * (_BINS - 1) + 0.5).astype(np.intp)
        self._moving, self._to_index = moving, np.linalg.inv(grid.affine)

    def __call__(self, matrix: Matrix) -> tuple[float, NDArray[np.float64]]:
        """Mutual information in nats, 0 when nothing overlaps, and its slope (3, 4) by the numbers of ``matrix``.

        Points that fall outside of the other image tell nothing: the information of the others counts for their share.
        Without that, maps that leave few points inside would win, since few always seem to agree.
        """
        index = self._index(matrix)
        inside = self._inside(index)
        if not inside.any():
            return 0.0, np.zeros((3, 4))
        points, row = self._points[:, inside], self._row[inside]
        values, slopes = at_points(self._moving, index[:, inside].T, with_slope=True)
        bins = values.astype(np.float64) * (_BINS - 1) + _MARGIN
        first = bins.astype(np.intp) - 1
        weights, changes = _spline(bins - np.floor(bins))
        width = _BINS + 2 * _MARGIN
        cells = row * width + first
        joint = np.zeros(_BINS * width)
        for step, weight in enumerate(weights):
            joint += np.bincount(cells + step, weight, len(joint))
        joint /= len(row)
        table = joint.reshape(_BINS, width)
        rows, columns = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
        tiny = 1e-12
        ratio = np.log((table + tiny) / (columns + tiny))
        value = float((table * (ratio - np.log(rows + tiny))).sum())
        flat = ratio.ravel()
        by_value = sum((change * flat[cells + step] for step, change in enumerate(changes)), np.zeros(len(row)))
        by_value *= (_BINS - 1) / len(inside)
        by_index = slopes.T * by_value
        by_world = self._to_index[:3, :3].T @ by_index
        # Not by a matrix product: how it adds up depends on the number of threads.
        slope = np.array([[(way * coordinate).sum() for coordinate in points] for way in by_world])
        return value * len(row) / len(inside), slope

    def overlap(self, matrix: Matrix) -> float:
        """Share of the points that fall inside the other image."""
        return float(self._inside(self._index(matrix)).mean())

    def _index(self, matrix: Matrix) -> NDArray[np.float64]:
        rows = (self._to_index @ matrix)[:3]
        x, y, z, one = self._points
        return np.stack([a * x + b * y + c * z + d * one for a, b, c, d in rows])

    def _inside(self, index: NDArray[np.float64]) -> NDArray[np.bool_]:
        last = np.array(self._moving.shape)[:, None] - 1
        return np.asarray(((index >= 0) & (index <= last)).all(0))


def at_points(
    image: NDArray[np.float32], index: NDArray[np.float64], with_slope: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Values (n,) of ``image`` by linear interpolation at ``index`` (n, 3), which lies inside.

    Returns
    -------
    The values, and their slopes (n, 3) by index when asked for (else empty).
    """
    shape = np.array(image.shape)
    low = np.clip(np.floor(index).astype(np.intp), 0, np.maximum(shape - 2, 0))
    share = (index - low).T
    steps = np.where(shape > 1, (shape[1] * shape[2], shape[2], 1), 0)
    corner = low @ np.array([shape[1] * shape[2], shape[2], 1])
    flat = image.ravel()
    eight = [
        [[flat[corner + a * steps[0] + b * steps[1] + c * steps[2]] for c in (0, 1)] for b in (0, 1)] for a in (0, 1)
    ]
    x, y, z = share
    along_z = [[near + z * (far - near) for near, far in side] for side in eight]
    along_y = [near + y * (far - near) for near, far in along_z]
    values = (along_y[0] + x * (along_y[1] - along_y[0])).astype(np.float32)
    if not with_slope:
        return values, np.empty((0, 3))
    by_x = along_y[1] - along_y[0]
    by_y = [far - near for near, far in along_z]
    by_z = [[far - near for near, far in side] for side in eight]
    by_z_y = [near + y * (far - near) for near, far in by_z]
    slopes = np.column_stack((by_x, by_y[0] + x * (by_y[1] - by_y[0]), by_z_y[0] + x * (by_z_y[1] - by_z_y[0])))
    return values, slopes


def _spline(share: NDArray[np.float64]) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Weights of the four bins around a value ``share`` of a bin above the second, and how they change with it."""
    t, rest = share, 1 - share
    weights = [rest**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * rest**3 - 6 * rest**2 + 4) / 6, t**3 / 6]
    changes = [-(rest**2) / 2, (3 * t**2 - 4 * t) / 2, (4 * rest - 3 * rest**2) / 2, t**2 / 2]
    return weights, changes
