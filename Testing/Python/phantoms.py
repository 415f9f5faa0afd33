"""Spheres whose volume and place follow from a formula, on grids of every kind, and files to hold them."""

from __future__ import annotations

from collections.abc import Container
from functools import cache
from itertools import permutations, product
from math import pi
from pathlib import Path

import numpy as np
import SimpleITK
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from TransferSegLib.grid import Grid

CENTRE = (2.2, -3.1, 1.7)  # not the centre of the grids, so that a flip shows
RADIUS = 14.0
EDGE = 2.0  # mm over which the soft sphere falls from 1 to 0

ORIENTATIONS = ["".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes)]
_TOWARDS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def make_grid(
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    codes: str = "RAS",
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shear: float = 0.0,
    extent: float = 44.0,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Grid:
    """A grid of about ``extent`` mm around ``centre``, with axes along ``codes``, turned by degrees about x, y, z."""
    axes = np.array([_TOWARDS[code] for code in codes], float).T @ np.diag(spacing)
    axes[:, 2] += shear * axes[:, 1] * spacing[2] / spacing[1]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ axes
    i, j, k = (round(extent / side) for side in spacing)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array([i, j, k]) - 1) / 2)
    return Grid((i, j, k), affine)


GRIDS = {
    "axis-aligned": make_grid(),
    "flipped": make_grid(codes="LPS"),
    "permuted": make_grid(codes="PSR"),
    "oblique": make_grid(turn=(20, -15, 30)),
    "anisotropic": make_grid((0.8, 0.9, 3.0)),
    "sheared": make_grid((1.0, 1.1, 0.9), shear=0.2),
    "everything": make_grid((3.0, 0.9, 1.1), "LIP", (-25, 10, 15), 0.1),
}


def any_grid(finest: float = 0.4, coarsest: float = 5.0) -> st.SearchStrategy[Grid]:
    """For hypothesis: grids of about 30 mm, of all orientations, turned and sheared, somewhere in the world."""
    return st.builds(
        make_grid,
        spacing=st.tuples(*[st.floats(finest, coarsest)] * 3),
        codes=st.sampled_from(ORIENTATIONS),
        turn=st.tuples(*[st.floats(-20, 20)] * 3),
        shear=st.floats(0, 0.2),
        extent=st.just(30.0),
        centre=st.tuples(*[st.floats(-50, 50)] * 3),
    )


@cache
def points(grid: Grid) -> NDArray[np.float64]:
    """World coordinates (i, j, k, 3) of all voxels."""
    return grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))


def ball(grid: Grid, centre: tuple[float, ...] = CENTRE, radius: float = RADIUS) -> NDArray[np.bool_]:
    """The voxels whose centre lies in a sphere given in world mm."""
    return np.linalg.norm(points(grid) - centre, axis=-1) <= radius


def soft_ball(grid: Grid, centre: tuple[float, ...] = CENTRE, radius: float = RADIUS) -> NDArray[np.float32]:
    """A sphere with an edge that falls linearly from 1 to 0 within ``EDGE`` mm, as partial volume makes it."""
    distance = np.linalg.norm(points(grid) - centre, axis=-1)
    return np.clip((radius - distance) / EDGE + 0.5, 0, 1).astype(np.float32)


BALL_ML = 4 / 3 * pi * RADIUS**3 / 1000
SOFT_BALL_ML = 4 / 3 * pi * (RADIUS**3 + RADIUS * EDGE**2 / 4) / 1000


def volume_ml(values: NDArray[np.generic], grid: Grid) -> float:
    return float(values.sum(dtype=np.float64)) * grid.voxel_ml


def centre_of(values: NDArray[np.generic], grid: Grid) -> NDArray[np.float64]:
    """Centre of mass in world mm."""
    return np.average(points(grid).reshape(-1, 3), axis=0, weights=values.ravel().astype(float))


def write_dicom(
    folder: Path, data: NDArray[np.int16], grid: Grid, series: int = 1, leave_out: Container[int] = ()
) -> None:
    """Write (i, j, k) values as a DICOM series, one file a slice. The file names are not in the order of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    direction = lps[:3, :3] / grid.spacing
    uid = f"1.2.826.0.1.3680043.2.1125.{series}"
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(grid.shape[2]):
        if k in leave_out:
            continue
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data[None, :, :, k].transpose(0, 2, 1)))
        image.SetSpacing(grid.spacing)
        origin = lps[:3, 3] + k * lps[:3, 2]
        for tag, value in {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"{uid}.{k + 1}",
            "0008|0060": "MR",
            "0018|0050": f"{grid.spacing[2]:.8g}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125",
            "0020|000e": uid,
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{value:.10g}" for value in origin),
            "0020|0037": "\\".join(f"{value:.10g}" for value in (*direction[:, 0], *direction[:, 1])),
        }.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}-{(7 * k) % 100:02d}.dcm"))
        writer.Execute(image)
