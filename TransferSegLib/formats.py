"""Formats: which image formats there are, by the endings of file names."""

from __future__ import annotations

from pathlib import Path

NIFTI_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
ITK_ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
IMAGE_ENDINGS = NIFTI_ENDINGS + ITK_ENDINGS


def ending(path: str | Path) -> str:
    """The image ending of a file name in lower case, for instance ``".nii.gz"``; empty when it is none we know."""
    name = Path(path).name.lower()
    return next((item for item in IMAGE_ENDINGS if name.endswith(item)), "")


def stem(path: str | Path) -> str:
    """The file name without its image ending."""
    name = Path(path).name
    found = ending(path)
    return name[: -len(found)] if found else name
