"""A folder that one command writes: a second one that would write there is told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError
from .files import os_errors

LOCK = ".lock"


@contextmanager
def hold(folder: str | Path) -> Iterator[None]:
    """Be the only one to write ``folder`` while the block runs. A process that is killed lets go by itself.

    The folder is made if need be, and goes again if nothing was written.

    Raises
    ------
    InputError : another process holds it, or it cannot be made.
    """
    folder = Path(folder)
    with os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"Another process is at work in {folder}.", "Wait until it has ended, or choose another --out."
            ) from None
        except NotImplementedError:  # a file system that knows no locks: do without
            pass
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            folder.rmdir()


def is_held(folder: str | Path) -> bool:
    """Whether a process is at work in ``folder``, see :func:`hold`."""
    path = Path(folder) / LOCK
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False
