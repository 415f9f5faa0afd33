"""The files that an image lies in: some formats keep the header in one file and the voxels in others."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from .errors import InputError
from .formats import ITK_ENDINGS, ending, stem

# The files of a NIfTI or Analyze pair: NiBabel reads the affine of SPM's from the ".mat".
_PAIR = (".hdr", ".img", ".img.gz", ".mat")

# What a text header says before the name of the file with the voxels: MetaImage (.mhd), and NRRD (.nhdr).
_DATA_FILE = re.compile(rb"\s*(?:ElementDataFile\s*[=:]|data ?file:(?!=))\s*(.*?)\s*$", re.IGNORECASE)

# A header has fewer lines; what has more is no text.
_LONGEST = 1000


def image_files(path: Path) -> list[Path]:
    """All files that :func:`volume.read_volume` may read for ``path``, in an order that their names do not change.

    Raises
    ------
    InputError : the image, or a file with its voxels, does not exist or cannot be read.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist.", "Check the path.")
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    if ending(path) in (".hdr", ".img"):
        return _pair(path)
    if ending(path) not in ITK_ENDINGS:
        return [path]
    data = list(_data_files(path))
    for file in data:
        if not file.is_file():
            raise InputError(f"{file} does not exist: {path} has its voxels there.", "Copy it beside its header.")
    return [path, *data]


def _pair(path: Path) -> list[Path]:
    beside, own = sorted(path.parent.iterdir()), stem(path).lower()
    return [file for suffix in _PAIR for file in beside if file.name.lower() == f"{own}{suffix}"]


def _data_files(header: Path) -> Iterator[Path]:
    """The files that a text header names, which lie beside it; none when the voxels follow in the same file."""
    try:
        with open(header, "rb") as file:
            lines = iter(lambda: file.readline(1 << 12), b"")
            name = next((found[1] for line in islice(lines, _LONGEST) if (found := _DATA_FILE.match(line))), b"LOCAL")
            if re.match(rb"LIST\b", name):  # maybe with a number of dimensions; the names follow, one a line
                yield from (header.parent / os.fsdecode(line.strip()) for line in lines if line.strip())
            elif b"%" in name:  # "slice%03d.raw 1 60 1": whatever fits, as one file too many does no harm
                pattern = re.sub(r"%\d*d", "*", glob.escape(os.fsdecode(name.split()[0])))
                yield from sorted(header.parent.glob(pattern))
            elif name.upper() != b"LOCAL":
                yield header.parent / os.fsdecode(name)
    except PermissionError as error:
        raise InputError(f"{header} cannot be read: no permission.", "Change the file's permissions.") from error
