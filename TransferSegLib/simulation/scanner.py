"""The scanner: from what a brain is made of to images with partial volume, bias field, noise and thick slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..case_files import CHANNELS
from .anatomy import Anatomy
from .fields import Array, sheets, smooth_noise
from .material import LOOKS, Findings, Material


def materials_of(random: np.random.Generator, anatomy: Anatomy, findings: Findings) -> list[Material]:
    """All that the voxels hold, shares adding up to 1: healthy tissue, vessels, the disease, the surroundings."""
    spacing, shape = float(np.mean(anatomy.grid.spacing)), anatomy.grid.shape
    # Vessels run where two systems of sheets meet; they matter in t1c, where they are as bright as a tumour.
    lines = sheets(random, shape, 16 / spacing, 2.0 / spacing) * sheets(random, shape, 16 / spacing, 2.0 / spacing)
    shallow = np.clip(anatomy.csf * 2 + 0.15, 0, 1) * (anatomy.ventricles < 0.1)
    vessels = np.clip(lines * 1.4 - 0.3, 0, 1) * shallow * random.uniform(0.2, 1.0)
    rim = np.clip((0.5 - anatomy.inside) / 0.15, 0, 1)
    layers = [*findings.materials, Material("vessel", vessels), Material("rim", rim)]
    total = sum((layer.share for layer in layers), np.zeros(shape, np.float32))
    layers = [Material(each.look, np.asarray(each.share / np.maximum(total, 1), np.float32)) for each in layers]
    taken = np.minimum(total, 1)
    healthy = [
        Material(look, share * (1 - taken))
        for look, share in (("csf", anatomy.csf), ("gm", anatomy.gm), ("wm", anatomy.wm))
    ]
    return [*healthy, *layers]


def take_images(
    random: np.random.Generator, materials: Sequence[Material], mask: NDArray[np.bool_], spacing: float
) -> Mapping[str, NDArray[np.int16]]:
    """An image for each channel: its own contrast, blur, slices, bias field, noise and scale; 0 outside of ``mask``."""
    shape = mask.shape
    brightness = {look: LOOKS[look].draw(random) for look in dict.fromkeys(each.look for each in materials)}
    # What is uneven in one channel is mostly uneven in the others too.
    common = smooth_noise(random, shape, 3.0 / spacing) * 0.7 + smooth_noise(random, shape, 12.0 / spacing) * 0.7
    roughness = sum((each.share * LOOKS[each.look].texture for each in materials), np.zeros(shape, np.float32))
    images = {}
    for number, channel in enumerate(CHANNELS):
        image = sum((each.share * brightness[each.look][number] for each in materials), np.zeros(shape, np.float32))
        own = smooth_noise(random, shape, 4.0 / spacing)
        image *= 1 + roughness * (random.choice((-1, 1)) * common + 0.7 * own)
        images[channel] = _acquire(random, np.maximum(image, 0), mask, spacing)
    return images


def imperfect_mask(random: np.random.Generator, anatomy: Anatomy) -> NDArray[np.bool_]:
    """The brain as a program would strip it: too much here, too little there."""
    spacing = float(np.mean(anatomy.grid.spacing))
    error = random.uniform(-0.08, 0.1) + random.uniform(0.02, 0.12) * smooth_noise(
        random, anatomy.grid.shape, 22 / spacing
    )
    mask = anatomy.inside > 0.5 - error
    mask[[0, -1]] = mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    found, count = ndimage.label(mask)
    if count > 1:
        mask = found == 1 + int(np.argmax(np.bincount(found.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(mask), bool)


def _acquire(random: np.random.Generator, image: Array, mask: NDArray[np.bool_], spacing: float) -> NDArray[np.int16]:
    image = ndimage.gaussian_filter(image, random.uniform(0.35, 0.75) / spacing)
    bias = np.exp(random.uniform(0.0, 0.12) * smooth_noise(random, image.shape, 90 / spacing))
    image *= bias
    level = random.uniform(0.005, 0.04)
    thick = random.uniform(2.0, 5.0) if random.random() < 0.45 else 0.0
    if thick > 1.5 * spacing:
        image = _slices(random, image, int(random.integers(3)), thick / spacing, level)
    else:
        image = ndimage.gaussian_filter(_noisy(random, image, level * 1.6), 0.45)
    scale = np.exp(random.uniform(np.log(120), np.log(1500)))
    return np.where(mask, np.clip(image * scale, 1, 32000), 0).astype(np.int16)


def _slices(random: np.random.Generator, image: Array, axis: int, thickness: float, noise: float) -> Array:
    """Slices of ``thickness`` voxels along ``axis``, noisy, and linear interpolation between them."""
    side = image.shape[axis]
    # A slice is the mean over its thickness, as far as the image reaches: a difference of the running sum.
    middles = np.arange(random.uniform(0, thickness), side, thickness)
    first, last = (np.clip(middles + half, 0, side) for half in (-thickness / 2, thickness / 2))
    sums = np.cumsum(image, axis, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), sums], axis)
    means = (_between(sums, last, axis) - _between(sums, first, axis)) / _along(last - first, axis)
    taken = _noisy(random, means.astype(np.float32), noise)
    at = np.interp(np.arange(side) + 0.5, (first + last) / 2, np.arange(len(middles)))
    return _between(taken, at, axis).astype(np.float32)


def _between(values: NDArray[Any], at: NDArray[np.float64], axis: int) -> NDArray[Any]:
    """Linear interpolation of ``values`` along ``axis`` at the indices ``at``, none of which lies outside."""
    low = np.minimum(np.floor(at).astype(int), max(values.shape[axis] - 2, 0))
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = _along(at - low, axis).astype(values.dtype)
    result: NDArray[Any] = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    return result


def _along(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """One number for each index of ``axis``, to reckon with arrays (i, j, k)."""
    return values.reshape([-1 if other == axis else 1 for other in range(3)])


def _noisy(random: np.random.Generator, image: Array, level: float) -> Array:
    """Rician noise of the standard deviation ``level``, with white matter as 1."""
    real = image + np.float32(level) * random.standard_normal(image.shape, np.float32)
    imaginary = np.float32(level) * random.standard_normal(image.shape, np.float32)
    return np.asarray(np.sqrt(real * real + imaginary * imaginary), np.float32)
