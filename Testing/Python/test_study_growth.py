"""Learning curves: the law is found again, the interval holds the truth, and too little is said to be too little."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_study import score
from scipy.optimize import least_squares

from TransferSegLib.study.growth import Growth, NotEnough, fit_growth, fit_law

SIZES = (5, 10, 20, 40)


def truth(n, a=0.85, b=1.5, c=0.5):
    return a - b * n**-c


def study(curve=truth, sizes=SIZES, patients=40, seeds=3, folds=1, run_sd=0.03, patient_sd=0.12, noise=0.04, seed=0):
    """Scores of one strategy and region; with folds each patient is tested by one network of each seed."""
    random = np.random.default_rng(seed)
    level = random.normal(0, patient_sd, patients)
    scores = []
    for run in range(seeds):
        fold = random.permutation(patients) % folds
        for n in sizes:
            dice = curve(n) + level + random.normal(0, run_sd, folds)[fold] + random.normal(0, noise, patients)
            scores += [score(f"p{i}", float(dice[i]), n=n, seed=run, fold=int(fold[i])) for i in range(patients)]
    return scores


def exact(curve=truth, sizes=SIZES, patients=10):
    return study(curve, sizes, patients, run_sd=0, patient_sd=0, noise=0)


# ------------------------------------------------------------------------------------------------------------ the law


@pytest.mark.parametrize(("a", "b", "c"), [(0.85, 1.5, 0.5), (1.0, 0.9, 0.2), (0.6, 2.0, 1.3)])
def test_a_power_law_is_found_again(a, b, c):
    sizes = (5, 10, 20, 40, 80)
    curve = fit_law("power", sizes, np.array([[a - b * n**-c for n in sizes]]))
    for n in (5, 40, 160):
        assert curve.at(n)[0] == pytest.approx(a - b * n**-c, abs=0.003)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_no_other_curve_within_the_bounds_fits_better(means):
    curve = fit_law("power", SIZES, np.array([means]))
    assert 0 <= curve.a[0] <= 1
    assert curve.b[0] >= 0
    assert 0.05 <= curve.shape[0] <= 2

    def errors(values):
        return values[0] - values[1] * np.array(SIZES, float) ** -values[2] - means

    found = [
        least_squares(errors, start, bounds=([0, 0, 0.05], [1, np.inf, 2]))
        for start in ([0.5, 0.5, 0.1], [0.9, 1.0, 0.5], [0.5, 1.0, 1.5])
    ]
    mine = 0.5 * (errors([curve.a[0], curve.b[0], curve.shape[0]]) ** 2).sum()
    assert mine <= min(one.cost for one in found) + 1e-4  # the exponents that are tried are 3 % apart


def test_falling_means_give_a_flat_curve():
    curve = fit_law("power", SIZES, np.array([[0.8, 0.7, 0.6, 0.5]]))
    assert curve.at(5)[0] == pytest.approx(0.65)
    assert curve.at(500)[0] == pytest.approx(0.65)


def test_the_exponential_law_is_found_again():
    curve = fit_law("exponential", SIZES, np.array([[0.8 - 0.5 * math.exp(-n / 12) for n in SIZES]]))
    assert curve.at(80)[0] == pytest.approx(0.8, abs=0.005)


# ----------------------------------------------------------------------------------------------------- the prediction


def test_a_prediction_without_noise_is_the_truth():
    growth = fit_growth(exact(), "all")
    assert isinstance(growth, Growth)
    assert growth.means == pytest.approx([truth(n) for n in SIZES])
    assert growth.predict(80).value == pytest.approx(truth(80), abs=0.003)
    assert growth.gain(80).value == pytest.approx(truth(80) - truth(40), abs=0.003)
    assert growth.gain(40) == pytest.approx((0, 0, 0))


def test_intervals_hold_the_value_and_widen_with_the_distance():
    growth = fit_growth(study(), "all")
    widths = []
    for n in (40, 60, 80, 160):
        value, low, high = growth.predict(n)
        assert 0 <= low <= value <= high <= 1
        widths.append(high - low)
    assert widths == sorted(widths)


def test_the_same_scores_in_any_order_give_the_same_numbers_and_another_seed_others():
    scores = study()
    one, two = (fit_growth(given, "all").predict(80) for given in (scores, scores[::-1]))
    assert one == two
    other = fit_growth(scores, "all", seed=1).predict(80)
    assert other != one
    assert other == pytest.approx(one, abs=0.02)


@pytest.mark.parametrize(
    "options", [{}, {"curve": lambda n: 0.75 - 0.5 * math.exp(-n / 12)}, {"curve": lambda n: 0.7}, {"folds": 4}]
)
def test_the_interval_holds_the_truth_in_most_simulated_studies(options):
    curve = options.get("curve", truth)
    held = []
    for seed in range(25):
        growth = fit_growth(study(**options, seed=seed), "all")
        predicted, gain = growth.predict(80), growth.gain(80)
        held += [predicted.low <= curve(80) <= predicted.high, gain.low - 1e-9 <= curve(80) - curve(40) <= gain.high]
    assert np.mean(held) >= 0.88


def test_the_spread_of_trainings_is_found_and_widens_the_interval():
    calm = fit_growth(study(run_sd=0.0, seeds=6), "all")
    wild = fit_growth(study(run_sd=0.15, seeds=6), "all")
    assert calm.sd_run < 0.03
    assert 0.1 < wild.sd_run < 0.2
    widths = [one.predict(40).high - one.predict(40).low for one in (calm, wild)]
    assert widths[1] > 1.5 * widths[0]


def test_the_spread_of_trainings_is_found_from_folds_too():
    assert 0.08 < fit_growth(study(run_sd=0.15, seeds=2, folds=5), "all").sd_run < 0.22


def test_without_a_second_training_the_usual_spread_is_taken():
    assert fit_growth(study(run_sd=0.0, seeds=1), "all").sd_run == pytest.approx(0.05)


def test_more_patients_narrow_the_interval():
    few, many = (fit_growth(study(patients=count), "all").predict(40) for count in (10, 160))
    assert many.high - many.low < few.high - few.low


def test_regions_and_visits_of_a_patient_are_averaged():
    scores = []
    for n in SIZES:
        for patient in range(8):
            scores += [score(f"p{patient}a", 0.2, region="core", n=n, patient=f"p{patient}")]
            scores += [score(f"p{patient}b", 0.6, region="whole", n=n, patient=f"p{patient}")]
    assert fit_growth(scores, "all").means == pytest.approx([0.4] * 4)
    assert fit_growth(scores, "all", region="core").means == pytest.approx([0.2] * 4)


def test_a_patient_whom_one_size_lacks_is_left_out():
    scores = [*exact(), score("easy", 1.0, n=5)]
    growth = fit_growth(scores, "all")
    assert growth.patients == 10
    assert growth.means[0] == pytest.approx(truth(5))


# ---------------------------------------------------------------------------------------------------------- not enough


def test_two_sizes_are_not_enough():
    result = fit_growth(study(sizes=(5, 10)), "all")
    assert isinstance(result, NotEnough)
    assert "at least 3 different numbers of training patients, not 2" in result.reason


def test_seven_patients_are_not_enough():
    result = fit_growth(study(patients=7), "all")
    assert isinstance(result, NotEnough)
    assert "at least 8 patients that were tested" in result.reason
    assert "not 7" in result.reason


def test_a_strategy_that_nobody_ran_is_not_enough():
    assert isinstance(fit_growth(study(), "decoder"), NotEnough)


def test_a_wide_interval_is_no_prediction():
    growth = fit_growth(study(patients=8, patient_sd=0.3, seeds=1), "all")
    assert "could be anything from" in growth.doubt(80).reason


def test_a_gain_that_could_be_nothing_or_a_lot_is_not_told():
    growth = fit_growth(study(curve=lambda n: 0.75 - 0.3 * n**-0.5, run_sd=0.05, seeds=2, patient_sd=0.05), "all")
    assert "could be nothing, or up to" in growth.doubt(80).reason


def test_a_gain_that_is_sure_is_told():
    growth = fit_growth(study(patients=80, seeds=8, run_sd=0.01, patient_sd=0.05), "all")
    assert growth.doubt(80) is None
    assert growth.gain(80).low > 0


def test_a_curve_that_has_surely_levelled_off_is_told():
    growth = fit_growth(study(curve=lambda n: 0.7, patients=80, seeds=8, run_sd=0.005, patient_sd=0.05), "all")
    assert growth.doubt(60) is None
    assert growth.gain(60).high < 0.02
