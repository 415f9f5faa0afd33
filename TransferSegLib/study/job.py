"""Job: one training of a study, from its cases to numbers on disk. Done once, it is never done again."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..case_files import CaseFiles
from ..datasets import write_manifest
from ..errors import Cancelled, InputError, ResourceError, TransferSegError
from ..events import CancelToken, OnEvent, Progress
from ..files import atomic_path
from ..labels import LabelScheme
from ..model import load_model
from ..preparation import Preparation
from ..recipe import Recipe
from ..runs import CHECKPOINT, fine_tune
from ..validation import score

_TRAINING, _OUTCOME = "training", "outcome.json"
_POLL_S = 0.5


@dataclass(frozen=True)
class Task:
    """What all trainings of a study have in common.

    Attributes
    ----------
    source : folder of the source model, or None.
    source_sha256 : of its weights.
    cache : folder for prepared cases, the same for every worker.
    processes : of one training; 2 or more: by ``torchrun``.
    """

    source: Path | None
    source_sha256: str | None
    labels: LabelScheme
    channels: tuple[str, ...]
    statistics: str | None
    preparation: Preparation
    cache: Path
    processes: int = 1


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes
    ----------
    name : unique in the study, and its folder below ``root``: ``fold-0/seed-1/n-020/all/final``.
    validation : cases that choose the epoch, or on which a hyper-parameter is judged.
    test : cases to score in the end, on their original grids.
    """

    name: str
    root: Path
    task: Task
    strategy: str
    recipe: Recipe
    training: tuple[CaseFiles, ...]
    validation: tuple[CaseFiles, ...]
    test: tuple[CaseFiles, ...] = ()

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def results(self) -> Path:
        """Folder of ``metrics.csv`` and the label maps of the test cases."""
        return self.folder / _TRAINING / "held-out"

    @property
    def steps(self) -> int:
        """Training steps."""
        return self.recipe.epochs * self.recipe.steps_per_epoch(len(self.training))

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what comes out; JSON data."""
        task = self.task
        spec = {
            "strategy": self.strategy,
            "source": task.source_sha256,
            "recipe": asdict(self.recipe),
            "training": [case.name for case in self.training],
            "validation": [case.name for case in self.validation],
            "test": [case.name for case in self.test],
            "labels": task.labels.meaning(),
            "channels": task.channels,
            "statistics": task.statistics,
            "preparation": task.preparation.chosen(),
        }
        plain: dict[str, Any] = json.loads(json.dumps(spec))
        return plain


@dataclass(frozen=True)
class Outcome:
    """What a training gave, beside the files in :attr:`Job.results`.

    Attributes
    ----------
    best_epoch : counted from 1.
    curve : score on the validation cases after each epoch, see :func:`validation.score`; empty without such cases.
    seconds : of the training and the test.
    """

    best_epoch: int
    curve: tuple[float, ...]
    seconds: float


def finished_outcome(job: Job) -> Outcome | None:
    """The outcome of a job that was done before, or None.

    Raises
    ------
    InputError : the folder holds the training of another study.
    """
    path = job.folder / _OUTCOME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        outcome = Outcome(found["best_epoch"], tuple(found["curve"]), found["seconds"])
        spec = dict(found["spec"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}.", f"Delete {job.folder}; it will be done again.") from error
    other = [name for name, value in job.spec.items() if spec.get(name) != value]
    if other:
        raise InputError(
            f"{job.folder} holds a training with another {' and another '.join(other)}.",
            "Choose another --out, or delete that folder.",
        )
    return outcome


def forget_other_setting(job: Job) -> None:
    """Delete what is there of ``job`` if it was done with another recipe: other hyper-parameters were chosen then.

    They are chosen anew when a training of the cross-validation had failed and has now succeeded.
    """
    try:
        found = json.loads((job.folder / _OUTCOME).read_text(encoding="utf-8"))["spec"]
        other = [name for name, value in job.spec.items() if found[name] != value]
    except (OSError, ValueError, KeyError, TypeError):
        return  # for finished_outcome to tell
    if other == ["recipe"]:
        shutil.rmtree(job.folder)


def run_job(job: Job, on_event: OnEvent, cancel: CancelToken) -> Outcome:
    """Train, go on with a training that was stopped, or take what was finished before.

    Raises
    ------
    TransferSegError : the training failed, see :func:`runs.fine_tune`.
    Cancelled : stopped; it goes on from its last epoch the next time.
    """
    before = finished_outcome(job)
    if before is not None:
        return before
    start = time.monotonic()
    out = job.folder / _TRAINING
    resume = (out / CHECKPOINT).exists()
    if not resume:  # what a kill may have left before the first checkpoint
        shutil.rmtree(out, ignore_errors=True)
    train = _train_here if job.task.processes == 1 else _train_by_torchrun
    try:
        train(job, out, resume, on_event, cancel)
    except InputError:
        if not resume:
            raise
        # The checkpoint is damaged, of another setting, or of a processor with another precision: all over again.
        shutil.rmtree(out, ignore_errors=True)
        train(job, out, False, on_event, cancel)
    history = _read_history(out / "history.csv")
    curve = tuple(score(row, job.task.labels) for row in history) if job.validation else ()
    parameters = load_model(out / "model").card.training.hyperparameters
    outcome = Outcome(int(str(parameters["best_epoch"])), curve, round(time.monotonic() - start, 3))
    with atomic_path(job.folder / _OUTCOME) as beside:
        beside.write_text(json.dumps({"spec": job.spec, **asdict(outcome)}, indent=1), encoding="utf-8")
    if job.test:
        (out / CHECKPOINT).unlink(missing_ok=True)
    else:  # of a training that only judges a hyper-parameter its curve is all that counts
        shutil.rmtree(out, ignore_errors=True)
    return outcome


def _train_here(job: Job, out: Path, resume: bool, on_event: OnEvent, cancel: CancelToken) -> None:
    task = job.task
    run = fine_tune(
        [*job.training, *job.validation, *job.test],
        out,
        task.source,
        job.strategy,
        job.recipe,
        name=job.name,
        labels=task.labels,
        channels=task.channels,
        statistics=task.statistics,
        validation=_names(job.validation),
        held_out=_names(job.test),
        cache=task.cache,
        resume=resume,
        on_event=on_event,
        cancel=cancel,
        preparation=task.preparation,
    )
    if run.cancelled:
        raise Cancelled()


def _train_by_torchrun(job: Job, out: Path, resume: bool, on_event: OnEvent, cancel: CancelToken) -> None:
    """The same by the command, in several processes that share each batch."""
    stop = job.folder / "stop"
    stop.unlink(missing_ok=True)
    log_path = job.folder / "torchrun.log"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={job.task.processes}", "-m", "TransferSegLib", *_arguments(job, out)]
    command += ["--events", "--cancel-file", str(stop), *(["--resume"] if resume else [])]
    with open(log_path, "w+", encoding="utf-8") as log, open(log_path, encoding="utf-8") as told:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        failure: Mapping[str, Any] = {}
        try:
            running = True
            while running:
                try:
                    process.wait(_POLL_S)
                    running = False
                except subprocess.TimeoutExpired:
                    if cancel.cancelled:
                        stop.touch()
                failure = _follow(told.readlines(), on_event) or failure
        finally:
            process.kill()
            process.wait()
            stop.unlink(missing_ok=True)
    cancel.raise_if_cancelled()
    if process.returncode:
        if failure:
            raise _ERRORS.get(failure["kind"], TransferSegError)(failure["cause"], failure["remedy"])
        raise ResourceError(f"torchrun ended with {process.returncode}: see {log_path}.", "Use fewer processes.")


_ERRORS: Mapping[str, type[TransferSegError]] = {kind.kind: kind for kind in (InputError, ResourceError)}


def _follow(lines: Sequence[str], on_event: OnEvent) -> Mapping[str, Any]:
    """Pass the progress of the training on; the last error of the lines, if there is one."""
    failure: Mapping[str, Any] = {}
    for line in lines:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):  # what torchrun says itself
            continue
        if kind == "progress":
            on_event(Progress(event["stage"], event["step"], event["of"], event["eta_s"], event["detail"]))
        elif kind == "error":
            failure = event
    return failure


def _arguments(job: Job, out: Path) -> list[str]:
    """``transferseg finetune`` with what the job says."""
    cases = [*job.training, *job.validation, *job.test]
    unfit = [case.name for case in cases if "," in case.name]
    if unfit:
        raise InputError(f"torchrun cannot be used with a case named '{unfit[0]}'.", "Leave out the comma.")
    manifest = write_manifest(job.folder / "cases.csv", cases)
    labels = job.folder / "labels.json"
    with atomic_path(labels) as beside:
        beside.write_text(json.dumps(job.task.labels.to_dict()), encoding="utf-8")
    options: dict[str, Any] = {item.name: getattr(job.recipe, item.name) for item in fields(Recipe)}
    options |= job.task.preparation.chosen()
    options |= {
        "source": job.task.source,
        "strategy": job.strategy,
        "labels": labels,
        "channels": job.task.channels,
        "statistics": job.task.statistics,
        "validation": _names(job.validation),
        "held_out": _names(job.test),
        "cache": job.task.cache,
        "jobs": 1,
        "name": job.name,
        "out": out,
    }
    arguments = ["finetune", str(manifest)]
    for name, value in options.items():
        if value is not None:
            text = (",".join(value) or "none") if isinstance(value, tuple) else str(value)
            arguments += [f"--{name.replace('_', '-')}", text]
    return arguments


def _names(cases: Sequence[CaseFiles]) -> tuple[str, ...]:
    return tuple(case.name for case in cases)


def _read_history(path: Path) -> list[dict[str, float]]:
    with open(path, encoding="utf-8", newline="") as file:
        return [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
