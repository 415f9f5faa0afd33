"""Outside tools that find the brain in a head: a package or programs that the user may have, behind one function."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..errors import DependencyError, InputError
from ..events import CancelToken, Message, OnEvent, Progress, ignore
from ..grid import Grid
from ..resample import resample
from ..volume import Volume, read_volume, write_volume

# The spacing at which BET runs. Its surface has 2562 points: finer voxels cost time and tell it nothing. On voxels that
# are not cubes it fails.
_BET_MM = 2.0

# How often BET moves its surface.
_BET_STEPS = 1000

_POLL_S = 0.1


@dataclass(frozen=True)
class Program:
    """A program that reads a NIfTI file and writes the brain's mask.

    Attributes
    ----------
    name : as it is found on the PATH.
    arguments : file names are in a temporary folder, in which the program runs; ``image.nii.gz`` is the input.
    mask : the file that holds the mask afterwards: the brain is where it is not 0.
    """

    name: str
    arguments: tuple[str, ...]
    mask: str

    def available(self) -> bool:
        return shutil.which(self.name) is not None

    def extract(self, volume: Volume, on_event: OnEvent, cancel: CancelToken, limit_s: float) -> NDArray[np.float32]:
        """The mask on the grid of ``volume``, from 0 to 1."""
        on_event(Message("brain", f"{self.name} looks for the brain; this can take minutes."))
        # A folder that a worker of the program still writes to as it is killed may stay: no reason to fail.
        with tempfile.TemporaryDirectory(prefix="transferseg-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            # The tools read with ITK, which cannot hold a sheared grid.
            grid = _upright(volume.grid, min(volume.grid.spacing)) if _sheared(volume.grid) else volume.grid
            image = np.asarray(resample(np.asarray(volume.data, np.float32), volume.grid, grid), np.float32)
            write_volume(Volume(image, grid), folder / "image.nii.gz")
            self._run(folder, cancel, limit_s)
            if not (folder / self.mask).exists():
                raise DependencyError(
                    f"{self.name} ended without an error but wrote no mask: {_last_line(folder)}.",
                    f"Check that the version of {self.name} is the one that is asked for.",
                )
            mask = read_volume(folder / self.mask)
        return np.asarray(resample((mask.data != 0).astype(np.float32), mask.grid, volume.grid), np.float32)

    def _run(self, folder: Path, cancel: CancelToken, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        command = [shutil.which(self.name) or self.name, *self.arguments]
        with open(folder / _LOG, "wb") as log:
            try:
                # A session of its own, so that its workers can be stopped with it.
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise DependencyError(
                    f"{self.name} cannot be started: {error.strerror or error}.", "Check how it is installed."
                ) from error
            try:
                while process.poll() is None:
                    cancel.raise_if_cancelled()
                    if time.monotonic() > end:
                        raise DependencyError(
                            f"{self.name} was stopped: it was not done after {limit_s:g} s.",
                            "Use another brain extraction, or a faster machine.",
                        )
                    time.sleep(_POLL_S)
            finally:
                _stop(process)
        if process.returncode != 0:
            raise DependencyError(
                f"{self.name} failed with exit code {process.returncode}: {_last_line(folder)}.",
                f"Try '{self.name}' on the image by hand, or use another brain extraction.",
            )


@dataclass(frozen=True)
class Package:
    """BET (Smith 2002, 10.1002/hbm.10062) as the Python package brainextractor has it."""

    name: str = "brainextractor"

    def available(self) -> bool:
        return find_spec(self.name) is not None

    def extract(self, volume: Volume, on_event: OnEvent, cancel: CancelToken, limit_s: float) -> NDArray[np.float32]:
        """The mask on the grid of ``volume``, from 0 to 1. Works on a copy with cubic voxels."""
        grid = volume.grid.respaced((_BET_MM,) * 3)
        if _sheared(volume.grid):
            grid = _upright(volume.grid, _BET_MM)
        image = np.asarray(resample(np.asarray(volume.data, np.float32), volume.grid, grid), np.float32)
        listener = _Listener(on_event, cancel, limit_s)
        try:
            tool = import_module(self.name).BrainExtractor
            with redirect_stdout(listener), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                bet = tool(img=nib.Nifti1Image(image, grid.affine))
                bet.run(iterations=_BET_STEPS)
                share = _within(bet.surface, grid)
        except ImportError as error:
            raise DependencyError(
                f"The package {self.name} is damaged: {error}.", f"Install it again: pip install {self.name}"
            ) from error
        except (ValueError, IndexError, ArithmeticError, AttributeError) as error:
            # So it ends when its surface leaves the image or closes to a point: there is no head to see.
            raise InputError(
                f"BET found no brain in {_name(volume)}.", "Use another brain extraction, or give extracted brains."
            ) from error
        return np.asarray(resample(share, grid, volume.grid), np.float32)


@dataclass(frozen=True)
class Extractor:
    """A way to find the brain.

    Attributes
    ----------
    tool : what does it.
    get : how to get it, a sentence.
    """

    tool: Program | Package
    get: str


# Every tool, by the name that the user gives.
EXTRACTORS: Mapping[str, Extractor] = {
    "bet": Extractor(Package(), "Install it: pip install brainextractor"),
    # Isensee 2019, 10.1002/hbm.24750. Version 2: version 1 has other options.
    "hd-bet": Extractor(
        Program(
            "hd-bet",
            (
                *("-i", "image.nii.gz", "-o", "brain.nii.gz"),
                *("-device", "cpu", "--disable_tta", "--save_bet_mask", "--no_bet_image"),
            ),
            "brain_bet.nii.gz",
        ),
        "Install version 2 in an environment of its own (it changes torch), and put its 'hd-bet' on the PATH: "
        "pip install hd-bet",
    ),
    # Hoopes 2022, 10.1016/j.neuroimage.2022.119474.
    "synthstrip": Extractor(
        Program("mri_synthstrip", ("-i", "image.nii.gz", "-m", "mask.nii.gz"), "mask.nii.gz"),
        "Install FreeSurfer 7.3 or newer and put 'mri_synthstrip' on the PATH.",
    ),
}


def extract(
    method: str,
    volume: Volume,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    limit_s: float = 1800,
) -> NDArray[np.bool_]:
    """The brain's mask (i, j, k) on the grid of ``volume``, an image of the whole head.

    Parameters
    ----------
    method : a key of ``EXTRACTORS``.
    limit_s : a tool that is not done after so many seconds is stopped.

    Raises
    ------
    InputError : the method is unknown, or there is no brain in the image.
    DependencyError : the tool is missing, fails or takes too long.
    Cancelled : on request; nothing of the tool goes on running.
    """
    if method not in EXTRACTORS:
        raise InputError(f"There is no brain extraction '{method}'.", f"Use one of {', '.join(EXTRACTORS)}.")
    extractor = EXTRACTORS[method]
    if not extractor.tool.available():
        raise DependencyError(f"The brain extraction '{method}' needs {extractor.tool.name}.", extractor.get)
    share = extractor.tool.extract(volume, on_event, cancel or CancelToken(), limit_s)
    mask = np.asarray(share >= 0.5)
    if not mask.any():
        raise InputError(f"{extractor.tool.name} found no brain in {_name(volume)}.", "Check that it shows a head.")
    return mask


class _Listener(io.TextIOBase):
    """Takes what BET prints, a line at each of its steps: to count them, and to stop it."""

    def __init__(self, on_event: OnEvent, cancel: CancelToken, limit_s: float) -> None:
        self._on_event, self._cancel, self._limit_s = on_event, cancel, limit_s
        self._end = time.monotonic() + limit_s

    def write(self, text: str) -> int:
        self._cancel.raise_if_cancelled()
        if time.monotonic() > self._end:
            raise DependencyError(f"BET was stopped: it was not done after {self._limit_s:g} s.", "Use another one.")
        word, _, number = text.strip().partition(": ")
        if word == "Iteration" and number.isdigit():
            self._on_event(Progress("brain", int(number) + 1, _BET_STEPS))
        return len(text)


def _within(surface: Any, grid: Grid) -> NDArray[np.float32]:
    """The share of each voxel within a closed surface of trimesh, given in voxel indices: a half where it runs.

    The package's own mask has all of these voxels, and is moved by one voxel along each axis (0.3.0).
    """
    shell = surface.voxelized(1.0)
    share = np.zeros(grid.shape, np.float32)
    for part, value in ((shell.copy().fill(), 1.0), (shell, 0.5)):
        index = np.rint(part.points).astype(int)
        index = index[((index >= 0) & (index < grid.shape)).all(1)]
        share[tuple(index.T)] = value
    return share


def _sheared(grid: Grid) -> bool:
    axes = grid.affine[:3, :3] / grid.spacing
    return not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)


def _upright(grid: Grid, spacing: float) -> Grid:
    """A grid of cubes along the axes of the world over the same extent."""
    corners = grid.corners()
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = corners.min(0)
    i, j, k = (int(side) + 1 for side in np.ceil(np.ptp(corners, axis=0) / spacing))
    return Grid((i, j, k), affine)


_LOG = "output.txt"


def _last_line(folder: Path) -> str:
    lines = (folder / _LOG).read_text(errors="replace").split("\n")
    return next((line.strip().rstrip(".") for line in reversed(lines) if line.strip()), "it said nothing")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the program and its workers, also those that outlive it."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


def _name(volume: Volume) -> str:
    return str(volume.path) if volume.path is not None else "the image"
