"""Statistics of a study: patients count once, strategies are compared on what both have, tests are corrected."""

import csv
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_study import CURVES, make_study, score, scores_of
from scipy.stats import PermutationMethod, t, wilcoxon

from TransferSegLib.errors import InputError
from TransferSegLib.study.resampling import (
    Spread,
    interval,
    mean_interval,
    redrawn_means,
    resampled_means,
    training_spread,
)
from TransferSegLib.study.statistics import holm, signed_rank_p, summarise, write_summary

DICES = st.lists(st.integers(0, 100).map(lambda value: value / 100), min_size=1, max_size=12)


def of(summaries, strategy, region="whole", n=20):
    (one,) = [item for item in summaries if (item.strategy, item.region, item.n) == (strategy, region, n)]
    return one


# ------------------------------------------------------------------------------------------------------------ means


def test_a_patient_with_two_visits_counts_once():
    scores = [score("a1", 0.2, patient="a"), score("a2", 0.4, patient="a"), score("b", 0.9)]
    summary = of(summarise(scores), "all")
    assert summary.patients == 2
    assert summary.mean == pytest.approx((0.3 + 0.9) / 2)


def test_seeds_and_folds_of_a_patient_are_averaged_first():
    scores = [score("a", 0.2, seed=0), score("a", 0.4, seed=1, fold=1), score("b", 0.9, seed=0)]
    summary = of(summarise(scores), "all")
    assert (summary.patients, summary.seeds) == (2, 2)
    assert summary.mean == pytest.approx((0.3 + 0.9) / 2)


def test_the_sd_of_seeds_is_that_of_their_means():
    scores = scores_of([0.1, 0.3], seed=0) + scores_of([0.3, 0.5], seed=1) + scores_of([0.5, 0.7], seed=2)
    assert of(summarise(scores), "all").sd_seeds == pytest.approx(0.2)


def test_a_patient_whom_one_seed_lacks_does_not_look_like_a_difference_of_seeds():
    scores = scores_of([0.5, 0.9], seed=0) + scores_of([0.5], seed=1)
    assert of(summarise(scores), "all").sd_seeds == 0


def test_one_seed_has_no_sd_and_one_patient_no_interval():
    summary = of(summarise(scores_of([0.5])), "all")
    assert math.isnan(summary.sd_seeds)
    assert math.isnan(summary.low)
    assert summary.mean == 0.5


def test_nan_is_left_out():
    assert of(summarise(scores_of([0.5, math.nan, 0.7])), "all").patients == 2


def test_a_metric_that_nobody_measured_is_refused():
    with pytest.raises(InputError, match="hd95_mm"):
        summarise(scores_of([0.5]), metric="hd95_mm")


def test_summaries_are_in_order_and_the_order_of_the_scores_does_not_matter():
    scores = make_study(8, (100, 20), seeds=2)
    summaries = summarise(scores)
    assert [(item.n, item.strategy, item.region) for item in summaries] == list(
        itertools.product((20, 100), ("scratch", "last-three", "decoder", "all"), ("core", "enhancing", "whole"))
    )
    assert repr(summarise(scores[::-1])) == repr(summaries)


# --------------------------------------------------------------------------------------------------------- intervals


def test_the_interval_of_equal_values_is_a_point_and_holds_the_mean_of_others():
    assert mean_interval([0.7] * 9) == pytest.approx((0.7, 0.7))
    low, high = mean_interval([0.1, 0.2, 0.3, 0.4])
    assert 0.1 <= low < 0.25 < high <= 0.4
    assert all(math.isnan(end) for end in mean_interval([0.5]))


def test_the_interval_is_that_of_students_t_for_many_patients_with_normal_values():
    values = np.random.default_rng(0).normal(0.6, 0.1, 200)
    half = 1.972 * values.std(ddof=1) / np.sqrt(200)
    assert mean_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.002)


def test_ninety_five_percent_of_intervals_hold_the_true_mean_of_few_patients():
    random = np.random.default_rng(1)
    held = []
    for seed in range(300):
        values = random.beta(5, 2, 10)
        low, high = interval(resampled_means(values[:, None], seed, 999)[:, 0], 10)
        held.append(low <= 5 / 7 <= high)
    assert np.mean(held) > 0.9  # the plain percentile interval: 0.89


def test_all_columns_of_a_resample_see_the_same_patients():
    values = np.random.default_rng(2).random((9, 1))
    draws = resampled_means(np.hstack([values, values + 0.1, np.where(values > 0.5, np.nan, values)]))
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 0.1)
    assert np.nanmax(draws[:, 2]) <= 0.5


def test_means_that_are_redrawn_spread_as_students_t_says():
    values = np.random.default_rng(4).normal(0.6, 0.1, (8, 1))
    low, high = np.quantile(redrawn_means(values, [1], Spread(0.0, 5.0)), (0.025, 0.975))
    assert high - low == pytest.approx(2 * t.ppf(0.975, 7) * values.std(ddof=1) / np.sqrt(8), rel=0.07)


