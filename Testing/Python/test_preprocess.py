"""Pre-processing: each step by its formula, the pipeline from a case to the network's grid, and the way back."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes
from phantoms import GRIDS, ORIENTATIONS, any_grid, ball, centre_of, make_grid, points, soft_ball, volume_ml

from TransferSegLib.case import Case
from TransferSegLib.errors import InputError, ModelError
from TransferSegLib.events import Warning
from TransferSegLib.grid import Grid
from TransferSegLib.preprocess import Pipeline, brain
from TransferSegLib.preprocess.align import Align
from TransferSegLib.preprocess.brain import FindBrain, extracted_brain, outline
from TransferSegLib.preprocess.crop import CropToBrain, PadOrCrop
from TransferSegLib.preprocess.pipeline import labels_on
from TransferSegLib.preprocess.reorient import Reorient
from TransferSegLib.preprocess.rescale import Rescale
from TransferSegLib.preprocess.respace import Respace
from TransferSegLib.preprocess.zscore import ZScore
from TransferSegLib.resample import resample
from TransferSegLib.volume import Volume

RAS = make_grid(extent=20)
BRATS = Grid((240, 240, 155), np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]]))
NO_POINTS = np.zeros((1, 3))


def make_case(grid, label=None, **channels):
    return Case("p1", {name: Volume(values, grid) for name, values in channels.items()}, next(iter(channels)), label)


def textured(mask, seed=0, background=0):
    """Random values over ``mask``, all different from the background."""
    values = np.random.default_rng(seed).uniform(50, 150, mask.shape).astype(np.float32)
    return np.where(mask, values, np.float32(background))


def says(kind, call, *args, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    return str(caught.value)


class TestFindBrain:
    head = ball(RAS, (0, 0, 0), 8)

    def found(self, *images, **options):
        seen = []
        case = make_case(RAS, **{f"c{number}": image for number, image in enumerate(images)})
        return FindBrain(**options).apply(case, seen.append).mask, seen

    @pytest.mark.parametrize("background", [0, -1000, 7.25, np.float32(-0.731), 100])
    def test_an_extracted_brain_is_what_is_not_background_whatever_value_that_has(self, background):
        mask, seen = self.found(textured(self.head, background=background))
        np.testing.assert_array_equal(mask, self.head)
        assert seen == []

    def test_the_brain_is_where_any_channel_has_it(self):
        left, right = self.head.copy(), self.head.copy()
        left[12:], right[:8] = False, False
        mask, _ = self.found(textured(left), textured(right, 1, background=-3))
        np.testing.assert_array_equal(mask, self.head)

    def test_holes_are_filled(self):
        ventricle = ball(RAS, (0, 0, 0), 3)
        mask, _ = self.found(textured(self.head & ~ventricle))
        np.testing.assert_array_equal(mask, self.head)

    def test_stray_voxels_are_dropped(self):
        image = textured(self.head)
        image[0, 0, 0] = image[1, 18, 4] = 90
        mask, _ = self.found(image)
        np.testing.assert_array_equal(mask, self.head)

    def test_some_brain_may_touch_the_edge_of_the_image(self):
        grid = RAS.window((6, 0, 0), (14, 20, 20))
        head = ball(grid, (0, 0, 0), 8)
        assert head[0].any()
        np.testing.assert_array_equal(extracted_brain(make_case(grid, t1=textured(head))), head)

    @pytest.mark.parametrize("what", ["noise around the head", "only one channel extracted", "filled to the edge"])
    def test_the_brain_of_a_head_with_skull_is_found_by_the_template(self, monkeypatch, what):
        noisy = textured(np.ones(RAS.shape, bool))
        filled = textured(np.pad(np.ones((20, 20, 17), bool), ((0, 0), (0, 0), (0, 3))))
        images = {
            "noise around the head": [noisy],
            "only one channel extracted": [textured(self.head), noisy],
            "filled to the edge": [filled],
        }[what]
        monkeypatch.setattr(brain, "template_brain", lambda image, *_: (self.head, np.diag([2.0, 2, 2, 1])))
        monkeypatch.setattr(brain, "_SMALLEST_ML", 1)
        case = make_case(RAS, **{f"c{number}": image for number, image in enumerate(images)})
        found = FindBrain().apply(case)
        np.testing.assert_array_equal(found.mask, self.head)
        assert found.how == "by the template"
        np.testing.assert_array_equal(found.to_image, np.diag([2.0, 2, 2, 1]))

    def test_a_head_in_air_of_0_is_no_extracted_brain(self):
        grid = make_grid(extent=200, spacing=(4, 4, 4))
        assert extracted_brain(make_case(grid, t1=textured(ball(grid, (0, 0, 0), 70)))) is not None  # 1.4 l
        assert extracted_brain(make_case(grid, t1=textured(ball(grid, (0, 0, 0), 85)))) is None  # 2.6 l

    @pytest.mark.parametrize(("radius", "ml"), [(50, 524), (90, 3054)])
    def test_a_brain_of_a_size_that_no_brain_has_is_not_believed(self, monkeypatch, radius, ml):
        grid = make_grid(extent=200, spacing=(2, 2, 2))
        mask = ball(grid, (0, 0, 0), radius)
        monkeypatch.setattr(brain, "template_brain", lambda image, *_: (mask, np.eye(4)))
        seen = []
        found = FindBrain("template").apply(make_case(grid, t1=textured(np.ones(grid.shape, bool))), seen.append)
        assert found.mask.all()
        assert found.how == "whole image"
        (warning,) = seen
        text = r"The brain found by the template has (\d+) ml: a brain has 800 to 2200. (.*)"
        size, instead = re.fullmatch(text, warning.text).groups()
        assert float(size) == pytest.approx(ml, rel=0.01)
        assert instead == "The whole image is taken instead."
        assert warning.case == "p1"

    def test_a_given_mask_goes_first_and_its_size_is_told_when_it_cannot_be(self):
        given = ball(RAS, (0, 0, 0), 5)
        case = replace(make_case(RAS, t1=textured(self.head)), brain=given)
        for method in ("auto", "mask"):
            seen = []
            np.testing.assert_array_equal(FindBrain(method).apply(case, seen.append).mask, given)
            assert [event.text for event in seen] == ["The given brain mask has 1 ml: a brain has 800 to 2200."]
        assert FindBrain("none").apply(case).mask.all()
        message = says(InputError, FindBrain("mask").apply, make_case(RAS, t1=textured(self.head)))
        assert message.startswith("Case 'p1' has no brain mask. Give it as brain=FILE")

    def test_a_tool_sees_the_channel_that_is_most_like_the_template_on_its_own_grid(self, monkeypatch):
        fine = make_grid(extent=20, spacing=(0.5, 0.5, 2))
        volumes = {
            "flair": Volume(textured(np.ones(RAS.shape, bool)), RAS),
            "t1": Volume(textured(np.ones(fine.shape, bool)), fine),
        }
        asked = []

        def extract(method, image, *_):
            asked.append((method, image))
            return ball(fine, (0, 0, 0), 8)

        monkeypatch.setattr(brain, "extract", extract)
        monkeypatch.setattr(brain, "_SMALLEST_ML", 1)
        found = FindBrain("bet").apply(Case("p1", volumes, "flair"))
        assert asked == [("bet", volumes["t1"])]
        assert found.mask.shape == RAS.shape
        assert volume_ml(found.mask, RAS) == pytest.approx(volume_ml(ball(RAS, (0, 0, 0), 8), RAS), rel=0.05)

    def test_what_fills_nearly_all_of_the_image_is_no_brain(self):
        box = np.pad(np.ones((62, 62, 62), bool), 1)
        assert extracted_brain(make_case(make_grid(extent=64), t1=textured(box))) is None
        box[:, :, 50:] = False
        np.testing.assert_array_equal(extracted_brain(make_case(make_grid(extent=64), t1=textured(box))), box)

    def test_without_looking_it_is_the_whole_image(self):
        mask, seen = self.found(textured(self.head), method="none")
        assert mask.all()
        assert seen == []

    def test_nothing_but_background_is_an_error(self):
        message = says(InputError, self.found, np.zeros(RAS.shape, np.float32))
        assert message == "The images of case 'p1' have nothing but background. Give the real images."

    def test_an_unknown_method_is_told(self):
        assert says(InputError, FindBrain, "magic") == (
            "There is no brain extraction 'magic'. Use auto, mask, template, bet, hd-bet, synthstrip, none."
        )

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 1000), share=st.floats(0.001, 1))
    def test_the_outline_has_the_box_of_all_voxels(self, seed, share):
        mask = np.random.default_rng(seed).random((5, 6, 7)) < share
        mask[2, 3, 4] = True
        index, every = outline(mask), np.argwhere(mask)
        assert mask[tuple(index.T)].all()
        np.testing.assert_array_equal(index.min(0), every.min(0))
        np.testing.assert_array_equal(index.max(0), every.max(0))


class TestReorient:
    @pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
    @pytest.mark.parametrize("codes", ORIENTATIONS[::7])
    def test_axes_run_as_asked_and_no_value_changes(self, codes, axes):
        grid = make_grid((1, 2, 3), codes, (10, -12, 8), extent=18)
        image = textured(np.ones(grid.shape, bool))
        planned = Reorient(axes).plan(grid, NO_POINTS)
        assert "".join(aff2axcodes(planned.affine)) == axes
        moved = resample(image, grid, planned)
        assert resample(moved, planned, grid).tobytes() == image.tobytes()
        assert sorted(moved.ravel()) == sorted(image.ravel())


class TestRespace:
    def test_voxels_get_the_spacing_along_the_same_axes_over_the_same_extent(self):
        grid = make_grid((0.8, 0.9, 3.0), "PSR", (20, -15, 30))
        planned = Respace((2.0, 1.0, 1.5)).plan(grid, NO_POINTS)
        assert planned.spacing == pytest.approx((2, 1, 1.5))
        directions = [grid.affine[:3, :3] / grid.spacing, planned.affine[:3, :3] / planned.spacing]
        np.testing.assert_allclose(*directions, atol=1e-12)
        # The outer corner of the first voxel stays; the last one reaches as far or less than a voxel further.
        np.testing.assert_allclose(planned.world([-0.5] * 3), grid.world([-0.5] * 3), atol=1e-9)
        further = planned.shape * np.array(planned.spacing) - grid.shape * np.array(grid.spacing)
        assert ((further > -1e-6) & (further < planned.spacing)).all()

    def test_a_grid_that_has_the_spacing_within_a_thousandth_is_kept(self):
        grid = make_grid((1.0004, 0.9996, 1))
        assert Respace().plan(grid, NO_POINTS) is grid
        assert Respace((1.0, 1.0, 1.01)).plan(grid, NO_POINTS) is not grid

    @pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, 1.0, 50.0), (1.0, 1.0)])
    def test_a_senseless_spacing_is_told(self, spacing):
        assert says(InputError, Respace, spacing) == (
            f"A spacing of {spacing} mm cannot be used. Give 0.1 to 20 mm, for instance 2."
        )


class TestPadOrCrop:
    def test_a_brats_image_becomes_the_papers_grid_about_its_centre(self):
        grid = Reorient().plan(BRATS, NO_POINTS)
        planned = PadOrCrop().plan(grid, NO_POINTS)
        assert planned.shape == (192, 240, 192)
        # From left to right 48 voxels too many, from inferior to superior 37 too few: 18 below, 19 above.
        np.testing.assert_allclose(grid.index(planned.world([0, 0, 0])), [24, 0, -18], atol=1e-9)

    @pytest.mark.parametrize(
        ("have", "want", "first"), [(5, 8, -1), (8, 5, 1), (4, 8, -2), (8, 4, 2), (5, 4, 0), (4, 5, 0), (6, 6, 0)]
    )
    def test_of_an_odd_difference_one_more_is_on_the_high_side(self, have, want, first):
        grid = make_grid(extent=have)
        planned = PadOrCrop((want, have, want)).plan(grid, NO_POINTS)
        np.testing.assert_allclose(grid.index(planned.world([0, 0, 0])), [first, 0, first], atol=1e-9)
        back = PadOrCrop(grid.shape).plan(planned, NO_POINTS)
        assert back.matches(grid) or have > want

    def test_pads_with_zero(self):
        grid = make_grid(extent=5)
        planned = PadOrCrop((8, 5, 5)).plan(grid, NO_POINTS)
        moved = resample(np.ones(grid.shape), grid, planned)
        assert moved[:, 2, 2].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]


class TestCropToBrain:
    @settings(max_examples=60, deadline=None)
    @given(
        low=st.tuples(*[st.integers(0, 9)] * 3),
        size=st.tuples(*[st.integers(1, 11)] * 3),
        margin=st.integers(0, 4),
        multiple=st.sampled_from([1, 2, 8, 16]),
        codes=st.sampled_from(ORIENTATIONS),
    )
    def test_is_the_smallest_box_with_the_brain_and_its_margin_in_the_middle(self, low, size, margin, multiple, codes):
        grid = make_grid((1, 2, 0.7), codes, (10, 20, -15), extent=14)
        high = np.add(low, size)
        brain_mm = grid.world([low, high - 1])
        planned = CropToBrain(margin, multiple).plan(grid, brain_mm)
        assert all(side % multiple == 0 for side in planned.shape)
        assert (planned.shape - (np.array(size) + 2 * margin) < multiple).all()
        first = np.rint(grid.index(planned.world([0, 0, 0])))
        before, behind = low - first, first + planned.shape - high
        assert (before >= margin).all()
        assert (behind - before >= 0).all()
        assert (behind - before <= 1).all()

    @pytest.mark.parametrize("parameters", [{"margin": -1}, {"multiple": 0}])
    def test_a_senseless_box_is_told(self, parameters):
        assert "cannot be made. Use 2 and 8." in says(InputError, CropToBrain, **parameters)


class TestIntensity:
    brain = np.array([True, True, True, True, False])
    values = np.array([10, 20, 30, 60, 1000], np.float32)

    def test_zscore_by_hand(self):
        found = ZScore(clip=None).apply(self.values, self.brain)
        np.testing.assert_allclose(found[:4], np.array([-20, -10, 0, 30]) / np.sqrt(350), rtol=1e-6)
        assert found.dtype == np.float32

    def test_zscore_clips_on_both_sides(self):
        found = ZScore(clip=1).apply(self.values, self.brain)
        np.testing.assert_allclose(found, [-1, -10 / np.sqrt(350), 0, 1, 1], rtol=1e-6)

    def test_rescale_by_hand(self):
        found = Rescale().apply(self.values, self.brain)
        np.testing.assert_allclose(found[:4], [0, 0.2, 0.4, 1])
        assert found.dtype == np.float32

    @pytest.mark.parametrize("step", [ZScore(), ZScore(clip=None), Rescale()])
    def test_a_brain_of_one_value_becomes_zero(self, step):
        np.testing.assert_array_equal(step.apply(np.full(5, 700, np.float32), self.brain)[self.brain], 0)

    def test_zscore_then_rescale_is_rescale_unless_the_zscore_clips(self):
        """The trap in the paper's text: taken literally, its z-score changes nothing."""
        brain = np.ones(2000, bool)
        values = np.random.default_rng(0).gamma(2, 40, 2000).astype(np.float32)
        values[0] = 5000  # a vessel
        alone = Rescale().apply(values, brain)
        np.testing.assert_allclose(Rescale().apply(ZScore(None).apply(values, brain), brain), alone, atol=1e-6)
        clipped = Rescale().apply(ZScore(2).apply(values, brain), brain)
        assert clipped.std() > 3 * alone.std()


