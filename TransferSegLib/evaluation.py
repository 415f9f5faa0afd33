"""Evaluation: label files against their references, as a table of cases and a summary with intervals."""

from __future__ import annotations

import csv
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import Cancelled, InputError, TransferSegError
from .events import CancelToken, Failure, OnEvent, Warning, ignore, track
from .grid import Grid
from .labels import LabelScheme
from .metrics import score_case
from .pairing import LabelPair, pair_labels
from .resample import resample_labels
from .tables import write_table
from .volume import read_volume

__all__ = [
    "TABLE_METRICS",
    "Evaluation",
    "LabelPair",
    "Row",
    "Summary",
    "case_rows",
    "evaluate",
    "pair_labels",
    "read_metrics",
    "summarise",
    "write_metrics",
    "write_summary",
]

TABLE_METRICS = ("dice", "sensitivity", "hd95_mm", "volume_difference_ml", "lesion_f1")


@dataclass(frozen=True)
class Row:
    """The metrics of one region of one case; NaN where a metric has no meaning."""

    case: str
    region: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """One metric of one region over the cases that have it.

    Attributes
    ----------
    n : cases where the metric is not NaN. The other numbers are NaN when there is none.
    sd : standard deviation with n - 1; NaN for one case.
    q1, q3 : quartiles, the ends of the interquartile range.
    ci95_low, ci95_high : 95 % bootstrap interval of the mean, see :func:`summarise`; NaN for one case.
    """

    region: str
    metric: str
    n: int
    mean: float
    median: float
    sd: float
    q1: float
    q3: float
    min: float
    max: float
    ci95_low: float
    ci95_high: float


@dataclass(frozen=True)
class Evaluation:
    """What came out, case by case and summed up.

    Attributes
    ----------
    rows : one for each case and region.
    summaries : one for each region and metric.
    failed : cases that could not be scored, each with its cause.
    """

    rows: tuple[Row, ...]
    summaries: tuple[Summary, ...]
    failed: tuple[Failure, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Row], failed: Iterable[Failure] = (), seed: int = 0) -> Evaluation:
        """Sum up the rows of cases that were scored in memory, see :func:`case_rows`."""
        kept = tuple(rows)
        return cls(kept, summarise(kept, seed), tuple(failed))

    def summary(self, region: str, metric: str) -> Summary:
        """Raises
        ------
        InputError : nothing was measured by these names.
        """
        for item in self.summaries:
            if (item.region, item.metric) == (region, metric):
                return item
        raise InputError(f"There is no metric '{metric}' of a region '{region}'.", "Check both names.")

    def to_table(self, metrics: Sequence[str] = TABLE_METRICS) -> list[list[str]]:
        """For printing: a header, then one line a region with "mean [95 % interval]" of those ``metrics`` it has."""
        shown = [metric for metric in metrics if any(metric in row.values for row in self.rows)]
        cases = Counter(row.region for row in self.rows)
        lines = [
            [region, str(n)] + [_cell(self.summary(region, metric)) for metric in shown] for region, n in cases.items()
        ]
        return [["region", "cases", *shown], *lines]

    def save(self, out: str | Path) -> tuple[Path, Path]:
        """Write the rows and the summary as CSV.

        Parameters
        ----------
        out : a file ``NAME.csv``, which gets the rows, with the summary beside it as ``NAME_summary.csv``; anything
            else is a folder, which gets ``metrics.csv`` and ``metrics_summary.csv``.

        Raises
        ------
        InputError : the folder cannot be written.
        ResourceError : the disk is full.
        """
        out = Path(out)
        path = out if out.suffix.lower() == ".csv" and not out.is_dir() else out / "metrics.csv"
        beside = path.with_name(f"{path.stem}_summary.csv")
        return write_metrics(self.rows, path), write_summary(self.summaries, beside)


def evaluate(
    predicted: str | Path,
    reference: str | Path,
    scheme: LabelScheme,
    out: str | Path | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> Evaluation:
    """Score label files against their references.

    A case that cannot be scored is told by a Failure event and listed in ``Evaluation.failed``; the others go on.

    Parameters
    ----------
    predicted, reference : see :func:`pair_labels`.
    scheme : what the values of both mean.
    out : where to write the tables, see :meth:`Evaluation.save`. None: nowhere.

    Raises
    ------
    InputError : a path is missing, no predicted file has a reference, or ``out`` cannot be written.
    Cancelled : on request; nothing is written.
    """
    pairs = pair_labels(Path(predicted), Path(reference), on_event)
    rows: list[Row] = []
    failed: list[Failure] = []
    for pair in track(pairs, "evaluate", len(pairs), on_event, cancel or CancelToken()):
        try:
            rows += _score_pair(pair, scheme, on_event)
        except Cancelled:
            raise
        except TransferSegError as error:
            failed.append(Failure.of(error, pair.name))
            on_event(failed[-1])
    evaluation = Evaluation.of(rows, failed)
    if out is not None:
        evaluation.save(out)
    return evaluation


def case_rows(case: str, scores: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """The result of :func:`TransferSegLib.metrics.score_case` as rows."""
    return [Row(case, region, dict(values)) for region, values in scores.items()]


def summarise(rows: Iterable[Row], seed: int = 0) -> tuple[Summary, ...]:
    """Sum up each metric of each region over cases, leaving out NaN.

    The interval of the mean is the bias-corrected and accelerated bootstrap over cases (BCa; Efron 1987,
    doi:10.1080/01621459.1987.10478410) with 9999 resamples, or the percentile bootstrap where BCa does not exist. All
    cases count as independent: with several visits of a patient it is too narrow.

    Parameters
    ----------
    seed : of the resampling; the same for each metric, so that the order of metrics does not matter.
    """
    columns: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for metric, value in row.values.items():
            columns.setdefault((row.region, metric), []).append(float(value))
    regions = list(dict.fromkeys(region for region, _ in columns))
    return tuple(
        _summary(region, metric, values, seed)
        for wanted in regions
        for (region, metric), values in columns.items()
        if region == wanted
    )


def write_metrics(rows: Sequence[Row], path: str | Path) -> Path:
    """Write one line for each case and region: ``case,region,`` and the metrics; an empty cell where there is none.

    Raises
    ------
    InputError : the folder cannot be written.
    ResourceError : the disk is full.
    """
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.values))
    lines = [[row.case, row.region, *(row.values.get(metric, math.nan) for metric in metrics)] for row in rows]
    return write_table(["case", "region", *metrics], lines, path)


