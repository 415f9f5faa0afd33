"""Lesions of one patient transplanted into the brain of another: more annotated cases out of few.

As CarveMix does (Zhang et al. 2023, doi:10.1016/j.neuroimage.2023.120041), with two differences: brains are laid over
each other by registration with the template, so that a lesion comes to lie where it was in the donor's brain, mirrored
or moved a little; and the donor's brightness is brought to the host's.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from .case import load_case
from .case_files import CHANNELS, CaseFiles
from .datasets import Dataset, find_cases, write_case
from .errors import InputError
from .events import CancelToken, OnEvent, Result, ignore
from .files import atomic_path
from .grid import Grid
from .labels import LabelScheme
from .parallel import count_jobs, spread
from .preprocess.pipeline import Pipeline, Placed
from .preprocess.to_template import ToTemplate
from .resample import resample, resample_labels, resample_mask
from .schemes import choose_scheme

# How much around a lesion comes with it, and over how much of that host and donor mix, mm.
_MARGIN_MM, _FEATHER_MM = (1.5, 6.0), 2.0
_TURN_DEGREES, _SHIFT_MM = 6.0, 4.0
_EVERYWHERE = np.ones((3, 3, 3), bool)

Matrix = NDArray[np.float64]
_Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Graft:
    """One case to make: whose lesions go into whose brain."""

    name: str
    donor: CaseFiles
    host: CaseFiles
    seed: tuple[int, int]


def transplant_dataset(
    donors: str | Path | Dataset,
    out: str | Path,
    cases: int,
    hosts: str | Path | Dataset | None = None,
    labels: str | Path | LabelScheme | None = None,
    channels: Sequence[str] = CHANNELS,
    seed: int = 0,
    jobs: int = 0,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> Path:
    """Write cases in which annotated lesions of a donor stand in the brain of a host.

    Each holds parts of two patients. Use them for training only, made from training cases only: a case made with a
    held-out patient is a leak that no split by patient can find.

    Parameters
    ----------
    donors : annotated cases, as for :func:`runs.fine_tune`.
    out : folder; gets a case folder each, and ``transplants.csv`` which says who is in which.
    cases : how many.
    hosts : annotated cases whose brains are used, with the lesions that they have; None: the donors.
    labels : see :func:`schemes.choose_scheme`.
    seed : the same one gives the same cases.

    Raises
    ------
    InputError : a case cannot be used, or ``out`` is in use.
    ResourceError : the disk is full.
    Cancelled : on request; what was written until then stays.
    """
    out, cancel = Path(out), cancel or CancelToken()
    if cases < 1:
        raise InputError(f"--cases cannot be {cases}.", "Give at least 1.")
    if seed < 0:
        raise InputError(f"--seed cannot be {seed}.", "Give 0 or more.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder.", "Choose another --out, or delete it.")
    giving, taking = (_dataset(each, channels) for each in (donors, hosts if hosts is not None else donors))
    scheme = choose_scheme(labels, giving.scheme, [case.label for case in giving if case.label])
    grafts = plan_grafts(giving.cases, taking.cases, cases, seed)
    everyone = {_key(case): case for graft in grafts for case in (graft.donor, graft.host)}
    place = partial(_to_template, channels=tuple(channels), scheme=scheme)
    count = count_jobs(len(everyone), jobs)
    matrices: dict[_Key, Matrix] = {}
    for number, found in spread(place, list(everyone.values()), "register", count, on_event, cancel):
        if isinstance(found, Exception):
            raise found
        matrices[list(everyone)[number]] = found
    items = [(graft, matrices[_key(graft.donor)], matrices[_key(graft.host)]) for graft in grafts]
    write = partial(_write, out=out, channels=tuple(channels), scheme=scheme)
    for _, made in spread(write, items, "transplant", count_jobs(cases, jobs), on_event, cancel):
        if isinstance(made, Exception):
            raise made
    with atomic_path(out / "transplants.csv") as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        rows = [(graft.name, graft.donor.name, graft.host.name) for graft in grafts]
        csv.writer(file, lineterminator="\n").writerows([("case", "donor", "host"), *rows])
    on_event(Result({"written": cases, "folder": out}))
    return out


def plan_grafts(donors: Sequence[CaseFiles], hosts: Sequence[CaseFiles], cases: int, seed: int) -> list[Graft]:
    """Who goes into whom: every donor and every host about equally often; nobody into themselves, if it can be."""
    random = np.random.default_rng(seed)
    grafts = []
    for number in range(cases):
        donor = donors[number % len(donors)]
        others = [host for host in hosts if host.channels != donor.channels] or list(hosts)
        host = others[int(random.integers(len(others)))]
        grafts.append(Graft(f"transplant-{seed}-{number:04d}", donor, host, (seed, number)))
    return grafts


def transplant(
    donor: Placed, host: Placed, seed: Sequence[int], channels: Sequence[str] = CHANNELS
) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """The host's images and labels with lesions of the donor in them.

    Parameters
    ----------
    donor, host : cases with labels, registered to the template.

    Returns
    -------
    Channel name to (i, j, k) values of the host's type, and internal labels, both on the grid of the host's reference
    channel.
    """
    assert donor.case.label is not None
    assert host.case.label is not None
    random = np.random.default_rng(seed)
    carry = _carry(random, donor, host)
    grid, given = host.case.grid, donor.case.grid.moved(carry)
    soft, kept = _carve(random, donor.case.label, donor.brain.mask, donor.case.grid)
    inside = host.brain.mask
    share = np.where(inside, resample(soft, given, grid), 0).astype(np.float32)
    taken = resample_labels(kept, given, grid, int(kept.max()) + 1)
    labels = np.where((share > 0.5) & inside, taken, host.case.label).astype(np.uint8)
    images = {}
    for channel in channels:
        theirs, ours = donor.volumes[channel], host.volumes[channel]
        gain, offset = _match(_tissue(donor, channel), _tissue(host, channel))
        own = resample(np.asarray(ours.data, np.float32), ours.grid, grid)
        graft = resample(np.asarray(theirs.data, np.float32), theirs.grid.moved(carry), grid) * gain + offset
        mixed = own * (1 - share) + graft * share
        if np.issubdtype(ours.data.dtype, np.integer):
            limits = np.iinfo(ours.data.dtype)
            mixed = np.clip(np.rint(mixed), limits.min, limits.max)
        images[channel] = mixed.astype(ours.data.dtype)
    return images, labels


def _carry(random: np.random.Generator, donor: Placed, host: Placed) -> Matrix:
    """(4, 4) from the donor's world to the host's, through the template, where it is mirrored, turned and moved."""
    assert donor.to_image is not None
    assert host.to_image is not None
    change = np.eye(4)
    change[:3, :3] = Rotation.from_euler("xyz", random.uniform(-1, 1, 3) * _TURN_DEGREES, degrees=True).as_matrix()
    change[:3, 3] = random.uniform(-1, 1, 3) * _SHIFT_MM
    if random.random() < 0.5:  # the template is symmetric about x = 0
        change = change @ np.diag([-1.0, 1.0, 1.0, 1.0])
    return np.asarray(host.to_image @ change @ np.linalg.inv(donor.to_image), np.float64)


def _carve(
    random: np.random.Generator, label: NDArray[np.uint8], brain: NDArray[np.bool_], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """How much of each of the donor's voxels is taken, 0..1, and the labels that come with it.

    Some lesions, each with a margin. Labels of others that lie in the margin come along, as their tissue does.
    """
    found, count = ndimage.label(label > 0, _EVERYWHERE)
    chosen = random.random(count + 1) < random.uniform(0.4, 1.0)
    chosen[0] = False
    if count and not chosen.any():
        chosen[1 + int(random.integers(count))] = True
    distance = ndimage.distance_transform_edt(~chosen[found], sampling=grid.spacing)
    soft = np.clip((random.uniform(*_MARGIN_MM) - distance) / _FEATHER_MM + 0.5, 0, 1)
    # Voxels at the brain's surface are interpolated with what is around it.
    return np.where(ndimage.binary_erosion(brain), soft, 0).astype(np.float32), label


def _tissue(placed: Placed, channel: str) -> NDArray[np.float32]:
    """Values of ``channel`` in the brain outside of lesions."""
    assert placed.case.label is not None
    volume = placed.volumes[channel]
    healthy = resample_mask(placed.brain.mask & (placed.case.label == 0), placed.case.grid, volume.grid)
    return np.asarray(volume.data[healthy], np.float32)


def _match(source: NDArray[np.float32], target: NDArray[np.float32]) -> tuple[float, float]:
    """Gain and offset that bring the quartiles of ``source`` to the spread and middle of those of ``target``."""
    low, middle, high = np.percentile(source, (25, 50, 75))
    wanted_low, wanted_middle, wanted_high = np.percentile(target, (25, 50, 75))
    gain = float((wanted_high - wanted_low) / max(high - low, 1e-6))
    return gain, float(wanted_middle - gain * middle)


def _key(case: CaseFiles) -> _Key:
    """Tells cases apart: the same one can be found twice, among the donors and among the hosts."""
    return tuple(sorted((name, str(path)) for name, path in case.channels.items()))


def _dataset(given: str | Path | Dataset, channels: Sequence[str]) -> Dataset:
    dataset = given if isinstance(given, Dataset) else find_cases(given, channels)
    for case in dataset:
        case.require(channels)
        if case.label is None:
            raise InputError(f"Case '{case.name}' has no reference label map.", "Add it, or leave the case out.")
    return dataset


_PIPELINE = Pipeline(template=ToTemplate())


def _to_template(
    case: CaseFiles, on_event: OnEvent, cancel: CancelToken, channels: Sequence[str], scheme: LabelScheme
) -> Matrix:
    placed = _PIPELINE.place(load_case(case, channels, scheme, on_event=on_event), on_event, cancel)
    assert placed.to_image is not None
    return placed.to_image


def _write(
    item: tuple[Graft, Matrix, Matrix],
    on_event: OnEvent,
    cancel: CancelToken,
    out: Path,
    channels: Sequence[str],
    scheme: LabelScheme,
) -> None:
    graft, *matrices = item
    donor, host = (
        replace(Pipeline().place(load_case(case, channels, scheme), ignore, cancel), to_image=matrix)
        for case, matrix in zip((graft.donor, graft.host), matrices, strict=True)
    )
    images, labels = transplant(donor, host, graft.seed, channels)
    write_case(out / graft.donor.group / graft.name, host.case.grid, images, scheme.decode(labels))
