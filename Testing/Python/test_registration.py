"""Registration: known maps are found again, to a fraction of a millimetre, the same every time."""

import numpy as np
import pytest
from heads import FIXED, error_mm, head, moved
from phantoms import make_grid

from TransferSegLib.errors import InputError
from TransferSegLib.grid import Grid
from TransferSegLib.preprocess import registration
from TransferSegLib.preprocess.information import Information
from TransferSegLib.preprocess.registration import Registration, Size, register
from TransferSegLib.volume import Volume


@pytest.mark.parametrize(
    "grid",
    [
        make_grid((2.5, 2.5, 2.5), extent=170),
        make_grid((2.0, 2.0, 5.0), turn=(5, -4, 12), extent=180),
        make_grid((2.5, 2.5, 3.0), "LIP", extent=190, shear=0.15),
    ],
    ids=["cubic", "thick oblique slices", "sheared and flipped"],
)
def test_a_rigid_move_is_found_on_any_grid_and_for_another_contrast(grid):
    true = moved((6, -9, 4), (4, -7, 9))
    found = register(head(FIXED), head(grid, true, turned=True), "rigid")
    mean, largest = error_mm(found.matrix, true)
    assert mean < 0.3
    assert largest < 0.6
    np.testing.assert_allclose(found.scales, 1, atol=1e-9)
    assert found.similarity > found.before


def test_a_stretch_and_a_shear_are_found_by_an_affine_registration():
    true = moved((-8, 5, 10), (8, 3, -6), (0.9, 1.08, 0.95), 0.06)
    found = register(head(FIXED), head(make_grid((2.5, 2.5, 3.0), extent=200), true, turned=True), "affine")
    mean, largest = error_mm(found.matrix, true)
    assert mean < 0.3
    assert largest < 0.8


def test_a_sheared_fixed_image_is_as_good():
    true = moved((3, 2, -5), (0, 6, 0))
    fixed = head(make_grid((2.5, 2.5, 3.0), extent=180, shear=0.15))
    assert error_mm(register(fixed, head(FIXED, true), "rigid").matrix, true)[0] < 0.3


def test_images_that_lie_far_apart_meet_by_their_centres_of_mass():
    true = moved((150, -90, 60))
    far = make_grid((2.5, 2.5, 2.5), extent=170, centre=(150, -90, 60))
    assert error_mm(register(head(FIXED), head(far, true), "rigid").matrix, true)[0] < 0.3


def test_of_several_starts_the_one_that_leads_furthest_is_taken():
    true = moved(turn=(0, 0, 70))
    starts = [np.eye(4), moved(turn=(0, 0, 60)), moved(turn=(0, 0, -60))]
    assert error_mm(register(head(FIXED), head(FIXED, true), "rigid", starts=starts).matrix, true)[0] < 0.3


def test_only_what_lies_in_the_mask_is_compared():
    true = moved((4, 0, -3), (0, 0, 5))
    image = head(FIXED, true)
    spoiled = image.data.copy()
    spoiled[:, :, :24] = np.random.default_rng(0).uniform(0, 200, spoiled[:, :, :24].shape)
    mask = np.zeros(FIXED.shape, bool)
    mask[:, :, 30:] = True
    found = register(head(FIXED), image.with_data(spoiled), "rigid", fixed_mask=mask)
    assert error_mm(found.matrix, true)[0] < 0.5
    assert found.centre[2] > 0


def test_the_same_images_give_the_same_result_to_the_bit():
    images = head(FIXED), head(FIXED, moved((5, 3, 1), (3, 0, 8)))
    first, second = (register(*images, "rigid") for _ in range(2))
    np.testing.assert_array_equal(first.matrix, second.matrix)
    assert first.similarity == second.similarity


def test_a_known_size_pulls_the_stretch_towards_it():
    true = moved(stretch=(0.8, 0.8, 0.8))
    free = register(head(FIXED), head(FIXED, true), "affine")
    held = register(head(FIXED), head(FIXED, true), "affine", size=Size(1.0, 50.0))
    np.testing.assert_allclose(free.scales, 0.8, atol=0.01)
    assert min(held.scales) > 0.85


def test_the_cost_of_a_size_has_the_slope_it_says_and_turns_are_free():
    size, matrix = Size(0.9, 2.0), moved((1, 2, 3), (10, 20, 30), (0.8, 1.0, 1.2), 0.1)
    cost, slope = size.cost(matrix)
    for row in range(3):
        for column in range(3):
            step = np.zeros((4, 4))
            step[row, column] = 1e-6
            tried = (size.cost(matrix + step)[0] - size.cost(matrix - step)[0]) / 2e-6
            assert slope[row, column] == pytest.approx(tried, abs=1e-6)
    assert cost > 0
    assert Size(1.0, 2.0).cost(moved((5, 5, 5), (10, 20, 30)))[0] == pytest.approx(0, abs=1e-12)


def test_information_has_the_slope_it_says():
    image = head(make_grid((4.0, 4.0, 4.0), extent=180))
    values = image.data / image.data.max()
    where = np.random.default_rng(0).uniform(-60, 60, (20_000, 3))
    index = image.grid.index(where)
    seen = registration.at_points(values, index)[0]
    information = Information(where, seen, values, image.grid)
    matrix = moved((3, -2, 1), (2, 0, 4))
    _, slope = information(matrix)
    for row in range(3):
        for column in range(4):
            step = np.zeros((4, 4))
            step[row, column] = 1e-5
            tried = (information(matrix + step)[0] - information(matrix - step)[0]) / 2e-5
            assert slope[row, column] == pytest.approx(tried, rel=0.02, abs=0.02 * np.abs(slope[:, column]).max())


def test_what_a_result_says_of_itself():
    turn = moved(turn=(0, 0, 30)) @ np.diag([0.8, 1.0, 1.2, 1.0])
    result = Registration(turn, 1.0, 0.5, 1.0, np.array([10.0, 0, 0]))
    assert result.scales == pytest.approx((1.2, 1.0, 0.8))
    assert result.rotation_deg == pytest.approx(30)
    shifted = Registration(moved((3, 4, 0)), 1.0, 0.5, 1.0, np.array([99.0, 0, 0]))
    assert shifted.shift_mm == pytest.approx(5)


def test_the_overlap_is_the_share_of_the_fixed_image_that_the_other_one_covers():
    half = Grid((*FIXED.shape[:2], FIXED.shape[2] // 2), FIXED.affine)
    found = register(head(FIXED), head(half), "rigid", starts=[np.eye(4)])
    assert 0.3 < found.overlap < 0.6


@pytest.mark.parametrize("which", [0, 1])
def test_an_image_of_one_value_is_refused(which):
    images = [head(FIXED), head(FIXED)]
    images[which] = Volume(np.full(FIXED.shape, 7.0, np.float32), FIXED)
    with pytest.raises(InputError, match="only one value"):
        register(*images, "rigid")


def test_images_that_do_not_overlap_are_refused():
    with pytest.raises(InputError, match="do not overlap"):
        register(head(FIXED), head(FIXED), "rigid", starts=[moved((900, 0, 0))])
