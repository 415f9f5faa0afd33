"""Scores: the tidy table of a study, one row for each run, test case and region."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..evaluation import TABLE_METRICS
from ..strategies import STRATEGIES
from ..tables import write_table

_KEY = ("fold", "seed", "n", "strategy", "case", "region")
_COLUMNS = ("fold", "seed", "n", "strategy", "case", "patient", "group", "region")

Key = tuple[int, int, int, str, str, str]
Place = tuple[int, int, int, str, str]

# In the order of the paper's Fig. 2.
_PAPER_REGIONS = ("enhancing", "core", "whole")


@dataclass(frozen=True)
class Score:
    """How well one trained network segmented one region of one test case.

    Attributes
    ----------
    fold, seed, n, strategy : the run: outer fold, seed of the training, number of training patients, transfer strategy.
    case : the visit that was segmented.
    patient : whose visit it is. Patients, not cases, are what the statistics count.
    group : stratum of the patient, for instance the grade; may be empty.
    region : of the label scheme.
    values : metric (``dice``, ``hd95_mm``, ...) to value; NaN where it has no meaning.
    """

    fold: int
    seed: int
    n: int
    strategy: str
    case: str
    patient: str
    group: str
    region: str
    values: Mapping[str, float]

    @property
    def place(self) -> Place:
        """What two strategies must have in common to be compared."""
        return self.fold, self.seed, self.n, self.case, self.region

    @property
    def key(self) -> Key:
        """What no other score of the study shares; scores are sorted by it."""
        return self.fold, self.seed, self.n, self.strategy, self.case, self.region


def write_scores(scores: Iterable[Score], path: str | Path) -> Path:
    """Write one line for each score, sorted by :attr:`Score.key`; an empty cell for NaN or a metric it lacks.

    The order of ``scores`` and of their metrics does not matter: equal scores give equal bytes. Numbers get six
    digits, so what is read back may differ in the seventh; let the statistics see what was read back.

    Raises
    ------
    InputError : two scores have the same key, or the folder cannot be written.
    ResourceError : the disk is full.
    """
    ordered = sorted(scores, key=lambda score: score.key)
    _require_unique(ordered, f"{path} was not written")
    metrics = _metrics(ordered)
    lines = (
        [*(getattr(score, column) for column in _COLUMNS), *(score.values.get(metric, math.nan) for metric in metrics)]
        for score in ordered
    )
    return write_table([*_COLUMNS, *metrics], lines, path)


def read_scores(path: str | Path) -> list[Score]:
    """The inverse of :func:`write_scores`.

    Raises
    ------
    InputError : the file is missing, is no such table, or has a row twice.
    """
    remedy = "Give the scores.csv of a study."
    scores = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path} is no table of scores: it has no column '{missing[0]}'.", remedy)
            for line in reader:
                scores.append(_score(line, f"Row {reader.line_num} of {path}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table of scores: {error}.", remedy) from error
    _require_unique(scores, f"{path} is no table of scores")
    return scores


def in_order(strategies: Iterable[str]) -> list[str]:
    """Each strategy once: those of the library in its order, the baseline first; then any others by name."""
    there = set(strategies)
    return [name for name in STRATEGIES if name in there] + sorted(there.difference(STRATEGIES))


def regions_of(scores: Iterable[Score]) -> list[str]:
    """The regions that were scored: for glioma in the paper's order, else as they first come."""
    there = list(dict.fromkeys(score.region for score in scores))
    return sorted(there, key=_PAPER_REGIONS.index) if set(there) <= set(_PAPER_REGIONS) else there


def _score(line: dict[str, str], where: str) -> Score:
    try:
        fold, seed, n = (int(line.pop(column)) for column in ("fold", "seed", "n"))
        strategy, case, patient, group, region = (line.pop(column) for column in _COLUMNS[3:])
        values = {metric: float(text) if text else math.nan for metric, text in line.items()}
    except (ValueError, TypeError, AttributeError) as error:  # a cell that is no number, too few or too many cells
        raise InputError(f"{where} is no score: {error}.", "Give the scores.csv of a study.") from error
    if not all((strategy, case, patient, region)):
        raise InputError(f"{where} is no score: a name is empty.", "Give the scores.csv of a study.")
    return Score(fold, seed, n, strategy, case, patient, group, region, values)


def _metrics(scores: Iterable[Score]) -> list[str]:
    """Those of the evaluation in its order, then any others by name."""
    there = {metric for score in scores for metric in score.values}
    return [metric for metric in TABLE_METRICS if metric in there] + sorted(there.difference(TABLE_METRICS))


def _require_unique(scores: Iterable[Score], where: str) -> None:
    seen: set[Key] = set()
    for score in scores:
        if score.key in seen:
            named = ", ".join(f"{name} {value}" for name, value in zip(_KEY, score.key, strict=True))
            raise InputError(f"{where}: there are two scores of {named}.", "Keep one of them.")
        seen.add(score.key)
