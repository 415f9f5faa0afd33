"""Advice: the best strategy is named, with as much certainty as there is, in words that say what the numbers say."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_study import make_study, score, scores_of

from TransferSegLib.errors import InputError
from TransferSegLib.study.advice import Difference, advise
from TransferSegLib.study.sentences import describe

ONE_REGION = {"whole": 0.0}
SAME = dict.fromkeys(("scratch", "last-three", "decoder", "all"), (0.7, 1.0))


def leading(lead=0.15, patients=30, seeds=4, **options):
    """Two strategies, 'all' ahead by ``lead``."""
    curves = {"scratch": (0.5, 0.0), "all": (0.5 + lead, 0.0)}
    return make_study(patients, (20,), seeds, curves, regions=ONE_REGION, **options)


# ---------------------------------------------------------------------------------------------------------- the verdict


def test_a_large_lead_on_many_patients_is_clear():
    advice = advise(leading())
    assert (advice.strategy, advice.verdict, advice.transfer) == ("all", "clear", "helped")
    assert (advice.n, advice.patients, advice.seeds) == (20, 30, 4)
    assert advice.probability > 0.99
    assert advice.differences[0].other == "scratch"
    assert 0.05 < advice.differences[0].low < 0.15 < advice.differences[0].high < 0.25
    assert (
        advice.sentences[0]
        == "Use the strategy 'all': it was the best on 30 patients, and by more than chance explains."
    )


def test_a_small_lead_is_a_leaning():
    advice = advise(leading(0.06, seeds=3, run_sd=0.03))
    assert advice.verdict == "lean"
    assert 0.8 <= advice.probability < 0.99
    assert advice.differences[0].low < 0
    assert "Its lead could still be chance." in advice.sentences[0]


def test_equal_strategies_cannot_be_told_apart():
    advice = advise(make_study(20, (20,), 2, SAME))
    assert advice.verdict == advice.transfer == "cannot tell"
    assert advice.probability < 0.8
    assert "cannot be told" in advice.sentences[0]


def test_five_patients_are_always_too_few():
    advice = advise(leading(0.5, patients=5, run_sd=0, noise_sd=0, patient_sd=0))
    assert advice.strategy == "all"
    assert advice.verdict == advice.transfer == "cannot tell"
    assert advice.sentences[0].startswith("5 patients are too few to tell")


def test_one_patient_has_no_interval():
    advice = advise(leading(patients=1))
    assert math.isnan(advice.differences[0].low)
    assert math.isnan(advice.probability)
    assert advice.verdict == "cannot tell"
    assert advice.to_dict()["probability"] is None


def test_a_lead_of_one_training_each_is_not_clear():
    advice = advise(leading(0.1, patients=100, seeds=1, run_sd=0))
    assert advice.verdict != "clear"
    assert any("done once only" in sentence for sentence in advice.sentences)


def test_trainings_that_come_out_differently_take_the_certainty():
    calm, shaky = (advise(leading(0.12, run_sd=sd)).differences[0] for sd in (0.0, 0.2))
    assert shaky.high - shaky.low > 3 * (calm.high - calm.low)


@pytest.mark.parametrize("count", [2, 4])
def test_the_interval_is_as_wide_as_the_trainings_spread(count):
    random = np.random.default_rng(0)
    names = ("scratch", "all", "decoder", "norm")[:count]
    scores = []
    for seed in range(40):
        for name in names:
            scores += scores_of(np.full(8, 0.5 + random.normal(0, 0.1)), strategy=name, seed=seed)
    difference = advise(scores).differences[0]
    expected = 2 * 1.96 * 0.1 * math.sqrt(2 / 40)
    assert difference.high - difference.low == pytest.approx(expected, rel=0.2)


def test_all_others_must_be_left_behind_not_only_the_second():
    random = np.random.default_rng(0)
    steady, wild = np.full(12, 0.60), np.clip(0.59 + random.normal(0, 0.3, 12), 0, 1)
    scores = []
    for seed in range(8):
        scores += scores_of(steady + 0.1, strategy="all", seed=seed) + scores_of(steady, strategy="decoder", seed=seed)
        scores += scores_of(wild, strategy="norm", seed=seed)
    advice = advise(scores)
    lows = {one.other: one.low for one in advice.differences}
    assert lows["decoder"] > 0 > lows["norm"]
    assert advice.verdict == "lean"


def test_equal_strategies_are_rarely_called_clear():
    verdicts = [advise(make_study(16, (20,), 2, SAME, run_sd=0.05, seed=seed)).verdict for seed in range(40)]
    assert verdicts.count("clear") <= 2


# -------------------------------------------------------------------------------------------------------- the strategy


def test_the_score_of_a_patient_is_the_mean_over_regions():
    scores = scores_of([0.2, 0.4], region="core") + scores_of([0.6, 0.6], region="whole")
    scores += scores_of([0.9, 0.9], strategy="scratch", region="core")
    scores += scores_of([0.1, 0.1], strategy="scratch", region="whole")
    advice = advise(scores)
    assert advice.means == pytest.approx({"all": 0.45, "scratch": 0.5})
    assert advice.strategy == "scratch"


def test_the_largest_number_of_training_patients_decides():
    scores = scores_of([0.9] * 8, n=20) + scores_of([0.1] * 8, strategy="scratch", n=20)
    scores += scores_of([0.5] * 8, n=50) + scores_of([0.6] * 8, strategy="scratch", n=50)
    advice = advise(scores)
    assert (advice.strategy, advice.n) == ("scratch", 50)


def test_a_size_that_one_strategy_alone_has_finished_does_not_decide():
    scores = scores_of([0.9] * 8, n=20) + scores_of([0.1] * 8, strategy="scratch", n=20)
    assert advise(scores + scores_of([0.1] * 8, n=50)).n == 20


@pytest.mark.parametrize(
    ("equal", "named"),
    [(("all", "decoder", "last-three"), "last-three"), (("all", "scratch"), "scratch"), (("all", "zebra"), "all")],
)
def test_among_truly_equal_ones_the_simplest_is_named(equal, named):
    scores = [one for strategy in equal for one in scores_of([0.5, 0.6, 0.7], strategy=strategy)]
    assert advise(scores).strategy == named


def test_strategies_are_compared_on_what_all_have():
    scores = scores_of([0.5] * 8) + scores_of([0.6] * 7, strategy="scratch") + [score("easy", 1.0)]
    advice = advise(scores)
    assert advice.means == pytest.approx({"all": 0.5, "scratch": 0.6})
    assert advice.patients == 7


def test_a_strategy_whose_runs_failed_is_left_out_and_named():
    scores = scores_of([0.5] * 8) + scores_of([0.6] * 8, strategy="scratch") + scores_of([0.9], strategy="decoder")
    advice = advise(scores)
    assert advice.left_out == ("decoder",)
    assert advice.patients == 8
    assert any("'decoder'" in sentence and "missing" in sentence for sentence in advice.sentences)


def test_strategies_that_share_no_case_still_give_advice():
    advice = advise(scores_of([0.5] * 8, fold=0) + scores_of([0.6] * 8, strategy="scratch", fold=1))
    assert len(advice.means) == 1
    assert len(advice.left_out) == 1


def test_one_strategy_alone_is_not_compared():
    advice = advise(scores_of([0.5] * 8))
    assert (advice.verdict, advice.transfer, advice.differences) == ("cannot tell", "not tested", ())
    assert advice.sentences[0] == "Only the strategy 'all' was tested, so there is nothing to compare it with."


def test_no_scores_are_refused():
    for scores in ([], scores_of([math.nan])):
        with pytest.raises(InputError):
            advise(scores)


# --------------------------------------------------------------------------------------------------------- the transfer


def test_transfer_that_harmed_is_told():
    advice = advise(leading(-0.15))
    assert (advice.strategy, advice.transfer) == ("scratch", "harmed")
    assert advice.transfer_difference.high < 0
    assert any("it did harm" in sentence for sentence in advice.sentences)


def test_a_difference_that_is_surely_small_is_no_difference():
    scores = []
    for seed in range(40):  # so many that the spread of trainings is known to be small
        scores += scores_of([0.5] * 8, seed=seed) + scores_of([0.502] * 8, strategy="scratch", seed=seed)
    assert advise(scores).transfer == "no difference"


def test_without_the_baseline_transfer_is_not_tested():
    advice = advise(scores_of([0.5] * 8) + scores_of([0.4] * 8, strategy="decoder"))
    assert (advice.transfer, advice.transfer_difference) == ("not tested", None)


def test_transfer_is_judged_by_the_best_strategy_that_transfers():
    scores = scores_of([0.5] * 8, strategy="scratch") + scores_of([0.4] * 8, strategy="decoder") + scores_of([0.3] * 8)
    advice = advise(scores)
    assert advice.strategy == "scratch"
    assert advice.transfer_difference.mean == pytest.approx(-0.1)


# ------------------------------------------------------------------------------------------------------------ what next


def test_what_more_patients_would_bring_is_told_where_it_can_be():
    scores = make_study(80, (5, 10, 20, 40), 8, {"all": (0.85, 1.5), "scratch": (0.6, 1.0)}, 0.05, 0.01)
    advice = advise(scores, (60, 80))
    assert [one.n for one in advice.expected] == [60, 80]
    one = advice.expected[0]
    assert one.dice == pytest.approx(0.85 - 1.5 / math.sqrt(60), abs=0.03)
    assert 0 < one.gain_low < one.gain < one.gain_high
    assert any("With 60 patients to train on, expect" in sentence for sentence in advice.sentences)


def test_looking_ahead_goes_to_half_as_many_again_and_twice_as_many_by_default():
    assert [one.n for one in advise(leading()).expected] == [30, 40]


def test_too_few_sizes_give_the_reason_once():
    advice = advise(leading())
    assert all(one.dice is None and "at least 3" in one.reason for one in advice.expected)
    assert sum("not enough cases to tell" in sentence for sentence in advice.sentences) == 1


# ------------------------------------------------------------------------------------------------------------- the form


@pytest.mark.parametrize(
    ("difference", "told"),
    [
        ((0.1, 0.04, 0.16), "scored 0.10 lower (between 0.04 and 0.16 lower)."),
        ((0.1, -0.02, 0.22), "scored 0.10 lower (anything from 0.02 higher to 0.22 lower)."),
        ((-0.1, -0.16, -0.04), "scored 0.10 higher (between 0.04 and 0.16 higher)."),
        ((0.001, -0.1, 0.1), "scored the same (anything from 0.10 higher to 0.10 lower)."),
        ((0.1, math.nan, math.nan), "scored 0.10 lower."),
    ],
)
def test_a_difference_is_told_in_its_direction(difference, told):
    advice = advise(leading())
    second = Difference("all", "decoder", *difference)
    sentences = describe(replace(advice, differences=(second,)), "scratch", 6)
    assert f"The next best, 'decoder', {told}" in sentences
    sentences = describe(replace(advice, transfer_difference=Difference("all", "scratch", *difference)), "scratch", 6)
    assert any(sentence.endswith(f"training from nothing ('scratch') {told}") for sentence in sentences)


def test_advice_is_json_data():
    data = json.loads(json.dumps(advise(make_study(8, (4, 8, 12), 2)).to_dict(), allow_nan=False))
    assert data["strategy"] == "all"
    assert {"verdict", "probability", "differences", "transfer", "expected", "sentences"} <= set(data)
    assert data["differences"][0].keys() == {"strategy", "other", "mean", "low", "high"}


def test_the_order_of_the_scores_does_not_matter():
    scores = make_study(10, (4, 8, 12), 2)
    assert advise(scores).to_dict() == advise(scores[::-1]).to_dict()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.builds(
            score,
            case=st.sampled_from("abcdefgh"),
            dice=st.floats(0, 1),
            strategy=st.sampled_from(["scratch", "all", "decoder"]),
            region=st.sampled_from(["core", "whole"]),
            n=st.sampled_from([2, 4, 8]),
            seed=st.integers(0, 2),
        ),
        min_size=1,
        max_size=60,
        unique_by=lambda one: one.key,
    )
)
def test_any_scores_give_advice_in_whole_sentences(scores):
    advice = advise(scores)
    assert advice.strategy in advice.means
    assert advice.means[advice.strategy] == pytest.approx(max(advice.means.values()), abs=0.0005)
    assert len(advice.sentences) >= 2
    for sentence in advice.sentences:
        assert sentence[0].isupper() or sentence[0].isdigit()
        assert sentence.endswith(".")
        assert "nan" not in sentence
        assert "None" not in sentence
    json.dumps(advice.to_dict(), allow_nan=False)