def test_means_of_more_trainings_spread_less():
    values = np.full((8, 2), 0.5)
    draws = redrawn_means(values, [1, 16], Spread(0.1, 50.0))
    assert draws.std(0) == pytest.approx([0.1, 0.025], rel=0.1)


def test_the_spread_of_trainings_is_told_from_the_noise_of_few_patients():
    patient, run = (grid.ravel() for grid in np.mgrid[:5, :5])
    found = []
    for seed in range(100):
        random = np.random.default_rng(seed)
        value = random.normal(0, 0.1, 5)[run] + random.normal(0, 1, 5)[patient] + random.normal(0, 0.3, 25)
        sd, freedom = training_spread(value, patient, run, np.zeros_like(run))
        assert freedom == 8  # four of five runs, and the four that the usual spread weighs
        found.append((sd**2 * 8 - 0.05**2 * 4) / 4)
    assert np.mean(found) == pytest.approx(0.1**2, abs=0.007)  # with the noise in it: 0.1**2 + 0.3**2 / 5


# ------------------------------------------------------------------------------------------------------- comparisons


def test_a_known_difference_gives_the_p_that_one_counts_by_hand():
    scores = scores_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], strategy="scratch")
    scores += scores_of([0.11, 0.22, 0.33, 0.44, 0.55, 0.66])
    summary = of(summarise(scores), "all")
    assert summary.pairs == 6
    assert summary.difference == pytest.approx(0.035)
    # All six differ in the same direction: 1 of 64 choices of signs, and 1 for the other direction.
    assert summary.p == pytest.approx(2 / 64)
    assert summary.p_holm == summary.p  # the only comparison


def seeds_of(shifts, patients=30, sizes=(20,)):
    """Every patient better by 0.1 and by what the seed brings."""
    values = np.linspace(0.2, 0.7, patients)
    scores = []
    for n, (seed, shift) in itertools.product(sizes, enumerate(shifts)):
        scores += scores_of(values, strategy="scratch", seed=seed, n=n)
        scores += scores_of(values + 0.1 + shift, seed=seed, n=n)
    return scores


def test_the_interval_of_a_difference_allows_for_training_again():
    steady, shaky = (of(summarise(seeds_of(shifts)), "all") for shifts in ([0.0] * 6, [-0.2, 0.2] * 3))
    assert steady.difference == pytest.approx(shaky.difference) == pytest.approx(0.1)
    assert steady.p == shaky.p < 1e-5  # of these networks
    assert 0.03 < steady.difference_low < 0.1 < steady.difference_high < 0.17
    assert shaky.difference_low < -0.05 < 0.25 < shaky.difference_high


def test_one_training_each_is_no_proof_however_many_patients():
    summary = of(summarise(seeds_of([0.0], patients=200)), "all")
    assert summary.p < 1e-5
    assert summary.difference_low < 0 < summary.difference_high


def test_other_numbers_of_training_patients_help_to_tell_how_far_training_again_moves_a_difference():
    shifts = [0.02, -0.02, 0.0]
    one, four = (of(summarise(seeds_of(shifts, sizes=sizes)), "all") for sizes in ((20,), (20, 50, 100, 150)))
    assert four.difference_low > one.difference_low + 0.01


def test_the_interval_of_a_difference_holds_the_truth_in_most_simulated_studies():
    truth = CURVES["all"][0] - CURVES["scratch"][0] + (CURVES["scratch"][1] - CURVES["all"][1]) / np.sqrt(20)
    held = []
    for seed in range(40):
        scores = make_study(20, (20,), 3, run_sd=0.06, patient_sd=0.05, regions={"whole": 0}, seed=seed)
        summary = of(summarise(scores), "all")
        held.append(summary.difference_low <= truth <= summary.difference_high)
    assert np.mean(held) >= 0.88


def test_a_metric_in_mm_has_a_spread_in_mm():
    scores = [replace(item, values={"hd95_mm": 100 * item.values["dice"]}) for item in seeds_of([0.0, 0.001, -0.001])]
    summary = of(summarise(scores, metric="hd95_mm"), "all")
    assert 1 < summary.difference_high - 10 < 10


def test_relative_improvement_is_computed_as_in_the_paper():
    core = scores_of([0.457], strategy="scratch", region="core") + scores_of([0.575], region="core")
    enhancing = scores_of([0.205], strategy="scratch", region="enhancing") + scores_of([0.623], region="enhancing")
    summaries = summarise(core + enhancing)
    assert of(summaries, "all", "enhancing").relative_percent == pytest.approx(204, abs=0.5)
    assert of(summaries, "all", "core").relative_percent == pytest.approx(25.9, abs=0.2)


def test_relative_improvement_on_a_baseline_of_zero_has_no_meaning():
    summary = of(summarise(scores_of([0.0], strategy="scratch") + scores_of([0.5])), "all")
    assert math.isnan(summary.relative_percent)
    assert summary.difference == 0.5


