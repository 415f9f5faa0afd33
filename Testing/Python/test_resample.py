"""Resampling: exact where grids allow it, true to volume, place and value where they do not."""

from itertools import product

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phantoms import (
    BALL_ML,
    CENTRE,
    GRIDS,
    ORIENTATIONS,
    RADIUS,
    SOFT_BALL_ML,
    any_grid,
    ball,
    centre_of,
    make_grid,
    points,
    soft_ball,
    volume_ml,
)

import TransferSegLib.resample as resample_module
from TransferSegLib.grid import Grid
from TransferSegLib.resample import resample, resample_labels

PAIRS = list(product(GRIDS, GRIDS))
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class TestSphere:
    """A sphere given in world millimetres is found again, as large and at the same place, on every other grid."""

    @pytest.mark.parametrize(("source", "target"), PAIRS)
    def test_keeps_volume_and_centre(self, source, target):
        source, target = GRIDS[source], GRIDS[target]
        moved = resample(soft_ball(source), source, target)
        assert moved.shape == target.shape
        assert volume_ml(moved, target) == pytest.approx(SOFT_BALL_ML, rel=0.005)
        np.testing.assert_allclose(centre_of(moved, target), CENTRE, atol=0.05)

    @pytest.mark.parametrize(("source", "target"), PAIRS)
    def test_as_a_label_keeps_volume_and_centre(self, source, target):
        source, target = GRIDS[source], GRIDS[target]
        moved = resample_labels(ball(source).astype(np.uint8), source, target, 2)
        assert moved.dtype == np.uint8
        assert set(np.unique(moved)) == {0, 1}
        assert volume_ml(moved, target) == pytest.approx(BALL_ML, rel=0.02)
        np.testing.assert_allclose(centre_of(moved, target), CENTRE, atol=0.3)


class TestRamp:
    """A function that is linear in the world is reproduced by linear interpolation."""

    slope = np.array([1.5, -0.7, 0.4])

    def ramp(self, grid):
        return (points(grid) @ self.slope + 3).astype(np.float32)

    def check(self, source, target, margin):
        found = resample(self.ramp(source), source, target, fill=np.nan)
        index = source.index(points(target))
        inside = ((index >= margin) & (index <= np.array(source.shape) - 1 - margin)).all(-1)
        assert inside.any()
        np.testing.assert_allclose(found[inside], self.ramp(target)[inside], atol=2e-4)

    @settings(max_examples=30, deadline=None)
    @given(target=any_grid(0.7, 1.4))
    def test_to_a_grid_that_is_not_coarser(self, target):
        middle = target.world((np.array(target.shape) - 1) / 2)
        source = make_grid((1.5, 2, 1.6), "PSR", turn=(5, 10, -15), extent=40, centre=tuple(middle))
        self.check(source, target, margin=0)

    @pytest.mark.parametrize("target", [make_grid((3, 3, 3)), make_grid((2, 4, 3), "SLP", (30, 20, 10), 0.1)])
    def test_to_a_coarser_grid(self, target):
        # The filter is symmetric, so that it leaves a ramp as it is, away from the border.
        self.check(make_grid((1, 1.2, 0.9), "LPS"), target, margin=8)


def test_agrees_with_simpleitk():
    source, target = make_grid((1.5, 2, 1.6), "PSR", (5, 10, -15)), make_grid((1, 1, 1.2), "LAS", (-10, 0, 20))
    data = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)

    def image(values, grid):
        made = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
        affine = LPS @ grid.affine
        made.SetSpacing(grid.spacing)
        made.SetOrigin(affine[:3, 3].tolist())
        made.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
        return made

    reference = image(np.zeros(target.shape, np.float32), target)
    expected = SimpleITK.GetArrayFromImage(SimpleITK.Resample(image(data, source), reference)).transpose(2, 1, 0)
    np.testing.assert_allclose(resample(data, source, target), expected, atol=1e-4)


