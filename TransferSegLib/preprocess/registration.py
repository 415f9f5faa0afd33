"""Registration: the rigid or affine map that lays one image over another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..grid import Grid
from ..resample import resample, resample_mask
from ..volume import Volume
from .information import Information, Matrix, at_points

Kind = Literal["rigid", "affine"]
Stretch = Literal["rigid", "similar", "affine"]

# Parameters are in mm: a turn or a stretch counts by how far it moves a point so far from the centre, about the radius
# of a brain. The optimiser then needs no weights.
_RADIUS_MM = 50.0
_SEED = 1
# Intensities are limited to this range of percentiles: vessels and fat would leave a few bins for the brain.
_PERCENTILES = (0.5, 99.5)
# Samples are taken where there is something to see: by the gradient, and by so many mean gradients anywhere.
_ANYWHERE = 0.3
# A map that leaves less of the samples inside the moving image is none.
_LEAST_OVERLAP = 0.05


@dataclass(frozen=True)
class _Level:
    """One stage: voxels of ``spacing_mm``, ``samples`` points to compare, ``steps`` for each of the best ``starts``."""

    spacing_mm: float
    samples: int
    steps: int
    starts: int = 1


# Many starts on coarse voxels, the best few on finer ones, then one.
_LEVELS = (_Level(8.0, 8_000, 20, 1000), _Level(4.0, 25_000, 15, 3), _Level(4.0, 25_000, 40), _Level(2.0, 50_000, 25))


@dataclass(frozen=True)
class Size:
    """What is known of how large the moving image's object is: ``scale`` times the fixed image's, on each axis.

    A map that stretches all axes by 20 % more or less than that costs 0.11 * ``weight`` nats, by 10 % a quarter of it.
    """

    scale: float
    weight: float

    def cost(self, matrix: Matrix) -> tuple[float, Matrix]:
        """The cost, and its slope (3, 3) by the numbers of the matrix. Turns cost nothing."""
        linear = matrix[:3, :3] / self.scale
        excess = linear.T @ linear - np.eye(3)
        return self.weight / 4 * float((excess**2).sum()), self.weight / self.scale * linear @ excess


@dataclass(frozen=True, eq=False)
class Registration:
    """Where each point of the fixed image lies in the moving image.

    Attributes
    ----------
    matrix : (4, 4), world coordinates (RAS, mm) of the fixed image to those of the moving image.
    similarity : mutual information in nats at ``matrix``; more is better.
    before : the same at the first start: with the headers alone when no start was given.
    overlap : share of the samples in the fixed image, 0 to 1, that lie inside the moving image.
    centre : (3,) mm, middle of the samples in the fixed image, where the shift is measured.
    """

    matrix: Matrix
    similarity: float
    before: float
    overlap: float
    centre: NDArray[np.float64]

    @property
    def scales(self) -> tuple[float, float, float]:
        """How much the map stretches along its three principal directions, the largest first; 1 when rigid."""
        a, b, c = np.linalg.svd(self.matrix[:3, :3], compute_uv=False).tolist()
        return a, b, c

    @property
    def rotation_deg(self) -> float:
        """Angle of the turn in degrees, without stretch and shear."""
        left, _, right = np.linalg.svd(self.matrix[:3, :3])
        return float(np.degrees(Rotation.from_matrix(left @ right).magnitude()))

    @property
    def shift_mm(self) -> float:
        """How far the middle of the fixed image moves."""
        return float(np.linalg.norm(self.matrix[:3, :3] @ self.centre + self.matrix[:3, 3] - self.centre))


def register(
    fixed: Volume,
    moving: Volume,
    kind: Kind,
    *,
    fixed_mask: NDArray[np.bool_] | None = None,
    starts: Sequence[Matrix] | None = None,
    size: Size | None = None,
) -> Registration:
    """Find the map with the most mutual information (Mattes 2003, doi 10.1109/TMI.2003.809072).

    The same input gives the same result to the bit: the samples are drawn with a fixed seed.

    Parameters
    ----------
    fixed_mask : (i, j, k) on the grid of the fixed image: only what lies inside is compared.
    starts : maps to start from, as ``matrix`` of the result; those that lead furthest on coarse voxels are refined.
        None: the headers as they are, and the centres of mass laid over each other.
    size : what the stretch is expected to be; None: nothing is known.

    Raises
    ------
    InputError : an image has only one value (within its mask), or no start makes the images overlap.
    """
    for image, mask in ((fixed, fixed_mask), (moving, None)):
        values = image.data if mask is None else image.data[mask]
        if values.size == 0 or values.min() == values.max():
            raise InputError(f"{image.path or 'An image'} has only one value where it is compared.", "Check the image.")
    matrices = list(starts) if starts is not None else _default_starts(fixed, moving, fixed_mask)
    trial: Stretch = "rigid" if kind == "rigid" else "similar"
    found = [(start, 0.0) for start in matrices]
    for level in _LEVELS:
        found = sorted(found, key=lambda one: -one[1])[: level.starts]
        if len(found) == 1 < level.starts:
            continue
        information = _prepared(fixed, moving, fixed_mask, level)
        how = kind if level.starts == 1 else trial
        found = [_climb(information, start, how, level.steps, size) for start, _ in found]
    best = found[0][0]
    if information(best)[0] < information(matrices[0])[0]:
        # Coarse voxels have led astray from a start that was good, as the headers of one session mostly are.
        best = _climb(information, matrices[0], kind, _LEVELS[-1].steps, size)[0]
    overlap = information.overlap(best)
    if overlap < _LEAST_OVERLAP:
        raise InputError("Two images do not overlap, so that they cannot be registered.", "Check their headers.")
    return Registration(best, information(best)[0], information(matrices[0])[0], overlap, information.centre)


def _climb(
    information: Information, start: Matrix, kind: Stretch, steps: int, size: Size | None
) -> tuple[Matrix, float]:
    """The map that a climb from ``start`` ends at, and its mutual information less what its size costs."""
    count = {"rigid": 6, "similar": 7, "affine": 12}[kind]

    def matrix(parameters: NDArray[np.float64]) -> Matrix:
        return start @ _about(information.centre, _small_map(parameters))

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        here = matrix(parameters)
        value, slope = information(here)
        if size is not None:
            cost, by_linear = size.cost(here)
            value -= cost
            slope[:, :3] -= by_linear
        # The slope is by the numbers of the matrix; how these follow from the parameters is cheap to try.
        sides = [matrix(parameters + move) - matrix(parameters - move) for move in np.eye(count) * 1e-4]
        return -value, -np.array([(slope * side[:3]).sum() for side in sides]) / 2e-4

    if information.overlap(start) < _LEAST_OVERLAP:
        return start, -np.inf
    found = optimize.minimize(
        loss,
        np.zeros(count),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-6},
    )
    return matrix(found.x), -float(found.fun)


def _small_map(parameters: NDArray[np.float64]) -> Matrix:
    """Map (4, 4) about the origin: shift and turn (6 numbers), one scale too (7), or shift and any matrix (12)."""
    result = np.eye(4)
    linear = parameters[3:] / _RADIUS_MM
    if len(parameters) == 12:
        result[:3, :3] += linear.reshape(3, 3)
    else:
        scale = float(np.exp(linear[3])) if len(parameters) == 7 else 1.0
        result[:3, :3] = scale * Rotation.from_rotvec(linear[:3]).as_matrix()
    result[:3, 3] = parameters[:3]
    return result


def _about(centre: NDArray[np.float64], matrix: Matrix) -> Matrix:
    """The map that does around ``centre`` what ``matrix`` does around the origin."""
    result = matrix.copy()
    result[:3, 3] += centre - matrix[:3, :3] @ centre
    return result


def _default_starts(fixed: Volume, moving: Volume, fixed_mask: NDArray[np.bool_] | None) -> list[Matrix]:
    centred = np.eye(4)
    centred[:3, 3] = mass_centre(moving) - mass_centre(fixed, fixed_mask)
    return [np.eye(4), centred]


def mass_centre(volume: Volume, mask: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Centre of mass (3,) in world mm of the values above the least, within ``mask``."""
    weights = np.asarray(volume.data, np.float32) - np.float32(volume.data.min())
    if mask is not None:
        weights = np.where(mask, weights, np.float32(0))
    sides = range(3)
    profiles = [weights.sum(tuple(other for other in sides if other != axis), dtype=np.float64) for axis in sides]
    return volume.grid.world([float(np.average(np.arange(len(one)), weights=one)) for one in profiles])