def test_rows_without_a_partner_are_left_out_of_the_comparison():
    pairs = scores_of([0.5] * 6, strategy="scratch") + scores_of([0.6] * 6)
    alone = [
        score("p00", 0.0, seed=7),
        score("p00", 0.0, fold=3),
        score("other", 0.0),
        score("p01", 1.0, "scratch", seed=9),
        score("p02", 0.0, n=50),
        score("p02", 1.0, "scratch", "core"),
    ]
    summary = of(summarise(pairs + alone), "all")
    assert summary.patients == 7
    assert summary.pairs == 6
    assert summary.difference == pytest.approx(0.1)


def test_a_pair_with_nan_on_one_side_is_left_out():
    scores = scores_of([0.5, math.nan, 0.5], strategy="scratch") + scores_of([0.6, 0.9, math.nan])
    summary = of(summarise(scores), "all")
    assert summary.pairs == 1
    assert summary.difference == pytest.approx(0.1)


def test_the_baseline_is_not_compared_and_neither_is_a_study_without_one():
    for summary in (
        of(summarise(scores_of([0.5], strategy="scratch")), "scratch"),
        of(summarise(scores_of([1])), "all"),
    ):
        assert summary.pairs == 0
        assert math.isnan(summary.difference)
        assert math.isnan(summary.p_holm)


def test_another_baseline_can_be_chosen():
    scores = scores_of([0.5], strategy="decoder") + scores_of([0.6])
    assert of(summarise(scores, "decoder"), "all").difference == pytest.approx(0.1)


def test_fewer_than_six_pairs_have_no_p():
    assert math.isnan(signed_rank_p([0.1] * 5))


def test_no_difference_at_all_has_p_1():
    assert signed_rank_p([0.0] * 8) == 1


@pytest.mark.parametrize(
    ("count", "digits", "how"),
    [(30, 5, {"method": "exact"}), (12, 2, {"method": PermutationMethod(n_resamples=5000)}), (150, 5, {})],
)
def test_the_p_is_that_of_scipy_with_ties_zeros_and_many_pairs(count, digits, how):
    differences = np.random.default_rng(3).normal(0.01, 0.03, count).round(digits)
    assert digits > 2 or (len(set(np.abs(differences))) < count and 0 in differences)
    expected = wilcoxon(differences, zero_method="pratt", **how).pvalue
    assert signed_rank_p(differences) == pytest.approx(expected, rel=1e-9)


def test_patients_without_a_difference_speak_against_one():
    differences = [-0.05, -0.08, 0.1, 0.2, 0.3, 0.4, 0.5]
    # Counted by hand: 5 of 128 choices of signs have a rank sum as small, with ranks 1 to 7; 9 with ranks 7 to 13.
    assert signed_rank_p(differences) == pytest.approx(10 / 128)
    assert signed_rank_p([*differences] + [0.0] * 6) == pytest.approx(18 / 128)


def test_ties_share_their_rank():
    # Ranks 1.5, 1.5, 3, 4, 5, 6; five choices of signs have a rank sum of 3 or less: {}, {1.5} twice, {1.5, 1.5}, {3}.
    assert signed_rank_p([-0.1, -0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(10 / 64)


def test_swapping_the_strategies_turns_the_difference_and_keeps_the_p():
    scores = make_study(9, (20,), seeds=1)
    there, back = of(summarise(scores, "scratch"), "all"), of(summarise(scores, "all"), "scratch")
    assert back.difference == pytest.approx(-there.difference)
    assert back.p == pytest.approx(there.p)


def test_holms_correction_as_in_the_textbook():
    assert holm([0.01, 0.04, 0.03, math.nan, 0.005]) == pytest.approx([0.03, 0.06, 0.06, math.nan, 0.02], nan_ok=True)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_a_corrected_p_is_never_below_the_plain_one_nor_out_of_order(values):
    corrected = holm(values)
    assert all(plain <= after <= 1 for plain, after in zip(values, corrected, strict=True))
    assert [after for _, after in sorted(zip(values, corrected, strict=True))] == sorted(corrected)


@settings(max_examples=30, deadline=None)
@given(DICES, DICES)
def test_the_mean_difference_is_the_difference_of_means_where_all_are_paired(first, second):
    count = min(len(first), len(second))
    summaries = summarise(scores_of(first[:count], strategy="scratch") + scores_of(second[:count]))
    mine, base = of(summaries, "all"), of(summaries, "scratch")
    assert mine.difference == pytest.approx(mine.mean - base.mean)
    if count > 1:
        assert mine.difference_low < mine.difference < mine.difference_high


def test_the_summary_is_a_table_of_all_fields(tmp_path):
    summaries = summarise(make_study(7, (20,), seeds=1))
    with open(write_summary(summaries, tmp_path / "summary.csv"), encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(summaries) == 12
    assert list(rows[0])[:7] == ["n", "strategy", "region", "metric", "patients", "seeds", "mean"]
    assert rows[0]["p_holm"] == ""
    assert float(rows[-1]["mean"]) == pytest.approx(summaries[-1].mean, rel=1e-5)
