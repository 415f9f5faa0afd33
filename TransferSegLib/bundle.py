"""The files of a model: a folder or a zip of it, read with suspicion and written whole.

Only ``model.json`` and ``weights.safetensors`` are ever read. Nothing is executed, unpickled or unpacked to disk, and
nothing is read before its size is known to be sane: model files travel by mail.
"""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ModelError, needs
from .files import atomic_path, os_errors

if TYPE_CHECKING:
    from .card import Card

Weights = Mapping[str, NDArray[Any]]

CARD, WEIGHTS, README = "model.json", "weights.safetensors", "README.md"

MAX_CARD_BYTES = 1 << 20
MAX_WEIGHTS_BYTES = 512 << 20
MAX_TOTAL_BYTES = MAX_WEIGHTS_BYTES + (16 << 20)
# macOS adds a shadow of each file and folder and a .DS_Store to the zips it makes.
MAX_ZIP_MEMBERS = 32

_WHAT = f"A model is a folder that holds {CARD} and {WEIGHTS}, or a .zip of it."
_AGAIN = "Get the model again from whoever made it."
_LIMITS = {CARD: MAX_CARD_BYTES, WEIGHTS: MAX_WEIGHTS_BYTES}
_DTYPES = ("float32", "int64")


@dataclass(frozen=True, eq=False)
class Bundle:
    """The content of a model's files, checked as far as that goes without building the network.

    Attributes
    ----------
    card : matches ``data``.
    data : the bytes of ``weights.safetensors``.
    weights : tensor name to array, finite, float32 or int64.
    path : the folder or zip it was read from; a run's folder leads to the model in it.
    """

    card: Card
    data: bytes
    weights: Weights
    path: Path


