"""Glioma: edema along white matter, an enhancing rim, a necrotic core, and what it pushes aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .anatomy import Anatomy, Warp, load_atlas
from .fields import Array, smooth_noise
from .material import Findings, Material

NECROTIC, EDEMA, ENHANCING = 1, 2, 3
_LOW_GRADE = 0.25
# No tumour of this kind grows in the cerebellum or the brain stem: its middle lies above this plane, mm.
_LOWEST_MM = -18.0


@dataclass(frozen=True)
class Tumour:
    """Where a tumour is and how large; drawn before the brain, which it deforms.

    Attributes
    ----------
    centre : world, mm.
    radii : of the core along the axes, mm.
    push : how far it pushes its surroundings aside, as a share of its radius.
    low_grade : whether it is one.
    """

    centre: Array
    radii: Array
    push: float
    low_grade: bool

    @property
    def warp(self) -> Warp:
        """Maps places to those they came from before the tumour grew: towards its middle, most near its surface."""

        def pull(world: Array) -> Array:
            away = world - self.centre[:, None, None, None]
            depth = np.sqrt(np.square(away / self.radii[:, None, None, None]).sum(0))
            factor = 1 - self.push * np.exp(-np.square(depth / 1.8))
            return np.asarray(self.centre[:, None, None, None] + away * factor, np.float32)

        return pull


def draw_tumour(random: np.random.Generator) -> Tumour:
    """A tumour in white matter, near it in some cases, of 3 to 60 ml of core."""
    atlas = load_atlas()
    weight = atlas.wm * (atlas.surface < 0.6)
    weight[..., : int(_LOWEST_MM - atlas.grid.affine[2, 3])] = 0
    at = random.choice(weight.size, p=(weight / weight.sum(dtype=np.float64)).ravel())
    index = np.array(np.unravel_index(at, weight.shape)) + random.normal(0, 4, 3)
    centre = (atlas.grid.affine[:3, :3] @ index + atlas.grid.affine[:3, 3]).astype(np.float32)
    low_grade = bool(random.random() < _LOW_GRADE)
    radius = np.exp(random.uniform(np.log(10), np.log(28)))
    radii = (radius * random.uniform(0.75, 1.3, 3)).astype(np.float32)
    return Tumour(centre, radii, float(random.uniform(0.05, 0.5)), low_grade)


def grow_tumour(random: np.random.Generator, tumour: Tumour, anatomy: Anatomy) -> Findings:
    """The tumour in its brain; labels of ``GLIOMA``."""
    grid, spacing = anatomy.grid, float(np.mean(anatomy.grid.spacing))

    def noise(scale_mm: float) -> Array:
        return smooth_noise(random, grid.shape, scale_mm / spacing)

    axes = [grid.affine[axis, 3] + grid.affine[axis, axis] * np.arange(side) for axis, side in enumerate(grid.shape)]
    away = [
        ((axis - middle) / radius).astype(np.float32)
        for axis, middle, radius in zip(axes, tumour.centre, tumour.radii, strict=True)
    ]
    radius_mm = float(tumour.radii.mean())
    depth = np.sqrt(away[0][:, None, None] ** 2 + away[1][None, :, None] ** 2 + away[2][None, None, :] ** 2)
    room = 1 - np.clip(anatomy.csf * 1.5 - 0.4, 0, 1)
    # Distance to the surface of the core, mm, positive inside.
    core = (1 - depth) * radius_mm + 0.16 * radius_mm * noise(1.1 * radius_mm) + 1.2 * noise(6) + 0.4 * noise(3)
    core = np.where(room * anatomy.inside > 0.35, core, -5)
    if tumour.low_grade:
        enhancing = _islands(random, core, noise, share=random.uniform(0.0, 0.08))
        inner = core > 0
    else:
        thickness = random.uniform(2.0, 8.0) * (1 + 0.45 * noise(9))
        gaps = noise(12) > random.uniform(0.9, 2.2)
        inner = (core - thickness + 0.8 * noise(5) > 0) | (gaps & (core > 0))
        if random.random() < 0.25:  # several cysts, walls between them enhance
            inner &= np.abs(noise(10)) > 0.25
        enhancing = (core > 0) & ~inner
    swelling = _edema(random, tumour, anatomy, core, noise)
    labels = np.where(swelling, EDEMA, 0).astype(np.uint8)
    labels[(core > 0) & inner] = NECROTIC
    labels[enhancing] = ENHANCING
    labels[~anatomy.brain] = 0
    inner_look = "solid tumour" if tumour.low_grade else "necrosis"
    looks = ((EDEMA, "edema", 1.1), (NECROTIC, inner_look, 0.7), (ENHANCING, "enhancing tumour", 0.6))
    shares = [
        (look, ndimage.gaussian_filter((labels == label).astype(np.float32), blur_mm / spacing))
        for label, look, blur_mm in looks
    ]
    shares[0] = ("edema", shares[0][1] * np.clip(0.85 + 0.18 * noise(7), 0.3, 1) * (0.35 + 0.65 * room))
    patchy = np.clip(random.uniform(0.8, 1.2) + 0.25 * noise(3.5), 0.2, 1)
    shares[2] = ("enhancing tumour", shares[2][1] * patchy)
    total = np.maximum(sum(share for _, share in shares), 1)
    materials = tuple(Material(look, share / total) for look, share in shares)
    return Findings(labels, materials, "LGG" if tumour.low_grade else "HGG")


def _islands(
    random: np.random.Generator, core: Array, noise: Callable[[float], Array], share: float
) -> NDArray[np.bool_]:
    """A few enhancing spots that take ``share`` of the core."""
    field = noise(7)
    inside = core > 0
    if not inside.any():
        return inside
    return inside & (field > np.quantile(field[inside], 1 - share))


def _edema(
    random: np.random.Generator, tumour: Tumour, anatomy: Anatomy, core: Array, noise: Callable[[float], Array]
) -> NDArray[np.bool_]:
    """Fluid that spreads from the core through white matter, hardly through grey, not through CSF."""
    ways = anatomy.wm**2 + 0.05 * anatomy.gm
    ways = (ways * np.clip(1 + 0.5 * noise(14), 0.1, 2)).astype(np.float32)
    # On every other voxel: spreading is smooth, and eight times as cheap.
    few = (slice(None, None, 2),) * 3
    step_mm = 2 * float(np.mean(anatomy.grid.spacing))
    way, level = ways[few], (core[few] > 0).astype(np.float32)
    source = level > 0
    for _ in range(round(40 / step_mm)):
        level = ndimage.gaussian_filter(level, 2.0 / step_mm) * np.clip(way, 0, 1)
        level[source] = 1
    reached = ndimage.zoom(level, [full / half for full, half in zip(core.shape, level.shape, strict=True)], order=1)
    extent = random.uniform(0.3, 1.2) if tumour.low_grade else random.uniform(0.6, 4.0)
    wanted_ml = extent * float((core > 0).sum()) * anatomy.grid.voxel_ml
    outside = (core <= 0) & (anatomy.csf < 0.5) & anatomy.brain
    values = np.sort(reached[outside])[::-1]
    number = min(int(wanted_ml / anatomy.grid.voxel_ml), values.size - 1)
    return np.asarray(outside & (reached > max(float(values[number]), 1e-4)), bool)