class TestPipeline:
    grid = GRIDS["everything"]
    head = ball(grid, (1, 2, -3), 16)

    def case(self, **more):
        return make_case(self.grid, t1=textured(self.head), flair=textured(self.head, 1) * 3, **more)

    def test_the_image_is_zero_outside_of_the_brain_and_standardised_inside(self):
        prepared = Pipeline(intensity=(ZScore(clip=None),)).apply(self.case(), ["flair", "t1"])
        assert prepared.name == "p1"
        assert prepared.image.shape == (2, *prepared.grid.shape)
        assert prepared.image.dtype == np.float32
        assert prepared.brain.shape == prepared.grid.shape
        assert prepared.label is None
        assert not prepared.image[:, ~prepared.brain].any()
        for image in prepared.image:
            assert image[prepared.brain].mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
            assert image[prepared.brain].std(dtype=np.float64) == pytest.approx(1, abs=1e-5)

    def test_rescaled_it_runs_from_0_to_1(self):
        prepared = Pipeline(intensity=(ZScore(), Rescale())).apply(self.case(), ["t1"])
        assert prepared.image.min() == 0
        assert prepared.image[0][prepared.brain].max() == 1
        assert not prepared.image[:, ~prepared.brain].any()

    def test_the_background_need_not_be_zero(self):
        shifted = make_case(self.grid, t1=textured(self.head, background=-1000))
        prepared = Pipeline(intensity=(ZScore(clip=None),)).apply(shifted, ["t1"])
        assert not prepared.image[:, ~prepared.brain].any()
        assert np.abs(prepared.image).max() > 1

    def test_channels_come_in_the_order_asked_for(self):
        pipeline, case = Pipeline(), self.case()
        one, other = (pipeline.apply(case, order).image for order in (["flair", "t1"], ["t1", "flair"]))
        np.testing.assert_array_equal(one, other[::-1])
        assert not np.array_equal(one[0], one[1])

    @pytest.mark.parametrize("name", GRIDS)
    def test_the_brain_lies_where_it_was_and_is_as_large(self, name):
        grid = GRIDS[name]
        image = textured(ball(grid, (1, 2, -3), 16))
        prepared = Pipeline().apply(make_case(grid, t1=image), ["t1"])
        assert aff2axcodes(prepared.grid.affine) == ("R", "A", "S")
        assert prepared.grid.spacing == pytest.approx((1, 1, 1), rel=1e-3)
        assert all(side % 8 == 0 for side in prepared.grid.shape)
        assert volume_ml(prepared.brain, prepared.grid) == pytest.approx(volume_ml(image > 0, grid), rel=0.01)
        np.testing.assert_allclose(centre_of(prepared.brain, prepared.grid), (1, 2, -3), atol=0.25)

    def test_the_whole_brain_lies_inside_with_a_margin(self):
        for spacing in (0.7, 1.0, 2.5):
            prepared = Pipeline(geometry=(Reorient(), Respace((spacing,) * 3), CropToBrain(margin=2))).apply(
                self.case(), ["t1"]
            )
            inside = prepared.brain[1:-1, 1:-1, 1:-1]  # rounding may take one voxel of the two
            assert inside.sum() == prepared.brain.sum() > 0

    def test_images_are_interpolated_once_whatever_the_steps(self):
        head = ball(self.grid, (1, 2, -3), 16)
        pipeline = Pipeline(
            geometry=(Respace((0.7, 0.7, 0.7)), Reorient("LPS"), Respace((1.5, 1.0, 2.0)), PadOrCrop((40, 48, 32))),
            intensity=(),
        )
        prepared = pipeline.apply(self.case(), ["t1"])
        assert prepared.grid.shape == (40, 48, 32)
        once = resample(textured(head), self.grid, prepared.grid)
        np.testing.assert_array_equal(prepared.image[0], np.where(prepared.brain, once, 0))

    def test_without_steps_nothing_changes_to_the_bit(self):
        label = ball(self.grid, (1, 2, -3), 5).astype(np.uint8) * 3
        case = self.case(label=label)
        prepared = Pipeline(Align("none"), FindBrain("none"), geometry=(), intensity=()).apply(case, ["t1", "flair"])
        assert prepared.grid.matches(self.grid, 0)
        assert prepared.brain.all()
        assert prepared.image.tobytes() == np.stack([case.channels["t1"], case.channels["flair"]]).tobytes()
        assert prepared.label.tobytes() == label.tobytes()
        one_hot = (prepared.label == np.arange(4)[:, None, None, None]).astype(np.float32)
        assert labels_on(self.grid, one_hot, prepared.grid).tobytes() == label.tobytes()

    @settings(max_examples=20, deadline=None)
    @given(grid=any_grid())
    def test_turned_and_cropped_only_it_returns_to_the_bit(self, grid):
        middle = tuple(grid.world((np.array(grid.shape) - 1) / 2))
        head, label = ball(grid, middle, 11), ball(grid, middle, 6).astype(np.uint8)
        image = textured(head)
        if extracted_brain(make_case(grid, t1=image)) is None:
            return
        prepared = Pipeline(geometry=(Reorient(), CropToBrain()), intensity=()).apply(
            make_case(grid, label, t1=image), ["t1"]
        )
        assert resample(prepared.image[0], prepared.grid, grid).tobytes() == image.tobytes()
        one_hot = np.stack([prepared.label == 0, prepared.label == 1]).astype(np.float32)
        assert labels_on(grid, one_hot, prepared.grid).tobytes() == label.tobytes()

    def test_a_brain_that_is_lost_between_coarse_voxels_is_an_error(self):
        image = np.zeros(RAS.shape, np.float32)
        image[10, 10, 10] = 1
        pipeline = Pipeline(geometry=(Respace((8.0, 8.0, 8.0)),))
        message = says(InputError, pipeline.apply, make_case(RAS, t1=image), ["t1"])
        assert message == "The brain of case 'p1' is smaller than a voxel. Check the image's header."

    def test_warnings_of_the_steps_reach_the_listener(self, monkeypatch):
        seen = []
        case = make_case(RAS, t1=textured(np.ones(RAS.shape, bool)))
        monkeypatch.setattr(brain, "template_brain", lambda *_: (np.zeros(RAS.shape, bool), np.eye(4)))
        Pipeline().apply(case, ["t1"], seen.append)
        assert [type(event) for event in seen] == [Warning]

    def test_knows_its_spacing_and_shape(self):
        assert Pipeline().spacing_mm == (1, 1, 1)
        assert Pipeline().shape is None
        paper = Pipeline(geometry=(Reorient(), PadOrCrop()))
        assert paper.spacing_mm is None
        assert paper.shape == (192, 240, 192)