def read_bundle(path: str | Path) -> Bundle:
    """Read and check a model.

    Parameters
    ----------
    path : a folder, the folder of a run that holds it as ``model/``, or a zip with the files at its top or in one
        folder.

    Raises
    ------
    ModelError : something is missing, damaged, too new, too large or not what the card says.
    DependencyError : a package to read it is not installed.
    """
    from .card import Card

    path = Path(path)
    try:
        if not path.exists():
            raise ModelError(f"{path} does not exist.", "Check the path.")
        if path.is_dir():
            path = _folder(path)
            files = _read_folder(path)
        else:
            files = _read_zip(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error
    try:
        card = Card.from_json(files[CARD])
        weights = parse_weights(files[WEIGHTS], card.weights_sha256)
    except ModelError as error:
        raise ModelError(f"{path}: {error.cause[0].lower()}{error.cause[1:]}", error.remedy) from error
    return Bundle(card, files[WEIGHTS], weights, path)


def write_bundle(path: str | Path, card: Card, data: bytes) -> Path:
    """Write a model as a zip when ``path`` ends in ``.zip``, else as a folder; whole or not at all.

    Equal models give equal files. A model that is there already is replaced.

    Raises
    ------
    InputError : ``path`` cannot be written, or is a folder with other things in it.
    ResourceError : the disk is full.
    """
    from .readme import render_readme

    path = Path(path)
    contents = {CARD: card.to_json().encode(), WEIGHTS: data, README: render_readme(card).encode()}
    # Replacing a folder deletes what was in it: never somebody's documents.
    with os_errors(path):
        others = {item.name for item in path.iterdir()} - {*contents, ".DS_Store"} if path.is_dir() else set()
    if others:
        raise InputError(
            f"{path} is a folder with other files in it.", "Choose a new folder, or a name ending in .zip."
        )
    with atomic_path(path.absolute()) as beside:
        if path.suffix.lower() == ".zip":
            _write_zip(beside, card.name, contents)
        else:
            beside.mkdir()
            for name, content in contents.items():
                (beside / name).write_bytes(content)
    return path


def serialize_weights(weights: Weights) -> bytes:
    """The bytes of ``weights.safetensors``. The order of ``weights`` does not matter.

    Raises
    ------
    ModelError : a tensor is not float32 or int64, or not finite.
    """
    with needs("safetensors"):
        from safetensors.numpy import save

    # The format holds dense C-ordered arrays, and safetensors does not look: a transposed one would be scrambled.
    arrays = {name: np.array(array, order="C") for name, array in weights.items()}
    _check_tensors(arrays)
    return bytes(save(arrays))


def parse_weights(data: bytes, expected_sha256: str) -> dict[str, NDArray[Any]]:
    """The arrays in ``weights.safetensors``.

    Raises
    ------
    ModelError : the bytes are a pickle, do not match the card, are no safetensors, or hold unfit values.
    """
    with needs("safetensors"):
        from safetensors import SafetensorError
        from safetensors.numpy import load

    # torch.save since version 1.6, and before. The ninth byte of every safetensors file opens its header.
    if data[:2] in (b"PK", b"\x80\x02") and data[8:9] != b"{":
        raise ModelError(
            f"{WEIGHTS} is a PyTorch pickle under another name, which can run code when it is opened.",
            "Ask for the weights in the safetensors format.",
        )
    found = sha256(data)
    if found != expected_sha256:
        raise ModelError(
            f"The weights do not match the card: sha256 {found[:12]}..., expected {expected_sha256[:12]}..., "
            "the file was changed or damaged.",
            _AGAIN,
        )
    try:
        weights: dict[str, NDArray[Any]] = dict(sorted(load(data).items()))  # they come in any order
    except KeyError as error:  # a type NumPy does not have, for instance BF16
        raise ModelError(f"{WEIGHTS} holds numbers of the type {error.args[0]}.", "Convert them to float32.") from error
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{WEIGHTS} is damaged or no safetensors file.", _AGAIN) from error
    _check_tensors(weights)
    return weights


def sha256(data: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _check_tensors(weights: Weights) -> None:
    if not weights:
        raise ModelError("The weights hold no tensors.", _AGAIN)
    for name, array in weights.items():
        if array.dtype.name not in _DTYPES:
            raise ModelError(f"The tensor '{name}' holds {array.dtype}.", f"Convert it to {' or '.join(_DTYPES)}.")
        if not np.isfinite(array).all():
            raise ModelError(f"The tensor '{name}' holds NaN or infinite values.", "Train the model again.")


def _folder(path: Path) -> Path:
    in_run = path / "model"
    return in_run if not (path / CARD).exists() and (in_run / CARD).exists() else path


def _read_folder(path: Path) -> dict[str, bytes]:
    files = {}
    for name, most in _LIMITS.items():
        file = path / name
        if not file.is_file():
            raise ModelError(f"{path} has no {name}.", _WHAT)
        _check_size(path, name, file.stat().st_size)
        with open(file, "rb") as handle:
            files[name] = handle.read(most + 1)
        _check_size(path, name, len(files[name]))  # it may have grown
    return files


def _check_size(path: Path, name: str, size: int) -> None:
    if size > _LIMITS[name]:
        raise ModelError(
            f"{path}: {name} is too large: {size / 2**20:.0f} MB, at most {_LIMITS[name] / 2**20:.0f} MB are read.",
            "Check that it is a model of TransferSeg.",
        )


class _Guarded(io.BufferedReader):
    """Gives little at once while zipfile opens the archive: a table of a million members fills the memory."""

    opening = True
    most = 1 << 17

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.opening:
            return super().read(size)
        wanted = self.most + 1 if size is None or size < 0 else size
        data = super().read(min(wanted, self.most + 1))
        if len(data) > self.most:
            raise zipfile.BadZipFile("the table of contents is too large")
        return data


def _read_zip(path: Path) -> dict[str, bytes]:
    if path.stat().st_size > MAX_TOTAL_BYTES:
        raise ModelError(f"{path} is too large for a model.", "Check that it is a model of TransferSeg.")
    with _Guarded(io.FileIO(path)) as handle:
        if not zipfile.is_zipfile(handle):
            raise ModelError(f"{path} is not a zip file.", _WHAT)
        handle.seek(0)
        try:
            with zipfile.ZipFile(handle) as archive:
                handle.opening = False
                members = _find_members(path, archive.infolist())
                return {name: _read_member(archive, member) for name, member in members.items()}
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            raise ModelError(f"{path} is a damaged zip file.", "Copy or download it again.") from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as handle:
        return handle.read(member.file_size + 1)  # zipfile stops at the size that was checked


def _find_members(path: Path, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The members to read, after every member was found harmless."""
    if not infos:
        raise ModelError(f"{path} is an empty zip file.", _WHAT)
    if len(infos) > MAX_ZIP_MEMBERS:
        raise ModelError(f"{path} holds {len(infos)} files, a model at most {MAX_ZIP_MEMBERS}.", _WHAT)
    for info in infos:
        _check_member(path, info)
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise ModelError(f"{path} is too large once unpacked.", "Check that it is a model of TransferSeg.")
    files = {info.filename: info for info in infos if not info.filename.startswith("__MACOSX/")}
    folders = sorted({name.removesuffix(CARD) for name in files if _depth(name) <= 2 and _base(name) == CARD})
    if len(folders) > 1:
        raise ModelError(f"{path} holds {len(folders)} models.", "Unpack it and choose one of its folders.")
    found = {name: files.get("".join(folders) + name) for name in _LIMITS}
    for name, member in found.items():
        if member is None:
            raise ModelError(f"{path} has no {name}.", _WHAT)
        _check_size(path, name, member.file_size)
    return {name: member for name, member in found.items() if member is not None}


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    name, mode = info.orig_filename, info.external_attr >> 16
    if name.startswith("/") or "\\" in name or name[1:2] == ":" or "\0" in name or ".." in name.split("/"):
        raise ModelError(f"{path} holds the file {name!r}, which points out of its folder.", "Do not use this file.")
    if stat.S_ISLNK(mode):
        raise ModelError(f"{path} holds the symbolic link {name!r}.", "Do not use this file.")
    if info.flag_bits & 1:
        raise ModelError(f"{path} is encrypted.", "Unpack it and give the folder.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{path} uses a rare kind of compression.", "Unpack it and give the folder.")


def _depth(name: str) -> int:
    return len(PurePosixPath(name).parts)


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _write_zip(path: Path, folder: str, contents: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            # A fixed time, system and mode; stored, since weights hardly shrink and zlib's versions differ.
            info = zipfile.ZipInfo(f"{folder}/{name}", (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
