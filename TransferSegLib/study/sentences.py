"""Sentences: advice in words for a clinician. They say nothing that is not in the numbers of the advice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .advice import Advice, Difference, Expected


def describe(advice: Advice, baseline: str, fewest_patients: int) -> tuple[str, ...]:
    """Short sentences, the most important first."""
    told = [
        _recommend(advice, fewest_patients),
        *_score(advice, baseline),
        *_transfer(advice, baseline, fewest_patients),
    ]
    told += dict.fromkeys(_expect(one) for one in advice.expected)
    if advice.seeds == 1:
        told.append(
            "Every training was done once only: how much luck was in it could not be measured, and a usual amount was "
            "assumed."
        )
    if advice.left_out:
        told.append(f"Left out of the comparison, because most of their runs are missing: {_named(advice.left_out)}.")
    return tuple(told)


def _recommend(advice: Advice, fewest_patients: int) -> str:
    name, count = f"'{advice.strategy}'", _patients(advice.patients)
    if not advice.differences:
        return f"Only the strategy {name} was tested, so there is nothing to compare it with."
    if advice.verdict == "clear":
        return f"Use the strategy {name}: it was the best on {count}, and by more than chance explains."
    if advice.verdict == "lean":
        return (
            f"Use the strategy {name}: it was the best on {count}, and probably is ({advice.probability:.0%}). "
            "Its lead could still be chance."
        )
    if advice.patients < fewest_patients:
        return (
            f"{count[0].upper()}{count[1:]} are too few to tell which strategy is best. {name} scored highest; start "
            "with it, and compare again with more patients."
        )
    return (
        f"Which strategy is best cannot be told from {count}. {name} scored highest, but that may be chance; it is a "
        "reasonable start."
    )


def _score(advice: Advice, baseline: str) -> list[str]:
    told = [
        f"Trained on {_patients(advice.n)}, it reached a mean Dice of {advice.means[advice.strategy]:.2f} on patients "
        "that it had not seen. Dice says how well two outlines overlap: 0 not at all, 1 perfectly."
    ]
    second = advice.differences[0] if advice.differences else None
    if second and second.other != baseline:  # what is said of the baseline comes next
        told.append(f"The next best, '{second.other}', scored {_lower(second)}.")
    return told


def _transfer(advice: Advice, baseline: str, fewest_patients: int) -> list[str]:
    against = advice.transfer_difference
    if against is None:
        return []
    said = f"against '{against.strategy}', training from nothing ('{baseline}') scored {_lower(against)}"
    if advice.transfer == "helped":
        return [f"Starting from the pre-trained model helped: {said}."]
    if advice.transfer == "harmed":
        return [f"Starting from the pre-trained model did not help, it did harm: {said}."]
    if advice.transfer == "no difference":
        return [f"Starting from the pre-trained model made no difference that matters: {said}."]
    if advice.patients < fewest_patients:
        return ["Whether starting from the pre-trained model helps cannot be told from so few patients."]
    return [f"Whether starting from the pre-trained model helps cannot be told: {said}."]


def _expect(expected: Expected) -> str:
    if expected.dice is None or expected.gain is None or expected.gain_low is None or expected.gain_high is None:
        return f"What more annotated patients would bring: not enough cases to tell. {expected.reason}"
    more = f"{expected.gain:.2f} more than with {expected.tried}"
    gain = f"{more} (between {expected.gain_low:.2f} and {expected.gain_high:.2f})"
    return f"With {_patients(expected.n)} to train on, expect a mean Dice of about {expected.dice:.2f}: {gain}."


def _lower(difference: Difference) -> str:
    """How much lower the other one scored, and how much that could be."""
    mean = f"{abs(difference.mean):.2f} {'lower' if difference.mean > 0 else 'higher'}"
    if mean.startswith("0.00"):
        mean = "the same"
    if math.isnan(difference.low):
        return mean
    low, high = difference.low, difference.high
    if low > 0:
        return f"{mean} (between {low:.2f} and {high:.2f} lower)"
    if high < 0:
        return f"{mean} (between {-high:.2f} and {-low:.2f} higher)"
    return f"{mean} (anything from {-low:.2f} higher to {high:.2f} lower)"


def _patients(count: int) -> str:
    return "one patient" if count == 1 else f"{count} patients"


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)
