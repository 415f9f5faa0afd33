"""Conduct: does every training of a study, wherever there are workers, and goes on with a study that was stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..cache import content_key, default_cache, prepare_cases
from ..case_files import CaseFiles
from ..datasets import Dataset
from ..errors import Cancelled, InputError, TransferSegError
from ..evaluation import read_metrics
from ..events import CancelToken, Clock, Event, Failure, OnEvent, Progress, Warning, ignore
from ..files import atomic_path
from ..labels import LabelScheme
from ..lock import LOCK, hold
from ..model import Model, load_model, save_model
from ..plan import Plan, make_plan
from ..preparation import Preparation
from ..workforce import Workers, Workforce, gather_workers
from .arrangement import Arrangement, arrange
from .cell import Cell, choose_setting, make_cells
from .design import Design, Setting
from .job import Job, Outcome, Task, finished_outcome, forget_other_setting, run_job
from .scores import Score

_DESIGN, _SOURCE, _STOP = "study.json", "source", "stop"

# In the file of the design, by case: see :attr:`PlannedStudy.content`.
_CONTENT = "content"

# What of a design may change from one call to the next: it adds trainings and leaves the others as they are.
_ADDS = ("sizes", "strategies", "seeds")


@dataclass(frozen=True)
class Trained:
    """What became of a cell.

    Attributes
    ----------
    choice : cross-validated score of each setting, in the order of :attr:`Design.settings`; empty: nothing to choose.
    job, outcome : of the final training.
    """

    cell: Cell
    setting: Setting
    choice: tuple[float, ...]
    job: Job
    outcome: Outcome


@dataclass(frozen=True)
class Study:
    """All that was trained.

    Attributes
    ----------
    failed : trainings that failed, each with its cause (``case`` is the name of the training).
    """

    folder: Path
    plan: Plan
    task: Task
    design: Design
    arrangements: tuple[Arrangement, ...]
    trained: tuple[Trained, ...]
    failed: tuple[Failure, ...]

    @property
    def scores(self) -> tuple[Score, ...]:
        """Of every test case of every final training."""
        return tuple(score for item in self.trained for score in _scores(item))


@dataclass(frozen=True)
class PlannedStudy:
    """A study before its first training: everything is decided and checked, nothing is computed."""

    out: Path
    plan: Plan
    design: Design
    arrangements: tuple[Arrangement, ...]
    task: Task

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(make_cells(self.out, self.task, self.design, self.arrangements))

    @cached_property
    def content(self) -> Mapping[str, str]:
        """By the name of a case what tells whether its files are still the same."""
        return {case.name: content_key(case, self.plan.channels) for case in self.plan.roles.training}

    @property
    def every(self) -> list[CaseFiles]:
        """All cases that play a part, by name."""
        names = {
            case.name: case
            for place in self.arrangements
            for case in (*place.test, *place.validation, *place.training(self.design.sizes[-1]))
        }
        return [names[name] for name in sorted(names)]


def plan_study(
    dataset: str | Path | Dataset | Sequence[CaseFiles],
    out: str | Path,
    source: str | Path | Model | None,
    design: Design,
    *,
    labels: str | Path | LabelScheme | None = None,
    channels: Sequence[str] | None = None,
    statistics: str | None = None,
    preparation: Preparation | None = None,
    cache: str | Path | None = None,
    processes: int = 1,
    on_event: OnEvent = ignore,
) -> PlannedStudy:
    """Decide who is trained on and tested on what. Writes nothing.

    Parameters
    ----------
    dataset, out, source : see :func:`run_study`.
    labels, channels, statistics, preparation, cache : see :func:`runs.fine_tune`.
    processes : of one training; 2 or more are started by ``torchrun`` and share each batch.

    Raises
    ------
    InputError : there are too few patients, an option makes no sense, or ``out`` holds something else.
    """
    out = Path(out).absolute()
    preparation = preparation or Preparation()
    parent = load_model(source) if source is not None else None
    needy = [name for name in design.strategies if name != "scratch"]
    if parent is None and needy:
        raise InputError(f"The strategy '{needy[0]}' needs a source model.", "Give one with --source.")
    plan = make_plan(
        dataset,
        parent,
        "scratch",
        design.recipe,
        labels,
        channels,
        preparation,
        statistics,
        0.0,
        0.0,
        on_event,
    )
    arrangements = arrange(plan.roles.training, design)
    task = Task(
        out / _SOURCE if parent else None,
        parent.sha256 if parent else None,
        plan.scheme,
        plan.channels,
        statistics,
        preparation,
        Path(cache or default_cache() / "cases").absolute(),
        processes,
    )
    study = PlannedStudy(out, plan, design, arrangements, task)
    _check_folder(study)
    return study


def run_study(
    dataset: str | Path | Dataset | Sequence[CaseFiles],
    out: str | Path,
    source: str | Path | Model | None,
    design: Design,
    workers: Workers | None = None,
    threads: int = 0,
    jobs: int = 1,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    **options: Any,
) -> Study:
    """Train and test everything that ``design`` names; go on where an earlier call with the same ``out`` was stopped.

    Parameters
    ----------
    dataset : annotated cases, see :func:`runs.fine_tune`.
    source : the model to transfer from; a copy of it is kept in ``out``.
    workers : where the trainings are done; None: in this process.
    threads : processor threads of one training; 0: a fair share.
    jobs : processes that prepare cases, before the trainings; see :func:`parallel.count_jobs`.
    options : see :func:`plan_study`.

    Raises
    ------
    InputError : see :func:`plan_study`; a case cannot be used, or another process is at work in ``out``.
    ResourceError : the scheduler is gone, or memory or disk ran out.
    Cancelled : what was trained until then is kept.
    """
    workers, cancel, on_event = workers or Workers(), cancel or CancelToken(), _warn_once(on_event)
    study = plan_study(dataset, out, source, design, on_event=on_event, **options)
    with hold(study.out):
        return _conduct(study, workers, threads, jobs, on_event, cancel)


def _conduct(
    study: PlannedStudy, workers: Workers, threads: int, jobs: int, on_event: OnEvent, cancel: CancelToken
) -> Study:
    _begin(study)
    pipeline = study.plan.pipeline
    if pipeline.learns:  # each training set gives its own scale; the costly part is common
        pipeline = pipeline.without_intensity()
    prepare_cases(
        study.every, study.plan.channels, pipeline, study.plan.scheme, study.task.cache, on_event, cancel, jobs
    )
    progress = _Meter(study, on_event)
    with gather_workers(
        workers.scheduler or None, workers.workers, threads, progress.heard, cancel, study.out / _STOP
    ) as force:
        trained, failed = _work(study, force, progress)
    return Study(study.out, study.plan, study.task, study.design, study.arrangements, trained, failed)


def _check_folder(study: PlannedStudy) -> None:
    """Raises
    ------
    InputError : the folder is in use, by something else or by a study that differs.
    """
    out, path = study.out, study.out / _DESIGN
    if not out.exists():
        return
    if not path.is_file():
        if out.is_dir() and not [item for item in out.iterdir() if item.name != LOCK]:
            return
        raise InputError(f"{out} is in use, and not by a study.", "Choose another --out.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before = {name: value for name, value in found.items() if name not in _ADDS}
        content = dict(before.pop(_CONTENT, {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Choose another --out.") from error
    now = {name: value for name, value in _identity(study).items() if name not in _ADDS}
    other = [name for name in now if before.get(name) != now[name]]
    if other:
        raise InputError(
            f"{out} holds a study with another {' and another '.join(other)}.",
            "Repeat its command to go on with it (sizes, strategies and seeds may change), or choose another --out.",
        )
    changed = [name for name, before in content.items() if study.content.get(name, before) != before]
    if changed:
        raise InputError(
            f"The images or labels of {', '.join(changed)} have changed since {out} was begun.",
            "Choose another --out: what is there was trained and tested on the old ones.",
        )


def _identity(study: PlannedStudy) -> dict[str, Any]:
    """What makes it this study; JSON data."""
    identity = {
        **study.design.to_dict(),
        "source": study.task.source_sha256,
        "cases": [case.name for case in study.plan.roles.training],
        "labels": study.task.labels.meaning(),
        "channels": study.task.channels,
        "statistics": study.task.statistics,
        "preparation": study.task.preparation.chosen(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def _begin(study: PlannedStudy) -> None:
    with atomic_path(study.out / _DESIGN) as beside:
        beside.write_text(json.dumps({**_identity(study), _CONTENT: study.content}, indent=1), encoding="utf-8")
    if study.plan.parent is not None and not (study.out / _SOURCE).exists():
        save_model(study.plan.parent, study.out / _SOURCE)


def _warn_once(on_event: OnEvent) -> OnEvent:
    """Every training would give the same warnings again."""
    said: set[Warning] = set()

    def show(event: Event) -> None:
        if isinstance(event, Warning):
            if event in said:
                return
            said.add(event)
        on_event(event)

    return show


class _Meter:
    """How far the study is, in training steps, from what its trainings tell."""

    def __init__(self, study: PlannedStudy, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._running: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        self._done = 0
        first = study.design.settings[0]
        self._of = 0
        for cell in study.cells:
            self._of += cell.final_job(first).steps + sum(job.steps for _, _, job in cell.choice_jobs().values())
        self._clock: Clock | None = None

    def begin(self, job: Job) -> None:
        self._steps[job.name] = job.steps

    def heard(self, name: str, event: Event) -> None:
        """An event of the training ``name``."""
        if isinstance(event, Progress) and event.stage == "train":
            self._running[name] = event.step / max(event.of, 1)
            self._show(name)
        elif isinstance(event, Warning):
            self._on_event(event)

    def finished(self, name: str, before: bool = False) -> None:
        """``before``: in an earlier call."""
        self._running.pop(name, None)
        self._done += self._steps.pop(name)
        if before:
            return
        self._show(name)

    def planned(self, instead: int, steps: int) -> None:
        """A final training has ``steps`` and not those that were assumed ``instead``."""
        self._of += steps - instead

    def _show(self, name: str) -> None:
        done = self._done + sum(share * self._steps.get(job, 0) for job, share in self._running.items())
        if self._clock is None:
            self._clock = Clock(self._of, int(done))
        self._on_event(Progress("study", int(done), self._of, self._clock.eta_s(int(done)), name))

    def failure(self, name: str, error: Exception) -> Failure:
        known = error if isinstance(error, TransferSegError) else None
        told = Failure.of(known, name) if known else Failure("bug", f"{type(error).__name__}: {error}", "", name)
        self._on_event(told)
        return told


def _work(study: PlannedStudy, force: Workforce, meter: _Meter) -> tuple[tuple[Trained, ...], tuple[Failure, ...]]:
    """Submit what can be done, and the final training of a cell as soon as its hyper-parameters are chosen."""
    outcomes: dict[str, Outcome] = {}
    failed: dict[str, Failure] = {}
    owner: dict[str, Cell] = {}
    waiting: dict[str, set[str]] = {}
    finals: dict[str, tuple[Cell, Setting, tuple[float, ...], Job]] = {}

    def submit(job: Job, cell: Cell) -> None:
        meter.begin(job)
        before = finished_outcome(job)
        if before is not None:
            meter.finished(job.name, before=True)
            outcomes[job.name] = before
        else:
            owner[job.name] = cell
            waiting.setdefault(cell.name, set()).add(job.name)
            force.submit(job.name, run_job, job)

    def conclude(cell: Cell) -> None:
        """All trainings that choose have ended: the final one can begin."""
        try:
            setting, choice = choose_setting(cell, outcomes)
        except InputError as error:
            failed[cell.name] = meter.failure(cell.name, error)
            return
        job = cell.final_job(setting)
        meter.planned(cell.final_job(study.design.settings[0]).steps, job.steps)
        finals[job.name] = (cell, setting, choice, job)
        if study.design.chooses:
            forget_other_setting(job)
        submit(job, cell)

    for cell in study.cells:
        for _, _, job in cell.choice_jobs().values():
            submit(job, cell)
        if not waiting.get(cell.name):
            conclude(cell)
    for name, result in force.finished():
        meter.finished(name)
        cell = owner.pop(name)
        waiting[cell.name].discard(name)
        if isinstance(result, Cancelled):
            raise result
        if isinstance(result, Exception):
            failed[name] = meter.failure(name, result)
        else:
            outcomes[name] = result
        if not waiting[cell.name] and name not in finals:
            conclude(cell)
    # In the order of the plan, whatever the order in which they ended.
    order = {cell.name: place for place, cell in enumerate(study.cells)}
    done = [
        Trained(cell, setting, choice, job, outcomes[job.name])
        for cell, setting, choice, job in finals.values()
        if job.name in outcomes
    ]
    done.sort(key=lambda item: order[item.cell.name])
    return tuple(done), tuple(failed[name] for name in sorted(failed))


def _scores(item: Trained) -> Iterator[Score]:
    cases: Mapping[str, CaseFiles] = {case.name: case for case in item.job.test}
    place = item.cell.arrangement
    for row in read_metrics(item.job.results / "metrics.csv"):
        case = cases[row.case]
        yield Score(
            place.fold,
            place.seed,
            item.cell.size,
            item.cell.strategy,
            case.name,
            case.patient,
            case.group,
            row.region,
            row.values,
        )
