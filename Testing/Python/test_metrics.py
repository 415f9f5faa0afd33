"""Metrics of one case: closed forms first, then other libraries as oracles."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from TransferSegLib.errors import InputError
from TransferSegLib.labels import GLIOMA, LESION, LabelScheme
from TransferSegLib.metrics import (
    HD95_PENALTY_MM,
    LesionScore,
    ProbabilityHistogram,
    count_lesions,
    dice,
    hausdorff95,
    label_lesions,
    lesion_detection,
    pr_auc,
    reported_labels,
    roc_auc,
    score_case,
    sensitivity,
    specificity,
    volume_difference,
)

MM = (1.0, 1.0, 1.0)
EMPTY = np.zeros((12, 12, 12), bool)


def box(*sides, shape=(12, 12, 12)):
    """A mask that is true from start to stop along each axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def ball(centre, radius, shape=(40, 40, 40)):
    grid = np.indices(shape)
    return sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) <= radius**2


CUBE = box((2, 6), (2, 6), (2, 6))
SHIFTED = box((4, 8), (2, 6), (2, 6))  # half of it overlaps CUBE
INSIDE = box((2, 4), (2, 6), (2, 6))  # half of CUBE


# ------------------------------------------------------------------------------------------------ overlap and volume


def test_overlap_of_cubes_by_hand():
    assert dice(CUBE, CUBE) == 1
    assert dice(SHIFTED, CUBE) == 0.5
    assert dice(INSIDE, CUBE) == pytest.approx(2 / 3)
    assert sensitivity(INSIDE, CUBE) == 0.5
    assert sensitivity(CUBE, INSIDE) == 1
    assert specificity(INSIDE, CUBE) == 1
    assert specificity(CUBE, INSIDE) == pytest.approx(1 - 32 / (12**3 - 32))


def test_empty_masks_follow_the_stated_rules():
    assert dice(EMPTY, EMPTY) == 1
    assert dice(EMPTY, CUBE) == dice(CUBE, EMPTY) == 0
    assert math.isnan(sensitivity(CUBE, EMPTY))
    assert math.isnan(sensitivity(EMPTY, EMPTY))
    assert sensitivity(EMPTY, CUBE) == 0
    assert specificity(EMPTY, EMPTY) == 1
    assert math.isnan(specificity(CUBE, ~EMPTY))
    assert hausdorff95(EMPTY, EMPTY, MM) == 0
    assert hausdorff95(EMPTY, CUBE, MM) == hausdorff95(CUBE, EMPTY, MM) == HD95_PENALTY_MM


def test_the_penalty_is_the_diagonal_of_the_brats_grid():
    assert round(math.dist((0, 0, 0), (240, 240, 155)), 2) == HD95_PENALTY_MM


def test_volume_difference_is_signed_and_relative_to_the_reference():
    assert volume_difference(INSIDE, CUBE, 0.002) == (pytest.approx(-0.064), -50)
    assert volume_difference(CUBE, INSIDE, 0.002) == (pytest.approx(0.064), 100)
    assert volume_difference(EMPTY, EMPTY, 0.002) == (0, 0)
    assert volume_difference(EMPTY, CUBE, 0.002) == (pytest.approx(-0.128), -100)
    ml, percent = volume_difference(CUBE, EMPTY, 0.002)
    assert ml == pytest.approx(0.128)
    assert math.isnan(percent)


