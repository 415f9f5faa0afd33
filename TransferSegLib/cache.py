"""Prepared cases on disk, keyed by content, shared between runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .case import load_case
from .case_files import CaseFiles
from .errors import InputError
from .events import CancelToken, OnEvent, ignore
from .files import atomic_path, os_errors
from .grid import Grid
from .image_files import image_files
from .labels import LabelScheme
from .parallel import count_jobs, spread
from .preprocess import Pipeline, Prepared

# Part of every key. Raised whenever the same files and settings would give other arrays.
_VERSION = 2

# Old entries are removed beyond this size.
LIMIT_BYTES = 30 * 2**30

# What a run that was killed left half-written is removed after a day.
_UNFINISHED = re.compile(r"\.[0-9a-f]{8}\..*[0-9a-f]{32}")
_LEFT_BEHIND_S = 24 * 3600


def default_cache() -> Path:
    """The user's cache folder: ``TRANSFERSEG_CACHE``, or where the system keeps caches."""
    if "TRANSFERSEG_CACHE" in os.environ:
        return Path(os.environ["TRANSFERSEG_CACHE"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "TransferSeg" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "TransferSeg"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "transferseg"


def prepare_cases(
    cases: Sequence[CaseFiles],
    channels: Sequence[str],
    pipeline: Pipeline,
    scheme: LabelScheme,
    folder: Path,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    jobs: int = 1,
) -> list[Prepared]:
    """Prepare annotated cases, or take them from ``folder`` when the same files were prepared in the same way before.

    Arrays are memory-mapped: many more cases than fit into memory can be used.

    Parameters
    ----------
    jobs : processes, see :func:`parallel.count_jobs`.

    Raises
    ------
    InputError : a case cannot be used; names it.
    Cancelled : what was prepared until then stays in the cache.
    """
    for case in cases:
        case.require(channels)
    make = partial(_entry_of, channels=tuple(channels), pipeline=pipeline, scheme=scheme, folder=folder)
    entries: dict[int, Path] = {}
    cancel = cancel or CancelToken()
    for place, made in spread(make, cases, "prepare", count_jobs(len(cases), jobs), on_event, cancel):
        if isinstance(made, Exception):
            raise made
        entries[place] = made
    prune(folder, LIMIT_BYTES, keep=set(entries.values()))
    prepared = []
    for place, case in enumerate(cases):
        try:
            prepared.append(_load(entries[place], case.name))
        except FileNotFoundError:  # another run has pruned it
            prepared.append(_load(make(case, on_event, cancel), case.name))
    return prepared


def _entry_of(
    case: CaseFiles,
    on_event: OnEvent,
    cancel: CancelToken,
    channels: Sequence[str],
    pipeline: Pipeline,
    scheme: LabelScheme,
    folder: Path,
) -> Path:
    """The entry of a case, which is made if it is not there."""
    entry = folder / cache_key(case, channels, pipeline, scheme)
    if _is_there(entry):
        return entry
    # What is learned on the training cases, and the way values are scaled, leave the costly part as it is.
    unscaled = folder / cache_key(case, channels, pipeline.without_intensity(), scheme)
    try:
        sampled = _load(unscaled, case.name)
    except FileNotFoundError:
        loaded = load_case(case, channels, scheme, on_event=on_event)
        sampled = pipeline.sample(pipeline.place(loaded, on_event, cancel), channels)
        del loaded
    _store(pipeline.scale(sampled, channels), entry)
    return entry


def cache_key(case: CaseFiles, channels: Sequence[str], pipeline: Pipeline, scheme: LabelScheme) -> str:
    """SHA-256 over the content of the case's files and everything that decides what is made of them.

    Names and folders do not matter: a case that was moved is found again, one that was edited is prepared anew.
    """
    settings = [_VERSION, list(channels), pipeline.to_card(), scheme.meaning()["classes"]]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    _add_content(digest, case, channels)
    return digest.hexdigest()[:32]


def content_key(case: CaseFiles, channels: Sequence[str]) -> str:
    """SHA-256 over the content of the case's files: the same wherever they lie and whatever they are called."""
    digest = hashlib.sha256()
    _add_content(digest, case, channels)
    return digest.hexdigest()[:32]


def _add_content(digest: Any, case: CaseFiles, channels: Sequence[str]) -> None:
    paths = {**case.channels, "label": case.label, "brain": case.brain}
    for name in (*channels, "label", "brain"):
        path = paths[name]
        digest.update(f"\n{name}\n".encode())
        for file in image_files(path) if path is not None else ():
            _update(digest, file)


def prune(folder: Path, limit_bytes: int, keep: Collection[Path] = ()) -> int:
    """Remove the entries used longest ago until the rest is within the limit; never those to ``keep``.

    Returns
    -------
    The number of entries removed.
    """
    entries = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # another run has just removed it
            if _UNFINISHED.fullmatch(path.name):
                if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
                    shutil.rmtree(path, ignore_errors=True)
            elif (path / "entry.json").exists():
                entries.append((path.stat().st_mtime, _size(path), path))
    entries.sort(key=lambda entry: (entry[2] in keep, entry[0]), reverse=True)
    total, removed = 0, 0
    for _, size, path in entries:
        total += size
        if total > limit_bytes and path not in keep:
            aside = path.with_name(f".{uuid.uuid4().hex[:8]}.old.{path.name}")
            with contextlib.suppress(OSError):  # another run was faster, or Windows has the files in use
                os.rename(path, aside)
                shutil.rmtree(aside, ignore_errors=True)
                removed += 1
    return removed


def _update(digest: Any, file: Path) -> None:
    try:
        with open(file, "rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    except PermissionError as error:
        raise InputError(f"{file} cannot be read: no permission.", "Change the file's permissions.") from error


def _store(prepared: Prepared, entry: Path) -> None:
    """Write the entry, whole or not at all. Of several runs that make it at once the first wins: all make the same."""
    own = entry.with_name(f".{uuid.uuid4().hex[:8]}.{entry.name}")
    with atomic_path(own) as beside, os_errors(entry):
        beside.mkdir()
        np.save(beside / "image.npy", prepared.image)
        np.save(beside / "brain.npy", prepared.brain)
        if prepared.label is not None:
            np.save(beside / "label.npy", prepared.label)
        (beside / "entry.json").write_text(json.dumps({"affine": prepared.grid.affine.tolist()}))
    with os_errors(entry):
        try:
            os.rename(own, entry)  # refused when the entry is there
        except OSError:
            shutil.rmtree(own, ignore_errors=True)
            if not entry.exists():
                raise


def _is_there(entry: Path) -> bool:
    """Whether an entry is there; it counts as used now then, so that :func:`prune` in another run leaves it."""
    try:
        os.utime(entry)
    except FileNotFoundError:
        return False
    except PermissionError:  # a cache of somebody else
        pass
    return (entry / "entry.json").exists()


def _load(entry: Path, name: str) -> Prepared:
    """Raises
    ------
    FileNotFoundError : there is no such entry, or another run prunes it now.
    """
    if not _is_there(entry):
        raise FileNotFoundError(entry)
    affine = np.array(json.loads((entry / "entry.json").read_text())["affine"])
    image, brain, label = (np.load(entry / f"{array}.npy", mmap_mode="r") for array in ("image", "brain", "label"))
    return Prepared(name, image, brain, Grid(brain.shape, affine), label)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())
