"""Grid: where voxels lie in the world. All geometry of the library goes through it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxels in space.

    Attributes
    ----------
    shape : voxels along i, j, k.
    affine : (4, 4), voxel index to world, RAS, mm. May be oblique, flipped, anisotropic or sheared.

    Raises
    ------
    InputError : the affine is not finite or not invertible, or a side is empty.
    """

    shape: Shape
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.array(self.affine, np.float64)
        shape = tuple(int(side) for side in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A grid of the shape {shape} has no voxels.", "Give a 3D image.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise InputError(f"The affine {affine.tolist()} cannot be inverted.", "Repair the header of the image.")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", shape)

    @property
    def spacing(self) -> Spacing:
        """Voxel sizes along i, j, k in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return i, j, k

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def world(self, index: ArrayLike) -> NDArray[np.float64]:
        """World coordinates (..., 3) in mm, RAS, of voxel indices (..., 3)."""
        return np.asarray(apply_affine(self.affine, np.asarray(index, np.float64)))

    def index(self, world: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices (..., 3), not rounded, of world coordinates (..., 3) in mm, RAS."""
        return np.asarray(apply_affine(np.linalg.inv(self.affine), np.asarray(world, np.float64)))

    def corners(self) -> NDArray[np.float64]:
        """World coordinates (8, 3) of the centres of the corner voxels."""
        return self.world(list(product(*((0, side - 1) for side in self.shape))))

    def matches(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Whether both have the same shape and every voxel lies within ``tolerance_mm`` of its twin."""
        return self.shape == other.shape and bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)

    def overlap(self, other: Grid, samples: int = 16) -> float:
        """Share of this grid's extent, 0 to 1, that lies inside ``other``."""
        axes = [np.linspace(0, side - 1, min(side, samples)) for side in self.shape]
        points = other.index(self.world(np.stack(np.meshgrid(*axes, indexing="ij"), -1)))
        inside = ((points >= -0.5) & (points <= np.array(other.shape) - 0.5)).all(-1)
        return float(inside.mean())

    def moved(self, matrix: ArrayLike) -> Grid:
        """The same voxels where ``matrix`` (4, 4), from world to world, takes them."""
        return Grid(self.shape, np.asarray(matrix, np.float64) @ self.affine)

    def reoriented(self, codes: str = "RAS") -> Grid:
        """The same voxels with axes permuted and flipped to run closest to ``codes``, for instance ``"RAS"``."""
        change = ornt_transform(io_orientation(self.affine), axcodes2ornt(codes))
        order = np.argsort(change[:, 0])
        shape = tuple(np.array(self.shape)[order].tolist())
        return Grid(shape, self.affine @ inv_ornt_aff(change, self.shape))

    def respaced(self, spacing: Spacing) -> Grid:
        """A grid over the same extent and along the same axes with voxels of ``spacing`` mm."""
        factor = np.array(spacing) / self.spacing
        i, j, k = (max(1, int(side)) for side in np.ceil(np.array(self.shape) / factor - 1e-6))
        # The outer faces of the first voxels stay together, so that the centre moves by half a voxel's growth.
        to_old = np.eye(4)
        to_old[:3, :3] = np.diag(factor)
        to_old[:3, 3] = (factor - 1) / 2
        return Grid((i, j, k), self.affine @ to_old)

    def window(self, start: tuple[int, ...], shape: Shape) -> Grid:
        """The part of ``shape`` voxels that begins at voxel ``start``, which may lie outside (the grid is extended)."""
        shift = np.eye(4)
        shift[:3, 3] = start
        return Grid(shape, self.affine @ shift)
