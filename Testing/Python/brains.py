"""Ellipsoid brains with a tumour or with lesions: prepared in memory, or as case folders in the layout of BraTS."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from TransferSegLib.case_files import CHANNELS
from TransferSegLib.grid import Grid
from TransferSegLib.labels import GLIOMA, LESION
from TransferSegLib.preprocess import Prepared

# So small a network is slower on two threads than on one, and the tests may share the machine.
torch.set_num_threads(1)

SCHEMES = {"glioma": GLIOMA, "lesion": LESION}
SHAPE = (16, 16, 16)
SPACING_MM = 4.0

# How much brighter than the brain (100) each class is, in the order of CHANNELS.
_CONTRAST = {
    "glioma": {1: (-40, -40, 50, 10), 2: (-20, -10, 40, 60), 3: (-10, 60, 20, 30)},
    "lesion": {1: (-30, -20, 50, 70)},
}


def make_brain(
    seed: int = 0, disease: str = "glioma", shape: tuple[int, int, int] = SHAPE
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]:
    """Image (C, i, j, k) with 0 outside of the brain, brain and label (i, j, k); the same for the same seed.

    The tumour is edema around an enhancing rim around necrosis; both diseases lie in the half of the low i.
    """
    random = np.random.default_rng(seed)
    sides = np.array(shape)
    place = np.moveaxis(np.indices(shape), 0, -1)
    unit = (place - (sides - 1) / 2) / (0.4 * sides)
    brain = (unit**2).sum(-1) <= 1
    label = np.zeros(shape, np.uint8)

    def fill(centre: NDArray[np.float64], radius: float, value: int) -> None:
        label[(((place - centre) / sides.min()) ** 2).sum(-1) <= radius**2] = value

    low = sides * (0.35, 0.5, 0.5)
    if disease == "glioma":
        centre = low + random.uniform(-0.05, 0.05, 3) * sides
        for radius, value in ((0.23, 2), (0.16, 3), (0.1, 1)):
            fill(centre, radius, value)
    else:
        for _ in range(3):
            fill(low + random.uniform(-0.15, 0.15, 3) * sides, 0.09, 1)
    label[~brain] = 0
    image = np.empty((len(CHANNELS), *shape), np.float32)
    for channel in range(len(CHANNELS)):
        table = np.array([0, *(contrast[channel] for contrast in _CONTRAST[disease].values())], np.float32)
        image[channel] = 100 + table[label] + random.normal(0, 4, shape)
    return image * brain, brain, label


def prepared(seed: int = 0, disease: str = "glioma", shape: tuple[int, int, int] = SHAPE, name: str = "") -> Prepared:
    """A brain as the network sees it: mean 0 and standard deviation 1."""
    image, brain, label = make_brain(seed, disease, shape)
    inside = image[:, brain]
    scaled = (image - inside.mean(1)[:, None, None, None]) / inside.std(1)[:, None, None, None]
    return Prepared(name or f"case {seed}", scaled * brain, brain, Grid(shape, np.eye(4)), label)


def write_case(
    folder: Path, seed: int = 0, disease: str = "glioma", channels: tuple[str, ...] = CHANNELS, label: bool = True
) -> Path:
    """Write a brain of 16^3 voxels of 4 mm as ``folder/NAME_t1.nii.gz``... with ``NAME_seg.nii.gz``."""
    image, _, labels = make_brain(seed, disease)
    folder.mkdir(parents=True)
    values = dict(zip(CHANNELS, image, strict=True))
    files: dict[str, NDArray[np.generic]] = {channel: values[channel] for channel in channels}
    if label:
        files["seg"] = SCHEMES[disease].decode(labels)
    for name, array in files.items():
        nib.save(
            nib.Nifti1Image(array, np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1])),
            folder / f"{folder.name}_{name}.nii.gz",
        )
    return folder


def write_dataset(root: Path, cases: int = 4, disease: str = "glioma", first_seed: int = 0) -> Path:
    """Case folders in the layout of BraTS, two thirds of high grade; lesions in plain folders of case folders."""
    for seed in range(first_seed, first_seed + cases):
        grade = ("HGG", "HGG", "LGG")[seed % 3]
        name = f"{grade}/Brats18_Site{seed:02d}_1" if disease == "glioma" else f"patient-{seed:02d}"
        write_case(root / name, seed, disease)
    return root
