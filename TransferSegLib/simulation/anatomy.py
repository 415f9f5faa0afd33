"""Brains that are nobody's: the tissue maps of the template, deformed at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..grid import Grid
from ..preprocess.template import load_template, read_template_file
from .fields import Array, sheets, smooth_noise

# What a deformed brain takes up in the world, mm.
_FIRST_MM, _LAST_MM = (-84.0, -120.0, -80.0), (84.0, 90.0, 94.0)
# Middle of the lateral ventricles in MNI space, and how far from it they are widened or narrowed, mm.
_VENTRICLES_MM, _VENTRICLES_REACH_MM = np.array([0.0, -15.0, 12.0]), np.array([24.0, 42.0, 24.0])
_GM_WM_LEVELS = 31.0
_DEEPEST_MM = 10.0

Warp = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Atlas:
    """Tissue maps of the template on one grid, 1 mm, each 0..1.

    Attributes
    ----------
    gm, wm : shares of grey and white matter. What is missing to 1 inside of the brain is fluid.
    inside : the brain's mask, blurred: 1 deep inside, 0.5 at the surface.
    surface : 1 at the brain's surface, 0 from about 2 cm below it.
    depth : distance from white matter, mm: the cortex is as thick as that, what lies further out is fluid.
    ventricles : fluid in the middle of the brain, blurred.
    """

    grid: Grid
    gm: Array
    wm: Array
    inside: Array
    surface: Array
    depth: Array
    ventricles: Array


@cache
def load_atlas() -> Atlas:
    """The maps, read once. Origin and terms: ``templates/NOTICE.txt``."""
    brain = load_template().brain
    # The template is symmetric: its left half, up to the plane in the middle, is all there is to store.
    halves = [read_template_file(f"icbm152_{tissue}_left.nii.gz").data for tissue in ("gm", "wm")]
    gm, wm = (np.concatenate([half, half[-2::-1]]).astype(np.float32) / _GM_WM_LEVELS for half in halves)
    solid = brain.data.astype(np.float32)
    inside = ndimage.gaussian_filter(solid, 3.0)
    deep = ndimage.gaussian_filter(solid, 10.0)
    fluid = np.clip(solid - gm - wm, 0, 1) * (deep > 0.93)
    ventricles = ndimage.gaussian_filter(fluid, 1.5)
    surface = np.clip((1 - deep) * 2, 0, 1)
    depth = np.minimum(ndimage.distance_transform_edt(wm < 0.5), _DEEPEST_MM).astype(np.float32)
    return Atlas(brain.grid, gm, wm, inside, surface, ndimage.gaussian_filter(depth, 0.7), ventricles)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A brain on a grid.

    Attributes
    ----------
    grid : of all arrays, (i, j, k), RAS, mm.
    csf, gm, wm : shares of fluid, grey and white matter; their sum is 1 everywhere.
    brain : the true mask of the brain.
    inside, ventricles : those of the :class:`Atlas` after deformation.
    places : (3, i, j, k) where each voxel lies in the template, world, mm.
    """

    grid: Grid
    csf: Array
    gm: Array
    wm: Array
    brain: NDArray[np.bool_]
    inside: Array
    ventricles: Array
    places: Array


def brain_grid(spacing: Sequence[float]) -> Grid:
    """A grid with axes along RAS that holds any simulated brain."""
    shape = [
        int(np.ceil((last - first) / step)) for first, last, step in zip(_FIRST_MM, _LAST_MM, spacing, strict=True)
    ]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.add(_FIRST_MM, np.array(spacing) / 2)
    return Grid((shape[0], shape[1], shape[2]), affine)


