"""Which label scheme is meant: by name, by file, by the layout of the data, or by the values in the label maps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .errors import InputError
from .labels import LESION, SCHEMES, LabelScheme
from .nnunet import read_nnunet_info
from .volume import read_volume


def choose_scheme(
    labels: str | Path | LabelScheme | None, known: LabelScheme | None, files: Iterable[Path]
) -> LabelScheme:
    """The label scheme of a task.

    Parameters
    ----------
    labels : what the user said: a scheme, its name, or a JSON file (an nnU-Net ``dataset.json``, or a scheme as
        :meth:`LabelScheme.to_dict` writes it).
    known : what the layout of the data tells.
    files : label maps; when nothing else is known, and they hold only 0 and 1, the scheme is ``lesion``.

    Raises
    ------
    InputError : the name is unknown, the file cannot be read, or nothing tells what the values mean.
    """
    if isinstance(labels, LabelScheme):
        return labels
    if labels is not None:
        return _by_name(str(labels))
    if known is not None:
        return known
    found: set[float] = set()
    for file in files:
        found |= set(np.unique(read_volume(file).data).tolist())
    if found <= {0, 1}:
        return LESION
    raise InputError(
        f"What the labels {', '.join(f'{value:g}' for value in sorted(found))} mean is not known.",
        f"Say so with --labels {' or --labels '.join(SCHEMES)}, or --labels dataset.json.",
    )


def _by_name(labels: str) -> LabelScheme:
    if labels in SCHEMES:
        return SCHEMES[labels]
    path = Path(labels)
    if not path.is_file():
        raise InputError(
            f"There is no label scheme '{labels}'.", f"Use {', '.join(SCHEMES)}, or the path of a JSON file."
        )
    try:
        data = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}.", "Repair it with a text editor.") from error
    if isinstance(data, dict) and "classes" in data:
        return LabelScheme.from_dict(data)
    return read_nnunet_info(path).scheme
