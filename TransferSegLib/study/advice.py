"""Advice: which strategy to use, how sure that is, and what more annotated patients would bring; in plain words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .growth import NEGLIGIBLE, NotEnough, fit_growth
from .resampling import Spread, redrawn_means, training_spread
from .scores import Place, Score, in_order
from .sentences import describe

Verdict = Literal["clear", "lean", "cannot tell"]
Transfer = Literal["helped", "harmed", "no difference", "cannot tell", "not tested"]

# With fewer patients nothing is told, whatever the numbers look like.
FEWEST_PATIENTS = 6

# From this probability of being the best on, one leans to a strategy.
_LEANING = 0.8

# Strategies whose means are nearer than what a table shows are equal; then the one that is quicker or simpler is named.
_EQUAL = 0.0005
_SIMPLEST_FIRST = ("norm", "last-three", "decoder", "scratch", "all")

# A strategy that leaves less than this share of the scores of the most complete one to compare on is left out.
_COMPLETE = 0.5


@dataclass(frozen=True)
class Difference:
    """Mean Dice of ``strategy`` minus that of ``other``, and its 95 % interval."""

    strategy: str
    other: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Expected:
    """What is expected with ``n`` training patients; where ``reason`` says why it cannot be told, numbers are None.

    Attributes
    ----------
    dice, low, high : mean Dice and its 95 % interval.
    gain, gain_low, gain_high : the same for what it is more than with ``tried``.
    tried : the largest number of training patients that was tried.
    """

    n: int
    dice: float | None = None
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    tried: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Advice:
    """Which strategy to use.

    Attributes
    ----------
    strategy : the one with the highest mean Dice over patients, where a patient's Dice is the mean over regions.
    verdict : ``clear``: the 95 % intervals of its lead over all others exclude 0. ``lean``: the best with a probability
        of 0.8 or more. ``cannot tell``: neither, or fewer than 6 patients.
    probability : that it is the best, if other patients had been tested and all networks trained anew.
    n, patients, seeds : training patients, tested patients and repetitions that this is from.
    means : strategy to mean Dice.
    differences : lead over each other strategy, the runner-up first.
    transfer : whether starting from the pre-trained model helped, by the best strategy that does against ``baseline``.
    transfer_difference : None where this was not tested.
    expected : what more training patients would bring, with this strategy.
    left_out : strategies with too few scores to compare.
    sentences : all this for a clinician.
    """

    strategy: str
    verdict: Verdict
    probability: float
    n: int
    patients: int
    seeds: int
    means: Mapping[str, float]
    differences: tuple[Difference, ...]
    transfer: Transfer
    transfer_difference: Difference | None
    expected: tuple[Expected, ...]
    left_out: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON data; NaN becomes None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def advise(scores: Iterable[Score], more: Sequence[int] = (), baseline: str = "scratch", seed: int = 0) -> Advice:
    """Advise on the strategy, from the Dice with the largest number of training patients.

    The strategies are compared on what all of them have: the same fold, seed, case and region. Intervals and
    probability are over other test patients and other trainings of the networks, see :mod:`resampling`.

    Parameters
    ----------
    more : numbers of training patients to look ahead to. None given: 1.5 and 2 times the largest number.
    baseline : the strategy that does not transfer.
    seed : of the resampling.

    Raises
    ------
    InputError : there is no Dice at all.
    """
    known = sorted((score for score in scores if not math.isnan(_dice(score))), key=lambda score: score.key)
    if not known:
        raise InputError("There are no scores to give advice on.", "Finish at least one run of each strategy.")
    n = _largest(known)
    kept, left_out = _complete([score for score in known if score.n == n])
    table = _Table.of(kept)
    means = dict(zip(table.strategies, table.means.tolist(), strict=True))
    best = _best(means)
    draws = table.redrawn(seed) if len(table.patients) > 1 else None
    others = sorted((name for name in means if name != best), key=lambda name: (-means[name], name))
    differences = tuple(_difference(table, draws, best, other) for other in others)
    probability = _probability(table, draws, best)
    verdict: Verdict = "cannot tell"
    if differences and len(table.patients) >= FEWEST_PATIENTS:
        if all(one.low > 0 for one in differences):
            verdict = "clear"
        elif probability >= _LEANING:
            verdict = "lean"
    transferring = [name for name in means if name != baseline]
    against = None
    if baseline in means and transferring:
        against = _difference(table, draws, _best({name: means[name] for name in transferring}), baseline)
    ahead = more or (math.ceil(1.5 * n), 2 * n)
    advice = Advice(
        best,
        verdict,
        probability,
        n,
        len(table.patients),
        len({score.seed for score in kept}),
        means,
        differences,
        _transfer(against, len(table.patients)),
        against,
        _expected(known, best, sorted({*ahead}), seed),
        left_out,
    )
    return replace(advice, sentences=describe(advice, baseline, FEWEST_PATIENTS))


@dataclass(frozen=True, eq=False)
class _Table:
    """What was measured, by strategy side by side.

    Attributes
    ----------
    value, patient, run : (observations, strategies), (observations,), (observations,): Dice of a patient as the
        networks of a run, that is of a fold and seed, see it.
    """

    strategies: list[str]
    patients: list[str]
    value: NDArray[np.float64]
    patient: NDArray[np.int64]
    run: NDArray[np.int64]

    @classmethod
    def of(cls, scores: Sequence[Score]) -> _Table:
        strategies = in_order(score.strategy for score in scores)
        dice: dict[tuple[Place, str], dict[str, float]] = defaultdict(dict)
        for score in scores:
            dice[score.place, score.patient][score.strategy] = _dice(score)
        found: dict[tuple[str, int, int], list[list[float]]] = defaultdict(list)
        for ((fold, run_seed, *_), patient), by_strategy in dice.items():
            found[patient, fold, run_seed].append([by_strategy[name] for name in strategies])
        patients = sorted({patient for patient, _, _ in found})
        place = {patient: index for index, patient in enumerate(patients)}
        runs = {run: index for index, run in enumerate(sorted({key[1:] for key in found}))}
        return cls(
            strategies,
            patients,
            np.array([np.mean(values, 0) for values in found.values()]),
            np.array([place[key[0]] for key in found], int),
            np.array([runs[key[1:]] for key in found], int),
        )

    @property
    def by_patient(self) -> NDArray[np.float64]:
        """(patients, strategies): the mean over runs."""
        sums = np.zeros((len(self.patients), len(self.strategies)))
        np.add.at(sums, self.patient, self.value)
        return np.asarray(sums / np.bincount(self.patient)[:, None])

    @property
    def means(self) -> NDArray[np.float64]:
        return np.asarray(self.by_patient.mean(0))

    def redrawn(self, seed: int) -> NDArray[np.float64]:
        """(resamples, strategies): means with other patients and other trainings."""
        runs = int(self.run.max()) + 1
        return redrawn_means(self.by_patient, np.full(len(self.strategies), runs), self._spread(), seed)

    def _spread(self) -> Spread:
        """Of one strategy against the others in a run: what a run does to all of them alike is no difference."""
        count = len(self.strategies)
        if count < 2:
            return training_spread(self.value[:, 0], self.patient, self.run, np.zeros_like(self.run))
        # Deviations from the mean of the run are smaller than what they deviate by: sqrt(1 - 1 / count) of it.
        value = (self.value - self.value.mean(1, keepdims=True)) / math.sqrt(1 - 1 / count)
        kind = np.broadcast_to(np.arange(count), value.shape)
        each = (
            value.ravel(),
            (self.patient[:, None] * count + kind).ravel(),
            (self.run[:, None] * count + kind).ravel(),
            kind.ravel(),
        )
        return training_spread(*each)


def _dice(score: Score) -> float:
    return score.values.get("dice", math.nan)


def _largest(scores: Iterable[Score]) -> int:
    """The largest number of training patients that two strategies have scores for, or one if there is only one."""
    strategies: dict[int, set[str]] = defaultdict(set)
    for score in scores:
        strategies[score.n].add(score.strategy)
    most = min(2, max(len(names) for names in strategies.values()))
    return max(n for n, names in strategies.items() if len(names) >= most)


def _complete(scores: Sequence[Score]) -> tuple[list[Score], tuple[str, ...]]:
    """What all strategies have; without those that would leave too little of it, because most of their runs failed."""
    there: dict[str, set[Place]] = defaultdict(set)
    for score in scores:
        there[score.strategy].add(score.place)
    names = sorted(in_order(there), key=lambda name: -len(there[name]))
    common, kept = there[names[0]], {names[0]}
    for name in names[1:]:
        if len(common & there[name]) >= _COMPLETE * len(there[names[0]]):
            common = common & there[name]
            kept.add(name)
    left_out = tuple(name for name in in_order(there) if name not in kept)
    return [score for score in scores if score.strategy in kept and score.place in common], left_out


def _best(means: Mapping[str, float]) -> str:
    highest = max(means.values())
    equal = in_order(name for name, mean in means.items() if mean > highest - _EQUAL)
    known = [name for name in _SIMPLEST_FIRST if name in equal]
    return (known or equal)[0]


def _difference(table: _Table, draws: NDArray[np.float64] | None, first: str, other: str) -> Difference:
    one, two = table.strategies.index(first), table.strategies.index(other)
    mean = float(table.means[one] - table.means[two])
    if draws is None:
        return Difference(first, other, mean, math.nan, math.nan)
    low, high = np.quantile(draws[:, one] - draws[:, two], (0.025, 0.975))
    return Difference(first, other, mean, float(low), float(high))


def _probability(table: _Table, draws: NDArray[np.float64] | None, best: str) -> float:
    if draws is None:
        return math.nan
    return float((draws.argmax(1) == table.strategies.index(best)).mean())


def _transfer(against: Difference | None, patients: int) -> Transfer:
    if against is None:
        return "not tested"
    if patients < FEWEST_PATIENTS:
        return "cannot tell"
    if against.low >= -NEGLIGIBLE and against.high <= NEGLIGIBLE:
        return "no difference"
    if against.low > 0:
        return "helped"
    return "harmed" if against.high < 0 else "cannot tell"


def _expected(scores: Sequence[Score], strategy: str, ahead: Iterable[int], seed: int) -> tuple[Expected, ...]:
    growth = fit_growth(scores, strategy, seed=seed)
    if isinstance(growth, NotEnough):
        return tuple(Expected(n, reason=growth.reason) for n in ahead)
    found = []
    for n in ahead:
        doubt = growth.doubt(n)
        if doubt:
            found.append(Expected(n, reason=doubt.reason))
        else:
            found.append(Expected(n, *growth.predict(n), *growth.gain(n), tried=growth.sizes[-1]))
    return tuple(found)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