def _prepared(fixed: Volume, moving: Volume, fixed_mask: NDArray[np.bool_] | None, level: _Level) -> Information:
    image, grid = _cubic(fixed, level.spacing_mm)
    slope = ndimage.gaussian_gradient_magnitude(image, 1.0)
    likely = slope + _ANYWHERE * slope.mean()
    if fixed_mask is not None:
        inside = resample_mask(fixed_mask, fixed.grid, grid)
        likely *= inside if inside.any() else 1
    total = np.cumsum(likely, dtype=np.float64)
    random = np.random.default_rng(_SEED)
    chosen = np.searchsorted(total, random.uniform(0, total[-1], level.samples), side="right")
    index = np.column_stack(np.unravel_index(np.minimum(chosen, likely.size - 1), grid.shape))
    # Between the voxels too: samples on a grid that fits the other one favour maps that leave them there.
    index = index + random.uniform(-0.5, 0.5, index.shape)
    values, _ = at_points(image, np.clip(index, 0, np.array(grid.shape) - 1))
    other, other_grid = _cubic(moving, level.spacing_mm)
    return Information(grid.world(index), values, other, other_grid)


def _cubic(volume: Volume, spacing_mm: float) -> tuple[NDArray[np.float32], Grid]:
    """Values from 0 to 1 on cubic voxels over the same extent."""
    sample = np.asarray(volume.data).ravel()[:: max(1, volume.data.size // 500_000)]
    low, high = np.percentile(sample, _PERCENTILES)
    if high <= low:  # nearly all voxels have one value
        low, high = float(volume.data.min()), float(volume.data.max())
    grid = volume.grid.respaced((spacing_mm,) * 3)
    values = np.clip((np.asarray(volume.data, np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(resample(values, volume.grid, grid), np.float32), grid
