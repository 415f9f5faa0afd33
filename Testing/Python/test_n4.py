"""N4: a known field is taken out, on grids of every kind, and nothing else is touched."""

from functools import cache

import numpy as np
import pytest
from phantoms import GRIDS, ball, make_grid, points

from TransferSegLib.errors import InputError
from TransferSegLib.preprocess.n4 import CorrectBias
from TransferSegLib.volume import Volume

QUICK = CorrectBias(working_mm=3.0, spline_mm=100.0, levels=2, iterations=30)
CENTRE = (0.0, 0.0, 0.0)


def tissue(grid):
    """Two kinds of tissue in layers that are much thinner than the field is wide, and the brain's mask."""
    brain = ball(grid, CENTRE, 20)
    layers = np.sin(points(grid) @ (0.9, 0.7, 0.8)) > 0
    noise = np.random.default_rng(0).normal(1, 0.02, grid.shape)
    return np.where(brain, np.where(layers, 100, 60) * noise, 0).astype(np.float32), brain


def bias(grid):
    """A field of +-30 % over the brain, given in the world."""
    x, y, z = np.moveaxis(points(grid), -1, 0) / 20
    return np.exp(0.22 * x - 0.12 * y + 0.14 * z - 0.12 * x * x).astype(np.float32)


def spread(values):
    return float(values.std() / values.mean())


@cache
def corrected(name):
    grid = GRIDS[name]
    image, brain = tissue(grid)
    return QUICK.apply(Volume(image * bias(grid), grid), brain)


class TestTheField:
    @pytest.mark.parametrize("name", ["axis-aligned", "anisotropic", "everything"])
    def test_a_known_field_is_taken_out(self, name):
        grid = GRIDS[name]
        image, brain = tissue(grid)
        left = corrected(name).data[brain] / image[brain]
        assert spread(bias(grid)[brain]) > 0.1
        assert spread(left) < spread(bias(grid)[brain]) / 3

    def test_an_even_image_stays_even(self):
        grid = GRIDS["axis-aligned"]
        image, brain = tissue(grid)
        found = QUICK.apply(Volume(image, grid), brain).data
        assert spread(found[brain] / image[brain]) < 0.02

    def test_the_field_of_the_blocks_is_put_where_the_blocks_are(self, monkeypatch):
        """With a fit that takes all of an image for its field, nothing but the field's place can go wrong."""
        monkeypatch.setattr(CorrectBias, "_fit", lambda self, means, mask, elements: np.log(means.astype(float)))
        grid = make_grid((1.0, 1.5, 4.0), extent=48)
        index = np.moveaxis(np.indices(grid.shape), 0, -1) * grid.spacing
        image = np.exp((4e-4 * index**2).sum(-1))
        brain = np.zeros(grid.shape, bool)
        brain[4:44, 2:29] = True
        found = CorrectBias(working_mm=4.5).apply(Volume(image.astype(np.float32), grid), brain).data[brain]
        assert image.max() / image.min() > 3
        assert found.max() / found.min() < 1.005

    def test_the_brain_keeps_its_brightness(self):
        grid = GRIDS["axis-aligned"]
        image, brain = tissue(grid)
        before, after = (image * bias(grid))[brain], corrected("axis-aligned").data[brain]
        assert np.log(after).mean() == pytest.approx(np.log(before).mean(), abs=1e-4)

    def test_the_result_does_not_depend_on_the_scale_of_the_values(self):
        grid = GRIDS["anisotropic"]
        image, brain = tissue(grid)
        large = QUICK.apply(Volume(image * bias(grid) * 1000, grid), brain).data
        np.testing.assert_allclose(large / 1000, corrected("anisotropic").data, rtol=2e-3)

    def test_it_is_the_same_each_time_to_the_bit(self):
        corrected.cache_clear()
        one = corrected("anisotropic").data.tobytes()
        corrected.cache_clear()
        assert corrected("anisotropic").data.tobytes() == one


