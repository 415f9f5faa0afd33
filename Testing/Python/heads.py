"""Heads in closed form, moved by maps that are known, and heads made of the template."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from phantoms import make_grid, points
from scipy import ndimage
from scipy.spatial.transform import Rotation

from TransferSegLib.grid import Grid
from TransferSegLib.preprocess.template import load_template
from TransferSegLib.resample import resample
from TransferSegLib.volume import Volume

RADII = np.array([62.0, 76.0, 58.0])
FIXED = make_grid((2.5, 2.5, 2.5), extent=170)


def head(grid, matrix=None, turned=False):
    """A head-like object in closed form, whose point x lies at ``matrix`` x; ``turned``: bright for dark inside."""
    world = points(grid).reshape(-1, 3).astype(np.float32)
    if matrix is not None:
        back = np.linalg.inv(matrix).astype(np.float32)
        world = world @ back[:3, :3].T + back[:3, 3]
    inside = 1 / (1 + np.exp(np.clip((np.linalg.norm(world / RADII, axis=1) - 1) * 25, -30, 30)))
    # Waves of 25 to 60 mm in all directions: nothing in it is symmetric.
    random = np.random.default_rng(7)
    texture = np.zeros(len(world), np.float32)
    for _ in range(8):
        way = random.normal(size=3)
        wave = way / np.linalg.norm(way) * 2 * np.pi / random.uniform(25, 60)
        texture += np.sin(world @ wave.astype(np.float32) + np.float32(random.uniform(0, 6)))
    values = inside * (1 - 0.1 * texture if turned else 1 + 0.1 * texture)
    return Volume((100 * values).reshape(grid.shape).astype(np.float32), grid)


def moved(shift=(0, 0, 0), turn=(0, 0, 0), stretch=(1, 1, 1), shear=0.0):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.diag(stretch).astype(float)
    matrix[0, 1] += shear
    matrix[:3, 3] = shift
    return matrix


def error_mm(found, true):
    """Mean and largest distance over the head."""
    random = np.random.default_rng(0)
    inner = np.column_stack((random.uniform(-0.8, 0.8, (500, 3)) * RADII, np.ones(500)))
    distance = np.linalg.norm((inner @ (found - true).T)[:, :3], axis=1)
    return distance.mean(), distance.max()


def template_head(grid, matrix, turned=False, skull=True) -> tuple[Volume, NDArray[np.bool_]]:
    """The template, whose point x lies at ``matrix`` x, in a skull and a scalp, and its brain's mask."""
    template = load_template()
    t1, brain = (
        resample(np.asarray(part.data, np.float32), Grid(part.grid.shape, matrix @ part.grid.affine), grid)
        for part in (template.t1, template.brain)
    )
    mask = np.asarray(brain >= 0.5)
    values = np.where(mask, 300 - t1 if turned else t1, 0)
    if skull:
        away = ndimage.distance_transform_edt(~mask, grid.spacing)
        values = np.where(mask, values, np.where((away > 6) & (away < 12), 200, 5))
    return Volume(values.astype(np.float32), grid), mask


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