def read_metrics(path: str | Path) -> list[Row]:
    """The inverse of :func:`write_metrics`.

    Raises
    ------
    InputError : the file is missing or is no such table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            lines = list(csv.DictReader(handle))
        return [
            Row(
                line.pop("case"),
                line.pop("region"),
                {metric: float(text) if text else math.nan for metric, text in line.items()},
            )
            for line in lines
        ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is no table of metrics: {error!r}.", "Give a metrics.csv of evaluate.") from error


def write_summary(summaries: Sequence[Summary], path: str | Path) -> Path:
    """Write one line for each region and metric, with the fields of :class:`Summary`; an empty cell for NaN.

    Raises
    ------
    InputError : the folder cannot be written.
    ResourceError : the disk is full.
    """
    return write_table([field.name for field in fields(Summary)], (astuple(item) for item in summaries), path)


def _score_pair(pair: LabelPair, scheme: LabelScheme, on_event: OnEvent) -> list[Row]:
    predicted, reference = read_volume(pair.predicted), read_volume(pair.reference)
    if pair.predicted.resolve() == pair.reference.resolve():
        on_event(Warning(f"{pair.predicted} is compared with itself.", pair.name))
    true = scheme.encode(reference.data, pair.reference)
    found = scheme.encode(predicted.data, pair.predicted)
    if not predicted.grid.matches(reference.grid):
        _require_same_voxels(pair, predicted.grid, reference.grid)
        # The same voxels, stored with axes permuted or flipped: they are copied, not interpolated.
        found = resample_labels(found, predicted.grid, reference.grid, len(scheme))
    if not true.any():
        on_event(Warning(f"{pair.reference} is empty: no voxel is labelled.", pair.name))
    grid = reference.grid
    return case_rows(pair.name, score_case(found, true, scheme, grid.spacing, voxel_ml=grid.voxel_ml))


def _require_same_voxels(pair: LabelPair, predicted: Grid, reference: Grid) -> None:
    if predicted.reoriented().matches(reference.reoriented()):
        return
    if predicted.shape != reference.shape:
        why = f"it has the shape {predicted.shape}, not {reference.shape}"
    else:
        away = np.linalg.norm(predicted.corners() - reference.corners(), axis=1).max()
        why = f"it lies up to {away:.3g} mm away"
    raise InputError(
        f"{pair.predicted} is not on the grid of {pair.reference}: {why}.",
        "Segment the image that the reference was drawn on, or resample the predicted label map onto it.",
    )


def _summary(region: str, metric: str, values: Sequence[float], seed: int) -> Summary:
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size:
        return Summary(region, metric, 0, *[math.nan] * 9)
    q1, median, q3 = np.quantile(known, (0.25, 0.5, 0.75)).tolist()
    sd = float(known.std(ddof=1)) if known.size > 1 else math.nan
    low, high = _interval_of_mean(known, seed)
    ends = float(known.min()), float(known.max())
    return Summary(region, metric, known.size, float(known.mean()), median, sd, q1, q3, *ends, low, high)


def _interval_of_mean(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    if values.size < 2:
        return math.nan, math.nan
    if values.min() == values.max():
        return float(values[0]), float(values[0])
    from scipy.stats import bootstrap

    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            # What it warns about is the NaN that we look at.
            warnings.simplefilter("ignore")
            # 'random_state' and not 'rng', which SciPy has since 1.15 only. In batches, to bound the memory.
            found = bootstrap((values,), np.mean, method=method, n_resamples=9999, batch=1000, random_state=seed)
        low, high = map(float, found.confidence_interval)
        if math.isfinite(low) and math.isfinite(high):
            break
    return low, high


def _cell(item: Summary) -> str:
    if not item.n:
        return "-"
    return f"{item.mean:.3g}" + (f" [{item.ci95_low:.3g}, {item.ci95_high:.3g}]" if item.n > 1 else "")