class TestExactCopy:
    """Between grids whose voxels coincide, not one bit changes."""

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
    def test_to_another_orientation_and_back_keeps_bits_and_type(self, dtype):
        grid = GRIDS["everything"]
        data = (np.random.default_rng(0).normal(size=grid.shape) * 1e4).astype(dtype)
        for codes in ORIENTATIONS:
            there = grid.reoriented(codes)
            moved = resample(data, grid, there)
            assert moved.dtype == dtype
            assert resample(moved, there, grid).tobytes() == data.tobytes()

    @pytest.mark.parametrize("codes", ORIENTATIONS)
    def test_each_value_stays_at_its_place_in_the_world(self, codes):
        grid = make_grid((1, 2, 3), "LSP", (10, -20, 15), extent=18)
        data = np.arange(np.prod(grid.shape)).reshape(grid.shape)
        there = grid.reoriented(codes)
        moved = resample(data, grid, there)
        for index in ((0, 0, 0), (3, 1, 2), (17, 8, 5)):
            new = tuple(np.rint(there.index(grid.world(index))).astype(int))
            assert moved[new] == data[index]

    @settings(max_examples=60, deadline=None)
    @given(
        start=st.tuples(*[st.integers(-9, 9)] * 3),
        shape=st.tuples(*[st.integers(1, 20)] * 3),
        codes=st.sampled_from(ORIENTATIONS),
    )
    def test_cropped_and_padded_is_what_slicing_gives(self, start, shape, codes):
        grid = make_grid((1, 2, 0.5), "PLS", (15, 0, -30), extent=8)
        data = np.random.default_rng(0).integers(1, 1000, grid.shape).astype(np.int16)
        window = grid.window(start, shape)
        wide = np.pad(data, 30, constant_values=-7)
        expected = wide[tuple(slice(30 + first, 30 + first + side) for first, side in zip(start, shape, strict=True))]
        there = window.reoriented(codes)
        np.testing.assert_array_equal(resample(resample(data, grid, there, fill=-7), there, window), expected)

    def test_padded_and_cropped_again_is_the_same(self):
        grid = GRIDS["oblique"]
        data = np.random.default_rng(0).normal(size=grid.shape)
        wide = grid.window((-5, -1, -20), (60, 50, 90)).reoriented("LPS")
        assert resample(resample(data, grid, wide), wide, grid).tobytes() == data.tobytes()

    def test_of_labels_does_not_touch_them(self):
        grid = GRIDS["oblique"]
        labels = np.random.default_rng(0).integers(0, 4, grid.shape).astype(np.uint8)
        there = grid.reoriented().window((-3, 2, 0), (50, 40, 44))
        np.testing.assert_array_equal(resample_labels(labels, grid, there, 4), resample(labels, grid, there))

    def test_holds_for_affines_that_went_through_float32(self):
        grid = GRIDS["oblique"]
        stored = Grid(grid.shape, grid.affine.astype(np.float32))
        data = np.random.default_rng(0).integers(0, 99, grid.shape)
        np.testing.assert_array_equal(resample(data, grid, stored), data)

    def test_does_not_hold_for_a_shift_by_a_tenth_of_a_voxel(self):
        grid = make_grid()
        moved = resample(
            np.arange(44.0)[:, None, None] + np.zeros(grid.shape), grid, grid.window((0.1, 0, 0), (44,) * 3)
        )
        assert moved[10, 10, 10] == pytest.approx(10.1, abs=1e-4)

    def test_result_does_not_share_memory_with_the_input(self):
        grid = make_grid()
        data = np.zeros(grid.shape, np.float32)
        assert not np.shares_memory(resample(data, grid, grid), data)


