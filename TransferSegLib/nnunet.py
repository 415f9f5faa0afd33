"""The ``dataset.json`` of nnU-Net 1 and 2 and of the Medical Segmentation Decathlon (MSD)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .labels import LabelScheme
from .naming import guess_channel


@dataclass(frozen=True)
class NnunetInfo:
    """What a ``dataset.json`` says.

    Attributes
    ----------
    path : of the file.
    channels : name by number.
    scheme : the meaning of the values of the label maps.
    file_ending : of images and label maps.
    """

    path: Path
    channels: Mapping[int, str]
    scheme: LabelScheme
    file_ending: str

    def case_and_channel(self, file: Path) -> tuple[str, str]:
        """What the name ``CASE_0001.nii.gz`` means.

        Raises
        ------
        InputError : there is no channel number, or one that has no name.
        """
        numbered = re.fullmatch(r"(.+)_(\d{4})", file.name.removesuffix(self.file_ending))
        if not numbered:
            raise InputError(
                f"{file} has no channel number: it seems to hold all channels in one 4D file, as in MSD.",
                f"Split it into one 3D file per channel: NAME_0000{self.file_ending}, NAME_0001{self.file_ending}, ...",
            )
        number = int(numbered[2])
        if number not in self.channels:
            raise InputError(f"{file} is channel {number}, which {self.path} does not name.", "Add its name there.")
        return numbered[1], self.channels[number]


def read_nnunet_info(path: Path) -> NnunetInfo:
    """Read a ``dataset.json``.

    Raises
    ------
    InputError : it is missing or no JSON, does not name channels or classes, or has region-based or ignored labels.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing.", "Add it: beside imagesTr it names the channels and the labels.")
    try:
        info = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}.", "Repair it with a text editor.") from error
    info = _mapping(info)
    name = str(info.get("name") or path.parent.name)
    # Version 1 and MSD have "modality", and no "file_ending".
    channels = _channels(path, _mapping(info.get("channel_names", info.get("modality"))))
    scheme = LabelScheme.from_names(name, _codes(path, _mapping(info.get("labels"))))
    return NnunetInfo(path, channels, scheme, str(info.get("file_ending", ".nii.gz")))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _channels(path: Path, named: Mapping[str, Any]) -> dict[int, str]:
    names = {int(key): guess_channel(str(name)) or str(name).lower() for key, name in named.items() if key.isdigit()}
    if not names or len(set(names.values())) < len(named):
        raise InputError(
            f"{path} does not give each channel a number and a name of its own.",
            'Write for instance "channel_names": {"0": "t1", "1": "t1c", "2": "t2", "3": "flair"}.',
        )
    return names


def _codes(path: Path, labels: Mapping[str, Any]) -> dict[str, int]:
    """Value by class name."""
    for name, value in labels.items():
        if isinstance(value, list):
            raise InputError(
                f"{path} has region-based labels: '{name}' is {value}, not one value.",
                "Name the class of each single value instead, or list the cases in a manifest CSV.",
            )
        if "ignore" in (name, value):
            raise InputError(
                f"{path} has the label 'ignore', for voxels that nobody annotated.",
                "Annotate these voxels and remove the label.",
            )
    # Version 1 and MSD have the name by value: {"0": "background", ...}.
    by_value = all(name.isdigit() for name in labels)
    pairs = [(str(value), name) if by_value else (name, str(value)) for name, value in labels.items()]
    codes = {name: int(value) for name, value in pairs if value.isdecimal()}
    if len(codes) < max(2, len(pairs)) or min(codes.values()) != 0 or max(codes.values()) > 255:
        raise InputError(
            f"{path} does not say what the values of the label maps mean.",
            'Write for instance "labels": {"background": 0, "lesion": 1}, with values from 0 to 255.',
        )
    return codes
