"""How often the intervals and verdicts of a study hold the truth, in simulated studies whose truth is known.

A simulated study has patients who differ (sd 0.12), who differ in how a strategy suits them (0.06) and in what each
training makes of them (0.03), and trainings that come out differently ("training sd"). Mean Dice follows a curve over
the number of training patients. 95 % of the intervals should hold the truth: the mean over all patients and trainings.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from TransferSegLib.study.advice import advise
from TransferSegLib.study.growth import Growth, fit_growth
from TransferSegLib.study.resampling import mean_interval
from TransferSegLib.study.scores import Score
from TransferSegLib.study.statistics import summarise

Curve = Callable[[float], float]


@dataclass(frozen=True)
class Setting:
    """Folds: 1 is a test set; more is a cross-validation, where each patient is tested by one network of a seed."""

    sizes: tuple[int, ...]
    patients: int
    seeds: int
    folds: int = 1
    training_sd: float = 0.03

    def __str__(self) -> str:
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        folds = f", {self.folds} folds" if self.folds > 1 else ""
        sizes = ", ".join(map(str, self.sizes))
        return f"{self.patients} patients{folds}, {seeds}, n = {sizes}, training sd {self.training_sd:g}"


def study(setting: Setting, curves: Mapping[str, Curve], random: np.random.Generator) -> list[Score]:
    count = setting.patients
    level = random.normal(0, 0.12, count)
    suits = {strategy: random.normal(0, 0.06, count) for strategy in curves}
    scores = []
    for seed in range(setting.seeds):
        fold = random.permutation(count) % setting.folds
        for n in setting.sizes:
            for strategy, curve in curves.items():
                luck = random.normal(0, setting.training_sd, setting.folds)[fold] + random.normal(0, 0.03, count)
                dice = curve(n) + level + suits[strategy] + luck
                scores += [
                    Score(int(fold[i]), seed, n, strategy, f"p{i}", f"p{i}", "", "lesion", {"dice": float(dice[i])})
                    for i in range(count)
                ]
    return scores


def measure_means(studies: int) -> None:
    print("| patients | intervals of a mean that hold it |\n|---|---|")
    random = np.random.default_rng(0)
    for patients in (6, 10, 17, 50):
        held = []
        for seed in range(studies):
            low, high = mean_interval(random.beta(5, 2, patients), seed)  # skewed as Dice is
            held.append(low <= 5 / 7 <= high)
        print(f"| {patients} | {np.mean(held):.0%} |", flush=True)


def measure_differences(studies: int) -> None:
    print(
        "\n| study | lead | intervals of a difference that hold it | verdict on the best of four |\n|---|---|---|---|"
    )
    for setting in (
        Setting((20,), 40, 3),
        Setting((20,), 40, 3, training_sd=0.06),
        Setting((20,), 40, 1),
        Setting((20,), 40, 1, training_sd=0.06),
        Setting((12,), 16, 1, 4),
        Setting((12,), 16, 3, 4, 0.06),
    ):
        for lead in (0.0, 0.1):
            random = np.random.default_rng(1)
            means = {"scratch": 0.6, "last-three": 0.6 - lead, "decoder": 0.6 - lead / 2, "all": 0.6 + lead}
            curves = {name: (lambda n, mean=mean: mean) for name, mean in means.items()}
            held, verdicts = [], []
            for seed in range(studies):
                scores = study(setting, curves, random)
                for item in summarise(scores):
                    if item.pairs:
                        truth = means[item.strategy] - means["scratch"]
                        held.append(item.difference_low <= truth <= item.difference_high)
                advice = advise(scores, seed=seed)
                verdicts.append(advice.verdict + ("" if advice.strategy == "all" or not lead else ", wrong"))
            shares = ", ".join(f"{name} {verdicts.count(name) / studies:.0%}" for name in sorted({*verdicts}))
            print(f"| {setting} | {lead:g} | {np.mean(held):.0%} | {shares} |", flush=True)


def measure_growth(studies: int) -> None:
    laws: dict[str, Curve] = {
        "power law": lambda n: 0.8 - 1.2 * n**-0.6,
        "exponential": lambda n: 0.75 - 0.4 * math.exp(-n / 30),
        "logarithm": lambda n: 0.35 + 0.07 * math.log(n),
        "flat": lambda n: 0.7,
    }
    print("\n| study | truth | predictions that hold it | gains that do | gain told | wrongly |\n|" + 6 * "---|")
    for setting in (
        Setting((20, 50, 100, 150), 40, 3),
        Setting((20, 50, 100, 150), 40, 3, training_sd=0.06),
        Setting((5, 10, 20, 40), 50, 5, training_sd=0.02),
        Setting((20, 50, 100, 150), 40, 1),
        Setting((4, 8, 12), 17, 3, 4, 0.05),
        Setting((4, 8, 12), 16, 1, 4),
    ):
        for name, curve in laws.items():
            random = np.random.default_rng(2)
            most = setting.sizes[-1]
            predicted, gained, told, wrong = [], [], [], []
            for seed in range(studies):
                growth = fit_growth(study(setting, {"all": curve}, random), "all", seed=seed)
                assert isinstance(growth, Growth)
                for n in (1.5 * most, 2 * most):
                    value, gain, more = growth.predict(n), growth.gain(n), curve(n) - curve(most)
                    predicted.append(value.low <= curve(n) <= value.high)
                    gained.append(gain.low - 1e-9 <= more <= gain.high + 1e-9)
                    told.append(growth.doubt(n) is None)
                    wrong.append(told[-1] and not gained[-1])
            shares = " | ".join(f"{np.mean(one):.0%}" for one in (predicted, gained, told, wrong))
            print(f"| {setting} | {name} | {shares} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200, help="simulated studies for each row")
    parser.add_argument("--only", choices=["means", "differences", "growth"], help="one table")
    options = parser.parse_args()
    for part in (measure_means, measure_differences, measure_growth):
        if options.only in (None, part.__name__.removeprefix("measure_")):
            part(options.studies)
