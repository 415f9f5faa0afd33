"""Cost: how many trainings and steps a study has, and about how long it takes; told before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ..announcement import largest_sides, trial_step
from ..cache import prepare_cases
from ..device import choose_device, choose_precision
from ..events import CancelToken, OnEvent, ignore
from ..memory import BASE_BYTES, training_bytes
from ..network import UNet
from .conduct import PlannedStudy
from .job import finished_outcome

# Bytes a voxel of a prepared case: four channels of float32, brain and labels; see :mod:`cache`.
_CACHED_BYTES = 18


@dataclass(frozen=True)
class Cost:
    """What a study takes.

    Attributes
    ----------
    rows : by size and strategy: trainings to choose hyper-parameters, final trainings, their steps.
    steps, passes : training steps, and forward passes over validation cases, that are still to be done.
    step_s, pass_s : seconds of one, measured on the largest of a few cases with random numbers.
    done : trainings that an earlier call has finished.
    memory_gb : of one training.
    cache_gb : prepared cases on disk.
    """

    rows: Mapping[tuple[int, str], tuple[int, int, int]]
    steps: int
    passes: int
    step_s: float
    pass_s: float
    done: int
    memory_gb: float
    cache_gb: float

    @property
    def seconds(self) -> float:
        """With one worker, without preparing and testing."""
        return self.steps * self.step_s + self.passes * self.pass_s


def study_cost(study: PlannedStudy, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> Cost:
    """Count the trainings and time a step. One case is prepared, to know how large the images are.

    Raises
    ------
    InputError : the case cannot be used, or the folder of a training holds another one.
    ResourceError : not even one step can be done in the memory.
    """
    plan = study.plan
    first = study.every[:1]
    prepared = prepare_cases(
        first, plan.channels, plan.pipeline.without_intensity(), plan.scheme, study.task.cache, on_event, cancel
    )
    with torch.random.fork_rng(devices=[]):
        network = UNet(**plan.network_parameters)
    recipe = replace(study.design.recipe, **study.design.settings[0])
    sides = largest_sides(recipe.patch, network.multiple, prepared)
    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    step_s, pass_s = trial_step(network, sides, device, precision)
    rows: dict[tuple[int, str], tuple[int, int, int]] = {}
    steps = passes = done = 0
    for cell in study.cells:
        choosing = [job for _, _, job in cell.choice_jobs().values()]
        final = cell.final_job(study.design.settings[0])
        jobs = [*choosing, final]
        row = rows.get((cell.size, cell.strategy), (0, 0, 0))
        rows[cell.size, cell.strategy] = (row[0] + len(choosing), row[1] + 1, row[2] + sum(job.steps for job in jobs))
        for job in jobs:
            # The final training of the first setting stands for the one that will be chosen.
            if (job is not final or not choosing) and finished_outcome(job) is not None:
                done += 1
                continue
            steps += job.steps
            passes += job.recipe.epochs * len(job.validation)
    voxels = int(torch.tensor(sides).prod())
    return Cost(
        rows,
        steps,
        passes,
        step_s,
        pass_s,
        done,
        (training_bytes(voxels, str(precision).removeprefix("torch."), network.base_filters) + BASE_BYTES) / 2**30,
        len(study.every) * int(prepared[0].brain.size) * _CACHED_BYTES / 2**30,
    )
