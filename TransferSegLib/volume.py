"""Volume: an image array with its place in the world; reading and writing files."""

from __future__ import annotations

import errno
import gzip
import os
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from .errors import InputError, ResourceError, TransferSegError
from .files import atomic_path
from .formats import IMAGE_ENDINGS, ITK_ENDINGS, NIFTI_ENDINGS, ending
from .grid import Grid

if TYPE_CHECKING:
    import SimpleITK

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image.

    Attributes
    ----------
    data : (i, j, k).
    grid : where the voxels lie.
    path : the file or folder it was read from, or None.
    header : the NIfTI header it was read with, kept so that a result can follow its conventions, or None.

    Raises
    ------
    InputError : the array has another shape than the grid.
    """

    data: NDArray[Any]
    grid: Grid
    path: Path | None = None
    header: nib.Nifti1Header | None = None

    def __post_init__(self) -> None:
        if self.data.shape != self.grid.shape:
            raise InputError(f"An array of the shape {self.data.shape} is not on a grid of {self.grid.shape}.", "")

    def with_data(self, data: NDArray[Any]) -> Volume:
        """Other values on the same grid, to be written with the same conventions."""
        return Volume(data, self.grid, self.path, self.header)


def read_volume(path: str | Path) -> Volume:
    """Read a NIfTI, NRRD or MHA file, or a folder that holds one DICOM series.

    Returns
    -------
    The volume; integers keep their type unless the header scales them, everything else is float32.

    Raises
    ------
    InputError : the file is missing, damaged, of an unknown kind, not 3D, or holds NaN or infinite values; the slices
        of the series are not evenly spaced.
    ResourceError : the image is larger than the memory.
    """
    path = Path(path)
    try:
        volume = _reader(path)(path)
    except TransferSegError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: no permission.", "Change its permissions.") from error
    except MemoryError as error:
        raise ResourceError(
            f"{path} does not fit into the memory.", "Crop the image, or use a larger machine."
        ) from error
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is damaged: the compressed data ends too early.", "Copy or download the file again."
        ) from error
    except ImageFileError as error:
        raise InputError(f"{path} is not a NIfTI image.", "Check what kind of file it is.") from error
    except (OSError, RuntimeError, ValueError, ArithmeticError, HeaderDataError, WrapStructError) as error:
        raise InputError(
            f"{path} cannot be read as an image: {_first_line(error)}.", "Check that the file is complete."
        ) from error
    bad = int(volume.data.size - np.isfinite(volume.data).sum()) if volume.data.dtype.kind == "f" else 0
    if bad:
        raise InputError(
            f"{path} has {bad} voxels that are NaN or infinite.",
            "Replace them, for instance by 0, with the tool that made the image.",
        )
    return volume


def write_volume(volume: Volume, path: str | Path) -> Path:
    """Write a NIfTI, NRRD or MHA file; whole or not at all.

    A volume that was read from NIfTI keeps its header's conventions (sform and qform codes, units), so that every
    viewer lays it exactly over the image it belongs to.

    Raises
    ------
    InputError : the folder cannot be written, the ending is unknown, or the format cannot hold a sheared grid.
    ResourceError : the disk is full.
    """
    path = Path(path)
    if check_writable(path) in (".nrrd", ".mha"):
        image = _to_itk(volume, path)
        with atomic_path(path) as beside:
            try:
                _itk().WriteImage(image, str(beside), True)
            except RuntimeError as error:  # ITK does not say which error of the system it met.
                code = errno.ENOSPC if shutil.disk_usage(path.parent).free < volume.data.nbytes else errno.EIO
                raise OSError(code, os.strerror(code)) from error
    else:
        nifti = _to_nifti(volume, path)
        with atomic_path(path) as beside:
            nib.save(nifti, beside)
    return path


def check_writable(path: str | Path) -> str:
    """The ending of a file that :func:`write_volume` is to write.

    Raises
    ------
    InputError : the ending is unknown.
    """
    found = ending(path)
    if found not in (".nii.gz", ".nii", ".nrrd", ".mha"):
        raise InputError(f"{path} has no image ending we can write.", "Use .nii.gz, .nii, .nrrd or .mha.")
    return found


def _reader(path: Path) -> Callable[[Path], Volume]:
    if not path.exists():
        raise InputError(f"{path} does not exist.", "Check the path.")
    if path.is_dir():
        return _read_dicom
    with open(path, "rb") as file:  # The readers do not tell a forbidden or an empty file from a strange one.
        if not file.read(1):
            raise InputError(f"{path} is empty: it has no bytes.", "Copy or download the file again.")
    if ending(path) in NIFTI_ENDINGS:
        return _read_nifti
    if ending(path) in ITK_ENDINGS:
        return _read_itk
    raise InputError(
        f"{path} is no image that we can read.", f"Use a DICOM folder or one of {', '.join(IMAGE_ENDINGS)}."
    )


def _read_nifti(path: Path) -> Volume:
    image = nib.load(path, mmap=False)
    if not isinstance(image, nib.Nifti1Pair | nib.Nifti2Pair | nib.AnalyzeImage):
        raise InputError(f"{path} is not a NIfTI image.", "Check what kind of file it is.")
    _require_3d(path, image.shape)
    grid = _grid(path, image.shape[:3], image.affine)
    if ending(path) == ".nii.gz":
        with gzip.open(path) as file:
            holder = nib.FileHolder(fileobj=file)
            data = np.asarray(type(image).from_file_map({"image": holder}, mmap=False).dataobj)
            while file.read(1 << 20):  # To the end, where the checksum stands.
                pass
    else:
        data = np.asarray(image.dataobj)
    header = image.header if isinstance(image.header, nib.Nifti1Header) else None
    return Volume(_standard_type(path, data.reshape(grid.shape)), grid, path, header)


def _read_itk(path: Path) -> Volume:
    try:
        image = _itk().ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path} is damaged, or of another kind than its name says.", "Copy or download the file again."
        ) from error
    return _from_itk(image, path)


def _read_dicom(path: Path) -> Volume:
    sitk = _itk()
    next(path.iterdir(), None)  # ITK takes a forbidden folder for an empty one.
    reader = sitk.ImageSeriesReader()
    with _QuietItk():
        series = reader.GetGDCMSeriesIDs(str(path))
    if len(series) != 1:
        what = f"holds {len(series)} DICOM series" if series else "holds no DICOM series"
        raise InputError(f"{path} {what}.", "Give a folder with the files of one series.")
    files = reader.GetGDCMSeriesFileNames(str(path), series[0])
    reader.SetFileNames(files)
    with _QuietItk():
        image = reader.Execute()
    uneven = image.HasMetaDataKey("ITK_non_uniform_sampling_deviation")
    return _from_itk(image, path, _slice_step(path, files) if uneven else None)


def _slice_step(path: Path, files: tuple[str, ...]) -> NDArray[np.float64]:
    """The way (3,) in LPS, mm, from one slice to the next. A tilted gantry moves the slices sideways too.

    Raises
    ------
    InputError : the steps differ by more than a tenth, as when a slice is missing.
    """
    reader = _itk().ImageFileReader()
    origins = []
    for file in files:
        reader.SetFileName(file)
        reader.ReadImageInformation()
        origins.append(reader.GetOrigin()[:3])
    steps = np.diff(np.array(origins), axis=0)
    mean = np.asarray(steps.mean(axis=0))
    if np.abs(steps - mean).max() > 0.1 * np.linalg.norm(mean):
        raise InputError(
            f"{path} has slices that are not evenly spaced: some are missing or double.",
            "Export the whole series again, and nothing else.",
        )
    return mean


def _from_itk(image: SimpleITK.Image, path: Path, slice_step: NDArray[np.float64] | None = None) -> Volume:
    _require_scalar(path, image.GetNumberOfComponentsPerPixel())
    _require_3d(path, image.GetSize())
    while image.GetDimension() > 3:
        image = image[..., 0]
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    if slice_step is not None:
        affine[:3, 2] = slice_step
    # ITK arrays are (k, j, i) and its world is LPS.
    data = _itk().GetArrayFromImage(image).transpose(2, 1, 0)
    return Volume(_standard_type(path, data), _grid(path, data.shape, _LPS @ affine), path)


def _to_itk(volume: Volume, path: Path) -> SimpleITK.Image:
    affine = _LPS @ volume.grid.affine
    direction = affine[:3, :3] / volume.grid.spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise InputError(f"{path} cannot hold a sheared grid.", "Write .nii.gz instead.")
    data = _standard_type(path, volume.data)
    image = _itk().GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing(volume.grid.spacing)
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def _to_nifti(volume: Volume, path: Path) -> nib.Nifti1Image:
    data = _standard_type(path, volume.data)
    header = None
    if volume.header is not None:
        header = volume.header.copy()
        header.extensions.clear()
        header["cal_max"] = header["cal_min"] = 0
        header["descrip"] = b"TransferSeg"
        header["intent_code"] = 0
    image = nib.Nifti1Image(data, volume.grid.affine, header, dtype=data.dtype)
    if header is None:
        image.set_sform(volume.grid.affine, code="scanner")
        image.set_qform(volume.grid.affine, code="scanner")
        if not np.allclose(image.get_qform(), volume.grid.affine, atol=1e-3):
            image.set_qform(None)  # It cannot hold a sheared grid.
        image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    return image


def _require_3d(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) < 3 or any(side != 1 for side in shape[3:]):
        raise InputError(
            f"{path} is {len(shape)}D with the shape {tuple(shape)}.", "Extract the one 3D volume that is meant."
        )


def _require_scalar(path: Path, components: int) -> None:
    if components != 1:
        raise InputError(
            f"{path} has {components} values in each voxel, as colour images have.", "Convert it to grey values."
        )


def _grid(path: Path, shape: tuple[int, ...], affine: NDArray[np.float64]) -> Grid:
    try:
        return Grid((shape[0], shape[1], shape[2]), affine)
    except InputError as error:
        raise InputError(f"{path} has a header that cannot be used. {error.cause}", error.remedy) from error


def _standard_type(path: Path, data: NDArray[Any]) -> NDArray[Any]:
    _require_scalar(path, len(data.dtype.names or "1"))
    if data.dtype.kind not in "iufb":
        raise InputError(f"{path} has values of the type {data.dtype}.", "Convert them to real numbers.")
    if data.dtype.kind == "f":
        return np.asarray(data, np.float32)
    return np.asarray(data, np.uint8) if data.dtype.kind == "b" else data.astype(data.dtype.newbyteorder("="))


def _first_line(error: Exception) -> str:
    """What a reader or writer says first, without what ITK puts before it."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Exception thrown")]
    if not lines:
        return type(error).__name__
    return re.sub(r"^(sitk::ERROR|ITK ERROR: \w+\(0x\w+\)): ", "", lines[0]).rstrip(".:")


def _itk() -> Any:
    import SimpleITK

    return SimpleITK


class _QuietItk:
    """ITK prints its own warnings, for instance for a folder without DICOM files; we say it in our words."""

    def __enter__(self) -> None:
        self._before = _itk().ProcessObject.GetGlobalWarningDisplay()
        _itk().ProcessObject.SetGlobalWarningDisplay(False)

    def __exit__(self, *_: object) -> None:
        _itk().ProcessObject.SetGlobalWarningDisplay(self._before)
