"""Scores of a study that nobody did, with a truth that is known."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from TransferSegLib.study.scores import Score

# Strategy to a and b of the mean Dice a - b / sqrt(n): 'all' leads, the gain shrinks, 'last-three' trails.
CURVES = {"scratch": (0.75, 1.6), "last-three": (0.55, 1.0), "decoder": (0.65, 1.2), "all": (0.78, 0.9)}
REGIONS = {"enhancing": -0.08, "core": 0.0, "whole": 0.08}


def score(
    case: str = "a",
    dice: float = 0.5,
    strategy: str = "all",
    region: str = "whole",
    n: int = 20,
    seed: int = 0,
    fold: int = 0,
    patient: str = "",
    group: str = "HGG",
) -> Score:
    """One score; the patient is named as the case unless said otherwise."""
    return Score(fold, seed, n, strategy, case, patient or case, group, region, {"dice": dice})


def scores_of(values: Iterable[float], **options: object) -> list[Score]:
    """A score for each value, of patients p00, p01, ..."""
    return [score(f"p{index:02}", value, **options) for index, value in enumerate(values)]  # type: ignore[arg-type]


def make_study(
    patients: int = 20,
    sizes: Sequence[int] = (20, 50, 100, 150),
    seeds: int = 3,
    curves: Mapping[str, tuple[float, float]] = CURVES,
    patient_sd: float = 0.1,
    run_sd: float = 0.02,
    noise_sd: float = 0.04,
    regions: Mapping[str, float] = REGIONS,
    seed: int = 0,
) -> list[Score]:
    """All scores of a study with one test set; every third patient has low-grade glioma."""
    random = np.random.default_rng(seed)
    level = random.normal(0, patient_sd, patients)
    scores = []
    for n in sizes:
        for strategy, (a, b) in curves.items():
            for run in range(seeds):
                shift = random.normal(0, run_sd)
                for region, easier in regions.items():
                    dice = a - b / np.sqrt(n) + easier + shift + level + random.normal(0, noise_sd, patients)
                    scores += [
                        score(
                            f"p{index:02}",
                            float(np.clip(value, 0, 1)),
                            strategy,
                            region,
                            n,
                            run,
                            group="LGG" if index % 3 == 2 else "HGG",
                        )
                        for index, value in enumerate(dice)
                    ]
    return scores
