"""Cell: one entry of a study's table, from choosing its hyper-parameters to its final training (section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..case_files import CaseFiles
from ..errors import InputError
from .arrangement import Arrangement
from .design import Design, Setting
from .job import Job, Outcome, Task


@dataclass(frozen=True)
class Cell:
    """One strategy with one training set.

    Attributes
    ----------
    root : folder of the study.
    """

    root: Path
    task: Task
    design: Design
    arrangement: Arrangement
    size: int
    strategy: str

    @property
    def name(self) -> str:
        """Its folder below ``root``."""
        place = self.arrangement
        return f"fold-{place.fold}/seed-{place.seed}/n-{self.size:03}/{self.strategy}"

    def choice_jobs(self) -> Mapping[str, tuple[int, int, Job]]:
        """By name the cross-validation of each setting: number of the setting, of the part, and the job. Empty: there
        is nothing to choose."""
        if not self.design.chooses:
            return {}
        jobs = {}
        for part, (training, judging) in enumerate(self.arrangement.inner(self.size, self.design.folds)):
            for number, setting in enumerate(self.design.settings):
                place = f"choice/{setting_name(setting).replace(' ', '_')}/part-{part}"
                job = self._job(place, setting, training, judging, ())
                jobs[job.name] = (number, part, job)
        return jobs

    def final_job(self, setting: Setting) -> Job:
        """The training on the whole training set."""
        place = self.arrangement
        return self._job("final", setting, place.training(self.size), place.validation, place.test)

    def _job(
        self,
        name: str,
        setting: Setting,
        training: Sequence[CaseFiles],
        validation: Sequence[CaseFiles],
        test: Sequence[CaseFiles],
    ) -> Job:
        recipe = self.design.recipe_for(setting, len(training), self.arrangement.seed)
        return Job(
            f"{self.name}/{name}",
            self.root,
            self.task,
            self.strategy,
            recipe,
            tuple(training),
            tuple(validation),
            tuple(test),
        )


def setting_name(setting: Setting) -> str:
    """For people and for folders: ``learning-rate=0.01 epochs=60``."""
    parts = []
    for name, value in setting.items():
        shown = "+".join(value) or "none" if isinstance(value, tuple) else f"{value:g}" if _number(value) else value
        parts.append(f"{name.replace('_', '-')}={shown}")
    return " ".join(parts)


def make_cells(root: Path, task: Task, design: Design, arrangements: Sequence[Arrangement]) -> Iterator[Cell]:
    """Every cell of a study, those of the first seed first, so that a part of the study is of use."""
    for seed in range(design.seeds):
        for size in design.sizes:
            for arrangement in arrangements:
                if arrangement.seed == seed:
                    for strategy in design.strategies:
                        yield Cell(root, task, design, arrangement, size, strategy)


def choose_setting(cell: Cell, outcomes: Mapping[str, Outcome]) -> tuple[Setting, tuple[float, ...]]:
    """The setting with the best cross-validated score, and the score of each setting.

    A setting's curve is the mean over the parts, weighted by their cases. Its score is that of the epoch that the final
    training would take: the best one, or the last one where no validation patients choose. A setting that failed where
    another one did not (its training diverged, say) is out. A part does not count in which all failed, or nothing
    could be scored (the PR-AUC of patients without lesions).

    Parameters
    ----------
    outcomes : of :meth:`Cell.choice_jobs` by name; those that failed are missing.

    Raises
    ------
    InputError : all failed, or nothing could be scored.
    """
    jobs = cell.choice_jobs()
    if not jobs:
        return cell.design.settings[0], ()
    parts = sorted(
        {part for name, (_, part, _) in jobs.items() if name in outcomes and np.isfinite(outcomes[name].curve).any()}
    )
    if outcomes.keys() & jobs.keys() and not parts:
        raise InputError(
            "No patient of the cross-validation has anything to find, so that no setting can be judged.",
            "Use larger --sizes, fewer --folds, or one value for each setting.",
        )
    epoch = np.nanmax if cell.arrangement.validation else _last
    scores = []
    for number in range(len(cell.design.settings)):
        own = {part: (job, outcomes.get(name)) for name, (which, part, job) in jobs.items() if which == number}
        found = [(job, outcome) for part in parts for job, outcome in [own[part]] if outcome is not None]
        if not parts or len(found) < len(parts):
            scores.append(-np.inf)
            continue
        weights = [len(job.validation) for job, _ in found]
        curve = np.average(_aligned([outcome.curve for _, outcome in found]), axis=0, weights=weights)
        scores.append(float(epoch(curve)) if np.isfinite(curve).any() else -np.inf)
    if not np.isfinite(scores).any():
        raise InputError("No setting could be trained in the cross-validation.", "See what its trainings say.")
    return cell.design.settings[int(np.argmax(scores))], tuple(scores)


def _aligned(curves: Sequence[Sequence[float]]) -> list[list[float]]:
    """The curves with as many points each: with --steps a part with fewer cases has more, shorter epochs."""
    length = min(map(len, curves))
    return [[curve[round(at)] for at in np.linspace(0, len(curve) - 1, length)] for curve in curves]


def _last(curve: NDArray[np.float64]) -> float:
    return float(curve[-1])


def _number(value: object) -> bool:
    return isinstance(value, int | float)
