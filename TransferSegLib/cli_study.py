"""The commands ``study`` and ``compare``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import PREPARATION_PANEL, TRAINING_PANEL, Cache, Channels, Labels, Statistics, numbers, split_names, takes
from .preparation import Preparation
from .recipe import Recipe
from .terminal import REPORT_PANEL, Reporting, print_table, session
from .workforce import WORK_PANEL, Workers

if TYPE_CHECKING:
    from .events import CancelToken, OnEvent
    from .study.conduct import PlannedStudy
    from .study.publish import Published

_PROTOCOL_PANEL = "What to compare"

Dataset = Annotated[
    str, typer.Argument(help="Annotated cases: folder in BraTS, nnU-Net/MSD or BIDS layout, or manifest CSV.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; the same one goes on where it was stopped.")]
Source = Annotated[str, typer.Option("--source", "-s", help="Model to transfer from: a name, a folder or a zip.")]
Strategies = Annotated[str, typer.Option(help="Strategies, comma-separated.", rich_help_panel=_PROTOCOL_PANEL)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be trained and how long it takes, and end.")]
Processes = Annotated[
    int, typer.Option(help="Processes of one training, started by torchrun.", rich_help_panel=WORK_PANEL)
]


def _option(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel=_PROTOCOL_PANEL, show_default=False)


@takes(Reporting, "reporting", REPORT_PANEL)
@takes(Workers, "workers", WORK_PANEL)
@takes(Preparation, "preparation", PREPARATION_PANEL, later=True)
def study(
    dataset: Dataset,
    out: Out,
    preparation: Callable[[], Preparation],
    workers: Workers,
    reporting: Reporting,
    source: Source = "",
    protocol: Annotated[
        str,
        typer.Option(
            help="paper: full sizes at 1 mm, for a GPU. desk: full sizes at 2 mm, 1,200 steps each. smoke: everything "
            "once in a minute or two.",
            rich_help_panel=_PROTOCOL_PANEL,
        ),
    ] = "desk",
    sizes: Annotated[str, _option("Patients to train on, comma-separated. Default: as --protocol says.")] = "",
    strategies: Strategies = "scratch,last-three,decoder,all",
    seeds: Annotated[int, _option("Repetitions. Default: as --protocol says.")] = 0,
    test: Annotated[str, _option("Test set: a number or a share of the patients, or names of cases.")] = "",
    test_folds: Annotated[
        int, _option("Instead of a test set: test on everybody once, in so many parts. For few cases.")
    ] = 1,
    validation: Annotated[
        str, _option("Patients that choose the epoch: a number or a share; 0: the last epoch is taken.")
    ] = "",
    folds: Annotated[int, _option("Parts of the cross-validation that chooses hyper-parameters.")] = 0,
    train: Annotated[
        list[str],
        _option(
            "Option of the training: learning-rate=0.01, epochs=80. Of several values, learning-rate=0.01/0.003, "
            "the best is chosen by cross-validation. Can be repeated."
        ),
    ] = [],  # noqa: B006
    steps: Annotated[int, _option("Training steps of each training, in place of epochs; 0: epochs.")] = -1,
    labels: Labels = "",
    channels: Channels = "",
    statistics: Statistics = "",
    processes_per_run: Processes = 1,
    cache: Cache = "",
    dry_run: DryRun = False,
) -> None:
    """How well each strategy does with how many cases: the experiment of Kaur et al. 2019 on any dataset."""
    with session(reporting) as (on_event, cancel):
        from .study.design import change_design, find_protocol

        chosen = find_protocol(protocol)
        design = change_design(
            chosen.design,
            train,
            sizes=tuple(numbers(sizes, int, "--sizes")) or None,
            strategies=split_names(strategies),
            seeds=seeds or None,
            test=test or None,
            test_folds=test_folds,
            validation=validation or None,
            folds=folds or None,
            steps=None if steps < 0 else steps,
        )
        wanted = preparation()
        if wanted.chosen().get("spacing") is None:
            wanted = replace(wanted, spacing=chosen.spacing)
        options: dict[str, Any] = {
            "labels": labels or None,
            "channels": split_names(channels) or None,
            "statistics": statistics or None,
            "preparation": wanted,
            "cache": cache or None,
            "processes": processes_per_run,
        }
        from .study.conduct import plan_study, run_study
        from .study.publish import publish_study

        if dry_run:
            planned = plan_study(dataset, out, source or None, design, on_event=on_event, **options)
            _tell_cost(planned, reporting.events, on_event, cancel)
            return
        done = run_study(
            dataset,
            out,
            source or None,
            design,
            workers,
            reporting.threads,
            0,
            on_event,
            cancel,
            **options,
        )
        published = publish_study(done, _command_line(), on_event if reporting.events else _without_results(on_event))
    _tell(published, reporting)
    if done.failed:
        raise typer.Exit(1)


@takes(Reporting, "reporting", REPORT_PANEL)
@takes(Workers, "workers", WORK_PANEL)
@takes(Recipe, "recipe", TRAINING_PANEL, later=True, without=("seed",))
@takes(Preparation, "preparation", PREPARATION_PANEL, later=True)
def compare(
    dataset: Dataset,
    out: Out,
    recipe: Callable[[], Recipe],
    preparation: Callable[[], Preparation],
    workers: Workers,
    reporting: Reporting,
    source: Source = "",
    strategies: Strategies = "scratch,last-three,decoder,all",
    sizes: Annotated[
        str,
        _option(
            "Patients to train on, comma-separated. Default: a third, two thirds and all that a fold leaves, so that "
            "it can be told what more cases would bring."
        ),
    ] = "",
    folds: Annotated[int, _option("Parts of the cross-validation. Default: 4.")] = 4,
    seeds: Annotated[int, _option("Repetitions. Default: 1.")] = 1,
    labels: Labels = "",
    channels: Channels = "",
    cache: Cache = "",
    dry_run: DryRun = False,
) -> None:
    """Which strategy to use: all of them and the baseline on your own cases, by cross-validation."""
    with session(reporting) as (on_event, cancel):
        from .datasets import find_cases
        from .model import load_model
        from .plan import annotated_cases, choose_channels
        from .study.compare import comparing_design
        from .study.conduct import plan_study, run_study
        from .study.publish import publish_comparison

        parent = load_model(source) if source else None
        found = find_cases(dataset, choose_channels(split_names(channels), parent))
        cases, _ = annotated_cases(found)
        design = comparing_design(
            cases, recipe(), numbers(sizes, int, "--sizes"), split_names(strategies), folds, seeds
        )
        options: dict[str, Any] = {
            "labels": labels or None,
            "channels": split_names(channels) or None,
            "preparation": preparation(),
            "cache": cache or None,
        }
        if dry_run:
            planned = plan_study(found, out, source or None, design, on_event=on_event, **options)
            _tell_cost(planned, reporting.events, on_event, cancel)
            return
        done = run_study(found, out, source or None, design, workers, reporting.threads, 0, on_event, cancel, **options)
        published = publish_comparison(
            done, _command_line(), on_event if reporting.events else _without_results(on_event)
        )
    _tell(published, reporting)
    if done.failed:
        raise typer.Exit(1)


def _tell(published: Published, reporting: Reporting) -> None:
    """On a terminal the table comes first, then what it means."""
    if reporting.events:
        return
    print_table(published.table)
    print()
    for sentence in published.sentences:
        print(sentence)
    print(f"\nReport: {published.report}")


def _without_results(on_event: OnEvent) -> OnEvent:
    """All but the results, which are told otherwise."""
    from .events import Event, Result

    def show(event: Event) -> None:
        if not isinstance(event, Result):
            on_event(event)

    return show


def _tell_cost(study: PlannedStudy, events: bool, on_event: OnEvent, cancel: CancelToken) -> None:
    """What would be trained, as a table and sentences, or as the values of a result."""
    from .announcement import duration
    from .events import Result
    from .study.cost import study_cost

    cost = study_cost(study, on_event, cancel)
    trainings = sum(choosing + final for choosing, final, _ in cost.rows.values())
    if events:
        values = {"trainings": trainings, "done": cost.done, "steps": cost.steps, "seconds": round(cost.seconds, 1)}
        on_event(Result({**values, "memory_gb": round(cost.memory_gb, 2), "cache_gb": round(cost.cache_gb, 2)}))
        return
    rows = [["patients", "strategy", "to choose", "final", "steps"]]
    for (size, strategy), (choosing, final, steps) in cost.rows.items():
        rows.append([str(size), strategy, str(choosing), str(final), f"{steps:,}"])
    print_table(rows)
    print()
    print(f"{trainings} trainings, {cost.done} of them done before.")
    print(f"A step takes {cost.step_s:.2g} s here: about {duration(cost.seconds)} with one worker on this machine.")
    print(f"Each worker needs about {cost.memory_gb:.1f} GB of memory; prepared cases take {cost.cache_gb:.1f} GB.")


def _command_line() -> str:
    """The command as it was typed, to be repeated."""
    return shlex.join(["transferseg", *sys.argv[1:]])
