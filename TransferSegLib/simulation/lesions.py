"""Multiple sclerosis: lesions with the shapes, sizes and places of real ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from ..grid import Grid
from ..preprocess.template import read_template_file
from .anatomy import Anatomy, sample
from .fields import Array, smooth_noise
from .material import Findings, Material

# Shares of patients that have enhancing lesions, and of their lesions that enhance.
_ACTIVE, _ENHANCING = 0.4, 0.15
# Beta distribution of the share of lesions that are black holes: few early on, nearly all in old disease.
_BLACK_HOLES = (0.8, 1.2)
# By how many mm lesions have grown, and how often: thick, confluent ones are rare in the bank, not in clinics.
_GROWTH_MM, _GROWTH_SHARES = (0, 1, 2, 3), (0.5, 0.2, 0.2, 0.1)
_EVERYWHERE = np.ones((3, 3, 3), bool)


@cache
def _bank() -> tuple[NDArray[np.int32], Grid]:
    """Bit n - 1 of a voxel is set where patient n has a lesion. Origin and terms: ``templates/NOTICE.txt``."""
    volume = read_template_file("ms_lesions.nii.gz")
    return np.asarray(volume.data, np.int32), volume.grid


def bank_patients() -> tuple[int, ...]:
    """Numbers of the patients whose lesion masks are in the bank."""
    used = int(np.bitwise_or.reduce(_bank()[0], axis=None))
    return tuple(bit + 1 for bit in range(31) if used >> bit & 1)


def patients_left(without: Sequence[int]) -> list[int]:
    """Patients of the bank but for ``without``.

    Raises
    ------
    InputError : none is left.
    """
    patients = [number for number in bank_patients() if number not in without]
    if not patients:
        raise InputError("No patient of the lesion bank is left.", "Leave fewer of them out.")
    return patients


def draw_lesions(random: np.random.Generator, anatomy: Anatomy, without: Sequence[int] = ()) -> Findings:
    """Lesions of one to three patients of the bank: some left out, moved, mirrored, grown, bent; labels of ``LESION``.

    Parameters
    ----------
    without : patients of the bank that are not used, for instance since a model is to be tested on them.

    Raises
    ------
    InputError : no patient is left.
    """
    patients = patients_left(without)
    bits, bank = _bank()
    numbers, strength = _compose(random, bits, patients)
    spacing = float(np.mean(anatomy.grid.spacing))
    places = anatomy.places.copy()
    for scale_mm, size_mm in ((6.0, 0.8), (14.0, 1.2)):
        for axis in range(3):
            places[axis] += size_mm * smooth_noise(random, anatomy.grid.shape, scale_mm / spacing)
    # Boundaries are those of the real masks, smoothed; the threshold makes all lesions of a patient larger or smaller.
    soft = ndimage.gaussian_filter((numbers > 0).astype(np.float32), 0.6)
    (share,) = sample(bank, places, soft)
    near = share > 0.02
    owner = _nearest(numbers, places[:, near], bank)
    edge = np.float32(random.uniform(0.36, 0.6))
    share = np.clip((share - edge) / random.uniform(0.25, 0.6) + 0.5, 0, 1).astype(np.float32)
    share *= 1 - np.clip(anatomy.csf * 1.6 - 0.3, 0, 1)
    labels = (share > 0.5) & anatomy.brain
    kinds = _kinds(random, len(strength))
    strength *= np.where(kinds == 0, 1, 1.1)
    power, kind = np.zeros(share.shape, np.float32), np.zeros(share.shape, np.int8)
    power[near], kind[near] = strength[owner], kinds[owner]
    texture = 1 + 0.12 * smooth_noise(random, share.shape, 2.5 / spacing)
    share = np.clip(share * power * texture, 0, 1)
    looks = ("lesion", "black hole", "enhancing lesion")
    materials = [Material(look, np.where(kind == number, share, 0)) for number, look in enumerate(looks)]
    return Findings(labels.astype(np.uint8), (*materials, _haze(random, anatomy, share)))


def _compose(
    random: np.random.Generator, bits: NDArray[np.int32], patients: Sequence[int]
) -> tuple[NDArray[np.int32], Array]:
    """Lesions in the bank's space by number, 1 to N, and how strongly each one shows (N + 1)."""
    chosen = np.zeros(bits.shape, bool)
    for patient in random.choice(patients, random.choice((1, 2, 3), p=(0.55, 0.3, 0.15)), replace=True):
        mask = bits >> (int(patient) - 1) & 1 > 0
        mask = mask[::-1] if random.random() < 0.5 else mask  # the bank's grid is symmetric about the midline
        found, count = ndimage.label(mask, _EVERYWHERE)
        kept = random.random(count + 1) < random.uniform(0.6, 1.0)
        kept[0] = False
        if not kept.any() and count:
            kept[random.integers(1, count + 1)] = True
        for number, box in enumerate(ndimage.find_objects(found), 1):
            if kept[number]:
                _stamp(random, chosen, found[box] == number, [part.start for part in box])
    growth = int(random.choice(_GROWTH_MM, p=_GROWTH_SHARES))
    if growth:
        chosen = ndimage.binary_dilation(chosen, iterations=growth)
    numbers, count = ndimage.label(chosen, _EVERYWHERE)
    return numbers.astype(np.int32), random.uniform(0.6, 1.15, count + 1).astype(np.float32)


