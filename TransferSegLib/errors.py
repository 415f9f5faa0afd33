"""What can go wrong, said so that the user knows the cause and the remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar


class TransferSegError(Exception):
    """An expected failure.

    Parameters
    ----------
    cause : one plain sentence that names the file, node or option and what is wrong with it.
    remedy : one plain sentence that says what to do. May be empty.
    """

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause} {self.remedy}".strip()


class InputError(TransferSegError):
    """A file, a folder, an image or an option cannot be used as it is."""

    kind = "input"
    exit_code = 2


class ModelError(TransferSegError):
    """A model is unknown, damaged, too new, too large, or does not fit the data."""

    kind = "model"
    exit_code = 2


class DependencyError(TransferSegError):
    """A package or program that is needed is missing."""

    kind = "dependency"
    exit_code = 2


class ResourceError(TransferSegError):
    """Memory or disk space ran out."""

    kind = "resource"
    exit_code = 4


class Cancelled(TransferSegError):
    """The user stopped the work. What was finished before is kept."""

    kind = "cancelled"
    exit_code = 3

    def __init__(self, cause: str = "Stopped on request.", remedy: str = "") -> None:
        super().__init__(cause, remedy)


@contextlib.contextmanager
def needs(package: str) -> Iterator[None]:
    """The imports in the block need ``package``: where they fail, say so.

    Raises
    ------
    DependencyError : the package is not installed, or another version of it than is needed.
    """
    try:
        yield
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise DependencyError(
                f"The package {package} is not installed.", f"Install it with: pip install {package}"
            ) from error
        raise DependencyError(
            f"The package {package} cannot be used: {error}.", f"Install it again: pip install --upgrade {package}"
        ) from error