class TestWhatItLeaves:
    grid = GRIDS["anisotropic"]

    def test_grid_and_type(self):
        found = corrected("anisotropic")
        assert found.grid is self.grid
        assert found.data.dtype == np.float32
        assert np.isfinite(found.data).all()

    def test_integers_can_be_corrected(self):
        image, brain = tissue(self.grid)
        whole = (image * bias(self.grid)).astype(np.int16)
        np.testing.assert_allclose(
            QUICK.apply(Volume(whole, self.grid), brain).data, corrected("anisotropic").data, atol=2
        )

    @pytest.mark.parametrize("background", [0, -1000])
    def test_background_and_undershoot_stay_as_they_are(self, background):
        image, brain = tissue(self.grid)
        image = np.where(brain, image * bias(self.grid), background).astype(np.float32)
        dark = np.argwhere(brain)[::50]
        image[tuple(dark.T)] = np.linspace(-4, 0, len(dark))
        found = QUICK.apply(Volume(image, self.grid), brain).data
        left = ~(image > 0)
        np.testing.assert_array_equal(found[left], image[left])
        assert not np.array_equal(found[~left], image[~left])

    def test_around_the_brain_the_field_goes_on_smoothly_and_no_stronger_than_within(self):
        image, brain = tissue(self.grid)
        head = np.where(brain, image, 30) * bias(self.grid)
        gain = QUICK.apply(Volume(head.astype(np.float32), self.grid), brain).data / head
        assert gain[brain].min() - 1e-5 <= gain.min()
        assert gain.max() <= gain[brain].max() + 1e-5
        assert max(np.abs(np.diff(gain, axis=axis)).max() for axis in range(3)) < 0.1

    def test_what_is_outside_of_the_mask_does_not_count(self):
        image, brain = tissue(self.grid)
        head = np.where(brain, image * bias(self.grid), 5000).astype(np.float32)
        found = QUICK.apply(Volume(head, self.grid), brain).data
        np.testing.assert_allclose(found[brain], corrected("anisotropic").data[brain], rtol=1e-5)

    @pytest.mark.parametrize("value", [1, 700])
    def test_an_image_of_one_value_stays_as_it_is(self, value):
        image = np.full(self.grid.shape, value, np.float32)
        found = QUICK.apply(Volume(image, self.grid), ball(self.grid)).data
        np.testing.assert_array_equal(found, image)

    @pytest.mark.parametrize("shape", [(30, 30, 1), (1, 1, 1), (3, 2, 5), (40, 2, 3)])
    def test_images_of_few_voxels_can_be_given(self, shape):
        grid = make_grid().window((0, 0, 0), shape)
        image = np.random.default_rng(0).uniform(50, 150, shape).astype(np.float32)
        found = QUICK.apply(Volume(image, grid), np.ones(shape, bool)).data
        assert np.isfinite(found).all()
        assert (found > 0).all()


class TestRefusals:
    grid = make_grid(extent=8)

    def says(self, image, brain):
        with pytest.raises(InputError) as caught:
            QUICK.apply(Volume(image, self.grid), brain)
        return str(caught.value)

    def test_an_image_after_a_zscore_is_told(self):
        image = np.random.default_rng(0).normal(-0.5, 1, self.grid.shape)
        assert self.says(image, np.ones(self.grid.shape, bool)) == (
            "Most of the brain in the image is zero or negative: a bias field cannot be found. "
            "Give the image as the scanner made it, or leave N4 out."
        )

    def test_a_mask_that_holds_no_brain_is_told(self):
        for mask in (np.zeros(self.grid.shape, bool), np.ones((2, 2, 2), bool)):
            assert "There is no brain in the mask" in self.says(np.ones(self.grid.shape), mask)

    @pytest.mark.parametrize(
        "parameters", [{"working_mm": 0}, {"spline_mm": -1}, {"levels": 0}, {"levels": 9}, {"iterations": 0}]
    )
    def test_senseless_parameters_are_told(self, parameters):
        with pytest.raises(InputError, match="A bias field cannot be fitted"):
            CorrectBias(**parameters)