def _stamp(random: np.random.Generator, onto: NDArray[np.bool_], lesion: NDArray[np.bool_], start: list[int]) -> None:
    """Write a lesion near where it was: small ones move further than large ones, and turn."""
    reach = 8 if lesion.sum() < 100 else 4 if lesion.sum() < 1000 else 1
    if lesion.sum() < 1000:
        axes = tuple(int(axis) for axis in np.flatnonzero(random.random(3) < 0.5))
        lesion = np.flip(lesion, axes)
    first = np.add(start, random.integers(-reach, reach + 1, 3))
    at = np.argwhere(lesion) + first
    at = at[((at >= 0) & (at < onto.shape)).all(1)]
    onto[tuple(at.T)] = True


def _nearest(numbers: NDArray[np.int32], places: Array, grid: Grid) -> NDArray[np.int64]:
    """The number of the lesion that lies nearest to each of ``places`` (3, n)."""
    grown = ndimage.grey_dilation(numbers, (5, 5, 5))
    grown[numbers > 0] = numbers[numbers > 0]
    (owner,) = sample(grid, places, grown.astype(np.float32), order=0)
    return np.rint(owner).astype(np.int64)


def _kinds(random: np.random.Generator, count: int) -> NDArray[np.int8]:
    """0: plain, 1: black hole, 2: enhancing."""
    kinds = (random.random(count) < random.beta(*_BLACK_HOLES)).astype(np.int8)
    if random.random() < _ACTIVE:
        kinds[random.random(count) < _ENHANCING] = 2
    return kinds


def _haze(random: np.random.Generator, anatomy: Anatomy, lesions: Array) -> Material:
    """What annotators do not mark: bright rims of the ventricles, dirty white matter around lesions."""
    spacing = float(np.mean(anatomy.grid.spacing))
    rim = np.clip(anatomy.ventricles * 3, 0, 1) * np.clip(1 - anatomy.csf * 2, 0, 1) * random.uniform(0.0, 0.4)
    around = np.clip(ndimage.gaussian_filter(lesions, 2.5 / spacing) - lesions, 0, 1) * random.uniform(0.0, 0.45)
    patchy = np.clip(0.6 + 0.5 * smooth_noise(random, lesions.shape, 8 / spacing), 0, 1)
    return Material("lesion", np.clip((rim + around) * patchy, 0, 1) * np.clip(1 - lesions * 2, 0, 1))
