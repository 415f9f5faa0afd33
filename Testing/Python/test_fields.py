"""Random fields: mean 0, standard deviation 1, bumps as wide as asked, the same at the border as inside."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest

from TransferSegLib.simulation.fields import Array, sheets, smooth_noise

SHAPE = (48, 40, 44)
# Correlation of a cubic B-spline of white noise with itself, one and two control points further.
ONE, TWO = 1191 / 2416, 120 / 2416


def noise(scale: float, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Array:
    return smooth_noise(np.random.default_rng(seed), shape, scale)


def correlation(field: Array, axis: int, lag: int) -> float:
    """Of the field with itself, ``lag`` voxels further along ``axis``."""
    along = np.moveaxis(field, axis, 0)
    return float(np.mean(along[lag:] * along[:-lag]))


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7, 3.0, 4.5])
def test_noise_has_the_mean_0_and_the_standard_deviation_1(scale: float) -> None:
    fields = np.stack([noise(scale, seed) for seed in range(6)])
    assert fields.shape[1:] == SHAPE
    assert fields.dtype == np.float32
    assert abs(fields.mean()) < 0.05
    assert fields.std() == pytest.approx(1, abs=0.03)


def test_noise_that_is_wider_than_the_image_is_normal_too() -> None:
    values = np.array([noise(60, seed, (20, 16, 12)) for seed in range(1500)])
    assert values[:, 9, 8, 6].mean() == pytest.approx(0, abs=0.1)
    assert values.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("scale", [3, 6])
def test_bumps_are_as_wide_as_asked_along_every_axis(axis: int, scale: int) -> None:
    fields = [noise(scale, seed) for seed in range(8)]
    assert np.mean([correlation(field, axis, scale) for field in fields]) == pytest.approx(ONE, abs=0.06)
    assert np.mean([correlation(field, axis, 2 * scale) for field in fields]) == pytest.approx(TWO, abs=0.06)
    assert np.mean([correlation(field, axis, 1) for field in fields]) > 0.8


def test_noise_is_rough_from_voxel_to_voxel_when_bumps_are_smaller_than_voxels() -> None:
    for axis in range(3):
        assert abs(correlation(noise(0.7), axis, 1)) < 0.02


@pytest.mark.parametrize("axis", range(3))
def test_noise_does_not_fade_at_the_border(axis: int) -> None:
    fields = np.moveaxis(np.stack([noise(3.3, seed, (20, 21, 22)) for seed in range(60)]), axis + 1, 0)
    for end in (0, 1, -2, -1):
        assert fields[end].std() == pytest.approx(1, abs=0.06)


def test_the_same_random_numbers_give_the_same_noise_and_others_another() -> None:
    assert np.array_equal(noise(4), noise(4))
    assert abs(np.corrcoef(noise(4).ravel(), noise(4, 1).ravel())[0, 1]) < 0.1


def test_sheets_stand_where_smooth_noise_passes_through_0() -> None:
    field = noise(10)
    found = sheets(np.random.default_rng(0), SHAPE, 10, 2)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found[np.abs(field) < 0.02] > 0.98).all()
    assert (found[np.abs(field) > 0.5] < 0.01).all()


@pytest.mark.parametrize(("scale", "width"), [(8, 1), (8, 2), (8, 4), (4, 2)])
def test_sheets_take_the_share_of_space_that_their_thickness_and_distance_tell(scale: float, width: float) -> None:
    found = np.stack([sheets(np.random.default_rng(seed), SHAPE, scale, width) for seed in range(6)])
    half = np.exp(-0.25)  # where the noise is at half a width
    assert (found > half).mean() == pytest.approx(erf(width / scale / 2 / np.sqrt(2)), rel=0.1)
