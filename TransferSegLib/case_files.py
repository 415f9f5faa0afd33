"""CaseFiles: one visit of one patient as files on disk, and what its channels are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError

# Canonical channel order. A model's own order stands on its card.
CHANNELS = ("t1", "t1c", "t2", "flair")

# What a name that becomes part of a file's name must not hold: with it the file would lie in another folder.
_NO_FILE_NAME = re.compile(r"[/\\:\x00-\x1f\x7f]|\.\.")

# The channel whose grid the result gets when the user does not say: where annotators usually draw.
REFERENCE_ORDER = ("flair", "t1c", "t2", "t1")


@dataclass(frozen=True)
class CaseFiles:
    """Where the images of one visit are.

    Attributes
    ----------
    name : unique in the dataset; names output files.
    channels : channel name to file, or to DICOM folder.
    label : reference label map, or None.
    brain : mask of the brain, not 0 inside, on any grid; or None.
    group : stratum to keep the proportions of in splits, for instance the tumour grade; may be empty.
    patient : visits of one patient never stand on two sides of a split. Empty: the same as ``name``.
    """

    name: str
    channels: Mapping[str, Path]
    label: Path | None = None
    group: str = ""
    patient: str = ""
    brain: Path | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.channels:
            raise InputError(f"Case '{self.name}' has no name or no images.", "Give at least one channel.")
        if re.search(r"[/\\\0]", self.name) or self.name in (".", ".."):
            raise InputError(f"'{self.name}' cannot be the name of a case.", "Leave out slashes.")
        object.__setattr__(self, "patient", self.patient or self.name)

    def require(self, channels: Sequence[str]) -> None:
        """Raises
        ------
        InputError : one of ``channels`` is missing.
        """
        missing = [channel for channel in channels if channel not in self.channels]
        if missing:
            raise InputError(
                f"Case '{self.name}' has no channel {', '.join(missing)}; it has {', '.join(sorted(self.channels))}.",
                "Add the image, name it so that it is recognised, or list it in a manifest CSV.",
            )

    def owns(self, path: Path) -> bool:
        """Whether ``path`` is a file of the case, which no result may replace."""
        own = [*self.channels.values(), *(file for file in (self.label, self.brain) if file is not None)]
        return path.exists() and any(file.exists() and path.samefile(file) for file in own)


def check_channels(channels: Sequence[str]) -> None:
    """Raises
    ------
    InputError : there is none, one is given twice, or one cannot be a part of a file's name.
    """
    if not channels:
        raise InputError("There is no channel.", "Give at least one, for instance t1.")
    for channel in channels:
        if not channel or _NO_FILE_NAME.search(channel):
            raise InputError(f"{channel!r} cannot be the name of a channel.", "Use letters, digits, '-' and '_'.")
        if channels.count(channel) > 1:
            raise InputError(f"The channel '{channel}' is given twice.", "Give each once.")


def as_files(case: Any, name: str = "case") -> CaseFiles:
    """A mapping of channel names, and maybe ``"brain"``, to paths as CaseFiles; CaseFiles as they are."""
    if isinstance(case, CaseFiles):
        return case
    if isinstance(case, Mapping):
        paths = {str(key): Path(path) for key, path in case.items()}
        brain = paths.pop("brain", None)
        return CaseFiles(name, paths, brain=brain)
    raise InputError(f"{case!r} is no case.", "Give a mapping of channel names to files, or a folder.")
