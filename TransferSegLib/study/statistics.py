"""Statistics: means with intervals over patients, and paired differences to the baseline with corrected tests."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from ..errors import InputError
from ..tables import write_table
from .resampling import USUAL_SD, Spread, mean_interval, redrawn_means, training_spread
from .scores import Score, in_order

# With five pairs the smallest possible p of a two-sided signed-rank test is 0.0625: it could never tell anything.
_FEWEST_PAIRS = 6

# How far training again moves a metric that is not between 0 and 1, as a share of how far patients differ: for Dice it
# is 0.05 of 0.15 to 0.2.
_USUAL_SHARE = 0.3
_SHARES = ("dice", "sensitivity", "lesion_f1")

# For more the exact distribution is slow to count, and the normal one is as good.
_MOST_EXACT = 100


@dataclass(frozen=True)
class Summary:
    """One metric of one region, for one strategy and number of training patients.

    Attributes
    ----------
    patients, seeds : that the mean is over.
    mean : over patients, after averaging over the visits, seeds and folds of each.
    low, high : 95 % interval of the mean if other patients had been tested, with the same trained networks.
    sd_seeds : standard deviation of the mean from one seed to the next (n - 1), over the patients that all seeds have:
        how far training again moves it. NaN for one seed.
    pairs : patients that the comparison with the baseline is over. It and all below are 0 or NaN for the baseline.
    difference, difference_low, difference_high : strategy minus baseline, mean over pairs, and its 95 % interval if
        other patients had been tested and all networks trained again. How far training again moves a difference is
        found from the seeds and folds of all numbers of training patients together.
    relative_percent : the difference in % of the baseline's mean (paper, footnote 4).
    p : Wilcoxon's signed-rank test of the differences, two-sided; NaN for fewer than 6 pairs. It speaks of the networks
        that were trained: training again is not in it.
    p_holm : corrected for all comparisons of the table, see :func:`holm`.
    """

    n: int
    strategy: str
    region: str
    metric: str
    patients: int
    seeds: int
    mean: float
    low: float
    high: float
    sd_seeds: float
    baseline: str
    pairs: int = 0
    difference: float = math.nan
    difference_low: float = math.nan
    difference_high: float = math.nan
    relative_percent: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan


def summarise(scores: Iterable[Score], baseline: str = "scratch", metric: str = "dice") -> tuple[Summary, ...]:
    """Sum up a study: one summary for each number of training patients, strategy and region.

    A patient counts once, however many visits, seeds and folds there are: they are not independent. Scores where the
    metric is NaN are left out. A strategy is compared with the baseline on what both have: the same fold, seed, number
    of training patients, case and region; the rest is left out of the comparison. The order of ``scores`` does not
    matter.

    Raises
    ------
    InputError : no score has the metric.
    """
    groups: dict[tuple[int, str, str], list[Score]] = defaultdict(list)
    for score in sorted(scores, key=lambda score: score.key):
        if not math.isnan(score.values.get(metric, math.nan)):
            groups[score.n, score.strategy, score.region].append(score)
    if not groups:
        raise InputError(f"No score has the metric '{metric}'.", "Choose another metric.")
    strategies = in_order(strategy for _, strategy, _ in groups)
    pairs = {key: _pairs(groups[key], groups.get((key[0], baseline, key[2]), []), metric) for key in groups}
    found = []
    for key in sorted(groups, key=lambda key: (key[0], strategies.index(key[1]), key[2])):
        summary = _summary(groups[key], baseline, metric)
        if key[1] != baseline and pairs[key]:
            alike = [pairs[other] for other in sorted(pairs) if other[1:] == key[1:]]
            summary = _compared(summary, pairs[key], _spread(alike, metric))
        found.append(summary)
    corrected = holm([item.p for item in found])
    return tuple(replace(item, p_holm=p) for item, p in zip(found, corrected, strict=True))


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number; NaN stays NaN and does not count (Holm 1979, Scand J Stat 6:65).

    Holm and not a false discovery rate: a study is read for single claims ("all beats the baseline for core at n =
    20"), so the chance that any claim is wrong must stay below 5 %. And it holds however the comparisons depend on each
    other; here they share patients and baseline.
    """
    known = sorted((p, index) for index, p in enumerate(values) if not math.isnan(p))
    result = [math.nan] * len(values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        result[index] = highest
    return result


def signed_rank_p(differences: Sequence[float]) -> float:
    """Wilcoxon's signed-rank test, two-sided; NaN for fewer than 6 differences, 1 when none differs from 0.

    Differences of 0 take part in the ranking (Pratt 1959, doi:10.1080/01621459.1959.10501526): a patient whom both
    strategies segment equally well speaks for no difference, and is not thrown away.
    """
    if len(differences) < _FEWEST_PAIRS:
        return math.nan
    # Six digits, as in the file: 0.9 - 0.8 and 0.8 - 0.7 are tied, whatever the last bit says.
    values = np.round(differences, 6)
    if not values.any():
        return 1.0
    if len(values) > _MOST_EXACT:
        return float(stats.wilcoxon(values, zero_method="pratt", method="asymptotic").pvalue)
    # Doubled, so that the mean ranks of ties are integers too.
    ranks = (2 * stats.rankdata(np.abs(values)))[values != 0].astype(int)
    rank_sum = int(ranks[values[values != 0] > 0].sum())
    # The probability of each rank sum when every sign is the toss of a coin: exact, with ties and zeros too.
    chance = np.zeros(ranks.sum() + 1)
    chance[0] = 1
    for rank in ranks:
        chance = (chance + np.concatenate([np.zeros(rank), chance[:-rank]])) / 2
    return min(1.0, 2 * float(min(chance[: rank_sum + 1].sum(), chance[rank_sum:].sum())))


def patient_means(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The mean of the values of each patient, by name in order."""
    lists: dict[str, list[float]] = defaultdict(list)
    for patient, value in values:
        lists[patient].append(value)
    return {patient: math.fsum(lists[patient]) / len(lists[patient]) for patient in sorted(lists)}


def write_summary(summaries: Iterable[Summary], path: str | Path) -> Path:
    """Write one line for each summary, with the fields of :class:`Summary`; an empty cell for NaN.

    Raises
    ------
    InputError : the folder cannot be written.
    ResourceError : the disk is full.
    """
    return write_table([field.name for field in fields(Summary)], (astuple(item) for item in summaries), path)


class _Pair(NamedTuple):
    """A case that a strategy and the baseline segmented in the same run."""

    fold: int
    seed: int
    patient: str
    value: float
    baseline: float


def _pairs(scores: Sequence[Score], others: Sequence[Score], metric: str) -> list[_Pair]:
    theirs = {score.place: score.values[metric] for score in others}
    return [
        _Pair(score.fold, score.seed, score.patient, score.values[metric], theirs[score.place])
        for score in scores
        if score.place in theirs
    ]


def _summary(scores: Sequence[Score], baseline: str, metric: str) -> Summary:
    first = scores[0]
    means = list(patient_means((score.patient, score.values[metric]) for score in scores).values())
    return Summary(
        first.n,
        first.strategy,
        first.region,
        metric,
        len(means),
        len({score.seed for score in scores}),
        float(np.mean(means)),
        *mean_interval(means),
        _sd_seeds(scores, metric),
        baseline,
    )


def _compared(summary: Summary, pairs: Sequence[_Pair], spread: Spread) -> Summary:
    own = patient_means((pair.patient, pair.value) for pair in pairs)
    base = patient_means((pair.patient, pair.baseline) for pair in pairs)
    differences = np.array([own[patient] - base[patient] for patient in own])
    mean, reference = float(differences.mean()), float(np.mean(list(base.values())))
    low = high = math.nan
    if len(differences) > 1:
        runs = len({(pair.fold, pair.seed) for pair in pairs})
        low, high = np.quantile(redrawn_means(differences[:, None], [runs], spread), (0.025, 0.975)).tolist()
    return replace(
        summary,
        pairs=len(differences),
        difference=mean,
        difference_low=low,
        difference_high=high,
        relative_percent=100 * mean / reference if reference else math.nan,
        p=signed_rank_p(differences.tolist()),
    )


def _spread(alike: Sequence[Sequence[_Pair]], metric: str) -> Spread:
    """How far training again moves the difference of two strategies, from all their pairs at each size."""
    differences: dict[tuple[str, int, int, int], list[float]] = defaultdict(list)
    for size, pairs in enumerate(part for part in alike if part):
        for pair in pairs:
            differences[pair.patient, size, pair.fold, pair.seed].append(pair.value - pair.baseline)
    patients = {name: index for index, name in enumerate(sorted({key[0] for key in differences}))}
    runs = {run: index for index, run in enumerate(sorted({key[1:] for key in differences}))}
    usual = USUAL_SD
    if metric not in _SHARES:
        usual = _USUAL_SHARE * float(np.std([pair.baseline for pairs in alike for pair in pairs]))
    return training_spread(
        np.array([math.fsum(values) / len(values) for values in differences.values()]),
        np.array([patients[key[0]] for key in differences]),
        np.array([runs[key[1:]] for key in differences]),
        np.array([key[1] for key in differences]),
        math.sqrt(2) * usual,  # two networks are trained for a difference
    )


def _sd_seeds(scores: Iterable[Score], metric: str) -> float:
    by_seed: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for score in scores:
        by_seed[score.seed].append((score.patient, score.values[metric]))
    means = [patient_means(values) for values in by_seed.values()]
    common = set.intersection(*(set(one) for one in means))
    if len(means) < 2 or not common:
        return math.nan
    return float(np.std([math.fsum(one[patient] for patient in sorted(common)) / len(common) for one in means], ddof=1))
