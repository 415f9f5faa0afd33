"""Publish: the tables, figures and the report of a study, made anew from what lies in its folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..card import INTENDED_USE
from ..errors import DependencyError, InputError
from ..events import OnEvent, Result, Warning, ignore
from ..labels import LabelScheme
from ..recipe import Recipe
from ..record import libraries
from ..tables import write_table
from .advice import advise
from .cell import setting_name
from .conduct import Study
from .figures import choose_patients, draw_patients, draw_sizes
from .panels import patient_row
from .paper_points import PAPER_DICE, PAPER_SIZES
from .report import Report, write_report
from .scores import Score, read_scores, regions_of, write_scores
from .statistics import Summary, summarise, write_summary

# What of the advice the result tells; the report has all of it.
_ANSWER = ("strategy", "verdict", "probability", "sentences")

# Rows of the figure of patients: two of each grade in the paper.
_PATIENTS = 4


@dataclass(frozen=True)
class Published:
    """What was made of a study.

    Attributes
    ----------
    table : Dice by number of patients and strategy, for printing: a header, then the rows.
    sentences : what it means.
    report : the HTML file.
    """

    table: list[list[str]]
    sentences: tuple[str, ...]
    report: Path


def publish_study(study: Study, command: str = "", on_event: OnEvent = ignore) -> Published:
    """Write ``scores.csv``, ``summary.csv``, ``runs.csv``, ``timings.csv``, the figures and ``report.html``.

    Where matplotlib is missing there are no figures, and a warning says so.

    Raises
    ------
    InputError : no training has ended well, so that there is nothing to tell; or the folder cannot be written.
    ResourceError : the disk is full.
    """
    return _publish(study, "How many annotated patients, and which strategy?", _INTRODUCTION, command, on_event)


def publish_comparison(study: Study, command: str = "", on_event: OnEvent = ignore) -> Published:
    """The same for a comparison on the user's own cases."""
    return _publish(study, "Which strategy for your cases?", _COMPARISON, command, on_event)


_INTRODUCTION = (
    "Networks were trained on {sizes} annotated patients with each strategy and from random weights, {seeds}, and "
    "tested on {tested} patients that none of them had seen. {validation}"
)
_COMPARISON = (
    "Every one of the {tested} patients was segmented by networks that were trained on others only: on {sizes} of "
    "them, with each strategy and from random weights, {seeds}. {validation}"
)


def _publish(study: Study, title: str, introduction: str, command: str, on_event: OnEvent) -> Published:
    out, scheme = study.folder, study.plan.scheme
    if not study.trained:
        first = study.failed[0]
        raise InputError(f"No training has ended well. {first.case}: {first.cause}", first.remedy)
    # What the files say is what is told: the same whether or not the study was stopped in between.
    every = read_scores(write_scores(study.scores, out / "scores.csv"))
    # The scheme's regions are what is asked about: p-values are corrected for these and no others.
    scores = [score for score in every if score.region in scheme.regions]
    summaries = summarise(scores)
    write_summary(summaries, out / "summary.csv")
    runs = _runs(study)
    write_table([str(cell) for cell in runs[0]], runs[1:], out / "runs.csv")
    write_table(
        ["run", "seconds"], [[item.job.name, item.outcome.seconds] for item in study.trained], out / "timings.csv"
    )
    advice = advise(scores, _more(study))
    figures: dict[str, Path] = {}
    try:
        figures = _draw(study, scores, summaries)
    except DependencyError as error:
        on_event(Warning(f"No figures: {error}"))
    tested = {score.patient for score in scores}
    report = write_report(
        out,
        Report(
            title=title,
            introduction=introduction.format(
                sizes=_listed(study.design.sizes),
                seeds="once" if study.design.seeds == 1 else f"{study.design.seeds} times",
                tested=len(tested),
                validation=_validation(study),
            ),
            advice=advice,
            scores=scores,
            summaries=summaries,
            runs=[[_shown(cell) for cell in row] for row in runs],
            settings=_settings(study),
            command=command,
            failed=[(failure.case, failure.cause, failure.remedy) for failure in study.failed],
            figures=figures,
            note=INTENDED_USE,
        ),
    )
    counts, told = {"trainings": len(study.trained), "failed": len(study.failed)}, advice.to_dict()
    on_event(Result({"report": report, **counts, **{name: told[name] for name in _ANSWER}}))
    return Published(_table(summaries, scheme), advice.sentences, report)