def test_dice_of_shifted_spheres_is_that_of_the_lens():
    radius, shift = 14, 6
    found = dice(ball((20, 20, 17), radius), ball((20, 20, 17 + shift), radius))
    assert found == pytest.approx(1 - 1.5 * (shift / 2 / radius) + 0.5 * (shift / 2 / radius) ** 3, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_dice_agrees_with_monai(seed, first, second):
    import torch
    from monai.metrics import DiceMetric

    random = np.random.default_rng(seed)
    predicted, reference = random.random((4, 5, 3)) < first, random.random((4, 5, 3)) < second
    oracle = DiceMetric(ignore_empty=False)
    oracle(*(torch.from_numpy(mask.astype(np.float32))[None, None] for mask in (predicted, reference)))
    assert dice(predicted, reference) == pytest.approx(oracle.aggregate().item(), abs=1e-6)
    assert dice(predicted, reference) == dice(reference, predicted)


# --------------------------------------------------------------------------------------------------------- Hausdorff


def test_hausdorff_of_parallel_plates_is_their_distance_in_mm():
    plate, other = box((3, 4), (0, 12), (0, 12)), box((8, 9), (0, 12), (0, 12))
    assert hausdorff95(plate, other, MM) == 5
    assert hausdorff95(plate, other, (2.5, 1, 1)) == 12.5
    assert hausdorff95(plate, other, (1, 9, 9)) == 5
    assert hausdorff95(plate, plate, MM) == 0


def test_hausdorff_leaves_out_the_farthest_five_percent():
    line = box((0, 100), (5, 6), (5, 6), shape=(100, 30, 12))
    few, many = line.copy(), line.copy()
    few[:4, 5, 5], few[:4, 25, 5] = False, True  # 4 of 100 voxels lie 20 mm off
    many[:8, 5, 5], many[:8, 25, 5] = False, True
    assert hausdorff95(few, line, MM) < 5
    assert hausdorff95(many, line, MM) == pytest.approx(20, abs=0.1)


def test_concentric_spheres_are_their_difference_of_radius_apart():
    assert hausdorff95(ball((20, 20, 20), 15), ball((20, 20, 20), 10), MM) == pytest.approx(5, abs=0.5)


def surface(mask):
    """Voxels with a face neighbour outside, the outside of the image counts as outside."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in range(3):
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return np.argwhere((padded & ~inner)[1:-1, 1:-1, 1:-1])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.floats(0.5, 4)] * 3))
def test_hausdorff_agrees_with_brute_force(seed, spacing):
    random = np.random.default_rng(seed)
    predicted, reference = (random.random((6, 7, 5)) < share for share in random.uniform(0.05, 0.95, 2))
    if not predicted.any() or not reference.any():
        return
    distances = cdist(surface(predicted) * spacing, surface(reference) * spacing)
    expected = max(np.quantile(distances.min(axis), 0.95) for axis in (0, 1))
    assert hausdorff95(predicted, reference, spacing) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_hausdorff_does_not_depend_on_the_background_around():
    predicted, reference = ball((9, 9, 9), 6, (20, 20, 20)), ball((11, 9, 10), 7, (20, 20, 20))
    around = [(30, 0), (2, 40), (7, 7)]
    assert hausdorff95(np.pad(predicted, around), np.pad(reference, around), (1, 2, 3)) == hausdorff95(
        predicted, reference, (1, 2, 3)
    )


@pytest.mark.filterwarnings("error")
def test_hausdorff_warns_of_nothing():
    hausdorff95(CUBE, SHIFTED, MM)
    hausdorff95(CUBE, EMPTY, MM)


# ------------------------------------------------------------------------------------------------------------ curves


def voxels(kind, count=60_000, seed=0):
    """Probabilities and a mask of 5 % of the voxels."""
    random = np.random.default_rng(seed)
    inside = random.random(count) < 0.05
    noise = random.normal(0, 1, count)
    if kind == "unsure":
        return np.clip(0.3 + 0.15 * noise + 0.2 * inside, 0, 1), inside
    if kind == "sure":  # most are within 1e-3 of 0 or 1, as those of a trained network
        return (1 / (1 + np.exp(12 - 4 * noise - 22 * inside))).astype(np.float32), inside
    if kind == "tied":
        return np.round(np.clip(0.3 + 0.15 * noise + 0.2 * inside, 0, 1), 1), inside
    return (noise + 2 * inside > 1.5).astype(np.float32), inside  # a label map


@pytest.mark.parametrize("kind", ["unsure", "sure", "tied", "labels"])
def test_areas_agree_with_scikit_learn(kind):
    from sklearn.metrics import average_precision_score, roc_auc_score

    probability, inside = voxels(kind)
    tolerance = 1e-12 if kind in ("tied", "labels") else 1e-3
    assert pr_auc(probability, inside) == pytest.approx(average_precision_score(inside, probability), abs=tolerance)
    assert roc_auc(probability, inside) == pytest.approx(roc_auc_score(inside, probability), abs=tolerance)


def test_areas_by_hand():
    # From the highest: in, out, in. Precision 1 at recall 1/2, 2/3 at recall 1.
    assert pr_auc([0.9, 0.5, 0.2], [1, 0, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert roc_auc([0.9, 0.5, 0.2], [1, 0, 1]) == 0.5
    assert pr_auc([0.5, 0.5], [1, 0]) == 0.5
    assert roc_auc([0.5, 0.5], [1, 0]) == 0.5
    assert pr_auc([0.0, 1.0], [0, 1]) == roc_auc([0.0, 1.0], [0, 1]) == 1


def test_the_last_steps_below_one_are_told_apart():
    almost = np.nextafter(np.float32(1), np.float32(0))
    assert roc_auc(np.array([1, almost], np.float32), [1, 0]) == 1
    assert roc_auc(np.array([1, almost], np.float32), [0, 1]) == 0


def test_areas_are_nan_when_there_is_one_class_only():
    assert math.isnan(pr_auc([0.1, 0.9], [0, 0]))
    assert math.isnan(roc_auc([0.1, 0.9], [0, 0]))
    assert math.isnan(roc_auc([0.1, 0.9], [1, 1]))
    assert pr_auc([0.1, 0.9], [1, 1]) == 1
    assert math.isnan(ProbabilityHistogram().pr_auc())
    assert math.isnan(pr_auc([0.5, 0.5], [1, 0], mask=[0, 0]))


def test_only_voxels_of_the_mask_count():
    probability, inside = voxels("unsure")
    brain = np.random.default_rng(1).random(probability.size) < 0.5
    assert pr_auc(probability, inside, brain) == pr_auc(probability[brain], inside[brain])
    assert pr_auc(probability, inside, brain) != pr_auc(probability, inside)


def test_cases_are_pooled_by_adding_and_by_merging():
    parts = [voxels("sure", 5000, seed) for seed in (1, 2)]
    together = [np.concatenate(column) for column in zip(*parts, strict=True)]
    added, merged = ProbabilityHistogram(), ProbabilityHistogram()
    for probability, inside in parts:
        added.add(probability, inside)
        one = ProbabilityHistogram()
        one.add(probability.reshape(50, 100), inside.reshape(50, 100))
        merged.merge(one)
    assert added.pr_auc() == merged.pr_auc() == pr_auc(*together)
    assert added.roc_auc() == merged.roc_auc() == roc_auc(*together)


def test_curves_end_where_they_must():
    histogram = ProbabilityHistogram()
    histogram.add([0.9, 0.5, 0.2, 0.1], [1, 0, 1, 0])
    recall, precision = histogram.pr_curve()
    assert recall.tolist() == [0.5, 0.5, 1, 1]
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    false, true = histogram.roc_curve()
    assert false.tolist() == [0, 0, 0.5, 0.5, 1]
    assert true.tolist() == [0, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize(("values", "told"), [([0.2, 1.5], "0.2 to 1.5"), ([-1, 1], "-1 to 1"), ([0, math.nan], "nan")])
def test_what_is_no_probability_is_refused(values, told):
    with pytest.raises(InputError, match=f"Probabilities go from .*{told}"):
        pr_auc(values, [0, 1])


def test_a_rounding_error_above_one_is_no_matter():
    assert pr_auc(np.array([1.0000002, -1e-8], np.float32), [1, 0]) == 1


# ----------------------------------------------------------------------------------------------------------- lesions


def dots(*centres, size=2):
    mask = np.zeros((30, 30, 30), bool)
    for i, j, k in centres:
        mask[i : i + size, j : j + size, k : k + size] = True
    return mask


def test_lesions_found_missed_and_invented():
    reference = dots((2, 2, 2), (10, 10, 10), (20, 20, 20))
    predicted = dots((3, 3, 3), (10, 10, 10), (2, 20, 20), (20, 2, 2))  # a corner, a hit, two false alarms
    score = lesion_detection(predicted, reference, 0.001)
    assert score == LesionScore(reference=3, predicted=4, found=2, correct=2)
    assert score.recall == pytest.approx(2 / 3)
    assert score.precision == 0.5
    assert score.f1 == pytest.approx(2 * 2 / 3 * 0.5 / (2 / 3 + 0.5))


def test_one_predicted_lesion_over_two_finds_both():
    score = lesion_detection(
        box((0, 12), (0, 4), (0, 4)), box((0, 3), (0, 4), (0, 4)) | box((8, 12), (0, 4), (0, 4)), 1
    )
    assert score == LesionScore(reference=2, predicted=1, found=2, correct=1)


def test_lesions_without_lesions():
    nothing, something = lesion_detection(EMPTY, EMPTY, 1), CUBE
    assert (nothing.precision, nothing.recall, nothing.f1) == (1, 1, 1)
    missed, invented = lesion_detection(EMPTY, something, 1), lesion_detection(something, EMPTY, 1)
    assert math.isnan(missed.precision)
    assert (missed.recall, missed.f1) == (0, 0)
    assert math.isnan(invented.recall)
    assert (invented.precision, invented.f1) == (0, 0)
    apart = lesion_detection(dots((2, 2, 2)), dots((20, 20, 20)), 1)
    assert (apart.precision, apart.recall, apart.f1) == (0, 0, 0)


def test_specks_are_erased_from_both_masks_first():
    large, speck = dots((2, 2, 2)), dots((20, 20, 20), size=1)
    assert lesion_detection(large | speck, large, 0.001) == LesionScore(1, 1, 1, 1)
    assert lesion_detection(large, large | speck, 0.001) == LesionScore(1, 1, 1, 1)
    assert lesion_detection(large | speck, large, 0.001, min_ml=0) == LesionScore(1, 2, 1, 1)
    assert lesion_detection(large, large, 0.001, min_ml=0.008) == LesionScore(1, 1, 1, 1)
    assert lesion_detection(large, large, 0.001, min_ml=0.009).f1 == 1
    # A speck inside a lesion of the other mask finds nothing.
    assert lesion_detection(dots((2, 2, 2), size=1), large, 0.001) == LesionScore(1, 0, 0, 0)


def test_three_cubic_millimetres_are_three_voxels_of_one():
    three = box((2, 5), (2, 3), (2, 3))
    assert lesion_detection(three, three, 0.001).reference == 1
    assert lesion_detection(three, three, 0.001 * (1 - 1e-9)).reference == 1
    two = box((2, 4), (2, 3), (2, 3))
    assert lesion_detection(two, two, 0.001).reference == 0


def test_lesions_that_touch_at_a_corner_are_one():
    assert count_lesions(dots((4, 4, 4), (6, 6, 6))) == 1
    assert count_lesions(dots((4, 4, 4), (7, 6, 6))) == 2
    assert count_lesions(EMPTY) == 0
    assert count_lesions(dots((4, 4, 4)) | dots((9, 9, 9), size=1), min_voxels=8) == 1


def test_lesions_are_numbered_without_gaps():
    mask = dots((20, 20, 20), (10, 2, 2)) | dots((2, 2, 2), size=1)
    labelled, count = label_lesions(mask, min_voxels=2)
    assert count == 2
    assert np.unique(labelled).tolist() == [0, 1, 2]
    assert labelled.shape == mask.shape
    assert np.array_equal(labelled > 0, dots((20, 20, 20), (10, 2, 2)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.4), st.floats(0, 0.4))
def test_lesion_scores_swap_with_the_masks(seed, first, second):
    random = np.random.default_rng(seed)
    one, two = random.random((6, 6, 6)) < first, random.random((6, 6, 6)) < second
    forth, back = lesion_detection(one, two, 1), lesion_detection(two, one, 1)
    assert (forth.reference, forth.found) == (back.predicted, back.correct)
    assert forth.f1 == pytest.approx(back.f1)
    assert (forth.f1 > 0) == bool((one & two).any() or not (one.any() or two.any()))


# ------------------------------------------------------------------------------------------------------- a whole case


def test_regions_come_first_then_the_classes_that_are_none():
    assert reported_labels(GLIOMA) == {
        "whole": (1, 2, 3),
        "core": (1, 3),
        "enhancing": (3,),
        "necrotic": (1,),
        "edema": (2,),
    }
    assert reported_labels(LESION) == {"lesion": (1,)}
    assert reported_labels(LabelScheme.from_names("x", {"bg": 0, "a": 1, "b": 2}, {"all_a": ["a"]})) == {
        "all_a": (1,),
        "b": (2,),
    }


def test_a_glioma_case_by_hand():
    reference = np.zeros((12, 12, 12), np.uint8)
    reference[2:10, 2:10, 2:10] = 2
    reference[4:8, 4:8, 4:8] = 3
    predicted = reference.copy()
    predicted[4:8, 4:8, 4:6] = 1  # half of the enhancing tumour is called necrotic
    scores = score_case(predicted, reference, GLIOMA, (1, 1, 2))
    assert list(scores) == ["whole", "core", "enhancing", "necrotic", "edema"]
    assert [scores[region]["dice"] for region in scores] == pytest.approx([1, 1, 2 / 3, 0, 1])
    assert scores["whole"]["volume_ml"] == pytest.approx(8**3 * 2 / 1000)
    assert scores["enhancing"]["reference_ml"] == pytest.approx(0.128)
    assert scores["enhancing"]["volume_difference_ml"] == pytest.approx(-0.064)
    assert scores["enhancing"]["volume_difference_percent"] == -50
    assert scores["enhancing"]["hd95_mm"] == 4  # two voxels of 2 mm
    assert scores["necrotic"]["hd95_mm"] == HD95_PENALTY_MM
    assert math.isnan(scores["necrotic"]["sensitivity"])
    assert list(scores["whole"]) == [
        "dice",
        "sensitivity",
        "specificity",
        "hd95_mm",
        "volume_ml",
        "reference_ml",
        "volume_difference_ml",
        "volume_difference_percent",
    ]


def test_a_lesion_case_is_scored_lesion_by_lesion_too():
    predicted = dots((2, 2, 2), (2, 20, 2), (20, 2, 2), (2, 2, 20))
    reference = dots((2, 2, 2), (20, 20, 20))
    scores = score_case(predicted.astype(np.uint8), reference.astype(np.uint8), LESION, MM)["lesion"]
    assert {name: value for name, value in scores.items() if name.startswith("lesion_")} == {
        "lesion_precision": 0.25,
        "lesion_recall": 0.5,
        "lesion_f1": pytest.approx(1 / 3),
        "lesion_count": 4,
        "lesion_reference_count": 2,
        "lesion_found_count": 1,
        "lesion_false_count": 3,
    }
    assert "lesion_f1" not in score_case(predicted * 1, reference * 1, LESION, MM, lesions=False)["lesion"]
    assert "lesion_f1" in score_case(predicted * 1, reference * 1, GLIOMA, MM, lesions=True)["core"]


def test_the_volume_of_a_voxel_may_be_given():
    labels = CUBE.astype(np.uint8)
    assert score_case(labels, labels, LESION, MM, voxel_ml=0.5)["lesion"]["volume_ml"] == 32


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: dice(a, b),
        lambda a, b: sensitivity(a, b),
        lambda a, b: specificity(a, b),
        lambda a, b: volume_difference(a, b, 1),
        lambda a, b: hausdorff95(a, b, MM),
        lambda a, b: lesion_detection(a, b, 1),
        lambda a, b: score_case(a, b, LESION, MM),
    ],
)
def test_different_shapes_are_refused(call):
    with pytest.raises(InputError) as caught:
        call(np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 1), np.uint8))
    assert caught.value.cause == "The prediction has the shape (3, 4, 5), the reference (3, 4, 1)."
    assert caught.value.remedy == "Bring both onto one grid first."


def test_probabilities_and_masks_of_different_shapes_are_refused():
    for arguments in (([0.5], [1, 0]), ([0.5, 0.5], [1, 0], [1])):
        with pytest.raises(InputError, match=r"The probabilities have the shape \(\d,\), the mask \(\d,\)\."):
            pr_auc(*arguments)


def test_codes_of_a_file_are_not_taken_for_labels():
    codes = CUBE * 4
    with pytest.raises(InputError) as caught:
        score_case(codes, CUBE * 1, GLIOMA, MM)
    assert str(caught.value) == (
        "Labels go from 0 to 4; the scheme 'glioma' has 0 to 3. "
        "Turn the codes of a file into internal labels first, with LabelScheme.encode."
    )
