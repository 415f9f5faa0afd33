"""Growth: how a strategy gets better with more annotated cases, and what more than there are would bring.

The learning curve is the power law ``a - b * n ** -c`` (Figueroa et al. 2012, doi:10.1186/1472-6947-12-8; Mukherjee et
al. 2003, doi:10.1089/106652703321825928). Four things make it uncertain, and all are in the interval: the test patients
could have been others; each network would come out differently if trained again; few points leave the shape open; and
the law itself may be wrong, so half of the resampled curves follow another one that fits as well and flattens sooner,
``a - b * exp(-n / t)``. Still, do not look far beyond the sizes that were tried.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .resampling import redrawn_means, training_spread
from .scores import Score

FEWEST_SIZES, FEWEST_PATIENTS = 3, 8

# A prediction whose 95 % interval is wider than this says nothing.
WIDEST = 0.2

# A gain of Dice below this is not worth an annotated case.
NEGLIGIBLE = 0.02

_TIMES = 2000

# For a given exponent the rest of the law is linear, so exponents are simply tried: no start value, no local minimum.
_EXPONENTS = np.geomspace(0.05, 2, 120)
_SCALES = 40


class Prediction(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class NotEnough:
    """There are not enough cases to tell. ``reason`` is a plain sentence."""

    reason: str


@dataclass(frozen=True, eq=False)
class Curves:
    """Learning curves ``a - b * fall(n)``, 0 <= a <= 1, b >= 0; arrays with an element for each curve.

    Attributes
    ----------
    law : ``"power"``, fall(n) = n ** -shape, 0.05 <= shape <= 2; or ``"exponential"``, fall(n) = exp(-n / shape).
    """

    law: str
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    shape: NDArray[np.float64]

    def at(self, n: float) -> NDArray[np.float64]:
        return np.asarray(self.a - self.b * _fall(self.law, self.shape, n))


@dataclass(frozen=True, eq=False)
class Growth:
    """The learning curve of a strategy.

    Attributes
    ----------
    sizes, means : numbers of training patients (ascending), and the mean over patients that was measured at each.
    patients : that all sizes were tested on.
    sd_run : standard deviation of the mean from one training to the next.
    curve : the power law that fits best.
    others : the laws that fit what could have been measured instead.
    """

    strategy: str
    sizes: tuple[int, ...]
    means: tuple[float, ...]
    patients: int
    sd_run: float
    curve: Curves
    others: tuple[Curves, ...]

    def predict(self, n: float) -> Prediction:
        """Mean over patients, and over networks trained on ``n`` patients."""
        return _prediction(*(np.concatenate([one.at(n) for one in laws]) for laws in ((self.curve,), self.others)))

    def gain(self, n: float) -> Prediction:
        """What ``n`` patients would bring over the largest number that was tried."""
        most = self.sizes[-1]
        first, *others = (one.at(n) - one.at(most) for one in (self.curve, *self.others))
        return _prediction(first, np.concatenate(others))

    def doubt(self, n: float) -> NotEnough | None:
        """Why nothing can be said about ``n`` patients, or None when something can.

        A gain that is surely negligible is something: more cases would hardly help.
        """
        predicted, gain = self.predict(n), self.gain(n)
        if predicted.high - predicted.low > WIDEST:
            return NotEnough(
                f"With {n:g} patients the mean Dice could be anything from {predicted.low:.2f} to {predicted.high:.2f}."
            )
        if gain.low < 0.0005 and gain.high > NEGLIGIBLE:
            return NotEnough(f"With {n:g} patients the gain could be nothing, or up to {gain.high:.2f}.")
        return None


def fit_growth(
    scores: Iterable[Score], strategy: str, region: str | None = None, metric: str = "dice", seed: int = 0
) -> Growth | NotEnough:
    """Fit the learning curve of a strategy to the means over patients, by least squares.

    Parameters
    ----------
    region : None: the mean over all regions of a case.
    metric : one between 0 and 1 that is better when higher.
    seed : of the resampling.
    """
    table = _Table.of(scores, strategy, region, metric)
    if len(table.sizes) < FEWEST_SIZES:
        return NotEnough(
            f"A curve needs at least {FEWEST_SIZES} different numbers of training patients, not {len(table.sizes)}."
        )
    if len(table.patients) < FEWEST_PATIENTS:
        return NotEnough(
            f"A curve needs at least {FEWEST_PATIENTS} patients that were tested with each number of training "
            f"patients, not {len(table.patients)}."
        )
    by_size = table.by_size()
    spread = training_spread(table.value, table.patient, table.run, table.size)
    draws = redrawn_means(by_size, table.runs(), spread, seed, _TIMES)
    means = by_size.mean(0)
    others = tuple(fit_law(law, table.sizes, draws) for law in ("power", "exponential"))
    best = fit_law("power", table.sizes, means[None])
    return Growth(strategy, tuple(table.sizes), tuple(means.tolist()), len(table.patients), spread.sd, best, others)


def fit_law(law: str, sizes: Sequence[float], means: NDArray[np.float64]) -> Curves:
    """The curves with the smallest sum of squares.

    Parameters
    ----------
    means : (curves, sizes).
    """
    count, mean = len(means), means.mean(1)
    best, a, b, shapes = np.full(count, np.inf), np.zeros(count), np.zeros(count), np.ones(count)
    for shape in _EXPONENTS if law == "power" else np.geomspace(min(sizes) / 4, 3 * max(sizes), _SCALES):
        fall = _fall(law, shape, np.asarray(sizes, float))
        centred = fall - fall.mean()
        slope = np.maximum(-(means @ centred) / (centred @ centred), 0)
        level = mean + slope * fall.mean()
        # The sum of squares is convex: where its minimum is out of bounds, the best that is allowed is on the bound.
        steepest = np.maximum(((1 - means) @ fall) / (fall @ fall), 0)
        slope, level = np.where(level > 1, steepest, slope), np.clip(level, 0, 1)
        errors = ((means - level[:, None] + slope[:, None] * fall) ** 2).sum(1)
        better = errors < best - 1e-15
        best, a, b = np.where(better, errors, best), np.where(better, level, a), np.where(better, slope, b)
        shapes = np.where(better, shape, shapes)
    return Curves(law, a, b, shapes)


@dataclass(frozen=True, eq=False)
class _Table:
    """What was measured: row ``i`` is the mean over regions and visits of a patient, as one trained network sees it."""

    sizes: list[int]
    patients: list[str]
    value: NDArray[np.float64]
    patient: NDArray[np.int64]
    size: NDArray[np.int64]
    run: NDArray[np.int64]

    @classmethod
    def of(cls, scores: Iterable[Score], strategy: str, region: str | None, metric: str) -> _Table:
        found: dict[tuple[str, int, int, int], list[float]] = defaultdict(list)
        for score in sorted(scores, key=lambda score: score.key):
            value = score.values.get(metric, math.nan)
            if score.strategy == strategy and region in (None, score.region) and not math.isnan(value):
                found[score.patient, score.n, score.seed, score.fold].append(value)
        sizes = sorted({n for _, n, _, _ in found})
        # Only patients that all sizes were tested on: else a size looks better when it had the easier patients.
        seen: dict[str, set[int]] = defaultdict(set)
        for patient, n, _, _ in found:
            seen[patient].add(n)
        patients = sorted(patient for patient, there in seen.items() if len(there) == len(sizes))
        place = {patient: index for index, patient in enumerate(patients)}
        kept = {key: values for key, values in found.items() if key[0] in place}
        runs = {run: index for index, run in enumerate(sorted({key[1:] for key in kept}))}
        return cls(
            sizes,
            patients,
            np.array([math.fsum(values) / len(values) for values in kept.values()]),
            np.array([place[key[0]] for key in kept], int),
            np.array([sizes.index(key[1]) for key in kept], int),
            np.array([runs[key[1:]] for key in kept], int),
        )

    def by_size(self) -> NDArray[np.float64]:
        """(patients, sizes): the mean over runs."""
        place = self.patient * len(self.sizes) + self.size
        shape = len(self.patients), len(self.sizes)
        count = np.bincount(place, minlength=shape[0] * shape[1])
        return np.asarray(np.bincount(place, self.value) / count).reshape(shape)

    def runs(self) -> NDArray[np.int64]:
        """How many networks were trained with each size."""
        return np.array([np.unique(self.run[self.size == index]).size for index in range(len(self.sizes))])


def _fall(law: str, shape: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    n, shape = np.asarray(n, float), np.asarray(shape, float)
    return np.asarray(n**-shape if law == "power" else np.exp(-n / shape))


def _prediction(value: NDArray[np.float64], draws: NDArray[np.float64]) -> Prediction:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Prediction(float(value[0]), float(low), float(high))
