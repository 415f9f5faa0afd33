"""Writing what the network would see of each case, to look at it or to use it elsewhere."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .case import load_case
from .case_files import CaseFiles
from .errors import Cancelled, InputError, TransferSegError
from .events import CancelToken, Event, Failure, OnEvent, Result, Warning, ignore
from .figures import new_figure
from .model import load_model
from .parallel import count_jobs, spread
from .plan import choose_channels, make_pipeline
from .preparation import Preparation
from .preprocess import Pipeline, Prepared
from .quality import View, draw, view, write_index
from .volume import Volume, write_volume

T = TypeVar("T")
Page = tuple[View, Sequence[str]]  # what the report shows of a case, and its warnings


@dataclass(frozen=True, eq=False)
class _Draft:
    """A case on the network's grid, before its values are scaled."""

    sampled: Prepared
    view: View | None
    warnings: tuple[str, ...]


def prepare_images(
    find: Callable[[Sequence[str]], Sequence[CaseFiles]],
    out: str | Path,
    model: str | Path | None = None,
    channels: Sequence[str] | None = None,
    report: bool = False,
    jobs: int = 1,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    preparation: Preparation | None = None,
    **prepare: Any,
) -> dict[str, TransferSegError]:
    """Prepare each case and write its channels and brain mask as ``CASE/CHANNEL.nii.gz`` on the working grid.

    Parameters
    ----------
    find : gives the cases once it knows the channels.
    model : prepare as for this model; None: the default pipeline.
    preparation : what shall be different; or give its fields as options: ``spacing=2, brain="bet"``. A scale of
        intensities that is yet to be learned is learned on these cases.
    report : write ``report/index.html`` with a picture of each case.
    jobs : processes, see :func:`parallel.count_jobs`.

    Returns
    -------
    The error of each case that failed; the others are written.

    Raises
    ------
    InputError : two cases share a name, a result would replace an image of its case, or an option makes no sense.
    DependencyError : matplotlib is missing for the report.
    Cancelled : stopped on request.
    """
    if report:
        new_figure(1, 1)  # that it cannot be drawn is told now
    parent = load_model(model) if model is not None else None
    wanted = choose_channels(channels, parent)
    pipeline = make_pipeline(parent, preparation or Preparation(**prepare), on_event)
    cases = find(wanted)
    names = [case.name.casefold() for case in cases]  # Windows and macOS do not tell upper from lower case
    twice = [case.name for case in cases if names.count(case.name.casefold()) > 1]
    if twice:
        raise InputError(f"Two cases are called '{twice[0]}'.", "Give each its own name.")
    out, cancel, count = Path(out), cancel or CancelToken(), count_jobs(len(cases), jobs)
    failed: dict[str, TransferSegError] = {}
    job = _Job(wanted, pipeline, out, report)
    for case in cases:
        for path in job.files(case.name):
            if case.owns(path):
                raise InputError(f"{path} is an image of the case itself.", "Choose another output folder.")

    def finished(
        work: Callable[[Any, OnEvent, CancelToken], T], items: Sequence[CaseFiles], stage: str
    ) -> dict[str, T]:
        """The results of the cases that did not fail."""
        done = {}
        for place, result in spread(work, items, stage, count, on_event, cancel):
            if isinstance(result, TransferSegError) and not isinstance(result, Cancelled):
                failed[items[place].name] = result
                on_event(Failure.of(result, items[place].name))
            elif isinstance(result, Exception):
                raise result
            else:
                done[items[place].name] = result
        return done

    if pipeline.learns:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".drafts-") as folder:
            kept = finished(partial(job.keep, folder=Path(folder)), cases, "place")
            if kept:
                job = replace(job, pipeline=pipeline.learned((_load(path).sampled for path in kept.values()), wanted))
            rest = [case for case in cases if case.name in kept]
            pages = finished(partial(job.finish_kept, kept=kept), rest, "prepare")
    else:
        pages = finished(job.run, cases, "prepare")
    values: dict[str, Any] = {"written": len(pages), "failed": len(failed), "folder": out}
    if report and pages:
        values["report"] = write_index(out / "report", [page for page in pages.values() if page is not None])
    on_event(Result(values))
    return failed


@dataclass(frozen=True)
class _Job:
    """What is done with each case, in this process or in another one."""

    channels: tuple[str, ...]
    pipeline: Pipeline
    out: Path
    report: bool

    def files(self, name: str) -> list[Path]:
        """Where the channels and the brain of the case of this name are written."""
        return [self.out / name / f"{part}.nii.gz" for part in (*self.channels, "brain")]

    def run(self, case: CaseFiles, on_event: OnEvent, cancel: CancelToken) -> Page | None:
        return self.finish(self.draft(case, on_event, cancel))

    def draft(self, case: CaseFiles, on_event: OnEvent, cancel: CancelToken) -> _Draft:
        warnings: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Warning):
                warnings.append(event.text)
            on_event(event)

        placed = self.pipeline.place(load_case(case, self.channels, on_event=listen), listen, cancel)
        shown = view(placed, self.channels) if self.report else None
        return _Draft(self.pipeline.sample(placed, self.channels), shown, tuple(warnings))

    def finish(self, draft: _Draft) -> Page | None:
        prepared = self.pipeline.scale(draft.sampled, self.channels)
        images = [*prepared.image, prepared.brain.astype(np.uint8)]
        for path, image in zip(self.files(prepared.name), images, strict=True):
            write_volume(Volume(image, prepared.grid), path)
        if draft.view is None:
            return None
        draw(draft.view, prepared, self.channels, self.out / "report" / f"{prepared.name}.png")
        return draft.view, draft.warnings

    def keep(self, case: CaseFiles, on_event: OnEvent, cancel: CancelToken, folder: Path) -> Path:
        path = folder / f"{case.name}.draft"
        path.write_bytes(pickle.dumps(self.draft(case, on_event, cancel)))
        return path

    def finish_kept(
        self, case: CaseFiles, on_event: OnEvent, cancel: CancelToken, kept: Mapping[str, Path]
    ) -> Page | None:
        return self.finish(_load(kept[case.name]))


def _load(path: Path) -> _Draft:
    """A draft that this very call has written: nothing that came from elsewhere is ever unpickled."""
    draft: _Draft = pickle.loads(path.read_bytes())
    return draft
