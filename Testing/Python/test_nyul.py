"""Nyul's standardisation: by its definition, and by TorchIO's."""

import json

import nibabel as nib
import numpy as np
import pytest

from TransferSegLib.errors import InputError
from TransferSegLib.preprocess.nyul import PERCENTILES, Standardise

# With 1001 values the percentiles are values themselves, not something between two.
SHAPE = (7, 11, 13)
WHOLE = np.ones(SHAPE, bool)
BENT = tuple(100 * (np.arange(11) / 10) ** 2)


def image(seed=0, scale=1.0, shift=0.0):
    values = np.random.default_rng(seed).gamma(3, 40, SHAPE)
    return (values * scale + shift).astype(np.float32)


def cases(*seeds):
    return [(np.stack([image(seed, 1 + seed, 5 * seed), image(100 + seed)]), WHOLE) for seed in seeds]


def says(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    return str(caught.value)


class TestLearning:
    def test_of_one_image_they_are_its_percentiles_from_0_to_100(self):
        learnt = Standardise().learn(cases(3), ["t1", "flair"])
        for channel, values in zip(["t1", "flair"], cases(3)[0][0], strict=True):
            here = np.percentile(values, PERCENTILES)
            np.testing.assert_allclose(learnt.landmarks[channel], 100 * (here - here[0]) / np.ptp(here), atol=1e-9)

    def test_of_several_images_they_are_the_mean_of_each_alone(self):
        alone = [Standardise().learn(cases(seed), ["t1", "flair"]).landmarks["t1"] for seed in (1, 2, 3)]
        together = Standardise().learn(cases(1, 2, 3), ["t1", "flair"]).landmarks["t1"]
        np.testing.assert_allclose(together, np.mean(alone, 0), rtol=1e-12)

    def test_only_the_brain_counts(self):
        half = np.arange(SHAPE[2]) < 7
        brain = WHOLE & half
        spoilt = np.where(brain, image(1), 9e5).astype(np.float32)
        one = Standardise().learn([(image(1)[None], brain)], ["t1"])
        assert one == Standardise().learn([(spoilt[None], brain)], ["t1"])
        assert one != Standardise().learn([(image(1)[None], WHOLE)], ["t1"])

    def test_the_order_of_the_cases_does_not_matter_to_the_bit(self):
        channels = ["t1", "flair"]
        expected = Standardise().learn(cases(1, 2, 3, 4, 5), channels)
        assert Standardise().learn(iter(cases(4, 2, 5, 1, 3)), channels) == expected

    def test_channels_that_were_learnt_before_stay(self):
        before = Standardise({"t2": BENT})
        after = before.learn(cases(1), ["t1", "flair"])
        assert list(after.landmarks) == ["t2", "t1", "flair"]
        assert after.landmarks["t2"] == BENT
        assert list(before.landmarks) == ["t2"]

    def test_images_that_tell_nothing_are_left_out(self):
        flat, mask = np.full((1, *SHAPE), 7, np.float32), image(2)[None] > 100
        good = [(image(1)[None], WHOLE)]
        learnt = Standardise().learn([(flat, WHOLE), *good, (mask.astype(np.float32), WHOLE)], ["t1"])
        assert learnt == Standardise().learn(good, ["t1"])
        assert says(Standardise().learn, [(flat, WHOLE)], ["t1"]) == (
            "No image of channel t1 has enough different values to learn its landmarks. "
            "Give training cases with real images."
        )

    def test_what_cannot_be_learnt_from_is_told(self):
        assert "Image 1 has 2 channels, not 1." in says(Standardise().learn, cases(1), ["t1"])
        assert "There is no brain" in says(Standardise().learn, [(image()[None], ~WHOLE)], ["t1"])

    def test_it_survives_the_card(self):
        learnt = Standardise().learn(cases(1, 2), ["t1", "flair"])
        assert Standardise(json.loads(json.dumps(learnt.landmarks))) == learnt

    @pytest.mark.parametrize("values", [(), BENT[:-1], BENT[::-1], (5.0,) * 11, (*BENT[:-1], float("nan"))])
    def test_damaged_landmarks_are_told(self, values):
        assert "The landmarks of channel 't1' are not 11 rising values" in says(Standardise, {"t1": values})


class TestApplying:
    step = Standardise({"t1": BENT})

    def test_the_percentiles_go_to_the_landmarks(self):
        found = self.step.apply(image(), WHOLE, "t1")
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.percentile(found, PERCENTILES), BENT, atol=1e-4)

    def test_between_two_landmarks_the_map_is_straight(self):
        values = np.linspace(0, 1000, 1001).reshape(SHAPE).astype(np.float32)
        found = self.step.apply(values, WHOLE, "t1").ravel()
        np.testing.assert_allclose(found[[100, 125, 150, 200]], [1, 1.75, 2.5, 4], rtol=1e-5)

    @pytest.mark.parametrize("scale", [0.01, 1.0, 500.0])
    def test_images_that_differ_by_a_rising_piecewise_linear_map_end_equal(self, scale):
        values = image().astype(np.float64)
        knots = np.percentile(values, PERCENTILES)
        mapped = np.interp(values, knots, scale * (np.sqrt(np.arange(11)) + 0.3))
        inside = (values >= knots[0]) & (values <= knots[-1])  # beyond them np.interp is level
        one, other = (self.step.apply(array, WHOLE, "t1") for array in (values, mapped))
        np.testing.assert_allclose(one[inside], other[inside], atol=1e-4)

    def test_brightness_and_contrast_of_the_scanner_do_not_matter(self):
        one, other = (self.step.apply(array, WHOLE, "t1") for array in (image(), image(0, 37, -900)))
        np.testing.assert_allclose(one, other, atol=2e-3)

    def test_the_tails_go_on_straight_but_not_far(self):
        values = np.linspace(0, 1000, 1001).reshape(SHAPE).astype(np.float32)
        values.flat[[0, 1000]] = [-1e6, 1e6]
        found = self.step.apply(values, WHOLE, "t1").ravel()
        assert found[5] == pytest.approx(-5 / 90, rel=1e-4)
        assert found[995] == pytest.approx(100 + 5 * 19 / 90, rel=1e-4)
        assert found[[0, 1000]].tolist() == [-50, 150]

    def test_outside_of_the_brain_the_same_map_is_used(self):
        brain = WHOLE & (np.arange(SHAPE[2]) < 7)
        found = self.step.apply(image(), brain, "t1")
        order = np.argsort(image().ravel())
        assert (np.diff(found.ravel()[order]) >= 0).all()
        np.testing.assert_allclose(np.percentile(found[brain], 50), BENT[5], atol=1e-3)

    def test_an_image_of_few_values_stays_in_order(self):
        values = (np.arange(1001).reshape(SHAPE) // 400).astype(np.float32)  # 0, 1, 2, each many times
        found = self.step.apply(values, WHOLE, "t1")
        levels = [np.unique(found[values == level]) for level in range(3)]
        assert [level.size for level in levels] == [1, 1, 1]
        # Each value stands where, on average, the landmarks are that fall on it.
        np.testing.assert_allclose(np.ravel(levels), [np.mean(BENT[:4]), np.mean(BENT[4:8]), np.mean(BENT[8:])])

    @pytest.mark.parametrize("value", [0, -3, 1e6])
    def test_an_image_of_one_value_becomes_the_middle_landmark(self, value):
        found = self.step.apply(np.full(SHAPE, value, np.float32), WHOLE, "t1")
        np.testing.assert_array_equal(found, np.float32(BENT[5]))

    def test_a_channel_that_was_not_learnt_is_told(self):
        assert says(self.step.apply, image(), WHOLE, "flair") == (
            "There are no landmarks of channel 'flair' to standardise with; there are: t1. "
            "Learn them from the training cases, or leave the standardisation out."
        )
        assert "there are: none." in says(Standardise().apply, image(), WHOLE, "t1")

    def test_an_empty_brain_is_told(self):
        assert "There is no brain" in says(self.step.apply, image(), ~WHOLE, "t1")


class TestAgainstTorchIO:
    """TorchIO computes quartiles too but does not use them. Its tails have no limit."""

    used = (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12)

    def test_learns_and_does_the_same(self, tmp_path):
        tio = pytest.importorskip("torchio")
        brain = image(50) > 60
        paths, images = [], [image(seed, 1 + seed, 5 * seed) for seed in range(4)]
        for number, values in enumerate(images):
            paths.append(tmp_path / f"{number}.nii")
            nib.save(nib.Nifti1Image(values, np.eye(4)), paths[-1])
        nib.save(nib.Nifti1Image(brain.astype(np.uint8), np.eye(4)), tmp_path / "mask.nii")
        theirs = tio.HistogramStandardization.train(paths, mask_path=tmp_path / "mask.nii", progress=False)
        ours = Standardise().learn([(values[None], brain) for values in images], ["t1"])
        np.testing.assert_allclose(ours.landmarks["t1"], theirs[list(self.used)], atol=1e-4)

        subject = tio.Subject(t1=tio.ScalarImage(paths[2]), brain=tio.LabelMap(tmp_path / "mask.nii"))
        expected = tio.HistogramStandardization({"t1": theirs}, masking_method="brain")(subject).t1.numpy()[0]
        np.testing.assert_allclose(ours.apply(images[2], brain, "t1"), np.clip(expected, -50, 150), atol=1e-3)
