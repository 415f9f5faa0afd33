"""Grid: voxels, their places in the world, and grids made from grids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes
from phantoms import GRIDS, ORIENTATIONS, any_grid, make_grid, points

from TransferSegLib.errors import InputError
from TransferSegLib.grid import Grid


@settings(deadline=None)
@given(grid=any_grid(), index=st.tuples(*[st.floats(-20, 80)] * 3))
def test_index_undoes_world(grid, index):
    np.testing.assert_allclose(grid.index(grid.world(index)), index, atol=1e-8)


def test_world_follows_the_affine():
    affine = [[0, -2, 0, 10], [3, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]]
    grid = Grid((5, 6, 7), np.array(affine))
    np.testing.assert_array_equal(grid.world([0, 0, 0]), [10, 20, 30])
    np.testing.assert_array_equal(grid.world([[1, 0, 0], [1, 2, 3]]), [[10, 23, 30], [6, 23, 42]])


def test_spacing_is_the_length_of_each_axis_and_voxel_ml_their_product():
    grid = make_grid((0.5, 2, 3), "LSA", turn=(10, 20, 30))
    np.testing.assert_allclose(grid.spacing, (0.5, 2, 3))
    assert grid.voxel_ml == pytest.approx(0.003)


def test_shear_does_not_change_the_volume_of_a_voxel():
    assert make_grid(shear=0.4).voxel_ml == pytest.approx(0.001)


def test_corners_are_centres_of_the_corner_voxels():
    corners = Grid((3, 4, 5), np.diag([1, 2, 3, 1])).corners()
    assert corners.shape == (8, 3)
    np.testing.assert_array_equal(corners.min(0), [0, 0, 0])
    np.testing.assert_array_equal(corners.max(0), [2, 6, 12])


def test_a_grid_cannot_be_changed_and_keeps_its_own_affine():
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 99
    assert grid.world([0, 0, 0])[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 1


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((4, 4), np.eye(4), "A grid of the shape (4, 4) has no voxels. Give a 3D image."),
        ((4, 0, 4), np.eye(4), "A grid of the shape (4, 0, 4) has no voxels. Give a 3D image."),
        (
            (4, 4, 4),
            np.diag([1.0, 0, 1, 1]),
            "The affine [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]"
            " cannot be inverted. Repair the header of the image.",
        ),
        (
            (4, 4, 4),
            [[1, 0, 0, np.nan], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
            "The affine [[1.0, 0.0, 0.0, nan], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]"
            " cannot be inverted. Repair the header of the image.",
        ),
        (
            (4, 4, 4),
            np.eye(3),
            "The affine [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]"
            " cannot be inverted. Repair the header of the image.",
        ),
    ],
)
def test_an_impossible_grid_is_refused(shape, affine, message):
    with pytest.raises(InputError) as caught:
        Grid(shape, affine)
    assert str(caught.value) == message


class TestMatches:
    grid = GRIDS["everything"]

    def moved(self, mm):
        affine = self.grid.affine.copy()
        affine[1, 3] += mm
        return Grid(self.grid.shape, affine)

    def test_a_hundredth_of_a_millimetre_is_the_same_place(self):
        assert self.grid.matches(self.moved(0.009))
        assert not self.grid.matches(self.moved(0.011))

    def test_the_tolerance_can_be_wider(self):
        assert self.grid.matches(self.moved(0.4), tolerance_mm=0.5)

    def test_another_shape_is_another_grid(self):
        assert not self.grid.matches(self.grid.window((0, 0, 0), (15, 49, 39)))
        tiny = Grid((10, 10, 10), np.diag([0.005, 1, 1, 1]))
        assert not tiny.matches(tiny.window((0, 0, 0), (11, 10, 10)))

    def test_a_small_turn_counts_where_it_shows_most(self):
        turned = make_grid(turn=(0, 0, 0.05))  # 0.05 degrees: 0 mm at the centre, 0.03 mm at the corners
        assert not make_grid().matches(turned)

    def test_the_same_voxels_in_another_order_do_not_match(self):
        assert not make_grid(codes="RAS").matches(make_grid(codes="LPS"))


class TestOverlap:
    grid = Grid((20, 20, 20), np.eye(4))

    def test_of_a_grid_with_itself_is_complete(self):
        assert self.grid.overlap(self.grid) == 1
        assert GRIDS["everything"].overlap(GRIDS["everything"]) == 1

    def test_counts_the_share_of_this_grid_inside_the_other(self):
        half = self.grid.window((10, 0, 0), (20, 20, 20))
        assert self.grid.overlap(half) == pytest.approx(0.5, abs=0.05)
        eighth = self.grid.window((10, 10, 10), (20, 20, 20))
        assert self.grid.overlap(eighth) == pytest.approx(0.125, abs=0.05)

    def test_is_not_symmetric(self):
        inner = self.grid.window((5, 5, 5), (10, 10, 10))
        assert inner.overlap(self.grid) == 1
        assert self.grid.overlap(inner) == pytest.approx(0.125, abs=0.05)

    def test_of_grids_apart_is_nothing(self):
        assert self.grid.overlap(self.grid.window((20, 0, 0), (20, 20, 20))) == 0

    def test_does_not_depend_on_how_the_other_is_oriented(self):
        assert make_grid(codes="RAS").overlap(make_grid(codes="PIL")) == 1


class TestReoriented:
    @pytest.mark.parametrize("codes", ORIENTATIONS)
    def test_runs_along_ras(self, codes):
        grid = make_grid((1, 2, 3), codes, turn=(12, -9, 15), extent=24)
        ras = grid.reoriented()
        assert "".join(aff2axcodes(ras.affine)) == "RAS"
        assert sorted(ras.shape) == sorted(grid.shape)

    @pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
    def test_has_its_voxels_at_the_same_places(self, grid):
        ras = grid.reoriented()
        index = ras.index(points(grid))
        voxels = np.rint(index).astype(int)
        np.testing.assert_allclose(index, voxels, atol=1e-8)
        assert len(np.unique(np.ravel_multi_index(np.moveaxis(voxels, -1, 0), ras.shape))) == np.prod(grid.shape)

    @pytest.mark.parametrize("codes", ["LPS", "PIR", "SAL"])
    def test_runs_along_any_codes(self, codes):
        assert "".join(aff2axcodes(GRIDS["oblique"].reoriented(codes).affine)) == codes

    def test_there_and_back_is_the_same_grid(self):
        grid = GRIDS["everything"]
        codes = "".join(aff2axcodes(grid.affine))
        assert grid.reoriented().reoriented(codes).matches(grid, 1e-9)


def faces(grid):
    """World coordinates of the two outermost corners: of the voxels' faces, not of their centres."""
    return grid.world([np.full(3, -0.5), np.array(grid.shape) - 0.5])


