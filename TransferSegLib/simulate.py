"""Simulated patients: four channels and exact labels, at any spacing, from a seed; no data of anybody needed.

Anatomy comes from the tissue maps of the MNI template, multiple-sclerosis lesions from the shapes of real ones, and
brightness from wide ranges around real ones, so that a network that learns from them meets more variety than the
scanners it will see (domain randomisation: Billot et al. 2023, SynthSeg, doi:10.1016/j.media.2023.102789).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .datasets import write_case
from .errors import InputError
from .events import CancelToken, OnEvent, ignore
from .files import atomic_path, os_errors
from .grid import Grid
from .labels import GLIOMA, LESION, LabelScheme
from .parallel import count_jobs, spread
from .resample import resample, resample_labels
from .simulation.anatomy import brain_grid, draw_anatomy
from .simulation.lesions import draw_lesions, patients_left
from .simulation.scanner import imperfect_mask, materials_of, take_images
from .simulation.tumour import draw_tumour, grow_tumour

DISEASES: Mapping[str, LabelScheme] = {"ms": LESION, "glioma": GLIOMA}

# Coarser images are made on a grid at least this fine first: a scanner's voxels hold finer tissue.
_COARSEST_MM = 1.5
_SMALLEST_MM, _LARGEST_MM = 0.5, 6.0
_SAMPLE, _SAMPLE_SEED = "TransferSegSample", 14


@dataclass(frozen=True, eq=False)
class SimulatedPatient:
    """One visit of somebody who does not exist.

    Attributes
    ----------
    channels : channel name to (i, j, k) int16 values on ``grid``, 0 outside of the brain.
    labels : (i, j, k) internal labels of ``scheme``.
    group : ``"HGG"`` or ``"LGG"`` for glioma, else empty.
    """

    grid: Grid
    channels: Mapping[str, NDArray[np.int16]]
    labels: NDArray[np.uint8]
    scheme: LabelScheme
    group: str


def simulate_patient(
    disease: str, seed: int | Sequence[int], spacing: float | Sequence[float] = 1.0, without: Sequence[int] = ()
) -> SimulatedPatient:
    """A patient with ``disease``; the same one for the same seed and spacing.

    Parameters
    ----------
    disease : ``"ms"`` or ``"glioma"``.
    spacing : of the images, mm: one number, or one for each axis.
    without : for ``"ms"``: patients of the lesion bank whose lesions are not used, see
        :func:`simulation.lesions.bank_patients`.

    Raises
    ------
    InputError : the disease is unknown or the spacing makes no sense.
    """
    steps = _check(disease, spacing)
    random = np.random.default_rng(seed)
    fine_mm = min(steps)
    while fine_mm > _COARSEST_MM:
        fine_mm /= 2
    fine, wanted = brain_grid([fine_mm] * 3), brain_grid(steps)
    atrophy = float(random.uniform(-0.15, 0.45))
    if disease == "ms":
        anatomy = draw_anatomy(random, fine, atrophy)
        findings = draw_lesions(random, anatomy, without)
    else:
        tumour = draw_tumour(random)
        anatomy = draw_anatomy(random, fine, atrophy / 2, tumour.warp)
        findings = grow_tumour(random, tumour, anatomy)
    mask = imperfect_mask(random, anatomy)
    images = take_images(random, materials_of(random, anatomy, findings), mask, fine_mm)
    labels = np.where(mask, findings.labels, 0).astype(np.uint8)
    scheme = DISEASES[disease]
    if not wanted.matches(fine):
        # As when real images of skull-stripped brains are resampled: 0 stays outside.
        inside = resample(mask.astype(np.float32), fine, wanted) > 0.5
        images = {
            channel: np.where(inside, np.maximum(resample(image.astype(np.float32), fine, wanted), 1), 0).astype(
                np.int16
            )
            for channel, image in images.items()
        }
        labels = np.where(inside, resample_labels(labels, fine, wanted, len(scheme)), 0).astype(np.uint8)
    return SimulatedPatient(wanted, images, labels, scheme, findings.group)


def simulate_dataset(
    disease: str,
    out: str | Path,
    cases: int,
    seed: int = 0,
    spacing: float | Sequence[float] = 1.0,
    without: Sequence[int] = (),
    jobs: int = 0,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> Path:
    """Write patients in the layout of BraTS, ``ms-sim-SEED-0000`` and so on; those that are there are not made again.

    Parameters
    ----------
    out : folder.
    cases : how many. Patient n is the same however many there are.
    seed, spacing, without : see :func:`simulate_patient`.
    jobs : processes, see :func:`parallel.count_jobs`.

    Raises
    ------
    InputError : an option makes no sense, or ``out`` cannot be written, or holds patients made with other options.
    ResourceError : the disk is full.
    Cancelled : on request; what was written until then stays and is whole.
    """
    steps = _check(disease, spacing)
    if cases < 1:
        raise InputError(f"--cases cannot be {cases}.", "Give at least 1.")
    if seed < 0:
        raise InputError(f"--seed cannot be {seed}.", "Give 0 or more.")
    patients_left(without)
    out = Path(out)
    _claim(out, {"disease": disease, "seed": seed, "spacing_mm": steps, "without": sorted(without)})
    write = partial(_write, disease=disease, out=out, seed=seed, spacing=tuple(steps), without=tuple(without))
    for _, made in spread(write, range(cases), "simulate", count_jobs(cases, jobs), on_event, cancel or CancelToken()):
        if isinstance(made, Exception):
            raise made
    return out


def write_sample_case(out: str | Path) -> Path:
    """Write one small patient with glioma to try things on, always the same one; made in seconds, without a network.

    Returns
    -------
    The folder of the case, in the layout of BraTS: 2 mm, four channels and the reference labels.

    Raises
    ------
    InputError : ``out`` cannot be written.
    ResourceError : the disk is full.
    """
    folder = Path(out) / _SAMPLE
    if not folder.exists():
        patient = simulate_patient("glioma", _SAMPLE_SEED, 2.0)
        write_case(folder, patient.grid, patient.channels, patient.scheme.decode(patient.labels))
    return folder


def _check(disease: str, spacing: float | Sequence[float]) -> list[float]:
    if disease not in DISEASES:
        raise InputError(f"There is no simulation of '{disease}'.", f"Choose {' or '.join(DISEASES)}.")
    given = np.atleast_1d(np.asarray(spacing, np.float64))
    if given.shape not in ((1,), (3,)):
        raise InputError(f"Voxels cannot have {given.size} sizes.", "Give one number, or one for each of three axes.")
    steps: list[float] = np.broadcast_to(given, 3).tolist()
    if not all(_SMALLEST_MM <= step <= _LARGEST_MM for step in steps):
        raise InputError(
            f"Patients cannot be simulated with voxels of {', '.join(f'{step:g}' for step in steps)} mm.",
            f"Choose from {_SMALLEST_MM:g} to {_LARGEST_MM:g} mm.",
        )
    return steps


def _claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Note what the folder holds, or check that it holds the same: patients of one name are the same patients."""
    note = out / "simulation.json"
    if not note.exists():
        with atomic_path(note) as beside:
            beside.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        return
    with os_errors(note):
        text = note.read_text(encoding="utf-8")
    if text != json.dumps(settings, indent=1) + "\n":
        raise InputError(
            f"{out} holds patients that were simulated with other options.", f"Choose another --out; see {note}."
        )


def _write(
    number: int,
    on_event: OnEvent,
    cancel: CancelToken,
    disease: str,
    out: Path,
    seed: int,
    spacing: Sequence[float],
    without: Sequence[int],
) -> None:
    name = f"{disease}-sim-{seed}-{number:04d}"
    if any((folder / name).exists() for folder in (out, out / "HGG", out / "LGG")):
        return
    patient = simulate_patient(disease, (seed, number), spacing, without)
    write_case(out / patient.group / name, patient.grid, patient.channels, patient.scheme.decode(patient.labels))
