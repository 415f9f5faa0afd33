"""Segmenting many cases, on one worker or on many: a label map a case, and a table of volumes."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .allocator import keep_memory
from .bundle import sha256
from .case_files import CaseFiles
from .device import choose_device
from .errors import InputError, TransferSegError
from .events import CancelToken, Clock, Failure, OnEvent, Progress, Warning, ignore
from .files import atomic_path
from .formats import ending
from .inference import MEMORY_SHARE, InferenceOptions, Segmentation, Segmenter
from .memory import available_bytes
from .model import Model, load_model, save_model
from .volume import Volume
from .workforce import count_workers, gather_workers

# Formats other than NIfTI that a result follows. A header and its data in two files become one.
_WRITTEN = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}


@keep_memory()
def segment_dataset(
    cases: Sequence[CaseFiles],
    model: str | Path | Model,
    out: str | Path,
    options: InferenceOptions | None = None,
    brats: bool = False,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    threads: int = 0,
) -> tuple[list[Path], dict[str, TransferSegError]]:
    """Segment many cases into the folder ``out``: a label map a case and ``volumes.csv``.

    A case that fails is reported and does not stop the others. Cancelled: what is done is written.

    Parameters
    ----------
    brats : write ``CASE.nii.gz`` with the labels 1, 2, 4, as the BraTS portal takes it; 3 in place of 4 when the model
        learned from BraTS 2023 or later.
    workers, scheduler, threads : who works on the cases, each on one at a time; see :func:`workforce.gather_workers`.

    Returns
    -------
    The files written, and the error of each case that failed.

    Raises
    ------
    InputError : two cases share a name; the model has no BraTS labels; ``out`` cannot be written; there is no cluster.
    DependencyError : Dask is not installed, and more than one worker was asked for.
    Cancelled : stopped on request.
    ResourceError : the disk is full; the cluster's scheduler is gone.
    """
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Two cases are called '{twice[0]}'.", "Give each its own name.")
    model, out, options = load_model(model), Path(out), options or InferenceOptions()
    count = workers if scheduler else max(1, min(count_workers(workers, threads), len(cases)))
    if scheduler:  # what its machines have to compute with need not be here
        Segmenter(model, replace(options, engine="torch", device="cpu", precision="float32"))
    else:
        _segmenter(model, options)
    if brats and model.scheme.name != "glioma":
        raise InputError(
            f"The model labels '{model.scheme.name}', not glioma: it has no BraTS labels.", "Leave out --brats."
        )
    if not scheduler and count > 1:
        options = _share_memory(options, count)
    on_event(Progress("segment", 0, len(cases)))
    cancel = cancel or CancelToken()
    cancel.raise_if_cancelled()
    clock = Clock(len(cases))
    done: dict[str, _Done] = {}
    failed: dict[str, TransferSegError] = {}
    written: list[Path] = []
    try:
        with (
            _within_reach(model, out, bool(scheduler) or count > 1) as (source, stop_file),
            gather_workers(scheduler, count, threads, lambda _, event: on_event(event), cancel, stop_file) as force,
        ):
            for case in cases:
                force.submit(case.name, _segment_case, _absolute(case), source, options, out.absolute(), brats)
            for step, (name, outcome) in enumerate(force.finished(), start=1):
                if isinstance(outcome, _Done):
                    done[name] = outcome
                elif isinstance(outcome, TransferSegError):
                    failed[name] = outcome
                    on_event(Failure.of(outcome, name))
                else:
                    raise outcome.error if isinstance(outcome, _Unwritten) else outcome
                on_event(Progress("segment", step, len(cases), clock.eta_s(step)))
    finally:
        _segmenter.cache_clear()
        if done:
            in_order = [done[name] for name in names if name in done]
            written = [out / item.file for item in in_order]
            written.append(_write_rows([item.row for item in in_order], out / "volumes.csv"))
    return written, failed


# On the worker


@dataclass(frozen=True)
class _Done:
    """The name of the file that was written, and the row of the table."""

    file: str
    row: Mapping[str, Any]


class _Unwritten(Exception):
    """A result cannot be written, nor will the next ones."""

    def __init__(self, error: TransferSegError) -> None:
        super().__init__(error)
        self.error = error


def _segment_case(
    case: CaseFiles,
    source: Model | Path,
    options: InferenceOptions,
    out: Path,
    brats: bool,
    *,
    on_event: OnEvent,
    cancel: CancelToken,
) -> _Done:
    result = _segmenter(source, options)(case, on_event=on_event, cancel=cancel)
    path = out / f"{case.name}{_ending_for(result.labels, brats)}"
    _spare_input(case, path)
    if brats and result.labels.grid.shape != (240, 240, 155):
        on_event(Warning(f"The grid {result.labels.grid.shape} is not that of BraTS.", case.name))
    try:
        return _Done(result.save(path).name, _row(result))
    except TransferSegError as error:
        raise _Unwritten(error) from error


@lru_cache(maxsize=1)
def _segmenter(source: Model | Path, options: InferenceOptions) -> Segmenter:
    """One for all cases that a process works on."""
    return Segmenter(source, options)


def _ending_for(labels: Volume, brats: bool) -> str:
    """The format of the reference channel, so that the result keeps its header conventions."""
    found = ending(labels.path) if labels.path is not None and not labels.path.is_dir() else ""
    return ".nii.gz" if brats else _WRITTEN.get(found, ".nii.gz")


def _spare_input(case: CaseFiles, path: Path) -> None:
    """Raises
    ------
    InputError : the result would replace a file of the case.
    """
    if case.owns(path):
        raise InputError(f"{path} is an image of the case itself.", "Choose another output folder.")


def _row(result: Segmentation) -> dict[str, Any]:
    volumes = {f"{part}_ml": f"{volume:.3f}" for part, volume in result.volumes_ml.items()}
    return {"case": result.name, **volumes, **{f"{part}_count": count for part, count in result.lesions.items()}}


# In the first process


@contextmanager
def _within_reach(model: Model, out: Path, apart: bool) -> Iterator[tuple[Model | Path, Path]]:
    """The model where the workers find it, and the file that stops them.

    Parameters
    ----------
    apart : the workers are other processes, maybe on other machines: ``out`` is what they all can reach.
    """
    folder = out.absolute() / ".workers"
    if not apart:
        yield model, folder / "stop"
        return
    # A worker may have worked for an earlier run, with another model: the name tells them apart.
    file = folder / f"{sha256(model.card.to_json().encode())}.zip"
    try:
        yield save_model(model, file), folder / "stop"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # there are results
            out.rmdir()


def _share_memory(options: InferenceOptions, count: int) -> InferenceOptions:
    """For each of ``count`` processes, which would all see the same memory free."""
    if options.memory_gb is not None or choose_device(options.device).type != "cpu":
        return options
    return replace(options, memory_gb=available_bytes() * MEMORY_SHARE / count / 2**30)


def _absolute(case: CaseFiles) -> CaseFiles:
    """A worker may have another working folder."""
    channels = {channel: Path(file).absolute() for channel, file in case.channels.items()}
    label, brain = (None if file is None else Path(file).absolute() for file in (case.label, case.brain))
    return replace(case, channels=channels, label=label, brain=brain)


def _write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    with atomic_path(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