class TestThereAndBack:
    """A label goes to the working grid and returns as the most probable class on the grid it came from."""

    def returned(self, grid, label, spacing):
        image = 100 * soft_ball(grid, (0, 0, 0), 19)
        geometry = (Reorient(), Respace((spacing,) * 3), CropToBrain())
        prepared = Pipeline(geometry=geometry).apply(make_case(grid, label, t1=image), ["t1"])
        one_hot = (prepared.label == np.arange(label.max() + 1)[:, None, None, None]).astype(np.float32)
        return labels_on(grid, one_hot, prepared.grid)

    @pytest.mark.parametrize("name", GRIDS)
    # A voxel of 2 mm cannot tell where within it a border runs: what is reachable there is a little less.
    @pytest.mark.parametrize(("spacing", "dice", "volume"), [(1.0, 0.99, 0.02), (2.0, 0.96, 0.04)])
    def test_a_sphere_returns_as_it_was(self, name, spacing, dice, volume):
        grid = GRIDS[name]
        label = ball(grid).astype(np.uint8)
        back = self.returned(grid, label, spacing)
        assert back.dtype == np.uint8
        assert back.shape == label.shape
        assert 2 * (back & label).sum() / (back.sum() + label.sum()) >= dice
        assert back.sum() == pytest.approx(label.sum(), rel=volume)
        np.testing.assert_allclose(centre_of(back, grid), centre_of(label, grid), atol=0.1 * spacing)

    def test_nested_classes_return_as_they_were(self):
        grid = make_grid((0.8, 0.9, 3.0), turn=(20, -15, 30))
        label = np.zeros(grid.shape, np.uint8)
        for value, radius in ((2, 14), (3, 10), (1, 6)):
            label[ball(grid, radius=radius)] = value
        back = self.returned(grid, label, 1.0)
        for value in (1, 2, 3):
            one, other = back == value, label == value
            assert 2 * (one & other).sum() / (one.sum() + other.sum()) >= 0.97