def draw_anatomy(random: np.random.Generator, grid: Grid, atrophy: float, push: Warp | None = None) -> Anatomy:
    """A brain of random size, shape, ventricles and folds.

    Parameters
    ----------
    atrophy : how much wider than the template's the ventricles are: 0 is as wide, 0.4 is much wider.
    push : what a tumour does to its surroundings: maps places (3, i, j, k) of the deformed brain to those they came
        from.
    """
    atlas, spacing = load_atlas(), float(np.mean(grid.spacing))
    places = _deform(random, grid, atrophy, push)
    gm, wm, inside, surface, depth, ventricles = sample(
        atlas.grid, places, atlas.gm, atlas.wm, atlas.inside, atlas.surface, atlas.depth, atlas.ventricles
    )
    csf = np.clip(1 - gm - wm, 0, 1)
    # The template is an average of many brains, whose cortex and sulci mix over several mm. The cortex of one brain is
    # some 3 mm thick; what lies further from white matter, near the surface, is the fluid of a sulcus.
    cortex = random.uniform(2.3, 3.3) - 0.8 * atrophy + 0.5 * smooth_noise(random, grid.shape, 12 / spacing)
    outer = np.clip(surface * 4 - 0.4, 0, 1)
    sulcus = np.clip((depth - cortex) / 0.8, -1.5, 2.5) * outer
    sulcus += 1.2 * (sheets(random, grid.shape, 9.0 / spacing, 2.0 / spacing) - 0.2) * outer
    shares = []
    for share, own in ((np.maximum(csf, 0.35 * outer * gm), 2.2 * sulcus), (gm, 0.0), (wm, 0.0)):
        wobble = 0.45 * smooth_noise(random, grid.shape, 3.5 / spacing)
        shares.append((share + 0.02) ** 2.6 * np.exp(wobble + own))
    total = shares[0] + shares[1] + shares[2]
    csf, gm, wm = (share / total for share in shares)
    return Anatomy(grid, csf, gm, wm, inside > 0.5, inside, ventricles, places)


def _deform(random: np.random.Generator, grid: Grid, atrophy: float, push: Warp | None) -> Array:
    """Where each voxel of ``grid`` comes from in the template, world, mm: affine map, then smooth displacements."""
    spacing = float(np.mean(grid.spacing))
    angles = np.deg2rad(random.uniform(-7, 7, 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    # The template's brain, 1.9 l, is larger than most.
    size = random.uniform(0.86, 1.0) * random.uniform(0.95, 1.05, 3)
    shear = np.eye(3) + np.triu(random.uniform(-0.03, 0.03, (3, 3)), 1)
    matrix = np.linalg.inv(turn @ shear @ np.diag(size))
    middle = np.array([0.0, -18.0, 8.0])
    axes = [grid.affine[axis, 3] + grid.affine[axis, axis] * np.arange(side) for axis, side in enumerate(grid.shape)]
    world = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    if push is not None:
        world = push(world)
    world -= (middle + random.uniform(-3, 3, 3)).astype(np.float32)[:, None, None, None]
    places = np.tensordot(matrix.astype(np.float32), world, 1) + middle.astype(np.float32)[:, None, None, None]
    for scale_mm, size_mm in ((50.0, 2.4), (18.0, 0.9)):
        for axis in range(3):
            places[axis] += size_mm * smooth_noise(random, grid.shape, scale_mm / spacing)
    # Ventricles: around their middle less, or more, of the template is shown.
    away = places - _VENTRICLES_MM.astype(np.float32)[:, None, None, None]
    reach = _VENTRICLES_REACH_MM.astype(np.float32)[:, None, None, None]
    near = np.exp(-np.square(away / reach).sum(0))
    return np.asarray(places - atrophy * near * away, np.float32)


def sample(grid: Grid, places: Array, *volumes: Array, order: int = 1) -> list[Array]:
    """Values of volumes on ``grid``, whose axes run along RAS, at ``places`` (3, ...) in the world; 0 outside.

    Parameters
    ----------
    order : 1: linear, 0: of the nearest voxel.
    """
    first, steps = grid.affine[:3, 3].astype(np.float32), np.diag(grid.affine)[:3].astype(np.float32)
    index = [(place - start) / step for place, start, step in zip(places, first, steps, strict=True)]
    return [ndimage.map_coordinates(volume, index, np.float32, order, prefilter=False) for volume in volumes]
