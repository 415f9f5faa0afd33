"""Figures of a study: Dice against the number of training patients, and patients as each strategy sees them.

They need matplotlib, which comes with the extra ``study``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..figures import add_class_legend, look_of, new_figure, plain_axes, plot_overlay, save_figure
from ..labels import LabelScheme
from .paper_points import PAPER_SIZES
from .scores import Score, in_order
from .statistics import Summary, patient_means

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BASELINE = "scratch"


@dataclass(frozen=True, eq=False)
class PatientRow:
    """A patient to show.

    Attributes
    ----------
    image, reference : (i, j, k) on one grid in RAS; values, and labels of the scheme.
    predicted : strategy to labels on the same grid, in the order of the columns.
    spacing : of the grid, mm.
    channel : name of what ``image`` shows.
    dice : strategy to region to Dice of this patient, shown below its panel; may be empty.
    """

    name: str
    group: str
    image: NDArray[Any]
    reference: NDArray[Any]
    predicted: Mapping[str, NDArray[Any]]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel: str = ""
    dice: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Chosen(NamedTuple):
    """A patient to show, and the first visit by name."""

    patient: str
    case: str
    group: str


def draw_sizes(
    scores: Iterable[Score],
    summaries: Sequence[Summary],
    regions: Sequence[str],
    path: str | Path,
    paper: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> Path:
    """The paper's Fig. 2: mean Dice against the number of training patients, a panel a region, a line a strategy.

    Parameters
    ----------
    summaries : of Dice, see :func:`statistics.summarise`; their intervals over patients are the bars.
    regions : the panels, see :func:`scores.regions_of`.
    paper : :data:`paper_points.PAPER_DICE`, to be drawn as thin dashed lines. None: not drawn.

    Raises
    ------
    DependencyError : matplotlib is not installed.
    InputError : there is nothing to draw, or the folder cannot be written.
    """
    if not regions or not summaries:
        raise InputError("There are no scores to draw.", "Finish at least one run.")
    strategies = in_order(item.strategy for item in summaries)
    seeds = _seed_means(scores, summaries[0].metric)
    shown = {region: paper[region] for region in regions if region in paper} if paper else {}
    sizes = sorted({item.n for item in summaries} | (set(PAPER_SIZES) if shown else set()))
    figure, (row,) = new_figure(max(6.0, 4.1 * len(regions)), 4.6)
    from matplotlib.lines import Line2D

    panels = row.subplots(1, len(regions), sharey=True, squeeze=False)[0]
    margin = 1.25 * (sizes[-1] / sizes[0]) ** 0.03
    # Side by side, so that bars and dots do not hide each other: a small part of the axis apart.
    step = (sizes[-1] / sizes[0] * margin**2) ** 0.012
    for axes, region in zip(panels, regions, strict=True):
        for name, points in shown.get(region, {}).items():
            if name in strategies:
                axes.plot(PAPER_SIZES, points, "--", color=look_of(name)[0], linewidth=1, alpha=0.6, zorder=1)
        for index, strategy in enumerate(strategies):
            of_it = [item for item in summaries if (item.strategy, item.region) == (strategy, region)]
            shift = step ** (index - (len(strategies) - 1) / 2)
            _plot_strategy(axes, of_it, seeds, shift, step**0.35)
        axes.set(title=region, xlabel="training patients", xscale="log", ylim=(0, 1), xticks=sizes)
        axes.set_xlim(sizes[0] / margin, sizes[-1] * margin)
        axes.set_xticklabels([str(n) for n in sizes])
        axes.minorticks_off()
        plain_axes(axes)
    panels[0].set_ylabel("Dice")
    handles = [
        Line2D([], [], color=look_of(name)[0], marker=look_of(name)[1], markersize=6, linewidth=2, label=_title(name))
        for name in strategies
    ]
    if shown:
        handles.append(Line2D([], [], color="#777777", linestyle="--", linewidth=1, label="Kaur et al. 2019"))
    columns = len(handles) if len(regions) > 1 or len(handles) < 5 else 3
    row.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    note = "bars: 95 % interval over patients" + ("; small dots: seeds" if any(map(_several, seeds.values())) else "")
    figure.suptitle(note, fontsize=9, color="#444444", x=0.99, ha="right")
    return save_figure(figure, path)


def draw_patients(rows: Sequence[PatientRow], scheme: LabelScheme, path: str | Path) -> Path:
    """The paper's Fig. 3: a row a patient; the image, the reference, and what each strategy found.

    Shown is the axial slice with most of the reference; where that is empty, with most of what was found.

    Raises
    ------
    DependencyError : matplotlib is not installed.
    InputError : there is no row, the folder cannot be written, or an array is not on the grid of its image.
    """
    if not rows:
        raise InputError("There are no patients to draw.", "Finish at least one run.")
    strategies = list(dict.fromkeys(strategy for row in rows for strategy in row.predicted))
    regions = [name for name in scheme.regions if any(name in dice for row in rows for dice in row.dice.values())]
    figure, parts = new_figure(2.0 * (2 + len(strategies)), 2.5 * len(rows) + 0.5, rows=len(rows))
    for number, (row, part) in enumerate(zip(rows, parts, strict=True)):
        panels = part.subplots(1, 2 + len(strategies), squeeze=False)[0]
        image, labels = _framed(row)
        slice_k = _slice_to_show(labels)
        titles = [row.channel or "image", "reference", *(_title(strategy) for strategy in strategies)]
        for axes, name, title in zip(panels, ["", "reference", *strategies], titles, strict=True):
            if name and name not in labels:
                axes.set_axis_off()
                continue
            shown = labels.get(name)
            plot_overlay(axes, image, shown, scheme, slice_k, "" if number else title, row.spacing)
            if row.dice.get(name):
                values = " / ".join(f"{row.dice[name][r]:.2f}" if r in row.dice[name] else "-" for r in regions)
                axes.text(0.5, -0.03, values, transform=axes.transAxes, ha="center", va="top", fontsize=8)
        part.supylabel("\n".join(filter(None, (row.name, row.group))), fontsize=8)
    add_class_legend(parts[-1], scheme)
    if regions:
        figure.suptitle(f"Below each panel: Dice of {' / '.join(regions)}", fontsize=9, color="#444444")
    return save_figure(figure, path)


def choose_patients(scores: Iterable[Score], n: int, count: int = 4, metric: str = "dice") -> list[Chosen]:
    """Patients for :func:`draw_patients`: of all groups and of good and bad quality, not the best ones.

    The rule: a patient's quality is the mean over regions, strategies, seeds and folds with ``n`` training patients;
    only patients that every strategy was tested on take part. The places are dealt to the groups in turn, by name, as
    long as each has patients. With m places a group shows those in the middle of each m-th of its patients, sorted by
    quality: with two places those at a quarter and at three quarters. Groups by name, in each the better ones first.
    """
    here = sorted((score for score in scores if score.n == n and metric in score.values), key=lambda score: score.key)
    strategies = {score.strategy for score in here}
    seen: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, str] = {}
    cases: dict[str, str] = {}
    for score in here:
        seen[score.patient].add(score.strategy)
        groups.setdefault(score.patient, score.group)
        cases[score.patient] = min(cases.get(score.patient, score.case), score.case)
    quality = patient_means(
        (score.patient, score.values[metric])
        for score in here
        if seen[score.patient] == strategies and not np.isnan(score.values[metric])
    )
    members: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(quality, key=lambda patient: (groups[patient], -quality[patient], patient)):
        members[groups[patient]].append(patient)
    places = dict.fromkeys(members, 0)
    while sum(places.values()) < min(count, len(quality)):
        # The next place goes to the group with the fewest places that still has patients.
        group = min((name for name in members if places[name] < len(members[name])), key=lambda name: places[name])
        places[group] += 1
    chosen = []
    for group, patients in members.items():
        for place in range(places[group]):
            patient = patients[int((place + 0.5) / places[group] * len(patients))]
            chosen.append(Chosen(patient, cases[patient], group))
    return chosen


def _plot_strategy(
    axes: Axes,
    summaries: Sequence[Summary],
    seeds: Mapping[tuple[str, str, int], Sequence[float]],
    shift: float,
    beside: float,
) -> None:
    """The line of means, bars for the interval over patients, and a small dot for each seed ``beside`` it."""
    if not summaries:
        return
    strategy = summaries[0].strategy
    color, marker = look_of(strategy)
    x = np.array([item.n for item in summaries]) * shift
    axes.plot(x, [item.mean for item in summaries], marker=marker, markersize=5, color=color, linewidth=1.8, zorder=4)
    for place, item in zip(x, summaries, strict=True):
        if np.isfinite(item.low):
            axes.vlines(place, item.low, item.high, color=color, linewidth=2.5, alpha=0.45, zorder=3)
        means = seeds.get((strategy, item.region, item.n), ())
        if _several(means):
            axes.plot([place * beside] * len(means), means, "o", color=color, markersize=3, markeredgewidth=0, zorder=5)


def _seed_means(scores: Iterable[Score], metric: str) -> dict[tuple[str, str, int], list[float]]:
    """(strategy, region, n) to the mean over patients of each seed."""
    values: dict[tuple[str, str, int, int], list[tuple[str, float]]] = defaultdict(list)
    for score in scores:
        value = score.values.get(metric, np.nan)
        if not np.isnan(value):
            values[score.strategy, score.region, score.n, score.seed].append((score.patient, value))
    means: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for (strategy, region, n, _), found in sorted(values.items()):
        means[strategy, region, n].append(float(np.mean(list(patient_means(found).values()))))
    return means


def _framed(row: PatientRow) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """The image and all label maps, cropped to the same box, so that all panels of the row have one scale."""
    labels = {"reference": row.reference, **row.predicted}
    for name, found in labels.items():
        if found.shape != row.image.shape:
            raise InputError(
                f"'{name}' of {row.name} has the shape {found.shape}, its image {row.image.shape}.",
                "Resample both onto one grid.",
            )
    shown = row.image != 0
    for found in labels.values():
        shown = shown | (found > 0)
    if not shown.any():
        return row.image, labels
    places = np.argwhere(shown)
    box = tuple(slice(low, high + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
    image = row.image[box].copy()
    # A panel is cropped to what is not 0: two corners hold the box, in the darkest value that there is.
    if (image != 0).any():
        darkest = image[image != 0].min()
        for corner in ((0, 0, 0), (-1, -1, -1)):
            image[corner] = image[corner] or darkest
    return image, {name: found[box] for name, found in labels.items()}


def _slice_to_show(labels: Mapping[str, NDArray[Any]]) -> int:
    reference = (labels["reference"] > 0).sum((0, 1))
    found = sum((one > 0).sum((0, 1)) for one in labels.values())
    for count in (reference, np.asarray(found)):
        if count.any():
            return int(count.argmax())
    return int(reference.size // 2)


def _several(means: Sequence[float]) -> bool:
    return len(means) > 1


def _title(strategy: str) -> str:
    return f"{strategy} (baseline)" if strategy == _BASELINE else strategy
