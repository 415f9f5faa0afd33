"""Writing what the network would see of a case, to look at it or to use it elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .case import CHANNELS, CaseFiles, load_case
from .errors import Cancelled, InputError, TransferSegError
from .events import CancelToken, Failure, OnEvent, Result, ignore, track
from .model import load_model
from .plan import make_pipeline
from .volume import Volume, write_volume


def prepare_images(
    find: Callable[[Sequence[str]], Sequence[CaseFiles]],
    out: str | Path,
    model: str | Path | None = None,
    spacing: float | None = None,
    normalise: str | None = None,
    channels: Sequence[str] | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> dict[str, TransferSegError]:
    """Prepare each case and write its channels and brain mask as ``CASE/CHANNEL.nii.gz`` on the working grid.

    Parameters
    ----------
    find : gives the cases once it knows the channels.
    model : prepare as for this model; None: the default pipeline.
    spacing, normalise : see :func:`plan.make_pipeline`.

    Returns
    -------
    The error of each case that failed; the others are written.

    Raises
    ------
    InputError : two cases share a name, or an option makes no sense.
    Cancelled : stopped on request.
    """
    parent = load_model(model) if model is not None else None
    wanted = tuple(channels or (parent.card.channels if parent else CHANNELS))
    pipeline = make_pipeline(parent, spacing, normalise, on_event)
    cases = find(wanted)
    names = [case.name.casefold() for case in cases]  # Windows and macOS do not tell upper from lower case
    twice = [case.name for case in cases if names.count(case.name.casefold()) > 1]
    if twice:
        raise InputError(f"Two cases are called '{twice[0]}'.", "Give each its own name.")
    failed: dict[str, TransferSegError] = {}
    for case in track(cases, "prepare", len(cases), on_event, cancel or CancelToken()):
        folder = Path(out) / case.name
        try:
            prepared = pipeline.apply(load_case(case, wanted, on_event=on_event), wanted, on_event)
            for channel, image in zip(wanted, prepared.image, strict=True):
                write_volume(Volume(image, prepared.grid), folder / f"{channel}.nii.gz")
            write_volume(Volume(prepared.brain.astype(np.uint8), prepared.grid), folder / "brain.nii.gz")
        except Cancelled:
            raise
        except TransferSegError as error:
            failed[case.name] = error
            on_event(Failure.of(error, case.name))
    on_event(Result({"written": len(cases) - len(failed), "failed": len(failed), "folder": Path(out)}))
    return failed
