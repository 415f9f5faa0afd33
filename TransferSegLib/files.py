"""Writing files so that a reader finds either the old or the new one, whole, never a half."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError, ResourceError, TransferSegError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A path beside ``path``, with the same endings, that replaces it when the block ends without an error.

    Whatever was at ``path`` stays until then; after an error or a kill the old file is untouched. Works for a file
    and for a folder that the block makes.

    Raises
    ------
    InputError : the folder cannot be made or written.
    ResourceError : the disk is full.
    """
    path = Path(path)
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex[:8]}.part.{path.name}")
    try:
        with os_errors(path):
            yield beside
            _flush(beside)
            _replace(beside, path)
    finally:
        _remove(beside)


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about ``path`` into an error with a remedy."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


def explain_os_error(error: OSError, path: Path) -> TransferSegError:
    """The error to show for a failed write to ``path``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"The disk is full: {path} was not written.", "Free some space and run the command again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(f"{path} cannot be written: no permission.", "Choose another output folder.")
    if error.errno == errno.EISDIR:
        return InputError(f"{path} cannot be written: a folder stands in the way.", "Choose another name.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return InputError(f"{path} cannot be written: a file stands in the way.", "Choose another output folder.")
    return InputError(f"{path} cannot be written: {error.strerror or error}.", "Check the path.")


def _flush(path: Path) -> None:
    """Force the content to disk, so that a power cut after the rename cannot leave an empty file."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            with open(file, "rb+") as handle:
                os.fsync(handle.fileno())


def _replace(source: Path, target: Path) -> None:
    if not (source.is_dir() and target.is_dir()):  # The system refuses to replace a folder by a file.
        os.replace(source, target)
        return
    # A folder cannot replace a folder in one step: the old one steps aside first.
    old = target.with_name(f".{uuid.uuid4().hex[:8]}.old.{target.name}")
    os.replace(target, old)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(old, target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
