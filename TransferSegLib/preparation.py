"""Preparation: every choice that concerns the pre-processing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import InputError

# How the brain is found, for the help, the card and the reader.
BRAIN_METHODS: Mapping[str, str] = {
    "auto": "a given mask, else the brain as it was extracted before, else the template",
    "mask": "a given mask",
    "template": "registration with the MNI152 template, which needs nothing else",
    "bet": "Smith 2002, as in the paper (package brainextractor)",
    "hd-bet": "the program of that name",
    "synthstrip": "the program mri_synthstrip",
    "none": "the whole image",
}


# How the channels of a case are brought together.
ALIGN_METHODS: Mapping[str, str] = {
    "auto": "register the channels that lie on grids of their own to the reference channel (default)",
    "rigid": "register all",
    "none": "trust the headers",
}


def choice(choices: Mapping[str, str] | None, help: str) -> Any:
    """A field that may be left to the source or to the default, with its help and what there is to choose."""
    listed = "" if choices is None else " " + "; ".join(f"{name}: {about}" for name, about in choices.items()) + "."
    return field(default=None, metadata={"help": help + listed, "choices": choices})


@dataclass(frozen=True)
class Preparation:
    """What the pre-processing shall have. None: as the source model has it, or without one the default.

    Raises
    ------
    InputError : a value makes no sense; names the option.
    """

    preset: str | None = choice({"paper": "all steps of Kaur et al. 2019"}, "A set of these choices.")
    spacing: float | None = choice(None, "Working voxel size in mm. Default: 1.")
    align: str | None = choice(ALIGN_METHODS, "")
    brain: str | None = choice(BRAIN_METHODS, "How to find the brain.")
    bias: str | None = choice({"n4": "take out the bias field", "none": "leave it (default)"}, "")
    space: str | None = choice({"mni": "work in the space of the MNI152 template", "own": "the image's (default)"}, "")
    shape: str | None = choice({"brain": "the brain's box (default)", "paper": "192 x 240 x 192 voxels"}, "")
    standardise: str | None = choice(
        {"nyul": "bring intensities to a scale learned on the training cases", "none": "do not (default)"}, ""
    )
    normalise: str | None = choice(
        {
            "zscore": "mean 0, standard deviation 1, within 5 (default)",
            "zscore-rescale": "the same within 3, then 0 to 1",
            "minmax": "0 to 1",
        },
        "",
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value, choices = getattr(self, item.name), item.metadata["choices"]
            if value is not None and choices is not None and value not in choices:
                raise InputError(f"--{item.name} cannot be '{value}'.", f"Choose one of {', '.join(choices)}.")

    def chosen(self) -> dict[str, Any]:
        """What was chosen, a preset's choices first."""
        own = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}
        return {**_PRESETS.get(own.pop("preset", ""), {}), **own}


# Of the paper's steps, `auto` stands for BET where the brain was not extracted before: BET needs a package of its own.
_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "spacing": 1.0,
        "bias": "n4",
        "space": "mni",
        "shape": "paper",
        "normalise": "zscore-rescale",
        "standardise": "nyul",
    }
}
