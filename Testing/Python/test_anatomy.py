"""Brains that are nobody's: the atlas lies in MNI space, its halves put together right, and brains are made of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms import points

from TransferSegLib.grid import Grid
from TransferSegLib.preprocess.brain import _LARGEST_ML, _SMALLEST_ML
from TransferSegLib.preprocess.template import load_template, read_template_file
from TransferSegLib.resample import resample
from TransferSegLib.simulation.anatomy import Anatomy, Atlas, Warp, brain_grid, draw_anatomy, load_atlas, sample
from TransferSegLib.simulation.fields import Array

GRID = brain_grid((3, 3, 3))
COARSE = brain_grid((5, 5, 5))


@cache
def brain(seed: int = 0, atrophy: float = 0.1) -> Anatomy:
    return draw_anatomy(np.random.default_rng(seed), GRID, atrophy)


def at(values: NDArray[np.generic], grid: Grid, *place: float) -> float:
    """The value of the voxel nearest to a place in the world."""
    i, j, k = np.rint(grid.index(place)).astype(int)
    return float(values[i, j, k])


def world(grid: Grid) -> Array:
    return np.moveaxis(points(grid), -1, 0).astype(np.float32)


def determinants(places: Array, grid: Grid) -> Array:
    """By how much a map of ``places`` (3, i, j, k) stretches space at each voxel; negative where it folds."""
    slopes = np.array([np.gradient(place, *grid.spacing) for place in places])
    return np.asarray(np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1))), np.float32)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return load_atlas()


class TestAtlas:
    def test_it_has_the_voxels_of_the_template(self, atlas: Atlas) -> None:
        assert atlas.grid.matches(load_template().brain.grid)
        for values in (atlas.gm, atlas.wm, atlas.inside, atlas.surface, atlas.depth, atlas.ventricles):
            assert values.shape == atlas.grid.shape
            assert values.dtype == np.float32
        assert load_atlas() is atlas

    def test_it_is_symmetric_about_the_plane_in_the_middle_of_the_world(self, atlas: Atlas) -> None:
        ends = atlas.grid.world([(0, 0, 0), (atlas.grid.shape[0] - 1, 0, 0)])
        assert ends[0, 0] == -ends[1, 0]
        for values in (atlas.gm, atlas.wm):
            assert np.array_equal(values, values[::-1])
        for values in (atlas.inside, atlas.surface, atlas.depth, atlas.ventricles):
            assert np.abs(values - values[::-1]).max() < 0.02

    def test_the_plane_in_the_middle_is_there_once(self, atlas: Atlas) -> None:
        middle = int(np.rint(atlas.grid.index((0, 0, 0))[0]))
        assert atlas.grid.world((middle, 0, 0))[0] == 0
        for values in (atlas.gm, atlas.wm):
            assert np.array_equal(values[middle - 1], values[middle + 1])
            assert not np.array_equal(values[middle], values[middle + 1])
            assert not np.array_equal(values[middle], values[middle - 1])

    @pytest.mark.parametrize("tissue", ["gm", "wm"])
    def test_what_is_stored_is_the_left_half(self, atlas: Atlas, tissue: str) -> None:
        half = read_template_file(f"icbm152_{tissue}_left.nii.gz")
        whole = getattr(atlas, tissue)
        assert np.abs(half.grid.corners()[:, 0]).max() == -half.grid.corners()[:, 0].min()
        assert half.grid.corners()[:, 0].max() == 0
        for place in ((-20, -20, 20), (-40, 10, 5), (-10, -70, -30), (0, 20, 10)):
            assert at(whole, atlas.grid, *place) == at(half.data, half.grid, *place) / np.float32(31)

    def test_shares_are_shares(self, atlas: Atlas) -> None:
        assert min(atlas.gm.min(), atlas.wm.min()) == 0
        assert (atlas.gm + atlas.wm).max() <= 1 + 1e-6
        assert (atlas.gm + atlas.wm)[~load_template().brain.data].sum() < 0.01 * (atlas.gm + atlas.wm).sum()

    def test_white_matter_is_where_the_template_is_bright_and_nowhere_else(self, atlas: Atlas) -> None:
        """Not mirrored, not shifted: nothing fits as well as what is there."""
        t1 = load_template().t1
        solid = np.asarray(resample(load_template().brain.data.astype(np.float32), atlas.grid, t1.grid) > 0.9)
        white = np.asarray(resample(atlas.wm, atlas.grid, t1.grid))

        def fit(other: NDArray[np.float32]) -> float:
            return float(np.corrcoef(other[solid], t1.data[solid])[0, 1])

        here = fit(white)
        assert here > 0.7
        for axis in range(3):
            for steps in (-1, 1):
                assert fit(np.roll(white, steps, axis)) < here - 0.02
            if axis:
                assert fit(np.flip(white, axis)) < here - 0.3

    @pytest.mark.parametrize(
        ("place", "tissue"),
        [
            ((0, 24, 6), "wm"),  # genu of the corpus callosum
            ((-26, -20, 28), "wm"),  # centrum semiovale
            ((26, -20, 28), "wm"),
            ((-13, 12, 10), "gm"),  # head of the caudate nucleus
            ((13, 12, 10), "gm"),
            ((-10, -20, 8), "gm"),  # thalamus
            ((-6, 10, 10), "fluid"),  # frontal horn
            ((6, 10, 10), "fluid"),
        ],
    )
    def test_anatomy_is_where_the_textbook_has_it(
        self, atlas: Atlas, place: tuple[float, float, float], tissue: str
    ) -> None:
        shares = {"gm": at(atlas.gm, atlas.grid, *place), "wm": at(atlas.wm, atlas.grid, *place)}
        shares["fluid"] = 1 - sum(shares.values())
        assert max(shares, key=shares.__getitem__) == tissue
        assert (at(atlas.ventricles, atlas.grid, *place) > 0.5) == (tissue == "fluid")

    def test_surface_and_depth_are_measured_from_outside_and_from_white_matter(self, atlas: Atlas) -> None:
        assert at(atlas.inside, atlas.grid, -26, -20, 28) == pytest.approx(1, abs=1e-3)
        assert at(atlas.surface, atlas.grid, -26, -20, 28) == pytest.approx(0, abs=0.05)
        edge = (atlas.inside > 0.45) & (atlas.inside < 0.55)
        assert atlas.surface[edge].mean() > 0.9
        assert at(atlas.depth, atlas.grid, -26, -20, 28) < 0.1
        assert atlas.depth.max() <= 10 + 1e-3


class TestGrid:
    @pytest.mark.parametrize("spacing", [(1, 1, 1), (3, 3, 3), (1, 1, 3), (0.9, 2, 5)])
    def test_axes_run_along_ras_and_the_first_faces_of_all_grids_lie_together(
        self, spacing: tuple[float, float, float]
    ) -> None:
        grid = brain_grid(spacing)
        assert grid.spacing == spacing
        assert np.array_equal(grid.affine[:3, :3], np.diag(spacing))
        np.testing.assert_allclose(grid.world((-0.5,) * 3), GRID.world((-0.5,) * 3))
        last = grid.world(np.array(grid.shape) - 0.5)
        assert (last >= (84, 90, 94)).all()
        assert (last - spacing < (84, 90, 94)).all()

    def test_it_holds_any_simulated_brain(self) -> None:
        """The largest of many, not cut off on any side."""
        for seed in range(16):
            anatomy = draw_anatomy(np.random.default_rng(seed), COARSE, 0.1)
            faces = [np.moveaxis(anatomy.brain, axis, 0)[end] for axis in range(3) for end in (0, -1)]
            below = faces.pop(4)
            assert not any(face.any() for face in faces), seed
            assert below.sum() * 25 < 300, "the brain stem, which is cut in the template too, mm2"
            volume = anatomy.brain.sum() * COARSE.voxel_ml
            assert _SMALLEST_ML < volume < 0.97 * _LARGEST_ML, "a larger one is taken for a head with its skull"


class TestBrains:
    def test_shares_of_tissue_are_never_negative_and_add_up_to_1(self) -> None:
        for atrophy in (-0.15, 0.45):
            anatomy = brain(1, atrophy)
            assert min(share.min() for share in (anatomy.csf, anatomy.gm, anatomy.wm)) >= 0
            np.testing.assert_allclose(anatomy.csf + anatomy.gm + anatomy.wm, 1, atol=1e-5)

    def test_there_is_more_grey_than_white_matter_and_some_fluid(self) -> None:
        for seed in range(3):
            anatomy = brain(seed)
            csf, gm, wm = (float(share[anatomy.brain].mean()) for share in (anatomy.csf, anatomy.gm, anatomy.wm))
            assert gm > wm > 0.15
            assert 0.05 < csf < 0.45
            assert anatomy.csf[~anatomy.brain & (anatomy.inside < 0.1)].mean() > 0.9

    def test_left_stays_left_and_top_stays_top(self) -> None:
        for seed in range(3):
            away = brain(seed).places - world(GRID)
            for axis in range(3):
                assert np.abs(away[axis][brain(seed).brain]).max() < 30
                here, there = world(GRID)[axis], brain(seed).places[axis]
                assert np.corrcoef(here[brain(seed).brain], there[brain(seed).brain])[0, 1] > 0.95

    def test_tissue_is_that_of_the_template_at_its_places(self, atlas: Atlas) -> None:
        anatomy = brain(2)
        (wm, inside) = sample(atlas.grid, anatomy.places, atlas.wm, atlas.inside)
        assert np.corrcoef(wm[anatomy.brain], anatomy.wm[anatomy.brain])[0, 1] > 0.9
        assert np.array_equal(anatomy.brain, inside > 0.5)
        assert np.array_equal(anatomy.inside, inside)

    def test_wider_ventricles_are_wider_and_stay_in_the_middle(self) -> None:
        sizes = []
        for atrophy in (-0.15, 0.1, 0.45):
            anatomy = brain(3, atrophy)
            fluid = anatomy.csf * (anatomy.ventricles > 0.3)
            sizes.append(float(fluid.sum()) * GRID.voxel_ml)
            middle = np.average(points(GRID), axis=(0, 1, 2), weights=fluid)
            assert np.linalg.norm(middle - (0, -18, 12)) < 14
        assert 1.2 * sizes[0] < 1.1 * sizes[1] < sizes[2]
        assert 5 < sizes[0] < sizes[2] < 150

    def test_a_brain_is_a_little_or_much_larger_than_another(self) -> None:
        sizes = [float(brain(seed).brain.sum()) * GRID.voxel_ml for seed in range(4)]
        assert max(sizes) > 1.1 * min(sizes)

    def test_the_same_seed_gives_the_same_brain_and_another_one_another(self) -> None:
        again = draw_anatomy(np.random.default_rng(0), GRID, 0.1)
        for name in ("csf", "gm", "wm", "brain", "inside", "ventricles", "places"):
            assert np.array_equal(getattr(again, name), getattr(brain(0), name))
            assert not np.array_equal(getattr(again, name), getattr(brain(1), name))

    @pytest.mark.parametrize("atrophy", [-0.15, 0.45])
    def test_space_is_never_folded(self, atrophy: float) -> None:
        for seed in range(3):
            stretch = determinants(draw_anatomy(np.random.default_rng(seed), GRID, atrophy).places, GRID)
            assert stretch.min() > 0.1
            assert stretch.max() < 4

    @pytest.mark.parametrize("way", [(12, 0, 0), (0, -9, 0), (0, 0, 6)])
    def test_what_pushes_the_brain_moves_it_by_whole_voxels_in_the_world(self, way: tuple[float, float, float]) -> None:
        """``push`` tells where a place comes from: with +12 mm along x the brain moves 12 mm to the left."""
        moved = draw_anatomy(np.random.default_rng(0), GRID, 0.1, shift(way))
        still = brain(0)
        np.testing.assert_allclose(mean_place(moved.brain), mean_place(still.brain) - way, atol=2.0)


def shift(way: tuple[float, float, float]) -> Warp:
    return lambda places: places + np.array(way, np.float32)[:, None, None, None]


def mean_place(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(points(GRID)[mask].mean(0))


class TestSample:
    SPACED = Grid((9, 8, 7), np.array([[2.0, 0, 0, -5], [0, 3, 0, 4], [0, 0, 4, -8], [0, 0, 0, 1]]))

    def test_linear_between_voxels_and_exact_for_what_is_linear(self) -> None:
        ramp = (points(self.SPACED) @ (1.0, -2.0, 0.5) + 3).astype(np.float32)
        random = np.random.default_rng(0)
        places = random.uniform((-5, 4, -8), (11, 25, 16), (50, 3)).T.astype(np.float32)
        (found,) = sample(self.SPACED, places, ramp)
        np.testing.assert_allclose(found, np.array([1.0, -2.0, 0.5]) @ places + 3, rtol=1e-4, atol=1e-4)

    def test_of_the_nearest_voxel(self) -> None:
        numbers = np.arange(9 * 8 * 7, dtype=np.float32).reshape(9, 8, 7)
        places = np.add(self.SPACED.world((3, 5, 2)), (0.9, -1.4, 1.9))[:, None].astype(np.float32)
        assert sample(self.SPACED, places, numbers, order=0)[0] == numbers[3, 5, 2]

    def test_0_outside_and_as_many_results_as_volumes(self) -> None:
        far = np.array([[100.0], [0.0], [0.0]], np.float32)
        ones = np.ones(self.SPACED.shape, np.float32)
        first, second = sample(self.SPACED, far, ones, 2 * ones)
        assert (first[0], second[0]) == (0, 0)
        centre = self.SPACED.world((4, 4, 3))[:, None].astype(np.float32)
        assert [float(found[0]) for found in sample(self.SPACED, centre, ones, 2 * ones)] == [1, 2]