def _draw(study: Study, scores: Sequence[Score], summaries: Sequence[Summary]) -> dict[str, Path]:
    out, scheme = study.folder, study.plan.scheme
    paper = PAPER_DICE if scheme.name == "glioma" and {*study.design.sizes} & {*PAPER_SIZES} else None
    figures = {
        "Dice on patients that were not trained on, against the number of training patients": draw_sizes(
            scores, summaries, regions_of(scores), out / "dice_by_size.png", paper
        )
    }
    # The first that were tested: of others all trainings may have failed.
    size, seed = min((score.n, score.seed) for score in scores)
    shown = [score for score in scores if score.seed == seed]
    rows = [patient_row(study, chosen, size, seed, scores) for chosen in choose_patients(shown, size, _PATIENTS)]
    if rows:
        caption = f"Patients that were not trained on, as seen after training on {size} patients"
        figures[caption] = draw_patients(rows, scheme, out / "patients.png")
    return figures


def _runs(study: Study) -> list[list[object]]:
    """A row for each final training: what it was trained on, what was chosen for it, and its best epoch."""
    names = list(study.design.varied)
    tried = study.design.settings if study.design.chooses else ()
    header = ["fold", "seed", "n", "strategy", "cases", *names, "epochs", "best_epoch", "validation"]
    rows: list[list[object]] = [[*header, *(f"cross-validated {setting_name(setting)}" for setting in tried)]]
    for item in study.trained:
        place, outcome = item.cell.arrangement, item.outcome
        rows.append(
            [place.fold, place.seed, item.cell.size, item.cell.strategy, len(item.job.training)]
            + [",".join(value) if isinstance(value, tuple) else value for value in map(item.setting.__getitem__, names)]
            + [item.job.recipe.epochs, outcome.best_epoch]
            + [outcome.curve[outcome.best_epoch - 1] if outcome.curve else math.nan]
            + [*item.choice]
        )
    return rows


def _more(study: Study) -> tuple[int, int]:
    """Numbers of patients to look ahead to: half as many again as there are, and twice as many."""
    there = len({case.patient for case in study.plan.roles.training})
    return math.ceil(1.5 * there), 2 * there


def _validation(study: Study) -> str:
    chosen = study.arrangements[0].validation
    if not chosen:
        return "The last epoch was taken."
    return f"{len({case.patient for case in chosen})} other patients chose the epoch."


def _settings(study: Study) -> dict[str, str]:
    design, plan, task = study.design, study.plan, study.task
    source = "none" if plan.parent is None else f"{plan.parent.name} ({plan.parent.sha256[:12]})"
    recipe = design.fixed_recipe
    budget = f"{design.steps} steps" if design.steps else f"{recipe.epochs} epochs"
    if len(design.varied.get("epochs", ())) > 1:
        budget = "see the settings below"
    if design.chooses:
        tried = f"one of {'; '.join(map(setting_name, design.settings))}, by {design.folds}-fold cross-validation"
    else:
        default = asdict(Recipe())
        told = {"epochs", "augmentation"}
        given = {name: value for name, value in asdict(recipe).items() if value != default[name] and name not in told}
        tried = setting_name(given) or "the defaults"
    preparation = ", ".join(f"{name} {value}" for name, value in task.preparation.chosen().items()) or "the source's"
    return {
        "source": source,
        "channels": ", ".join(plan.channels),
        "preparation": preparation,
        "budget of a training": budget,
        "hyper-parameters": tried,
        "augmentation": ", ".join(recipe.augmentation) or "none",
        "libraries": ", ".join(f"{name} {version}" for name, version in libraries().items()),
    }


def _table(summaries: Sequence[Summary], scheme: LabelScheme) -> list[list[str]]:
    found = {(item.n, item.strategy, item.region): item for item in summaries}
    keys = list(dict.fromkeys((item.n, item.strategy) for item in summaries))
    rows = [["patients", "strategy", *(f"Dice {region}" for region in scheme.regions)]]
    for n, strategy in keys:
        cells = [found.get((n, strategy, region)) for region in scheme.regions]
        rows.append([str(n), strategy, *("-" if item is None else _interval(item) for item in cells)])
    return rows


def _interval(item: Summary) -> str:
    return f"{item.mean:.3f}" + (f" [{item.low:.3f}, {item.high:.3f}]" if math.isfinite(item.low) else "")


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "" if not math.isfinite(value) else f"{value:.4g}"
    return str(value)