class TestRespaced:
    @pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
    def test_by_a_divisor_covers_exactly_the_same_extent(self, grid):
        fine = grid.respaced(tuple(side / 2 for side in grid.spacing))
        assert fine.shape == tuple(2 * side for side in grid.shape)
        np.testing.assert_allclose(faces(fine), faces(grid), atol=1e-9)
        assert fine.voxel_ml * np.prod(fine.shape) == pytest.approx(grid.voxel_ml * np.prod(grid.shape))

    @settings(max_examples=50, deadline=None)
    @given(grid=any_grid(), spacing=st.tuples(*[st.floats(0.5, 4)] * 3))
    def test_covers_the_extent_with_less_than_a_voxel_more(self, grid, spacing):
        new = grid.respaced(spacing)
        np.testing.assert_allclose(new.spacing, spacing)
        np.testing.assert_allclose(faces(new)[0], faces(grid)[0], atol=1e-8)
        more = new.index(faces(grid)[1]) - (np.array(new.shape) - 0.5)
        assert (more <= 1e-5).all()
        assert (more > -1).all()

    def test_keeps_the_directions_of_the_axes(self):
        grid = GRIDS["everything"]
        new = grid.respaced((1, 1, 1))
        np.testing.assert_allclose(new.affine[:3, :3], grid.affine[:3, :3] / grid.spacing, atol=1e-12)

    def test_by_its_own_spacing_is_the_same_grid(self):
        for grid in GRIDS.values():
            assert grid.respaced(grid.spacing).matches(grid, 1e-6)

    def test_leaves_at_least_one_voxel(self):
        assert Grid((3, 3, 1), np.eye(4)).respaced((10, 1, 5)).shape == (1, 3, 1)


class TestWindow:
    grid = GRIDS["everything"]

    def test_begins_at_the_given_voxel(self):
        part = self.grid.window((2, 3, 4), (5, 6, 7))
        assert part.shape == (5, 6, 7)
        np.testing.assert_allclose(part.world([1, 1, 1]), self.grid.world([3, 4, 5]), atol=1e-9)

    def test_may_begin_outside(self):
        wide = self.grid.window((-2, -3, -4), (30, 60, 60))
        np.testing.assert_allclose(wide.world([2, 3, 4]), self.grid.world([0, 0, 0]), atol=1e-9)

    def test_of_a_window_leads_back(self):
        part = self.grid.window((2, -3, 4), (5, 6, 7))
        assert part.window((-2, 3, -4), self.grid.shape).matches(self.grid, 1e-9)
