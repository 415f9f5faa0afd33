"""Phantom patients: ellipsoid brains with lesions, to try the software on. They teach nothing about people.

Contrasts follow the real ones in kind: lesions are bright in T2 and FLAIR and dark in T1, edema too, enhancing tumour
is bright in T1 after contrast agent, necrosis dark in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .case import CHANNELS
from .errors import InputError
from .grid import Grid
from .labels import GLIOMA, LESION, LabelScheme
from .volume import Volume, write_volume

# Mean intensity of grey matter, white matter, fluid, then of the classes of the disease, in t1, t1c, t2, flair.
_TISSUES = ((60, 65, 75, 70), (85, 90, 55, 55), (25, 27, 120, 25))
_DISEASES = {
    "ms": ((62, 66, 95, 105),),
    "glioma": ((45, 48, 100, 75), (60, 62, 95, 105), (62, 125, 85, 90)),
}
_SHAPE = (56, 68, 56)
SPACING_MM = 3.0


def write_phantoms(folder: str | Path, disease: str, cases: int, seed: int = 0) -> Path:
    """Write ``cases`` phantom patients of ``disease`` ("ms" or "glioma") in the BraTS layout.

    Raises
    ------
    InputError : the disease is unknown, or the folder cannot be written.
    """
    if disease not in _DISEASES:
        raise InputError(f"There is no phantom of '{disease}'.", f"Choose {' or '.join(_DISEASES)}.")
    scheme = LESION if disease == "ms" else GLIOMA
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = -SPACING_MM * (np.array(_SHAPE) - 1) / 2
    grid = Grid(_SHAPE, affine)
    names = {"t1c": "t1ce"}
    for number in range(cases):
        images, labels = make_phantom(disease, scheme, (seed, number))
        group = "LGG" if disease == "glioma" and number % 4 == 3 else "HGG" if disease == "glioma" else ""
        case = f"{disease}-phantom-{number:03d}"
        where = Path(folder) / group / case
        for channel, image in zip(CHANNELS, images, strict=True):
            write_volume(Volume(image, grid), where / f"{case}_{names.get(channel, channel)}.nii.gz")
        write_volume(Volume(scheme.decode(labels), grid), where / f"{case}_seg.nii.gz")
    return Path(folder)


def make_phantom(
    disease: str, scheme: LabelScheme, seed: tuple[int, ...]
) -> tuple[list[NDArray[np.int16]], NDArray[np.uint8]]:
    """Images in the order of ``CHANNELS`` and internal labels, (i, j, k), 0 outside of the brain."""
    random = np.random.default_rng(seed)
    points = np.stack(np.meshgrid(*(np.arange(side, dtype=float) for side in _SHAPE), indexing="ij"), -1)
    centre = (np.array(_SHAPE) - 1) / 2 + random.uniform(-1.5, 1.5, 3)
    radii = np.array([22.0, 29.0, 22.0]) * random.uniform(0.93, 1.07, 3)
    depth = np.linalg.norm((points - centre) / radii, axis=-1) + 0.04 * _texture(random, 4)
    brain = depth < 1
    tissue = np.where(depth < 0.82, 1, 0)  # white matter inside, grey outside
    tissue[np.linalg.norm((points - centre) / (radii * (0.16, 0.3, 0.18)), axis=-1) < 1] = 2
    labels = np.zeros(_SHAPE, np.uint8)
    room = (depth < 0.75) & (tissue == 1)
    if disease == "ms":
        for _ in range(random.integers(6, 14)):
            labels[_blob(random, points, room, random.uniform(1.2, 3.2)) & room] = 1
    else:
        middle = points[tuple(random.choice(np.argwhere(room)))]
        size = random.uniform(6.5, 10)
        for label, share in ((2, 1.0), (3, 0.62), (1, 0.38)):
            labels[(_ball(random, points, middle, size * share)) & brain] = label
    means = np.array([*_TISSUES, *_DISEASES[disease]], float).T
    kind = np.where(labels > 0, labels + 2, tissue)
    gain = np.exp(0.12 * _texture(random, 14))  # a mild bias field
    images = []
    for mean in means:
        image = ndimage.gaussian_filter(mean[kind] * random.uniform(0.9, 1.1, len(mean))[kind], 0.6) * gain
        image = image * random.uniform(2, 8) + random.normal(0, 12, _SHAPE)
        images.append(np.where(brain, np.clip(image, 1, 30000), 0).astype(np.int16))
    return images, labels


def _texture(random: np.random.Generator, width: float) -> NDArray[np.float64]:
    """Smooth noise of standard deviation 1."""
    noise: NDArray[np.float64] = ndimage.gaussian_filter(random.normal(size=_SHAPE), width)
    return noise / float(noise.std())


def _blob(
    random: np.random.Generator, points: NDArray[np.float64], room: NDArray[np.bool_], radius: float
) -> NDArray[np.bool_]:
    return _ball(random, points, points[tuple(random.choice(np.argwhere(room)))], radius)


def _ball(
    random: np.random.Generator, points: NDArray[np.float64], middle: NDArray[np.float64], radius: float
) -> NDArray[np.bool_]:
    distance = np.linalg.norm((points - middle) * random.uniform(0.85, 1.2, 3), axis=-1)
    inside: NDArray[np.bool_] = distance + 0.5 * _texture(random, 2) < radius
    return inside