class TestLabelsOn:
    def test_the_most_probable_class_wins_and_of_equals_the_lower(self):
        grid = make_grid(extent=4)
        probabilities = np.zeros((3, *grid.shape), np.float32)
        probabilities[:, 0] = np.array([0.2, 0.5, 0.3])[:, None, None]
        probabilities[:, 1] = np.array([0.1, 0.2, 0.7])[:, None, None]
        probabilities[:, 2] = np.array([0.4, 0.3, 0.3])[:, None, None]
        probabilities[:, 3] = np.array([0.2, 0.4, 0.4])[:, None, None]
        assert labels_on(grid, probabilities, grid)[:, 0, 0].tolist() == [1, 2, 0, 1]

    @pytest.mark.parametrize("name", GRIDS)
    def test_all_is_background_where_the_network_did_not_look(self, name):
        grid, box = GRIDS[name], make_grid(extent=16)
        probabilities = np.stack([np.zeros(box.shape), np.ones(box.shape)]).astype(np.float32)
        labels = labels_on(grid, probabilities, box)
        inside = (np.abs(points(grid)) <= 8).all(-1)
        np.testing.assert_array_equal(labels, inside)


class TestCard:
    PIPELINES = (
        Pipeline(),
        Pipeline(Align("none"), FindBrain("none"), geometry=(), intensity=()),
        Pipeline(geometry=(Reorient("LPS"), PadOrCrop()), intensity=(ZScore(clip=None), Rescale())),
        Pipeline(geometry=(Respace((2.0, 2.0, 2.5)), CropToBrain(3, 16)), intensity=(ZScore(clip=2.5),)),
    )

    @pytest.mark.parametrize("pipeline", PIPELINES)
    def test_a_pipeline_comes_back_from_the_card(self, pipeline):
        card = pipeline.to_card()
        assert Pipeline.from_card(json.loads(json.dumps(card))) == pipeline
        assert Pipeline.from_card(card) == pipeline

    def test_the_card_says_what_is_done_in_order(self):
        assert Pipeline().to_card() == [
            {"step": "align", "method": "auto"},
            {"step": "brain", "method": "auto"},
            {"step": "reorient", "axes": "RAS"},
            {"step": "respace", "spacing_mm": (1, 1, 1)},
            {"step": "crop-to-brain", "margin": 2, "multiple": 8},
            {"step": "zscore", "clip": 5},
        ]

    def test_a_card_that_speaks_of_no_brain_takes_the_whole_image(self):
        assert Pipeline.from_card([]) == Pipeline(Align("none"), FindBrain("none"), geometry=(), intensity=())

    @pytest.mark.parametrize(
        ("step", "reason"),
        [
            ({"step": "sharpen"}, "there is no step 'sharpen'"),
            (
                {"step": "nyul", "landmarks": {"t1": [1, 2]}},
                "The landmarks of channel 't1' are not 11 rising values: (1.0, 2.0)",
            ),
            ({"step": "zscore", "over": "brain"}, "ZScore.__init__() got an unexpected keyword argument 'over'"),
            ({"step": "zscore", "clip": "5"}, "'clip' of 'zscore' cannot be '5'"),
            ({"step": "zscore", "clip": True}, "'clip' of 'zscore' cannot be True"),
            ({"step": "pad-or-crop", "shape": [8, 8]}, "'shape' of 'pad-or-crop' cannot be [8, 8]"),
            ({"step": "pad-or-crop", "shape": [8, 8, 8.5]}, "'shape' of 'pad-or-crop' cannot be [8, 8, 8.5]"),
            ({"step": "respace", "spacing_mm": [1, 1, 99]}, "A spacing of (1, 1, 99) mm cannot be used"),
            ({"step": "brain", "method": "magic"}, "There is no brain extraction 'magic'"),
        ],
    )
    def test_a_step_that_cannot_be_done_is_told(self, step, reason):
        assert says(ModelError, Pipeline.from_card, [step]) == (
            f"The model's pre-processing cannot be done: {reason}. Update TransferSeg, or get the model again."
        )