class TestBorder:
    """The image ends at the outer faces of its border voxels: not half a voxel before, nor half a voxel behind."""

    @pytest.mark.parametrize("fine", [(1, 1, 1), (0.5, 2, 0.8)])
    def test_an_image_that_is_full_keeps_its_volume(self, fine):
        source = make_grid((4, 4, 4), turn=(0, 0, 90), extent=40)
        target = source.respaced(fine).window((-12, -12, -12), (110, 60, 90))
        full = np.ones(source.shape, np.float32)
        assert volume_ml(resample(full, source, target), target) == pytest.approx(64, rel=1e-6)
        labels = resample_labels(full.astype(np.uint8), source, target, 2)
        assert volume_ml(labels, target) == pytest.approx(64, rel=1e-6)

    def test_an_oblique_image_that_is_full_keeps_its_volume(self):
        source, target = make_grid((4, 4, 4), turn=(20, 30, 40), extent=40), make_grid(extent=80)
        assert volume_ml(resample(np.ones(source.shape), source, target), target) == pytest.approx(64, rel=0.01)

    def test_outside_is_the_fill_value(self):
        source, target = make_grid((2, 2, 2), extent=20), make_grid((1.3, 1, 1), extent=40)
        moved = resample(np.ones(source.shape), source, target, fill=-5)
        outside = (np.abs(points(target)) > 10.01).any(-1)
        assert (moved[outside] == -5).all()
        assert (moved[~outside] == 1).all()

    def test_an_image_apart_gives_nothing(self):
        source, target = make_grid(), make_grid((1.1, 1, 1), centre=(200, 0, 0))
        assert not resample(np.ones(source.shape), source, target).any()
        assert not resample_labels(np.ones(source.shape, np.uint8), source, target, 2).any()

    def test_an_image_of_one_slice_is_as_thick_as_its_slice(self):
        source = Grid((10, 10, 1), np.diag([1, 1, 5, 1]))
        target = Grid((10, 10, 20), np.diag([1, 1, 1, 1])).window((0, 0, -10), (10, 10, 20))
        assert (resample(np.ones(source.shape), source, target)[5, 5] == [0] * 8 + [1] * 5 + [0] * 7).all()


class TestAntialias:
    def test_a_checkerboard_becomes_grey_on_coarse_voxels(self):
        source, target = make_grid(), make_grid((4, 4, 4))
        board = (np.indices(source.shape).sum(0) % 2).astype(np.float32)
        np.testing.assert_allclose(resample(board, source, target)[2:-2, 2:-2, 2:-2], 0.5, atol=0.01)

    @pytest.mark.parametrize("target", [make_grid((1, 1, 4)), make_grid((4, 1, 1), "SAL")])
    def test_smooths_only_along_the_axis_that_grows(self, target):
        source = make_grid()
        stripes = np.zeros(source.shape, np.float32)
        stripes[::2] = 1  # varies along i, to the right, where voxels stay at 1 mm
        moved = resample(stripes, source, target)
        assert set(np.unique(moved.round(5))) == {0, 1}

    def test_keeps_the_volume_of_a_small_lesion_wherever_it_lies_between_the_coarse_voxels(self):
        source, target = make_grid(), make_grid((3, 3, 3), extent=45)
        for centre in product((0, 1, 1.7), repeat=3):
            lesion = soft_ball(source, centre, radius=3)
            moved = resample(lesion, source, target)
            assert volume_ml(moved, target) == pytest.approx(volume_ml(lesion, source), rel=0.05)


class TestLabels:
    def test_nested_structures_keep_their_volumes(self):
        source, target = GRIDS["oblique"], GRIDS["permuted"]
        labels = np.zeros(source.shape, np.uint8)
        radii = {1: RADIUS, 2: 9.0, 3: 5.0}
        for label, radius in radii.items():
            labels[ball(source, radius=radius)] = label
        moved = resample_labels(labels, source, target, 4)
        for label, radius in radii.items():
            expected = volume_ml(ball(source, radius=radius), source)
            assert volume_ml(moved >= label, target) == pytest.approx(expected, rel=0.03)

    def test_no_class_appears_between_two_others(self):
        # Interpolated as numbers, 0 and 2 would give 1 in between.
        source, target = GRIDS["axis-aligned"], GRIDS["oblique"]
        assert set(np.unique(resample_labels(ball(source) * np.uint8(2), source, target, 3))) == {0, 2}

    def test_the_largest_share_wins_even_below_a_half(self):
        source = Grid((2, 2, 1), np.eye(4))
        labels = np.array([[1, 2], [3, 0]], np.uint8)[..., None]
        # 0.45 of a voxel along i and j: shares 0.30, 0.25, 0.25 and 0.20.
        assert resample_labels(labels, source, source.window((0.45, 0.45, 0), (1, 1, 1)), 4).item() == 1

    @pytest.mark.parametrize("spacing", [(1, 1, 3), (5, 1, 1), (2, 2, 2)])
    def test_borders_in_the_middle_of_new_voxels_do_not_shrink_a_structure(self, spacing):
        # Along the thick axis every third or fifth border lies in the middle of a 1 mm voxel: equal shares.
        source, target = make_grid(spacing), make_grid().window((0.5 if spacing[0] == 2 else 0, 0, 0), (44, 44, 44))
        labels = ball(source).astype(np.uint8)
        moved = resample_labels(labels, source, target, 2)
        assert volume_ml(moved, target) == pytest.approx(volume_ml(labels, source), rel=0.015)

    def test_do_not_depend_on_the_orientation_of_the_grid(self):
        source, target = make_grid((1, 1, 3)), make_grid()
        labels = ball(source).astype(np.uint8)
        expected = resample_labels(labels, source, target, 2)
        flipped = target.reoriented("LIP")
        moved = resample_labels(labels, source, flipped, 2)
        np.testing.assert_array_equal(resample(moved, flipped, target), expected)


class TestOnlyWhatIsNeeded:
    """Cropping the source to what the target needs, and the target to what the source reaches, changes not one bit."""

    @pytest.fixture
    def uncropped(self, monkeypatch):
        """Resampling that computes every voxel from every voxel."""

        def compute(*args, **options):
            with monkeypatch.context() as patch:
                patch.setattr(resample_module, "_overlap", lambda first, last, shape: tuple(slice(0, n) for n in shape))
                return resample(*args, **options)

        return compute

    @pytest.mark.parametrize(("source", "target"), PAIRS)
    @pytest.mark.parametrize("window", [((-9, 12, 5), (30, 20, 60)), ((10, -30, 3), (9, 90, 7))])
    def test_on_all_kinds_of_grids(self, uncropped, source, target, window):
        source, target = GRIDS[source], GRIDS[target].window(*window)
        data = np.random.default_rng(0).normal(size=source.shape)
        assert resample(data, source, target, fill=-9).tobytes() == uncropped(data, source, target, fill=-9).tobytes()

    @pytest.mark.parametrize("turn", [(0, 0, 0), (20, -15, 30)])
    @pytest.mark.parametrize("spacing", [(2, 2, 2), (5, 1, 3), (1.7, 9, 1)])
    def test_the_filter_reaches_beyond_the_part_that_is_needed(self, uncropped, spacing, turn):
        source, target = make_grid(codes="LPS"), make_grid(spacing, turn=turn, extent=22, centre=(6, -4, 3))
        data = np.random.default_rng(0).normal(size=source.shape)
        found = resample(data, source, target)
        assert found.tobytes() == uncropped(data, source, target).tobytes()
        assert found.all()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(source=any_grid(), target=any_grid(), centre=st.tuples(*[st.floats(-25, 25)] * 3))
    def test_wherever_the_target_lies(self, uncropped, source, target, centre):
        shifted = target.affine.copy()
        shifted[:3, 3] += source.world((0, 0, 0)) - target.world((0, 0, 0)) + centre
        target = Grid(target.shape, shifted)
        data = np.random.default_rng(0).normal(size=source.shape)
        assert resample(data, source, target, fill=3).tobytes() == uncropped(data, source, target, fill=3).tobytes()

    def test_axis_by_axis_is_what_the_general_way_gives(self, monkeypatch):
        source, target = make_grid((1, 1.2, 0.7), "PSR"), make_grid((2, 1, 1.5), "LAS", centre=(3.3, 1, 2))
        data = np.random.default_rng(0).normal(size=source.shape)
        fast = resample(data, source, target)
        monkeypatch.setattr(resample_module.np, "count_nonzero", lambda _: 9)
        np.testing.assert_allclose(resample(data, source, target), fast, atol=1e-6)

    @pytest.mark.parametrize("turn", [(0, 0, 0), (10, 0, 0)])
    def test_a_box_in_a_large_image_costs_the_box(self, monkeypatch, turn):
        box, image = make_grid((2, 2, 2), turn=turn), make_grid(extent=150)
        asked = []
        real = resample_module._interpolate
        monkeypatch.setattr(resample_module, "_interpolate", lambda *args: asked.append(args[3]) or real(*args))
        resample(np.ones(box.shape), box, image)
        resample(np.ones(image.shape), image, box)
        larger = 1 if turn == (0, 0, 0) else 1.5
        assert np.prod(asked[0]) <= larger * 48**3  # 44 mm and a voxel of the box on each side
        assert asked[1] == box.shape
